"""Designation descriptors, by which units, ports and targets are named to others.  Source: SPC-4 7.8.6."""

from __future__ import annotations

from tcmu_gluster.wire.layout import Bit, Bits, Int, Layout

DESIGNATION = Layout("designation descriptor", 4, (
    Bits("protocol_identifier", 0, high=7, low=4), Bits("code_set", 0, high=3, low=0),
    Bit("piv", 1, 7), Bits("association", 1, high=5, low=4), Bits("designator_type", 1, high=3, low=0),
    Int("designator_length", 3, 1),
))  # fmt: skip

BINARY, ASCII, UTF_8 = 1, 2, 3  # CODE SET
LOGICAL_UNIT, TARGET_PORT, TARGET_DEVICE = 0, 1, 2  # ASSOCIATION
T10_VENDOR_ID, NAA, RELATIVE_TARGET_PORT, TARGET_PORT_GROUP, SCSI_NAME_STRING = 1, 3, 4, 5, 8  # DESIGNATOR TYPE
ISCSI = 5  # PROTOCOL IDENTIFIER


def designator(code_set: int, type_: int, value: bytes, association: int = LOGICAL_UNIT, protocol: int = 0) -> bytes:
    """One designation descriptor; protocol != 0 makes it one of a port of that protocol."""
    return bytes(DESIGNATION.pack(
        protocol_identifier=protocol, piv=bool(protocol), code_set=code_set, association=association,
        designator_type=type_, designator_length=len(value),
    )) + value  # fmt: skip


def name_string(name: str) -> bytes:
    """A SCSI name string: UTF-8, ended by one zero at least, padded to a multiple of four.  Source: SPC-4 7.8.6.11."""
    text = name.encode("utf-8") + b"\0"
    return text + bytes(-len(text) % 4)
