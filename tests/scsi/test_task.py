"""Tasks on a backend that answers later: order, waiting, atomicity, aborting."""

from __future__ import annotations

import errno
import random
from typing import Any

import pytest

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.command import ABORTED, Response, Status, TaskAttribute
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.sense import Asc, SenseKey
from tests.doubles.backends import FaultyBackend, SlowBackend
from tests.doubles.host import Host, Pending, memory

ORDERED, HEAD = TaskAttribute.ORDERED, TaskAttribute.HEAD_OF_QUEUE


class Slow:
    """A unit on a backend whose operations happen one by one."""

    def __init__(self) -> None:
        self.faulty = FaultyBackend(memory())
        self.backend = SlowBackend(self.faulty)
        self.unit = LogicalUnit(self.backend)
        self.host = Host(self.unit)
        self.log: list[Any] = []

    def read(self, lba: int = 0, blocks: int = 1, **more: Any) -> Pending:
        raw = cdb.READ_10.pack(logical_block_address=lba, transfer_length=blocks)
        return self.host.send(raw, log=self.log, **more)

    def write(self, lba: int = 0, data: bytes = b"w" * 512, **more: Any) -> Pending:
        raw = cdb.WRITE_10.pack(logical_block_address=lba, transfer_length=len(data) // 512)
        return self.host.send(raw, data, log=self.log, **more)

    def swap(self, lba: int, old: bytes, new: bytes) -> Pending:
        raw = cdb.COMPARE_AND_WRITE.pack(logical_block_address=lba, number_of_logical_blocks=len(old) // 512)
        return self.host.send(raw, old + new, log=self.log)

    def idle(self) -> bool:
        tasks = self.unit.tasks
        return not (tasks.running or tasks.waiting or tasks.restless)


@pytest.fixture
def slow() -> Slow:
    return Slow()


def test_plain_commands_run_beside_each_other(slow: Slow) -> None:
    one, two = slow.write(0), slow.read(0)
    assert len(slow.backend.waiting) == 2
    slow.backend.step(1)
    assert two.ended
    assert not one.ended
    slow.backend.run()
    assert one.answer.good
    assert slow.idle()


def test_a_later_error_is_thrown_into_the_handler(slow: Slow) -> None:
    slow.faulty.fail("read", errno.EIO)
    pending = slow.swap(0, bytes(512), b"n" * 512)
    slow.backend.run()
    assert pending.answer.status == Status.CHECK_CONDITION
    assert slow.idle()


def test_compare_and_write_keeps_others_off_its_blocks(slow: Slow) -> None:
    swap = slow.swap(4, bytes(512), b"n" * 512)
    beside, same = slow.write(5), slow.write(4)
    assert [name for name, _, _ in slow.backend.waiting] == ["read", "write"]
    slow.backend.step()  # its read; its write follows
    slow.backend.step()  # the write beside it
    assert beside.ended
    assert not same.ended
    slow.backend.run()
    assert swap.answer.good
    assert same.answer.good
    assert slow.log == [2, 1, 3]
    assert slow.idle()


def test_compare_and_write_waits_for_whoever_is_on_its_blocks(slow: Slow) -> None:
    write = slow.write(4, b"x" * 512)
    swap = slow.swap(4, b"x" * 512, b"y" * 512)
    assert len(slow.backend.waiting) == 1
    slow.backend.run()
    assert write.answer.good
    assert swap.answer.good


def test_nobody_overtakes_a_waiting_command_that_it_conflicts_with(slow: Slow) -> None:
    slow.write(4)
    slow.swap(4, b"w" * 512, b"y" * 512)
    later = slow.write(4, b"z" * 512)  # beside the running write, but not before the waiting swap
    assert len(slow.backend.waiting) == 1
    slow.backend.run()
    assert later.answer.good
    assert slow.log == [1, 2, 3]


def test_exclusive_waits_for_all_and_all_wait_for_it(slow: Slow) -> None:
    slow.write(0)
    page = bytes(4) + bytes.fromhex("0812000000000000ffffffff") + bytes(8)
    select = slow.host.send(cdb.MODE_SELECT_6.pack(pf=1, parameter_list_length=24), page, log=slow.log)
    after = slow.write(9)
    assert not select.ended
    assert not after.ended
    slow.backend.step()
    assert select.answer.good
    assert len(slow.backend.waiting) == 1
    slow.backend.run()
    assert slow.log == [1, 2, 3]
    assert slow.unit.durable_writes
    assert slow.idle()


def test_free_commands_never_wait(slow: Slow) -> None:
    slow.write(0, attribute=ORDERED)
    assert slow.host.run(cdb.INQUIRY.pack(allocation_length=36)).good
    assert slow.host.run(cdb.TEST_UNIT_READY.pack()).good


def test_ordered_between_simple(slow: Slow) -> None:
    slow.write(0)
    slow.write(1)
    slow.write(2, attribute=ORDERED)
    slow.write(3)
    assert len(slow.backend.waiting) == 2
    slow.backend.step(1)
    slow.backend.step()
    assert len(slow.backend.waiting) == 1
    slow.backend.step()
    assert slow.log == [2, 1, 3]
    slow.backend.run()
    assert slow.log == [2, 1, 3, 4]
    assert slow.idle()


def test_head_of_queue_goes_before_those_who_wait(slow: Slow) -> None:
    slow.write(0)
    slow.write(1, attribute=ORDERED)
    slow.write(2, attribute=HEAD)
    assert len(slow.backend.waiting) == 2
    slow.backend.step(1)
    assert slow.log == [3]
    slow.backend.run()
    assert slow.log == [3, 1, 2]
    assert slow.idle()


def test_aca_attribute_is_refused_by_every_command(slow: Slow) -> None:
    for row in slow.unit.commands:
        answer = slow.host.send(row.layout.pack(), attribute=TaskAttribute.ACA).answer
        assert (answer.key, answer.asc) == (SenseKey.ILLEGAL_REQUEST, Asc.INVALID_FIELD_IN_CDB), row
    assert slow.idle()


def test_an_aborted_task_ends_when_the_backend_lets_go(slow: Slow) -> None:
    running = slow.write(0)
    swap = slow.swap(0, bytes(512), bytes(512))
    done: list[str] = []
    picked = slow.unit.tasks.abort(lambda command: True, lambda command: ABORTED, lambda: done.append("done"))
    assert len(picked) == 2
    assert swap.responses == [ABORTED]
    assert not running.ended
    assert done == []
    slow.backend.run()
    assert running.responses[0] is ABORTED
    assert done == ["done"]
    assert slow.idle()


def test_an_aborted_generator_goes_no_further(slow: Slow) -> None:
    swap = slow.swap(0, bytes(512), b"n" * 512)
    slow.unit.tasks.abort(lambda command: True, lambda command: ABORTED, lambda: None)
    assert slow.backend.step() == "read"
    assert not slow.backend.waiting
    assert swap.responses == [ABORTED]
    assert slow.idle()


def test_aborting_who_was_waited_for_lets_the_others_start(slow: Slow) -> None:
    slow.write(0)
    ordered = slow.write(1, attribute=ORDERED)
    after = slow.write(2)
    slow.unit.tasks.abort(lambda command: command is ordered.command, lambda command: ABORTED, lambda: None)
    assert len(slow.backend.waiting) == 2
    slow.backend.run()
    assert after.answer.good
    assert slow.idle()


def test_aborting_twice_tells_both_when_it_is_so(slow: Slow) -> None:
    slow.write(0)
    done: list[int] = []
    slow.unit.tasks.abort(lambda command: True, lambda command: ABORTED, lambda: done.append(1))
    slow.unit.tasks.abort(lambda command: True, lambda command: ABORTED, lambda: done.append(2))
    assert done == []
    slow.backend.run()
    assert done == [1, 2]


def test_what_replaces_an_aborted_write_waits_until_the_backend_lets_go_of_it(slow: Slow) -> None:
    old = slow.write(0, b"o" * 512)
    slow.unit.tasks.abort(lambda command: True, lambda command: ABORTED, lambda: None)  # its session is lost
    new, elsewhere = slow.write(0, b"n" * 512), slow.write(8, b"e" * 512)
    assert len(slow.backend.waiting) == 2, "the new session's write may not be under way beside the old one's"
    slow.backend.step(1)
    assert elsewhere.ended, "other blocks are free"
    assert not new.ended
    slow.backend.run()
    assert old.ended
    assert new.answer.good
    after = slow.read(0)
    slow.backend.run()
    assert after.answer.data == b"n" * 512
    assert slow.idle()


def test_an_abandoned_command_keeps_its_blocks_until_the_backend_lets_go(slow: Slow) -> None:
    gone, beside = slow.write(4), slow.write(5)
    tasks = slow.unit.tasks
    late = Response(Status.BUSY)
    tasks.abandon(gone.command, late)
    same, elsewhere = slow.write(4, b"z" * 512), slow.write(6)
    assert tasks.is_waiting(same.command)
    assert not tasks.is_waiting(elsewhere.command)
    assert len(slow.backend.waiting) == 3
    slow.backend.step(0)
    assert gone.responses == [late]
    slow.backend.run()
    assert same.answer.good
    assert beside.answer.good
    assert slow.idle()
    with pytest.raises(KeyError):
        tasks.abandon(gone.command, late)


def test_an_abandoned_swap_does_not_write(slow: Slow) -> None:
    swap = slow.swap(4, bytes(512), b"n" * 512)
    slow.unit.tasks.abandon(swap.command, Response(Status.BUSY))
    assert slow.backend.step() == "read"
    assert not slow.backend.waiting
    assert slow.idle()


class Counter:
    """Reads a number in a block and swaps it for the next one, over and over; counts its successes."""

    def __init__(self, slow: Slow, lba: int) -> None:
        self.slow, self.lba, self.successes = slow, lba, 0
        self.pending = slow.read(lba)
        self.value: bytes | None = None

    def go_on(self) -> None:
        """Begin the next step if the last one has ended."""
        if not self.pending.ended:
            return
        if self.value is None:
            self.value = self.pending.answer.data
            new = (int.from_bytes(self.value, "big") + 1).to_bytes(512, "big")
            self.pending = self.slow.swap(self.lba, self.value, new)
        else:
            self.successes += self.pending.answer.good
            self.value = None
            self.pending = self.slow.read(self.lba)


@pytest.mark.parametrize("seed", range(20))
def test_swaps_under_random_traffic_are_atomic(seed: int) -> None:
    """Whatever order the storage answers in: a block counts exactly the swaps that were said to have succeeded."""
    dice, slow = random.Random(seed), Slow()
    counters = [Counter(slow, lba) for lba in (0, 1) for _ in range(3)]
    attributes = [TaskAttribute.SIMPLE, TaskAttribute.SIMPLE, ORDERED, HEAD]
    for _ in range(300):
        if slow.backend.waiting and dice.random() < 0.7:
            slow.backend.step(dice.randrange(len(slow.backend.waiting)))
        elif dice.random() < 0.2:
            slow.write(2, bytes([dice.randrange(256)]) * 1024, attribute=dice.choice(attributes))
        else:
            dice.choice(counters).go_on()
    while slow.backend.waiting:
        slow.backend.step(dice.randrange(len(slow.backend.waiting)))
    assert slow.idle()
    last = Host(LogicalUnit(slow.faulty.inner))
    for lba in (0, 1):
        for counter in counters:
            if counter.lba == lba and counter.value is not None:
                counter.go_on()
        slow.backend.run()
        data = last.run(cdb.READ_10.pack(logical_block_address=lba, transfer_length=1)).data
        assert int.from_bytes(data, "big") == sum(counter.successes for counter in counters if counter.lba == lba)
    assert sum(counter.successes for counter in counters) > 10


class Tenancy:
    """A lease whose clock a test moves."""

    def __init__(self) -> None:
        self.now, self.valid_until = 0.0, 20.0

    def clock(self) -> float:
        return self.now

    def describe(self) -> dict[str, Any]:
        return {}

    def give_back(self) -> None:
        pass


def leased() -> tuple[Slow, Tenancy]:
    slow, lease = Slow(), Tenancy()
    slow.unit.lease = lease
    return slow, lease


def test_while_the_lease_has_lapsed_no_command_starts() -> None:
    slow, lease = leased()
    lease.now = 20.1
    for pending in (slow.write(), slow.read(), slow.swap(0, bytes(512), b"n" * 512)):
        assert pending.answer.status == Status.BUSY
    assert not slow.backend.waiting and slow.idle()
    lease.valid_until = 40.0
    assert not slow.write().ended
    slow.backend.run()


def test_what_storage_answers_after_the_lease_lapsed_is_not_told_as_done() -> None:
    slow, lease = leased()
    write, read = slow.write(0), slow.read(1)
    lease.now = 20.1
    slow.backend.run()
    assert write.answer.status == read.answer.status == Status.BUSY
    assert slow.idle()


def test_a_swap_whose_lease_lapses_between_its_read_and_its_write_does_not_write() -> None:
    slow, lease = leased()
    swap = slow.swap(0, bytes(512), b"n" * 512)
    lease.now = 20.1
    slow.backend.step()
    assert swap.answer.status == Status.BUSY
    assert not slow.backend.waiting and slow.idle()


def test_a_command_that_waited_for_another_does_not_start_after_the_lease_lapsed() -> None:
    slow, lease = leased()
    swap, write = slow.swap(0, bytes(512), b"n" * 512), slow.write(0)
    lease.now = 20.1
    slow.backend.run()
    assert swap.answer.status == write.answer.status == Status.BUSY
    assert slow.idle()
