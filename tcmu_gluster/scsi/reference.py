"""docs/scsi.md: every command, page and function that a unit can have, from the tables that answer for them.

script/scsi-reference writes the file; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Optional

from tcmu_gluster.scsi.command import Function
from tcmu_gluster.scsi.diagnostics import PAGES as DIAGNOSTIC_PAGES
from tcmu_gluster.scsi.log_pages import LOG_PAGES
from tcmu_gluster.scsi.mode_pages import MODE_PAGES
from tcmu_gluster.scsi.table import COMMANDS, Entry, Feature
from tcmu_gluster.scsi.target import RESETS
from tcmu_gluster.scsi.task_management import FUNCTIONS
from tcmu_gluster.scsi.vpd import PAGES as VPD_PAGES

HEAD = """\
# What a disk answers

Made by `script/scsi-reference` from the command table and the tables of pages; REPORT SUPPORTED OPERATION CODES,
INQUIRY, MODE SENSE and LOG SENSE print the same tables. What is not here ends with CHECK CONDITION, ILLEGAL REQUEST.
Sections are those of SPC-4 r36f and SBC-4 r22; other revisions count differently: look for the name, too.

## WRITE ATOMIC

An atomic write that is not completed has changed nothing (SBC-4 4.29), and a host that relies on it leaves out what it
did before against torn writes. So the command is there, and VPD page B0h tells a length, only where a write is whole or
not there at all whatever fails meanwhile. Memory is so: up to 8 MiB are written in one step of one thread, and nothing
of it outlives the process. A plain file and GlusterFS are not, not even for one block; page B0h says 0 for them:

- Against other commands a write of any length could be alone on its blocks, as COMPARE AND WRITE and ORWRITE are on
  every backing. That is half of the promise.
- When power is lost, Linux and a brick's file system may have written some pages or sectors of a write. Linux tells how
  long a write holds since 6.11 (`statx`'s atomic_write_unit_max, `RWF_ATOMIC`), for direct I/O to some disks and file
  systems; libgfapi and Gluster's protocol have nothing like it, and a disperse volume keeps each block in pieces on
  several bricks, which don't lose power at the same moment.
- A process that is killed leaves a long `pwritev` off between two pages, and a full file system ends it there too.

## Copies by token

Block device range descriptors begin at byte 16 of POPULATE TOKEN's parameter list and at byte 536 of WRITE USING
TOKEN's (SBC-4 5.12 and 5.59). ddpt 0.97 (Debian 12's) writes its own a byte too early, at 15 and 535. For blocks 0 to
16383, `ddpt --odx skip=0,16384` sends these 32 bytes:

    at      0     2     4         8         14    16                24        28
    sent    001e  0000  00000000  00000000  0010  0000000000000000  00400000  00000000
    meant   001e  0000  00000000  00000000  0010  0000000000000000  00004000  00000000

So a disk must read 400000h blocks, which is more than the 256 MiB of a token, and the answer is INVALID FIELD IN
PARAMETER LIST with field pointer 24. Fewer than 2048 blocks are not refused: 256 times as many are copied, from and to
256 times the block address, on our disks and on any other that follows the standard. ddpt says "number requested
differs from transfer count" then. Lists without that error, sent by sg_raw, copy what they name.
"""

COMMAND_HEADS = ("code", "action", "name", "section", "CDB bytes", "data", "only on")
FEATURES = {
    Feature.THIN: "thin provisioned disks",
    Feature.REMOVABLE: "removable disks",
    Feature.ATOMIC_WRITES: "storage that holds writes whole",
    Feature.RESERVATIONS: "the engine (on LIO the kernel answers)",
    Feature.PORTS: "the engine (on LIO the kernel answers)",
    Feature.SETS_GROUPS: "the engine (on LIO the kernel answers)",
    Feature.TOKENS: "the engine (LIO doesn't tell who asks)",
    Feature.CLOCK: "",
}
"""Where a row is that needs a feature; empty: everywhere that a daemon serves."""


def reference() -> str:
    """The whole text."""
    parts = [
        HEAD,
        _table("Commands", COMMAND_HEADS, map(_command, COMMANDS)),
        _table("Vital product data pages", ("page", "name", "section"), (
            (f"{page.page_code:02X}h", page.name, page.source) for page in VPD_PAGES.values()
        )),
        _table("Mode pages", ("page", "name", "section", "may be changed", "only on"), (
            (_mode_code(page.page_code, page.subpage_code), page.layout.name, page.source,
             ", ".join(name.upper() for name in page.changeable), _thin(page.thin))
            for page in sorted(MODE_PAGES, key=lambda page: page.key)
        )),
        _table("Log pages", ("page", "name", "section", "only on"), (
            ("00h", "Supported Log Pages", "SPC-4 7.3.18", ""),
            ("00h/FFh", "Supported Log Pages and Subpages", "SPC-4 7.3.19", ""),
            ("xxh/FFh", "Supported Subpages", "SPC-4 7.3.20", ""),
            *((f"{page.page_code:02X}h", page.name, page.source, _thin(page.thin or None)) for page in LOG_PAGES),
        )),
        _table("Diagnostic pages", ("page", "name", "section"), (
            (f"{code:02X}h", name, source) for code, name, source in DIAGNOSTIC_PAGES
        )),
        _table("Task management functions", ("function", "by"), (
            (function.name.replace("_", " "), "the unit" if function in FUNCTIONS else "the target")
            for function in Function if function in FUNCTIONS or function in RESETS
        )),
    ]  # fmt: skip
    return "\n".join(parts)


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"## {title}", "", _row(heads), _row(["---"] * len(heads)), *map(_row, rows)]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _command(row: Entry) -> tuple[str, ...]:
    action = "" if row.service_action is None else f"{row.service_action:02X}h"
    where = [words for feature, words in FEATURES.items() if row.needs & feature and words]
    return (
        f"{row.operation_code:02X}h", action, row.name, row.layout.source, str(row.layout.size_bytes), row.data.value,
        ", ".join(dict.fromkeys(where)),
    )  # fmt: skip


def _mode_code(page: int, subpage: int) -> str:
    return f"{page:02X}h" + (f"/{subpage:02X}h" if subpage else "")


def _thin(thin: Optional[bool]) -> str:
    return "" if thin is None else ("thin provisioned disks" if thin else "the others")
