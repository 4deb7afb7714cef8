"""The command table and what one unit makes of it."""

from __future__ import annotations

import pytest

from tcmu_gluster.scsi import cdb, spc
from tcmu_gluster.scsi.overlap import Overlap
from tcmu_gluster.scsi.table import COMMANDS, WHOLE_UNIT, CommandTable, Data, Entry, Feature, Gate


def test_operation_codes_agree_with_the_layouts() -> None:
    for row in COMMANDS:
        assert row.layout.fields["operation_code"].value == row.operation_code
        action = row.layout.fields.get("service_action")
        assert (None if action is None else action.value) == row.service_action


def test_rows_are_in_order_and_unique() -> None:
    keys = [(row.operation_code, row.service_action or 0) for row in COMMANDS]
    assert keys == sorted(set(keys))


def test_what_writes_is_refused_on_write_protected_disks_and_waits_for_the_medium() -> None:
    for row in COMMANDS:
        if row.layout is cdb.POPULATE_TOKEN:  # ATOMIC not because it writes, but because nobody else may meanwhile
            continue
        if row.overlap in (Overlap.WRITES, Overlap.ATOMIC):
            assert row.gates & Gate.MODIFIES, row
            assert row.gates & Gate.MEDIUM, row
            assert row.data is Data.OUT, row
        if row.gates & Gate.MODIFIES:
            assert not row.gates & (Gate.SHARED | Gate.OPEN), row


def test_only_these_pass_a_unit_attention() -> None:
    assert {row.name for row in COMMANDS if row.gates & Gate.ATTENTION} == {"INQUIRY", "REPORT LUNS", "REQUEST SENSE"}


def test_finding_rows() -> None:
    table = CommandTable()
    assert table.find(0x28).name == "READ(10)"
    assert table.find(0x9E, 0x10).name == "READ CAPACITY(16)"
    assert table.find(0x9E) is None
    assert table.find(0x9E, 0x11) is None
    assert table.find(0xC0) is None
    assert table.service_actions(0x9E)
    assert not table.service_actions(0x28)


def test_a_row_whose_feature_is_missing_is_not_there() -> None:
    assert CommandTable(features=Feature.NONE).find(0x42) is None
    assert CommandTable(features=Feature.THIN).find(0x42) is not None


def test_two_rows_of_one_operation_code_are_refused() -> None:
    row = Entry(0x00, None, cdb.TEST_UNIT_READY, spc.test_unit_ready, Data.NONE, Gate.NONE, Overlap.FREE)
    with pytest.raises(ValueError, match="two rows"):
        CommandTable([row, row])


def test_extents() -> None:
    read = CommandTable().find(0x28)
    assert read is not None
    assert read.extent(cdb.READ_10.unpack(cdb.READ_10.pack(logical_block_address=5, transfer_length=3))) == (5, 8)
    read_6 = CommandTable().find(0x08)
    assert read_6 is not None
    assert read_6.extent(cdb.READ_6.unpack(cdb.READ_6.pack(logical_block_address=5))) == (5, 261)
    unmap = CommandTable(features=Feature.THIN).find(0x42)
    assert unmap is not None
    assert unmap.extent(None) == WHOLE_UNIT


def test_usage_holds_the_service_action_itself() -> None:
    row = CommandTable().find(0xA3, 0x0C)
    assert row is not None
    assert row.usage[:3].hex() == "a30c87"
