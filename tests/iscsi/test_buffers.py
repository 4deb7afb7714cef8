"""The buffer pool."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.iscsi.buffers import BufferPool, Share, Shares

KIB = 1024


class Waiting:
    """Somebody who keeps what he gets."""

    def __init__(self) -> None:
        self.got: list[memoryview] = []

    def memory_ready(self, view: memoryview) -> None:
        self.got.append(view)


def test_views_have_the_length_asked_for_and_are_writable() -> None:
    view = BufferPool().take(300_000)
    assert view is not None and len(view) == 300_000
    view[299_999] = 7


def test_whole_size_classes_are_counted() -> None:
    pool = BufferPool()
    view = pool.take(17 * KIB)
    assert view is not None and pool.handed_out_bytes == 32 * KIB
    pool.give(view)
    assert (pool.handed_out_bytes, pool.retained_bytes) == (0, 32 * KIB)


def test_memory_is_used_again_by_requests_of_the_same_class() -> None:
    pool = BufferPool()
    first = pool.take(40 * KIB)
    assert first is not None
    first[0] = 42
    pool.give(first)
    second = pool.take(60 * KIB)
    assert second is not None and second[0] == 42 and len(second) == 60 * KIB


def test_the_limit_refuses_and_a_larger_request_is_served_alone() -> None:
    pool = BufferPool(limit_bytes=64 * KIB)
    big = pool.take(256 * KIB)
    assert big is not None
    assert pool.take(1) is None
    pool.give(big)
    assert pool.take(1) is not None


def fill(pool: BufferPool, count: int) -> None:
    """Take so many buffers at once, and give them back."""
    views = [pool.take(16 * KIB) for _ in range(count)]
    for view in views:
        assert view is not None
        pool.give(view)


def test_no_more_is_retained_than_allowed() -> None:
    pool = BufferPool(retain_bytes=32 * KIB)
    fill(pool, 4)
    assert pool.retained_bytes == 32 * KIB


def test_trim_gives_back_what_was_not_needed_since_the_last_one() -> None:
    pool = BufferPool()
    fill(pool, 8)
    pool.trim()
    assert pool.retained_bytes == 8 * 16 * KIB  # all were needed until now
    fill(pool, 3)
    pool.trim()
    assert pool.retained_bytes == 3 * 16 * KIB
    pool.trim()
    assert pool.retained_bytes == 0


def test_those_who_wait_are_served_in_order() -> None:
    pool = BufferPool(limit_bytes=64 * KIB)
    held = pool.take(64 * KIB)
    assert held is not None
    first, second = Waiting(), Waiting()
    assert pool.take_or_wait(64 * KIB, first) is None
    assert pool.take_or_wait(16 * KIB, second) is None
    assert pool.take(1) is None and pool.waiting == 2
    pool.give(held)
    assert len(first.got) == 1 and not second.got
    pool.give(first.got[0])
    assert len(second.got) == 1 and pool.waiting == 0


def test_who_leaves_the_line_lets_others_pass() -> None:
    pool = BufferPool(limit_bytes=64 * KIB)
    held = pool.take(32 * KIB)
    assert held is not None
    large, small = Waiting(), Waiting()
    pool.take_or_wait(64 * KIB, large)
    pool.take_or_wait(32 * KIB, small)
    assert not small.got
    pool.cancel(large)
    assert len(small.got) == 1 and not large.got


@given(st.lists(st.integers(1, 200 * KIB), min_size=1, max_size=30))
def test_the_limit_holds_and_everybody_is_served_in_the_end(lengths: list[int]) -> None:
    pool = BufferPool(limit_bytes=256 * KIB, retain_bytes=64 * KIB)
    people = [Waiting() for _ in lengths]
    held: list[memoryview] = []
    for person, length in zip(people, lengths):
        view = pool.take_or_wait(length, person)
        if view is not None:
            person.got.append(view)
        assert pool.handed_out_bytes <= 256 * KIB
    served = 0
    while served < len(people):
        ready = [person for person in people if person.got and person.got[-1] not in held]
        for person in [person for person in people if person.got]:
            pool.give(person.got.pop())
            served += 1
            assert pool.handed_out_bytes <= 256 * KIB
        assert ready or served == len(people)
    assert pool.handed_out_bytes == 0 and pool.waiting == 0


@pytest.mark.parametrize("length", [1, 16 * KIB, 16 * KIB + 1, 1 << 24])
def test_give_takes_back_what_take_counted(length: int) -> None:
    pool = BufferPool()
    view = pool.take(length)
    assert view is not None
    pool.give(view)
    assert pool.handed_out_bytes == 0


# -- shares ------------------------------------------------------------------------------------------------------------


def test_a_share_bounds_one_connection_and_leaves_the_rest_to_others() -> None:
    pool = BufferPool(limit_bytes=256 * KIB)
    greedy, modest = Share(pool, 64 * KIB), Share(pool, 64 * KIB)
    waiting = [Waiting() for _ in range(10)]
    views = [view for person in waiting if (view := greedy.take_or_wait(32 * KIB, person)) is not None]
    assert len(views) == 2 and pool.handed_out_bytes == 64 * KIB and pool.waiting == 0
    assert modest.take_or_wait(64 * KIB, Waiting()) is not None
    greedy.give(views[0])
    assert len(waiting[2].got) == 1 and not waiting[3].got


def test_one_that_is_larger_than_the_share_is_served_alone() -> None:
    share = Share(BufferPool(limit_bytes=1024 * KIB), 64 * KIB)
    large, small = Waiting(), Waiting()
    view = share.take_or_wait(512 * KIB, large)
    assert view is not None and share.take_or_wait(16 * KIB, small) is None
    share.give(view)
    assert len(small.got) == 1


def test_what_waits_in_the_pools_line_counts_in_the_share_until_it_leaves() -> None:
    pool = BufferPool(limit_bytes=64 * KIB)
    held = pool.take(64 * KIB)
    assert held is not None
    share = Share(pool, 32 * KIB)
    first, second = Waiting(), Waiting()
    assert share.take_or_wait(32 * KIB, first) is None and share.take_or_wait(32 * KIB, second) is None
    assert pool.waiting == 1, "no more than its share stands in the line"
    share.cancel(first)
    assert pool.waiting == 1 and share.used_bytes == 32 * KIB
    share.cancel(second)
    assert pool.waiting == 0 and share.used_bytes == 0
    third = Waiting()
    assert share.take_or_wait(32 * KIB, third) is None
    pool.give(held)
    assert len(third.got) == 1 and share.used_bytes == 32 * KIB


def test_data_that_cannot_be_refused_counts_too() -> None:
    pool = BufferPool()
    share = Share(pool, 32 * KIB)
    views = [share.take_anyway(32 * KIB) for _ in range(3)]
    assert share.used_bytes == pool.handed_out_bytes == 96 * KIB
    for view in views:
        share.give(view)
    assert share.used_bytes == pool.handed_out_bytes == 0


def test_connections_of_one_address_together_leave_the_rest_to_other_addresses() -> None:
    pool = BufferPool(limit_bytes=256 * KIB)
    address = Share(pool, 128 * KIB)
    crowd = [(Share(address, 64 * KIB), Waiting()) for _ in range(4)]
    views = [(share, view) for share, person in crowd if (view := share.take_or_wait(64 * KIB, person)) is not None]
    assert len(views) == 2 and pool.handed_out_bytes == 128 * KIB and pool.waiting == 0
    other = Share(Share(pool, 128 * KIB), 64 * KIB)
    assert other.take_or_wait(64 * KIB, Waiting()) is not None, "it doesn't wait behind the crowd"
    crowd[2][0].cancel(crowd[2][1])
    views[0][0].give(views[0][1])
    assert not crowd[2][1].got and len(crowd[3][1].got) == 1
    views[1][0].give(views[1][1])
    crowd[3][0].give(crowd[3][1].got[0])
    assert (address.used_bytes, pool.handed_out_bytes) == (0, 64 * KIB)


def test_what_waits_in_the_pools_line_counts_for_its_address_too() -> None:
    pool = BufferPool(limit_bytes=64 * KIB)
    held = pool.take(64 * KIB)
    assert held is not None
    address = Share(pool, 32 * KIB)
    first, second = Waiting(), Waiting()
    assert Share(address, 32 * KIB).take_or_wait(32 * KIB, first) is None
    waiting = Share(address, 32 * KIB)
    assert waiting.take_or_wait(16 * KIB, second) is None and pool.waiting == 1
    pool.give(held)
    assert len(first.got) == 1 and not second.got and address.used_bytes == 32 * KIB
    address.give(first.got[0])
    assert len(second.got) == 1 and (waiting.used_bytes, address.used_bytes) == (16 * KIB, 16 * KIB)


def test_memory_that_is_adopted_changes_its_address_too() -> None:
    pool = BufferPool()
    here, there = Share(pool, 64 * KIB), Share(pool, 64 * KIB)
    lost, new = Share(here, 32 * KIB), Share(there, 32 * KIB)
    view = lost.take_anyway(16 * KIB)
    new.adopt(view, lost)
    assert (lost.used_bytes, here.used_bytes, new.used_bytes, there.used_bytes) == (0, 0, 16 * KIB, 16 * KIB)
    new.give(view)
    assert new.used_bytes == there.used_bytes == pool.handed_out_bytes == 0


def test_an_address_has_one_share_while_somebody_uses_it() -> None:
    shares = Shares(BufferPool(), 32 * KIB)
    one = shares.of("192.0.2.1")
    one.take_anyway(16 * KIB)
    assert shares.of("192.0.2.1") is one and shares.of("192.0.2.2").used_bytes == 0
    del one
    assert shares.of("192.0.2.1").used_bytes == 0


class Taker(Waiting):
    """Keeps what it gets until the test gives it back."""

    length = 0


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["take", "give", "cancel"]), st.integers(1, 100 * KIB))))
def test_shares_never_exceed_their_limit_and_everything_comes_back(steps: list[tuple[int, str, int]]) -> None:
    pool = BufferPool(limit_bytes=128 * KIB)
    shares = [Share(pool, 64 * KIB) for _ in range(3)]
    people: list[list[Taker]] = [[], [], []]

    def give_one(number: int) -> bool:
        person = next((one for one in people[number] if one.got), None)
        if person is not None:
            people[number].remove(person)
            shares[number].give(person.got.pop())
        return person is not None

    for number, step, length in steps:
        if step == "take":
            person = Taker()
            people[number].append(person)
            view = shares[number].take_or_wait(length, person)
            if view is not None:
                person.got.append(view)
        elif step == "give":
            give_one(number)
        else:
            waiting = next((one for one in people[number] if not one.got), None)
            if waiting is not None:
                people[number].remove(waiting)
                shares[number].cancel(waiting)
        assert pool.handed_out_bytes <= 128 * KIB
        for share in shares:
            alone = share.used_bytes == 128 * KIB  # one that is larger than the share, and nothing beside it
            assert share.used_bytes <= 64 * KIB or alone
    while any(give_one(number) for number in range(3)):
        assert pool.handed_out_bytes <= 128 * KIB
    assert not any(people[number] for number in range(3)), "everybody was served in the end"
    assert pool.handed_out_bytes == pool.waiting == 0 and all(share.used_bytes == 0 for share in shares)
