"""LOG SENSE and LOG SELECT, byte by byte."""

from __future__ import annotations

import pytest

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.command import Status
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.log_pages import LOG_PAGES
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.sense import Asc, SenseKey
from tests.doubles.host import Answer, Host, memory

MIB = 1 << 20


@pytest.fixture
def host() -> Host:
    return Host(LogicalUnit(memory(4 * MIB)))


def sense(host: Host, page_code: int, *, pc: int = 1, length: int = 1024, **fields: int) -> Answer:
    return host.run(cdb.LOG_SENSE.pack(page_code=page_code, pc=pc, allocation_length=length, **fields))


def refused(answer: Answer, asc: Asc, pointer: object = None) -> None:
    assert (answer.status, answer.key, answer.asc) == (Status.CHECK_CONDITION, SenseKey.ILLEGAL_REQUEST, asc)
    assert answer.pointer == pointer


def test_the_cdb_as_the_standard_draws_it() -> None:
    raw = cdb.LOG_SENSE.pack(page_code=0x19, pc=1, parameter_pointer=2, allocation_length=0x1234)
    assert raw.hex() == "4d00590000" + "0002" + "1234" + "00"  # SPC-4 6.8


def test_supported_pages(host: Host) -> None:
    assert sense(host, 0x00).data.hex() == "80000005" + "000c0d192f"
    thick = Host(LogicalUnit(memory(), UnitOptions(thin=False)))
    assert sense(thick, 0x00).data.hex() == "80000004" + "000d192f"
    refused(sense(thick, 0x0C), Asc.INVALID_FIELD_IN_CDB, (2, 5))


def test_supported_pages_and_subpages(host: Host) -> None:
    assert sense(host, 0x00, subpage_code=0xFF).data.hex() == "c0ff0014" + "000000ff0c000cff0d000dff190019ff2f002fff"
    assert sense(host, 0x19, subpage_code=0xFF).data.hex() == "d9ff0004" + "190019ff"


@pytest.mark.parametrize("row", LOG_PAGES, ids=lambda row: row.name)
@pytest.mark.parametrize("length", [0, 1, 7, 65535])
def test_page_and_parameter_lengths_count_what_follows(host: Host, row: object, length: int) -> None:
    host.server.backend.refresh_space()
    data = sense(host, row.page_code).data
    assert int.from_bytes(data[2:4], "big") == len(data) - 4
    at = 4
    while at < len(data):
        counts = row.page_code == 0x19 and data[at + 1] in (1, 2)
        assert data[at + 2] == (0x22 if counts else 0x23)  # TSD: not saved; data counter, or binary format list
        at += 4 + data[at + 3]
    assert at == len(data)
    assert sense(host, row.page_code, length=length).data == data[:length]


def test_logical_block_provisioning_counts_threshold_sets(host: Host) -> None:
    assert sense(host, 0x0C).data.hex() == "8c000000"  # nobody has looked yet
    assert host.run(cdb.WRITE_10.pack(transfer_length=2049), bytes(2049 * 512)).good
    host.server.backend.refresh_space()
    # SBC-3 6.3: 0001h available, 0002h used, 8 bytes each: count, and scope 01b (this unit's own)
    expected = "8c000018" + "00012308" + "00000002" + "01000000" + "00022308" + "00000002" + "01000000"
    assert sense(host, 0x0C).data.hex() == expected


def test_parameter_pointer_leaves_out_what_is_before(host: Host) -> None:
    whole, rest = sense(host, 0x0D).data, sense(host, 0x0D, parameter_pointer=1).data
    assert whole.hex() == "8d00000c" + "0000230200ff" + "0001230200ff"
    assert rest.hex() == "8d000006" + "0001230200ff"
    refused(sense(host, 0x0D, parameter_pointer=2), Asc.INVALID_FIELD_IN_CDB, (5, None))


def test_informational_exceptions(host: Host) -> None:
    assert sense(host, 0x2F).data.hex() == "af000008" + "00002304" + "0000ff00"


def statistics(host: Host, pc: int = 1) -> list[int]:
    """Reads, writes, blocks received, blocks transmitted."""
    data = sense(host, 0x19, pc=pc).data
    # SPC-4 7.3.6: 0001h and 0002h are unbounded data counters, 0003h is a binary format list; all three are mandatory
    assert data[:8].hex() == "9900" + "005c" + "00012240"
    assert data[-24:-12].hex() == "00022208" + "00" * 8  # no idle time is measured
    assert data[-12:].hex() == "00032308" + "00000003" + "00000001"  # a millisecond
    return [int.from_bytes(data[at : at + 8], "big") for at in range(8, 40, 8)]


def test_statistics_count_reads_and_writes_of_every_size(host: Host) -> None:
    for layout in (cdb.READ_6, cdb.READ_10, cdb.READ_12, cdb.READ_16):
        assert host.run(layout.pack(transfer_length=3)).good
    for layout in (cdb.WRITE_6, cdb.WRITE_10, cdb.WRITE_12, cdb.WRITE_16):
        assert host.run(layout.pack(transfer_length=2), bytes(1024)).good
    assert statistics(host) == [4, 4, 8, 12]
    for layout in (cdb.WRITE_AND_VERIFY_10, cdb.WRITE_AND_VERIFY_12, cdb.WRITE_AND_VERIFY_16):
        assert host.run(layout.pack(transfer_length=1), bytes(512)).good
    unmap = bytes.fromhex("0016001000000000" + "00" * 11 + "0100000000")
    assert host.run(cdb.UNMAP.pack(parameter_list_length=24), unmap).good  # a write command: SPC-4 table 375
    assert host.run(cdb.VERIFY_10.pack(verification_length=1)).good
    assert statistics(host) == [4, 8, 11, 12]
    assert statistics(host, pc=3) == [0, 0, 0, 0]


@pytest.mark.parametrize("page_code", [0x00, 0x19])
@pytest.mark.parametrize(
    "fields",
    [{"pcr": 1}, {"pcr": 1, "pc": 1}, {"pcr": 1, "pc": 3}, {"pc": 3}, {"pc": 3, "sp": 1}, {"pcr": 1, "pc": 2, "sp": 1}],
)
def test_log_select_sets_the_counters_back_and_the_others_hear_of_it(page_code: int, fields: dict[str, int]) -> None:
    # SPC-4 table 186
    unit = LogicalUnit(memory())
    one, two = Host(unit, "iqn.a", attach=True), Host(unit, "iqn.b", attach=True)
    for each in (one, two):
        each.run(cdb.TEST_UNIT_READY.pack())
    one.run(cdb.READ_10.pack(transfer_length=1))
    assert one.run(cdb.LOG_SELECT.pack(page_code=page_code, **fields)).good
    assert statistics(one) == [0, 0, 0, 0]
    assert two.run(cdb.TEST_UNIT_READY.pack()).asc == Asc.LOG_PARAMETERS_CHANGED


def test_log_select_without_counters_changes_nothing(host: Host) -> None:
    host.run(cdb.READ_10.pack(transfer_length=1))
    for pc in (0, 1, 2):
        assert host.run(cdb.LOG_SELECT.pack(page_code=0x19, pc=pc)).good
    assert host.run(cdb.LOG_SELECT.pack(page_code=0x19, pc=2, sp=1)).good
    assert host.run(cdb.LOG_SELECT.pack(pcr=1, page_code=0x0D)).good
    assert statistics(host)[0] == 1


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"page_code": 0x19, "ppc": 1}, (1, 1)),
        ({"page_code": 0x19, "sp": 1}, (1, 0)),
        ({"page_code": 0x3E}, (2, 5)),
        ({"page_code": 0x3E, "subpage_code": 0xFF}, (2, 5)),
        ({"page_code": 0x19, "subpage_code": 1}, (3, None)),
        ({"page_code": 0x00, "subpage_code": 1}, (3, None)),
        ({"page_code": 0x00, "parameter_pointer": 1}, (5, None)),
        ({"page_code": 0x19, "pc": 0}, (2, 7)),
        ({"page_code": 0x19, "pc": 2}, (2, 7)),
    ],
)
def test_log_sense_refuses(host: Host, fields: dict[str, int], pointer: object) -> None:
    refused(sense(host, **fields), Asc.INVALID_FIELD_IN_CDB, pointer)


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"sp": 1}, (1, 0)),
        ({"sp": 1, "pc": 1}, (1, 0)),
        ({"sp": 1, "pcr": 1, "pc": 1}, (1, 0)),
        ({"sp": 1, "pc": 3, "parameter_list_length": 8}, (1, 0)),
        ({"pcr": 1, "parameter_list_length": 8}, (1, 1)),
        ({"page_code": 0x19, "parameter_list_length": 8}, (2, 5)),
        ({"page_code": 0x3E}, (2, 5)),
        ({"page_code": 0x19, "subpage_code": 2}, (3, None)),
    ],
)
def test_log_select_refuses(host: Host, fields: dict[str, int], pointer: object) -> None:
    data = bytes(fields.get("parameter_list_length", 0))
    refused(host.run(cdb.LOG_SELECT.pack(**fields), data), Asc.INVALID_FIELD_IN_CDB, pointer)


@pytest.mark.parametrize(
    ("data", "asc", "pointer"),
    [
        ("190000", Asc.PARAMETER_LIST_LENGTH_ERROR, None),
        ("19000010" + "0001", Asc.INVALID_FIELD_IN_PARAMETER_LIST, (2, None)),
        ("3e000004" + "00010000", Asc.INVALID_FIELD_IN_PARAMETER_LIST, (0, 5)),
        ("5901000400010000", Asc.INVALID_FIELD_IN_PARAMETER_LIST, (1, None)),
        ("19000002" + "0001", Asc.INVALID_FIELD_IN_PARAMETER_LIST, (2, None)),
        ("19000004" + "00010300", Asc.INVALID_FIELD_IN_PARAMETER_LIST, (4, None)),
    ],
)
def test_no_parameter_can_be_given_a_value(host: Host, data: str, asc: Asc, pointer: object) -> None:
    raw = bytes.fromhex(data)
    refused(host.run(cdb.LOG_SELECT.pack(parameter_list_length=len(raw)), raw), asc, pointer)


def test_a_list_that_was_not_sent_whole_is_a_wrong_length(host: Host) -> None:
    raw = bytes.fromhex("1900000400010300")
    refused(host.run(cdb.LOG_SELECT.pack(parameter_list_length=9), raw), Asc.PARAMETER_LIST_LENGTH_ERROR)
