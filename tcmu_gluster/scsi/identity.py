"""Who the disk says it is: vendor, product, revision, serial number and NAA designator, all made here and only here."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass

IEEE_COMPANY_ID = "001405"
"""What LIO puts into the NAA designator of its disks: a disk that moves between the fronts keeps its name."""

BINARY, NAA = 1, 3  # CODE SET and DESIGNATOR TYPE of what names a unit to other units

VENDOR = "GLUSTER"
PRODUCT = "tcmu-gluster"
REVISION = "1.0"


@dataclass(frozen=True)
class Identity:
    """The identity record of one unit. serial is printable ASCII; naa are 16 bytes, NAA 6."""

    serial: str
    naa: bytes
    vendor: str = VENDOR
    product: str = PRODUCT
    revision: str = REVISION


def naa_of(serial: str) -> bytes:
    """NAA IEEE Registered Extended: 6, the company id, then the first 25 hexadecimal digits found in the serial.

    That is what the kernel's LIO derives from vpd_unit_serial, so both fronts say the same.  Source: SPC-4 7.8.6.6.5.
    """
    digits = "".join(c for c in serial.lower() if c in "0123456789abcdef")
    return bytes.fromhex(("6" + IEEE_COMPANY_ID + digits[:25]).ljust(32, "0"))


def identity_of_serial(serial: str) -> Identity:
    """The identity of a disk whose serial number somebody chose (LIO's vpd_unit_serial, our state)."""
    return Identity(serial, naa_of(serial))


def identity_from(text: str) -> Identity:
    """The identity that follows from a text that names the data (Backend.identity): the same text, the same disk."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
    return identity_of_serial(str(uuid.UUID(bytes=digest[:16])))
