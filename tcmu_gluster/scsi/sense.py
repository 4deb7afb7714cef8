"""Sense: its numbers, its two formats, the errors that carry it, and the one table from errno to sense.

    StatusError                 a status alone: ReservationConflict, Busy, TaskSetFull
    └── CheckCondition          with sense: key, additional sense code, INFORMATION, field pointer
        ├── IllegalRequest ...  InvalidOpcode, InvalidFieldInCdb, InvalidFieldInParameterList, LbaOutOfRange, ...
        ├── NotReady, MediumError, HardwareError, DataProtect, Miscompare, UnitAttention, AbortedCommand

Additional sense codes live only here.  Source: SPC-4 4.5 (formats), annex D (codes); SBC-3 4.15 (INFORMATION).
"""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import Any, Optional, Union

from tcmu_gluster.errors import ScsiError
from tcmu_gluster.scsi.command import Response, Status
from tcmu_gluster.wire.layout import Bit, Bits, Const, Int, Layout


class SenseKey(IntEnum):
    """SPC-4 table 48."""

    NO_SENSE = 0x0
    RECOVERED_ERROR = 0x1
    NOT_READY = 0x2
    MEDIUM_ERROR = 0x3
    HARDWARE_ERROR = 0x4
    ILLEGAL_REQUEST = 0x5
    UNIT_ATTENTION = 0x6
    DATA_PROTECT = 0x7
    BLANK_CHECK = 0x8
    COPY_ABORTED = 0xA
    ABORTED_COMMAND = 0xB
    MISCOMPARE = 0xE
    COMPLETED = 0xF


class Asc(IntEnum):
    """Additional sense code and qualifier as one number: ASC << 8 | ASCQ.  Source: SPC-4 annex D."""

    NO_ADDITIONAL_SENSE_INFORMATION = 0x0000
    OPERATION_IN_PROGRESS = 0x0016
    EXTENDED_COPY_INFORMATION_AVAILABLE = 0x0020
    NOT_READY_CAUSE_NOT_REPORTABLE = 0x0400
    BECOMING_READY = 0x0401
    INITIALIZING_COMMAND_REQUIRED = 0x0402
    MANUAL_INTERVENTION_REQUIRED = 0x0403
    FORMAT_IN_PROGRESS = 0x0404
    ASYMMETRIC_ACCESS_STATE_TRANSITION = 0x040A
    TARGET_PORT_IN_STANDBY_STATE = 0x040B
    TARGET_PORT_IN_UNAVAILABLE_STATE = 0x040C
    SANITIZE_IN_PROGRESS = 0x041B
    WRITE_ERROR = 0x0C00
    THIRD_PARTY_DEVICE_FAILURE = 0x0D01
    COPY_TARGET_DEVICE_NOT_REACHABLE = 0x0D02
    INCORRECT_COPY_TARGET_DEVICE_TYPE = 0x0D03
    COPY_TARGET_DEVICE_DATA_UNDERRUN = 0x0D04
    UNRECOVERED_READ_ERROR = 0x1100
    PARAMETER_LIST_LENGTH_ERROR = 0x1A00
    MISCOMPARE_DURING_VERIFY = 0x1D00
    INVALID_COMMAND_OPERATION_CODE = 0x2000
    LBA_OUT_OF_RANGE = 0x2100
    TOKEN_TYPE_UNSUPPORTED = 0x2301
    TOKEN_UNKNOWN = 0x2304
    TOKEN_CORRUPT = 0x2305
    TOKEN_REVOKED = 0x2306
    TOKEN_EXPIRED = 0x2307
    TOKEN_CANCELLED = 0x2308
    TOKEN_DELETED = 0x2309
    INVALID_TOKEN_LENGTH = 0x230A
    INVALID_FIELD_IN_CDB = 0x2400
    LOGICAL_UNIT_NOT_SUPPORTED = 0x2500
    INVALID_FIELD_IN_PARAMETER_LIST = 0x2600
    INVALID_RELEASE_OF_PERSISTENT_RESERVATION = 0x2604
    TOO_MANY_TARGET_DESCRIPTORS = 0x2606
    UNSUPPORTED_TARGET_DESCRIPTOR_TYPE_CODE = 0x2607
    TOO_MANY_SEGMENT_DESCRIPTORS = 0x2608
    UNSUPPORTED_SEGMENT_DESCRIPTOR_TYPE_CODE = 0x2609
    UNEXPECTED_INEXACT_SEGMENT = 0x260A
    INLINE_DATA_LENGTH_EXCEEDED = 0x260B
    WRITE_PROTECTED = 0x2700
    HARDWARE_WRITE_PROTECTED = 0x2701
    SOFTWARE_WRITE_PROTECTED = 0x2702
    SPACE_ALLOCATION_FAILED = 0x2707
    MEDIUM_MAY_HAVE_CHANGED = 0x2800
    POWER_ON_OCCURRED = 0x2900
    POWER_ON = 0x2901
    SCSI_BUS_RESET_OCCURRED = 0x2902
    BUS_DEVICE_RESET = 0x2903
    DEVICE_INTERNAL_RESET = 0x2904
    NEXUS_LOSS = 0x2907
    MODE_PARAMETERS_CHANGED = 0x2A01
    LOG_PARAMETERS_CHANGED = 0x2A02
    RESERVATIONS_PREEMPTED = 0x2A03
    RESERVATIONS_RELEASED = 0x2A04
    REGISTRATIONS_PREEMPTED = 0x2A05
    ASYMMETRIC_ACCESS_STATE_CHANGED = 0x2A06
    CAPACITY_DATA_CHANGED = 0x2A09
    TIMESTAMP_CHANGED = 0x2A10
    COMMAND_SEQUENCE_ERROR = 0x2C00
    COMMANDS_CLEARED_BY_ANOTHER_INITIATOR = 0x2F00
    COMMANDS_CLEARED_BY_DEVICE_SERVER = 0x2F02
    MEDIUM_FORMAT_CORRUPTED = 0x3100
    FORMAT_COMMAND_FAILED = 0x3101
    SANITIZE_COMMAND_FAILED = 0x3103
    THIN_PROVISIONING_SOFT_THRESHOLD_REACHED = 0x3807
    SAVING_PARAMETERS_NOT_SUPPORTED = 0x3900
    MEDIUM_NOT_PRESENT = 0x3A00
    FAILED_SELF_TEST = 0x3E03
    INQUIRY_DATA_CHANGED = 0x3F03
    DEVICE_IDENTIFIER_CHANGED = 0x3F05
    REPORTED_LUNS_DATA_CHANGED = 0x3F0E
    INTERNAL_TARGET_FAILURE = 0x4400
    MEDIUM_REMOVAL_PREVENTED = 0x5302
    INSUFFICIENT_REGISTRATION_RESOURCES = 0x5504
    INSUFFICIENT_RESOURCES_TO_CREATE_ROD_TOKEN = 0x550D


# SPC-4 4.5.3 fixed format. VALID says that INFORMATION (32 bits) holds something.
FIXED_SENSE = Layout("fixed format sense data", 18, (
    Bit("valid", 0, 7), Bits("response_code", 0, high=6, low=0, value=0x70),
    Bits("sense_key", 2, high=3, low=0),
    Int("information", 3, 4),
    Const("additional_sense_length", 7, 1, 10),
    Int("command_specific_information", 8, 4),
    Int("additional_sense_code", 12, 2),
    Bits("sense_key_specific", 15, high=23, low=0, size_bytes=3),
))  # fmt: skip

# SPC-4 4.5.2 descriptor format: this header, then descriptors.
DESCRIPTOR_SENSE = Layout("descriptor format sense data", 8, (
    Const("response_code", 0, 1, 0x72),
    Bits("sense_key", 1, high=3, low=0),
    Int("additional_sense_code", 2, 2),
    Int("additional_sense_length", 7, 1),
))  # fmt: skip

INFORMATION_DESCRIPTOR = Layout("information sense data descriptor", 12, (
    Const("descriptor_type", 0, 1, 0x00), Const("additional_length", 1, 1, 0x0A),
    Bit("valid", 2, 7, value=1),
    Int("information", 4, 8),
))  # fmt: skip

COMMAND_SPECIFIC_DESCRIPTOR = Layout("command specific sense data descriptor", 12, (
    Const("descriptor_type", 0, 1, 0x01), Const("additional_length", 1, 1, 0x0A),
    Int("command_specific_information", 4, 8),
))  # fmt: skip

SENSE_KEY_SPECIFIC_DESCRIPTOR = Layout("sense key specific sense data descriptor", 8, (
    Const("descriptor_type", 0, 1, 0x02), Const("additional_length", 1, 1, 0x06),
    Bits("sense_key_specific", 4, high=23, low=0, size_bytes=3),
))  # fmt: skip

# SPC-4 4.5.2.4.2 and 4.5.2.4.4: what the three sense key specific bytes say.
FIELD_POINTER = Layout("field pointer", 3, (
    Bit("sksv", 0, 7, value=1), Bit("command_data", 0, 6), Bit("bit_pointer_valid", 0, 3),
    Bits("bit_pointer", 0, high=2, low=0),
    Int("field_pointer", 1, 2),
))  # fmt: skip
PROGRESS = Layout("progress indication", 3, (
    Bit("sksv", 0, 7, value=1),
    Int("progress_indication", 1, 2),
))  # fmt: skip

Pointer = Union[int, "tuple[int, Optional[int]]"]


def pack_sense(
    key: int,
    asc: int,
    *,
    information: Optional[int] = None,
    command_specific: Optional[int] = None,
    key_specific: bytes = b"",
    descriptor: bool = False,
) -> bytes:
    """Sense data in one of the two formats. key_specific is FIELD_POINTER or PROGRESS, packed.

    An INFORMATION value beyond 32 bits has no place in the fixed format, which then says so with VALID 0.
    """
    specific = int.from_bytes(key_specific, "big")
    if not descriptor:
        fits = information is not None and information < 1 << 32
        return bytes(FIXED_SENSE.pack(
            valid=fits, sense_key=key, information=information if fits else 0, additional_sense_code=asc,
            command_specific_information=(command_specific or 0) & 0xFFFFFFFF, sense_key_specific=specific,
        ))  # fmt: skip
    parts = b""
    if information is not None:
        parts += INFORMATION_DESCRIPTOR.pack(information=information)
    if command_specific is not None:
        parts += COMMAND_SPECIFIC_DESCRIPTOR.pack(command_specific_information=command_specific)
    if key_specific:
        parts += SENSE_KEY_SPECIFIC_DESCRIPTOR.pack(sense_key_specific=specific)
    head = DESCRIPTOR_SENSE.pack(sense_key=key, additional_sense_code=asc, additional_sense_length=len(parts))
    return bytes(head) + parts


def parse_sense(sense: bytes) -> tuple[int, int]:
    """(sense key, Asc number) of sense data in either format: for logs and tests."""
    if sense[0] & 0x7F >= 0x72:
        record = DESCRIPTOR_SENSE.unpack(sense)
    else:
        record = FIXED_SENSE.unpack(sense)
    return record.sense_key, record.additional_sense_code


class StatusError(ScsiError):
    """Ends a command with a status other than GOOD; alone, without sense."""

    status: Status = Status.BUSY

    def response(self, descriptor: bool = False) -> Response:
        """The Response that tells the initiator."""
        return Response(self.status)

    def __str__(self) -> str:
        return self.status.name.replace("_", " ")


class Busy(StatusError):
    """Ask again: nothing is wrong with the disk, but it can't be done now."""


class TaskSetFull(StatusError):
    """More commands than the unit keeps."""

    status = Status.TASK_SET_FULL


class ReservationConflict(StatusError):
    """Another nexus holds a reservation that forbids this."""

    status = Status.RESERVATION_CONFLICT


class CheckCondition(StatusError):
    """Ends a command with CHECK CONDITION and sense."""

    status = Status.CHECK_CONDITION
    key: SenseKey = SenseKey.NO_SENSE
    asc: Asc = Asc.NO_ADDITIONAL_SENSE_INFORMATION

    def __init__(
        self,
        asc: Optional[Asc] = None,
        *,
        information: Optional[int] = None,
        command_specific: Optional[int] = None,
        key_specific: bytes = b"",
    ) -> None:
        if asc is not None:
            self.asc = asc
        self.information, self.command_specific, self.key_specific = information, command_specific, key_specific
        super().__init__()

    def sense(self, descriptor: bool = False) -> bytes:
        """The sense data, as D_SENSE asks."""
        return pack_sense(
            self.key, self.asc, information=self.information, command_specific=self.command_specific,
            key_specific=self.key_specific, descriptor=descriptor,
        )  # fmt: skip

    def response(self, descriptor: bool = False) -> Response:
        return Response(Status.CHECK_CONDITION, (), self.sense(descriptor))

    def __str__(self) -> str:
        words = f"{self.key.name}, {self.asc.name}".replace("_", " ")
        return words if self.information is None else f"{words} (information {self.information:#x})"


class IllegalRequest(CheckCondition):
    key = SenseKey.ILLEGAL_REQUEST


class InvalidOpcode(IllegalRequest):
    asc = Asc.INVALID_COMMAND_OPERATION_CODE


class LunNotSupported(IllegalRequest):
    asc = Asc.LOGICAL_UNIT_NOT_SUPPORTED


class ParameterListLengthError(IllegalRequest):
    asc = Asc.PARAMETER_LIST_LENGTH_ERROR


class LbaOutOfRange(IllegalRequest):
    """LbaOutOfRange(lba): INFORMATION holds the first bad LBA."""

    asc = Asc.LBA_OUT_OF_RANGE

    def __init__(self, lba: int) -> None:
        super().__init__(information=lba)


class _FieldError(IllegalRequest):
    """A field that is wrong: by name (the pointer is found in the layout), or pointed at as byte or (byte, bit)."""

    command_data = 0

    def __init__(
        self, field: Union[str, Pointer, None] = None, *, layout: Optional[Layout] = None, base: int = 0
    ) -> None:
        self.field, self.layout, self.base = field, layout, base
        super().__init__()
        if layout is not None:
            self.locate(layout)
        elif field is not None and not isinstance(field, str):
            self._point(field)

    def locate(self, layout: Layout) -> None:
        """Fill in the field pointer of a field given by name (execute() does it: it knows the CDB's layout)."""
        if isinstance(self.field, str) and not self.key_specific and self.field in layout.fields:
            self.layout = layout
            self._point(layout.field_pointer(self.field))

    def _point(self, pointer: Pointer) -> None:
        byte, bit = (pointer, None) if isinstance(pointer, int) else pointer
        self.key_specific = bytes(FIELD_POINTER.pack(
            command_data=self.command_data, bit_pointer_valid=bit is not None, bit_pointer=bit or 0,
            field_pointer=self.base + byte,
        ))  # fmt: skip

    def __str__(self) -> str:
        return super().__str__() + ("" if self.field is None else f": {self.field}")


class InvalidFieldInCdb(_FieldError):
    """InvalidFieldInCdb("transfer_length"): the pointer is found in the CDB's layout."""

    asc = Asc.INVALID_FIELD_IN_CDB
    command_data = 1


class InvalidFieldInParameterList(_FieldError):
    """InvalidFieldInParameterList("field", layout=..., base=offset of the layout in the list)."""

    asc = Asc.INVALID_FIELD_IN_PARAMETER_LIST


class NotReady(CheckCondition):
    key, asc = SenseKey.NOT_READY, Asc.NOT_READY_CAUSE_NOT_REPORTABLE


class MediumError(CheckCondition):
    key, asc = SenseKey.MEDIUM_ERROR, Asc.UNRECOVERED_READ_ERROR


class HardwareError(CheckCondition):
    key, asc = SenseKey.HARDWARE_ERROR, Asc.INTERNAL_TARGET_FAILURE


class DataProtect(CheckCondition):
    key, asc = SenseKey.DATA_PROTECT, Asc.WRITE_PROTECTED


class UnitAttention(CheckCondition):
    key = SenseKey.UNIT_ATTENTION


class AbortedCommand(CheckCondition):
    key = SenseKey.ABORTED_COMMAND


class Miscompare(CheckCondition):
    """Miscompare(offset): INFORMATION holds the offset of the first different byte in the Data-Out Buffer."""

    key, asc = SenseKey.MISCOMPARE, Asc.MISCOMPARE_DURING_VERIFY

    def __init__(self, offset: int) -> None:
        super().__init__(information=offset)


# -- errno to sense ------------------------------------------------------------------------------------------------
#
# What hosts do with an answer decides here, not which words fit best:
# * BUSY is retried by Linux (delayed, until 6 x the command timer), ESXi and Windows without an error to the user. It
#   is for what passes by itself: quorum or a brick lost (ENOTCONN), a time-out, no memory. A write that ended so may or
#   may not have happened; a retry makes it so.
# * DATA PROTECT, SPACE ALLOCATION FAILED is ENOSPC in Linux and makes ESXi stop only the machine that wrote: a full
#   volume isn't a broken disk.
# * NOT READY, MANUAL INTERVENTION REQUIRED is a path that won't heal: the file is gone or isn't ours any more.
# * MEDIUM ERROR is for what only the data has: EIO.

_PASSES = (
    "EAGAIN", "EBUSY", "EINTR", "ENOMEM", "ENOBUFS", "ETIMEDOUT", "ENOTCONN", "ESHUTDOWN", "ECONNRESET", "ECONNABORTED",
    "ECONNREFUSED", "ENETDOWN", "ENETUNREACH", "ENETRESET", "EHOSTDOWN", "EHOSTUNREACH", "EPIPE", "ETIME", "EMFILE",
    "ENFILE", "ENOLCK", "EDEADLK",
)  # fmt: skip
_GONE = ("ESTALE", "ENOENT", "EBADF", "ENODEV", "ENXIO", "EBADFD", "ENOTDIR", "EISDIR")

READING, WRITING = "read", "write"

ErrorMaker = Any
_READ: dict[int, ErrorMaker] = {}
_WRITE: dict[int, ErrorMaker] = {}
for _table in (_READ, _WRITE):
    for _name in _PASSES:
        _table[getattr(errno, _name)] = Busy
    for _name in _GONE:
        _table[getattr(errno, _name)] = lambda: NotReady(Asc.MANUAL_INTERVENTION_REQUIRED)
    _table[errno.EACCES] = _table[errno.EPERM] = lambda: NotReady(Asc.MANUAL_INTERVENTION_REQUIRED)
    _table[errno.EOPNOTSUPP] = InvalidFieldInCdb
    _table[errno.ECANCELED] = lambda: AbortedCommand(Asc.NO_ADDITIONAL_SENSE_INFORMATION)
_READ[errno.EIO] = lambda: MediumError(Asc.UNRECOVERED_READ_ERROR)
_WRITE[errno.EIO] = lambda: MediumError(Asc.WRITE_ERROR)
for _name in ("ENOSPC", "EDQUOT", "EFBIG"):
    _WRITE[getattr(errno, _name)] = lambda: DataProtect(Asc.SPACE_ALLOCATION_FAILED)
for _name in ("EROFS", "EACCES", "EPERM"):
    _WRITE[getattr(errno, _name)] = lambda: DataProtect(Asc.WRITE_PROTECTED)


def error_of(error: OSError, direction: str) -> StatusError:
    """What an OSError of a backend means for the initiator; direction is READING or WRITING.

    An errno that the table does not know is a HARDWARE ERROR, INTERNAL TARGET FAILURE.
    """
    table = _WRITE if direction == WRITING else _READ
    make = table.get(error.errno or 0)
    found: StatusError = make() if make is not None else HardwareError()
    return found
