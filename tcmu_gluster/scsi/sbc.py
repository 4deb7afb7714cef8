"""The block commands that read, write, verify and flush blocks. Provisioning is in provisioning.py.

Blocks here, bytes in the backend: `unit.block_size_bytes` converts, in this file and in provisioning.py only.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from tcmu_gluster.backends.base import Flush, Operation, Read, Write
from tcmu_gluster.scsi import buffers, cdb
from tcmu_gluster.scsi.command import GOOD, Command, Response
from tcmu_gluster.scsi.limits import physical_exponent
from tcmu_gluster.scsi.sense import InvalidFieldInCdb, LbaOutOfRange, Miscompare
from tcmu_gluster.scsi.spc import reply
from tcmu_gluster.wire.layout import Bit, Bits, Int, Layout

if TYPE_CHECKING:
    from tcmu_gluster.scsi.logical_unit import LogicalUnit
    from tcmu_gluster.scsi.task import Result, Steps

CHUNK_BYTES = 1 << 20
"""How much a command reads or writes at a time when its memory isn't the initiator's."""

READ_CAPACITY_10_DATA = Layout("READ CAPACITY(10) parameter data", 8, (
    Int("returned_logical_block_address", 0, 4),
    Int("logical_block_length", 4, 4),
))  # fmt: skip
READ_CAPACITY_16_DATA = Layout("READ CAPACITY(16) parameter data", 32, (
    Int("returned_logical_block_address", 0, 8),
    Int("logical_block_length", 8, 4),
    Bits("p_type", 12, high=3, low=1), Bit("prot_en", 12, 0),
    Bits("p_i_exponent", 13, high=7, low=4), Bits("logical_blocks_per_physical_block_exponent", 13, high=3, low=0),
    Bits("lbpme", 14, high=15, low=15, size_bytes=2), Bits("lbprz", 14, high=14, low=14, size_bytes=2),
    Bits("lowest_aligned_logical_block_address", 14, high=13, low=0, size_bytes=2),
))  # fmt: skip


def check_range(unit: LogicalUnit, lba: int, blocks: int) -> None:
    """Raises LbaOutOfRange unless lba and all blocks from it on exist."""
    if lba >= unit.blocks:
        raise LbaOutOfRange(lba)
    if lba + blocks > unit.blocks:
        raise LbaOutOfRange(unit.blocks)


def whole_blocks(unit: LogicalUnit, command: Command, blocks: int) -> buffers.Views:
    """The Data-Out of a write of so many blocks, cut to the whole blocks that the initiator really sent.

    The CDB may name more than was sent (iSCSI: residual overflow) or less (underflow): the front tells the initiator
    how much was moved, and nothing is written that isn't there.
    """
    block = unit.block_size_bytes
    sent = command.data_out_bytes // block
    return buffers.cut(command.data_out, 0, min(blocks, sent) * block)


def read(unit: LogicalUnit, command: Command) -> Result:
    """READ(10/12/16): fill memory of the front's. FUA: what is read is on stable storage.  Source: SBC-4 5.16."""
    fields = command.fields
    lba, blocks = fields.logical_block_address, fields.transfer_length
    if lba + blocks > unit.blocks or lba == unit.blocks:
        check_range(unit, lba, blocks)
    if blocks > unit.transfer_blocks:
        raise InvalidFieldInCdb("transfer_length")
    if command.cdb[1] and fields.rdprotect:  # byte 1 holds nothing but flags: 0 in nearly every READ
        raise InvalidFieldInCdb("rdprotect")
    if not blocks:
        return GOOD
    statistics = unit.statistics
    statistics.reads += 1
    statistics.blocks_read += blocks
    views = command.data_in(blocks * unit.block_size_bytes)
    operation = Read(lba * unit.block_size_bytes, views)
    if command.cdb[1] and fields.fua:
        return _after_flush(operation, views)
    return operation, Response(0, views)


def _after_flush(operation: Read, views: buffers.Views) -> Steps:
    yield Flush()
    yield operation
    return Response(0, views)


def read_6(unit: LogicalUnit, command: Command) -> Result:
    """READ(6).  Source: SBC-2 5.5."""
    fields = command.fields
    lba, blocks = fields.logical_block_address, fields.transfer_length or cdb.LENGTH_0_OF_6_BYTES
    check_range(unit, lba, blocks)
    unit.statistics.reads += 1
    unit.statistics.blocks_read += blocks
    views = command.data_in(blocks * unit.block_size_bytes)
    return Read(lba * unit.block_size_bytes, views), Response(0, views)


def write(unit: LogicalUnit, command: Command) -> Result:
    """WRITE(10/12/16): GOOD with FUA, or with the write cache off, means stable storage.  Source: SBC-4 5.40."""
    fields = command.fields
    lba, blocks = fields.logical_block_address, fields.transfer_length
    command.data_out_wanted = length = blocks * unit.block_size_bytes
    if lba + blocks > unit.blocks or lba == unit.blocks:
        check_range(unit, lba, blocks)
    if blocks > unit.transfer_blocks:
        raise InvalidFieldInCdb("transfer_length")
    durable = unit.durable_writes
    if command.cdb[1]:
        if fields.wrprotect:
            raise InvalidFieldInCdb("wrprotect")
        durable = durable or bool(fields.fua)
    views = command.data_out
    if command.data_out_bytes != length:
        views = whole_blocks(unit, command, blocks)
    if not length or not views:
        return GOOD
    statistics = unit.statistics
    statistics.writes += 1
    statistics.blocks_written += blocks
    return Write(lba * unit.block_size_bytes, views, durable), GOOD


def write_6(unit: LogicalUnit, command: Command) -> Result:
    """WRITE(6).  Source: SBC-2 5.24."""
    fields = command.fields
    lba, blocks = fields.logical_block_address, fields.transfer_length or cdb.LENGTH_0_OF_6_BYTES
    command.data_out_wanted = blocks * unit.block_size_bytes
    check_range(unit, lba, blocks)
    views = whole_blocks(unit, command, blocks)
    if not views:
        return GOOD
    unit.statistics.writes += 1
    unit.statistics.blocks_written += blocks
    return Write(lba * unit.block_size_bytes, views, unit.durable_writes), GOOD


def write_and_verify(unit: LogicalUnit, command: Command) -> Steps:
    """WRITE AND VERIFY(10/12/16): to stable storage, then read back; BYTCHK 01b compares.  Source: SBC-4 5.44."""
    fields = command.fields
    lba, blocks = fields.logical_block_address, fields.transfer_length
    command.data_out_wanted = blocks * unit.block_size_bytes
    if fields.wrprotect:
        raise InvalidFieldInCdb("wrprotect")
    if fields.bytchk > 1:
        raise InvalidFieldInCdb("bytchk")
    check_range(unit, lba, blocks)
    if blocks > unit.transfer_blocks:
        raise InvalidFieldInCdb("transfer_length")
    views = whole_blocks(unit, command, blocks)
    if views:
        unit.statistics.writes += 1
        unit.statistics.blocks_written += blocks
        yield Write(lba * unit.block_size_bytes, views, True)
        length = buffers.length_of(views)
        yield from _compare(unit, lba, length // unit.block_size_bytes, views if fields.bytchk else ())
    return GOOD


def verify(unit: LogicalUnit, command: Command) -> Steps:
    """VERIFY(10/12/16): read, and compare with the Data-Out Buffer as BYTCHK says.

    00b nothing is compared, 01b every block with its own, 11b every block with the one block sent.
    Raises Miscompare with the LBA of the first block that differs.  Source: SBC-4 5.36.
    """
    fields = command.fields
    lba, blocks, bytchk = fields.logical_block_address, fields.verification_length, fields.bytchk
    block = unit.block_size_bytes
    command.data_out_wanted = (0, blocks * block, 0, block)[bytchk]
    if fields.vrprotect:
        raise InvalidFieldInCdb("vrprotect")
    if bytchk == 2:
        raise InvalidFieldInCdb("bytchk")
    check_range(unit, lba, blocks)
    if blocks > unit.transfer_blocks:
        raise InvalidFieldInCdb("verification_length")
    if not blocks:
        return GOOD
    expected: buffers.Views = ()
    if bytchk == 1:
        expected = whole_blocks(unit, command, blocks)
        blocks = buffers.length_of(expected) // block
    elif bytchk == 3:
        if command.data_out_bytes < block:
            raise InvalidFieldInCdb("bytchk")
        expected = (buffers.repeated(buffers.gather(command.data_out, block), blocks * block),)
    yield from _compare(unit, lba, blocks, expected)
    return GOOD


def _compare(unit: LogicalUnit, lba: int, blocks: int, expected: buffers.Views) -> Generator[Operation, Any, None]:
    """Read blocks from lba on, in chunks; compare them with expected unless that is empty."""
    block = unit.block_size_bytes
    at, length = 0, blocks * block
    chunk = memoryview(bytearray(min(CHUNK_BYTES, length)))
    while at < length:
        view = chunk[: min(CHUNK_BYTES, length - at)]
        yield Read(lba * block + at, (view,))
        if expected:
            difference = buffers.first_difference(buffers.cut(expected, at, len(view)), (view,))
            if difference is not None:
                raise Miscompare(lba + (at + difference) // block)
        at += len(view)


def compare_and_write(unit: LogicalUnit, command: Command) -> Steps:
    """COMPARE AND WRITE: the first half of the Data-Out Buffer is what must be there, the second half replaces it.

    The table's overlap (ATOMIC) keeps everybody else off these blocks meanwhile. Raises Miscompare with the offset of
    the first byte that differs.  Source: SBC-4 5.3.
    """
    fields = command.fields
    lba, blocks = fields.logical_block_address, fields.number_of_logical_blocks
    length = blocks * unit.block_size_bytes
    command.data_out_wanted = 2 * length
    if fields.wrprotect:
        raise InvalidFieldInCdb("wrprotect")
    check_range(unit, lba, blocks)
    if blocks > unit.limits.compare_and_write_blocks:
        raise InvalidFieldInCdb("number_of_logical_blocks")
    if command.data_out_bytes != 2 * length:
        raise InvalidFieldInCdb("number_of_logical_blocks")
    if not blocks:
        return GOOD
    found = memoryview(bytearray(length))
    yield Read(lba * unit.block_size_bytes, (found,))
    difference = buffers.first_difference(buffers.cut(command.data_out, 0, length), (found,))
    if difference is not None:
        raise Miscompare(difference)
    replacement = buffers.cut(command.data_out, length, length)
    yield Write(lba * unit.block_size_bytes, replacement, unit.durable_writes or bool(fields.fua))
    return GOOD


def synchronize_cache(unit: LogicalUnit, command: Command) -> Steps:
    """SYNCHRONIZE CACHE(10/16): everything acknowledged so far reaches stable storage, whatever range is named.

    With IMMED too GOOD is said only when that is done: an error after GOOD would have nobody to hear it.
    NUMBER OF LOGICAL BLOCKS 0 means to the last block.  Source: SBC-4 5.33.
    """
    fields = command.fields
    check_range(unit, fields.logical_block_address, fields.number_of_logical_blocks)
    yield Flush()
    return GOOD


def pre_fetch(unit: LogicalUnit, command: Command) -> Response:
    """PRE-FETCH(10/16): GOOD, which says that not all blocks are in the cache (CONDITION MET would).

    Reading ahead is the storage's own business, and the initiator may not count on it.  Source: SBC-4 5.13.
    """
    fields = command.fields
    check_range(unit, fields.logical_block_address, fields.prefetch_length)
    return GOOD


def read_capacity_10(unit: LogicalUnit, command: Command) -> Response:
    """READ CAPACITY(10): FFFFFFFFh if the last LBA needs more than 32 bits.  Source: SBC-4 5.20."""
    data = READ_CAPACITY_10_DATA.pack(
        returned_logical_block_address=min(unit.blocks - 1, 0xFFFFFFFF), logical_block_length=unit.block_size_bytes
    )
    return reply(command, data, len(data))


def read_capacity_16(unit: LogicalUnit, command: Command) -> Response:
    """READ CAPACITY(16).  Source: SBC-4 5.21."""
    return reply(command, capacity(unit), command.fields.allocation_length)


def capacity(unit: LogicalUnit) -> bytearray:
    """The parameter data of READ CAPACITY(16)."""
    return READ_CAPACITY_16_DATA.pack(
        returned_logical_block_address=unit.blocks - 1,
        logical_block_length=unit.block_size_bytes,
        logical_blocks_per_physical_block_exponent=physical_exponent(unit.options),
        lbpme=unit.thin,
        lbprz=unit.unmapped_reads_zeros,
    )
