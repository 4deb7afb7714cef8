"""What tgtd calls a disk, whether its configuration says something about it or not. Measured at tgtd 1.0.85.

VPD page 80h has the serial number at the end of 36 characters, blanks before it; page 83h a T10 vendor designator (the
SCSI ID; zeros behind it fill 36 characters, which are not kept), one NAA 3 and one NAA 6.
"""

from __future__ import annotations

import re
from typing import Any

VENDOR, PRODUCT, REVISION = "IET", "VIRTUAL-DISK", "0001"
SERIAL_WIDTH = 36
LONGEST = {"scsi_id": 36, "serial": SERIAL_WIDTH, "vendor": 8, "product": 16, "revision": 4}
"""tgtd cuts what is longer."""
_NOT_IN_A_SERIAL = re.compile(r"[^A-Za-z0-9._-]+|^[^A-Za-z0-9]+", re.ASCII)


def scsi_id(tid: int, lun: int) -> str:
    """The T10 vendor designator: IET, padded to eight, then tid and LUN in hexadecimal."""
    return f"{VENDOR:<8}{tid:04x}{lun:04x}"


def serial(tid: int, lun: int) -> str:
    """The unit serial number: tid and LUN in decimal behind beaf. (On the wire blanks before it fill 36 characters.)"""
    return f"beaf{tid}{lun}"


def naa_6(id_: str) -> str:
    """Each character of the SCSI ID is a hexadecimal digit (0 if it is none); the last 31 stand at the end."""
    digits = "".join(c if c in "0123456789abcdef" else "0" for c in id_[: LONGEST["scsi_id"]].lower())
    return "6" + digits[-31:].rjust(31, "0")


def naa_3(tid: int, lun: int) -> str:
    """Locally assigned: tid and LUN."""
    return f"3000{tid:04x}{lun:08x}"


def identity(tid: int, lun: int, given: dict[str, str], taken: set[str]) -> dict[str, Any]:
    """All of it, in our words: what is given as it would be shown, and tgtd's own otherwise.

    serial is what the disk is known by here. It is made unique: tgtd shows beaf111 for tid 1, LUN 11 and for tid 11,
    LUN 1. taken holds those of other disks and gets this one.
    """
    own = {"scsi_id": scsi_id(tid, lun), "serial": serial(tid, lun), "vendor": VENDOR, "product": PRODUCT,
           "revision": REVISION}  # fmt: skip
    shown = {key: (given.get(key) or text)[: LONGEST[key]].rstrip() for key, text in own.items()}
    known = _NOT_IN_A_SERIAL.sub("", shown["serial"])
    if not known or known in taken:
        known = f"{known or 'tgt'}-{tid}-{lun}"
    taken.add(known)
    return {**shown, "serial": known, "unit_serial": shown["serial"].rjust(SERIAL_WIDTH),
            "naa": f"{naa_6(shown['scsi_id'])},{naa_3(tid, lun)}"}  # fmt: skip
