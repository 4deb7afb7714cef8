"""FORMAT UNIT: what it leaves behind, and what it refuses."""

from __future__ import annotations

import pytest

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.sense import Asc, SenseKey
from tests.doubles.backends import RecordingBackend
from tests.doubles.host import Answer, Host, memory

SIZE = 64 * 512


def content(unit: LogicalUnit) -> bytes:
    after = memoryview(bytearray(SIZE))
    unit.backend.read(0, (after,), print)
    return bytes(after)


def filled(**options: object) -> tuple[LogicalUnit, Host]:
    unit = LogicalUnit(RecordingBackend(memory(SIZE)), UnitOptions(**options))
    unit.backend.write(0, (memoryview(b"x" * SIZE),), print)
    return unit, Host(unit)


def format_(host: Host, data: bytes | None = None, **fields: int) -> Answer:
    if data is not None:
        fields["fmtdata"] = 1
    return host.run(cdb.FORMAT_UNIT.pack(**fields), data or b"")


def test_cdb_is_the_standards() -> None:
    """SBC-3 5.3: 04h; FMTPINFO, LONGLIST, FMTDATA, CMPLST, DEFECT LIST FORMAT in byte 1."""
    assert cdb.FORMAT_UNIT.pack(longlist=1, fmtdata=1, cmplst=1, defect_list_format=6).hex() == "043e00000000"


@pytest.mark.parametrize("thin", [True, False])
def test_everything_is_zeros_afterwards(thin: bool) -> None:
    unit, host = filled(thin=thin)
    assert format_(host).good
    assert content(unit) == bytes(SIZE)
    names = unit.backend.names()
    assert ("discard" in names, "zero" in names) == (thin, not thin)
    assert names[-1] == "read"
    assert "flush" in names
    assert host.run(cdb.TEST_UNIT_READY.pack()).good


def test_immed_without_a_loop_ends_before_it_answers() -> None:
    unit, host = filled()
    assert format_(host, bytes.fromhex("00020000")).good
    assert content(unit) == bytes(SIZE)


def test_initialization_pattern_is_repeated_in_every_block() -> None:
    unit, host = filled()
    assert format_(host, bytes.fromhex("0088000000010003") + b"abc").good
    assert content(unit) == ((b"abc" * 171)[:512]) * 64


@pytest.mark.parametrize("field", ["longlist", "cmplst"])
def test_without_a_list_the_bits_that_speak_of_it_are_ignored(field: str) -> None:  # SBC-4 5.4.1
    unit, host = filled()
    assert format_(host, **{field: 1}).good
    assert content(unit) == bytes(SIZE)


def test_long_list() -> None:
    unit, host = filled()
    assert format_(host, bytes(8), longlist=1).good
    assert content(unit) == bytes(SIZE)


@pytest.mark.parametrize(
    ("fields", "data", "asc", "pointer"),
    [
        ({"fmtpinfo": 2}, None, Asc.INVALID_FIELD_IN_CDB, (1, 7)),
        ({"defect_list_format": 7}, bytes(4), Asc.INVALID_FIELD_IN_CDB, (1, 2)),  # reserved
        ({"ffmt": 1}, None, Asc.INVALID_FIELD_IN_CDB, (4, 1)),
        ({}, b"\0\0\0", Asc.PARAMETER_LIST_LENGTH_ERROR, None),
        ({"longlist": 1}, bytes(7), Asc.PARAMETER_LIST_LENGTH_ERROR, None),
        ({}, bytes.fromhex("01000000"), Asc.INVALID_FIELD_IN_PARAMETER_LIST, (0, 2)),
        ({}, bytes.fromhex("00080000"), Asc.INVALID_FIELD_IN_PARAMETER_LIST, (1, 3)),  # IP without FOV
        ({}, bytes.fromhex("00000008") + bytes(8), Asc.INVALID_FIELD_IN_PARAMETER_LIST, (2, None)),
        ({"longlist": 1}, bytes.fromhex("0000000100000000"), Asc.INVALID_FIELD_IN_PARAMETER_LIST, (3, 3)),
        ({}, bytes.fromhex("00880000"), Asc.PARAMETER_LIST_LENGTH_ERROR, None),
        ({}, bytes.fromhex("0088000020000000"), Asc.INVALID_FIELD_IN_PARAMETER_LIST, (4, 5)),
        ({}, bytes.fromhex("0088000000020001") + b"a", Asc.INVALID_FIELD_IN_PARAMETER_LIST, (5, None)),
        ({}, bytes.fromhex("0088000000010201") + bytes(513), Asc.INVALID_FIELD_IN_PARAMETER_LIST, (6, None)),
        ({}, bytes.fromhex("0088000000010000"), Asc.INVALID_FIELD_IN_PARAMETER_LIST, (6, None)),
        ({}, bytes.fromhex("0088000000010004") + b"abc", Asc.PARAMETER_LIST_LENGTH_ERROR, None),
    ],
)
def test_refusals_leave_the_disk_alone(fields: dict[str, int], data: bytes, asc: Asc, pointer: object) -> None:
    unit, host = filled()
    answer = format_(host, data, **fields)
    assert (answer.key, answer.asc, answer.pointer) == (SenseKey.ILLEGAL_REQUEST, asc, pointer)
    assert content(unit) == b"x" * SIZE


def test_a_protected_disk_is_not_formatted() -> None:
    unit, host = filled(write_protected=True)
    assert format_(host).key == SenseKey.DATA_PROTECT
    assert content(unit) == b"x" * SIZE
