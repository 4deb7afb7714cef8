"""What the kernel and a TCMU handler share: mailbox, ring entries, flags, numbers.

The layouts are those of linux/target_core_user.h, version 2, on LP64: host byte order, gcc's natural holes. Every
"pointer" in them is a byte offset from the start of the mapping.
"""

from __future__ import annotations

import sys
from enum import IntEnum, IntFlag

from ..wire.layout import Blob, Int, Layout

_LITTLE = sys.byteorder == "little"

MAILBOX_VERSION = 2
MAILBOX_BYTES = 128
CMD_HEAD_OFFSET = 12
CMD_TAIL_OFFSET = 64
HEADER_BYTES = 8
REQUEST_BYTES = 48
"""Entry header and request fields: the iovec array follows."""
ENTRY_BYTES = 112
"""The response (header, status, 96 bytes of sense) overlays the request; no CMD entry is smaller."""
IOVEC_BYTES = 16
TASK_MANAGEMENT_BYTES = 32
SENSE_BYTES = 96
ALIGNMENT = 8


class MailboxFlag(IntFlag):
    """What this kernel understands. Features are decided by these bits, never by a kernel version."""

    OUT_OF_ORDER = 0x1
    READ_LENGTH = 0x2
    TASK_MANAGEMENT = 0x4
    KEEP_BUFFER = 0x8


class RingOpcode(IntEnum):
    """The low three bits of len_op."""

    PAD = 0
    CMD = 1
    TMR = 2


class ResponseFlag(IntFlag):
    """uflags of an entry that we give back."""

    UNKNOWN_OP = 0x1
    READ_LENGTH = 0x2
    KEEP_BUFFER = 0x4


class TaskManagementType(IntEnum):
    """tmr_type of a TMR entry."""

    UNKNOWN = 0
    ABORT_TASK = 1
    ABORT_TASK_SET = 2
    CLEAR_ACA = 3
    CLEAR_TASK_SET = 4
    LUN_RESET = 5
    TARGET_WARM_RESET = 6
    TARGET_COLD_RESET = 7
    LUN_RESET_PRO = 128


# struct tcmu_mailbox; cmd_tail has a cache line of its own, the rest is padding
MAILBOX = Layout(
    "tcmu_mailbox",
    MAILBOX_BYTES,
    (
        Int("version", 0, 2),
        Int("flags", 2, 2),
        Int("cmdr_off", 4, 4),
        Int("cmdr_size", 8, 4),
        Int("cmd_head", CMD_HEAD_OFFSET, 4),
        Int("cmd_tail", CMD_TAIL_OFFSET, 4),
    ),
    little_endian=_LITTLE,
)

# struct tcmu_cmd_entry_hdr; len_op: bits 2..0 the opcode, the rest the entry's length in bytes
HEADER = Layout(
    "tcmu_cmd_entry_hdr",
    HEADER_BYTES,
    (Int("len_op", 0, 4), Int("cmd_id", 4, 2), Int("kflags", 6, 1), Int("uflags", 7, 1)),
    little_endian=_LITTLE,
)

# struct tcmu_cmd_entry, req; iov[] follows
REQUEST = Layout(
    "tcmu_cmd_entry.req",
    REQUEST_BYTES,
    (
        Int("len_op", 0, 4),
        Int("cmd_id", 4, 2),
        Int("kflags", 6, 1),
        Int("uflags", 7, 1),
        Int("iov_cnt", 8, 4),
        Int("iov_bidi_cnt", 12, 4),
        Int("iov_dif_cnt", 16, 4),
        Int("cdb_off", 24, 8),
    ),
    little_endian=_LITTLE,
)

# struct tcmu_cmd_entry, rsp
RESPONSE = Layout(
    "tcmu_cmd_entry.rsp",
    ENTRY_BYTES,
    (
        Int("len_op", 0, 4),
        Int("cmd_id", 4, 2),
        Int("kflags", 6, 1),
        Int("uflags", 7, 1),
        Int("scsi_status", 8, 1),
        Int("read_len", 12, 4),
        Blob("sense_buffer", 16, SENSE_BYTES),
    ),
    little_endian=_LITTLE,
)

# struct iovec
IOVEC = Layout("iovec", IOVEC_BYTES, (Int("base", 0, 8), Int("length", 8, 8)), little_endian=_LITTLE)

# struct tcmu_tmr_entry; cmd_ids[] follows
TASK_MANAGEMENT = Layout(
    "tcmu_tmr_entry",
    TASK_MANAGEMENT_BYTES,
    (
        Int("len_op", 0, 4),
        Int("cmd_id", 4, 2),
        Int("kflags", 6, 1),
        Int("uflags", 7, 1),
        Int("tmr_type", 8, 1),
        Int("cmd_cnt", 12, 4),
    ),
    little_endian=_LITTLE,
)

_GROUP_LENGTHS = (6, 10, 10, 12, 16, 12, 10, 10)

CDB_LENGTHS = bytes(_GROUP_LENGTHS[opcode >> 5] if opcode != 0x7F else 0 for opcode in range(256))
"""How many bytes the kernel copies, by operation code; 0: variable length, 8 + byte 7 (SPC-4 4.2.3)."""

VARIABLE_LENGTH_CDB = 0x7F


# -- generic netlink, family TCM-USER ---------------------------------------------------------------------------------

FAMILY_NAME = "TCM-USER"
FAMILY_VERSION = 2
MULTICAST_GROUP = "config"


class GenlCommand(IntEnum):
    """enum tcmu_genl_cmd."""

    ADDED_DEVICE = 1
    REMOVED_DEVICE = 2
    RECONFIG_DEVICE = 3
    ADDED_DEVICE_DONE = 4
    REMOVED_DEVICE_DONE = 5
    RECONFIG_DEVICE_DONE = 6
    SET_FEATURES = 7
