"""Two initiators' torture, in short and in full; and that its judge really judges."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.torture import (
    CHECK_CONDITION,
    CONFLICT,
    EXCLUSIVE_ACCESS,
    GOOD,
    MISCOMPARE,
    REGISTRATIONS_PREEMPTED,
    WRITE_EXCLUSIVE,
    Judge,
    Op,
    Violation,
    torture,
)


def write(value: int, who: int = 0) -> Op:
    return Op(who, "WRITE", 0, value)


def swap(expected: int, value: int, who: int = 0) -> Op:
    return Op(who, "COMPARE AND WRITE", 0, value, expected)


def read(who: int = 0) -> Op:
    return Op(who, "READ")


def judge(*steps: tuple) -> Judge:
    """("begin", number, op) and ("end", number, outcome), in order."""
    made = Judge()
    for what, *more in steps:
        getattr(made, what)(*more)
    return made


class TestJudge:
    def test_two_swaps_of_the_same_value_cannot_both_win(self):
        steps = [("begin", 1, swap(0, 5)), ("begin", 2, swap(0, 6, 1)), ("end", 1, (GOOD, 0))]
        judge(*steps, ("end", 2, (CHECK_CONDITION, MISCOMPARE)))
        with pytest.raises(Violation):
            judge(*steps, ("end", 2, (GOOD, 0)))

    def test_but_they_can_if_a_write_between_them_puts_it_back(self):
        judge(
            ("begin", 1, swap(0, 5)), ("begin", 2, swap(0, 6, 1)), ("begin", 3, write(0)),
            ("end", 1, (GOOD, 0)), ("end", 2, (GOOD, 0)), ("end", 3, (GOOD, 0)),
        )  # fmt: skip

    def test_they_cannot_both_lose(self):
        with pytest.raises(Violation):
            judge(("begin", 1, swap(0, 5)), ("end", 1, (CHECK_CONDITION, MISCOMPARE)))

    def test_a_read_after_a_write_sees_it(self):
        steps = [("begin", 1, write(7)), ("end", 1, (GOOD, 0)), ("begin", 2, read(1))]
        judge(*steps, ("end", 2, (GOOD, 7)))
        with pytest.raises(Violation):
            judge(*steps, ("end", 2, (GOOD, 0)))

    def test_a_read_beside_a_write_sees_either_but_then_never_the_older(self):
        steps = [("begin", 1, write(7)), ("begin", 2, read(1)), ("end", 2, (GOOD, 7)), ("begin", 3, read(1))]
        judge(*steps, ("end", 3, (GOOD, 7)))
        with pytest.raises(Violation):
            judge(*steps, ("end", 3, (GOOD, 0)))

    def test_who_lost_the_reservation_writes_nothing(self):
        registered = [
            ("begin", 1, Op(0, "REGISTER")), ("end", 1, (GOOD, 0)),
            ("begin", 2, Op(0, "RESERVE", type=WRITE_EXCLUSIVE)), ("end", 2, (GOOD, 0)),
            ("begin", 3, write(9, 1)),
        ]  # fmt: skip
        judge(*registered, ("end", 3, (CONFLICT, 0)))
        with pytest.raises(Violation):
            judge(*registered, ("end", 3, (GOOD, 0)))

    def test_a_write_that_was_there_before_the_reservation_may_still_be_done_after_it(self):
        steps = [
            ("begin", 1, Op(0, "REGISTER")), ("end", 1, (GOOD, 0)), ("begin", 2, write(9, 1)),
            ("begin", 3, Op(0, "RESERVE", type=WRITE_EXCLUSIVE)), ("end", 3, (GOOD, 0)),
            ("begin", 4, read()), ("end", 4, (GOOD, 0)),
        ]  # fmt: skip
        judge(*steps, ("end", 2, (GOOD, 0)), ("begin", 5, read()), ("end", 5, (GOOD, 9)))
        judge(*steps, ("end", 2, (CONFLICT, 0)), ("begin", 5, read()), ("end", 5, (GOOD, 0)))
        with pytest.raises(Violation):
            judge(*steps, ("end", 2, (GOOD, 0)), ("begin", 5, read()), ("end", 5, (GOOD, 0)))
        with pytest.raises(Violation):
            judge(*steps, ("begin", 5, write(7, 1)), ("end", 5, (GOOD, 0)))

    def test_what_was_preempted_is_heard_of_once(self):
        steps = [
            ("begin", 1, Op(0, "REGISTER")), ("end", 1, (GOOD, 0)), ("begin", 2, Op(1, "REGISTER")),
            ("end", 2, (GOOD, 0)), ("begin", 3, Op(0, "PREEMPT", type=EXCLUSIVE_ACCESS)), ("end", 3, (GOOD, 0)),
            ("begin", 4, read(1)),
        ]  # fmt: skip
        heard = ("end", 4, (CHECK_CONDITION, REGISTRATIONS_PREEMPTED))
        judge(*steps, heard, ("begin", 5, read(1)), ("end", 5, (GOOD, 0)))
        with pytest.raises(Violation):
            judge(*steps, ("end", 4, (GOOD, 0)))
        with pytest.raises(Violation):
            judge(*steps, heard, ("begin", 5, read(1)), (*heard[:1], 5, heard[2]))


@pytest.mark.conformance
@pytest.mark.parametrize(
    "seconds", [4, pytest.param(30, marks=pytest.mark.full, id="full")]
)  # fmt: skip
@pytest.mark.parametrize("backing", ["memory", "file"])
def test_two_initiators(backing: str, seconds: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uri, options = "memory:torture?size=1M", ()
    if backing == "file":
        uri, options = f"file://{tmp_path / 'torture'}", ("--size", "1M")
    report = torture(seconds, 20261126, uri, options)
    with capsys.disabled():
        print(f"\ntorture of {backing}, {seconds} s: {report}")
    assert "COMPARE AND WRITE: GOOD" in report and "1D00h" in report and "RESERVATION CONFLICT" in report
