"""What an EXTENDED COPY parameter list holds: the header in its two forms, who takes part, and the segments.

What is wrong before the first segment is ILLEGAL REQUEST, and nothing was copied.  Source: SPC-4 5.17.7 and 6.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from tcmu_gluster.scsi.sense import Asc, IllegalRequest, InvalidFieldInParameterList, ParameterListLengthError
from tcmu_gluster.wire.layout import Bit, Bits, Blob, Const, Int, Layout

_USAGE = (Bit("str", 1, 5), Bits("list_id_usage", 1, high=4, low=3), Bits("priority", 1, high=2, low=0))

LID1_HEADER = Layout("EXTENDED COPY(LID1) parameter list", 16, (
    Int("list_identifier", 0, 1),
    *_USAGE,
    Int("cscd_descriptor_list_length", 2, 2),
    Int("segment_descriptor_list_length", 8, 4),
    Int("inline_data_length", 12, 4),
))  # fmt: skip
LID4_HEADER = Layout("EXTENDED COPY(LID4) parameter list", 48, (
    Const("parameter_list_format", 0, 1, 0x01),
    *_USAGE,
    Const("header_cscd_descriptor_list_length", 2, 2, 0x20),
    Bit("g_sense", 15, 1), Bit("immed", 15, 0),
    Const("header_cscd_descriptor_type_code", 16, 1, 0xFF),
    Int("list_identifier", 20, 4),
    Int("cscd_descriptor_list_length", 42, 2),
    Int("segment_descriptor_list_length", 44, 2),
    Int("inline_data_length", 46, 2),
))  # fmt: skip
# 6.4.5.5, with the device type specific parameters of a block device.
IDENTIFICATION_CSCD = Layout("identification descriptor CSCD descriptor", 32, (
    Int("descriptor_type_code", 0, 1),
    Bits("lu_id_type", 1, high=7, low=6), Bits("peripheral_device_type", 1, high=4, low=0),
    Int("relative_initiator_port_identifier", 2, 2),
    Bits("code_set", 4, high=3, low=0),
    Bits("association", 5, high=5, low=4), Bits("designator_type", 5, high=3, low=0),
    Int("designator_length", 7, 1),
    Blob("designator", 8, 20),
    Bit("pad", 28, 2),
    Bits("disk_block_length", 29, high=23, low=0, size_bytes=3),
))  # fmt: skip
SEGMENT_HEADER = Layout("segment descriptor header", 8, (
    Int("descriptor_type_code", 0, 1),
    Bit("dc", 1, 1), Bit("cat", 1, 0),
    Int("descriptor_length", 2, 2),
    Int("source_cscd_descriptor_id", 4, 2), Int("destination_cscd_descriptor_id", 6, 2),
))  # fmt: skip
_LBAS = (
    Int("source_block_device_logical_block_address", 12, 8),
    Int("destination_block_device_logical_block_address", 20, 8),
)
BLOCK_TO_BLOCK = Layout("block to block segment descriptor", 28, (
    *SEGMENT_HEADER.fields.values(),
    Int("block_device_number_of_blocks", 10, 2),
    *_LBAS,
))  # fmt: skip
OFFSET_TO_OFFSET = Layout("block device with offset to block device with offset segment descriptor", 32, (
    *SEGMENT_HEADER.fields.values(),
    Int("number_of_bytes", 8, 4),
    *_LBAS,
    Int("source_block_device_byte_offset", 28, 2), Int("destination_block_device_byte_offset", 30, 2),
))  # fmt: skip

IDENTIFICATION, BLOCK, BLOCK_WITH_OFFSET = 0xE4, 0x02, 0x0A
SEGMENTS = {BLOCK: BLOCK_TO_BLOCK, BLOCK_WITH_OFFSET: OFFSET_TO_OFFSET}
IMPLEMENTED = bytes(sorted((*SEGMENTS, IDENTIFICATION)))
THIS_UNIT = 0xFFFF
"""The CSCD descriptor ID of the unit that the command was sent to."""
TOKEN_S_UNIT = 0xF800
"""The one of the unit that a token in a ROD CSCD descriptor names; no such descriptor is taken here."""
CSCD_BYTES = IDENTIFICATION_CSCD.size_bytes
MAXIMUM_CSCDS, MAXIMUM_SEGMENTS = 16, 64
MAXIMUM_LIST_BYTES = MAXIMUM_CSCDS * CSCD_BYTES + MAXIMUM_SEGMENTS * BLOCK_TO_BLOCK.size_bytes
MAXIMUM_SEGMENT_BYTES = 256 << 20
UNIT_COPIES, ALL_COPIES = 32, 64
"""How many may run at a time, of one unit and of all: each has a chunk of memory (copy_parts.py)."""
USAGE_HOLD, USAGE_DISCARD, USAGE_NONE = 0b00, 0b10, 0b11
BLOCK_DEVICE, LOGICAL_UNIT = 0x00, 0b00


@dataclass(frozen=True)
class Segment:
    """One segment descriptor. number counts from 0; fields are those of its layout."""

    number: int
    fields: Any

    def pointer(self, field: str) -> int:
        """Where a field begins in the descriptor."""
        return int(self.fields.layout.field_pointer(field)[0])


@dataclass(frozen=True)
class CopyList:
    """A parameter list that holds together. list_id is None where none is wanted; cscds come with their offsets."""

    list_id: Optional[int]
    immed: bool
    g_sense: bool
    cscds: tuple[tuple[int, Any], ...]
    segments: tuple[Segment, ...]


def read_list(data: bytes, layout: Layout) -> CopyList:
    """Read a parameter list; layout is its header's. Raises IllegalRequest."""
    if len(data) < layout.size_bytes:
        raise ParameterListLengthError()
    header = layout.unpack(data)
    if layout is LID4_HEADER:
        for field in layout.fields.values():
            if isinstance(field, Const) and getattr(header, field.name) != field.value:
                raise InvalidFieldInParameterList(field.name, layout=layout)
    list_id = _list_id(header, layout)
    cscd_bytes, segment_bytes = header.cscd_descriptor_list_length, header.segment_descriptor_list_length
    first_segment = layout.size_bytes + cscd_bytes
    if cscd_bytes % CSCD_BYTES:
        raise InvalidFieldInParameterList("cscd_descriptor_list_length", layout=layout)
    if cscd_bytes + segment_bytes > MAXIMUM_LIST_BYTES or first_segment + segment_bytes > len(data):
        raise ParameterListLengthError()
    if cscd_bytes // CSCD_BYTES > MAXIMUM_CSCDS:
        raise IllegalRequest(Asc.TOO_MANY_TARGET_DESCRIPTORS)
    if header.inline_data_length:
        raise IllegalRequest(Asc.INLINE_DATA_LENGTH_EXCEEDED)
    cscds = tuple(
        (at, _cscd(data, at)) for at in range(layout.size_bytes, first_segment, CSCD_BYTES)
    )  # fmt: skip
    segments = _segments(data, first_segment, first_segment + segment_bytes)
    immed, g_sense = getattr(header, "immed", 0), getattr(header, "g_sense", 0)
    return CopyList(list_id, bool(immed), bool(g_sense), cscds, segments)


def _list_id(header: Any, layout: Layout) -> Optional[int]:
    """LIST ID USAGE: 00b and 10b name the copy, 11b does not and then wants 0.  Source: SPC-4 6.4.3.2."""
    usage = header.list_id_usage
    if usage in (USAGE_HOLD, USAGE_DISCARD):
        return int(header.list_identifier)
    if usage != USAGE_NONE:
        raise InvalidFieldInParameterList("list_id_usage", layout=layout)
    if header.list_identifier:
        raise InvalidFieldInParameterList("list_identifier", layout=layout)
    return None


def _cscd(data: bytes, at: int) -> Any:
    if data[at] != IDENTIFICATION:
        raise IllegalRequest(Asc.UNSUPPORTED_TARGET_DESCRIPTOR_TYPE_CODE)
    cscd = IDENTIFICATION_CSCD.unpack(data, at)
    wrong = None
    if cscd.association != LOGICAL_UNIT:
        wrong = "association"
    elif not 0 < cscd.designator_length <= 20:
        wrong = "designator_length"
    if wrong is not None:
        raise InvalidFieldInParameterList(wrong, layout=IDENTIFICATION_CSCD, base=at)
    return cscd


def _segments(data: bytes, at: int, end: int) -> tuple[Segment, ...]:
    segments: list[Segment] = []
    while at < end:
        if end - at < SEGMENT_HEADER.size_bytes:
            raise ParameterListLengthError()
        layout = SEGMENTS.get(data[at])
        if layout is None:
            raise IllegalRequest(Asc.UNSUPPORTED_SEGMENT_DESCRIPTOR_TYPE_CODE)
        header = SEGMENT_HEADER.unpack(data, at)
        if header.descriptor_length != layout.size_bytes - 4:
            raise InvalidFieldInParameterList("descriptor_length", layout=layout, base=at)
        if at + layout.size_bytes > end:
            raise ParameterListLengthError()
        if len(segments) == MAXIMUM_SEGMENTS:
            raise IllegalRequest(Asc.TOO_MANY_SEGMENT_DESCRIPTORS)
        segments.append(Segment(len(segments), layout.unpack(data, at)))
        at += layout.size_bytes
    return tuple(segments)
