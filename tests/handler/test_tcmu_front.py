"""The ring's shell against the fake kernel: the six steps, task management, and commands that take too long."""

from __future__ import annotations

import errno
import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from handler.tcmu_front import ROUNDS, TcmuFront
from tcmu_gluster.backends.base import Backend, Done
from tcmu_gluster.backends.gfapi import GfapiBackend
from tcmu_gluster.config.uri import parse_backing
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.testing import libgfapi_double as libgfapi
from tests.doubles import unavailable
from tests.doubles.backend_loop import BackendLoop
from tests.doubles.backends import SlowBackend
from tests.doubles.fake_kernel import FakeKernel, Issue
from tests.doubles.host import memory

BLOCK = 512
LIMIT = 15.0
_numbers = itertools.count()


class FakeLoop:
    """A loop whose clock the test moves and whose turns the test takes."""

    def __init__(self) -> None:
        self.now = 100.0
        self.soon: list[Callable[[], object]] = []
        self.readers: dict[int, Callable[[], object]] = {}

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[..., object], *args: Any) -> object:
        self.soon.append(lambda: callback(*args))
        return None

    def add_reader(self, fd: int, callback: Callable[..., object], *args: Any) -> None:
        self.readers[fd] = callback

    def remove_reader(self, fd: int) -> bool:
        return self.readers.pop(fd, None) is not None

    def turn(self) -> None:
        soon, self.soon = self.soon, []
        for callback in soon:
            callback()


class FakeMapping:
    """An opened device whose other side is the fake kernel."""

    def __init__(self, kernel: FakeKernel) -> None:
        self.kernel, self.fd, self.memory = kernel, 42, memoryview(kernel.memory)
        self.knocks = 0
        self.gone = False

    def read_event(self) -> int | None:
        if self.gone:
            raise OSError(errno.EIO, "Input/output error")
        return None

    def knock(self) -> None:
        if self.gone:
            raise OSError(errno.EINVAL, "Invalid argument")
        self.knocks += 1
        self.kernel.notify()

    def close(self) -> None:
        self.fd = -1


class Desk:
    """A front with everything around it."""

    def __init__(self, backend: Backend | None = None, **options: Any) -> None:
        self.kernel = FakeKernel(ring_bytes=4088, blocks=64, block_bytes=BLOCK)
        self.backend = memory(64 << 10) if backend is None else backend
        self.unit = LogicalUnit(self.backend)
        self.loop, self.mapping = FakeLoop(), FakeMapping(self.kernel)
        self.ends: list[str] = []
        self.front = TcmuFront(
            "vm1", self.mapping, self.unit, self.loop, limit_seconds=LIMIT, on_end=self.ends.append, **options
        )

    def start(self) -> Desk:
        self.front.start()
        return self

    def wake(self) -> None:
        self.loop.readers[42]()


def read16(lba: int, blocks: int) -> bytes:
    return bytes([0x88, 0]) + lba.to_bytes(8, "big") + blocks.to_bytes(4, "big") + bytes(2)


def write16(lba: int, blocks: int) -> bytes:
    return bytes([0x8A, 0]) + lba.to_bytes(8, "big") + blocks.to_bytes(4, "big") + bytes(2)


SYNCHRONIZE_CACHE = bytes([0x35]) + bytes(9)
TEST_UNIT_READY = bytes(6)


def answer(issue: Issue) -> int | None:
    return None if issue.answer is None else issue.answer.status


def test_a_write_is_read_back_with_one_knock_a_wake() -> None:
    desk = Desk().start()
    data = bytes(range(256)) * 4
    write, ready = desk.kernel.submit(write16(3, 2), data_out=data), desk.kernel.submit(TEST_UNIT_READY)
    desk.wake()
    assert (answer(write), answer(ready), desk.mapping.knocks) == (0, 0, 1)
    read = desk.kernel.submit(read16(3, 2), data_in_bytes=len(data))
    desk.wake()
    assert read.answer is not None and read.answer.data_in == data


def test_what_was_queued_before_the_start_is_served_without_an_event() -> None:
    desk = Desk()
    ready = desk.kernel.submit(TEST_UNIT_READY)
    desk.start()
    assert answer(ready) == 0


def test_a_predecessors_commands_are_answered_busy_where_nothing_could_reset_them() -> None:
    desk = Desk(in_order=True)
    old = [desk.kernel.submit(write16(0, 1), data_out=bytes(BLOCK)) for _ in range(3)]
    desk.front.start(answer_busy=True)
    new = desk.kernel.submit(TEST_UNIT_READY)
    desk.wake()
    assert [answer(issue) for issue in old] == [8, 8, 8] and answer(new) == 0


def test_answers_that_come_later_are_sent_together() -> None:
    slow = SlowBackend(memory(64 << 10))
    desk = Desk(slow).start()
    reads = [desk.kernel.submit(read16(lba, 1), data_in_bytes=BLOCK) for lba in range(3)]
    desk.wake()
    assert desk.mapping.knocks == 0 and desk.front.outstanding == 3
    slow.step(2)
    slow.step(0)
    assert desk.mapping.knocks == 0
    desk.loop.turn()
    assert desk.mapping.knocks == 1
    assert [answer(read) for read in reads] == [0, None, 0]


def test_a_busy_ring_lets_the_loop_look_at_others() -> None:
    desk = Desk().start()
    rounds = 0

    def more() -> None:
        nonlocal rounds
        rounds += 1
        if rounds < 3 * ROUNDS:
            desk.kernel.submit(TEST_UNIT_READY)

    knock = desk.mapping.knock
    desk.mapping.knock = lambda: (knock(), more())
    desk.kernel.submit(TEST_UNIT_READY)
    desk.wake()
    assert rounds == ROUNDS
    while desk.loop.soon:
        desk.loop.turn()
    assert rounds == 3 * ROUNDS and desk.front.ring.fetched == 3 * ROUNDS


def test_the_serial_is_looked_at_once_before_the_first_command() -> None:
    looks: list[int] = []
    desk = Desk(before_first=lambda: looks.append(desk.front.ring.fetched)).start()
    assert looks == []
    for _ in range(2):
        desk.kernel.submit(TEST_UNIT_READY)
        desk.wake()
    assert looks == [0]


# -- the command limit ------------------------------------------------------------------------------------------------


class CopyingBackend(SlowBackend):
    """Has a copy of what it writes."""

    def give_back(self, done: Done) -> bool:
        return True


def test_a_late_write_is_answered_busy_and_its_range_stays_closed() -> None:
    slow = CopyingBackend(memory(64 << 10))
    desk = Desk(slow).start()
    old = desk.kernel.submit(write16(0, 1), data_out=b"o" * BLOCK)
    desk.wake()
    desk.front.check_limit(desk.loop.now + LIMIT - 0.1)
    assert answer(old) is None
    desk.front.check_limit(desk.loop.now + LIMIT)
    assert answer(old) == 8 and desk.front.outstanding == 1
    retry = desk.kernel.submit(write16(0, 1), data_out=b"n" * BLOCK)
    desk.wake()
    assert len(slow.waiting) == 1, "the retry waits for the abandoned write, or the old data could come last"
    slow.step()
    assert len(slow.waiting) == 1 and slow.waiting[0][0] == "write"
    slow.run()
    desk.loop.turn()
    assert answer(retry) == 0 and desk.front.outstanding == 0
    check = bytearray(BLOCK)
    slow.inner.read(0, [memoryview(check)], lambda _: None)
    assert bytes(check) == b"n" * BLOCK
    assert desk.front.ring.dropped == 0, "the late end of the old write never reached the ring"


def test_a_late_write_whose_memory_the_backend_still_reads_is_not_answered_early() -> None:
    slow = SlowBackend(memory(64 << 10))
    desk = Desk(slow).start()
    write = desk.kernel.submit(write16(0, 1), data_out=b"o" * BLOCK)
    desk.wake()
    desk.front.check_limit(desk.loop.now + LIMIT)
    assert answer(write) is None
    retry = desk.kernel.submit(write16(0, 1), data_out=b"n" * BLOCK)
    desk.wake()
    assert len(slow.waiting) == 1, "its range is closed"
    slow.run()
    desk.loop.turn()
    assert (answer(write), answer(retry)) == (8, 0)


def test_a_late_read_is_answered_only_by_its_callback() -> None:
    slow = CopyingBackend(memory(64 << 10))
    desk = Desk(slow).start()
    read = desk.kernel.submit(read16(0, 1), data_in_bytes=BLOCK)
    desk.wake()
    for late in (LIMIT, 2 * LIMIT):
        desk.front.check_limit(desk.loop.now + late)
        assert answer(read) is None and desk.front.ring.inflight == 1
    slow.run()
    desk.loop.turn()
    assert answer(read) == 0


class Gluster:
    """A disk on libgfapi's double, which answers nothing until release()."""

    def __init__(self, port: int) -> None:
        self.double, self.loop = libgfapi.Double(), BackendLoop()
        backing = parse_backing(f"gluster://127.0.0.1:{port}/late/disk{next(_numbers)}")
        self.backend = GfapiBackend(backing, self.loop.loop, create_size_bytes=64 << 10, library=self.double.path)
        self.double.hold()

    def close(self) -> None:
        self.double.release()
        self.backend.close()
        self.loop.close()


@pytest.fixture
def gluster() -> Iterator[Gluster]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        disk = Gluster(listener.getsockname()[1])
        yield disk
        disk.close()


@pytest.mark.skipif(bool(unavailable.LIBGFAPI), reason=unavailable.LIBGFAPI or "-")
@pytest.mark.parametrize("aborted", [False, True])
@pytest.mark.parametrize("fault", [0, errno.EBADFD])
def test_a_late_write_to_gluster_leaves_the_rings_memory_to_others(gluster: Gluster, fault: int, aborted: bool) -> None:
    """Its late callback brings what was written then; one that would be tried again is not: the memory is another's."""
    double, desk = gluster.double, Desk(gluster.backend).start()
    if fault:
        double.fail(libgfapi.WRITE, fault)
    old = desk.kernel.submit(write16(0, 1), data_out=b"o" * BLOCK)
    desk.wake()
    if aborted:
        assert desk.kernel.task_management(1, [old.id])
        desk.wake()
        assert answer(old) is None
    place = old.iovecs
    desk.front.check_limit(desk.loop.now + LIMIT)
    assert answer(old) == 8
    other = desk.kernel.submit(write16(8, 1), data_out=b"a" * BLOCK)
    assert other.iovecs == place, "the ring's memory is used again"
    reads = [desk.kernel.submit(read16(lba, 1), data_in_bytes=BLOCK) for lba in (0, 8)]
    desk.wake()
    assert desk.unit.tasks.waiting[0].command.cdb == read16(0, 1), "the old write's range is closed"
    opened, writes = double.opened, double.calls(libgfapi.WRITE)
    double.release()
    while answer(reads[0]) is None or answer(other) is None:
        gluster.loop.turn()
        desk.loop.turn()
    assert reads[0].answer is not None
    assert reads[0].answer.data_in == (bytes(BLOCK) if fault else b"o" * BLOCK)
    assert (answer(other), answer(reads[1])) == (0, 0)
    assert (double.opened, double.calls(libgfapi.WRITE)) == (opened, writes), "nothing was tried again"
    assert desk.front.outstanding == desk.front.ring.dropped == 0
    assert gluster.loop.read(gluster.backend, 8 * BLOCK, BLOCK) == b"a" * BLOCK


@pytest.mark.skipif(bool(unavailable.LIBGFAPI), reason=unavailable.LIBGFAPI or "-")
def test_a_late_write_that_waits_for_another_handle_keeps_the_rings_memory(
    gluster: Gluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It will be read once more, so it is answered when that is over."""
    double, desk, may_renew = gluster.double, Desk(gluster.backend).start(), threading.Event()
    handles = gluster.backend._handles
    renew = handles.renew
    monkeypatch.setattr(handles, "renew", lambda: (may_renew.wait(20), renew()))
    double.fail(libgfapi.WRITE, errno.EBADFD)
    write = desk.kernel.submit(write16(0, 1), data_out=b"o" * BLOCK)
    desk.wake()
    double.release()
    while gluster.backend._reopening is None:
        gluster.loop.turn()
    desk.front.check_limit(desk.loop.now + LIMIT)
    assert answer(write) is None
    may_renew.set()
    while answer(write) is None:
        gluster.loop.turn()
        desk.loop.turn()
    assert answer(write) == 8
    assert gluster.loop.read(gluster.backend, 0, BLOCK) == b"o" * BLOCK


def test_a_late_flush_is_answered_busy() -> None:
    slow = SlowBackend(memory(64 << 10))
    desk = Desk(slow).start()
    flush = desk.kernel.submit(SYNCHRONIZE_CACHE)
    desk.wake()
    desk.front.check_limit(desk.loop.now + LIMIT)
    assert answer(flush) == 8 and desk.front.outstanding == 1
    slow.run()
    assert desk.front.outstanding == 0


def test_a_command_that_waits_for_a_late_one_ends_too() -> None:
    slow = SlowBackend(memory(64 << 10))
    desk = Desk(slow).start()
    write_and_verify = b"\x8e" + write16(0, 1)[1:]
    first = desk.kernel.submit(write_and_verify, data_out=bytes(BLOCK))
    second = desk.kernel.submit(read16(0, 1), data_in_bytes=BLOCK)
    desk.wake()
    assert [name for name, _, _ in slow.waiting] == ["write"]
    desk.front.check_limit(desk.loop.now + LIMIT)
    desk.loop.turn()
    assert answer(first) is None and answer(second) not in (None, 0)


def test_only_late_commands_are_given_up() -> None:
    slow = CopyingBackend(memory(64 << 10))
    desk = Desk(slow).start()
    old = desk.kernel.submit(write16(0, 1), data_out=bytes(BLOCK))
    desk.wake()
    desk.loop.now += LIMIT / 2
    young = desk.kernel.submit(write16(1, 1), data_out=bytes(BLOCK))
    desk.wake()
    desk.front.check_limit(desk.loop.now + LIMIT / 2)
    assert (answer(old), answer(young)) == (8, None)


# -- task management --------------------------------------------------------------------------------------------------


def test_an_aborted_command_ends_when_storage_lets_go() -> None:
    slow = SlowBackend(memory(64 << 10))
    desk = Desk(slow).start()
    read = desk.kernel.submit(read16(0, 1), data_in_bytes=BLOCK)
    desk.wake()
    assert desk.kernel.task_management(1, [read.id, 999])
    desk.wake()
    assert answer(read) is None
    slow.run()
    desk.loop.turn()
    assert answer(read) not in (None, 0)
    assert desk.front.ring.drained


def test_a_reset_puts_mode_parameters_back() -> None:
    desk = Desk().start()
    desk.unit.set_write_cache(False)  # LIO's own switch outlasts a reset
    default = desk.unit.modes.value(0x0A, "swp")
    assert desk.kernel.task_management(5, [])
    desk.wake()
    assert desk.unit.modes.value(0x08, "wce") == 0 and desk.unit.modes.value(0x0A, "swp") == default


# -- its end ----------------------------------------------------------------------------------------------------------


def test_a_corrupt_ring_ends_the_front_once_and_posts_nothing_more() -> None:
    slow = SlowBackend(memory(64 << 10))
    desk = Desk(slow).start()
    read = desk.kernel.submit(read16(0, 1), data_in_bytes=BLOCK)
    desk.wake()
    desk.kernel.memory[12:16] = (0xFFFFFFF8).to_bytes(4, "little")
    desk.wake()
    assert len(desk.ends) == 1 and "trusted" in desk.ends[0] and not desk.loop.readers
    slow.run()
    desk.loop.turn()
    assert answer(read) is None and desk.front.outstanding == 0
    desk.front.close()


@pytest.mark.parametrize("how", ["read", "knock"])
def test_a_device_that_vanishes_ends_the_front(how: str) -> None:
    slow = SlowBackend(memory(64 << 10))
    desk = Desk(slow).start()
    desk.kernel.submit(read16(0, 1), data_in_bytes=BLOCK)
    desk.wake()
    desk.mapping.gone = True
    if how == "read":
        desk.wake()
    slow.run()
    desk.loop.turn()
    assert len(desk.ends) == 1 and "gone" in desk.ends[0]


async def drained(desk: Desk, seconds: float) -> bool:
    return await desk.front.drain(seconds)


def test_a_drain_answers_what_was_taken_and_takes_nothing_more() -> None:
    import asyncio

    async def scenario() -> None:
        slow = SlowBackend(memory(64 << 10))
        desk = Desk(slow).start()
        taken = desk.kernel.submit(read16(0, 1), data_in_bytes=BLOCK)
        desk.wake()
        draining = asyncio.ensure_future(desk.front.drain(10))
        await asyncio.sleep(0)
        left = desk.kernel.submit(TEST_UNIT_READY)
        desk.front.pump()
        slow.run()
        assert await draining is True
        assert answer(taken) == 0 and answer(left) is None
        desk.front.close()
        assert desk.mapping.fd == -1

    asyncio.run(scenario())


def test_a_drain_gives_up_in_time_and_nothing_is_unmapped_under_a_callback() -> None:
    import asyncio

    from tcmu_gluster.errors import RingError

    async def scenario() -> None:
        slow = SlowBackend(memory(64 << 10))
        desk = Desk(slow).start()
        desk.kernel.submit(read16(0, 1), data_in_bytes=BLOCK)
        desk.wake()
        assert await desk.front.drain(0.01) is False
        with pytest.raises(RingError):
            desk.front.close()
        slow.run()
        assert await desk.front.drain(0.01) is True

    asyncio.run(scenario())
