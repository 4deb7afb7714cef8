"""UNMAP, WRITE SAME, GET LBA STATUS."""

from __future__ import annotations

import dataclasses
import errno
import struct

import pytest

from tcmu_gluster.backends.base import Allocation, Extent
from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.command import Status
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.provisioning import DEALLOCATED, MAPPED, _runs
from tcmu_gluster.scsi.sense import Asc, SenseKey
from tcmu_gluster.scsi.table import CommandTable
from tcmu_gluster.wire.layout import Layout
from tests.doubles.backends import FaultyBackend, RecordingBackend
from tests.doubles.host import Answer, Host, memory

BLOCKS = 2048
WRITE_SAMES = [cdb.WRITE_SAME_10, cdb.WRITE_SAME_16]


class Disk:
    """A disk full of 0x11, on a backend that keeps a record."""

    def __init__(self, can_zero: bool = True, **options: object) -> None:
        self.faulty = FaultyBackend(memory(BLOCKS * 512))
        self.backend = RecordingBackend(self.faulty)
        self.backend.capabilities = dataclasses.replace(self.backend.capabilities, can_zero=can_zero)
        self.host = Host(LogicalUnit(self.backend, UnitOptions(**options)))
        self.run = self.host.run
        assert self.run(cdb.WRITE_10.pack(transfer_length=BLOCKS), b"\x11" * BLOCKS * 512).good
        self.backend.calls.clear()

    def blocks(self, lba: int, count: int) -> bytes:
        return self.run(cdb.READ_16.pack(logical_block_address=lba, transfer_length=count)).data

    def unmap(self, *ranges: tuple[int, int], **fields: int) -> Answer:
        body = b"".join(struct.pack(">QI4x", lba, blocks) for lba, blocks in ranges)
        data = struct.pack(">HH4x", len(body) + 6, len(body)) + body
        return self.run(cdb.UNMAP.pack(parameter_list_length=len(data), **fields), data, views=2)


@pytest.fixture
def disk() -> Disk:
    return Disk()


def refused(answer: Answer, asc: Asc, pointer: object = None) -> None:
    assert (answer.status, answer.key, answer.asc) == (Status.CHECK_CONDITION, SenseKey.ILLEGAL_REQUEST, asc), answer
    assert answer.pointer == pointer


# -- UNMAP -------------------------------------------------------------------------------------------------------


def test_unmap_gives_back_and_reads_as_zeros(disk: Disk) -> None:
    assert disk.unmap((8, 16), (100, 1), (5, 0)).good
    assert disk.backend.names() == ["discard", "discard"]
    assert disk.blocks(7, 18) == b"\x11" * 512 + bytes(16 * 512) + b"\x11" * 512
    assert disk.blocks(100, 1) == bytes(512)


def test_unmap_judges_every_descriptor_before_the_first_takes_effect(disk: Disk) -> None:
    answer = disk.unmap((0, 8), (BLOCKS - 1, 2))
    refused(answer, Asc.LBA_OUT_OF_RANGE)
    assert answer.information == BLOCKS
    assert disk.backend.calls == []


def test_unmap_of_nothing(disk: Disk) -> None:
    assert disk.unmap().good
    assert disk.unmap((BLOCKS, 0)).good
    assert disk.run(cdb.UNMAP.pack()).good
    assert disk.backend.calls == []


def test_unmap_with_anchor_is_refused(disk: Disk) -> None:
    refused(disk.unmap((0, 1), anchor=1), Asc.INVALID_FIELD_IN_CDB, (1, 0))


@pytest.mark.parametrize("data", [bytes(7), bytes.fromhex("0016001000000000"), bytes.fromhex("00160010") + bytes(19)])
def test_unmap_lists_that_are_cut_are_refused(disk: Disk, data: bytes) -> None:
    refused(disk.run(cdb.UNMAP.pack(parameter_list_length=len(data)), data), Asc.PARAMETER_LIST_LENGTH_ERROR)


def test_an_incomplete_last_descriptor_is_ignored(disk: Disk) -> None:
    data = struct.pack(">HH4xQI4x", 30, 24, 0, 8) + b"\xff" * 8
    assert disk.run(cdb.UNMAP.pack(parameter_list_length=len(data)), data).good
    assert disk.backend.calls == [("discard", 0, 4096, False)]


def test_unmap_beyond_its_limits_is_refused() -> None:
    disk = Disk(maximum_unmap_blocks=16)
    refused(disk.unmap((0, 10), (20, 7)), Asc.INVALID_FIELD_IN_PARAMETER_LIST, (8 + 16 + 8, None))
    refused(disk.unmap(*[(0, 0)] * 257), Asc.INVALID_FIELD_IN_PARAMETER_LIST, (2, None))
    assert disk.backend.calls == []


def test_a_thick_disk_has_no_unmap() -> None:
    disk = Disk(thin=False)
    refused(disk.unmap((0, 1)), Asc.INVALID_COMMAND_OPERATION_CODE)
    answer = disk.run(cdb.WRITE_SAME_16.pack(number_of_logical_blocks=1, unmap=1), bytes(512))
    refused(answer, Asc.INVALID_FIELD_IN_CDB, (1, 3))


def test_a_backend_that_turns_out_not_to_discard_writes_zeros(disk: Disk) -> None:
    disk.faulty.fail("discard", errno.EOPNOTSUPP)
    disk.faulty.fail("zero", errno.EOPNOTSUPP)
    assert disk.unmap((3, 5)).good
    assert disk.backend.names() == ["discard", "zero", "write"]
    assert disk.blocks(3, 5) == bytes(5 * 512)


def test_any_other_error_of_discard_is_told(disk: Disk) -> None:
    disk.faulty.fail("discard", errno.EIO)
    answer = disk.unmap((3, 5))
    assert (answer.key, answer.asc) == (SenseKey.MEDIUM_ERROR, Asc.WRITE_ERROR)


# -- WRITE SAME --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", WRITE_SAMES, ids=lambda layout: layout.name)
def test_write_same_repeats_a_block(disk: Disk, layout: Layout) -> None:
    block = bytes(range(256)) * 2
    assert disk.run(layout.pack(logical_block_address=9, number_of_logical_blocks=4), block, views=3).good
    assert disk.blocks(8, 6) == b"\x11" * 512 + block * 4 + b"\x11" * 512


@pytest.mark.parametrize("layout", WRITE_SAMES, ids=lambda layout: layout.name)
@pytest.mark.parametrize(("unmap", "operation"), [(0, "zero"), (1, "discard")])
def test_write_same_of_zeros(disk: Disk, layout: Layout, unmap: int, operation: str) -> None:
    assert disk.run(layout.pack(number_of_logical_blocks=8, unmap=unmap), bytes(512)).good
    assert disk.backend.names() == [operation]
    assert disk.blocks(0, 9) == bytes(4096) + b"\x11" * 512


def test_write_same_with_unmap_of_a_pattern_writes_it(disk: Disk) -> None:
    assert disk.run(cdb.WRITE_SAME_16.pack(number_of_logical_blocks=2, unmap=1), b"\x22" * 512).good
    assert disk.blocks(0, 3) == b"\x22" * 1024 + b"\x11" * 512


@pytest.mark.parametrize(("unmap", "operation"), [(0, "zero"), (1, "discard")])
def test_write_same_without_data_out(disk: Disk, unmap: int, operation: str) -> None:
    assert disk.run(cdb.WRITE_SAME_16.pack(number_of_logical_blocks=8, ndob=1, unmap=unmap)).good
    assert disk.backend.names() == [operation]


def test_zeros_are_written_where_the_backend_can_not_zero() -> None:
    disk = Disk(can_zero=False)
    assert disk.run(cdb.WRITE_SAME_16.pack(number_of_logical_blocks=8, ndob=1)).good
    assert disk.backend.calls == [("write", 0, 4096, False)]


def test_write_same_in_chunks(disk: Disk) -> None:
    assert disk.run(cdb.WRITE_SAME_10.pack(number_of_logical_blocks=BLOCKS), b"\x33" * 512).good
    assert disk.backend.names() == ["write"]
    assert disk.blocks(0, BLOCKS) == b"\x33" * 512 * BLOCKS


@pytest.mark.parametrize("layout", WRITE_SAMES, ids=lambda layout: layout.name)
def test_write_same_refuses(disk: Disk, layout: Layout) -> None:
    count = layout.field_pointer("number_of_logical_blocks")
    refused(disk.run(layout.pack(), bytes(512)), Asc.INVALID_FIELD_IN_CDB, count)  # WSNZ
    refused(disk.run(layout.pack(number_of_logical_blocks=1), bytes(511)), Asc.INVALID_FIELD_IN_CDB, count)
    refused(disk.run(layout.pack(number_of_logical_blocks=1), bytes(1024)), Asc.INVALID_FIELD_IN_CDB, count)
    one = {"number_of_logical_blocks": 1}
    refused(disk.run(layout.pack(**one, anchor=1), bytes(512)), Asc.INVALID_FIELD_IN_CDB, (1, 4))
    refused(disk.run(layout.pack(**one, wrprotect=1), bytes(512)), Asc.INVALID_FIELD_IN_CDB, (1, 7))
    refused(disk.run(layout.pack(**one, logical_block_address=BLOCKS), bytes(512)), Asc.LBA_OUT_OF_RANGE)
    assert disk.backend.calls == []


@pytest.mark.parametrize("layout", WRITE_SAMES, ids=lambda layout: layout.name)
@pytest.mark.parametrize(("unmap", "operation"), [(0, "zero"), (1, "discard")])
def test_write_same_of_0_blocks_may_go_to_the_last_one(layout: Layout, unmap: int, operation: str) -> None:
    disk = Disk(write_same_to_the_end=True, maximum_write_same_bytes=16 * 512)
    assert disk.run(layout.pack(logical_block_address=BLOCKS - 16, unmap=unmap), bytes(512)).good
    assert disk.backend.calls == [(operation, (BLOCKS - 16) * 512, 16 * 512, False)]
    answer = disk.run(layout.pack(logical_block_address=BLOCKS - 17, unmap=unmap), bytes(512))
    refused(answer, Asc.INVALID_FIELD_IN_CDB, layout.field_pointer("number_of_logical_blocks"))


def test_write_same_of_a_pattern_to_the_last_block() -> None:
    disk = Disk(write_same_to_the_end=True)
    assert disk.run(cdb.WRITE_SAME_16.pack(logical_block_address=BLOCKS - 3), b"\x22" * 512).good
    assert disk.blocks(BLOCKS - 4, 4) == b"\x11" * 512 + b"\x22" * 3 * 512


def test_write_same_of_0_blocks_names_all_of_them_to_the_overlap_rules() -> None:
    row = CommandTable().find(0x93)
    assert row is not None
    first, end = row.extent(cdb.WRITE_SAME_16.unpack(cdb.WRITE_SAME_16.pack(logical_block_address=9)))
    assert first == 9
    assert end >= 1 << 64


def test_write_same_beyond_its_limit_is_refused() -> None:
    disk = Disk(maximum_write_same_bytes=4096)
    answer = disk.run(cdb.WRITE_SAME_16.pack(number_of_logical_blocks=9), bytes(512))
    refused(answer, Asc.INVALID_FIELD_IN_CDB, (10, None))


def test_without_write_cache_the_effect_is_flushed(disk: Disk) -> None:
    disk.host.server.durable_writes = True
    assert disk.run(cdb.WRITE_SAME_16.pack(number_of_logical_blocks=8, ndob=1)).good
    assert disk.unmap((0, 8)).good
    assert disk.backend.names() == ["zero", "flush", "discard", "flush"]


# -- GET LBA STATUS ----------------------------------------------------------------------------------------------


def status(disk: Disk, lba: int = 0, length: int = 512) -> list[tuple[int, int, int]]:
    data = disk.run(cdb.GET_LBA_STATUS.pack(logical_block_address=lba, allocation_length=length)).data
    assert len(data) == int.from_bytes(data[:4], "big") + 4
    return [struct.unpack_from(">QIB", data, at) for at in range(8, len(data), 16)]


def test_get_lba_status_tells_the_holes(disk: Disk) -> None:
    assert status(disk) == [(0, BLOCKS, MAPPED)]
    disk.unmap((16, 16))
    assert status(disk) == [(0, 16, MAPPED), (16, 16, DEALLOCATED), (32, BLOCKS - 32, MAPPED)]
    assert status(disk, 20)[0] == (20, 12, DEALLOCATED)
    assert status(disk, length=24) == [(0, 16, MAPPED)]


@pytest.mark.parametrize("length", [0, 1, 8, 23])
def test_get_lba_status_is_cut_to_the_allocation_length(disk: Disk, length: int) -> None:
    whole = struct.pack(">I4xQIB3x", 20, 0, BLOCKS, MAPPED)
    answer = disk.run(cdb.GET_LBA_STATUS.pack(allocation_length=length))
    assert answer.good
    assert answer.data == whole[:length]


def test_get_lba_status_beyond_the_last_block(disk: Disk) -> None:
    refused(disk.run(cdb.GET_LBA_STATUS.pack(logical_block_address=BLOCKS, allocation_length=24)), Asc.LBA_OUT_OF_RANGE)


def test_a_thick_disk_is_all_mapped() -> None:
    disk = Disk(thin=False)
    assert status(disk, 7) == [(7, BLOCKS - 7, MAPPED)]
    assert disk.backend.calls == []


def test_a_block_is_deallocated_only_if_all_of_it_is_a_hole() -> None:
    data, hole = Allocation.DATA, Allocation.HOLE
    extents = [Extent(0, 700, data), Extent(700, 1000, hole), Extent(1700, 1000, data), Extent(2700, 396, hole)]
    # block 1 ends in a hole, block 2 is all hole, block 3 begins with one, block 5 ends with one
    assert _runs(extents, 0, 6, 512) == [(0, 2, MAPPED), (2, 1, DEALLOCATED), (3, 3, MAPPED)]


def test_runs_longer_than_32_bits_are_cut() -> None:
    blocks = (1 << 32) + 10
    assert _runs([Extent(0, blocks * 512, Allocation.HOLE)], 0, blocks, 512) == [
        (0, 0xFFFFFFFF, DEALLOCATED),
        (0xFFFFFFFF, 11, DEALLOCATED),
    ]


def test_a_full_volume_is_no_broken_disk_and_works_again_without_a_restart() -> None:
    """SBC-3 4.7.3.6: DATA PROTECT, SPACE ALLOCATION FAILED; reads, UNMAP and later writes work."""
    backend = FaultyBackend(memory())
    host = Host(LogicalUnit(backend))
    assert host.run(cdb.WRITE_10.pack(transfer_length=1), b"a" * 512).good
    for raw, data in (
        (cdb.WRITE_10.pack(transfer_length=1), b"b" * 512),
        (cdb.WRITE_SAME_16.pack(number_of_logical_blocks=8), b"b" * 512),
        (cdb.ORWRITE_16.pack(transfer_length=1), b"b" * 512),
    ):
        backend.fail("write", errno.ENOSPC)
        answer = host.run(raw, data)
        assert (answer.key, answer.asc) == (SenseKey.DATA_PROTECT, Asc.SPACE_ALLOCATION_FAILED)
        assert host.run(cdb.TEST_UNIT_READY.pack()).good
        assert host.run(cdb.READ_10.pack(transfer_length=1)).data == b"a" * 512
    unmap = struct.pack(">HH4xQI4x", 22, 16, 8, 8)
    assert host.run(cdb.UNMAP.pack(parameter_list_length=len(unmap)), unmap).good
    assert host.run(cdb.WRITE_10.pack(transfer_length=1), b"b" * 512).good
