"""The buffer pool."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.iscsi.buffers import BufferPool

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


def test_no_more_is_retained_than_allowed_and_trim_gives_all_back() -> None:
    pool = BufferPool(retain_bytes=32 * KIB)
    views = [pool.take(16 * KIB) for _ in range(4)]
    for view in views:
        assert view is not None
        pool.give(view)
    assert pool.retained_bytes == 32 * KIB
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
