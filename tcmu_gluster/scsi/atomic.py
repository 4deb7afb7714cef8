"""Writes that are alone on their blocks: ORWRITE and WRITE ATOMIC. (COMPARE AND WRITE is in sbc.py.)"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcmu_gluster.backends.base import Read, Write
from tcmu_gluster.scsi import buffers
from tcmu_gluster.scsi.command import GOOD, Command
from tcmu_gluster.scsi.sbc import check_range, whole_blocks
from tcmu_gluster.scsi.sense import InvalidFieldInCdb

if TYPE_CHECKING:
    from tcmu_gluster.scsi.logical_unit import LogicalUnit
    from tcmu_gluster.scsi.task import Result, Steps


def orwrite(unit: LogicalUnit, command: Command) -> Steps:
    """ORWRITE(16): what is there, OR the Data-Out Buffer, takes its place.

    The table's overlap (ATOMIC) keeps everybody else off these blocks meanwhile.  Source: SBC-4 5.10.
    """
    fields, block = command.fields, unit.block_size_bytes
    lba, blocks = fields.logical_block_address, fields.transfer_length
    command.data_out_wanted = blocks * block
    if fields.orprotect:
        raise InvalidFieldInCdb("orprotect")
    check_range(unit, lba, blocks)
    if blocks > unit.transfer_blocks:
        raise InvalidFieldInCdb("transfer_length")
    mask = buffers.gather(whole_blocks(unit, command, blocks))
    if not mask:
        return GOOD
    found = bytearray(len(mask))
    yield Read(lba * block, (memoryview(found),))
    both = int.from_bytes(found, "little") | int.from_bytes(mask, "little")
    replacement = memoryview(both.to_bytes(len(mask), "little"))
    yield Write(lba * block, (replacement,), unit.durable_writes or bool(fields.fua))
    return GOOD


def write_atomic(unit: LogicalUnit, command: Command) -> Result:
    """WRITE ATOMIC(16): all of it or nothing, for whoever reads beside it and for whatever fails meanwhile.

    At most MAXIMUM ATOMIC TRANSFER LENGTH, in whole physical blocks; there are no atomic boundaries.
    Source: SBC-4 5.48, 4.29.
    """
    fields, block = command.fields, unit.block_size_bytes
    lba, blocks = fields.logical_block_address, fields.transfer_length
    command.data_out_wanted = blocks * block
    if fields.wrprotect:
        raise InvalidFieldInCdb("wrprotect")
    check_range(unit, lba, blocks)
    if fields.atomic_boundary:
        raise InvalidFieldInCdb("atomic_boundary")
    granularity = unit.limits.atomic_granularity_blocks
    if lba % granularity:
        raise InvalidFieldInCdb("logical_block_address")
    if blocks > unit.limits.atomic_blocks or blocks % granularity:
        raise InvalidFieldInCdb("transfer_length")
    if command.data_out_bytes < blocks * block:  # a part of it is not what was meant
        raise InvalidFieldInCdb("transfer_length")
    if not blocks:
        return GOOD
    unit.statistics.writes += 1
    unit.statistics.blocks_written += blocks
    durable = unit.durable_writes or bool(fields.fua)
    return Write(lba * block, buffers.cut(command.data_out, 0, blocks * block), durable), GOOD
