"""SANITIZE: what each service action leaves behind, and what it refuses."""

from __future__ import annotations

import errno

import pytest

from tcmu_gluster.backends.base import Allocation
from tcmu_gluster.backends.memory import MemoryBackend
from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.sense import Asc, SenseKey
from tests.doubles.backends import FaultyBackend, RecordingBackend
from tests.doubles.host import Answer, Host, memory

SIZE = 64 * 512


def content(unit: LogicalUnit) -> bytes:
    after = memoryview(bytearray(SIZE))
    unit.backend.read(0, (after,), print)
    return bytes(after)


@pytest.fixture
def unit() -> LogicalUnit:
    unit = LogicalUnit(RecordingBackend(memory(SIZE)))
    unit.backend.write(0, (memoryview(b"x" * 4096),), print)
    return unit


@pytest.fixture
def host(unit: LogicalUnit) -> Host:
    return Host(unit)


def overwrite(host: Host, data: bytes, **fields: int) -> Answer:
    fields.setdefault("parameter_list_length", len(data))
    return host.run(cdb.SANITIZE_OVERWRITE.pack(**fields), data)


def pattern_list(pattern: bytes, first: int = 1) -> bytes:
    return bytes((first, 0)) + len(pattern).to_bytes(2, "big") + pattern


def test_cdbs_are_the_standards() -> None:
    """SBC-3 5.24: 48h; IMMED, AUSE and SERVICE ACTION in byte 1, PARAMETER LIST LENGTH in bytes 7 and 8."""
    raw = cdb.SANITIZE_OVERWRITE.pack(immed=1, ause=1, parameter_list_length=0x0204)
    assert raw.hex() == "48a1" + "0000000000" + "0204" + "00"
    assert cdb.SANITIZE_BLOCK_ERASE.pack().hex() == "4802" + "00" * 8
    assert cdb.SANITIZE_EXIT_FAILURE_MODE.pack().hex() == "481f" + "00" * 8


@pytest.mark.parametrize(
    ("first", "pattern", "block"),
    [
        (0x01, b"\xaa" * 512, b"\xaa" * 512),
        (0x02, b"\x0f\xf0", b"\x0f\xf0" * 256),
        (0x1F, b"abc", (b"abc" * 171)[:512]),
        (0x81, b"\x0f", b"\x0f" * 512),
        (0x82, b"\x0f", b"\x0f" * 512),
        (0x83, b"\x0f", b"\x0f" * 512),
    ],
)
def test_overwrite_leaves_the_pattern_of_its_last_pass(
    unit: LogicalUnit, host: Host, first: int, pattern: bytes, block: bytes
) -> None:
    assert overwrite(host, pattern_list(pattern, first)).good
    assert content(unit) == block * 64
    calls = unit.backend.calls
    assert len([call for call in calls if call[0] == "write" and call[2] == SIZE]) == first & 0x1F


@pytest.mark.parametrize(
    ("first", "passes"),
    [(0x03, "a5 a5 a5"), (0x81, "a5"), (0x82, "5a a5"), (0x83, "a5 5a a5"), (0x84, "5a a5 5a a5")],
)
def test_with_invert_the_first_of_an_even_number_of_passes_is_turned_around(first: int, passes: str) -> None:
    written: list[int] = []  # SBC-4 5.30.2.2

    class Watched(MemoryBackend):
        def write(self, offset, views, done, durable=False):
            written.append(bytes(views[0])[0])
            return super().write(offset, views, done, durable)

    assert overwrite(Host(LogicalUnit(Watched("watched", SIZE))), pattern_list(b"\xa5", first)).good
    assert bytes(written) == bytes.fromhex(passes)


@pytest.mark.parametrize(
    ("data", "fields", "asc", "pointer"),
    [
        (bytes(4), {}, Asc.INVALID_FIELD_IN_CDB, (7, None)),
        (pattern_list(bytes(513)), {}, Asc.INVALID_FIELD_IN_CDB, (7, None)),
        (b"", {}, Asc.INVALID_FIELD_IN_CDB, (7, None)),
        (pattern_list(b"ab"), {"parameter_list_length": 8}, Asc.PARAMETER_LIST_LENGTH_ERROR, None),
        (pattern_list(b"ab", 0), {}, Asc.INVALID_FIELD_IN_PARAMETER_LIST, (0, 4)),
        (pattern_list(b"ab", 0x21), {}, Asc.INVALID_FIELD_IN_PARAMETER_LIST, (0, 6)),
        (b"\1\0\0\0ab", {}, Asc.INVALID_FIELD_IN_PARAMETER_LIST, (2, None)),
        (b"\1\0\0\3ab", {}, Asc.INVALID_FIELD_IN_PARAMETER_LIST, (2, None)),
    ],
)
def test_overwrite_refusals(
    unit: LogicalUnit, host: Host, data: bytes, fields: dict[str, int], asc: Asc, pointer: object
) -> None:
    before = content(unit)
    answer = overwrite(host, data, **fields)
    assert (answer.key, answer.asc, answer.pointer) == (SenseKey.ILLEGAL_REQUEST, asc, pointer)
    assert content(unit) == before
    assert host.run(cdb.TEST_UNIT_READY.pack()).good


@pytest.mark.parametrize("layout", [cdb.SANITIZE_OVERWRITE, cdb.SANITIZE_BLOCK_ERASE, cdb.SANITIZE_EXIT_FAILURE_MODE])
@pytest.mark.parametrize(("byte", "bit"), [(1, 6), (2, 0), (3, 7), (4, 1), (5, 5), (6, 0)])
def test_every_reserved_bit_is_refused(unit: LogicalUnit, host: Host, layout: object, byte: int, bit: int) -> None:
    before = content(unit)
    raw = layout.pack()
    raw[byte] |= 1 << bit
    answer = host.run(raw)
    assert (answer.asc, answer.pointer) == (Asc.INVALID_FIELD_IN_CDB, (byte, bit))
    assert content(unit) == before


def test_block_erase_writes_over_what_is_mapped_and_unmaps_all(unit: LogicalUnit, host: Host) -> None:
    assert host.run(cdb.SANITIZE_BLOCK_ERASE.pack()).good
    assert content(unit) == bytes(SIZE)
    calls = unit.backend.calls
    assert calls[1:5] == [
        ("write", 0, 4096, False), ("flush", 0, 0, False), ("discard", 0, SIZE, False), ("flush", 0, 0, False),
    ]  # fmt: skip
    assert [extent.allocation for extent in unit.backend.map(0, SIZE, print)] == [Allocation.HOLE]


@pytest.mark.parametrize("layout", [cdb.SANITIZE_BLOCK_ERASE, cdb.SANITIZE_EXIT_FAILURE_MODE])
def test_the_others_take_no_list(host: Host, layout: object) -> None:
    answer = host.run(layout.pack(parameter_list_length=8), bytes(8))
    assert (answer.asc, answer.pointer) == (Asc.INVALID_FIELD_IN_CDB, (7, None))


def test_block_erase_is_for_thin_units() -> None:
    host = Host(LogicalUnit(memory(), UnitOptions(thin=False)))
    assert host.run(cdb.SANITIZE_BLOCK_ERASE.pack()).pointer == (1, 4)


def test_cryptographic_erase_is_not_there(host: Host) -> None:
    raw = cdb.SANITIZE_BLOCK_ERASE.pack()
    raw[1] = 0x03
    assert host.run(raw).asc == Asc.INVALID_FIELD_IN_CDB


@pytest.mark.parametrize("ause", [0, 1])
def test_failure_mode_and_the_ways_out(ause: int) -> None:
    """SBC-4 4.11.4: EXIT FAILURE MODE is for a command that had AUSE; another SANITIZE always is, without AUSE."""
    backend = FaultyBackend(memory(SIZE))
    unit = LogicalUnit(backend)
    host = Host(unit)
    backend.fail("write", errno.EIO)
    answer = overwrite(host, pattern_list(b"a"), ause=ause)
    assert (answer.key, answer.asc) == (SenseKey.MEDIUM_ERROR, Asc.SANITIZE_COMMAND_FAILED)
    for raw in (cdb.TEST_UNIT_READY.pack(), cdb.READ_10.pack(transfer_length=1), cdb.FORMAT_UNIT.pack()):
        answer = host.run(raw)
        assert (answer.key, answer.asc) == (SenseKey.MEDIUM_ERROR, Asc.SANITIZE_COMMAND_FAILED)
    answer = host.run(cdb.SANITIZE_EXIT_FAILURE_MODE.pack())
    assert answer.good is bool(ause)
    if not ause:
        assert answer.pointer == (1, 4)
        for again in (overwrite(host, pattern_list(b"a"), ause=1), host.run(cdb.SANITIZE_BLOCK_ERASE.pack(ause=1))):
            assert (answer.asc, again.pointer) == (Asc.INVALID_FIELD_IN_CDB, (1, 5))  # SBC-4 5.30.1
        assert overwrite(host, pattern_list(b"a")).good
    assert host.run(cdb.TEST_UNIT_READY.pack()).good


def test_exit_failure_mode_without_a_failure(host: Host) -> None:
    assert host.run(cdb.SANITIZE_EXIT_FAILURE_MODE.pack()).good


def test_block_erase_writes_over_everything_where_the_storage_cannot_tell() -> None:
    backend = FaultyBackend(RecordingBackend(memory(SIZE)))
    backend.fail("map", errno.EOPNOTSUPP)
    assert Host(LogicalUnit(backend)).run(cdb.SANITIZE_BLOCK_ERASE.pack()).good
    assert ("write", 0, SIZE, False) in backend.inner.calls
