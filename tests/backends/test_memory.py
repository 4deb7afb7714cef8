"""The memory backend: bytes, holes, sharing by name."""

from __future__ import annotations

import errno

import pytest

from tcmu_gluster.backends.base import Allocation, Extent, Space
from tcmu_gluster.backends.memory import PAGE_BYTES, MemoryBackend
from tcmu_gluster.errors import ConfigError


def never(result: object) -> None:
    pytest.fail(f"a memory backend completes at once, but called done({result!r})")


@pytest.fixture
def disk(request: pytest.FixtureRequest):
    backend = MemoryBackend(request.node.name, 16 * PAGE_BYTES)
    yield backend
    backend.close()


def content(disk: MemoryBackend, offset: int, length: int) -> bytes:
    target = bytearray(length)
    assert disk.read(offset, [memoryview(target)], never) == length
    return bytes(target)


def test_what_was_written_is_read_through_any_split_of_buffers(disk):
    data = bytes(range(256)) * 8
    views = [memoryview(data)[:100], memoryview(data)[100:1000], memoryview(data)[1000:]]
    assert disk.write(1000, views, never) == len(data)
    first, second = bytearray(2000), bytearray(48)
    assert disk.read(1000, [memoryview(first), memoryview(second)], never) == 2048
    assert bytes(first + second) == data


def test_a_new_disk_reads_as_zeros_and_is_one_hole(disk):
    assert content(disk, 0, disk.size_bytes) == bytes(disk.size_bytes)
    assert disk.map(0, disk.size_bytes, never) == [Extent(0, disk.size_bytes, Allocation.HOLE)]


def test_map_tells_data_from_holes_and_is_cut_to_the_range(disk):
    disk.write(3 * PAGE_BYTES, [memoryview(b"x" * PAGE_BYTES * 2)], never)
    assert disk.map(PAGE_BYTES, 6 * PAGE_BYTES, never) == [
        Extent(PAGE_BYTES, 2 * PAGE_BYTES, Allocation.HOLE),
        Extent(3 * PAGE_BYTES, 2 * PAGE_BYTES, Allocation.DATA),
        Extent(5 * PAGE_BYTES, 2 * PAGE_BYTES, Allocation.HOLE),
    ]
    assert disk.map(3 * PAGE_BYTES + 512, 512, never) == [Extent(3 * PAGE_BYTES + 512, 512, Allocation.DATA)]


def test_map_gives_at_most_64_extents():
    disk = MemoryBackend("many", 200 * PAGE_BYTES)
    for page in range(0, 200, 2):
        disk.write(page * PAGE_BYTES, [memoryview(b"x")], never)
    extents = disk.map(0, disk.size_bytes, never)
    disk.close()
    assert len(extents) == 64
    assert extents[-1].offset + extents[-1].length == 64 * PAGE_BYTES


def test_discard_makes_holes_of_whole_pages_and_zeros_of_the_rest(disk):
    disk.write(0, [memoryview(b"x" * 4 * PAGE_BYTES)], never)
    assert disk.discard(512, 3 * PAGE_BYTES, never) == 0
    assert content(disk, 0, 4 * PAGE_BYTES) == b"x" * 512 + bytes(3 * PAGE_BYTES) + b"x" * (PAGE_BYTES - 512)
    assert [e.allocation for e in disk.map(0, 4 * PAGE_BYTES, never)] == [
        Allocation.DATA,
        Allocation.HOLE,
        Allocation.DATA,
    ]


def test_discard_inside_one_page_zeroes_only_its_range(disk):
    disk.write(0, [memoryview(b"x" * PAGE_BYTES)], never)
    disk.discard(512, 512, never)
    assert content(disk, 0, 2048) == b"x" * 512 + bytes(512) + b"x" * 1024


def test_discard_up_to_an_end_inside_a_page_leaves_a_hole():
    disk = MemoryBackend("odd", 2 * PAGE_BYTES + 512)
    disk.write(0, [memoryview(b"x" * disk.size_bytes)], never)
    disk.discard(PAGE_BYTES, PAGE_BYTES + 512, never)
    extents = disk.map(0, disk.size_bytes, never)
    disk.close()
    assert extents[-1] == Extent(PAGE_BYTES, PAGE_BYTES + 512, Allocation.HOLE)


def test_zeroed_ranges_stay_allocated(disk):
    disk.write(0, [memoryview(b"x" * 2 * PAGE_BYTES)], never)
    assert disk.zero(0, 3 * PAGE_BYTES, never) == 0
    assert content(disk, 0, 3 * PAGE_BYTES) == bytes(3 * PAGE_BYTES)
    assert disk.map(0, 3 * PAGE_BYTES, never) == [Extent(0, 3 * PAGE_BYTES, Allocation.DATA)]


def test_one_name_is_one_disk_until_the_last_close():
    first, second = MemoryBackend("shared", 4096), MemoryBackend("shared")
    first.write(0, [memoryview(b"hello")], never)
    first.close()
    assert content(second, 0, 5) == b"hello"
    assert second.identity.endswith(":shared")
    second.close()
    third = MemoryBackend("shared", 8192)
    assert content(third, 0, 5) == bytes(5)
    third.close()
    third.close()


def test_another_size_for_an_open_name_is_refused_with_both_sizes(disk):
    with pytest.raises(ConfigError, match=r"open already with 65536 bytes.*8192"):
        MemoryBackend(disk.uri.partition(":")[2], 8192)


@pytest.mark.parametrize("size", [None, 0, -1])
def test_a_new_name_needs_a_size(size):
    with pytest.raises(ConfigError, match="needs a size"):
        MemoryBackend("sizeless", size)


@pytest.mark.parametrize(
    "change",
    [
        lambda disk: disk.write(0, [memoryview(b"x")], never),
        lambda disk: disk.discard(0, 4096, never),
        lambda disk: disk.zero(0, 4096, never),
    ],
)
def test_a_read_only_disk_refuses_changes(change):
    disk = MemoryBackend("ro", 4096, read_only=True)
    with pytest.raises(OSError) as caught:
        change(disk)
    disk.close()
    assert caught.value.errno == errno.EROFS


def test_a_terabyte_costs_only_what_was_written():
    disk = MemoryBackend("huge", 1 << 40)
    disk.write((1 << 40) - 4096, [memoryview(b"z" * 4096)], never)
    assert content(disk, (1 << 40) - 4096, 1) == b"z"
    assert disk.map((1 << 40) - 8192, 8192, never)[0].allocation is Allocation.HOLE
    disk.close()


def test_used_space_is_the_pages_with_data(disk):
    assert disk.space is None
    assert disk.refresh_space() == Space(0, disk.size_bytes, is_shared=False)
    disk.write(PAGE_BYTES - 1, [memoryview(b"xy")], never)
    disk.refresh_space()
    assert disk.space == Space(2 * PAGE_BYTES, disk.size_bytes - 2 * PAGE_BYTES, is_shared=False)
    disk.discard(0, disk.size_bytes, never)
    assert disk.refresh_space().used_bytes == 0


def test_the_space_of_a_closed_disk_is_asked_in_vain():
    disk = MemoryBackend("closed", PAGE_BYTES)
    disk.close()
    assert disk.refresh_space().used_bytes == 0
