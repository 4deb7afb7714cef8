"""Copies by token, as Windows does them (ODX): POPULATE TOKEN, WRITE USING TOKEN, RECEIVE ROD TOKEN INFORMATION.

Source: SBC-4 5.12 (POPULATE TOKEN), 5.59 (WRITE USING TOKEN), 4.28; SPC-4 6.26, 6.31.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Optional

from tcmu_gluster.scsi import buffers
from tcmu_gluster.scsi.command import GOOD, Command, Response
from tcmu_gluster.scsi.copies import Copy, CopyStatus, carry_out
from tcmu_gluster.scsi.copy_parts import Side, clear, move, put
from tcmu_gluster.scsi.copy_results import AVAILABLE, shared_status
from tcmu_gluster.scsi.copy_sense import DESTINATION, SOURCE, CopyAborted, PartFailed
from tcmu_gluster.scsi.extended_copy import parameter_list
from tcmu_gluster.scsi.rod_token import (
    ASKABLE_TYPES,
    BLOCK_DEVICE_ZERO,
    MAXIMUM_INACTIVITY_SECONDS,
    MAXIMUM_RANGES,
    MAXIMUM_ROD_BYTES,
    ROD_TOKEN,
    ROD_TOKEN_LENGTH,
    Ranges,
)
from tcmu_gluster.scsi.sense import (
    Asc,
    IllegalRequest,
    InvalidFieldInParameterList,
    LbaOutOfRange,
    ParameterListLengthError,
)
from tcmu_gluster.scsi.spc import reply
from tcmu_gluster.scsi.tokens import Token, Tokens, management_token
from tcmu_gluster.wire.layout import Bit, Blob, Int, Layout

if TYPE_CHECKING:
    from tcmu_gluster.scsi.logical_unit import LogicalUnit
    from tcmu_gluster.scsi.task import Result, Steps

POPULATE_LIST = Layout("POPULATE TOKEN parameter list", 16, (
    Int("populate_token_data_length", 0, 2),
    Bit("rtv", 2, 1), Bit("immed", 2, 0),
    Int("inactivity_timeout", 4, 4),
    Int("rod_type", 8, 4),
    Int("block_device_range_descriptor_length", 14, 2),
))  # fmt: skip
WRITE_LIST = Layout("WRITE USING TOKEN parameter list", 536, (
    Int("write_using_token_data_length", 0, 2),
    Bit("del_tkn", 2, 1), Bit("immed", 2, 0),
    Int("offset_into_rod", 8, 8),
    Blob("rod_token", 16, 512),
    Int("block_device_range_descriptor_length", 534, 2),
))  # fmt: skip
RANGE = Layout("block device range descriptor", 16, (
    Int("logical_block_address", 0, 8), Int("number_of_logical_blocks", 8, 4),
))  # fmt: skip
DESCRIPTORS_LENGTH = Layout("ROD TOKEN DESCRIPTORS LENGTH", 4, (Int("rod_token_descriptors_length", 0, 4),))
ROD_TOKEN_DESCRIPTOR = Layout("ROD token descriptor", 514, (
    Int("id_for_creating_rod_cscd_descriptor", 0, 2), Blob("rod_token", 2, 512),
))  # fmt: skip
ALL_TOKENS_HEADER = Layout("REPORT ALL ROD TOKENS parameter data", 8, (Int("available_data", 0, 4),))
SHORTEST_POPULATE, SHORTEST_WRITE = 0x1E, 0x226  # what the data length fields may say at least
POPULATE, WRITE = 0x10, 0x11


def _ranges(unit: LogicalUnit, data: bytes, layout: Layout) -> Ranges:
    """The block device range descriptors behind a list's header, checked; those without blocks are left out.

    Incomplete and truncated ones are ignored.
    """
    head, size = layout.size_bytes, RANGE.size_bytes
    length = layout.unpack(data).block_device_range_descriptor_length
    if length < size:
        raise InvalidFieldInParameterList("block_device_range_descriptor_length", layout=layout)
    if length // size > MAXIMUM_RANGES:
        raise IllegalRequest(Asc.TOO_MANY_SEGMENT_DESCRIPTORS)
    found = []
    for at in range(head, min(head + length, len(data)) - size + 1, size):
        descriptor = RANGE.unpack(data, at)
        lba, blocks = descriptor.logical_block_address, descriptor.number_of_logical_blocks
        if blocks * unit.block_size_bytes > MAXIMUM_ROD_BYTES:
            raise InvalidFieldInParameterList("number_of_logical_blocks", layout=RANGE, base=at)
        if lba + blocks > unit.blocks:
            raise LbaOutOfRange(max(lba, unit.blocks))
        if blocks:
            found.append((lba, blocks))
    ascending = sorted(found)
    twice = any(lba + blocks > following for (lba, blocks), (following, _) in zip(ascending, ascending[1:]))
    if twice or sum(blocks for _, blocks in found) * unit.block_size_bytes > MAXIMUM_ROD_BYTES:
        raise InvalidFieldInParameterList(head)
    return tuple(found)


def populate_blocks(command: Any) -> Optional[tuple[int, int]]:
    """From the first to behind the last block that a POPULATE TOKEN names; None if its list can't be read."""
    data, size = buffers.gather(command.data_out, command.fields.parameter_list_length), RANGE.size_bytes
    named = [RANGE.unpack(data, at) for at in range(POPULATE_LIST.size_bytes, len(data) - size + 1, size)]
    if not named:
        return None
    lbas = [(one.logical_block_address, one.number_of_logical_blocks) for one in named]
    return min(lba for lba, _ in lbas), max(lba + blocks for lba, blocks in lbas)


def populate_token(unit: LogicalUnit, command: Command) -> Response:
    """POPULATE TOKEN: done at once, because nothing is copied; the token is fetched by its list identifier.

    Its row is ATOMIC on the blocks: no write to them is under way, and every later one revokes the token.
    Source: SBC-4 5.12.
    """
    data, fields = parameter_list(command), command.fields
    if not fields.parameter_list_length:
        return GOOD
    if len(data) < POPULATE_LIST.size_bytes:
        raise ParameterListLengthError()
    wanted = POPULATE_LIST.unpack(data)
    if wanted.populate_token_data_length < SHORTEST_POPULATE:
        raise InvalidFieldInParameterList("populate_token_data_length", layout=POPULATE_LIST)
    if wanted.inactivity_timeout > MAXIMUM_INACTIVITY_SECONDS:
        raise InvalidFieldInParameterList("inactivity_timeout", layout=POPULATE_LIST)
    if wanted.rtv and wanted.rod_type not in ASKABLE_TYPES:
        raise InvalidFieldInParameterList("rod_type", layout=POPULATE_LIST)
    ranges = _ranges(unit, data, POPULATE_LIST)
    copy = unit.copies.begin(command, fields.list_identifier, POPULATE)
    try:
        token = _tokens(unit).create(unit, command.nexus, ranges, wanted.inactivity_timeout)
    except IllegalRequest as error:
        copy.end(CopyStatus.FAILED, error.response(unit.descriptor_sense))
        raise
    unit.statistics.reads += 1  # SPC-4 table 375; the blocks that a token stands for are not transmitted
    copy.token, copy.moved_bytes = token.data, token.size_bytes
    copy.end(CopyStatus.COMPLETED)
    return GOOD


def _tokens(unit: LogicalUnit) -> Tokens:
    tokens: Optional[Tokens] = unit.copies.manager.tokens
    assert tokens is not None  # else the row is not in the unit's table
    return tokens


def write_using_token(unit: LogicalUnit, command: Command) -> Result:
    """WRITE USING TOKEN: into blocks of this unit, from wherever the token's are.

    A token that ends before the ranges do leaves the rest as it was, but for the last block it reaches into, whose
    other bytes become zeros; that is COPY TARGET DEVICE DATA UNDERRUN with the blocks that were written, and partial
    ROD token usage for who asks later.  Source: SBC-4 5.59, 4.28.2.
    """
    data, fields = parameter_list(command), command.fields
    if not fields.parameter_list_length:
        return GOOD
    if len(data) < WRITE_LIST.size_bytes:
        raise ParameterListLengthError()
    wanted = WRITE_LIST.unpack(data)
    length, ranges_length = wanted.write_using_token_data_length, wanted.block_device_range_descriptor_length
    if length < SHORTEST_WRITE or length != ranges_length + WRITE_LIST.size_bytes - 2:
        raise InvalidFieldInParameterList("write_using_token_data_length", layout=WRITE_LIST)
    ranges, token = _ranges(unit, data, WRITE_LIST), _token_of(unit, wanted.rod_token)
    offset = wanted.offset_into_rod * unit.block_size_bytes
    if token is not None and offset >= token.size_bytes:
        raise InvalidFieldInParameterList("offset_into_rod", layout=WRITE_LIST)
    copy = unit.copies.begin(command, fields.list_identifier, WRITE)
    work = _write(unit, copy, token, offset, ranges, bool(wanted.del_tkn))
    return carry_out(unit, command, copy, work, immed=bool(wanted.immed))


def _token_of(unit: LogicalUnit, data: bytes) -> Optional[Token]:
    """The token of these bytes; None for the one that stands for zeros. Raises IllegalRequest."""
    fields = ROD_TOKEN.unpack(data)
    if fields.rod_type == BLOCK_DEVICE_ZERO:
        if fields.rod_token_length != ROD_TOKEN_LENGTH:
            raise IllegalRequest(Asc.INVALID_TOKEN_LENGTH)
        return None
    return _tokens(unit).find(data)


def _write(unit: LogicalUnit, copy: Copy, token: Optional[Token], offset: int, ranges: Ranges, delete: bool) -> Steps:
    destination, block = Side(unit, copy.nexus, DESTINATION), unit.block_size_bytes
    if token is None:
        for lba, blocks in ranges:
            yield from clear(copy, destination, lba * block, blocks * block)
        return GOOD
    tokens, owner = _tokens(unit), token
    copy.check = lambda: owner.check(copy)
    tokens.hold(token)
    try:
        source = Side(token.unit, token.nexus, SOURCE)
        for at, to, length in pieces(token, offset, ranges, block):
            yield from move(copy, source, at, destination, to, length)
        reached = min(token.size_bytes - offset, sum(blocks for _, blocks in ranges) * block)
        if reached % block:
            yield from _zero_the_rest(copy, destination, ranges, reached)
    except PartFailed as failed:
        if failed.side == SOURCE:
            raise CopyAborted(Asc.THIRD_PARTY_DEVICE_FAILURE, failed=failed) from failed
        raise
    finally:
        tokens.release(token)
    if delete:
        tokens.end(token, Asc.TOKEN_DELETED)
    if reached < sum(blocks for _, blocks in ranges) * block:
        underrun = CopyAborted(Asc.COPY_TARGET_DEVICE_DATA_UNDERRUN, residual=copy.moved_bytes // block)
        response = underrun.response(unit.descriptor_sense)
        copy.end(CopyStatus.PARTIAL_TOKEN, response)
        return response
    return GOOD


def pieces(token: Token, offset: int, ranges: Ranges, block: int) -> Iterator[tuple[int, int, int]]:
    """(offset in the source unit, offset in the destination, length) in bytes, from a byte offset into the data on."""
    sources = [(lba * token.block_size_bytes, blocks * token.block_size_bytes) for lba, blocks in token.ranges]
    targets = [(lba * block, blocks * block) for lba, blocks in ranges]
    while sources and offset >= sources[0][1]:
        offset -= sources.pop(0)[1]
    if sources:
        at, length = sources[0]
        sources[0] = at + offset, length - offset
    while sources and targets:
        (at, available), (to, room) = sources[0], targets[0]
        step = min(available, room)
        yield at, to, step
        sources[0], targets[0] = (at + step, available - step), (to + step, room - step)
        sources, targets = [one for one in sources if one[1]], [one for one in targets if one[1]]


def _zero_the_rest(copy: Copy, destination: Side, ranges: Ranges, reached: int) -> Steps:
    """The block that the token's data ends in: zeros behind them."""
    block = destination.unit.block_size_bytes
    for lba, blocks in ranges:
        if reached < blocks * block:
            rest = -reached % block
            yield from put(copy, destination, lba * block + reached, bytes(rest))
            yield from copy.moved(rest)
            break
        reached -= blocks * block
    return GOOD


def receive_rod_token_information(unit: LogicalUnit, command: Command) -> Response:
    """RECEIVE ROD TOKEN INFORMATION: how the copy stands, and its token, which is told once.  Source: SPC-4 6.26."""
    fields = command.fields
    copy = unit.copies.find(command.nexus, fields.list_identifier)
    data = shared_status(unit, copy)
    tokens = bytes(ROD_TOKEN_DESCRIPTOR.pack(rod_token=copy.token)) if copy.token else b""
    data += DESCRIPTORS_LENGTH.pack(rod_token_descriptors_length=len(tokens)) + tokens
    AVAILABLE.pack_into(data, available_data=len(data) - 4)
    if copy.token and (not fields.allocation_length or fields.allocation_length >= len(data)):
        copy.token = b""
    return reply(command, data, fields.allocation_length)


def report_all_rod_tokens(unit: LogicalUnit, command: Command) -> Response:
    """REPORT ALL ROD TOKENS: header and body of each that names blocks of this unit and lives.  Source: SPC-4 6.31."""
    tokens = _tokens(unit)
    tokens.sweep()
    data = b"".join(map(management_token, unit.promised))
    head = ALL_TOKENS_HEADER.pack(available_data=ALL_TOKENS_HEADER.size_bytes - 4 + len(data))
    return reply(command, bytes(head) + data, command.fields.allocation_length)
