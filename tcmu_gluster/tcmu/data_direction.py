"""Which way a CDB moves data, and how much: what the ring's entries don't say.

The ring needs the direction only to know whether bytes that nobody wrote may reach the initiator; whatever is not
listed here counts as Data-In, which costs at most a needless zero-fill. The length check exists because nobody else
makes it: LIO's core passes a command on whatever the fabric announced, and the ring can express neither an overflow
nor the residual of a WRITE. COMPARE AND WRITE is left to its handler (scsi/sbc.py), which looks at the CDB first: more
blocks than the unit takes are INVALID FIELD IN CDB, whatever was announced (SBC-3 5.3).  Source: SBC-4 clause 5, SPC-4
clause 6.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum

from .uapi import CDB_LENGTHS

_WRITE_COMMANDS = {
    0x0A: "WRITE(6)", 0x2A: "WRITE(10)", 0xAA: "WRITE(12)", 0x8A: "WRITE(16)",
    0x2E: "WRITE AND VERIFY(10)", 0xAE: "WRITE AND VERIFY(12)", 0x8E: "WRITE AND VERIFY(16)", 0x8B: "ORWRITE(16)",
}  # fmt: skip

_READ_COMMANDS = {0x08: "READ(6)", 0x28: "READ(10)", 0xA8: "READ(12)", 0x88: "READ(16)"}

_OTHER_DATA_OUT = {
    0x04: "FORMAT UNIT", 0x07: "REASSIGN BLOCKS", 0x15: "MODE SELECT(6)", 0x1D: "SEND DIAGNOSTIC",
    0x2F: "VERIFY(10)", 0x3B: "WRITE BUFFER", 0x41: "WRITE SAME(10)", 0x42: "UNMAP", 0x48: "SANITIZE",
    0x4C: "LOG SELECT", 0x53: "XDWRITEREAD(10)", 0x55: "MODE SELECT(10)", 0x5F: "PERSISTENT RESERVE OUT",
    0x83: "EXTENDED COPY", 0x89: "COMPARE AND WRITE", 0x8F: "VERIFY(16)", 0x93: "WRITE SAME(16)",
    0x9D: "SERVICE ACTION BIDIRECTIONAL", 0x9F: "SERVICE ACTION OUT(16)", 0xA4: "MAINTENANCE OUT",
    0xA9: "SERVICE ACTION OUT(12)", 0xAF: "VERIFY(12)", 0xB5: "SECURITY PROTOCOL OUT",
}  # fmt: skip

DATA_OUT = bytes(opcode in _WRITE_COMMANDS or opcode in _OTHER_DATA_OUT for opcode in range(256))
"""1 at every operation code whose data goes to the device; never at one whose data comes from it."""


class LengthRule(IntEnum):
    """How the announced length of a command must relate to the blocks that its CDB names."""

    UNCHECKED = 0
    AT_LEAST = 1
    EXACT = 2


LENGTH_RULES = bytes(
    LengthRule.AT_LEAST if opcode in _READ_COMMANDS
    else LengthRule.EXACT if opcode in _WRITE_COMMANDS
    else LengthRule.UNCHECKED
    for opcode in range(256)
)  # fmt: skip


_AT_LEAST = int(LengthRule.AT_LEAST)

# Where a CDB of each length has its TRANSFER LENGTH.
_LENGTH_FIELDS = {10: struct.Struct(">7xHx"), 12: struct.Struct(">6xI2x"), 16: struct.Struct(">10xI2x")}


def _reader(opcode: int) -> Callable[[bytes], tuple[int, ...]] | None:
    if not LENGTH_RULES[opcode]:
        return None
    if CDB_LENGTHS[opcode] == 6:
        return lambda cdb: (cdb[4] or 256,)
    return _LENGTH_FIELDS[CDB_LENGTHS[opcode]].unpack


_READERS = tuple(_reader(opcode) for opcode in range(256))


def length_fits(cdb: bytes, announced_bytes: int, block_bytes: int) -> bool:
    """Whether the buffers of the ring entry suit the CDB (LENGTH_RULES says which commands are judged, and how)."""
    opcode = cdb[0]
    read = _READERS[opcode]
    if read is None:
        return True
    wanted = read(cdb)[0] * block_bytes
    if LENGTH_RULES[opcode] == _AT_LEAST:
        return announced_bytes >= wanted
    return announced_bytes == wanted
