"""Blocks that know where they belong and how old they are, and the book of what may stand where.

Every 512-byte block names its slot (4 KiB), its place in it and its version, fills the rest from these and ends with a
checksum: one that is torn, misplaced, older than what was acknowledged, or never written, is seen by itself.
"""

from __future__ import annotations

import struct
import zlib
from enum import Enum

BLOCK_BYTES = 512
SLOT_BYTES = 4096
SLOT_BLOCKS = SLOT_BYTES // BLOCK_BYTES
MAGIC = b"TRIALBLK"
_HEAD = struct.Struct("<8sIIQ")
_FILL = BLOCK_BYTES - _HEAD.size - 4


def block(slot: int, number: int, version: int) -> bytes:
    """One block of one version."""
    body = _HEAD.pack(MAGIC, slot, number, version) + bytes(((version + number) & 0xFF,)) * _FILL
    return body + zlib.crc32(body).to_bytes(4, "little")


def content(slot: int, version: int) -> bytes:
    """A whole slot of one version; version 0 is what nobody wrote."""
    if not version:
        return bytes(SLOT_BYTES)
    return b"".join(block(slot, number, version) for number in range(SLOT_BLOCKS))


def version_of(data: bytes, slot: int, number: int) -> int:
    """The version of one block as it was read; -1 if it is torn or belongs elsewhere."""
    if not any(data):
        return 0
    if zlib.crc32(data[:-4]).to_bytes(4, "little") != data[-4:]:
        return -1
    magic, its_slot, its_number, version = _HEAD.unpack_from(data)
    return int(version) if (magic, its_slot, its_number) == (MAGIC, slot, number) else -1


class Fault(Enum):
    """What can be wrong with a block."""

    TORN = "torn or misplaced"
    LOST = "older than what was acknowledged"
    INVENTED = "never written, or refused before it could be"


class Book:
    """What each slot may hold: the newest acknowledged version, and those since then whose fate is unknown.

    A write that failed or was aborted may be there, in part too. An acknowledged one ends that: only it is right.
    """

    def __init__(self) -> None:
        self.acknowledged: dict[int, int] = {}
        self.unknown: dict[int, set[int]] = {}
        self.issued: dict[int, int] = {}
        self.checked = 0
        self.faults: list[str] = []

    def begin(self, slot: int) -> int:
        """A new version for a write that starts now."""
        version = self.issued.get(slot, 0) + 1
        self.issued[slot] = version
        self.unknown.setdefault(slot, set()).add(version)
        return version

    def acknowledge(self, slot: int, version: int) -> None:
        """That write was answered GOOD: nothing older may be seen any more."""
        self.acknowledged[slot] = version
        self.unknown[slot] = {later for later in self.unknown[slot] if later > version}

    def check(self, slot: int, data: bytes, where: str = "") -> None:
        """Compare a slot as it was read; notes a fault for each block that may not be so."""
        acknowledged, unknown = self.acknowledged.get(slot, 0), self.unknown.get(slot, ())
        self.checked += SLOT_BLOCKS
        if data == content(slot, acknowledged):
            return
        for number in range(SLOT_BLOCKS):
            version = version_of(data[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES], slot, number)
            if version == acknowledged or version in unknown:
                continue
            fault = Fault.TORN if version < 0 else Fault.LOST if version < acknowledged else Fault.INVENTED
            self.faults.append(
                f"slot {slot} block {number}{where}: version {version} is {fault.value} (acknowledged {acknowledged}, "
                f"possible {sorted(unknown)})"
            )
