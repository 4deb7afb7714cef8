"""The block commands that give space back, fill it, and tell what is allocated.  Source: SBC-4 4.7 and below."""

from __future__ import annotations

import errno
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Optional

from tcmu_gluster.backends.base import Allocation, Discard, Extent, Flush, Map, Operation, Write, Zero
from tcmu_gluster.scsi import buffers
from tcmu_gluster.scsi.command import GOOD, Command
from tcmu_gluster.scsi.sbc import CHUNK_BYTES, check_range
from tcmu_gluster.scsi.sense import (
    InvalidFieldInCdb,
    InvalidFieldInParameterList,
    LbaOutOfRange,
    ParameterListLengthError,
)
from tcmu_gluster.scsi.spc import reply
from tcmu_gluster.wire.layout import Bits, Int, Layout

if TYPE_CHECKING:
    from tcmu_gluster.scsi.logical_unit import LogicalUnit
    from tcmu_gluster.scsi.task import Steps

UNMAP_HEADER = Layout("UNMAP parameter list", 8, (
    Int("unmap_data_length", 0, 2),
    Int("unmap_block_descriptor_data_length", 2, 2),
))  # fmt: skip
UNMAP_DESCRIPTOR = Layout("UNMAP block descriptor", 16, (
    Int("unmap_logical_block_address", 0, 8),
    Int("number_of_logical_blocks", 8, 4),
))  # fmt: skip
LBA_STATUS_HEADER = Layout("GET LBA STATUS parameter data", 8, (Int("parameter_data_length", 0, 4),))
LBA_STATUS_DESCRIPTOR = Layout("LBA status descriptor", 16, (
    Int("lba_status_logical_block_address", 0, 8),
    Int("number_of_logical_blocks", 8, 4),
    Bits("provisioning_status", 12, high=3, low=0),
))  # fmt: skip
MAPPED, DEALLOCATED = 0, 1  # PROVISIONING STATUS
MAXIMUM_STATUS_DESCRIPTORS = 64

Part = Generator[Operation, Any, None]


def unmap(unit: LogicalUnit, command: Command) -> Steps:
    """UNMAP: give the named ranges back; they read as zeros afterwards (LBPRZ).

    Every descriptor is judged before the first takes effect.  Source: SBC-4 5.35.
    """
    fields = command.fields
    command.data_out_wanted = fields.parameter_list_length
    if fields.anchor:
        raise InvalidFieldInCdb("anchor")
    if not fields.parameter_list_length:
        return GOOD
    data = buffers.gather(command.data_out, min(fields.parameter_list_length, command.data_out_bytes))
    ranges = _unmap_ranges(unit, data)
    unit.statistics.writes += 1  # it counts as a write command that receives no blocks: SPC-4 table 375
    block = unit.block_size_bytes
    for lba, blocks in ranges:
        yield from discard(unit, lba * block, blocks * block)
    if unit.durable_writes and ranges:
        yield Flush()
    return GOOD


def unmap_blocks(command: Any) -> Optional[tuple[int, int]]:
    """From the first to behind the last block that an UNMAP names; None if its list can't be read."""
    data = buffers.gather(command.data_out, command.fields.parameter_list_length)
    size, head = UNMAP_DESCRIPTOR.size_bytes, UNMAP_HEADER.size_bytes
    named = [UNMAP_DESCRIPTOR.unpack(data, at) for at in range(head, len(data) - size + 1, size)]
    if not named:
        return None
    lbas = [(one.unmap_logical_block_address, one.number_of_logical_blocks) for one in named]
    return min(lba for lba, _ in lbas), max(lba + blocks for lba, blocks in lbas)


def _unmap_ranges(unit: LogicalUnit, data: bytes) -> list[tuple[int, int]]:
    """The (lba, blocks) of an UNMAP parameter list, without the empty ones."""
    head = UNMAP_HEADER.size_bytes
    if len(data) < head:
        raise ParameterListLengthError()
    header = UNMAP_HEADER.unpack(data)
    size_bytes = header.unmap_block_descriptor_data_length
    if size_bytes > len(data) - head:
        raise ParameterListLengthError()
    count = size_bytes // UNMAP_DESCRIPTOR.size_bytes  # an incomplete last one is ignored
    if count > unit.limits.unmap_descriptors:
        raise InvalidFieldInParameterList("unmap_block_descriptor_data_length", layout=UNMAP_HEADER)
    ranges, total = [], 0
    for at in range(head, head + count * UNMAP_DESCRIPTOR.size_bytes, UNMAP_DESCRIPTOR.size_bytes):
        descriptor = UNMAP_DESCRIPTOR.unpack(data, at)
        lba, blocks = descriptor.unmap_logical_block_address, descriptor.number_of_logical_blocks
        if lba + blocks > unit.blocks:  # no blocks just behind the last one are none: not an error here
            raise LbaOutOfRange(max(lba, unit.blocks))
        total += blocks
        if total > unit.limits.unmap_blocks:
            raise InvalidFieldInParameterList("number_of_logical_blocks", layout=UNMAP_DESCRIPTOR, base=at)
        if blocks:
            ranges.append((lba, blocks))
    return ranges


def write_same(unit: LogicalUnit, command: Command) -> Steps:
    """WRITE SAME(10/16): repeat one logical block over a range, or unmap it.

    NUMBER OF LOGICAL BLOCKS 0 means to the last one, or is refused (WSNZ, as the unit's options say). More than MAXIMUM
    WRITE SAME LENGTH is refused either way. With UNMAP the range is given back if it then reads as what was sent
    (zeros); another pattern is written.  Source: SBC-4 5.52, 5.53.
    """
    fields = command.fields
    lba, blocks = fields.logical_block_address, fields.number_of_logical_blocks
    has_block = not getattr(fields, "ndob", 0)
    command.data_out_wanted = unit.block_size_bytes if has_block else 0
    if fields.wrprotect:
        raise InvalidFieldInCdb("wrprotect")
    if fields.anchor:
        raise InvalidFieldInCdb("anchor")
    if fields.unmap and not unit.thin:
        raise InvalidFieldInCdb("unmap")
    check_range(unit, lba, blocks)
    if not blocks and unit.options.write_same_to_the_end:
        blocks = unit.blocks - lba
    if not blocks or blocks > unit.limits.write_same_blocks:
        raise InvalidFieldInCdb("number_of_logical_blocks")
    block = unit.block_size_bytes
    if has_block and command.data_out_bytes != block:
        raise InvalidFieldInCdb("number_of_logical_blocks")
    offset, length = lba * block, blocks * block
    if has_block and not buffers.is_zero(command.data_out):
        yield from fill(buffers.gather(command.data_out), offset, length)
    elif fields.unmap:
        yield from discard(unit, offset, length)
    else:
        yield from zero(unit, offset, length)
    if unit.durable_writes:
        yield Flush()
    return GOOD


def discard(unit: LogicalUnit, offset: int, length: int) -> Part:
    """Give bytes back; where the backend turns out not to be able to, zeros are as good to whoever reads.

    The unit then no longer says that it can, and its initiators hear of that.
    """
    try:
        yield Discard(offset, length)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        unit.capabilities_changed()
        yield from zero(unit, offset, length)


def zero(unit: LogicalUnit, offset: int, length: int) -> Part:
    """Zero bytes, by the backend if it can, else by writing them."""
    if unit.backend.capabilities.can_zero:
        try:
            yield Zero(offset, length)
            return
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
    yield from fill(bytes(unit.block_size_bytes), offset, length)


def fill(pattern: bytes, offset: int, length: int, moved: Optional[Callable[[int], Part]] = None) -> Part:
    """Write one block over and over; moved(bytes) gives what is to be done after each step, if anything is."""
    chunk = buffers.repeated(pattern, min(CHUNK_BYTES, length))
    at = 0
    while at < length:
        view = chunk[: min(CHUNK_BYTES, length - at)]
        yield Write(offset + at, (view,))
        at += len(view)
        if moved is not None:
            yield from moved(len(view))


def get_lba_status(unit: LogicalUnit, command: Command) -> Steps:
    """GET LBA STATUS(16): which blocks from an LBA on are mapped, as the backend tells.

    A block is deallocated only if all of it is a hole; a backend that can't tell has everything mapped.
    Source: SBC-4 5.6.
    """
    fields = command.fields
    lba, block = fields.logical_block_address, unit.block_size_bytes
    if lba >= unit.blocks:
        raise LbaOutOfRange(lba)
    room = (fields.allocation_length - LBA_STATUS_HEADER.size_bytes) // LBA_STATUS_DESCRIPTOR.size_bytes
    length = (unit.blocks - lba) * block
    extents = [Extent(lba * block, length, Allocation.DATA)]
    if unit.thin and unit.backend.capabilities.can_map:
        extents = yield Map(lba * block, length)
    runs = _runs(extents, lba, unit.blocks, block)[: max(min(room, MAXIMUM_STATUS_DESCRIPTORS), 1)]
    data = LBA_STATUS_HEADER.pack(parameter_data_length=4 + len(runs) * LBA_STATUS_DESCRIPTOR.size_bytes)
    for start, blocks, status in runs:
        data += LBA_STATUS_DESCRIPTOR.pack(
            lba_status_logical_block_address=start, number_of_logical_blocks=blocks, provisioning_status=status
        )
    return reply(command, data, fields.allocation_length)


def _runs(extents: list[Extent], lba: int, blocks: int, block: int) -> list[tuple[int, int, int]]:
    """Extents in bytes as (lba, blocks, provisioning status) from lba on, joined, each at most 2^32 - 1 blocks."""
    runs: list[tuple[int, int, int]] = []
    at = lba
    for extent in extents:
        end = extent.offset + extent.length
        if extent.allocation is Allocation.HOLE:
            end_block, status = end // block, DEALLOCATED  # what the hole covers only in part is mapped
            first_hole = -(-extent.offset // block)
            if first_hole > at:
                _append(runs, at, min(first_hole, blocks), MAPPED)
                at = max(at, first_hole)
        else:
            end_block, status = -(-end // block), MAPPED
        end_block = min(end_block, blocks)
        if end_block > at:
            _append(runs, at, end_block, status)
            at = end_block
    return runs or [(lba, 1, MAPPED)]


def _append(runs: list[tuple[int, int, int]], start: int, end: int, status: int) -> None:
    if runs and runs[-1][2] == status and runs[-1][1] + end - start <= 0xFFFFFFFF:
        first, blocks, _ = runs[-1]
        runs[-1] = (first, blocks + end - start, status)
        return
    while start < end:
        blocks = min(end - start, 0xFFFFFFFF)
        runs.append((start, blocks, status))
        start += blocks
