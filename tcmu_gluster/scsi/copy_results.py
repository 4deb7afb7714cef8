"""What is told of copies: RECEIVE COPY STATUS, DATA, OPERATING PARAMETERS, FAILURE DETAILS.

Segments of ours hold no data for the initiator, so RECEIVE COPY DATA has none. Results stay until they were told where
the standard says so, until the list identifier is used again, or until a reset or the loss of the nexus.

Source: SPC-4 6.20 to 6.25.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcmu_gluster.scsi.command import Command, Response, Status
from tcmu_gluster.scsi.copies import Copy, CopyStatus
from tcmu_gluster.scsi.copy_descriptors import (
    IMPLEMENTED,
    MAXIMUM_CSCDS,
    MAXIMUM_LIST_BYTES,
    MAXIMUM_SEGMENT_BYTES,
    MAXIMUM_SEGMENTS,
    UNIT_COPIES,
)
from tcmu_gluster.scsi.sense import InvalidFieldInCdb
from tcmu_gluster.scsi.spc import reply
from tcmu_gluster.wire.layout import Bit, Bits, Int, Layout

if TYPE_CHECKING:
    from tcmu_gluster.scsi.logical_unit import LogicalUnit

STATUS_LID1 = Layout("RECEIVE COPY STATUS(LID1) parameter data", 12, (
    Int("available_data", 0, 4),
    Bit("hdd", 4, 7), Bits("copy_command_status", 4, high=6, low=0),
    Int("segments_processed", 5, 2), Int("transfer_count_units", 7, 1), Int("transfer_count", 8, 4),
))  # fmt: skip
STATUS_LID4 = Layout("RECEIVE COPY STATUS(LID4) parameter data", 32, (
    Int("available_data", 0, 4),
    Bits("response_to_service_action", 4, high=4, low=0), Bits("copy_operation_status", 5, high=6, low=0),
    Int("operation_counter", 6, 2), Int("estimated_status_update_delay", 8, 4),
    Int("extended_copy_completion_status", 12, 1),
    Int("length_of_the_sense_data_field", 13, 1), Int("sense_data_length", 14, 1),
    Int("transfer_count_units", 15, 1), Int("transfer_count", 16, 8),
    Int("segments_processed", 24, 2),
))  # fmt: skip
AVAILABLE = Layout("AVAILABLE DATA", 4, (Int("available_data", 0, 4),))
HELD_DATA_LENGTH = Layout("HELD DATA LENGTH", 4, (Int("held_data_length", 0, 4),))
FAILURE_DETAILS = Layout("RECEIVE COPY FAILURE DETAILS(LID1) parameter data", 60, (
    Int("available_data", 0, 4),
    Int("extended_copy_command_status", 56, 1), Int("sense_data_length", 58, 2),
))  # fmt: skip
OPERATING_PARAMETERS = Layout("RECEIVE COPY OPERATING PARAMETERS parameter data", 44, (
    Int("available_data", 0, 4),
    Bit("snlid", 4, 0),
    Int("maximum_cscd_descriptor_count", 8, 2), Int("maximum_segment_descriptor_count", 10, 2),
    Int("maximum_descriptor_list_length", 12, 4),
    Int("maximum_segment_length", 16, 4),
    Int("maximum_inline_data_length", 20, 4),
    Int("held_data_limit", 24, 4),
    Int("maximum_stream_device_transfer_size", 28, 4),
    Int("total_concurrent_copies", 34, 2), Int("maximum_concurrent_copies", 36, 1),
    Int("data_segment_granularity", 37, 1), Int("inline_data_granularity", 38, 1), Int("held_data_granularity", 39, 1),
    Int("implemented_descriptor_list_length", 43, 1),
))  # fmt: skip

BYTES, KIBIBYTES, DESTINATION_BLOCKS = 0x00, 0x01, 0xF1  # TRANSFER COUNT UNITS
IN_PROGRESS, WITHOUT_ERRORS, WITH_ERRORS = 0x00, 0x01, 0x02  # COPY COMMAND STATUS
UPDATE_DELAY_MILLISECONDS, IT_IS_OVER = 200, 0xFFFFFFFE
EXTENDED_COPIES = (0x00, 0x01)  # service actions whose segments count


def status_lid1(unit: LogicalUnit, command: Command) -> Response:
    """RECEIVE COPY STATUS(LID1): the results of what has ended are forgotten by that.  Source: SPC-4 6.25."""
    fields = command.fields
    copy = unit.copies.find(command.nexus, fields.list_identifier)
    status = WITHOUT_ERRORS if copy.status in (CopyStatus.COMPLETED, CopyStatus.PARTIAL_TOKEN) else WITH_ERRORS
    count, units = copy.moved_bytes, BYTES
    if count > 0xFFFFFFFF:
        count, units = count >> 10, KIBIBYTES
    data = STATUS_LID1.pack(
        available_data=STATUS_LID1.size_bytes - 4, copy_command_status=IN_PROGRESS if copy.is_running else status,
        segments_processed=copy.segments, transfer_count_units=units, transfer_count=min(count, 0xFFFFFFFF),
    )  # fmt: skip
    if not copy.is_running and copy.status is not CopyStatus.FAILED:  # a failure still has its details to tell
        unit.copies.forget(copy)
    return reply(command, data, fields.allocation_length)


def data_lid1(unit: LogicalUnit, command: Command) -> Response:
    """RECEIVE COPY DATA(LID1): there is none.  Source: SPC-4 6.21."""
    _ended(unit, command)
    return reply(command, AVAILABLE.pack(), command.fields.allocation_length)


def failure_details_lid1(unit: LogicalUnit, command: Command) -> Response:
    """RECEIVE COPY FAILURE DETAILS(LID1): status and sense of the command; told once.  Source: SPC-4 6.23."""
    copy, allocation_length = _ended(unit, command), command.fields.allocation_length
    if copy.status is not CopyStatus.FAILED or copy.service_action:
        return reply(command, AVAILABLE.pack(), allocation_length)
    sense = copy.response.sense
    data = FAILURE_DETAILS.pack(
        available_data=FAILURE_DETAILS.size_bytes - 4 + len(sense),
        extended_copy_command_status=copy.response.status, sense_data_length=len(sense),
    ) + sense  # fmt: skip
    if not allocation_length or allocation_length >= len(data):
        unit.copies.forget(copy)
    return reply(command, data, allocation_length)


def _ended(unit: LogicalUnit, command: Command) -> Copy:
    copy = unit.copies.find(command.nexus, command.fields.list_identifier)
    if copy.is_running:
        raise InvalidFieldInCdb("list_identifier")
    return copy


def operating_parameters(unit: LogicalUnit, command: Command) -> Response:
    """RECEIVE COPY OPERATING PARAMETERS: what VPD page 8Fh says too.  Source: SPC-4 6.22."""
    data = OPERATING_PARAMETERS.pack(
        available_data=OPERATING_PARAMETERS.size_bytes - 4 + len(IMPLEMENTED), snlid=1,
        maximum_cscd_descriptor_count=MAXIMUM_CSCDS, maximum_segment_descriptor_count=MAXIMUM_SEGMENTS,
        maximum_descriptor_list_length=MAXIMUM_LIST_BYTES, maximum_segment_length=MAXIMUM_SEGMENT_BYTES,
        total_concurrent_copies=UNIT_COPIES, maximum_concurrent_copies=UNIT_COPIES,
        implemented_descriptor_list_length=len(IMPLEMENTED),
    ) + IMPLEMENTED  # fmt: skip
    return reply(command, data, command.fields.allocation_length)


def status_lid4(unit: LogicalUnit, command: Command) -> Response:
    """RECEIVE COPY STATUS(LID4).  Source: SPC-4 6.24."""
    copy = unit.copies.find(command.nexus, command.fields.list_identifier)
    data = shared_status(unit, copy)
    AVAILABLE.pack_into(data, available_data=len(data) - 4)
    return reply(command, data, command.fields.allocation_length)


def data_lid4(unit: LogicalUnit, command: Command) -> Response:
    """RECEIVE COPY DATA(LID4): the status, and no held data.  Source: SPC-4 6.20."""
    copy = unit.copies.find(command.nexus, command.fields.list_identifier)
    data = shared_status(unit, copy) + HELD_DATA_LENGTH.pack()
    AVAILABLE.pack_into(data, available_data=len(data) - 4)
    return reply(command, data, command.fields.allocation_length)


def shared_status(unit: LogicalUnit, copy: Copy) -> bytearray:
    """The shared third-party copy status header, with sense; AVAILABLE DATA is the caller's.  Source: SPC-4 6.24."""
    extended, running = copy.service_action in EXTENDED_COPIES, copy.is_running
    terminated = copy.status is CopyStatus.TERMINATED
    sense = b"" if running or terminated else copy.response.sense
    padded = sense + bytes(-len(sense) % 4)
    status = Status.TASK_ABORTED if terminated else copy.response.status
    block = unit.block_size_bytes
    return STATUS_LID4.pack(
        response_to_service_action=copy.service_action, copy_operation_status=copy.status,
        operation_counter=copy.commands & 0xFFFF,
        estimated_status_update_delay=UPDATE_DELAY_MILLISECONDS if running else IT_IS_OVER,
        extended_copy_completion_status=0 if running else status,
        length_of_the_sense_data_field=len(padded), sense_data_length=len(sense),
        transfer_count_units=BYTES if extended else DESTINATION_BLOCKS,
        transfer_count=copy.moved_bytes if extended else copy.moved_bytes // block,
        segments_processed=copy.segments if extended else 0,
    ) + padded  # fmt: skip
