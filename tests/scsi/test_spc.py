"""The primary commands, byte by byte."""

from __future__ import annotations

import errno

import pytest

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.command import Status
from tcmu_gluster.scsi.copies import CopyManager
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.persistence import UnitRecord
from tcmu_gluster.scsi.sense import Asc, SenseKey
from tcmu_gluster.scsi.table import COMMANDS
from tests.doubles.backends import FaultyBackend
from tests.doubles.host import Answer, Host, memory


@pytest.fixture
def unit() -> LogicalUnit:
    return LogicalUnit(memory(), clock=lambda: 0.0, copies=CopyManager(lambda: 0.0, bytes))


@pytest.fixture
def host(unit: LogicalUnit) -> Host:
    return Host(unit)


def refused(answer: Answer, asc: Asc, pointer: object = None) -> None:
    assert (answer.status, answer.key, answer.asc) == (Status.CHECK_CONDITION, SenseKey.ILLEGAL_REQUEST, asc)
    assert answer.pointer == pointer


# -- INQUIRY -----------------------------------------------------------------------------------------------------


def test_standard_inquiry(host: Host) -> None:
    data = host.run(cdb.INQUIRY.pack(allocation_length=255)).data
    assert len(data) == 96
    assert data[:8].hex() == "000006125b080002"  # disk, SPC-4, HISUP and format 2, 91 more bytes, 3PC, CMDQUE
    assert data[8:36] == b"GLUSTER tcmu-gluster    1.0 "
    assert data[58:64].hex() == "00a0046004c0"  # SAM-5, SPC-4, SBC-3


@pytest.mark.parametrize("length", [0, 1, 5, 36, 96, 65535])
def test_allocation_length_cuts_and_changes_nothing_inside(host: Host, length: int) -> None:
    whole = host.run(cdb.INQUIRY.pack(allocation_length=255)).data
    assert host.run(cdb.INQUIRY.pack(allocation_length=length)).data == whole[:length]


def test_inquiry_page_code_without_evpd_is_refused(host: Host) -> None:
    refused(host.run(cdb.INQUIRY.pack(page_code=0x80, allocation_length=255)), Asc.INVALID_FIELD_IN_CDB, (2, None))


def test_unknown_vpd_page_is_refused(host: Host) -> None:
    answer = host.run(cdb.INQUIRY.pack(evpd=1, page_code=0xC0, allocation_length=255))
    refused(answer, Asc.INVALID_FIELD_IN_CDB, (2, None))


def test_removable_is_told() -> None:
    host = Host(LogicalUnit(memory(), UnitOptions(removable=True)))
    assert host.run(cdb.INQUIRY.pack(allocation_length=96)).data[1] == 0x80


# -- REQUEST SENSE -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("desc", "first"), [(0, 0x70), (1, 0x72)])
def test_request_sense_of_a_quiet_unit(host: Host, desc: int, first: int) -> None:
    answer = host.run(cdb.REQUEST_SENSE.pack(desc=desc, allocation_length=252))
    assert answer.good
    assert answer.data[0] == first
    assert len(answer.data) == (8 if desc else 18)


def test_request_sense_takes_a_unit_attention(unit: LogicalUnit) -> None:
    host = Host(unit, attach=True)
    data = host.run(cdb.REQUEST_SENSE.pack(allocation_length=252)).data
    assert (data[2], data[12:14].hex()) == (SenseKey.UNIT_ATTENTION, "2900")
    assert host.run(cdb.TEST_UNIT_READY.pack()).good


def test_request_sense_tells_first_why_the_unit_is_not_operational(unit: LogicalUnit) -> None:
    host = Host(unit, attach=True)  # SPC-4 6.39: that comes before a pending unit attention, which stays
    unit.set_ready(Asc.BECOMING_READY)
    data = host.run(cdb.REQUEST_SENSE.pack(allocation_length=252)).data
    assert (data[2], data[12:14].hex()) == (SenseKey.NOT_READY, "0401")
    unit.set_ready()
    data = host.run(cdb.REQUEST_SENSE.pack(allocation_length=252)).data
    assert (data[2], data[12:14].hex()) == (SenseKey.UNIT_ATTENTION, "2900")


@pytest.mark.parametrize("length", [0, 1, 18])
def test_request_sense_of_any_length_clears_what_it_tells(unit: LogicalUnit, length: int) -> None:
    host = Host(unit, attach=True)  # SPC-4 6.39: sense data may be lost
    assert len(host.run(cdb.REQUEST_SENSE.pack(allocation_length=length)).data) == length
    assert host.run(cdb.TEST_UNIT_READY.pack()).good


def test_request_sense_tells_why_the_unit_is_not_ready(unit: LogicalUnit, host: Host) -> None:
    unit.set_ready(Asc.BECOMING_READY)
    data = host.run(cdb.REQUEST_SENSE.pack(allocation_length=252)).data
    assert (data[2], data[12:14].hex()) == (SenseKey.NOT_READY, "0401")


# -- MODE SENSE and MODE SELECT ----------------------------------------------------------------------------------


def test_mode_sense_6_of_all_pages(host: Host) -> None:
    data = host.run(cdb.MODE_SENSE_6.pack(page_code=0x3F, allocation_length=255)).data
    # header: 3 bytes + descriptor + 12 + 16 + 20 + 12 + 40 + 12 follow; DPOFUA; 8 bytes: 2048 blocks of 512
    assert data[:12].hex() == "7b001008" + "00000800" + "00000200"
    assert [data[at] & 0x3F for at in (12, 24, 40, 60, 72, 112)] == [0x01, 0x02, 0x08, 0x0A, 0x1A, 0x1C]
    assert len(data) == data[0] + 1


def test_mode_sense_10_with_a_long_descriptor(host: Host) -> None:
    data = host.run(cdb.MODE_SENSE_10.pack(llbaa=1, page_code=0x0A, allocation_length=255)).data
    assert data[:8].hex() == "0022001001000010"  # LONGLBA, 16 bytes of descriptor
    assert data[8:24].hex() == "0000000000000800" + "00000000" + "00000200"
    assert int.from_bytes(data[:2], "big") == len(data) - 2


def test_mode_sense_without_block_descriptor(host: Host) -> None:
    data = host.run(cdb.MODE_SENSE_6.pack(dbd=1, page_code=0x0A, allocation_length=255)).data
    assert data[3] == 0
    assert data[4] == 0x8A


def test_mode_sense_says_write_protected() -> None:
    host = Host(LogicalUnit(memory(), UnitOptions(write_protected=True)))
    assert host.run(cdb.MODE_SENSE_6.pack(page_code=0x0A, allocation_length=255)).data[2] == 0x90


@pytest.mark.parametrize(
    ("fields", "asc", "pointer"),
    [
        ({"page_code": 0x03}, Asc.INVALID_FIELD_IN_CDB, (2, 5)),
        ({"page_code": 0x0A, "subpage_code": 2}, Asc.INVALID_FIELD_IN_CDB, (3, None)),
        ({"page_code": 0x3F, "subpage_code": 1}, Asc.INVALID_FIELD_IN_CDB, (3, None)),
    ],
)
def test_mode_sense_refuses(host: Host, fields: dict[str, int], asc: Asc, pointer: object) -> None:
    refused(host.run(cdb.MODE_SENSE_6.pack(allocation_length=255, **fields)), asc, pointer)
    refused(host.run(cdb.MODE_SENSE_10.pack(allocation_length=255, **fields)), asc, pointer)


def select_6(host: Host, pages: bytes, head: bytes = bytes(4)) -> Answer:
    data = head + pages
    return host.run(cdb.MODE_SELECT_6.pack(pf=1, parameter_list_length=len(data)), data)


def page_of(host: Host, code: int) -> bytearray:
    return bytearray(host.run(cdb.MODE_SENSE_6.pack(dbd=1, page_code=code, allocation_length=255)).data[4:])


def test_turning_the_write_cache_off_as_linux_does(unit: LogicalUnit, host: Host) -> None:
    page = page_of(host, 0x08)
    page[2] &= ~0x04
    assert select_6(host, bytes(page)).good
    assert unit.durable_writes
    assert page_of(host, 0x08)[2] == 0
    data = bytes(8) + bytes([0x08, 0x12, 0x04]) + bytes(page[3:])
    assert host.run(cdb.MODE_SELECT_10.pack(pf=1, parameter_list_length=len(data)), data).good
    assert not unit.durable_writes


def test_software_write_protect(host: Host) -> None:
    page = page_of(host, 0x0A)
    page[4] |= 0x08
    assert select_6(host, bytes(page)).good
    answer = host.run(cdb.WRITE_10.pack(transfer_length=1), bytes(512))
    assert (answer.key, answer.asc) == (SenseKey.DATA_PROTECT, Asc.WRITE_PROTECTED)
    page[4] &= ~0x08
    assert select_6(host, bytes(page)).good
    assert host.run(cdb.WRITE_10.pack(transfer_length=1), bytes(512)).good


def test_descriptor_sense_by_d_sense(host: Host) -> None:
    page = page_of(host, 0x0A)
    page[2] |= 0x04
    assert select_6(host, bytes(page)).good
    assert host.run(b"\xc0" + bytes(9)).sense[:4].hex() == "72052000"


def test_other_nexuses_hear_of_changed_mode_parameters(unit: LogicalUnit) -> None:
    one, two = Host(unit, "iqn.a", attach=True), Host(unit, "iqn.b", attach=True)
    for host in (one, two):
        host.run(cdb.TEST_UNIT_READY.pack())
    page = page_of(one, 0x08)
    assert select_6(one, bytes(page)).good  # nothing changed
    assert two.run(cdb.TEST_UNIT_READY.pack()).good
    page[2] = 0
    assert select_6(one, bytes(page)).good
    assert one.run(cdb.TEST_UNIT_READY.pack()).good
    assert two.run(cdb.TEST_UNIT_READY.pack()).asc == Asc.MODE_PARAMETERS_CHANGED


def test_mode_select_accepts_the_block_descriptor_that_mode_sense_gave(host: Host) -> None:
    sensed = host.run(cdb.MODE_SENSE_6.pack(page_code=0x08, allocation_length=255)).data
    assert select_6(host, sensed[12:], bytes([0, 0, 0, 8]) + sensed[4:12]).good


@pytest.mark.parametrize(
    ("head", "pages", "asc", "pointer"),
    [
        ("000000", "", Asc.PARAMETER_LIST_LENGTH_ERROR, None),
        ("00000008", "00000800", Asc.PARAMETER_LIST_LENGTH_ERROR, None),
        ("00000004", "00000800", Asc.INVALID_FIELD_IN_PARAMETER_LIST, (3, None)),
        ("00000008", "00000000" + "00001000", Asc.INVALID_FIELD_IN_PARAMETER_LIST, (9, 7)),
        ("00000000", "3e00", Asc.INVALID_FIELD_IN_PARAMETER_LIST, (4, 5)),
        ("00010000", "", Asc.INVALID_FIELD_IN_PARAMETER_LIST, (1, None)),
    ],
)
def test_mode_select_refuses_lists_that_lie(host: Host, head: str, pages: str, asc: Asc, pointer: object) -> None:
    refused(select_6(host, bytes.fromhex(pages), bytes.fromhex(head)), asc, pointer)


@pytest.mark.parametrize("blocks", [0, 1, 2048, 2304, 0xFFFFFFFF])
def test_the_number_of_blocks_of_a_descriptor_is_not_looked_at(host: Host, blocks: int) -> None:
    """SBC-4 6.5.2.2 and 6.5.2.3: ignored where MODE SELECT can't change the capacity."""
    assert select_6(host, blocks.to_bytes(4, "big") + b"\0\0\2\0", bytes.fromhex("00000008")).good
    long = bytes.fromhex("0000000001000010") + blocks.to_bytes(8, "big") + bytes(4) + b"\0\0\2\0"
    assert host.run(cdb.MODE_SELECT_10.pack(pf=1, parameter_list_length=len(long)), long).good
    assert host.run(cdb.READ_CAPACITY_10.pack()).data.hex() == "000007ff" + "00000200"


def test_mode_select_refuses_what_it_can_not_do(host: Host) -> None:
    refused(host.run(cdb.MODE_SELECT_6.pack(pf=0, parameter_list_length=4), bytes(4)), Asc.INVALID_FIELD_IN_CDB, (1, 4))
    assert host.run(cdb.MODE_SELECT_6.pack(pf=1)).good


def save(host: Host, page: bytes) -> Answer:
    data = bytes(4) + page
    return host.run(cdb.MODE_SELECT_6.pack(pf=1, sp=1, parameter_list_length=len(data)), data)


def test_saved_mode_pages_outlast_the_unit() -> None:
    backend = memory()
    unit = LogicalUnit(backend)
    host = Host(unit)
    page = page_of(host, 0x08)
    page[2] = 0
    assert save(host, bytes(page)).good
    assert unit.durable_writes
    again = LogicalUnit(backend)
    assert again.durable_writes
    sensed = Host(again).run(cdb.MODE_SENSE_6.pack(dbd=1, pc=3, page_code=0x08, allocation_length=255)).data
    assert sensed[4:] == bytes(page)


def test_a_reset_brings_the_saved_values_back(unit: LogicalUnit, host: Host) -> None:
    page = page_of(host, 0x0A)
    page[2] |= 0x04  # D_SENSE
    assert save(host, bytes(page)).good
    page[2] &= ~0x04
    assert select_6(host, bytes(page)).good
    assert not unit.descriptor_sense
    unit.reset(Asc.BUS_DEVICE_RESET, None, lambda: None)
    assert unit.descriptor_sense


def test_a_save_that_fails_changes_nothing() -> None:
    faulty = FaultyBackend(memory())
    unit = LogicalUnit(faulty)
    host = Host(unit)
    page = page_of(host, 0x08)
    page[2] = 0
    faulty.fail("store_sidecar", errno.ENOSPC)
    answer = save(host, bytes(page))
    assert (answer.key, answer.asc) == (SenseKey.DATA_PROTECT, Asc.SPACE_ALLOCATION_FAILED)
    assert not unit.durable_writes
    assert page_of(host, 0x08)[2] == 4


def test_a_damaged_record_keeps_the_disk_back_until_somebody_decides() -> None:
    backend = memory()
    backend.store_sidecar(b"{}", lambda outcome: None)
    unit = LogicalUnit(backend)
    host = Host(unit)
    answer = host.run(cdb.TEST_UNIT_READY.pack())
    assert (answer.key, answer.asc) == (SenseKey.NOT_READY, Asc.MANUAL_INTERVENTION_REQUIRED)
    assert "damaged" in unit.trouble
    unit.forget_record()
    assert host.run(cdb.TEST_UNIT_READY.pack()).good
    assert unit.trouble == ""


def test_a_record_that_is_given_up_leaves_the_front_s_write_cache_off() -> None:
    backend = memory()
    backend.store_sidecar(b"{}", lambda outcome: None)
    unit = LogicalUnit(backend)
    unit.set_write_cache(False)
    unit.forget_record()
    assert unit.durable_writes


def test_a_section_of_the_record_that_makes_no_sense_is_damage_too() -> None:
    backend = memory()
    record = UnitRecord().with_section("mode_pages", {"08": "0812"})
    backend.store_sidecar(record.encode(), lambda outcome: None)
    assert "mode page 08" in LogicalUnit(backend).trouble


# -- REPORT SUPPORTED OPERATION CODES ----------------------------------------------------------------------------


def report(host: Host, **fields: int) -> Answer:
    return host.run(cdb.REPORT_SUPPORTED_OPERATION_CODES.pack(allocation_length=65535, **fields))


def test_all_commands_are_the_table(unit: LogicalUnit, host: Host) -> None:
    data = report(host).data
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    found = [(data[at], int.from_bytes(data[at + 2 : at + 4], "big"), data[at + 5] & 1, data[at + 7])
             for at in range(4, len(data), 8)]  # fmt: skip
    assert found == [
        (row.operation_code, row.service_action or 0, row.service_action is not None, row.layout.size_bytes)
        for row in unit.commands
    ]


def test_timeouts_descriptors(host: Host) -> None:
    plain, timed = report(host).data, report(host, rctd=1).data
    assert (len(timed) - 4) * 8 == (len(plain) - 4) * 20
    assert timed[4 + 5] & 2  # CTDP
    assert timed[12:16].hex() == "000a0000"


def test_one_command_tells_the_cdb_usage(host: Host) -> None:
    data = report(host, reporting_options=1, requested_operation_code=0x28).data
    assert data.hex() == "0003000a" + "28f8ffffffff00ffff04"


def test_one_command_with_service_action(host: Host) -> None:
    data = report(host, reporting_options=2, requested_operation_code=0x9E, requested_service_action=0x10).data
    assert data.hex() == "00030010" + "9e10" + "00" * 8 + "ffffffff0004"


@pytest.mark.parametrize(
    "fields",
    [
        {"reporting_options": 1, "requested_operation_code": 0xFF},
        {"reporting_options": 2, "requested_operation_code": 0x9E, "requested_service_action": 0x1F},
        {"reporting_options": 3, "requested_operation_code": 0x28, "requested_service_action": 1},
        {"reporting_options": 3, "requested_operation_code": 0x9E, "requested_service_action": 0},
    ],
)
def test_what_is_not_there_is_not_supported(host: Host, fields: dict[str, int]) -> None:
    assert report(host, **fields).data.hex() == "00010000"


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"reporting_options": 1, "requested_operation_code": 0x9E}, (3, None)),
        ({"reporting_options": 2, "requested_operation_code": 0x28}, (3, None)),
        ({"reporting_options": 4}, (2, 2)),
    ],
)
def test_reporting_options_that_do_not_fit(host: Host, fields: dict[str, int], pointer: object) -> None:
    refused(report(host, **fields), Asc.INVALID_FIELD_IN_CDB, pointer)


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_every_row_is_reported_by_option_3(row: object) -> None:
    unit = LogicalUnit(memory(), UnitOptions(removable=True), clock=lambda: 0.0, copies=CopyManager(lambda: 0.0, bytes))
    data = report(
        Host(unit), reporting_options=3, requested_operation_code=row.operation_code,
        requested_service_action=row.service_action or 0,
    ).data  # fmt: skip
    assert data[1] == 3
    assert data[4] == row.operation_code


# -- REPORT LUNS (through a unit: the front without a target) ------------------------------------------------------


def test_report_luns_of_a_lone_unit(host: Host) -> None:
    assert host.run(cdb.REPORT_LUNS.pack(allocation_length=16)).data.hex() == "00000008" + "00000000" + 16 * "0"


def test_report_luns_refuses_what_is_reserved_and_no_length(host: Host) -> None:
    """SPC-4 6.33: CHECK CONDITION only if the report can't be made; SPC-3 wanted room for a LUN."""
    refused(host.run(cdb.REPORT_LUNS.pack(allocation_length=16, select_report=3)), Asc.INVALID_FIELD_IN_CDB, (2, None))
    assert host.run(cdb.REPORT_LUNS.pack(allocation_length=4)).data.hex() == "00000008"
