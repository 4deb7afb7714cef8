"""Who may run beside whom: the matrix that is asked before a command starts, and SAM-5's task attributes.

A command that must wait waits in arrival order, and everything that would conflict with a waiting one waits behind it:
nobody starves. What changes a unit's state is EXCLUSIVE, so nothing in `scsi` needs a lock.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Any

from tcmu_gluster.scsi.command import TaskAttribute


class Overlap(IntEnum):
    """A column of the command table."""

    FREE = 0
    """Touches neither blocks nor state that others change: never waits, and nobody waits for it (INQUIRY)."""
    READS = 1
    WRITES = 2
    ATOMIC = 3
    """Alone on its own blocks (COMPARE AND WRITE)."""
    EXCLUSIVE = 4
    """Alone on the unit (MODE SELECT)."""
    COPIES = 5
    """Touches blocks only by commands of its own, each of which asks for itself (EXTENDED COPY)."""


class Beside(Enum):
    """A cell of the matrix."""

    ANYWHERE = "together"
    ELSEWHERE = "only on other blocks"
    NEVER = "one after the other"


FREE, READS, WRITES, ATOMIC, EXCLUSIVE, COPIES = Overlap
ANYWHERE, ELSEWHERE, NEVER = Beside

# Row: the command that wants to start. Column: one that runs, or waits since before.
#                FREE      READS      WRITES     ATOMIC     EXCLUSIVE  COPIES
MATRIX = {
    FREE:      (ANYWHERE, ANYWHERE,  ANYWHERE,  ANYWHERE,  ANYWHERE,  ANYWHERE),
    READS:     (ANYWHERE, ANYWHERE,  ANYWHERE,  ELSEWHERE, NEVER,     ANYWHERE),
    WRITES:    (ANYWHERE, ANYWHERE,  ANYWHERE,  ELSEWHERE, NEVER,     ANYWHERE),
    ATOMIC:    (ANYWHERE, ELSEWHERE, ELSEWHERE, ELSEWHERE, NEVER,     ANYWHERE),
    EXCLUSIVE: (ANYWHERE, NEVER,     NEVER,     NEVER,     NEVER,     ANYWHERE),
    COPIES:    (ANYWHERE, ANYWHERE,  ANYWHERE,  ANYWHERE,  ANYWHERE,  ANYWHERE),
}  # fmt: skip

SIMPLE, ORDERED, HEAD_OF_QUEUE = TaskAttribute.SIMPLE, TaskAttribute.ORDERED, TaskAttribute.HEAD_OF_QUEUE


def is_restless(command: Any) -> bool:
    """Whether a later READ or WRITE would have to look before it starts beside this command."""
    overlap = command.entry.overlap
    return bool(WRITES < overlap < COPIES or (command.attribute > SIMPLE and overlap != FREE))


def must_wait(newer: Any, older: Any) -> bool:
    """Whether command newer may not start while command older runs.

    Source of the attributes' rules: SAM-5 8.6 (SIMPLE waits for older ORDERED and HEAD OF QUEUE tasks, ORDERED for
    all older ones, HEAD OF QUEUE for none); the matrix holds for HEAD OF QUEUE too. A part of a copy does not wait for
    a copy, which may be its own.
    """
    beside = MATRIX[newer.entry.overlap][older.entry.overlap]
    if beside is NEVER:
        return True
    if beside is ELSEWHERE:
        first, end = newer.entry.blocks_of(newer)
        other_first, other_end = older.entry.blocks_of(older)
        if first < other_end and other_first < end:
            return True
    if newer.attribute == HEAD_OF_QUEUE or newer.entry.overlap == FREE or older.entry.overlap == FREE:
        return False
    if newer.is_part and older.entry.overlap == COPIES:
        return False
    return bool(newer.attribute == ORDERED or older.attribute in (ORDERED, HEAD_OF_QUEUE))
