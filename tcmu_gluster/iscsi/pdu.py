"""iSCSI PDUs: opcodes, flags, reasons and the layouts of the 48-byte Basic Header Segment.  Source: RFC 7143 11.

TotalAHSLength (words) and DataSegmentLength (bytes) share one 32-bit integer in every layout, so that the receive loop
sees both lengths of a PDU in one item. The hot PDUs also have a compiled packer or unpacker beside their layout.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import Union

from tcmu_gluster.errors import ProtocolError
from tcmu_gluster.wire.layout import Bit, Bits, Blob, Const, Int, Layout

BHS_BYTES = 48
NO_TAG = 0xFFFFFFFF
"""The reserved value of task tags: no such task, no answer wanted."""

PAD = (b"", b"\0\0\0", b"\0\0", b"\0")
"""Padding by length % 4."""

Buffer = Union[bytes, bytearray, memoryview]


class Opcode(IntEnum):
    """RFC 7143 11.2.1.2."""

    NOP_OUT = 0x00
    SCSI_COMMAND = 0x01
    TASK_MANAGEMENT_REQUEST = 0x02
    LOGIN_REQUEST = 0x03
    TEXT_REQUEST = 0x04
    DATA_OUT = 0x05
    LOGOUT_REQUEST = 0x06
    SNACK_REQUEST = 0x10
    NOP_IN = 0x20
    SCSI_RESPONSE = 0x21
    TASK_MANAGEMENT_RESPONSE = 0x22
    LOGIN_RESPONSE = 0x23
    TEXT_RESPONSE = 0x24
    DATA_IN = 0x25
    LOGOUT_RESPONSE = 0x26
    R2T = 0x31
    ASYNC_MESSAGE = 0x32
    REJECT = 0x3F


IMMEDIATE = 0x40
"""The I bit of byte 0."""
OPCODE_MASK = 0x3F
FINAL = 0x80
"""The F bit of byte 1, and the T bit of the login PDUs."""


class CommandFlag(IntFlag):
    """Byte 1 of the SCSI Command, without the task attribute.  RFC 7143 11.3.1."""

    FINAL = 0x80
    READ = 0x40
    WRITE = 0x20


class ResponseFlag(IntFlag):
    """Byte 1 of the SCSI Response; OVERFLOW and UNDERFLOW also in Data-In.  RFC 7143 11.4.1, 11.7."""

    FINAL = 0x80
    ACKNOWLEDGE = 0x40  # Data-In only
    BIDIRECTIONAL_OVERFLOW = 0x10
    BIDIRECTIONAL_UNDERFLOW = 0x08
    OVERFLOW = 0x04
    UNDERFLOW = 0x02
    STATUS = 0x01  # Data-In only


class RejectReason(IntEnum):
    """RFC 7143 11.17.1."""

    DATA_DIGEST_ERROR = 0x02
    SNACK_REJECT = 0x03
    PROTOCOL_ERROR = 0x04
    COMMAND_NOT_SUPPORTED = 0x05
    IMMEDIATE_COMMAND_REJECT = 0x06
    TASK_IN_PROGRESS = 0x07
    INVALID_DATA_ACK = 0x08
    INVALID_PDU_FIELD = 0x09
    LONG_OPERATION_REJECT = 0x0A
    NEGOTIATION_RESET = 0x0B
    WAITING_FOR_LOGOUT = 0x0C


class LoginStatus(IntEnum):
    """Status class (high byte) and detail (low byte) of the Login Response.  RFC 7143 11.13.5."""

    SUCCESS = 0x0000
    TARGET_MOVED_TEMPORARILY = 0x0101
    TARGET_MOVED_PERMANENTLY = 0x0102
    INITIATOR_ERROR = 0x0200
    AUTHENTICATION_FAILURE = 0x0201
    AUTHORIZATION_FAILURE = 0x0202
    NOT_FOUND = 0x0203
    TARGET_REMOVED = 0x0204
    UNSUPPORTED_VERSION = 0x0205
    TOO_MANY_CONNECTIONS = 0x0206
    MISSING_PARAMETER = 0x0207
    CANNOT_INCLUDE_IN_SESSION = 0x0208
    SESSION_TYPE_NOT_SUPPORTED = 0x0209
    SESSION_DOES_NOT_EXIST = 0x020A
    INVALID_DURING_LOGIN = 0x020B
    TARGET_ERROR = 0x0300
    SERVICE_UNAVAILABLE = 0x0301
    OUT_OF_RESOURCES = 0x0302


class LogoutReason(IntEnum):
    """RFC 7143 11.14.1."""

    CLOSE_SESSION = 0
    CLOSE_CONNECTION = 1
    REMOVE_FOR_RECOVERY = 2


class LogoutResponse(IntEnum):
    """RFC 7143 11.15.1."""

    CLOSED = 0
    CID_NOT_FOUND = 1
    RECOVERY_NOT_SUPPORTED = 2
    CLEANUP_FAILED = 3


class AsyncEvent(IntEnum):
    """RFC 7143 11.9.1."""

    SCSI_EVENT = 0
    LOGOUT_REQUEST = 1
    CONNECTION_DROP = 2
    SESSION_DROP = 3
    NEGOTIATION_REQUEST = 4


class LoginError(ProtocolError):
    """Ends a login with a status; keys (key=value pairs) go with the response, e.g. TargetAddress of a redirection."""

    def __init__(self, status: LoginStatus, why: str, keys: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(status, why)
        self.status, self.why, self.keys = status, why, keys

    def __str__(self) -> str:
        return f"login refused ({self.status:#06x} {self.status.name.lower().replace('_', ' ')}): {self.why}"


class RejectPdu(ProtocolError):
    """Answers one PDU with Reject."""

    def __init__(self, reason: RejectReason, why: str) -> None:
        super().__init__(reason, why)
        self.reason, self.why = reason, why

    def __str__(self) -> str:
        return f"PDU rejected ({self.reason.name.lower().replace('_', ' ')}): {self.why}"


_EXTENDED_CDB, _BIDIRECTIONAL_READ = 1, 2
"""AHS types.  RFC 7143 11.2.2.1."""


def parse_ahs(cdb: bytes, ahs: memoryview) -> tuple[bytes, int]:
    """The CDB with its extension, and the bidirectional read length. Raises RejectPdu.  Source: RFC 7143 11.2.2."""
    bidirectional = at = 0
    while at < len(ahs):
        length = int.from_bytes(ahs[at : at + 2], "big")
        kind = ahs[at + 2]
        if not length or at + 3 + length > len(ahs):
            raise RejectPdu(RejectReason.INVALID_PDU_FIELD, "an additional header segment is longer than its PDU")
        if kind == _EXTENDED_CDB:
            cdb += bytes(ahs[at + 4 : at + 3 + length])
        elif kind == _BIDIRECTIONAL_READ and length == 5:
            bidirectional = int.from_bytes(ahs[at + 4 : at + 8], "big")
        else:
            raise RejectPdu(RejectReason.INVALID_PDU_FIELD, f"additional header segment of type {kind}")
        at += (3 + length + 3) & ~3
    return cdb, bidirectional


def _lengths() -> tuple[Bits, Bits]:
    return (
        Bits("total_ahs_length", 4, high=31, low=24, size_bytes=4),
        Bits("data_segment_length", 4, high=23, low=0, size_bytes=4),
    )


def _request(name: str, opcode: Opcode, *fields: Union[Int, Bits, Blob]) -> Layout:
    """Initiator's PDU: the opcode byte also has the I bit."""
    head = (Bit("immediate", 0, 6), Bits("opcode", 0, high=5, low=0, value=opcode))
    return Layout(name, BHS_BYTES, (*head, *_lengths(), Int("initiator_task_tag", 16, 4), *fields))


def _response(name: str, opcode: Opcode, *fields: Union[Int, Bits, Blob]) -> Layout:
    """Target's PDU that carries StatSN, ExpCmdSN and MaxCmdSN."""
    numbers = (Int("stat_sn", 24, 4), Int("exp_cmd_sn", 28, 4), Int("max_cmd_sn", 32, 4))
    head = (Const("opcode", 0, 1, opcode), *_lengths(), Int("initiator_task_tag", 16, 4))
    return Layout(name, BHS_BYTES, (*head, *numbers, *fields))


_CMD_SN = (Int("cmd_sn", 24, 4), Int("exp_stat_sn", 28, 4))

# 11.3
SCSI_COMMAND = _request(
    "SCSI Command", Opcode.SCSI_COMMAND,
    Bit("final", 1, 7), Bit("read", 1, 6), Bit("write", 1, 5), Bits("attribute", 1, high=2, low=0),
    Int("lun", 8, 8), Int("expected_data_transfer_length", 20, 4), *_CMD_SN, Blob("cdb", 32, 16),
)  # fmt: skip
unpack_scsi_command = SCSI_COMMAND.unpack_raw
"""-> (byte 0, flags, lengths, lun, itt, edtl, cmd_sn, exp_stat_sn, cdb)"""

# 11.4
SCSI_RESPONSE = _response(
    "SCSI Response", Opcode.SCSI_RESPONSE,
    Bit("final", 1, 7, value=1), Bit("bidirectional_overflow", 1, 4), Bit("bidirectional_underflow", 1, 3),
    Bit("overflow", 1, 2), Bit("underflow", 1, 1), Int("response", 2, 1), Int("status", 3, 1), Int("snack_tag", 20, 4),
    Int("exp_data_sn", 36, 4), Int("bidirectional_read_residual_count", 40, 4), Int("residual_count", 44, 4),
)  # fmt: skip
pack_scsi_response = struct.Struct(">BBBBI8xIIIIIIII").pack
"""(opcode, flags, response, status, lengths, itt, snack_tag, stat_sn, exp, max, exp_data_sn, bidi residual,
residual)"""

# 11.5, 11.6
TASK_MANAGEMENT_REQUEST = _request(
    "Task Management Function Request", Opcode.TASK_MANAGEMENT_REQUEST,
    Bit("final", 1, 7, value=1), Bits("function", 1, high=6, low=0), Int("lun", 8, 8),
    Int("referenced_task_tag", 20, 4), *_CMD_SN, Int("ref_cmd_sn", 32, 4), Int("exp_data_sn", 36, 4),
)  # fmt: skip
TASK_MANAGEMENT_RESPONSE = _response(
    "Task Management Function Response", Opcode.TASK_MANAGEMENT_RESPONSE,
    Bit("final", 1, 7, value=1), Int("response", 2, 1),
)  # fmt: skip

# 11.7
DATA_OUT = _request(
    "SCSI Data-Out", Opcode.DATA_OUT,
    Bit("final", 1, 7), Int("lun", 8, 8), Int("target_transfer_tag", 20, 4), Int("exp_stat_sn", 28, 4),
    Int("data_sn", 36, 4), Int("buffer_offset", 40, 4),
)  # fmt: skip
unpack_data_out = DATA_OUT.unpack_raw
"""-> (byte 0, flags, lengths, lun, itt, ttt, exp_stat_sn, data_sn, buffer_offset)"""

DATA_IN = _response(
    "SCSI Data-In", Opcode.DATA_IN,
    Bit("final", 1, 7), Bit("acknowledge", 1, 6),
    Bit("overflow", 1, 2), Bit("underflow", 1, 1), Bit("has_status", 1, 0),
    Int("status", 3, 1), Int("lun", 8, 8), Int("target_transfer_tag", 20, 4),
    Int("data_sn", 36, 4), Int("buffer_offset", 40, 4), Int("residual_count", 44, 4),
)  # fmt: skip
pack_data_in = struct.Struct(">BBxBI8xIIIIIIII").pack
"""(opcode, flags, status, lengths, itt, ttt, stat_sn, exp, max, data_sn, buffer_offset, residual)"""

# 11.8
R2T = _response(
    "Ready To Transfer", Opcode.R2T,
    Bit("final", 1, 7, value=1), Int("lun", 8, 8), Int("target_transfer_tag", 20, 4),
    Int("r2t_sn", 36, 4), Int("buffer_offset", 40, 4), Int("desired_data_transfer_length", 44, 4),
)  # fmt: skip
pack_r2t = struct.Struct(">BBxxIQIIIIIIII").pack
"""(opcode, flags, lengths, lun, itt, ttt, stat_sn, exp, max, r2t_sn, buffer_offset, desired length)"""

# 11.9
ASYNC_MESSAGE = _response(
    "Asynchronous Message", Opcode.ASYNC_MESSAGE,
    Bit("final", 1, 7, value=1), Int("lun", 8, 8), Int("async_event", 36, 1), Int("async_vcode", 37, 1),
    Int("parameter1", 38, 2), Int("parameter2", 40, 2), Int("parameter3", 42, 2),
)  # fmt: skip

# 11.10, 11.11
TEXT_REQUEST = _request(
    "Text Request", Opcode.TEXT_REQUEST,
    Bit("final", 1, 7), Bit("continues", 1, 6), Int("lun", 8, 8), Int("target_transfer_tag", 20, 4), *_CMD_SN,
)  # fmt: skip
TEXT_RESPONSE = _response(
    "Text Response", Opcode.TEXT_RESPONSE,
    Bit("final", 1, 7), Bit("continues", 1, 6), Int("lun", 8, 8), Int("target_transfer_tag", 20, 4),
)  # fmt: skip

# 11.12, 11.13
LOGIN_REQUEST = _request(
    "Login Request", Opcode.LOGIN_REQUEST,
    Bit("transit", 1, 7), Bit("continues", 1, 6), Bits("current_stage", 1, high=3, low=2),
    Bits("next_stage", 1, high=1, low=0), Int("version_max", 2, 1), Int("version_min", 3, 1),
    Blob("isid", 8, 6), Int("tsih", 14, 2), Int("cid", 20, 2), *_CMD_SN,
)  # fmt: skip
LOGIN_RESPONSE = _response(
    "Login Response", Opcode.LOGIN_RESPONSE,
    Bit("transit", 1, 7), Bit("continues", 1, 6), Bits("current_stage", 1, high=3, low=2),
    Bits("next_stage", 1, high=1, low=0), Int("version_max", 2, 1), Int("version_active", 3, 1),
    Blob("isid", 8, 6), Int("tsih", 14, 2), Bits("status", 36, high=15, low=0, size_bytes=2),
)  # fmt: skip

# 11.14, 11.15
LOGOUT_REQUEST = _request(
    "Logout Request", Opcode.LOGOUT_REQUEST,
    Bit("final", 1, 7, value=1), Bits("reason", 1, high=6, low=0), Int("cid", 20, 2), *_CMD_SN,
)  # fmt: skip
LOGOUT_RESPONSE = _response(
    "Logout Response", Opcode.LOGOUT_RESPONSE,
    Bit("final", 1, 7, value=1), Int("response", 2, 1), Int("time2wait", 40, 2), Int("time2retain", 42, 2),
)  # fmt: skip

# 11.16
SNACK_REQUEST = _request(
    "SNACK Request", Opcode.SNACK_REQUEST,
    Bit("final", 1, 7, value=1), Bits("type", 1, high=3, low=0), Int("lun", 8, 8), Int("target_transfer_tag", 20, 4),
    Int("exp_stat_sn", 28, 4), Int("begin_run", 40, 4), Int("run_length", 44, 4),
)  # fmt: skip

# 11.17
REJECT = _response(
    "Reject", Opcode.REJECT,
    Bit("final", 1, 7, value=1), Int("reason", 2, 1), Int("data_sn", 36, 4),
)  # fmt: skip

# 11.18, 11.19
NOP_OUT = _request(
    "NOP-Out", Opcode.NOP_OUT,
    Bit("final", 1, 7, value=1), Int("lun", 8, 8), Int("target_transfer_tag", 20, 4), *_CMD_SN,
)  # fmt: skip
NOP_IN = _response(
    "NOP-In", Opcode.NOP_IN,
    Bit("final", 1, 7, value=1), Int("lun", 8, 8), Int("target_transfer_tag", 20, 4),
)  # fmt: skip

LAYOUTS: dict[int, Layout] = {
    Opcode.NOP_OUT: NOP_OUT,
    Opcode.SCSI_COMMAND: SCSI_COMMAND,
    Opcode.TASK_MANAGEMENT_REQUEST: TASK_MANAGEMENT_REQUEST,
    Opcode.LOGIN_REQUEST: LOGIN_REQUEST,
    Opcode.TEXT_REQUEST: TEXT_REQUEST,
    Opcode.DATA_OUT: DATA_OUT,
    Opcode.LOGOUT_REQUEST: LOGOUT_REQUEST,
    Opcode.SNACK_REQUEST: SNACK_REQUEST,
    Opcode.NOP_IN: NOP_IN,
    Opcode.SCSI_RESPONSE: SCSI_RESPONSE,
    Opcode.TASK_MANAGEMENT_RESPONSE: TASK_MANAGEMENT_RESPONSE,
    Opcode.LOGIN_RESPONSE: LOGIN_RESPONSE,
    Opcode.TEXT_RESPONSE: TEXT_RESPONSE,
    Opcode.DATA_IN: DATA_IN,
    Opcode.LOGOUT_RESPONSE: LOGOUT_RESPONSE,
    Opcode.R2T: R2T,
    Opcode.ASYNC_MESSAGE: ASYNC_MESSAGE,
    Opcode.REJECT: REJECT,
}
"""Every PDU's layout by opcode: for logs and for whoever decodes a stream."""
