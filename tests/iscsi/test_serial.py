"""Serial arithmetic and the CmdSN window."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.iscsi.serial import MASK, CommandWindow, Verdict, following, less

NUMBERS = st.integers(0, MASK)


@pytest.mark.parametrize(("a", "b", "result"), [
    (0, 1, True), (1, 0, False), (5, 5, False), (MASK, 0, True), (0, MASK, False),
    (0, (1 << 31) - 1, True), (0, 1 << 31, False), (1 << 31, 0, False),
])  # fmt: skip
def test_less_as_rfc_1982(a: int, b: int, result: bool) -> None:
    assert less(a, b) is result


@given(NUMBERS, st.integers(1, (1 << 31) - 1))
def test_adding_less_than_half_makes_it_larger(a: int, step: int) -> None:
    assert less(a, (a + step) & MASK) and not less((a + step) & MASK, a)


def test_following_wraps() -> None:
    assert following(MASK) == 0


@pytest.mark.parametrize("first", [0, 7, MASK - 2])
def test_window_judges_each_side_of_its_edges(first: int) -> None:
    window = CommandWindow(first, 4)
    assert window.max_cmd_sn == (first + 3) & MASK
    verdicts = [window.judge((first + step) & MASK) for step in (-1, 0, 1, 3, 4)]
    assert verdicts == [Verdict.IGNORE, Verdict.DELIVER, Verdict.EARLY, Verdict.EARLY, Verdict.IGNORE]


def test_window_closes_when_nothing_ends_and_opens_by_one_for_each_end() -> None:
    window = CommandWindow(10, 2)
    window.advance()
    window.advance()
    assert window.judge(12) is Verdict.IGNORE
    assert window.max_cmd_sn == 11
    window.ended()
    assert window.judge(12) is Verdict.DELIVER
    assert window.judge(13) is Verdict.IGNORE


def test_held_requests_are_delivered_in_order_once_the_gap_is_filled() -> None:
    window = CommandWindow(1, 8)
    delivered: list[int] = []
    for number in (4, 2, 3):
        window.hold(number, lambda number=number: delivered.append(number))
    assert window.judge(3) is Verdict.IGNORE, "the same number twice"
    window.release()
    assert delivered == []
    window.advance()
    window.release()
    assert delivered == [2, 3, 4]
    assert window.expected == 5


@given(NUMBERS, st.permutations(list(range(8))))
def test_any_order_inside_the_window_is_delivered_in_order(first: int, order: list[int]) -> None:
    window = CommandWindow(first, 8)
    delivered: list[int] = []
    for step in order:
        number = (first + step) & MASK
        verdict = window.judge(number)
        if verdict is Verdict.DELIVER:
            window.advance()
            delivered.append(step)
            window.release()
        else:
            assert verdict is Verdict.EARLY
            window.hold(number, lambda step=step: delivered.append(step))
    assert delivered == list(range(8))
