"""A parameter list for every command that has one, packed by hand from the tables of the standards."""

from __future__ import annotations

import struct

from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tests.doubles.copying import b2b, cscd, lid1, lid4, populate_list, write_list

ZERO_TOKEN = b"\xff\xff\x00\x01\x00\x00\x01\xf8" + bytes(504)
CACHING = bytes.fromhex("08120400 00000000 ffffffff") + bytes(8)
PR_LIST = bytes(8) + (5).to_bytes(8, "big") + bytes(8)


def list_of(name: str, unit: LogicalUnit) -> tuple[dict[str, int], bytes]:
    """(fields of the CDB besides the length, a list that the command takes)."""
    range_list = struct.pack(">HH4x", 22, 16) + struct.pack(">QI4x", 8, 8)
    lists: dict[str, tuple[dict[str, int], bytes]] = {
        "MODE SELECT(6)": ({"pf": 1}, bytes(4) + CACHING),
        "MODE SELECT(10)": ({"pf": 1}, bytes(8) + CACHING),
        "UNMAP": ({}, range_list),
        "SEND DIAGNOSTIC": ({"pf": 1}, bytes(4)),
        "WRITE BUFFER": ({"mode": 2}, b"echo" * 4),
        "LOG SELECT": ({"pc": 1}, bytes.fromhex("19000008 00010304 00000000")),
        "EXTENDED COPY(LID1)": ({}, lid1([cscd(unit)], [b2b(0, 0, 8, 0, 40)])),
        "EXTENDED COPY(LID4)": ({}, lid4([cscd(unit)], [b2b(0, 0, 8, 0, 40)])),
        "POPULATE TOKEN": ({}, populate_list((0, 4), (8, 4))),
        "WRITE USING TOKEN": ({}, write_list(ZERO_TOKEN, (0, 4), (8, 4))),
        "SET IDENTIFYING INFORMATION": ({}, b"name\0"),
        "SET TARGET PORT GROUPS": ({}, bytes(4) + bytes.fromhex("00000001")),
        "SET TIMESTAMP": ({}, bytes(4) + (1).to_bytes(6, "big") + bytes(2)),
        "SANITIZE, OVERWRITE": ({}, bytes.fromhex("01000004") + b"abcd"),
    }
    if name.startswith("PERSISTENT RESERVE OUT"):
        typed = name.endswith(("RESERVE", "RELEASE", "PREEMPT", "ABORT"))
        return ({"type": 1} if typed else {}), PR_LIST
    return lists[name]
