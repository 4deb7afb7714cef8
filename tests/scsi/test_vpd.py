"""VPD pages, byte by byte."""

from __future__ import annotations

import pytest

from tcmu_gluster.scsi import cdb, vpd
from tcmu_gluster.scsi.identity import identity_of_serial
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.logical_unit import LogicalUnit
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


@pytest.mark.parametrize("code", sorted(vpd.PAGES))
def test_page_length_counts_what_follows(host: Host, code: int) -> None:
    data = page(host, code)
    assert data[:2] == bytes([0, code])
    assert int.from_bytes(data[2:4], "big") == len(data) - 4
    assert page(host, code, 8) == data[:8]


def test_supported_pages_are_ascending(host: Host) -> None:
    assert page(host, 0x00)[4:].hex() == "008083b0b1b2"


def test_serial_number(host: Host) -> None:
    assert page(host, 0x80)[4:] == SERIAL.encode()


def test_device_identification_of_a_ring(host: Host) -> None:
    data = page(host, 0x83)[4:]
    assert data[:4].hex() == "01030010"  # binary, logical unit, NAA, 16 bytes
    assert data[4:20].hex() == "6001405a1b2c3d4e5f60718293a4b5c6"
    assert data[20:24].hex() == "0201002c"  # ASCII, T10 vendor id based
    assert data[24:] == b"GLUSTER " + SERIAL.encode()


def test_device_identification_names_the_iscsi_port() -> None:
    target = Target("iqn.2026-11.test:t", {0: LogicalUnit(memory())})
    data = page(Host(target), 0x83)
    assert bytes.fromhex("51940004" + "00000001") in data  # iSCSI, PIV, target port, relative port 1
    name = b"iqn.2026-11.test:t,t,0x0001\0"
    assert bytes.fromhex("539800") + bytes([len(name)]) + name in data
    assert bytes.fromhex("53a80014") + b"iqn.2026-11.test:t\0\0" in data


@pytest.mark.parametrize("name", ["a", "abc", "abcd", "iqn.2026-11.test:x"])
def test_name_strings_are_padded_and_ended(name: str) -> None:
    raw = vpd.name_string(name)
    assert len(raw) % 4 == 0
    assert raw.rstrip(b"\0") == name.encode()
    assert raw.endswith(b"\0")


def test_block_limits(host: Host) -> None:
    data = page(host, 0xB0)
    assert len(data) == 64
    assert data[4] == 1  # WSNZ
    assert int.from_bytes(data[8:12], "big") == 16384  # 8 MiB
    assert int.from_bytes(data[20:24], "big") == 1 << 20
    assert data[32:36].hex() == "80000000"  # UGAVALID, aligned to 0
    assert int.from_bytes(data[36:44], "big") == 0xFFFF


@pytest.mark.parametrize(("thin", "expected"), [(True, "00e40200"), (False, "00000000")])
def test_logical_block_provisioning(thin: bool, expected: str) -> None:
    host = Host(LogicalUnit(memory(), UnitOptions(thin=thin)))
    assert page(host, 0xB2)[4:].hex() == expected


def test_a_thick_disk_limits_unmap_to_nothing() -> None:
    host = Host(LogicalUnit(memory(), UnitOptions(thin=False)))
    assert page(host, 0xB0)[20:36] == bytes(16)


def test_the_medium_does_not_rotate(host: Host) -> None:
    assert page(host, 0xB1)[4:9].hex() == "0001000001"
