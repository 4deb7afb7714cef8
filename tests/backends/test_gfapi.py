"""The Gluster backend against libgfapi's double: faults, late completions, broken handles, closing."""

from __future__ import annotations

import errno
import gc
import itertools
import os
import socket
import threading

import pytest

from tcmu_gluster import native
from tcmu_gluster.backends import gfapi as gfapi_module
from tcmu_gluster.backends import volumes
from tcmu_gluster.backends.base import PENDING, Allocation, Extent, Space
from tcmu_gluster.backends.gfapi import GfapiBackend
from tcmu_gluster.config.uri import parse_backing
from tcmu_gluster.testing import libgfapi_double as libgfapi
from tests.doubles.backend_loop import BackendLoop

_reason = libgfapi.WHY_UNAVAILABLE or ("the C shim is not built" if native.shim is None else "")
pytestmark = pytest.mark.skipif(bool(_reason), reason=_reason or "-")

MIB = 1 << 20
_names = itertools.count()


@pytest.fixture(scope="module")
def port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def loop():
    running = BackendLoop()
    yield running
    running.close()


@pytest.fixture(params=["new", "old"])
def double(request):
    made = libgfapi.Double(request.param)
    yield made
    made.release()


@pytest.fixture
def open_disk(port, loop, double):
    opened: list[GfapiBackend] = []

    def make(path: str | None = None, size: int | None = MIB, *, volume="volume", **options) -> GfapiBackend:
        backing = parse_backing(f"gluster://127.0.0.1:{port}/{volume}{path or f'/disk{next(_names)}'}")
        backend = GfapiBackend(backing, loop.loop, create_size_bytes=size, library=double.path, **options)
        opened.append(backend)
        return backend

    yield make
    double.release()
    for backend in opened:
        backend.close()


@pytest.fixture
def disk(open_disk):
    return open_disk()


def test_bytes_through_one_and_many_buffers(disk, loop):
    data = os.urandom(10_000)
    assert loop.write(disk, 100, data) == 10_000
    assert loop.write(disk, 50_000, data[:1], data[1:5000], data[5000:]) == 10_000
    first, second = bytearray(3), bytearray(9997)
    assert loop.ask(lambda done: disk.read(50_000, [memoryview(first), memoryview(second)], done)) == 10_000
    assert bytes(first + second) == loop.read(disk, 100, 10_000) == data


def test_operations_tell_who_they_are_for_without_asking_the_kernel_each_time(disk, loop, double):
    loop.read(disk, 0, 512)
    assert double.submitter == (os.geteuid(), os.getegid(), *os.getgroups())


def test_a_durable_write_carries_o_dsync_and_a_plain_one_does_not(disk, loop, double):
    before = double.durable_writes
    loop.write(disk, 0, b"plain")
    assert double.durable_writes == before
    loop.write(disk, 0, b"durable", durable=True)
    loop.write(disk, 0, b"dur", b"able", durable=True)
    assert double.durable_writes == before + 2


@pytest.mark.parametrize("number", [errno.ENOTCONN, errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", [libgfapi.READ, libgfapi.WRITE, libgfapi.SYNC, libgfapi.DISCARD])
def test_every_error_is_told_as_it_came_and_the_next_operation_works(disk, loop, double, call, number):
    def operation():
        if call == libgfapi.READ:
            return loop.read(disk, 0, 512)
        if call == libgfapi.WRITE:
            return loop.write(disk, 0, b"x" * 512)
        if call == libgfapi.SYNC:
            return loop.ask(disk.flush)
        return loop.ask(lambda done: disk.discard(0, 4096, done))

    for order in (double.fail, double.refuse):
        order(call, number)
        with pytest.raises(OSError) as caught:
            operation()
        assert caught.value.errno == number
        if call != libgfapi.SYNC or number == errno.ENOTCONN:
            operation()


@pytest.mark.parametrize("call", [libgfapi.READ, libgfapi.WRITE])
def test_a_short_transfer_is_eio(disk, loop, double, call):
    double.shorten(call, 100)
    with pytest.raises(OSError, match=r"short .*: 100 of 512 bytes") as caught:
        loop.read(disk, 0, 512) if call == libgfapi.READ else loop.write(disk, 0, b"x" * 512)
    assert caught.value.errno == errno.EIO


def test_a_late_completion_keeps_its_memory_and_comes_once(disk, loop, double):
    double.hold()
    target = bytearray(b"?" * 512)
    future = loop.start(lambda done: disk.read(0, [memoryview(target)], done))
    loop.turn()
    assert not future.done()
    with pytest.raises(BufferError):  # exported to libgfapi until it comes back
        target.extend(b"x")
    double.release()
    assert loop.wait(future) == 512
    assert target == bytes(512)
    target.extend(b"x")


def test_the_garbage_collector_may_meet_memory_in_a_traceback(disk, loop, double):
    """cffi crashes for a from_buffer object that is in a cycle with its memoryview, unless it was released."""
    for order in (double.refuse, double.fail):
        order(libgfapi.WRITE, errno.EIO, times=20)
        for _ in range(10):
            for parts in ([b"x" * 512], [b"x" * 256] * 2):
                cycle = []
                try:
                    loop.write(disk, 0, *parts)
                except OSError as error:
                    cycle += [error, cycle]
                del cycle
        assert gc.collect() > 0


def test_a_failed_flush_is_told_to_every_later_flush(disk, loop, double):
    double.fail(libgfapi.SYNC, errno.EIO)
    for _ in range(3):
        with pytest.raises(OSError) as caught:
            loop.ask(disk.flush)
        assert caught.value.errno == errno.EIO


def test_a_durable_write_that_failed_with_eio_fails_later_flushes(disk, loop, double):
    double.fail(libgfapi.WRITE, errno.EIO)
    with pytest.raises(OSError):
        loop.write(disk, 0, b"x", durable=True)
    with pytest.raises(OSError) as caught:
        loop.ask(disk.flush)
    assert caught.value.errno == errno.EIO


def test_what_the_volume_cannot_do_is_found_at_opening_or_learned(disk, loop, double):
    assert disk.capabilities.can_discard
    assert disk.capabilities.atomic_write_bytes == 0  # nothing of Gluster's promises one (docs/scsi.md)
    assert not disk.capabilities.can_zero  # the double answers glfs_zerofill like a disperse volume
    with pytest.raises(OSError) as caught:
        loop.ask(lambda done: disk.zero(0, 4096, done))
    assert caught.value.errno == errno.EOPNOTSUPP
    double.fail(libgfapi.DISCARD, errno.EOPNOTSUPP)
    with pytest.raises(OSError):
        loop.ask(lambda done: disk.discard(0, 4096, done))
    assert not disk.capabilities.can_discard


def test_of_a_dispersed_volume_whole_stripes_of_brick_blocks_are_given_back(disk, open_disk):
    assert disk.capabilities.discard_granularity_bytes == 4096
    assert open_disk(volume="dispersed").capabilities.discard_granularity_bytes == 4 * 4096  # six bricks, two redundant


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 512), (16384, 512), (512, 16384), (8192, 16384 + 8191), (16384, 16383)]
)
def test_of_a_dispersed_volume_pieces_of_granules_are_zeroed_and_not_discarded(open_disk, loop, double, offset, length):
    disk = open_disk(volume="dispersed")
    double.fail(libgfapi.DISCARD, errno.EIO)  # as Gluster answers where no whole stripe is in it
    loop.write(disk, 0, b"x" * 65536)
    assert loop.ask(lambda done: disk.discard(offset, length, done)) == 0
    assert loop.read(disk, 0, 65536) == b"x" * offset + bytes(length) + b"x" * (65536 - offset - length)
    with pytest.raises(OSError):
        loop.ask(lambda done: disk.discard(16384, 16384, done))  # one whole granule goes to the volume


def test_of_a_dispersed_volume_an_error_of_such_zeros_is_told(open_disk, loop, double):
    disk = open_disk(volume="dispersed")
    double.fail(libgfapi.WRITE, errno.ENOSPC)
    with pytest.raises(OSError) as caught:
        loop.ask(lambda done: disk.discard(0, 512, done))
    assert caught.value.errno == errno.ENOSPC
    read_only = open_disk(disk.uri.partition("dispersed")[2], None, volume="dispersed", read_only=True)
    with pytest.raises(OSError) as caught:
        loop.ask(lambda done: read_only.discard(0, 512, done))
    assert caught.value.errno == errno.EROFS


def test_map_comes_from_seek(disk, loop):
    """The double calls the first half of a file data."""
    half = MIB // 2
    assert loop.ask(lambda done: disk.map(0, MIB, done)) == [
        Extent(0, half, Allocation.DATA),
        Extent(half, half, Allocation.HOLE),
    ]
    assert loop.ask(lambda done: disk.map(half - 512, 1024, done)) == [
        Extent(half - 512, 512, Allocation.DATA),
        Extent(half, 512, Allocation.HOLE),
    ]


def test_a_changed_volume_gets_another_connection_and_what_is_under_way_ends_where_it_began(open_disk, loop, double):
    disk, carried = open_disk(volume="changing"), double.carried
    loop.write(disk, 0, b"kept")
    mounted = disk._handles._mounted
    double.hold()
    early, late = bytearray(4), bytearray(4)
    under_way = loop.start(lambda done: disk.read(0, [memoryview(early)], done))
    try:
        double.describe("volume changed\nend-volume\n")
        opened, ended = double.opened, double.ended
        mounted.look()
        loop.turn()
        assert double.opened == opened + 1
        afterwards = loop.start(lambda done: disk.read(0, [memoryview(late)], done))
        mounted.look()
        assert double.ended == ended  # a call is under way there
        double.release()
        assert loop.wait(under_way) == loop.wait(afterwards) == 4
        assert early == late == b"kept"
        mounted.look()
        assert double.ended == ended + 1
        assert loop.read(disk, 0, 4) == b"kept"
    finally:
        double.describe("")
    assert double.carried == carried


@pytest.mark.parametrize("order", ["fail", "refuse"])
def test_a_broken_handle_is_opened_again_and_the_operations_are_retried(disk, loop, double, order):
    loop.write(disk, 0, b"kept")
    opened = double.opened
    getattr(double, order)(libgfapi.READ, errno.EBADFD, times=2)
    targets = [bytearray(4) for _ in range(2)]
    futures = [loop.start(lambda done, t=t: disk.read(0, [memoryview(t)], done)) for t in targets]
    assert [loop.wait(future) for future in futures] == [4, 4]
    assert targets == [b"kept", b"kept"]
    assert double.opened == opened + 1


def test_a_handle_that_stays_broken_is_an_error_after_one_retry(disk, loop, double):
    double.fail(libgfapi.SYNC, errno.EBADFD, times=2)
    with pytest.raises(OSError) as caught:
        loop.ask(disk.flush)
    assert caught.value.errno == errno.EBADFD


def test_no_free_slot_is_eagain(disk, loop):
    queue = disk._queue
    kept, queue.free[:] = list(queue.free), []
    with pytest.raises(OSError) as caught:
        loop.read(disk, 0, 512)
    assert caught.value.errno == errno.EAGAIN
    with pytest.raises(OSError):
        loop.ask(disk.flush)
    queue.free[:] = kept


def test_close_waits_for_operations_and_their_done_is_still_called(disk, loop, double):
    double.hold()
    future = loop.start(lambda done: disk.write(0, [memoryview(b"late")], done))
    timer = threading.Timer(0.1, double.release)
    timer.start()
    disk.close()
    timer.join()
    assert loop.wait(future) == 4
    disk.close()


def test_close_gives_up_after_its_limit_and_leaves_the_handle_open(disk, loop, double, monkeypatch, caplog):
    monkeypatch.setattr(gfapi_module, "CLOSE_LIMIT_SECONDS", 0.02)
    double.hold()
    future = loop.start(lambda done: disk.write(0, [memoryview(b"late")], done))
    disk.close()
    assert "1 operations did not come back" in caplog.text
    double.release()
    loop.turn()
    assert not future.done() or future.result() == 4


def test_disks_of_one_volume_share_its_connection_and_the_loops_queue(open_disk, port, double):
    first, second = open_disk(), open_disk()
    assert first._volume is second._volume
    assert first._queue is second._queue
    assert first.identity != second.identity
    assert first.identity.startswith("gluster:" + "ab" * 16 + ":")


def test_the_queue_ends_with_the_last_disk_of_its_loop(open_disk, loop, double):
    disk = open_disk()
    loop.turn()
    fd = disk._queue.fileno()
    disk.close()
    loop.turn()
    assert disk._queue.handle is None
    with pytest.raises(OSError):
        os.fstat(fd)


def test_read_only_disks_refuse_changes_and_have_nothing_to_flush(open_disk, loop):
    open_disk("/ro").close()
    disk = open_disk("/ro", None, read_only=True)
    assert disk.flush(pytest.fail) == 0
    for change in (lambda done: disk.write(0, [memoryview(b"x")], done), lambda done: disk.discard(0, 4096, done)):
        with pytest.raises(OSError) as caught:
            loop.ask(change)
        assert caught.value.errno == errno.EROFS


def test_an_operation_never_completes_before_it_returned(disk, loop):
    calls = []
    assert disk.write(0, [memoryview(b"x")], calls.append) is PENDING
    assert calls == []
    while not calls:
        loop.turn()


def test_queues_of_volumes_are_all_given_back():
    assert volumes._queues == {}


class Room:
    """A volume that has 10 fragments of 4096 bytes left, and a file of 3 blocks of 512."""

    def statvfs(self, path):
        return os.statvfs_result((1 << 17, 4096, 100, 20, 10, 0, 0, 0, 0, 255))

    def stat(self, path):
        return os.stat_result((0,) * 10, {"st_blocks": 3})


def test_used_space_are_the_files_blocks_and_what_is_left_is_the_volumes(disk, monkeypatch):
    assert disk.space is None
    with monkeypatch.context() as patch:
        patch.setattr(disk, "_volume", Room())
        assert disk.refresh_space() == Space(3 * 512, 10 * 4096)
    assert disk.space == Space(3 * 512, 10 * 4096)
