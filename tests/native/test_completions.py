"""The completion queue, driven by libgfapi's double: results, order, batches, faults, wakes."""

from __future__ import annotations

import errno
import select

import pytest

from tcmu_gluster.native.completions import RETRIED, CompletionQueue
from tcmu_gluster.native.symbols import Gfapi
from tcmu_gluster.testing import libgfapi_double as libgfapi
from tests.doubles import unavailable

pytestmark = pytest.mark.skipif(bool(unavailable.LIBGFAPI), reason=unavailable.LIBGFAPI or "-")


class Bench:
    """A queue, one file of the double, and what came back."""

    def __init__(self, variant: str, slots: int = 64) -> None:
        self.double = libgfapi.Double(variant)
        gfapi = Gfapi(self.double.path)
        fs = gfapi.glfs_new(b"volume")
        self.file = gfapi.glfs_creat(fs, b"/queue", 2, 0o600)
        gfapi.glfs_ftruncate(self.file, 1 << 20)
        self.queue = CompletionQueue(gfapi, slots)
        self.results: list[object] = []
        self.judged: list[tuple[int, int]] = []
        self.answer: object = None

    def judge(self, slot: int, result: int) -> object:
        self.judged.append((slot, result))
        return self.answer if self.answer is not None else OSError(-result if result < 0 else errno.EIO, "judged")

    def submit(self, call: str, *arguments: object, expected: int = 0, memory: object = None) -> tuple[int, int]:
        queue = self.queue
        slot = queue.free.pop()
        queue.memory[slot] = memory
        queue.done[slot], queue.owner[slot], queue.expected[slot] = self.results.append, self, expected
        error = getattr(queue.lib, call)(queue.handle, slot, *arguments)
        if error:
            queue.release(slot)
        return slot, error

    def write(self, data: bytes, offset: int) -> tuple[int, int]:
        memory = self.queue.ffi.from_buffer(data)
        return self.submit("tg_write", self.file, memory, len(data), offset, 0, expected=len(data), memory=memory)

    def wait(self, count: int = 1) -> None:
        poll = select.poll()
        poll.register(self.queue.fileno(), select.POLLIN)
        while len(self.results) < count:
            assert poll.poll(10_000), "nothing completed within 10 s"
            self.queue.drain()


@pytest.fixture(params=["new", "old"])
def bench(request):
    made = Bench(request.param)
    yield made
    made.double.release()
    while made.queue.in_flight():
        made.queue.drain()
    made.queue.drain()
    assert made.queue.close()


def test_bytes_go_through_one_or_many_vectors(bench):
    bench.write(b"hello world", 100)
    bench.wait()
    first, second = bytearray(6), bytearray(5)
    ffi = bench.queue.ffi
    vector = ffi.new("struct iovec[]", 2)
    keep = [ffi.from_buffer(first), ffi.from_buffer(second)]
    for entry, memory in zip(vector, keep):
        entry.iov_base, entry.iov_len = memory, len(memory)
    bench.submit("tg_readv", bench.file, vector, 2, 100, expected=11, memory=keep)
    with pytest.raises(BufferError):
        first.append(0)
    bench.wait(2)
    first.append(0)  # the memory is given back with the result
    first.pop()
    assert (bytes(first), bytes(second)) == (b"hello ", b"world")
    assert bench.results == [11, 11]


def test_results_come_in_order_and_many_wake_once(bench):
    bench.double.hold()
    slots = [bench.write(b"x" * (number + 1), 0)[0] for number in range(40)]
    assert bench.queue.in_flight() == bench.queue.in_flight(bench.file) == 40
    assert len(set(slots)) == 40
    assert bench.queue.drain() == 0
    bench.double.release()
    bench.wait(40)
    assert bench.results == list(range(1, 41))
    assert bench.queue.in_flight() == 0
    assert len(bench.queue.free) == 64
    assert not select.select([bench.queue.fileno()], [], [], 0)[0]


@pytest.mark.parametrize("number", [errno.ENOTCONN, errno.ENOSPC, errno.EIO])
def test_an_error_is_told_with_its_errno(bench, number):
    bench.double.fail(libgfapi.SYNC, number)
    bench.submit("tg_sync", bench.file)
    bench.wait()
    assert bench.judged[0][1] == -number
    assert bench.results[0].errno == number


def test_a_short_count_is_put_before_the_owner(bench):
    bench.double.shorten(libgfapi.WRITE, 3)
    bench.write(b"12345678", 0)
    bench.wait()
    assert bench.judged[0][1] == 3


def test_a_refused_submission_leaves_the_slot_free(bench):
    bench.double.refuse(libgfapi.READ, errno.EBADFD)
    memory = bench.queue.ffi.from_buffer(bytearray(8))
    assert bench.submit("tg_read", bench.file, memory, 8, 0)[1] == -errno.EBADFD
    assert bench.queue.in_flight() == 0
    assert len(bench.queue.free) == 64


def test_a_second_callback_for_one_operation_is_counted_and_ignored(bench):
    bench.double.complete_twice(libgfapi.SYNC)
    before = bench.queue.strays()
    bench.submit("tg_sync", bench.file)
    bench.wait()
    for number in range(2):
        bench.submit("tg_sync", bench.file)
        bench.wait(2 + number)
    assert bench.results == [0, 0, 0]
    assert bench.queue.strays() == before + 1


def test_a_slot_in_use_out_of_range_or_without_file_is_refused(bench):
    bench.double.hold()
    slot, _ = bench.write(b"x", 0)
    lib, handle, null = bench.queue.lib, bench.queue.handle, bench.queue.ffi.NULL
    assert lib.tg_sync(handle, slot, bench.file) == -errno.EBUSY
    assert lib.tg_sync(handle, 64, bench.file) == -errno.EINVAL
    assert lib.tg_sync(handle, -1, bench.file) == -errno.EINVAL
    assert lib.tg_sync(handle, 63, null) == -errno.EINVAL


def test_a_queue_in_use_is_not_freed(bench):
    bench.double.hold()
    bench.write(b"x", 0)
    assert not bench.queue.close()
    bench.double.release()
    bench.wait()


def test_a_done_that_raises_does_not_keep_the_others_back(bench):
    bench.double.hold()
    first, _ = bench.write(b"1", 0)
    bench.write(b"22", 0)
    bench.queue.done[first] = lambda result: 1 // 0
    bench.double.release()
    with pytest.raises(ZeroDivisionError):
        bench.wait()
    bench.wait()
    assert bench.results == [2]
    assert len(bench.queue.free) == 64


def test_a_retried_operation_keeps_its_slot(bench):
    bench.answer = RETRIED
    bench.double.fail(libgfapi.SYNC, errno.EBADFD)
    slot, _ = bench.submit("tg_sync", bench.file)
    poll = select.poll()
    poll.register(bench.queue.fileno(), select.POLLIN)
    while not bench.judged:
        assert poll.poll(10_000)
        bench.queue.drain()
    assert bench.results == []
    assert slot not in bench.queue.free
    assert bench.queue.lib.tg_sync(bench.queue.handle, slot, bench.file) == 0
    bench.wait()
    assert bench.results == [0]


def test_a_call_the_library_lacks_is_eopnotsupp():
    bench = Bench("new")
    bench.queue.lib.tg_queue_set_call(bench.queue.handle, bench.queue.lib.TG_DISCARD, bench.queue.ffi.NULL, 1)
    error = bench.submit("tg_range", bench.queue.lib.TG_DISCARD, bench.file, 0, 4096)[1]
    assert error == -errno.EOPNOTSUPP
    assert bench.queue.close()


@pytest.mark.parametrize("slots", [0, -1, 65537])
def test_a_senseless_number_of_slots_is_refused(slots):
    with pytest.raises((OSError, MemoryError)):
        CompletionQueue(Gfapi(libgfapi.build("new")), slots)
