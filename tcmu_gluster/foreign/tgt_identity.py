"""What tgtd calls a disk of which its configuration says nothing. Measured at tgtd 1.0.85 with INQUIRY."""

from __future__ import annotations

from typing import Any

VENDOR, PRODUCT, REVISION = "IET", "VIRTUAL-DISK", "0001"
LONGEST = {"scsi_id": 36, "serial": 36, "vendor": 8, "product": 16, "revision": 4}
"""tgtd cuts what is longer."""


def scsi_id(tid: int, lun: int) -> str:
    """The T10 vendor designator: IET, padded to eight, then tid and LUN in hexadecimal."""
    return f"{VENDOR:<8}{tid:04x}{lun:04x}"


def serial(tid: int, lun: int) -> str:
    """The unit serial number: tid and LUN in decimal behind beaf. (On the wire blanks before it fill 36 characters.)"""
    return f"beaf{tid}{lun}"


def naa(id_: str) -> str:
    """The NAA 6 designator as 32 hexadecimal digits: each character of the SCSI ID is a digit (0 if it is none), and
    the last 31 stand at the end."""
    digits = "".join(c if c in "0123456789abcdef" else "0" for c in id_[: LONGEST["scsi_id"]].lower())
    return "6" + digits[-31:].rjust(31, "0")


def identity(tid: int, lun: int, given: dict[str, str]) -> dict[str, Any]:
    """All five, in our words: what is given as it would be shown, and tgtd's own otherwise."""
    own = {"scsi_id": scsi_id(tid, lun), "serial": serial(tid, lun), "vendor": VENDOR, "product": PRODUCT,
           "revision": REVISION}  # fmt: skip
    shown = {key: (given.get(key) or text)[: LONGEST[key]].rstrip() for key, text in own.items()}
    return {**shown, "naa": naa(shown["scsi_id"])}
