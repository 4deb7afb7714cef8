"""COPY ABORTED: the sense of a copy that failed on its way, with what a source or destination said in it.

Source: SPC-4 5.17.7.4 (what is told), 4.5.2.4.5 (segment pointer), 4.5.2.7 (forwarded sense data).
"""

from __future__ import annotations

from typing import Optional

from tcmu_gluster.errors import ScsiError
from tcmu_gluster.scsi.command import Response
from tcmu_gluster.scsi.sense import Asc, CheckCondition, SenseKey, pack_sense
from tcmu_gluster.wire.layout import Bit, Bits, Const, Int, Layout

SEGMENT_POINTER = Layout("segment pointer", 3, (
    Bit("sksv", 0, 7, value=1), Bit("sd", 0, 5),
    Int("field_pointer", 1, 2),
))  # fmt: skip
ABOUT_SEGMENT = Layout("command-specific information of COPY ABORTED", 4, (
    Int("source_area", 0, 1), Int("destination_area", 1, 1),
    Int("segment_number", 2, 2),
))  # fmt: skip
FORWARDED = Layout("forwarded sense data descriptor", 4, (
    Const("descriptor_type", 0, 1, 0x0C), Int("additional_length", 1, 1),
    Bit("fsdt", 2, 7), Bits("sense_data_source", 2, high=3, low=0),
    Int("forwarded_status", 3, 1),
))  # fmt: skip
SOURCE, DESTINATION = 1, 2  # SENSE DATA SOURCE
FIXED_BYTES, ADDITIONAL_LENGTH = 18, 7
LONGEST_FORWARDED_BYTES = 64
"""Sense that itself holds forwarded sense is cut here: fronts carry 96 bytes (the ring) or more."""


class PartFailed(ScsiError):
    """A command of a copy did not end GOOD. side: SOURCE or DESTINATION. Its handler says what that means."""

    def __init__(self, side: int, response: Response) -> None:
        self.side, self.response = side, response
        super().__init__(f"the {'source' if side == SOURCE else 'destination'} answered {response}")


class CopyAborted(CheckCondition):
    """A segment failed.

    segment     its number in the list, None where a copy has no segments
    residual    destination blocks that were not written; None: none was written
    pointer     offset of what is wrong: in the segment descriptor, or in the parameter list (in_list)
    failed      what a source or destination answered
    """

    key = SenseKey.COPY_ABORTED

    def __init__(
        self,
        asc: Asc,
        segment: Optional[int] = None,
        *,
        residual: Optional[int] = None,
        pointer: Optional[int] = None,
        in_list: bool = False,
        failed: Optional[PartFailed] = None,
    ) -> None:
        specific = b"" if pointer is None else bytes(SEGMENT_POINTER.pack(sd=not in_list, field_pointer=pointer))
        super().__init__(asc, information=residual, key_specific=specific)
        self.segment, self.failed = segment, failed

    def sense(self, descriptor: bool = False) -> bytes:
        """The sense data, with the failed one's status and sense where the format has them."""
        failed = self.failed
        forwarded = failed.response.sense[:LONGEST_FORWARDED_BYTES] if failed is not None else b""
        about = ABOUT_SEGMENT.pack(
            source_area=FIXED_BYTES if failed is not None and failed.side == SOURCE and not descriptor else 0,
            destination_area=FIXED_BYTES if failed is not None and failed.side == DESTINATION and not descriptor else 0,
            segment_number=self.segment or 0,
        )
        sense = pack_sense(
            self.key, self.asc, information=self.information, key_specific=self.key_specific, descriptor=descriptor,
            command_specific=int.from_bytes(about, "big") if self.segment is not None or failed is not None else None,
        )  # fmt: skip
        if failed is None:
            return sense
        if descriptor:
            more = FORWARDED.pack(
                additional_length=2 + len(forwarded), fsdt=len(forwarded) < len(failed.response.sense),
                sense_data_source=failed.side, forwarded_status=failed.response.status,
            ) + forwarded  # fmt: skip
        else:
            more = bytearray((failed.response.status,)) + forwarded
        longer = bytearray(sense + more)
        longer[ADDITIONAL_LENGTH] += len(more)
        return bytes(longer)
