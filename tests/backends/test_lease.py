"""Leases: who may write, when another may, and that two never may. Time is handed in; hosts are views of one store."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.backends.lease import RECORD_BYTES, Lease, LeaseHeld, Record, Terms, acquire
from tcmu_gluster.backends.this_process import ProcessName
from tests.doubles.leases import Clock, MemoryLeases, Shared

TERMS = Terms(lease_seconds=20.0, grace_seconds=17.0)
WAIT = (20.0 + 17.0) * 1.01


def nobody_is_dead(name: ProcessName) -> bool:
    return False


class Host:
    """A gateway: its own clock (which may have any value) and its own memory of what it saw."""

    def __init__(self, shared: Shared, clock: Clock) -> None:
        self.store, self.clock = MemoryLeases(shared), clock
        self.lease: Optional[Lease] = None

    def take(self, dead=nobody_is_dead, terms: Terms = TERMS) -> Lease:
        self.lease = acquire("disk", self.store, terms, clock=self.clock, dead=dead, make=Lease)
        return self.lease

    def refused(self, dead=nobody_is_dead) -> LeaseHeld:
        with pytest.raises(LeaseHeld) as caught:
            self.take(dead)
        return caught.value


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hosts(clock: Clock) -> tuple[Host, Host]:
    shared = Shared()
    return Host(shared, clock), Host(shared, clock)


def test_the_first_has_it_and_the_second_hears_who_and_until_when(hosts, clock) -> None:
    first, second = hosts
    lease = first.take()
    assert not lease.lapsed()
    held = second.refused()
    assert f"host {lease.record.holder.host} (process {lease.record.holder.pid})" in str(held)
    assert f"until {held.until}" in str(held) and "read-only" in str(held) and "\n" not in str(held)
    assert held.seconds == pytest.approx(WAIT)


def test_it_lapses_after_its_time_and_not_before(hosts, clock) -> None:
    lease = hosts[0].take()
    clock.now += 20.0
    assert not lease.lapsed()
    clock.now += 0.001
    assert lease.lapsed()


def test_its_time_counts_from_the_beginning_of_the_renewal(hosts, clock) -> None:
    """A renewal may take long; others may have seen it right at its start."""
    lease = hosts[0].take()
    clock.now += 5.0
    hosts[0].store.before = lambda step: setattr(clock, "now", clock.now + 3.0) if step == "write" else None
    began = clock.now
    lease.renew()
    assert lease.valid_until == began + 20.0


def test_a_dead_holders_disk_is_free_after_the_whole_wait_and_not_before(hosts, clock) -> None:
    first, second = hosts
    first.take()
    clock.now += 1000.0  # how old it is doesn't count: only what the second has seen itself
    second.refused()
    clock.now += WAIT - 0.01
    assert second.refused().seconds == pytest.approx(0.01)
    clock.now += 0.01
    lease = second.take()
    assert not lease.lapsed()
    assert list(first.store.shared.files) == [""]


def test_a_renewal_starts_the_wait_again(hosts, clock) -> None:
    first, second = hosts
    lease = first.take()
    second.refused()
    clock.now += 15.0
    lease.renew()
    clock.now += WAIT - 15.0
    assert second.refused().seconds == pytest.approx(WAIT)


def test_when_another_may_have_it_the_holders_time_was_up_for_longer_than_the_grace(hosts, clock) -> None:
    """What the holder had given to the storage by then is through: grace exceeds the command limit."""
    first, second = hosts
    lease = first.take()
    second.refused()  # the earliest moment at which this generation can be seen
    clock.now += WAIT
    second.take()
    assert clock.now - lease.valid_until >= TERMS.grace_seconds


def test_a_holder_that_slept_finds_itself_followed_and_says_so_once(hosts, clock) -> None:
    first, second = hosts
    lease = first.take()
    said: list[str] = []
    lease.on_lost = said.append
    second.refused()
    clock.now += WAIT
    new = second.take()
    assert lease.lapsed()
    for _ in range(2):
        lease.renew()
    assert lease.lapsed() and lease.valid_until == float("-inf") and len(said) == 1
    assert "was taken by host" in said[0]
    new.renew()  # the late renewal went into a file that has no name any more
    assert not new.lapsed() and not new.lost


def test_a_holder_that_slept_unnoticed_goes_on(hosts, clock) -> None:
    lease = hosts[0].take()
    clock.now += 1000.0
    assert lease.lapsed()
    lease.renew()
    assert not lease.lapsed() and not lease.lost


def test_a_lease_that_is_given_back_is_free_at_once(hosts) -> None:
    first, second = hosts
    lease = first.take()
    lease.release()
    assert lease.lapsed()
    lease.release()
    assert not second.take().lapsed()


def test_a_surely_dead_process_need_not_be_waited_for(hosts) -> None:
    first, second = hosts
    dead = first.take().record.holder
    assert not second.take(dead=lambda name: name == dead).lapsed()


def test_a_lease_that_was_deleted_is_lost(hosts) -> None:
    lease = hosts[0].take()
    hosts[0].store.remove()
    lease.renew()
    assert lease.lapsed() and "gone" in lease.lost


def test_a_renewal_that_fails_leaves_the_time_that_is_left(hosts, clock) -> None:
    lease = hosts[0].take()
    until = lease.valid_until

    def fail(step: str) -> None:
        raise OSError(107, "not connected")

    hosts[0].store.before = fail
    clock.now += 5
    with pytest.raises(OSError):
        lease.renew()
    assert lease.valid_until == until and not lease.lost
    hosts[0].store.before = lambda step: None
    lease.renew()
    assert lease.valid_until == clock.now + 20.0


def test_a_broken_handle_is_opened_again(hosts, clock) -> None:
    first, second = hosts
    lease = first.take()
    first.store.broken_handles = True
    clock.now += 5
    lease.renew()
    assert lease.valid_until == clock.now + 20.0
    held = second.refused()
    assert held.seconds == pytest.approx(WAIT)


def test_what_cannot_be_read_as_a_lease_is_waited_for_too(hosts, clock) -> None:
    first, second = hosts
    first.store.create(b"")  # born, and its author died before it said anything
    assert second.refused().holder == "another gateway"
    clock.now += 61
    assert not second.take().lapsed()


def test_two_who_wait_for_one_dead_holder_do_not_both_get_it(hosts, clock) -> None:
    first, second = hosts
    third = Host(first.store.shared, clock)
    first.take()
    second.refused(), third.refused()
    clock.now += WAIT
    # In the middle of the second's taking, after each of its steps in turn, the third tries as well.
    third_got: list[Lease] = []

    def interfere(step: str) -> None:
        with contextlib.suppress(LeaseHeld):
            third_got.append(third.take())

    second.store.before = interfere
    try:
        second_got = [second.take()]
    except LeaseHeld:
        second_got = []
    second.store.before = lambda step: None
    for lease in second_got + third_got:
        lease.renew()
    assert len([lease for lease in second_got + third_got if not lease.lapsed()]) == 1


def test_a_claimant_that_finds_the_holder_alive_takes_its_claim_back(hosts, clock) -> None:
    first, second = hosts
    lease = first.take()
    second.refused()
    clock.now += WAIT
    second.store.before = lambda step: lease.renew() if step == "claim" else None
    second.refused()
    second.store.before = lambda step: None
    assert list(first.store.shared.files) == [""]
    lease.renew()
    assert not lease.lost and not lease.lapsed()


def test_a_holder_that_wakes_after_the_claim_gives_way(hosts, clock) -> None:
    first, second = hosts
    lease = first.take()
    second.refused()
    clock.now += WAIT
    second.store.before = lambda step: lease.renew() if step == "replace" else None
    new = second.take()
    assert lease.lost and lease.lapsed() and not new.lapsed()
    new.renew()
    assert not new.lost


def test_who_dies_with_a_claim_in_the_hand_is_followed_and_stays_out_when_it_was_only_asleep(hosts, clock) -> None:
    first, second = hosts
    third = Host(first.store.shared, clock)
    first.take()
    second.refused(), third.refused()
    clock.now += WAIT

    winner: list[Lease] = []

    def sleep_long(step: str) -> None:
        if step == "replace":  # the claim is made, the lease not replaced yet
            third.refused()
            clock.now += WAIT
            winner.append(third.take())

    second.store.before = sleep_long
    second.refused()  # its time was up before it had the lease
    second.store.before = lambda step: None
    # It put its own lease over the winner's: both find out before anybody else may have the disk.
    winner[0].renew()
    assert winner[0].lost and winner[0].lapsed()
    third.refused()
    clock.now += WAIT
    assert not third.take().lapsed()


holder = ProcessName("gateway1", "8b4f", "pid:[4026531836]", 4711, 123456)
record = Record("0123456789abcdef" * 2, 7, holder, 20.0, 17.0, "2026-11-26T12:00:00+0000")


def test_a_record_has_always_the_same_length_and_comes_back_as_it_was() -> None:
    assert len(record.encode()) == RECORD_BYTES == len(replace(record, generation=10**12, released=True).encode())
    assert Record.decode(record.encode()) == record


@pytest.mark.parametrize(
    "change",
    [
        {"term": "../../etc/passwd"},
        {"term": 5},
        {"generation": -1},
        {"generation": "1"},
        {"lease_seconds": 0},
        {"lease_seconds": 1e9},
        {"grace_seconds": "x"},
        {"holder": replace(holder, pid="../1")},
        {"holder": replace(holder, host=["x"])},
    ],
)
def test_a_record_with_implausible_contents_is_none(change) -> None:
    assert Record.decode(replace(record, **change).encode()) is None


@given(st.binary(max_size=2000))
def test_anything_can_stand_in_a_lease_file(data: bytes) -> None:
    assert Record.decode(data) is None
    assert Record.decode(record.encode()[: len(data) % RECORD_BYTES]) is None


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["take", "renew", "sleep"]), st.floats(0, 60)), max_size=40)
)
def test_two_hosts_never_have_it_at_once(steps) -> None:
    """Whatever three hosts do, in whatever order and with whatever pauses."""
    shared, clock = Shared(), Clock()
    hosts = [Host(shared, clock) for _ in range(3)]
    for number, what, seconds in steps:
        host = hosts[number]
        if what == "take" and (host.lease is None or host.lease.lost):
            with contextlib.suppress(LeaseHeld):
                host.take()
        elif what == "renew" and host.lease is not None:
            host.lease.renew()
        clock.now += seconds if what == "sleep" else 0.01
        assert sum(one.lease is not None and not one.lease.lapsed() for one in hosts) <= 1
