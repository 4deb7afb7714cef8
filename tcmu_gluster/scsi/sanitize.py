"""SANITIZE: overwrite, block erase, and the way out of a failed one. Nothing is encrypted, so no cryptographic erase.

What can be promised is what a file can: every block that held data is written over through the file, and all of it is
on stable storage. Copies that the storage keeps by itself (snapshots, a log-structured file system) are not reached.
Source: SBC-4 4.11, 5.30.
"""

from __future__ import annotations

import errno
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from tcmu_gluster.backends.base import Allocation, Extent, Flush, Map, Operation
from tcmu_gluster.scsi import buffers
from tcmu_gluster.scsi.background import SANITIZE, State, Work
from tcmu_gluster.scsi.command import GOOD, Command
from tcmu_gluster.scsi.provisioning import discard, fill
from tcmu_gluster.scsi.sense import InvalidFieldInCdb, InvalidFieldInParameterList, ParameterListLengthError
from tcmu_gluster.wire.layout import Bit, Bits, Int, Layout

if TYPE_CHECKING:
    from tcmu_gluster.scsi.logical_unit import LogicalUnit
    from tcmu_gluster.scsi.task import Steps

OVERWRITE_LIST = Layout("SANITIZE overwrite parameter list", 4, (
    Bit("invert", 0, 7), Bits("test", 0, high=6, low=5), Bits("overwrite_count", 0, high=4, low=0),
    Int("initialization_pattern_length", 2, 2),
))  # fmt: skip
PIECE_BYTES = 64 << 20
"""How much is given back, or looked for data, in one step."""


def _check(unit: LogicalUnit, command: Command) -> None:
    """What every service action asks of its CDB: reserved bits are looked at, since so much is lost at once."""
    unit.background.admit(SANITIZE)
    for stray in command.entry.layout.reserved_bits(command.cdb[:9] + bytes(1)):
        raise InvalidFieldInCdb(stray)


def _begin(unit: LogicalUnit, command: Command, total_bytes: int, work: Work) -> Steps:
    fields, background = command.fields, unit.background
    may_leave, immed = bool(fields.ause), bool(fields.immed)
    if may_leave and background.state is State.FAILED and not background.may_leave_failure:
        raise InvalidFieldInCdb("ause")  # only one that succeeds leads out of that failure
    return (yield from background.run(
        command, SANITIZE, total_bytes, work, immed=immed, may_leave_failure=may_leave
    ))  # fmt: skip


def overwrite(unit: LogicalUnit, command: Command) -> Steps:
    """SANITIZE, OVERWRITE: every block gets the pattern, OVERWRITE COUNT times.

    INVERT turns every other pass around, so that the last one is as the list says.

    Raises InvalidFieldInCdb (a list that can hold no pattern, or one longer than a block), InvalidFieldInParameterList.
    """
    fields, block = command.fields, unit.block_size_bytes
    length = command.data_out_wanted = fields.parameter_list_length
    _check(unit, command)
    head = OVERWRITE_LIST.size_bytes
    if not head < length <= head + block:
        raise InvalidFieldInCdb("parameter_list_length")
    data = buffers.gather(command.data_out, min(length, command.data_out_bytes))
    if len(data) < length:
        raise ParameterListLengthError()
    wanted = OVERWRITE_LIST.unpack(data)
    if wanted.test:
        raise InvalidFieldInParameterList("test", layout=OVERWRITE_LIST)
    if not wanted.overwrite_count:
        raise InvalidFieldInParameterList("overwrite_count", layout=OVERWRITE_LIST)
    pattern_length = wanted.initialization_pattern_length
    if not 0 < pattern_length <= block or head + pattern_length > length:
        raise InvalidFieldInParameterList("initialization_pattern_length", layout=OVERWRITE_LIST)
    pattern = block_of(data[head : head + pattern_length], block)
    passes = [pattern] * wanted.overwrite_count
    if wanted.invert:
        passes[-2::-2] = [bytes(byte ^ 0xFF for byte in pattern)] * len(passes[-2::-2])
    total = len(passes) * unit.blocks * block
    return (yield from _begin(unit, command, total, _passes(unit, passes)))


def block_of(pattern: bytes, block_size_bytes: int) -> bytes:
    """A block that begins with the pattern and repeats it; the last one is cut where the block ends."""
    return (pattern * -(-block_size_bytes // len(pattern)))[:block_size_bytes]


def _passes(unit: LogicalUnit, passes: list[bytes]) -> Work:
    for pattern in passes:
        yield from fill(pattern, 0, unit.blocks * unit.block_size_bytes, unit.background.moved)
        yield Flush()


def block_erase(unit: LogicalUnit, command: Command) -> Steps:
    """SANITIZE, BLOCK ERASE: what is mapped is written over with zeros, and then everything is given back."""
    _check_no_list(unit, command)
    total = 2 * unit.blocks * unit.block_size_bytes
    return (yield from _begin(unit, command, total, _erase(unit)))


def _check_no_list(unit: LogicalUnit, command: Command) -> None:
    command.data_out_wanted = command.fields.parameter_list_length
    _check(unit, command)
    if command.fields.parameter_list_length:
        raise InvalidFieldInCdb("parameter_list_length")


def _erase(unit: LogicalUnit) -> Work:
    moved, zeros = unit.background.moved, bytes(unit.block_size_bytes)
    end = unit.blocks * unit.block_size_bytes
    at = 0
    while at < end:
        length = min(PIECE_BYTES, end - at)
        for extent in (yield from _extents(unit, at, length)):
            if extent.allocation is Allocation.DATA:
                yield from fill(zeros, extent.offset, extent.length, moved)
            else:
                yield from unit.background.turn(extent.length)
            at = extent.offset + extent.length
    yield Flush()
    yield from give_all_back(unit)


def _extents(unit: LogicalUnit, at: int, length: int) -> Generator[Operation, Any, list[Extent]]:
    """What is mapped from an offset on; all of it where the storage can't tell."""
    extents: list[Extent] = []
    if unit.backend.capabilities.can_map:
        try:
            extents = yield Map(at, length)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
    return extents or [Extent(at, length, Allocation.DATA)]


def give_all_back(unit: LogicalUnit) -> Work:
    """Every block becomes unmapped."""
    end = unit.blocks * unit.block_size_bytes
    for at in range(0, end, PIECE_BYTES):
        length = min(PIECE_BYTES, end - at)
        yield from discard(unit, at, length)
        yield from unit.background.turn(length)


def exit_failure_mode(unit: LogicalUnit, command: Command) -> Steps:
    """SANITIZE, EXIT FAILURE MODE: after a failure, if the command that failed allowed that (AUSE); else nothing."""
    _check_no_list(unit, command)
    background = unit.background
    if background.state is State.FAILED:  # of a SANITIZE, or admit() would have refused
        if not background.may_leave_failure:
            raise InvalidFieldInCdb("service_action")
        yield from background.leave_failure()
    return GOOD
