"""Every row of the command table with random CDBs and data: what always holds.

The status is legal, sense is well formed, the bytes outside the named blocks are as before, nothing is raised, nothing
is reported as unexpected, and nothing is left running.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.background import State
from tcmu_gluster.scsi.command import Command, Nexus, Status
from tcmu_gluster.scsi.copies import CopyManager
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.overlap import EXCLUSIVE
from tcmu_gluster.scsi.sense import SenseKey, parse_sense
from tcmu_gluster.scsi.table import COMMANDS, WHOLE_UNIT, Data, Entry, Feature
from tcmu_gluster.scsi.target import Target
from tcmu_gluster.wire.layout import Bits, Const
from tests.doubles.copying import populate_list, write_list
from tests.doubles.host import Answer, Host, memory

BLOCKS = 64
LEGAL = {Status.GOOD, Status.CHECK_CONDITION, Status.BUSY, Status.CONDITION_MET}
BEFORE = bytes(range(256)) * (BLOCKS * 2)


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
        self.refill()

    def refill(self) -> None:
        assert self.backend.write(0, (memoryview(BEFORE),), print) == len(BEFORE)

    def settle(self) -> None:
        """Time passes, until nothing waits for it; the medium is where it was."""
        while self.later:
            self.later.pop(0)()
        self.unit.medium.is_loaded = True
        self.unit.medium.allow_all()
        self.unit.look_again()

    def content(self) -> bytes:
        after = memoryview(bytearray(len(BEFORE)))
        self.backend.read(0, (after,), print)
        return bytes(after)


SHADOWS = {
    "thin": Shadow(),
    "thick": Shadow(thin=False),
    "protected": Shadow(write_protected=True),
    "removable, 4096 bytes, slow": Shadow(
        removable=True, block_size_bytes=4096, background_bytes_per_second=1 << 20, write_same_to_the_end=True
    ),
    "small transfers": Shadow(maximum_transfer_bytes=8 * 512, maximum_write_same_bytes=4 * 512),
    "tokens": Shadow(CopyManager(lambda: 1e9, lambda length: b"\7" * length)),
}
PAIRS = [(row, kind) for row in COMMANDS for kind in SHADOWS if bool(row.needs & Feature.TOKENS) == (kind == "tokens")]
ZERO_TOKEN = b"\xff\xff\x00\x01\x00\x00\x01\xf8" + bytes(504)


@cache  # making strategies takes longer than drawing from them
def values(limit: int) -> st.SearchStrategy[int]:
    """Mostly what means something, sometimes anything."""
    near = [0, 1, 2, 7, 8, BLOCKS - 1, BLOCKS, BLOCKS + 1, limit // 2, limit - 1, limit]
    return st.one_of(st.sampled_from([value for value in near if value <= limit]), st.integers(0, limit))


@st.composite
def cdbs(draw: st.DrawFn, row: Entry) -> bytes:
    """A CDB of a row: fields of their own kind, then perhaps some stray bits."""
    fields = {}
    for name, field in row.layout.fields.items():
        if name in ("operation_code", "service_action") or isinstance(field, Const):
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
    if row.overlap is EXCLUSIVE:
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
    shadow = SHADOWS[kind]
    raw, data = draw.draw(cdbs(row)), draw.draw(parameter_lists()) if row.data is Data.OUT else b""
    shadow.unit.modes.reset()
    shadow.unit.look_again()
    shadow.refill()
    pending = Host(shadow.unit).send(raw, data, views=draw.draw(st.sampled_from([1, 3])))
    shadow.settle()
    check(pending.answer)
    assert shadow.reported == []
    assert shadow.unit.background.state is State.IDLE
    assert not shadow.unit.tasks.running
    assert not shadow.unit.tasks.restless
    expected, after = bytearray(BEFORE), shadow.content()
    if row.modifies and kind != "protected":
        for first, end in named_blocks(row, raw, data, shadow.unit.block_size_bytes):
            expected[first:end] = after[first:end]
    assert after == bytes(expected)


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
    row = draw.draw(st.sampled_from([row for row in COMMANDS if "allocation_length" in row.layout.fields]))
    raw = draw.draw(cdbs(row))
    answer = Host(SHADOWS["thin"].unit).run(raw)
    assert len(answer.data) <= row.layout.unpack(raw).allocation_length


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
    response = SHADOWS["small transfers"].unit.execute(Watched(raw, Nexus("iqn.a")))
    assert response is not None
    check(Answer(response))
