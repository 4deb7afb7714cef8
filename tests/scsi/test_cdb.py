"""CDB layouts against CDBs as hosts send them."""

from __future__ import annotations

import pytest

from tcmu_gluster.scsi import cdb
from tcmu_gluster.wire.layout import Layout

LAYOUTS = [value for value in vars(cdb).values() if isinstance(value, Layout)]


@pytest.mark.parametrize(
    ("layout", "raw", "fields"),
    [
        # Linux sd: READ(10) of 8 blocks at 2048; WRITE(16) with FUA; UNMAP of one descriptor; INQUIRY of VPD 83h
        (cdb.READ_10, "28000000080000000800", {"logical_block_address": 2048, "transfer_length": 8}),
        (
            cdb.WRITE_16,
            "8a080000000123456789000000080000",
            {"fua": 1, "logical_block_address": 0x123456789, "transfer_length": 8},
        ),
        (cdb.UNMAP, "42000000000000001800", {"parameter_list_length": 24, "anchor": 0}),
        (cdb.INQUIRY, "1201830040 00".replace(" ", ""), {"evpd": 1, "page_code": 0x83, "allocation_length": 0x40}),
        (cdb.READ_6, "081fffff0100", {"logical_block_address": 0x1FFFFF, "transfer_length": 1}),
        (cdb.MODE_SENSE_6, "1a083f001800", {"dbd": 1, "pc": 0, "page_code": 0x3F, "allocation_length": 24}),
        (cdb.MODE_SENSE_6, "1a008801ff00", {"dbd": 0, "pc": 2, "page_code": 8, "subpage_code": 1}),
        (cdb.GET_LBA_STATUS, "9e120000000000000007000000180000", {"service_action": 0x12, "allocation_length": 24}),
        (cdb.COMPARE_AND_WRITE, "8900000000000000000a000000010000", {"number_of_logical_blocks": 1}),
        (cdb.WRITE_SAME_16, "93090000000000000000000001000000", {"unmap": 1, "ndob": 1, "anchor": 0}),
        (cdb.START_STOP_UNIT, "1b0000000200", {"loej": 1, "start": 0}),
    ],
)
def test_fields_of_real_cdbs(layout: Layout, raw: str, fields: dict[str, int]) -> None:
    record = layout.unpack(bytes.fromhex(raw))
    assert {name: getattr(record, name) for name in fields} == fields


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_a_layout_is_as_long_as_its_group_code_says(layout: Layout) -> None:
    code = layout.fields["operation_code"].value
    assert layout.size_bytes == cdb.cdb_bytes(code)
    assert layout.usage()[0] == code


@pytest.mark.parametrize(("code", "size"), [(0x00, 6), (0x1F, 6), (0x20, 10), (0x5F, 10), (0x7F, 0), (0x88, 16),
                                            (0xA8, 12), (0xC0, 0), (0xFF, 0)])  # fmt: skip
def test_group_codes(code: int, size: int) -> None:
    assert cdb.cdb_bytes(code) == size
