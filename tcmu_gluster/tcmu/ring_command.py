"""A command that lives in a ring: its buffers are views of the data area, made when somebody asks for them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from ..scsi.command import ANY, Command, Done, Function, Response, Status, TaskAttribute, TaskManagement
from .uapi import SENSE_BYTES, TaskManagementType


class RingCommand(Command):
    """One CMD entry. The CDB and the list of iovecs were copied when it was fetched; the entry is never read again.

    The kernel gives no direction, so both lengths are what the initiator announced and both buffers are the same
    memory; the CDB's row of the command table says which one is meant. The kernel reuses entry_id at once: the object
    itself is the generation, and tag, unique in the life of a ring, is its name.
    """

    __slots__ = ("_mapping", "entry_id", "iovecs", "outcome", "whole")

    # the kernel tells none of these; as class attributes they cost nothing on the way of each command
    nexus = ANY
    lun = 0
    attribute = TaskAttribute.SIMPLE

    def __init__(  # no super().__init__(): this runs once per command of the hot path
        self, mapping: memoryview, entry_id: int, cdb: bytes, iovecs: tuple[int, ...], length: int, tag: int,
        done: Optional[Done],
    ) -> None:  # fmt: skip
        self._mapping = mapping
        self.entry_id = entry_id
        self.cdb = cdb
        self.iovecs = iovecs
        self.data_in_bytes = self.data_out_bytes = length
        self.data_out_wanted = -1
        self.tag = tag
        self.done = done
        self.fields = self.entry = self.task = None
        self.whole: Optional[tuple[memoryview, ...]] = None  # the Data-In Buffer, once all of it was handed out
        self.outcome: Any = None  # the response: of a refusal at once, of a completion that waits for its turn

    @property
    def data_out(self) -> Sequence[memoryview]:  # type: ignore[override]
        """The Data-Out Buffer: all iovecs, in order, as views into the mapping."""
        return self._views()

    def data_in(self, length: int) -> Sequence[memoryview]:
        """Views of the first length bytes of the iovecs; what they can't hold goes to private memory and is lost."""
        if length == self.data_in_bytes:
            views = self.whole = self._views()
            return views
        parts = []
        for view in self._views():
            if length <= 0:
                break
            parts.append(view[:length])
            length -= len(view)
        if length > 0:
            parts.append(memoryview(bytearray(length)))
        return tuple(parts)

    def _views(self) -> tuple[memoryview, ...]:
        mapping, iovecs = self._mapping, self.iovecs
        if len(iovecs) == 2:
            base, length = iovecs
            return (mapping[base : base + length],)
        return tuple(mapping[base : base + length] for base, length in zip(iovecs[::2], iovecs[1::2]))

    def put_data_in(self, chunks: Sequence[Any]) -> int:
        """Copy chunks to the iovecs, zero all the rest; returns how many bytes are data.

        Chunks may be views that data_in() gave, also moved or shortened ones.
        """
        exporter = self._mapping.obj
        if any(isinstance(chunk, memoryview) and chunk.obj is exporter for chunk in chunks):
            chunks = (b"".join(chunks),)  # copying in place, piece by piece, could overtake itself
        targets = iter(self._views())
        target = next(targets, None)
        moved = 0
        for chunk in chunks:
            source = memoryview(chunk).cast("B")
            while source and target is not None:
                count = min(len(source), len(target))
                target[:count] = source[:count]
                source, target = source[count:], target[count:]
                moved += count
                if not target:
                    target = next(targets, None)
        while target is not None:
            target[:] = bytes(len(target))
            target = next(targets, None)
        return moved

    def __str__(self) -> str:
        return f"{super().__str__()}, ring id {self.entry_id}"


@dataclass
class RingTaskManagement(TaskManagement):
    """A TMR entry: a hint that the kernel aborts these commands; it waits for their completion, not for an answer.

    commands are those of the named ids that were in flight when the hint came. The kernel may name ids that were
    answered meanwhile, in rare cases ones that already belong to another command, so acting on it must be harmless.
    """

    kernel_type: int = TaskManagementType.UNKNOWN
    commands: tuple[RingCommand, ...] = field(default=(), repr=False)


FUNCTIONS = {
    TaskManagementType.ABORT_TASK: Function.ABORT_TASK,
    TaskManagementType.ABORT_TASK_SET: Function.ABORT_TASK_SET,
    TaskManagementType.CLEAR_ACA: Function.CLEAR_ACA,
    TaskManagementType.CLEAR_TASK_SET: Function.CLEAR_TASK_SET,
    TaskManagementType.LUN_RESET: Function.LOGICAL_UNIT_RESET,
    TaskManagementType.TARGET_WARM_RESET: Function.TARGET_WARM_RESET,
    TaskManagementType.TARGET_COLD_RESET: Function.TARGET_COLD_RESET,
    TaskManagementType.LUN_RESET_PRO: Function.ABORT_TASK_SET,
}
"""LUN_RESET_PRO is PREEMPT AND ABORT: it ends the named tasks and resets nothing. Unknown types count as ABORT TASK."""


def _fixed_sense(key: int, asc: int, ascq: int) -> bytes:
    """SPC-4 4.5.3, current error; the kernel forwards all 96 bytes."""
    return struct.pack(">BxB4xB4xBB", 0x70, key, 10, asc, ascq).ljust(SENSE_BYTES, b"\0")


# What the ring itself has to refuse, before a logical unit sees the command or after it gave nonsense.
BIDIRECTIONAL_REFUSED = Response(Status.CHECK_CONDITION, sense=_fixed_sense(5, 0x24, 0x00))
"""ILLEGAL REQUEST, INVALID FIELD IN CDB."""
LENGTH_REFUSED = Response(Status.CHECK_CONDITION, sense=_fixed_sense(5, 0x0E, 0x03))
"""ILLEGAL REQUEST, INVALID FIELD IN COMMAND INFORMATION UNIT: as LIO's own backstores answer a length that can't be."""
NO_SENSE_GIVEN = _fixed_sense(4, 0x44, 0x00)
"""HARDWARE ERROR, INTERNAL TARGET FAILURE: a CHECK CONDITION must say something."""


def sense_for_ring(sense: bytes) -> bytes:
    """Exactly 96 bytes that begin with a response code."""
    if not sense or sense[0] & 0x7F not in (0x70, 0x71, 0x72, 0x73):
        return NO_SENSE_GIVEN
    return bytes(sense[:SENSE_BYTES]).ljust(SENSE_BYTES, b"\0")
