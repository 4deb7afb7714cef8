"""EXTENDED COPY, with 8-bit and with 32-bit list identifiers, and COPY OPERATION ABORT.  Source: SPC-4 6.3 to 6.5."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

from tcmu_gluster.backends.base import PENDING, Backend, Done, Operation, Outcome
from tcmu_gluster.scsi import buffers
from tcmu_gluster.scsi.command import ABORTED, GOOD, Command, Response
from tcmu_gluster.scsi.copies import Copy, carry_out, cleared
from tcmu_gluster.scsi.copy_descriptors import (
    BLOCK_DEVICE,
    BLOCK_TO_BLOCK,
    LID1_HEADER,
    LID4_HEADER,
    MAXIMUM_SEGMENT_BYTES,
    THIS_UNIT,
    CopyList,
    Segment,
    read_list,
)
from tcmu_gluster.scsi.copy_parts import Side, Work, move, put
from tcmu_gluster.scsi.copy_sense import DESTINATION, SOURCE, CopyAborted, PartFailed
from tcmu_gluster.scsi.sense import (
    Asc,
    InvalidFieldInCdb,
    ParameterListLengthError,
    SenseKey,
    pack_sense,
)
from tcmu_gluster.wire.layout import Layout

if TYPE_CHECKING:
    from tcmu_gluster.scsi.logical_unit import LogicalUnit
    from tcmu_gluster.scsi.task import Result, Steps

LID1, LID4 = 0x00, 0x01
SOURCE_ID, DESTINATION_ID = "source_cscd_descriptor_id", "destination_cscd_descriptor_id"
SOURCE_LBA = "source_block_device_logical_block_address"
DESTINATION_LBA = "destination_block_device_logical_block_address"
SOURCE_OFFSET, DESTINATION_OFFSET = "source_block_device_byte_offset", "destination_block_device_byte_offset"


def extended_copy_lid1(unit: LogicalUnit, command: Command) -> Result:
    """EXTENDED COPY(LID1).  Source: SPC-4 6.5."""
    return _extended_copy(unit, command, LID1_HEADER, LID1)


def extended_copy_lid4(unit: LogicalUnit, command: Command) -> Result:
    """EXTENDED COPY(LID4): also in the background (IMMED).  Source: SPC-4 6.4."""
    return _extended_copy(unit, command, LID4_HEADER, LID4)


def parameter_list(command: Command) -> bytes:
    """The parameter list, as long as the CDB says. Raises ParameterListLengthError if less was sent."""
    length = command.fields.parameter_list_length
    command.data_out_wanted = length
    if command.data_out_bytes < length:
        raise ParameterListLengthError()
    return buffers.gather(command.data_out, length)


def _extended_copy(unit: LogicalUnit, command: Command, layout: Layout, service_action: int) -> Result:
    data = parameter_list(command)
    if not command.fields.parameter_list_length:
        return GOOD
    wanted = read_list(data, layout)
    copy = unit.copies.begin(command, wanted.list_id, service_action)
    return carry_out(unit, command, copy, _segments(unit, copy, wanted), immed=wanted.immed)


def _segments(unit: LogicalUnit, copy: Copy, wanted: CopyList) -> Steps:
    """All segments, one after the other. Raises CopyAborted."""
    for segment in wanted.segments:
        copy.segments, copy.segment_bytes = segment.number + 1, 0
        yield from _SegmentCopy(unit, copy, wanted, segment).run()
    if wanted.g_sense:
        asc = Asc.EXTENDED_COPY_INFORMATION_AVAILABLE
        sense = pack_sense(
            SenseKey.COMPLETED, asc, command_specific=len(wanted.segments), descriptor=unit.descriptor_sense
        )
        return Response(0, (), sense)
    return GOOD


@dataclass(frozen=True)
class Party:
    """A side, and what its CSCD descriptor says. at: where that begins in the list; None for THIS_UNIT."""

    side: Side
    at: Optional[int] = None
    pads: bool = False

    @property
    def block(self) -> int:
        return self.side.unit.block_size_bytes

    @property
    def size_bytes(self) -> int:
        return self.side.unit.blocks * self.block


class _SegmentCopy:
    """One segment on its way. Whatever is wrong with it is CopyAborted."""

    def __init__(self, unit: LogicalUnit, copy: Copy, wanted: CopyList, segment: Segment) -> None:
        self._unit, self._copy, self._wanted, self._segment = unit, copy, wanted, segment

    def _wrong(self, field: str) -> CopyAborted:
        """A field of the segment descriptor: the segment pointer tells which, and the standard names no code for it."""
        number, pointer = self._segment.number, self._segment.pointer(field)
        return CopyAborted(Asc.NO_ADDITIONAL_SENSE_INFORMATION, number, pointer=pointer)

    def run(self) -> Work:
        source, destination = self._party(SOURCE_ID, SOURCE), self._party(DESTINATION_ID, DESTINATION)
        fields = self._segment.fields
        at = getattr(fields, SOURCE_LBA) * source.block
        to = getattr(fields, DESTINATION_LBA) * destination.block
        padding = 0
        if fields.layout is BLOCK_TO_BLOCK:
            blocks = fields.block_device_number_of_blocks
            length = blocks * (destination.block if fields.dc else source.block)
            length, padding = self._whole(length, source, destination)
        else:
            length = fields.number_of_bytes
            at += self._offset(SOURCE_OFFSET, source)
            to += self._offset(DESTINATION_OFFSET, destination)
        if length > MAXIMUM_SEGMENT_BYTES:
            raise self._wrong("number_of_bytes")
        if at + length > source.size_bytes:
            raise self._wrong(SOURCE_LBA)
        if to + length + padding > destination.size_bytes:
            raise self._wrong(DESTINATION_LBA)
        self._copy.check = lambda: None
        try:
            if length:
                yield from move(self._copy, source.side, at, destination.side, to, length)
            if padding:
                yield from put(self._copy, destination.side, to + length, bytes(padding))
        except PartFailed as failed:
            raise self._failed(failed, source, destination, length + padding) from failed

    def _offset(self, field: str, party: Party) -> int:
        offset: int = getattr(self._segment.fields, field)
        if offset >= party.block:
            raise self._wrong(field)
        return offset

    def _whole(self, length: int, source: Party, destination: Party) -> tuple[int, int]:
        """(bytes to copy, zeros behind them) where the blocks of the two differ in size.  Source: SPC-4 5.17.7.2."""
        rest = length % destination.block
        if not rest and not length % source.block:
            return length, 0
        if self._segment.fields.cat or not (source.pads or destination.pads):
            raise CopyAborted(Asc.UNEXPECTED_INEXACT_SEGMENT, self._segment.number)
        if not rest:
            return length, 0
        return (length, destination.block - rest) if destination.pads else (length - rest, 0)

    def _party(self, field: str, role: int) -> Party:
        """Who that CSCD descriptor ID is."""
        number, cscds = getattr(self._segment.fields, field), self._wanted.cscds
        if number == THIS_UNIT:
            return Party(Side(self._unit, self._copy.nexus, role))
        if number >= len(cscds):
            raise self._wrong(field)
        at, cscd = cscds[number]
        where: dict[str, Any] = {"pointer": at, "in_list": True}
        if cscd.peripheral_device_type != BLOCK_DEVICE:
            raise CopyAborted(Asc.INCORRECT_COPY_TARGET_DEVICE_TYPE, self._segment.number, **where)
        found = self._unit.copies.manager.find(
            self._unit, self._copy.nexus, cscd.code_set, cscd.designator_type,
            cscd.designator[: cscd.designator_length],
        )  # fmt: skip
        if found is None:
            raise CopyAborted(Asc.COPY_TARGET_DEVICE_NOT_REACHABLE, self._segment.number, **where)
        party = Party(Side(*found, role), at, bool(cscd.pad))
        if cscd.disk_block_length not in (0, party.block):
            where["pointer"] = at + cscd.layout.field_pointer("disk_block_length")[0]
            raise CopyAborted(Asc.INVALID_FIELD_IN_PARAMETER_LIST, self._segment.number, **where)
        self._meet_attention(party)
        return party

    def _meet_attention(self, party: Party) -> None:
        """Another unit's pending unit attention: the initiator hears of it as that unit's answer, once."""
        unit, nexus = party.side.unit, party.side.nexus
        if unit is self._unit or unit in self._copy.met:
            return
        self._copy.met[unit] = unit.copies.resets
        attention = unit.hear(nexus)
        if attention is not None:
            failed = PartFailed(party.side.role, attention.response(unit.descriptor_sense))
            raise CopyAborted(
                Asc.THIRD_PARTY_DEVICE_FAILURE, self._segment.number, pointer=party.at, in_list=True, failed=failed
            )

    def _failed(self, failed: PartFailed, source: Party, destination: Party, length: int) -> CopyAborted:
        written, party = self._copy.segment_bytes, source if failed.side == SOURCE else destination
        residual = -(-(length - written) // destination.block) if written else None
        return CopyAborted(
            Asc.THIRD_PARTY_DEVICE_FAILURE, self._segment.number, residual=residual, pointer=party.at,
            in_list=True, failed=failed,
        )  # fmt: skip


def copy_operation_abort(unit: LogicalUnit, command: Command) -> Steps:
    """COPY OPERATION ABORT: over when nothing of that copy runs any more.  Source: SPC-4 6.3, 5.17.4.7."""
    copy = unit.copies.find(command.nexus, command.fields.list_identifier)
    if copy.command is None:
        raise InvalidFieldInCdb("list_identifier")
    yield Aborted(unit, copy.command, cleared(unit) if copy.command.tag != -1 else ABORTED)
    return GOOD


class Aborted(Operation):
    """End one command with a response; over when its storage has let go of it."""

    __slots__ = ("_command", "_response", "_unit")

    def __init__(self, unit: LogicalUnit, command: Command, response: Response) -> None:
        self._unit, self._command, self._response = unit, command, response

    def start(self, backend: Backend, done: Done) -> Outcome:
        ended = returned = False

        def all_ended() -> None:
            nonlocal ended
            ended = True
            if returned:
                done(0)

        which: Callable[[Command], bool] = lambda command: command is self._command  # noqa: E731
        self._unit.tasks.abort(which, lambda command: self._response, all_ended)
        returned = True
        return 0 if ended else PENDING
