"""Reading, writing, verifying, flushing: what moves, what is refused, what the backend is asked."""

from __future__ import annotations

import errno

import pytest

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.command import Status
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.sense import Asc, SenseKey
from tcmu_gluster.wire.layout import Layout
from tests.doubles.backends import FaultyBackend, RecordingBackend
from tests.doubles.host import Answer, Host, memory

BLOCKS = 256
READS = [cdb.READ_6, cdb.READ_10, cdb.READ_12, cdb.READ_16]
WRITES = [cdb.WRITE_6, cdb.WRITE_10, cdb.WRITE_12, cdb.WRITE_16]
LONG_READS, LONG_WRITES = READS[1:], WRITES[1:]
VERIFIES = [cdb.VERIFY_10, cdb.VERIFY_12, cdb.VERIFY_16]
WRITE_VERIFIES = [cdb.WRITE_AND_VERIFY_10, cdb.WRITE_AND_VERIFY_12, cdb.WRITE_AND_VERIFY_16]
SYNCHRONIZES = [cdb.SYNCHRONIZE_CACHE_10, cdb.SYNCHRONIZE_CACHE_16]


def named(layout: Layout) -> str:
    return layout.name


class Disk:
    """A small disk whose backend keeps a record, and a host on it."""

    def __init__(self, **options: object) -> None:
        self.backend = RecordingBackend(memory(BLOCKS * 512))
        self.unit = LogicalUnit(self.backend, UnitOptions(**options))
        self.host = Host(self.unit)
        self.run = self.host.run

    def fill(self, lba: int, data: bytes) -> None:
        assert self.run(cdb.WRITE_16.pack(logical_block_address=lba, transfer_length=len(data) // 512), data).good
        self.backend.calls.clear()

    def blocks(self, lba: int, count: int = 1) -> bytes:
        return self.run(cdb.READ_16.pack(logical_block_address=lba, transfer_length=count)).data


@pytest.fixture
def disk() -> Disk:
    return Disk()


def pattern(blocks: int, seed: int = 1) -> bytes:
    return b"".join(bytes([(seed + block) & 0xFF]) * 512 for block in range(blocks))


def refused(answer: Answer, asc: Asc, pointer: object = None) -> None:
    assert (answer.status, answer.key, answer.asc) == (Status.CHECK_CONDITION, SenseKey.ILLEGAL_REQUEST, asc), answer
    assert answer.pointer == pointer


# -- READ and WRITE ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("write", "read"), list(zip(WRITES, READS)), ids=lambda layout: layout.name)
def test_what_is_written_is_read(disk: Disk, write: Layout, read: Layout) -> None:
    data = pattern(3)
    assert disk.run(write.pack(logical_block_address=7, transfer_length=3), data, views=4).good
    assert disk.run(read.pack(logical_block_address=7, transfer_length=3)).data == data
    assert disk.blocks(6) == disk.blocks(10) == bytes(512)


def test_read_6_and_write_6_of_length_0_are_256_blocks(disk: Disk) -> None:
    data = pattern(256)
    assert disk.run(cdb.WRITE_6.pack(), data).good
    assert disk.run(cdb.READ_6.pack()).data == data
    refused(disk.run(cdb.READ_6.pack(logical_block_address=1)), Asc.LBA_OUT_OF_RANGE)


@pytest.mark.parametrize("layout", LONG_READS + LONG_WRITES, ids=named)
def test_no_blocks_is_no_error(disk: Disk, layout: Layout) -> None:
    assert disk.run(layout.pack()).good
    assert disk.backend.calls == []


@pytest.mark.parametrize("layout", READS + WRITES + VERIFIES + WRITE_VERIFIES, ids=named)
@pytest.mark.parametrize(
    ("lba", "blocks", "bad"), [(BLOCKS, 1, BLOCKS), (BLOCKS - 1, 2, BLOCKS), (BLOCKS + 5, 1, BLOCKS + 5)]
)
def test_beyond_the_last_block(disk: Disk, layout: Layout, lba: int, blocks: int, bad: int) -> None:
    length = "verification_length" if "verification_length" in layout.fields else "transfer_length"
    answer = disk.run(layout.pack(logical_block_address=lba, **{length: blocks}), pattern(blocks))
    refused(answer, Asc.LBA_OUT_OF_RANGE)
    assert answer.information == bad
    assert disk.backend.calls == []


@pytest.mark.parametrize("layout", [cdb.READ_16, cdb.WRITE_16, cdb.VERIFY_16, cdb.COMPARE_AND_WRITE], ids=named)
def test_an_lba_near_2_to_the_64_does_not_wrap(disk: Disk, layout: Layout) -> None:
    length = next(name for name in cdb.LENGTH_FIELDS if name in layout.fields)
    refused(disk.run(layout.pack(logical_block_address=(1 << 64) - 1, **{length: 2}), pattern(4)), Asc.LBA_OUT_OF_RANGE)


@pytest.mark.parametrize("layout", LONG_READS, ids=named)
def test_rdprotect_is_refused(disk: Disk, layout: Layout) -> None:
    refused(disk.run(layout.pack(transfer_length=1, rdprotect=1)), Asc.INVALID_FIELD_IN_CDB, (1, 7))


@pytest.mark.parametrize("layout", LONG_WRITES + WRITE_VERIFIES, ids=named)
def test_wrprotect_is_refused(disk: Disk, layout: Layout) -> None:
    refused(disk.run(layout.pack(transfer_length=1, wrprotect=3), pattern(1)), Asc.INVALID_FIELD_IN_CDB, (1, 7))
    assert disk.backend.calls == []


@pytest.mark.parametrize("layout", LONG_READS + LONG_WRITES, ids=named)
def test_naca_is_refused(disk: Disk, layout: Layout) -> None:
    pointer = (layout.size_bytes - 1, 2)
    refused(disk.run(layout.pack(transfer_length=1, naca=1), pattern(1)), Asc.INVALID_FIELD_IN_CDB, pointer)


@pytest.mark.parametrize("layout", [cdb.READ_12, cdb.READ_16, cdb.WRITE_12, cdb.WRITE_16, cdb.WRITE_AND_VERIFY_16,
                                    cdb.VERIFY_16], ids=named)  # fmt: skip
def test_more_than_the_maximum_transfer_length_is_refused_before_memory_is_taken(layout: Layout) -> None:
    disk = Disk(maximum_transfer_bytes=16 * 512)
    length = "verification_length" if "verification_length" in layout.fields else "transfer_length"
    refused(disk.run(layout.pack(**{length: 17})), Asc.INVALID_FIELD_IN_CDB, layout.field_pointer(length))
    assert disk.backend.calls == []


def test_fua_write_is_durable_and_so_is_every_write_without_write_cache(disk: Disk) -> None:
    disk.run(cdb.WRITE_10.pack(transfer_length=1), pattern(1))
    disk.run(cdb.WRITE_10.pack(transfer_length=1, fua=1, dpo=1), pattern(1))
    data = bytes(4) + bytes.fromhex("0812 00 00 0000 0000 ffff ffff".replace(" ", "")) + bytes(8)
    assert disk.run(cdb.MODE_SELECT_6.pack(pf=1, parameter_list_length=24), data).good
    disk.run(cdb.WRITE_10.pack(transfer_length=1), pattern(1))
    disk.run(cdb.WRITE_6.pack(transfer_length=1), pattern(1))
    assert [durable for name, _, _, durable in disk.backend.calls if name == "write"] == [False, True, True, True]


def test_fua_read_flushes_first(disk: Disk) -> None:
    disk.fill(1, pattern(1))
    assert disk.run(cdb.READ_10.pack(logical_block_address=1, transfer_length=1, fua=1)).data == pattern(1)
    assert disk.backend.names() == ["flush", "read"]


@pytest.mark.parametrize("layout", WRITES + WRITE_VERIFIES, ids=named)
def test_only_whole_blocks_that_were_sent_are_written(disk: Disk, layout: Layout) -> None:
    pending = disk.host.send(layout.pack(logical_block_address=2, transfer_length=3), pattern(1) + b"x" * 100)
    assert pending.answer.good
    assert pending.command.data_out_wanted == 3 * 512
    assert disk.blocks(2, 3) == pattern(1) + bytes(1024)


@pytest.mark.parametrize("layout", WRITES + WRITE_VERIFIES, ids=named)
def test_more_data_than_the_cdb_names_is_left_over(disk: Disk, layout: Layout) -> None:
    assert disk.run(layout.pack(logical_block_address=2, transfer_length=1), pattern(3), views=2).good
    assert disk.blocks(2, 3) == pattern(1) + bytes(1024)


@pytest.mark.parametrize("layout", LONG_WRITES, ids=named)
def test_a_write_that_sends_nothing_writes_nothing(disk: Disk, layout: Layout) -> None:
    assert disk.run(layout.pack(transfer_length=1)).good
    assert disk.backend.calls == []


def test_4096_byte_blocks_are_converted_once() -> None:
    backend = RecordingBackend(memory(64 * 4096))
    host = Host(LogicalUnit(backend, UnitOptions(block_size_bytes=4096, physical_block_bytes=4096)))
    assert host.run(cdb.WRITE_10.pack(logical_block_address=3, transfer_length=2), bytes(8192)).good
    assert backend.calls == [("write", 3 * 4096, 8192, False)]
    assert host.run(cdb.READ_CAPACITY_10.pack()).data.hex() == "0000003f00001000"


# -- errors of the storage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    ("layout", "operation", "key", "asc"),
    [
        (cdb.READ_10, "read", SenseKey.MEDIUM_ERROR, Asc.UNRECOVERED_READ_ERROR),
        (cdb.WRITE_10, "write", SenseKey.MEDIUM_ERROR, Asc.WRITE_ERROR),
        (cdb.SYNCHRONIZE_CACHE_10, "flush", SenseKey.MEDIUM_ERROR, Asc.WRITE_ERROR),
        (cdb.WRITE_AND_VERIFY_10, "read", SenseKey.MEDIUM_ERROR, Asc.UNRECOVERED_READ_ERROR),
        (cdb.VERIFY_10, "read", SenseKey.MEDIUM_ERROR, Asc.UNRECOVERED_READ_ERROR),
    ],
)
def test_eio_is_told_by_what_failed(layout: Layout, operation: str, key: int, asc: int, later: bool) -> None:
    backend = FaultyBackend(memory())
    host = Host(LogicalUnit(backend))
    backend.fail(operation, errno.EIO, later=later)
    length = next(name for name in cdb.LENGTH_FIELDS if name in layout.fields)
    pending = host.send(layout.pack(**{length: 1}), pattern(1))
    backend.run()
    assert (pending.answer.key, pending.answer.asc) == (key, asc)
    assert host.run(layout.pack(**{length: 1}), pattern(1)).good


def test_a_full_volume_is_no_broken_disk() -> None:
    backend = FaultyBackend(memory())
    host = Host(LogicalUnit(backend))
    backend.fail("write", errno.ENOSPC)
    answer = host.run(cdb.WRITE_10.pack(transfer_length=1), pattern(1))
    assert (answer.key, answer.asc) == (SenseKey.DATA_PROTECT, Asc.SPACE_ALLOCATION_FAILED)


def test_a_lost_quorum_is_busy() -> None:
    backend = FaultyBackend(memory())
    host = Host(LogicalUnit(backend))
    backend.fail("read", errno.ENOTCONN, later=True)
    pending = host.send(cdb.READ_10.pack(transfer_length=1))
    backend.run()
    assert pending.answer.status == Status.BUSY


# -- VERIFY, WRITE AND VERIFY ------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", VERIFIES, ids=named)
def test_verify_compares_as_bytchk_says(disk: Disk, layout: Layout) -> None:
    disk.fill(4, pattern(1) * 3)
    fields = {"logical_block_address": 4, "verification_length": 3}
    assert disk.run(layout.pack(**fields)).good
    assert disk.run(layout.pack(**fields, bytchk=1), pattern(1) * 3, views=5).good
    assert disk.run(layout.pack(**fields, bytchk=3), pattern(1)).good
    changed = bytearray(pattern(1) * 3)
    changed[1024 + 17] ^= 1
    answer = disk.run(layout.pack(**fields, bytchk=1), bytes(changed))
    assert (answer.key, answer.asc, answer.information) == (SenseKey.MISCOMPARE, Asc.MISCOMPARE_DURING_VERIFY, 6)
    answer = disk.run(layout.pack(**fields, bytchk=3), pattern(1, seed=9))
    assert (answer.key, answer.information) == (SenseKey.MISCOMPARE, 4)


@pytest.mark.parametrize("layout", VERIFIES, ids=named)
def test_verify_refuses(disk: Disk, layout: Layout) -> None:
    refused(disk.run(layout.pack(verification_length=1, bytchk=2), pattern(1)), Asc.INVALID_FIELD_IN_CDB, (1, 2))
    refused(disk.run(layout.pack(verification_length=1, vrprotect=1)), Asc.INVALID_FIELD_IN_CDB, (1, 7))
    refused(disk.run(layout.pack(verification_length=1, bytchk=3), b"short"), Asc.INVALID_FIELD_IN_CDB, (1, 2))
    assert disk.run(layout.pack()).good


def test_verify_reads_no_more_than_a_chunk_at_a_time() -> None:
    backend = RecordingBackend(memory(4 << 20))
    host = Host(LogicalUnit(backend))
    assert host.run(cdb.VERIFY_16.pack(verification_length=5000)).good
    assert max(length for _, _, length, _ in backend.calls) == 1 << 20
    assert sum(length for _, _, length, _ in backend.calls) == 5000 * 512


@pytest.mark.parametrize("layout", WRITE_VERIFIES, ids=named)
@pytest.mark.parametrize("bytchk", [0, 1])
def test_write_and_verify_reaches_stable_storage_and_is_read_back(disk: Disk, layout: Layout, bytchk: int) -> None:
    assert disk.run(layout.pack(logical_block_address=1, transfer_length=2, bytchk=bytchk), pattern(2)).good
    assert disk.backend.calls == [("write", 512, 1024, True), ("read", 512, 1024, False)]
    assert disk.blocks(1, 2) == pattern(2)


@pytest.mark.parametrize("layout", WRITE_VERIFIES, ids=named)
def test_write_and_verify_refuses_reserved_bytchk(disk: Disk, layout: Layout) -> None:
    refused(disk.run(layout.pack(transfer_length=1, bytchk=2), pattern(1)), Asc.INVALID_FIELD_IN_CDB, (1, 2))


# -- COMPARE AND WRITE -------------------------------------------------------------------------------------------


def test_compare_and_write_swaps_what_matches(disk: Disk) -> None:
    disk.fill(5, pattern(2))
    fields = {"logical_block_address": 5, "number_of_logical_blocks": 2}
    assert disk.run(cdb.COMPARE_AND_WRITE.pack(**fields), pattern(2) + pattern(2, 50), views=3).good
    assert disk.blocks(5, 2) == pattern(2, 50)


def test_compare_and_write_tells_the_offset_of_the_first_difference(disk: Disk) -> None:
    disk.fill(5, pattern(2))
    expected = bytearray(pattern(2))
    expected[700] ^= 0xFF
    fields = {"logical_block_address": 5, "number_of_logical_blocks": 2}
    answer = disk.run(cdb.COMPARE_AND_WRITE.pack(**fields), bytes(expected) + pattern(2, 50))
    assert (answer.key, answer.asc, answer.information) == (SenseKey.MISCOMPARE, Asc.MISCOMPARE_DURING_VERIFY, 700)
    assert disk.blocks(5, 2) == pattern(2)


@pytest.mark.parametrize("sent", [0, 1, 3, 4])
def test_compare_and_write_needs_exactly_twice_its_blocks(disk: Disk, sent: int) -> None:
    answer = disk.run(cdb.COMPARE_AND_WRITE.pack(number_of_logical_blocks=1), pattern(sent))
    refused(answer, Asc.INVALID_FIELD_IN_CDB, (13, None))


def test_compare_and_write_refuses(disk: Disk) -> None:
    assert disk.run(cdb.COMPARE_AND_WRITE.pack()).good
    refused(disk.run(cdb.COMPARE_AND_WRITE.pack(wrprotect=1)), Asc.INVALID_FIELD_IN_CDB, (1, 7))
    small = Disk(maximum_transfer_bytes=4 * 512)
    answer = small.run(cdb.COMPARE_AND_WRITE.pack(number_of_logical_blocks=3), pattern(6))
    refused(answer, Asc.INVALID_FIELD_IN_CDB, (13, None))


def test_compare_and_write_with_fua_is_durable(disk: Disk) -> None:
    assert disk.run(cdb.COMPARE_AND_WRITE.pack(number_of_logical_blocks=1, fua=1), bytes(512) + pattern(1)).good
    assert disk.backend.calls[-1] == ("write", 0, 512, True)


# -- the rest ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", SYNCHRONIZES, ids=named)
@pytest.mark.parametrize("immed", [0, 1])
def test_synchronize_cache_says_good_when_it_is_done(disk: Disk, layout: Layout, immed: int) -> None:
    assert disk.run(layout.pack(immed=immed)).good
    assert disk.backend.names() == ["flush"]
    refused(disk.run(layout.pack(logical_block_address=BLOCKS, number_of_logical_blocks=1)), Asc.LBA_OUT_OF_RANGE)


@pytest.mark.parametrize("layout", [cdb.PRE_FETCH_10, cdb.PRE_FETCH_16], ids=named)
def test_pre_fetch(disk: Disk, layout: Layout) -> None:
    assert disk.run(layout.pack(logical_block_address=1, prefetch_length=5, immed=1)).good
    refused(disk.run(layout.pack(logical_block_address=BLOCKS - 1, prefetch_length=2)), Asc.LBA_OUT_OF_RANGE)


def test_read_capacity(disk: Disk) -> None:
    assert disk.run(cdb.READ_CAPACITY_10.pack()).data.hex() == "000000ff00000200"
    data = disk.run(cdb.READ_CAPACITY_16.pack(allocation_length=32)).data
    assert data.hex() == "00000000000000ff" + "00000200" + "0000" + "c000" + 32 * "0"
    assert disk.run(cdb.READ_CAPACITY_16.pack(allocation_length=12)).data == data[:12]


def test_read_capacity_of_a_thick_512e_disk() -> None:
    disk = Disk(thin=False, physical_block_bytes=4096)
    assert disk.run(cdb.READ_CAPACITY_16.pack(allocation_length=32)).data[12:16].hex() == "00030000"


def test_read_capacity_10_of_a_disk_beyond_2_tib(disk: Disk) -> None:
    disk.unit.blocks = 1 << 33
    assert disk.run(cdb.READ_CAPACITY_10.pack()).data.hex() == "ffffffff00000200"


def test_stopping_flushes_and_the_disk_stays(disk: Disk) -> None:
    assert disk.run(cdb.START_STOP_UNIT.pack(start=0)).good
    assert disk.backend.names() == ["flush"]
    assert disk.run(cdb.START_STOP_UNIT.pack(start=0, no_flush=1)).good
    assert disk.run(cdb.START_STOP_UNIT.pack(start=1)).good
    assert disk.run(cdb.START_STOP_UNIT.pack(power_condition=2)).good
    assert disk.backend.names() == ["flush"]
    assert disk.run(cdb.TEST_UNIT_READY.pack()).good


def test_start_stop_unit_refuses(disk: Disk) -> None:
    refused(disk.run(cdb.START_STOP_UNIT.pack(power_condition=0xF)), Asc.INVALID_FIELD_IN_CDB, (4, 7))
    refused(disk.run(cdb.START_STOP_UNIT.pack(loej=1)), Asc.INVALID_FIELD_IN_CDB, (4, 1))
