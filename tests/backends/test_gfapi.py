"""The Gluster backend against libgfapi's double: faults, late completions, broken handles, closing."""

from __future__ import annotations

import errno
import gc
import itertools
import os
import socket
import threading

import pytest

from tcmu_gluster.backends import gfapi as gfapi_module
from tcmu_gluster.backends import volumes
from tcmu_gluster.backends.base import PENDING, Allocation, Extent, Space
from tcmu_gluster.backends.gfapi import GfapiBackend
from tcmu_gluster.backends.graphs import MountedVolume
from tcmu_gluster.config.uri import parse_backing
from tcmu_gluster.testing import libgfapi_double as libgfapi
from tests.doubles import unavailable
from tests.doubles.backend_loop import BackendLoop

pytestmark = pytest.mark.skipif(bool(unavailable.LIBGFAPI), reason=unavailable.LIBGFAPI or "-")

MIB = 1 << 20
_names = itertools.count()


@pytest.fixture(scope="module")
def port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture(autouse=True)
def no_watch(monkeypatch):
    """Looking for changes is up to the test."""
    monkeypatch.setattr(MountedVolume, "_repeat", lambda *_: None)


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


@pytest.fixture
def moved(open_disk, loop, double):
    """moved(disk) changes its volume, and the disk goes over to another connection."""

    def move(disk: GfapiBackend, volfile: str = "volume changed-%d\nend-volume\n") -> MountedVolume:
        mounted: MountedVolume = disk._handles._mounted
        double.describe(mounted.volume.name, volfile % next(_names))
        mounted.look()
        loop.turn()
        return mounted

    return move


def test_a_changed_volume_gets_another_connection_and_what_is_under_way_ends_where_it_began(
    open_disk, loop, double, moved
):
    disk, carried = open_disk(volume="changing"), double.carried
    loop.write(disk, 0, b"kept")
    double.hold()
    early, late = bytearray(4), bytearray(4)
    under_way = loop.start(lambda done: disk.read(0, [memoryview(early)], done))
    opened, ended = double.opened, double.ended
    mounted = moved(disk)
    assert double.opened == opened + 1
    afterwards = loop.start(lambda done: disk.read(0, [memoryview(late)], done))
    mounted.end_old()
    assert double.ended == ended  # a call is under way there
    double.release()
    assert loop.wait(under_way) == loop.wait(afterwards) == 4
    assert early == late == b"kept"
    mounted.end_old()
    assert double.ended == ended + 1
    assert loop.read(disk, 0, 4) == b"kept"
    assert double.carried == carried


def test_a_disk_is_opened_on_the_volume_as_it_is_although_nobody_watched_it(open_disk, double):
    open_disk(volume="forgotten").close()
    double.describe("forgotten", "volume afterwards\nend-volume\n")
    assert open_disk(volume="forgotten")._handles.graph.description.startswith("volume afterwards")


SHARDED = "volume sharded-%d\n    type features/shard\nend-volume\n"


@pytest.fixture
def sharded(open_disk, double):
    """A connection to a sharded volume flushes only what was written by itself."""
    double.describe("sharded", SHARDED % next(_names))
    return open_disk(volume="sharded")


def test_a_flush_also_flushes_what_an_older_connection_to_a_sharded_volume_wrote(sharded, loop, double, moved):
    loop.write(sharded, 0, b"acknowledged there")
    mounted, syncs = moved(sharded, SHARDED), double.calls(libgfapi.SYNC)
    assert loop.ask(sharded.flush) == 0
    assert double.calls(libgfapi.SYNC) == syncs + 2
    ended = double.ended
    mounted.end_old()  # asks for the last flush there
    loop.turn()
    while sharded._handles.unflushed():
        loop.turn()
    mounted.end_old()
    assert double.ended == ended + 1
    syncs = double.calls(libgfapi.SYNC)
    assert loop.ask(sharded.flush) == 0
    assert double.calls(libgfapi.SYNC) == syncs + 1


@pytest.mark.parametrize("order", ["fail", "refuse"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_flush_is_good_only_if_it_is_on_every_connection(sharded, loop, double, moved, order, times):
    moved(sharded, SHARDED)
    getattr(double, order)(libgfapi.SYNC, errno.EIO, times=times)
    for _ in range(2):
        with pytest.raises(OSError) as caught:
            loop.ask(sharded.flush)
        assert caught.value.errno == errno.EIO


def test_the_last_flush_on_an_older_connection_that_fails_is_told_to_every_later_flush(sharded, loop, double, moved):
    mounted = moved(sharded, SHARDED)
    double.fail(libgfapi.SYNC, errno.EIO)
    mounted.end_old()
    loop.turn()
    while sharded._handles.unflushed():
        loop.turn()
    with pytest.raises(OSError) as caught:
        loop.ask(sharded.flush)
    assert caught.value.errno == errno.EIO


def test_an_older_connection_that_is_broken_is_not_asked_by_a_handle_of_another(sharded, loop, double, moved):
    """Its flush would be good there, and say nothing of what was written here."""
    moved(sharded, SHARDED)
    opened = double.opened
    double.fail(libgfapi.SYNC, errno.EBADFD)
    with pytest.raises(OSError) as caught:
        loop.ask(sharded.flush)
    assert caught.value.errno == errno.EBADFD
    assert double.opened == opened


def test_a_disk_that_closes_answers_what_waits_for_another_handle(disk, loop, double, monkeypatch):
    """Nothing of it is with libgfapi then, and it may not be forgotten with the handle that comes too late."""
    renew, may_renew = disk._handles.renew, threading.Event()
    monkeypatch.setattr(disk._handles, "renew", lambda: (may_renew.wait(20), renew()))
    double.fail(libgfapi.READ, errno.EBADFD)
    future = loop.start(lambda done: disk.read(0, [memoryview(bytearray(4))], done))
    while disk._reopening is None:
        loop.turn()
    closing = threading.Thread(target=disk.close)
    closing.start()
    closing.join(0.05)  # it should wait, and what has not waited is closed by now
    may_renew.set()
    assert loop.wait(future, 5) == 4
    closing.join(20)


def test_what_still_waits_for_a_handle_when_the_disk_is_closed_ends_with_an_error(disk, loop, double, monkeypatch):
    renew, may_renew = disk._handles.renew, threading.Event()
    monkeypatch.setattr(disk._handles, "renew", lambda: (may_renew.wait(20), renew()))
    monkeypatch.setattr(gfapi_module, "CLOSE_LIMIT_SECONDS", 0.02)
    double.fail(libgfapi.READ, errno.EBADFD)
    future = loop.start(lambda done: disk.read(0, [memoryview(bytearray(4))], done))
    while disk._reopening is None:
        loop.turn()
    disk.close()
    may_renew.set()
    with pytest.raises(OSError) as caught:
        loop.wait(future, 5)
    assert caught.value.errno == errno.EBADF


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
