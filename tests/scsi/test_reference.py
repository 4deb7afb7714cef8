"""docs/scsi.md says what the tables say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.copies import CopyManager
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.reference import reference
from tcmu_gluster.scsi.table import COMMANDS
from tests.doubles.host import Host, memory

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scsi.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run script/scsi-reference"


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_every_command_has_its_section(row: object) -> None:
    source = row.layout.source
    assert re.fullmatch(r"(SPC|SBC)-[234] [5-7]\.[0-9.]+", source), "add it to SECTIONS of cdb.py"


def test_report_supported_operation_codes_prints_the_same() -> None:
    copies = CopyManager(lambda: 0.0, bytes)
    unit = LogicalUnit(memory(), UnitOptions(removable=True), clock=lambda: 0.0, copies=copies)
    data = Host(unit).run(cdb.REPORT_SUPPORTED_OPERATION_CODES.pack(allocation_length=1 << 16)).data
    reported = set()
    for at in range(4, len(data), 8):
        action = f"{int.from_bytes(data[at + 2 : at + 4], 'big'):02X}h" if data[at + 5] & 1 else ""
        reported.add((f"{data[at]:02X}h", action))
    section = PAGE.read_text(encoding="utf-8").partition("## Commands")[2].partition("##")[0]
    assert set(re.findall(r"^\| ([0-9A-F]{2}h) \| ([0-9A-F]{2}h|) \|", section, re.M)) == reported
