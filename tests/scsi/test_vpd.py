"""VPD pages, byte by byte."""

from __future__ import annotations

import dataclasses

import pytest

from tcmu_gluster.scsi import cdb, vpd
from tcmu_gluster.scsi.identity import identity_as_recorded, identity_of_serial
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.sense import Asc
from tcmu_gluster.scsi.target import Target
from tests.doubles.host import Host, memory

SERIAL = "a1b2c3d4-e5f6-0718-293a-4b5c6d7e8f90"


def page(host: Host, code: int, length: int = 1024) -> bytes:
    answer = host.run(cdb.INQUIRY.pack(evpd=1, page_code=code, allocation_length=length))
    assert answer.good
    return answer.data


@pytest.fixture
def host() -> Host:
    return Host(LogicalUnit(memory(), identity=identity_of_serial(SERIAL)))


@pytest.fixture
def iscsi_host() -> Host:
    return Host(Target("iqn.2026-11.test:t", {0: LogicalUnit(memory(), identity=identity_of_serial(SERIAL))}))


@pytest.mark.parametrize("code", sorted(vpd.PAGES))
def test_page_length_counts_what_follows(iscsi_host: Host, code: int) -> None:
    data = page(iscsi_host, code)
    assert data[:2] == bytes([0, code])
    assert int.from_bytes(data[2:4], "big") == len(data) - 4
    assert page(iscsi_host, code, 8) == data[:8]


def test_supported_pages_are_ascending(host: Host) -> None:
    assert page(host, 0x00)[4:].hex() == "0080838586878fb0b1b2"


def test_serial_number(host: Host) -> None:
    assert page(host, 0x80)[4:] == SERIAL.encode()


def test_device_identification_of_a_ring(host: Host) -> None:
    data = page(host, 0x83)[4:]
    assert data[:4].hex() == "01030010"  # binary, logical unit, NAA, 16 bytes
    assert data[4:20].hex() == "6001405a1b2c3d4e5f60718293a4b5c6"
    assert data[20:24].hex() == "0201002c"  # ASCII, T10 vendor id based
    assert data[24:] == b"GLUSTER " + SERIAL.encode()


def test_a_disk_that_another_target_showed_keeps_its_names_and_their_blanks() -> None:
    # As tgtd 1.0.85 shows tid 1, LUN 1: page 80h with blanks in front, an NAA 6 and an NAA 3
    record = {"naa": "60000000000000000e00000000010001,3000000100000001", "scsi_id": "IET     00010001",
              "unit_serial": "beaf11".rjust(36)}  # fmt: skip
    host = Host(LogicalUnit(memory(), identity=identity_as_recorded("beaf11", record)))
    assert page(host, 0x80).hex() == "00800024" + "20" * 30 + b"beaf11".hex()
    assert page(host, 0x83)[4:].hex() == (
        "01030010" + "60000000000000000e00000000010001" + "02010010" + b"IET     00010001".hex()
        + "01030008" + "3000000100000001"
    )  # fmt: skip


def test_device_identification_names_the_iscsi_port() -> None:
    target = Target("iqn.2026-11.test:t", {0: LogicalUnit(memory())})
    data = page(Host(target), 0x83)
    assert bytes.fromhex("51940004" + "00000001") in data  # iSCSI, PIV, target port, relative port 1
    name = b"iqn.2026-11.test:t,t,0x0001\0"
    assert bytes.fromhex("539800") + bytes([len(name)]) + name in data
    assert bytes.fromhex("53a80014") + b"iqn.2026-11.test:t\0\0" in data


def test_block_limits(host: Host) -> None:
    data = page(host, 0xB0)
    assert len(data) == 64
    assert data[4] == 1  # WSNZ
    assert int.from_bytes(data[8:12], "big") == 16384  # 8 MiB
    assert int.from_bytes(data[20:24], "big") == 1 << 20
    assert data[32:36].hex() == "80000000"  # UGAVALID, aligned to 0
    assert int.from_bytes(data[36:44], "big") == 0xFFFF


@pytest.mark.parametrize(("thin", "expected"), [(True, "0be40200"), (False, "00000000")])
def test_logical_block_provisioning(thin: bool, expected: str) -> None:
    host = Host(LogicalUnit(memory(), UnitOptions(thin=thin)))
    assert page(host, 0xB2)[4:].hex() == expected


def test_a_thick_disk_limits_unmap_to_nothing() -> None:
    host = Host(LogicalUnit(memory(), UnitOptions(thin=False)))
    assert page(host, 0xB0)[20:36] == bytes(16)


def test_the_medium_does_not_rotate(host: Host) -> None:
    assert page(host, 0xB1)[4:9].hex() == "0001004001"  # WABEREQ 01b: erased blocks can be read


def test_what_a_disk_promises_less_or_does_more() -> None:
    options = UnitOptions(write_same_to_the_end=True, unmapped_reads_zeros=False)
    host = Host(LogicalUnit(memory(), options))
    assert page(host, 0xB0)[4] == 0  # WSNZ
    assert page(host, 0xB2)[5] == 0xE0  # LBPU, LBPWS, LBPWS10, no LBPRZ
    assert host.run(cdb.READ_CAPACITY_16.pack(allocation_length=32)).data[14] == 0x80  # LBPME, no LBPRZ


def test_threshold_sets_are_1_mib() -> None:
    for block, exponent in ((512, 11), (4096, 8)):
        host = Host(LogicalUnit(memory(), UnitOptions(block_size_bytes=block)))
        assert page(host, 0xB2)[4] == exponent


def test_extended_inquiry_data(host: Host) -> None:
    # SPC-4 7.8.7: byte 5 HEADSUP, ORDSUP, SIMPSUP; byte 6 V_SUP; byte 7 LUICLR; 60 bytes follow the header
    assert page(host, 0x86).hex() == "0086003c" + "00070101" + "00" * 56


def test_mode_pages_are_shared_by_all_nexuses(host: Host) -> None:
    # SPC-4 7.8.9: all pages are shared by nexuses; MLUS of Disconnect-Reconnect
    assert page(host, 0x87).hex() == "00870008" + "3fff0000" + "02008000"


def test_no_management_address_is_told(host: Host) -> None:
    assert page(host, 0x85).hex() == "00850000"


def test_scsi_ports_name_the_one_that_the_nexus_came_through(iscsi_host: Host) -> None:
    data = page(iscsi_host, 0x88)
    name = b"iqn.2026-11.test:t,t,0x0001\0"
    assert data[4:16].hex() == "0000" + "0001" + "0000" + "0000" + "0000" + "0020"
    assert data[16:20].hex() == "5398001c"  # iSCSI, UTF-8; PIV, target port, SCSI name string
    assert data[20:] == name


def test_a_ring_knows_no_ports(host: Host) -> None:
    answer = host.run(cdb.INQUIRY.pack(evpd=1, page_code=0x88, allocation_length=255))
    assert answer.asc == Asc.INVALID_FIELD_IN_CDB


def test_a_backend_that_turns_out_not_to_discard_makes_a_thick_disk() -> None:
    backend = memory()
    unit = LogicalUnit(backend)
    host = Host(unit, attach=True)
    host.run(cdb.TEST_UNIT_READY.pack())
    unit.capabilities_changed()  # nothing did
    assert host.run(cdb.TEST_UNIT_READY.pack()).good
    backend.capabilities = dataclasses.replace(backend.capabilities, can_discard=False)
    unit.capabilities_changed()
    assert host.run(cdb.TEST_UNIT_READY.pack()).asc == Asc.INQUIRY_DATA_CHANGED
    assert host.run(cdb.TEST_UNIT_READY.pack()).asc == Asc.CAPACITY_DATA_CHANGED
    assert page(host, 0xB2)[4:].hex() == "00000000"
    assert page(host, 0xB0)[20:32] == bytes(12)
    assert host.run(cdb.UNMAP.pack()).asc == Asc.INVALID_COMMAND_OPERATION_CODE
