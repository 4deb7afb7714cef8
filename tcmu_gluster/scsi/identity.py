"""Who the disk says it is: vendor, product, revision, serial number and NAA designator, all made here and only here."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

IEEE_COMPANY_ID = "001405"
"""What LIO puts into the NAA designator of its disks: a disk that moves between the fronts keeps its name."""

BINARY, NAA = 1, 3  # CODE SET and DESIGNATOR TYPE of what names a unit to other units

VENDOR = "GLUSTER"
PRODUCT = "tcmu-gluster"
REVISION = "1.0"


@dataclass(frozen=True)
class Identity:
    """The identity record of one unit. serial is printable ASCII; naa are 16 bytes (NAA 6), or 8 (NAA 2, 3, 5)."""

    serial: str
    naa: bytes
    vendor: str = VENDOR
    product: str = PRODUCT
    revision: str = REVISION
    scsi_id: str = ""
    """What another target called the disk in its T10 vendor designator; '' for vendor and serial."""

    @property
    def t10_designator(self) -> bytes:
        """Vendor (8 bytes), then what the vendor calls it.  Source: SPC-4 7.8.6.4."""
        return (self.scsi_id or f"{self.vendor:<8}{self.serial}").encode("ascii", "replace")


def naa_of(serial: str) -> bytes:
    """NAA IEEE Registered Extended: 6, the company id, then the first 25 hexadecimal digits found in the serial.

    That is what the kernel's LIO derives from vpd_unit_serial, so both fronts say the same.  Source: SPC-4 7.8.6.6.5.
    """
    digits = "".join(c for c in serial.lower() if c in "0123456789abcdef")
    return bytes.fromhex(("6" + IEEE_COMPANY_ID + digits[:25]).ljust(32, "0"))


def identity_of_serial(serial: str) -> Identity:
    """The identity of a disk whose serial number somebody chose (LIO's vpd_unit_serial, our state)."""
    return Identity(serial, naa_of(serial))


IDENTITY_KEYS = ("naa", "vendor", "product", "revision", "scsi_id")
_LONGEST = {"vendor": 8, "product": 16, "revision": 4, "scsi_id": 64}


def identity_as_recorded(serial: str, record: Mapping[str, Any]) -> Identity:
    """The identity of a disk that another target served before: what the record names stays as it was there.

    record: naa (32 hexadecimal digits, or the 16 of an NAA 2, 3 or 5), vendor, product, revision, scsi_id.
    Raises ValueError.
    """
    identity = identity_of_serial(serial)
    texts = {key: str(record[key]) for key in _LONGEST if record.get(key)}
    for key, text in texts.items():
        if len(text) > _LONGEST[key] or not (text.isascii() and text.isprintable()):
            raise ValueError(f"{key} is at most {_LONGEST[key]} printable ASCII characters, not {text!r}")
    naa = identity.naa
    if record.get("naa"):
        digits = str(record["naa"]).lower()
        if len(digits) != (32 if digits[:1] == "6" else 16) or digits[:1] not in "2356":
            raise ValueError(f"an NAA designator is 6 and 31 hexadecimal digits, or 2, 3 or 5 and 15, not {digits!r}")
        naa = bytes.fromhex(digits)
    return Identity(serial, naa, **{"vendor": VENDOR, "product": PRODUCT, "revision": REVISION, **texts})


def identity_from(text: str) -> Identity:
    """The identity that follows from a text that names the data (Backend.identity): the same text, the same disk."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
    return identity_of_serial(str(uuid.UUID(bytes=digest[:16])))
