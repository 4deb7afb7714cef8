"""How a copy moves bytes: by commands that the copy manager sends to the units, like an initiator of its own.

So whatever holds for a READ or WRITE of the initiator (reservations, write protection, readiness, overlap with others'
commands, the write cache, errors of the storage) holds for each step of a copy, on both units, with nothing said twice.
What differs: unit attentions stay where they are, since the initiator has them still to hear, and a step does not queue
behind commands that have yet to start, because these may wait for the copy.

Memory is one chunk a copy. Holes of the source become holes (zeros on a unit that isn't thin), as its map tells.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tcmu_gluster.backends.base import PENDING, Backend, Done, Operation
from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.command import ABORTED, Command, Nexus, Response, Status
from tcmu_gluster.scsi.copy_sense import PartFailed
from tcmu_gluster.scsi.provisioning import (
    LBA_STATUS_DESCRIPTOR,
    LBA_STATUS_HEADER,
    MAPPED,
    MAXIMUM_STATUS_DESCRIPTORS,
)
from tcmu_gluster.scsi.sense import Asc, LunNotSupported, SenseKey, UnitAttention, parse_sense

if TYPE_CHECKING:
    from tcmu_gluster.scsi.copies import Copy
    from tcmu_gluster.scsi.logical_unit import LogicalUnit

CHUNK_BYTES = 1 << 20
"""The memory of one copy."""
PATCH_ATTEMPTS = 64
"""How often a block that is written in part is tried while others change it."""
STATUS_BYTES = LBA_STATUS_HEADER.size_bytes + MAXIMUM_STATUS_DESCRIPTORS * LBA_STATUS_DESCRIPTOR.size_bytes

Work = Generator[Operation, Any, None]
Views = Sequence[memoryview]


@dataclass(frozen=True)
class Side:
    """A unit that takes part, and the nexus as which it is asked."""

    unit: LogicalUnit
    nexus: Nexus
    role: int
    """SOURCE or DESTINATION."""


class Part(Command):
    """One command of a copy. room is the memory that it reads into."""

    __slots__ = ("copy", "room")
    is_part = True

    def __init__(self, raw: bytes, nexus: Nexus, copy: Copy, room: Views = (), data_out: Views = ()) -> None:
        length = sum(map(len, data_out))
        super().__init__(raw, nexus, tag=-1, data_out=data_out, data_out_bytes=length)
        self.copy, self.room = copy, room

    def data_in(self, length: int) -> Views:
        """Its room: the copy asked for no more than that."""
        return self.room if sum(map(len, self.room)) == length else super().data_in(length)

    def belongs_to(self, nexus: Nexus) -> bool:
        """It ends with its copy."""
        return False


class Send(Operation):
    """Run a Part at its unit. The result is its Response."""

    __slots__ = ("_part", "_unit")

    def __init__(self, unit: LogicalUnit, part: Part) -> None:
        self._unit, self._part = unit, part

    def start(self, backend: Backend, done: Done) -> Any:
        self._part.done = lambda command, response: done(response)
        response = self._unit.execute(self._part)
        return PENDING if response is None else response

    def cancel(self) -> None:
        """The copy is over: a part that waits for its turn has none."""
        tasks = self._unit.tasks
        if tasks.is_waiting(self._part):
            tasks.abort(lambda command: command is self._part, lambda command: ABORTED, _nothing)


def send(copy: Copy, side: Side, raw: bytes, room: Views = (), data_out: Views = ()) -> Generator[Operation, Any, Any]:
    """Steps: one command at one side. Raises PartFailed unless it ends GOOD."""
    unit = side.unit
    if unit not in copy.unit.copies.manager.units:
        raise PartFailed(side.role, LunNotSupported().response(unit.descriptor_sense))
    if copy.met.setdefault(unit, unit.copies.resets) != unit.copies.resets:
        raise PartFailed(side.role, UnitAttention(Asc.BUS_DEVICE_RESET).response(unit.descriptor_sense))
    response = yield Send(side.unit, Part(raw, side.nexus, copy, room, data_out))
    if response.status != Status.GOOD:
        raise PartFailed(side.role, response)
    copy.commands += 1
    return response


# -- whole pieces ------------------------------------------------------------------------------------------------------


def move(copy: Copy, source: Side, at: int, destination: Side, to: int, length: int) -> Work:
    """Copy length bytes from offset at of one unit to offset to of another, or of the same: also where both overlap.

    Both ranges exist. Blocks of the destination that are covered in part keep their other bytes.
    """
    block = destination.unit.block_size_bytes
    head = min(-to % block, length)
    tail = (length - head) % block
    whole = length - head - tail
    steps = [
        _patch(copy, source, at, destination, to, head),
        _move_blocks(copy, source, at + head, destination, to + head, whole),
        _patch(copy, source, at + head + whole, destination, to + head + whole, tail),
    ]
    if source.unit is destination.unit and at < to < at + length:
        steps[1] = _move_backwards(copy, source, at + head, destination, to + head, whole)
        steps.reverse()
    for step in steps:
        yield from step


def _chunk_bytes(source: Side, destination: Side) -> int:
    """How much is moved at a time: whole blocks of the destination that both units take in one command."""
    block = destination.unit.block_size_bytes
    readable = max(source.unit.transfer_blocks - 1, 1) * source.unit.block_size_bytes  # blocks may lie askew
    writable = destination.unit.transfer_blocks * block
    return max(min(CHUNK_BYTES, readable, writable) // block * block, block)


def _move_blocks(copy: Copy, source: Side, at: int, destination: Side, to: int, length: int) -> Work:
    block, chunk = destination.unit.block_size_bytes, _chunk_bytes(source, destination)
    runs: list[tuple[int, bool]] = []
    done = 0
    while done < length:
        if not runs:
            runs = yield from _allocation(copy, source, at + done, length - done)
        run, is_hole = runs.pop(0)
        run = min(run, length - done)
        if is_hole and run >= block:
            step = run // block * block
            yield from clear(copy, destination, to + done, step)
        else:
            step = min(max(run // block * block, block), chunk)
            yield from _move_chunk(copy, source, at + done, destination, to + done, step)
        done += step
        if run > step:
            runs.insert(0, (run - step, is_hole))
        else:  # a block that more than one run lies in
            _skip(runs, step - run)


def _skip(runs: list[tuple[int, bool]], length: int) -> None:
    while length and runs:
        run, is_hole = runs.pop(0)
        if run > length:
            runs.insert(0, (run - length, is_hole))
        length -= min(run, length)


def _move_backwards(copy: Copy, source: Side, at: int, destination: Side, to: int, length: int) -> Work:
    """The same from the end: what is still to be read must not be written before."""
    chunk = _chunk_bytes(source, destination)
    while length:
        step = min(chunk, length)
        length -= step
        yield from _move_chunk(copy, source, at + length, destination, to + length, step)


def _move_chunk(copy: Copy, source: Side, at: int, destination: Side, to: int, length: int) -> Work:
    room = copy.room(length)
    yield from _fetch(copy, source, at, room)
    block = destination.unit.block_size_bytes
    raw = bytes(cdb.WRITE_16.pack(logical_block_address=to // block, transfer_length=length // block))
    yield from send(copy, destination, raw, data_out=(room,))
    yield from copy.moved(length)


def _fetch(copy: Copy, source: Side, at: int, room: memoryview) -> Work:
    """Fill room from byte at on. What is read counts only if the copy may still use it."""
    block, length = source.unit.block_size_bytes, len(room)
    first, end = at // block, -(-(at + length) // block)
    raw = bytes(cdb.READ_16.pack(logical_block_address=first, transfer_length=end - first))
    if at % block or length % block:
        covering = memoryview(bytearray((end - first) * block))
        yield from send(copy, source, raw, (covering,))
        room[:] = covering[at - first * block :][:length]
    else:
        yield from send(copy, source, raw, (room,))
    copy.check()


def clear(copy: Copy, destination: Side, to: int, length: int) -> Work:
    """Whole blocks become zeros: a hole where the unit is thin."""
    unit = destination.unit
    block, most = unit.block_size_bytes, unit.limits.write_same_blocks
    while length:
        step = min(length, most * block)
        raw = bytes(cdb.WRITE_SAME_16.pack(
            unmap=unit.thin, ndob=1, logical_block_address=to // block, number_of_logical_blocks=step // block
        ))  # fmt: skip
        yield from send(copy, destination, raw)
        yield from copy.moved(step)
        to, length = to + step, length - step


def _allocation(copy: Copy, source: Side, at: int, length: int) -> Generator[Operation, Any, list[tuple[int, bool]]]:
    """What the next bytes are, as (bytes, is a hole) from at on: not necessarily all of them."""
    unit, block = source.unit, source.unit.block_size_bytes
    if not unit.thin or not unit.backend.capabilities.can_map:
        return [(length, False)]
    raw = bytes(cdb.GET_LBA_STATUS.pack(logical_block_address=at // block, allocation_length=STATUS_BYTES))
    response = yield from send(copy, source, raw)
    data = b"".join(response.data_in)
    runs, reached, end = [], at, at + length
    for offset in range(LBA_STATUS_HEADER.size_bytes, len(data), LBA_STATUS_DESCRIPTOR.size_bytes):
        status = LBA_STATUS_DESCRIPTOR.unpack(data, offset)
        until = (status.lba_status_logical_block_address + status.number_of_logical_blocks) * block
        until = min(until, end)
        if until > reached:
            runs.append((until - reached, status.provisioning_status != MAPPED))
            reached = until
    return runs or [(length, False)]


# -- pieces of blocks --------------------------------------------------------------------------------------------------


def _patch(copy: Copy, source: Side, at: int, destination: Side, to: int, length: int) -> Work:
    """Part of one block: read it, and put it back changed if nobody else changed it meanwhile."""
    if length:
        room = memoryview(bytearray(length))
        yield from _fetch(copy, source, at, room)
        yield from put(copy, destination, to, bytes(room))
        yield from copy.moved(length)


def put(copy: Copy, destination: Side, to: int, data: bytes) -> Work:
    """Bytes that lie in one block."""
    block = destination.unit.block_size_bytes
    lba, start = divmod(to, block)
    read = bytes(cdb.READ_16.pack(logical_block_address=lba, transfer_length=1))
    write = bytes(cdb.COMPARE_AND_WRITE.pack(logical_block_address=lba, number_of_logical_blocks=1))
    for _ in range(PATCH_ATTEMPTS):
        found = memoryview(bytearray(block))
        yield from send(copy, destination, read, (found,))
        changed = bytearray(found)
        changed[start : start + len(data)] = data
        try:
            yield from send(copy, destination, write, data_out=(found, memoryview(changed)))
            return
        except PartFailed as failed:
            if not _is_miscompare(failed.response):
                raise
            last = failed
    raise last


def _is_miscompare(response: Response) -> bool:
    return bool(response.sense) and parse_sense(response.sense)[0] == SenseKey.MISCOMPARE


def _nothing() -> None:
    """Nobody waits."""
