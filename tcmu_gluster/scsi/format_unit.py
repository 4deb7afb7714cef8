"""FORMAT UNIT: every block reads as zeros, or as the initialization pattern, afterwards.

The block size stays what it is (MODE SELECT takes no other), there is no protection information, and a file has no
defects that a list could name.  Source: SBC-4 5.4, 4.33.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from tcmu_gluster.scsi import buffers
from tcmu_gluster.scsi.background import FORMAT, Work
from tcmu_gluster.scsi.command import Command
from tcmu_gluster.scsi.provisioning import fill, zero
from tcmu_gluster.scsi.sanitize import PIECE_BYTES, block_of, give_all_back
from tcmu_gluster.scsi.sense import InvalidFieldInCdb, InvalidFieldInParameterList, ParameterListLengthError
from tcmu_gluster.wire.layout import Bit, Bits, Int, Layout

if TYPE_CHECKING:
    from tcmu_gluster.scsi.logical_unit import LogicalUnit
    from tcmu_gluster.scsi.task import Steps

_OPTIONS = (
    Bits("protection_field_usage", 0, high=2, low=0),
    Bit("fov", 1, 7), Bit("dpry", 1, 6), Bit("dcrt", 1, 5), Bit("stpf", 1, 4), Bit("ip", 1, 3), Bit("immed", 1, 1),
)  # fmt: skip
SHORT_HEADER = Layout("FORMAT UNIT short parameter list header", 4, (*_OPTIONS, Int("defect_list_length", 2, 2)))
LONG_HEADER = Layout("FORMAT UNIT long parameter list header", 8, (
    *_OPTIONS,
    Bits("p_i_information", 3, high=7, low=4), Bits("protection_interval_exponent", 3, high=3, low=0),
    Int("defect_list_length", 4, 4),
))  # fmt: skip
INITIALIZATION_PATTERN = Layout("FORMAT UNIT initialization pattern descriptor", 4, (
    Bit("si", 0, 5),
    Int("initialization_pattern_type", 1, 1),
    Int("initialization_pattern_length", 2, 2),
))  # fmt: skip
DEFAULT_PATTERN, REPEAT_PATTERN = 0x00, 0x01
RESERVED_FORMAT = 0b111


class _Wanted:
    """What a parameter list asks for: without one nothing but a format that ends with the command."""

    def __init__(self) -> None:
        self.immed = False
        self.pattern: Optional[bytes] = None


def format_unit(unit: LogicalUnit, command: Command) -> Steps:
    """FORMAT UNIT. Raises InvalidFieldInCdb, InvalidFieldInParameterList, ParameterListLengthError."""
    fields, background = command.fields, unit.background
    command.data_out_wanted = command.data_out_bytes if fields.fmtdata else 0
    background.admit(FORMAT)
    if fields.fmtpinfo:
        raise InvalidFieldInCdb("fmtpinfo")
    if fields.fmtdata and fields.defect_list_format == RESERVED_FORMAT:
        raise InvalidFieldInCdb("defect_list_format")
    if fields.ffmt:  # a fast format would leave what is there
        raise InvalidFieldInCdb("ffmt")
    wanted = _parse(unit, command) if fields.fmtdata else _Wanted()
    total = unit.blocks * unit.block_size_bytes
    return (yield from background.run(command, FORMAT, total, _format(unit, wanted.pattern), immed=wanted.immed))


def _parse(unit: LogicalUnit, command: Command) -> _Wanted:
    """The parameter list, judged."""
    layout = LONG_HEADER if command.fields.longlist else SHORT_HEADER
    data = buffers.gather(command.data_out, min(command.data_out_bytes, 2 * unit.block_size_bytes))
    if len(data) < layout.size_bytes:
        raise ParameterListLengthError()
    header, wanted = layout.unpack(data), _Wanted()
    for name in ("protection_field_usage", "p_i_information", "protection_interval_exponent"):
        if getattr(header, name, 0) if name in layout.fields else 0:
            raise InvalidFieldInParameterList(name, layout=layout)
    if not header.fov:
        for name in ("dpry", "dcrt", "stpf", "ip"):
            if getattr(header, name):
                raise InvalidFieldInParameterList(name, layout=layout)
    if header.defect_list_length:
        raise InvalidFieldInParameterList("defect_list_length", layout=layout)
    wanted.immed = bool(header.immed)
    if header.ip:
        wanted.pattern = _pattern(unit, data, layout.size_bytes)
    return wanted


def _pattern(unit: LogicalUnit, data: bytes, at: int) -> Optional[bytes]:
    """The block that the initialization pattern descriptor at this offset asks for; None for zeros."""
    layout = INITIALIZATION_PATTERN
    if len(data) - at < layout.size_bytes:
        raise ParameterListLengthError()
    descriptor = layout.unpack(data, at)
    length, kind = descriptor.initialization_pattern_length, descriptor.initialization_pattern_type
    if descriptor.si:
        raise InvalidFieldInParameterList("si", layout=layout, base=at)
    if kind not in (DEFAULT_PATTERN, REPEAT_PATTERN):
        raise InvalidFieldInParameterList("initialization_pattern_type", layout=layout, base=at)
    if (
        length > unit.block_size_bytes
        or (kind == DEFAULT_PATTERN and length)
        or (kind == REPEAT_PATTERN and not length)
    ):
        raise InvalidFieldInParameterList("initialization_pattern_length", layout=layout, base=at)
    pattern = data[at + layout.size_bytes : at + layout.size_bytes + length]
    if len(pattern) < length:
        raise ParameterListLengthError()
    return block_of(pattern, unit.block_size_bytes) if any(pattern) else None


def _format(unit: LogicalUnit, pattern: Optional[bytes]) -> Work:
    end = unit.blocks * unit.block_size_bytes
    if pattern is not None:
        yield from fill(pattern, 0, end, unit.background.moved)
    elif unit.thin:
        yield from give_all_back(unit)
    else:
        for at in range(0, end, PIECE_BYTES):
            length = min(PIECE_BYTES, end - at)
            yield from zero(unit, at, length)
            yield from unit.background.turn(length)
