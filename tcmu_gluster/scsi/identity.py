"""Who the disk says it is: vendor, product, revision, serial number and NAA designator, all made here and only here."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

IEEE_COMPANY_ID = "001405"
"""What LIO puts into the NAA designator of its disks: a disk that moves between the fronts keeps its name."""

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
    unit_serial: str = ""
    """What another target showed as its unit serial number, blanks included, where that is not serial."""
    more_naa: tuple[bytes, ...] = ()
    """Further NAA designators that another target showed."""

    @property
    def unit_serial_number(self) -> bytes:
        """What VPD page 80h says.  Source: SPC-4 7.8."""
        return (self.unit_serial or self.serial).encode("ascii", "replace")

    @property
    def naa_text(self) -> str:
        """All NAA designators in hexadecimal digits, separated by commas, as identity_as_recorded reads them."""
        return ",".join(naa.hex() for naa in (self.naa, *self.more_naa))

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


IDENTITY_KEYS = ("naa", "vendor", "product", "revision", "scsi_id", "unit_serial")
_LONGEST = {"vendor": 8, "product": 16, "revision": 4, "scsi_id": 64, "unit_serial": 252}
MOST_NAA = 4
"""More than any target that was looked at has."""


def identity_as_recorded(serial: str, record: Mapping[str, Any]) -> Identity:
    """The identity of a disk that another target served before: what the record names stays as it was there.

    record: naa (as _naa reads it; several are separated by commas), vendor, product, revision, scsi_id, unit_serial.
    Raises ValueError.
    """
    identity = identity_of_serial(serial)
    texts = {key: str(record[key]) for key in _LONGEST if record.get(key)}
    for key, text in texts.items():
        if len(text) > _LONGEST[key] or not (text.isascii() and text.isprintable()):
            raise ValueError(f"{key} is at most {_LONGEST[key]} printable ASCII characters, not {text!r}")
    all_naa = [_naa(text) for text in str(record["naa"]).split(",")] if record.get("naa") else [identity.naa]
    if len(all_naa) > MOST_NAA:
        raise ValueError(f"a disk has at most {MOST_NAA} NAA designators")
    words = {"vendor": VENDOR, "product": PRODUCT, "revision": REVISION, **texts}
    return Identity(serial, all_naa[0], more_naa=tuple(all_naa[1:]), **words)


def _naa(text: str) -> bytes:
    """An NAA designator: 32 hexadecimal digits of which the first is 6, or 16 with 2, 3 or 5.  Raises ValueError."""
    digits = text.lower()
    if len(digits) != (32 if digits[:1] == "6" else 16) or digits[:1] not in "2356":
        raise ValueError(f"an NAA designator is 6 and 31 hexadecimal digits, or 2, 3 or 5 and 15, not {digits!r}")
    return bytes.fromhex(digits)


def identity_from(text: str) -> Identity:
    """The identity that follows from a text that names the data (Backend.identity): the same text, the same disk."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
    return identity_of_serial(str(uuid.UUID(bytes=digest[:16])))
