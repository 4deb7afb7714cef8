"""Renewals at the right times; one that fails is tried again soon and stops no other."""

from __future__ import annotations

from tcmu_gluster.backends.dead_man import DeadMan
from tcmu_gluster.backends.lease import Terms
from tcmu_gluster.backends.lease_keeper import RETRY_SECONDS, Keeper, Watch
from tests.backends.test_lease import Host
from tests.doubles.leases import Clock, Shared


def test_each_lease_is_renewed_four_times_in_its_time() -> None:
    clock = Clock()
    lease = Host(Shared(), clock).take()
    keeper = Keeper("group")
    keeper.add(lease, 100.0)
    assert keeper.turn(104.9) > 0 and lease.record.generation == 1
    clock.now += 5
    assert keeper.turn(105.0) == 5.0
    assert lease.record.generation == 2 and lease.valid_until == clock.now + 20


def test_a_renewal_that_fails_is_tried_again_soon_and_the_others_go_on(caplog) -> None:
    clock = Clock()
    first, second = Host(Shared(), clock), Host(Shared(), clock)
    broken, sound = first.take(), second.take()

    def fail(step: str) -> None:
        raise OSError(107, "not connected")

    first.store.before = fail
    keeper = Keeper("group")
    keeper.add(broken, 0.0)
    keeper.add(sound, 0.0)
    assert keeper.turn(5.0) == RETRY_SECONDS
    assert keeper.turn(5.0 + RETRY_SECONDS) == RETRY_SECONDS
    assert sound.record.generation == 2
    assert caplog.text.count("can't be renewed") == 1


def test_a_lease_that_is_lost_or_removed_is_not_renewed_any_more() -> None:
    clock = Clock()
    host = Host(Shared(), clock)
    lost, removed = host.take(), Host(Shared(), clock).take()
    lost.on_lost = lambda why: None
    host.store.remove()
    keeper = Keeper("group")
    keeper.add(lost, 0.0)
    keeper.add(removed, 0.0)
    keeper.remove(removed)
    keeper.remove(removed)
    keeper.turn(5.0)
    assert lost.lost and removed.record.generation == 1
    assert keeper.turn(6.0) == 60.0


class Winding(DeadMan):
    """Keeps what it was wound to."""

    def __init__(self) -> None:
        super().__init__()
        self.wound: list[float | None] = []

    def wind(self, seconds: float | None) -> bool:
        self.wound.append(seconds)
        return True


def test_the_timer_is_wound_to_the_shortest_lease_and_unwound_without_any() -> None:
    dead_man, clock = Winding(), Clock()
    watch = Watch(dead_man)
    long, short = Host(Shared(), clock).take(), Host(Shared(), clock).take(terms=Terms(2.0, 1.0))
    assert watch.turn() is None
    watch.add(long)
    assert watch.turn() == 1.0
    watch.add(short)
    assert watch.turn() == 0.5
    watch.remove(short)
    watch.remove(short)
    watch.turn()
    watch.remove(long)
    assert watch.turn() is None
    assert dead_man.wound == [None, 20.0, 2.0, 20.0, None]
