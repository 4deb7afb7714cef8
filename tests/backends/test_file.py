"""The file backend: page cache and pool, holes, locks, sticky flush errors, creation."""

from __future__ import annotations

import errno
import os

import pytest

from tcmu_gluster.backends import file as file_module
from tcmu_gluster.backends.base import PENDING, Allocation, Extent
from tcmu_gluster.backends.file import FileBackend
from tcmu_gluster.config.uri import parse_backing
from tcmu_gluster.errors import ConfigError
from tests.doubles.backend_loop import BackendLoop

MIB = 1 << 20


@pytest.fixture
def loop():
    running = BackendLoop()
    yield running
    running.close()


@pytest.fixture
def open_disk(tmp_path, loop):
    opened: list[FileBackend] = []

    def make(name: str = "disk", size: int | None = 4 * MIB, **options) -> FileBackend:
        backing = parse_backing(f"file://{tmp_path / name}")
        backend = FileBackend(backing, loop.loop, create_size_bytes=size, **options)
        opened.append(backend)
        return backend

    yield make
    for backend in opened:
        backend.close()


def evict(disk: FileBackend) -> None:
    os.fdatasync(disk._fd)
    os.posix_fadvise(disk._fd, 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.mark.parametrize("offset, length", [(0, 4096), (4096, 128 * 1024), (513, 77), (0, 3 * MIB)])
def test_written_bytes_are_read_back_cached_or_not(open_disk, loop, offset, length):
    disk = open_disk()
    data = os.urandom(length)
    assert loop.write(disk, offset, data[: length // 3], data[length // 3 :]) == length
    assert loop.read(disk, offset, length) == data
    evict(disk)
    assert loop.read(disk, offset, length) == data


def test_a_read_from_the_page_cache_is_answered_at_once(open_disk, loop):
    disk = open_disk()
    loop.write(disk, 0, b"x" * 4096)
    target = bytearray(4096)
    assert disk.read(0, [memoryview(target)], pytest.fail) == 4096
    assert bytes(target) == b"x" * 4096


def test_whole_pages_are_written_at_once_on_a_local_file_system(open_disk, loop):
    disk = open_disk()
    if not disk._is_local:
        pytest.skip("the temporary folder is on a file system that isn't known to be local")
    assert disk.write(0, [memoryview(b"x" * 4096)], pytest.fail) == 4096
    assert disk.write(512, [memoryview(b"x" * 512)], lambda result: None) is PENDING
    disk._is_local = disk._writes_nowait = False
    assert disk.write(0, [memoryview(b"x" * 4096)], lambda result: None) is PENDING


def test_writes_go_to_the_pool_for_a_while_after_a_slow_one(open_disk, loop, monkeypatch):
    disk = open_disk()
    disk._is_local, disk._writes_nowait = True, False
    times = iter([100.0, 100.5, 101.0, 101.6, 101.6])
    monkeypatch.setattr(file_module.time, "monotonic", lambda: next(times))
    page = [memoryview(b"x" * 4096)]
    assert disk._write_now(0, page) == 4096  # took half a second
    assert disk._write_now(0, page) == 0
    assert disk._write_now(0, page) == 4096  # more than a second later


def test_more_buffers_than_one_system_call_takes(open_disk, loop):
    disk = open_disk()
    data = os.urandom(3000 * 16)
    parts = [data[start : start + 16] for start in range(0, len(data), 16)]
    assert loop.write(disk, 8, *parts) == len(data)
    targets = [bytearray(16) for _ in parts]
    assert loop.ask(lambda done: disk.read(8, [memoryview(t) for t in targets], done)) == len(data)
    assert b"".join(targets) == data


def test_durable_writes_and_flush(open_disk, loop):
    disk = open_disk()
    assert loop.write(disk, 0, b"d" * 4096, durable=True) == 4096
    assert loop.ask(disk.flush) == 0
    assert loop.read(disk, 0, 4) == b"dddd"


def test_a_flush_that_lost_data_is_told_to_every_later_flush(open_disk, loop, monkeypatch):
    disk = open_disk()

    def fail_once(descriptor: int) -> None:
        monkeypatch.undo()
        raise OSError(errno.EIO, "disk")

    monkeypatch.setattr(os, "fdatasync", fail_once)
    for _ in range(2):
        with pytest.raises(OSError) as caught:
            loop.ask(disk.flush)
        assert caught.value.errno == errno.EIO


def test_no_write_to_a_file_is_promised_to_be_whole_after_a_fault(open_disk):
    assert open_disk().capabilities.atomic_write_bytes == 0  # docs/scsi.md says why


def test_discarded_ranges_are_holes_and_zeroed_ones_are_data(open_disk, loop):
    disk = open_disk()
    if not disk.capabilities.can_discard:
        pytest.skip("the temporary folder's file system can't punch holes")
    loop.write(disk, 0, b"x" * (2 * MIB))
    loop.ask(disk.flush)
    assert loop.ask(lambda done: disk.discard(64 * 1024, 64 * 1024, done)) == 0
    assert loop.ask(lambda done: disk.zero(MIB, 4096, done)) == 0
    assert loop.read(disk, 64 * 1024 - 1, 3) == b"x\0\0"
    assert loop.read(disk, MIB - 1, 4098) == b"x" + bytes(4096) + b"x"
    extents = loop.ask(lambda done: disk.map(0, 256 * 1024, done))
    assert extents == [
        Extent(0, 64 * 1024, Allocation.DATA),
        Extent(64 * 1024, 64 * 1024, Allocation.HOLE),
        Extent(128 * 1024, 128 * 1024, Allocation.DATA),
    ]
    assert loop.ask(lambda done: disk.map(3 * MIB, MIB, done)) == [Extent(3 * MIB, MIB, Allocation.HOLE)]


def test_zeros_are_written_where_the_kernel_has_no_call_for_it(open_disk, loop, monkeypatch):
    def unsupported(*arguments: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "no")

    disk = open_disk()
    loop.write(disk, 0, b"x" * (3 * MIB))
    monkeypatch.setattr(file_module, "fallocate", unsupported)
    assert loop.ask(lambda done: disk.zero(1000, 2 * MIB, done)) == 0
    assert loop.read(disk, 999, 2 * MIB + 2) == b"x" + bytes(2 * MIB) + b"x"
    with pytest.raises(OSError) as caught:
        loop.ask(lambda done: disk.discard(0, 4096, done))
    assert caught.value.errno == errno.EOPNOTSUPP
    assert not disk.capabilities.can_discard


def test_a_second_writer_is_refused_with_a_sentence(open_disk):
    open_disk()
    with pytest.raises(ConfigError, match="is in use"):
        open_disk()


def test_readers_share_and_refuse_changes(open_disk, loop):
    open_disk().close()
    first, second = open_disk(read_only=True), open_disk(read_only=True)
    assert loop.read(second, 0, 10) == bytes(10)
    for change in (
        lambda done: first.write(0, [memoryview(b"x")], done),
        lambda done: first.discard(0, 4096, done),
        lambda done: first.zero(0, 4096, done),
    ):
        with pytest.raises(OSError) as caught:
            loop.ask(change)
        assert caught.value.errno == errno.EROFS


def test_a_file_that_shrank_is_eio_and_its_new_size_is_found(open_disk, loop):
    disk = open_disk()
    os.truncate(disk._fd, MIB)
    with pytest.raises(OSError) as caught:
        loop.read(disk, 2 * MIB, 4096)
    assert caught.value.errno == errno.EIO
    assert disk.refresh_size() == disk.size_bytes == MIB


def test_identity_stays_with_the_file_and_can_be_given(open_disk, tmp_path):
    first = open_disk()
    name = first.identity
    first.close()
    (tmp_path / "disk").rename(tmp_path / "moved")
    assert name.startswith(("file:", "inode:"))
    assert open_disk("moved").identity == name
    assert open_disk("other", identity="from the state").identity == "from the state"


def test_close_waits_for_what_runs_and_may_be_repeated(open_disk, loop):
    disk = open_disk()
    futures = [loop.start(lambda done: disk.write(1, [memoryview(b"late")], done)) for _ in range(20)]
    disk.close()
    disk.close()
    assert [loop.wait(future) for future in futures] == [4] * 20


def test_used_space_are_the_blocks_and_what_is_left_is_the_file_systems(open_disk, loop, tmp_path):
    disk = open_disk(size=8 * MIB)
    before = disk.refresh_space()
    assert before.is_shared
    assert before.available_bytes == pytest.approx(
        os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize, rel=0.2
    )
    loop.write(disk, 0, b"x" * 2 * MIB)
    os.fdatasync(disk._fd)
    assert disk.refresh_space().used_bytes - before.used_bytes >= 2 * MIB
    assert disk.space.used_bytes < 8 * MIB
    disk.close()
    assert disk.refresh_space() is None
