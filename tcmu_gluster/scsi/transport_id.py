"""TransportIDs of iSCSI initiator ports, and the ports that reservations belong to.  Source: SPC-4 7.6.4.6."""

from __future__ import annotations

import re
from typing import NamedTuple, Optional

from tcmu_gluster.scsi.command import Nexus
from tcmu_gluster.scsi.sense import InvalidFieldInParameterList
from tcmu_gluster.wire.layout import Bits, Int, Layout

TRANSPORT_ID = Layout("iSCSI TransportID", 4, (
    Bits("tpid_format", 0, high=7, low=6), Bits("protocol_identifier", 0, high=3, low=0),
    Int("additional_length", 2, 2),
))  # fmt: skip
ISCSI = 5
DEVICE_NAME, PORT_NAME = 0b00, 0b01  # TPID FORMAT
SMALLEST_ADDITIONAL_BYTES = 20
_PORT = re.compile(r"(?P<name>.+),i,0x(?P<isid>[0-9a-fA-F]{1,12})")


class Registrant(NamedTuple):
    """What a registration belongs to: an initiator port and one of our target ports. Outlives sessions and restarts."""

    initiator_name: str
    isid: bytes
    target_name: str
    relative_target_port: int

    @property
    def initiator_port(self) -> tuple[str, bytes]:
        """The name and the ISID."""
        return self.initiator_name, self.isid

    def transport_id(self) -> bytes:
        """The initiator port's TransportID, format 01b; format 00b where it has no ISID."""
        return pack_transport_id(self.initiator_name, self.isid)


def registrant_of(nexus: Nexus) -> Registrant:
    """The ports of a nexus."""
    return Registrant(nexus.initiator_name, nexus.isid, nexus.target_name, nexus.relative_target_port)


def pack_transport_id(initiator_name: str, isid: bytes) -> bytes:
    """The name, ",i,0x" and the ISID; ended by a zero, padded to a multiple of 4."""
    text = f"{initiator_name},i,0x{isid.hex()}" if isid else initiator_name
    data = text.encode() + b"\0"
    data = (data + bytes(-len(data) % 4)).ljust(SMALLEST_ADDITIONAL_BYTES, b"\0")
    head = TRANSPORT_ID.pack(
        tpid_format=PORT_NAME if isid else DEVICE_NAME, protocol_identifier=ISCSI, additional_length=len(data)
    )
    return bytes(head) + data


def parse_transport_id(data: bytes, at: int) -> tuple[str, Optional[bytes], int]:
    """(initiator name, ISID or None for format 00b, size in bytes) of the TransportID at an offset of a list.

    Raises InvalidFieldInParameterList, pointing into the list.
    """
    if len(data) - at < TRANSPORT_ID.size_bytes:
        raise InvalidFieldInParameterList(at)
    head = TRANSPORT_ID.unpack(data, at)
    if head.protocol_identifier != ISCSI:
        raise InvalidFieldInParameterList("protocol_identifier", layout=TRANSPORT_ID, base=at)
    if head.tpid_format not in (DEVICE_NAME, PORT_NAME):
        raise InvalidFieldInParameterList("tpid_format", layout=TRANSPORT_ID, base=at)
    start, length = at + TRANSPORT_ID.size_bytes, head.additional_length
    if length < SMALLEST_ADDITIONAL_BYTES or length % 4 or start + length > len(data):
        raise InvalidFieldInParameterList("additional_length", layout=TRANSPORT_ID, base=at)
    text, zero, _ = data[start : start + length].partition(b"\0")
    try:
        name = text.decode("utf-8")
    except UnicodeDecodeError:
        name = ""
    if not zero or not name:
        raise InvalidFieldInParameterList(start)
    size_bytes = TRANSPORT_ID.size_bytes + length
    if head.tpid_format == DEVICE_NAME:
        return name, None, size_bytes
    port = _PORT.fullmatch(name)
    if port is None:
        raise InvalidFieldInParameterList(start)
    return port["name"], int(port["isid"], 16).to_bytes(6, "big"), size_bytes
