"""Every row of the command table with random CDBs and data: what always holds.

The status is legal, sense is well formed, the bytes outside the named blocks are as before, nothing is raised, nothing
is reported as unexpected, and nothing is left running. Half of the lists are one that the command takes, with a few
bytes changed, and half of the blocks are as many as the CDB says: noise alone is refused before anything looks into it.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.alua import Port
from tcmu_gluster.scsi.background import State
from tcmu_gluster.scsi.command import Command, Nexus, Status
from tcmu_gluster.scsi.copies import CopyManager
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.overlap import COPIES, EXCLUSIVE
from tcmu_gluster.scsi.reservation_rules import ReservationType
from tcmu_gluster.scsi.sense import Asc, SenseKey, parse_sense
from tcmu_gluster.scsi.table import COMMANDS, WHOLE_UNIT, Data, Entry, Feature
from tcmu_gluster.scsi.target import Target
from tcmu_gluster.wire.layout import Bits, Const
from tests.doubles.cluster import basic_list
from tests.doubles.copying import populate_list, write_list
from tests.doubles.host import Answer, Host, memory
from tests.doubles.parameter_lists import ZERO_TOKEN, list_of

BLOCKS = 64
LEGAL = {Status.GOOD, Status.CHECK_CONDITION, Status.BUSY, Status.CONDITION_MET, Status.RESERVATION_CONFLICT}
TARGET = "iqn.2026-11.test:t"
KEY = 5
"""What the host is registered with, and where in the list of PERSISTENT RESERVE OUT it stands."""
BEFORE = b"".join(bytes([number]) * 256 + bytes(range(256)) for number in range(BLOCKS))
"""No block is like another one, or a copy that went astray would not show."""


class Shadow:
    """A small disk with known content, and everything unexpected it reported."""

    def __init__(self, copies: Optional[CopyManager] = None, **options: Any) -> None:
        self.reported: list[BaseException] = []
        self.backend = memory(BLOCKS * 512)
        self.unit = LogicalUnit(
            self.backend,
            UnitOptions(**options),
            report=lambda command, error: self.reported.append(error),
            clock=lambda: 1e9,
            copies=copies,
            later=lambda seconds, function: self.later.append(function),
        )
        self.later: list[Any] = []
        self.host = Host(self.unit)
        self.host.nexus = Nexus("iqn.2026-11.test:host", b"\x80\0\0\0\0\1", TARGET)
        self.unit.ports.put(TARGET, [Port(TARGET)])
        self.unit.attach(self.host.nexus, attention=None)
        assert self.backend.write(0, (memoryview(BEFORE),), print) == len(BEFORE)

    def settle(self) -> None:
        """Time passes, until nothing waits for it."""
        while self.later:
            self.later.pop(0)()

    def content(self) -> bytes:
        after = memoryview(bytearray(len(BEFORE)))
        self.backend.read(0, (after,), print)
        return bytes(after)


KINDS: dict[str, dict[str, Any]] = {
    "thin": {},
    "thick": {"thin": False},
    "protected": {"write_protected": True},
    "removable, 4096 bytes, slow": {
        "removable": True, "block_size_bytes": 4096, "background_bytes_per_second": 1 << 20,
        "write_same_to_the_end": True,
    },
    "small transfers": {"maximum_transfer_bytes": 8 * 512, "maximum_write_same_bytes": 4 * 512},
    "tokens": {},
}  # fmt: skip


def made(kind: str) -> Shadow:
    """One that nothing was done to."""
    copies = CopyManager(lambda: 1e9, lambda length: b"\7" * length) if kind == "tokens" else None
    return Shadow(copies, **KINDS[kind])


PAIRS = [(row, kind) for row in COMMANDS for kind in KINDS if bool(row.needs & Feature.TOKENS) == (kind == "tokens")]


@cache  # making strategies takes longer than drawing from them
def values(limit: int) -> st.SearchStrategy[int]:
    """Mostly what means something, sometimes anything."""
    near = [0, 1, 2, 7, 8, BLOCKS - 1, BLOCKS, BLOCKS + 1, limit // 2, limit - 1, limit]
    return st.one_of(st.sampled_from([value for value in near if value <= limit]), st.integers(0, limit))


@st.composite
def cdbs(draw: st.DrawFn, row: Entry, given: dict[str, int]) -> bytes:
    """A CDB of a row: some fields given, the others of their own kind, then perhaps some stray bits."""
    fields = dict(given)
    for name, field in row.layout.fields.items():
        if name in ("operation_code", "service_action") or isinstance(field, Const) or name in given:
            continue
        limit = field.mask if isinstance(field, Bits) else (1 << 8 * field.size_bytes) - 1
        if name in ("rdprotect", "wrprotect", "vrprotect", "naca") and draw(st.integers(0, 9)):
            continue
        fields[name] = draw(values(limit))
    raw = row.layout.pack(**fields)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 3]))):
        raw[draw(st.integers(1, len(raw) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(raw)


@cache
def parameter_lists() -> st.SearchStrategy[bytes]:
    """Data-Out: blocks, lists that nearly make sense, noise."""
    ranges = st.lists(st.tuples(values((1 << 64) - 1), values((1 << 32) - 1)), max_size=4)

    def unmap_list(of: list[tuple[int, int]]) -> bytes:
        body = b"".join(struct.pack(">QI4x", *one) for one in of)
        return struct.pack(">HH4x", len(body) + 6, len(body)) + body

    def token_list(of: list[tuple[int, int]], delete: int, short: int) -> bytes:
        made = write_list(ZERO_TOKEN, *of, delete=delete) if delete < 2 else populate_list(*of, rtv=short & 1)
        return made[: len(made) - short]

    block = st.sampled_from([bytes(512), b"\xa5" * 512])
    patterns = st.builds(  # of SANITIZE and FORMAT UNIT, and pages of SEND DIAGNOSTIC
        lambda first, flags, length, pattern: struct.pack(">BBH", first, flags, length) + pattern,
        st.sampled_from([0, 1, 0x81, 0x1F, 0x21]), st.sampled_from([0, 2, 0x80, 0x88]),
        st.sampled_from([0, 1, 4, 512, 513]), st.binary(max_size=520),
    )  # fmt: skip
    return st.one_of(
        patterns,
        st.builds(lambda one, count: one * count, block, st.integers(0, 20)),
        st.builds(unmap_list, ranges),
        st.builds(token_list, ranges, st.integers(0, 3), st.sampled_from([0, 0, 0, 1, 16])),
        st.builds(lambda head, page: head + page, st.sampled_from([bytes(4), bytes(8)]), st.binary(max_size=40)),
        st.binary(max_size=600),
    )


@st.composite
def nearly(draw: st.DrawFn, shadow: Shadow, row: Entry) -> tuple[dict[str, int], bytes]:
    """A list that the row takes but for some bytes, and the fields of a CDB that fits it."""
    fields, made = list_of(row.name, shadow.unit)
    data = bytearray(made)
    if row.operation_code == 0x5F:
        data[7] = draw(st.sampled_from([KEY, KEY, 0]))
        data[15] = draw(st.sampled_from([KEY, 0, 7]))
    for _ in range(draw(st.sampled_from([0, 0, 1, 2, 4]))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.sampled_from([0, 1, 4, 8, 0x7F, 0x80, 0xFF]))
    cut = draw(st.sampled_from([0, 0, 0, 0, 1, 4, -4]))
    sent = bytes(data[: len(data) - cut]).ljust(len(data) - cut, b"\0")
    return {**fields, "parameter_list_length": len(sent)}, sent


@st.composite
def blocks_of(draw: st.DrawFn, shadow: Shadow, row: Entry) -> tuple[dict[str, int], bytes]:
    """Blocks as many as the CDB wants, and a range that mostly exists; what is there already, or a pattern."""
    block, count = shadow.unit.block_size_bytes, draw(st.sampled_from([1, 1, 2, 4]))
    lba = draw(st.integers(0, shadow.unit.blocks))
    there = BEFORE[lba * block : (lba + count) * block].ljust(count * block, b"\0")
    new = draw(st.sampled_from([there, bytes(count * block), b"\x5a" * (count * block)]))
    data = there + new if row.layout is cdb.COMPARE_AND_WRITE else new
    if row.name.startswith("WRITE SAME"):
        data = new[:block]
    return {"logical_block_address": lba, row.length_name: count}, data


def has_list(row: Entry) -> bool:
    """Whether list_of() knows one."""
    return row.data is Data.OUT and "parameter_list_length" in row.layout.fields


def check(answer: Answer) -> None:
    assert answer.status in LEGAL
    assert bool(answer.sense) == (answer.status == Status.CHECK_CONDITION)
    if answer.sense:
        assert answer.sense[0] & 0x7F in (0x70, 0x72)
        assert len(answer.sense) == 8 + answer.sense[7]
        key, asc = parse_sense(answer.sense)
        assert SenseKey(key)
        assert 0 < asc < 1 << 16 or key == SenseKey.COPY_ABORTED
        assert answer.data == b""


def named_blocks(row: Entry, raw: bytes, data: bytes, block: int) -> list[tuple[int, int]]:
    """The (first, end) byte ranges that a command may change."""
    if row.overlap is EXCLUSIVE or row.name.startswith("EXTENDED COPY"):
        return [(0, BLOCKS * 512)]
    fields = row.layout.unpack(raw)
    first, end = row.extent(fields)
    if (first, end) != WHOLE_UNIT:
        return [(first * block, end * block)]
    head = 536 if row.layout is cdb.WRITE_USING_TOKEN else 8
    ranges = [struct.unpack_from(">QI", data, at) for at in range(head, len(data) - 15, 16)]
    return [(lba * block, (lba + blocks) * block) for lba, blocks in ranges]


@pytest.mark.parametrize(("row", "kind"), PAIRS, ids=lambda part: getattr(part, "name", part))
@settings(max_examples=25)
@given(draw=st.data())
def test_random_commands_of_every_row(row: Entry, kind: str, draw: st.DataObject) -> None:
    shadow = made(kind)
    if row.operation_code in (0x5E, 0x5F):
        begin_with_a_reservation(shadow.host, draw.draw(st.sampled_from([0, 0, *ReservationType])))
    fields, data = {}, b""
    if has_list(row) and draw.draw(st.booleans()):
        fields, data = draw.draw(nearly(shadow, row))
    elif row.data is Data.OUT and row.length_name and draw.draw(st.booleans()):
        fields, data = draw.draw(blocks_of(shadow, row))
    elif row.data is Data.OUT:
        data = draw.draw(parameter_lists())
    raw = draw.draw(cdbs(row, fields))
    pending = shadow.host.send(raw, data, views=draw.draw(st.sampled_from([1, 3])))
    shadow.settle()
    check(pending.answer)
    assert shadow.reported == []
    assert shadow.unit.background.state is State.IDLE
    assert not shadow.unit.tasks.running
    assert not shadow.unit.tasks.restless
    expected, after = bytearray(BEFORE), shadow.content()
    shadow.backend.close()
    if (row.modifies or row.overlap is COPIES) and kind != "protected":
        for first, end in named_blocks(row, raw, data, shadow.unit.block_size_bytes):
            expected[first:end] = after[first:end]
    assert after == bytes(expected)


def begin_with_a_reservation(host: Host, kind: int) -> None:
    """The host is registered, and holds a reservation of that type unless it is 0."""
    assert host.run(cdb.REGISTER.pack(parameter_list_length=24), basic_list(0, KEY)).good
    if kind:
        assert host.run(cdb.RESERVE.pack(type=kind, parameter_list_length=24), basic_list(KEY)).good


@pytest.mark.parametrize("row", [row for row in COMMANDS if has_list(row)], ids=lambda row: row.name)
def test_the_lists_that_are_changed_here_are_looked_into(row: Entry) -> None:
    """Unchanged they are taken, or refused for what stands in them."""
    shadow = made("tokens")
    begin_with_a_reservation(shadow.host, 0)
    fields, data = list_of(row.name, shadow.unit)
    data = data[:7] + bytes([KEY]) + data[8:] if row.operation_code == 0x5F else data
    pending = shadow.host.send(row.layout.pack(**fields, parameter_list_length=len(data)), data)
    shadow.settle()
    answer = pending.answer
    assert answer.good or answer.asc == Asc.INVALID_FIELD_IN_PARAMETER_LIST or row.name.endswith("MOVE"), answer


@settings(max_examples=300)
@given(raw=st.binary(max_size=32), data=st.binary(max_size=64), lun=st.sampled_from([0, 1, 2, -1, 1 << 63]))
def test_random_bytes_as_cdb_at_any_lun(raw: bytes, data: bytes, lun: int) -> None:
    reported: list[BaseException] = []
    unit = LogicalUnit(memory(4096), report=lambda command, error: reported.append(error))
    check(Host(Target("iqn.2026-11.test:t", {1: unit})).run(raw, data, lun=lun))
    assert reported == []
    unit.backend.close()


@settings(max_examples=150)
@given(draw=st.data())
def test_allocation_length_never_makes_more_data_than_asked_for(draw: st.DataObject) -> None:
    row, kind = draw.draw(st.sampled_from([pair for pair in PAIRS if "allocation_length" in pair[0].layout.fields]))
    raw = draw.draw(cdbs(row, {}))
    shadow = made(kind)
    answer = shadow.host.run(raw)
    shadow.backend.close()
    assert len(answer.data) <= row.layout.unpack(raw).allocation_length


SMALL = made("small transfers")


@settings(max_examples=100)
@given(
    lba=values((1 << 64) - 1),
    blocks=values((1 << 32) - 1),
    layout=st.sampled_from([cdb.READ_16, cdb.WRITE_16, cdb.WRITE_AND_VERIFY_16]),
)
def test_no_memory_is_asked_for_beyond_the_limits(lba: int, blocks: int, layout: Any) -> None:
    class Watched(Command):
        def data_in(self, length: int) -> Any:
            assert length <= 8 * 512
            return super().data_in(length)

    raw = bytes(layout.pack(logical_block_address=lba, transfer_length=blocks))
    response = SMALL.unit.execute(Watched(raw, Nexus("iqn.a")))
    assert response is not None
    check(Answer(response))
