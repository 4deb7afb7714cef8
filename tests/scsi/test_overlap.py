"""Who may run beside whom, and what the task attributes do."""

from __future__ import annotations

import itertools

import pytest

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.command import Command, TaskAttribute
from tcmu_gluster.scsi.overlap import (
    ATOMIC,
    COPIES,
    EXCLUSIVE,
    FREE,
    MATRIX,
    READS,
    WRITES,
    Beside,
    Overlap,
    is_restless,
    must_wait,
)
from tcmu_gluster.scsi.table import CommandTable

TABLE = CommandTable()
LAYOUTS = {FREE: cdb.INQUIRY, READS: cdb.READ_16, WRITES: cdb.WRITE_16, ATOMIC: cdb.COMPARE_AND_WRITE,
           EXCLUSIVE: cdb.MODE_SELECT_6, COPIES: cdb.EXTENDED_COPY_LID1}  # fmt: skip


def command(overlap: Overlap, lba: int = 0, blocks: int = 1, attribute: int = TaskAttribute.SIMPLE) -> Command:
    layout = LAYOUTS[overlap]
    fields = {}
    for name in cdb.LENGTH_FIELDS:
        if name in layout.fields:
            fields = {"logical_block_address": lba, name: blocks}
    raw = bytes(layout.pack(**fields))
    made = Command(raw, attribute=attribute)
    made.entry = TABLE.find(raw[0], raw[1] & 0x1F if TABLE.service_actions(raw[0]) else None)
    made.fields = layout.unpack(raw)
    assert made.entry.overlap == overlap
    return made


@pytest.mark.parametrize(("one", "two"), list(itertools.product(Overlap, Overlap)))
def test_the_matrix_is_symmetric(one: Overlap, two: Overlap) -> None:
    assert MATRIX[one][two] is MATRIX[two][one]


@pytest.mark.parametrize(("one", "two"), list(itertools.product(Overlap, Overlap)))
def test_simple_commands_follow_the_matrix(one: Overlap, two: Overlap) -> None:
    beside = MATRIX[one][two]
    assert must_wait(command(one, 4), command(two, 4)) is (beside is not Beside.ANYWHERE)
    if beside is Beside.ELSEWHERE:
        assert not must_wait(command(one, 4, 2), command(two, 6, 2))
        assert must_wait(command(one, 4, 3), command(two, 6, 2))
        assert must_wait(command(one, 7, 1), command(two, 6, 2))
        assert not must_wait(command(one, 8, 1), command(two, 6, 2))


@pytest.mark.parametrize("older", [READS, WRITES])
def test_ordered_waits_for_everything_older_and_is_waited_for(older: Overlap) -> None:
    ordered = command(WRITES, 100, attribute=TaskAttribute.ORDERED)
    assert must_wait(ordered, command(older, 0))
    assert must_wait(command(older, 0), ordered)
    assert not must_wait(command(FREE), ordered)


def test_head_of_queue_waits_for_nobody_elsewhere_and_is_waited_for() -> None:
    urgent = command(WRITES, 100, attribute=TaskAttribute.HEAD_OF_QUEUE)
    assert not must_wait(urgent, command(WRITES, 100))
    assert not must_wait(urgent, command(WRITES, 0, attribute=TaskAttribute.ORDERED))
    assert must_wait(command(READS, 0), urgent)
    assert must_wait(urgent, command(ATOMIC, 100))


@pytest.mark.parametrize(
    ("overlap", "attribute", "expected"),
    [
        (READS, TaskAttribute.SIMPLE, False),
        (WRITES, TaskAttribute.UNTAGGED, False),
        (WRITES, TaskAttribute.ORDERED, True),
        (FREE, TaskAttribute.ORDERED, False),
        (ATOMIC, TaskAttribute.SIMPLE, True),
        (EXCLUSIVE, TaskAttribute.SIMPLE, True),
    ],
)
def test_whom_a_plain_read_has_to_look_at(overlap: Overlap, attribute: int, expected: bool) -> None:
    assert is_restless(command(overlap, attribute=attribute)) is expected
