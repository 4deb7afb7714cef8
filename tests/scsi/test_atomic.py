"""ORWRITE and WRITE ATOMIC, byte by byte."""

from __future__ import annotations

import dataclasses

import pytest

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.sense import Asc
from tests.doubles.backends import SlowBackend, Wrapper
from tests.doubles.host import Answer, Host, memory


@pytest.fixture
def host() -> Host:
    return Host(LogicalUnit(memory(64 * 512)))


def orwrite(host: Host, data: bytes, lba: int = 3, **fields: int) -> Answer:
    length = fields.pop("transfer_length", len(data) // 512)
    return host.run(cdb.ORWRITE_16.pack(logical_block_address=lba, transfer_length=length, **fields), data)


def write_atomic(host: Host, data: bytes, lba: int = 3, **fields: int) -> Answer:
    length = fields.pop("transfer_length", len(data) // 512)
    return host.run(cdb.WRITE_ATOMIC_16.pack(logical_block_address=lba, transfer_length=length, **fields), data)


def read(host: Host, lba: int, blocks: int) -> bytes:
    return host.run(cdb.READ_16.pack(logical_block_address=lba, transfer_length=blocks)).data


def test_orwrite_cdb_is_the_standards() -> None:
    """SBC-3 5.5: 8Bh, ORPROTECT DPO FUA, LBA in bytes 2 to 9, length in 10 to 13."""
    raw = cdb.ORWRITE_16.pack(orprotect=1, dpo=1, fua=1, logical_block_address=0x0102030405060708, transfer_length=9)
    assert raw.hex() == "8b38" + "0102030405060708" + "00000009" + "0000"


def test_orwrite_sets_bits_and_clears_none(host: Host) -> None:
    assert orwrite(host, b"\xa5" * 1024).good
    assert orwrite(host, b"\x50" * 512, lba=4).good
    assert read(host, 2, 4) == bytes(512) + b"\xa5" * 512 + b"\xf5" * 512 + bytes(512)


def test_orwrite_of_no_blocks(host: Host) -> None:
    assert orwrite(host, b"").good


def test_orwrite_refusals(host: Host) -> None:
    assert orwrite(host, bytes(1024), lba=63).asc == Asc.LBA_OUT_OF_RANGE
    assert orwrite(host, bytes(512), lba=1 << 63).asc == Asc.LBA_OUT_OF_RANGE
    assert orwrite(host, bytes(512), orprotect=1).pointer == (1, 7)


def test_orwrite_is_alone_on_its_blocks() -> None:
    backend = SlowBackend(memory(64 * 512))
    host = Host(LogicalUnit(backend))
    first = host.send(cdb.ORWRITE_16.pack(logical_block_address=0, transfer_length=1), b"\x0f" * 512)
    second = host.send(cdb.ORWRITE_16.pack(logical_block_address=0, transfer_length=1), b"\xf0" * 512)
    backend.run()
    assert first.answer.good
    assert second.answer.good
    reading = host.send(cdb.READ_16.pack(logical_block_address=0, transfer_length=1))
    backend.run()
    assert reading.answer.data == b"\xff" * 512


def test_write_atomic_cdb_is_the_standards() -> None:
    """SBC-4 5.48: 9Ch, flags, LBA in bytes 2 to 9, ATOMIC BOUNDARY in 10 and 11, length in 12 and 13."""
    raw = cdb.WRITE_ATOMIC_16.pack(fua=1, logical_block_address=7, atomic_boundary=0x1122, transfer_length=0x3344)
    assert raw.hex() == "9c08" + "0000000000000007" + "1122" + "3344" + "0000"


def test_write_atomic_writes(host: Host) -> None:
    assert write_atomic(host, b"a" * 1024).good
    assert read(host, 3, 2) == b"a" * 1024
    assert write_atomic(host, b"").good


def test_write_atomic_refusals(host: Host) -> None:
    assert write_atomic(host, bytes(1024), lba=63).asc == Asc.LBA_OUT_OF_RANGE
    assert write_atomic(host, bytes(512), atomic_boundary=1).pointer == (10, None)
    assert write_atomic(host, bytes(512), transfer_length=2).pointer == (12, None)  # a part of it was sent
    assert write_atomic(host, bytes(512), wrprotect=1).pointer == (1, 7)


def test_write_atomic_longer_than_the_limit_is_refused() -> None:
    backend = Wrapper(memory(64 * 512))
    backend.capabilities = dataclasses.replace(backend.capabilities, atomic_write_bytes=1024)
    host = Host(LogicalUnit(backend))
    assert write_atomic(host, bytes(1024)).good
    assert write_atomic(host, bytes(1536)).pointer == (12, None)


def test_a_backend_that_promises_nothing_has_no_write_atomic() -> None:
    backend = Wrapper(memory(64 * 512))
    backend.capabilities = dataclasses.replace(backend.capabilities, atomic_write_bytes=0)
    host = Host(LogicalUnit(backend))
    assert write_atomic(host, bytes(512)).asc == Asc.INVALID_COMMAND_OPERATION_CODE
    limits = host.run(cdb.INQUIRY.pack(evpd=1, page_code=0xB0, allocation_length=255)).data
    assert limits[44:64] == bytes(20)


def test_write_atomic_takes_whole_physical_blocks() -> None:
    host = Host(LogicalUnit(memory(64 * 512), UnitOptions(physical_block_bytes=4096)))
    limits = host.run(cdb.INQUIRY.pack(evpd=1, page_code=0xB0, allocation_length=255)).data
    assert limits[44:64].hex() == "00004000" + "00000008" + "00000008" + "00000000" * 2  # at most 8 MiB, by 8 blocks
    assert write_atomic(host, bytes(4096), lba=8).good
    assert write_atomic(host, bytes(4096), lba=1).pointer == (2, None)
    assert write_atomic(host, bytes(512), lba=8).pointer == (12, None)
