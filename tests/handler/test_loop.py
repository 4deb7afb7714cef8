"""A loop that looks before it sleeps, and only while that pays."""

from __future__ import annotations

import asyncio
import os
import selectors
from collections.abc import Iterator

import pytest

from handler.loop import CROWDED_SECONDS, SHORT_SLEEPS, WatchfulSelector, run


class Clock:
    """Each look at it takes a while."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def watching(pipe: tuple[int, int], look_seconds: float, clock: Clock, short_sleeps: int = 0) -> WatchfulSelector:
    """One that has just had so many short sleeps."""
    selector = WatchfulSelector(look_seconds, clock)
    selector.register(pipe[0], selectors.EVENT_READ)
    os.write(pipe[1], b"x")
    step, clock.step = clock.step, look_seconds / 10
    for _ in range(short_sleeps):
        assert len(selector.select(5)) == 1
    clock.step, clock.now = step, 0.0
    return selector


def test_short_sleeps_in_a_row_make_it_look(pipe: tuple[int, int]) -> None:
    with watching(pipe, 1.0, Clock(0.1), SHORT_SLEEPS - 1) as selector:
        assert not selector.looks
        selector.select(5)
        assert selector.looks


def test_a_long_sleep_ends_the_looking(pipe: tuple[int, int]) -> None:
    clock = Clock(CROWDED_SECONDS / 4)
    with watching(pipe, CROWDED_SECONDS * 2, clock, SHORT_SLEEPS) as selector:
        assert selector.looks
        os.read(pipe[0], 1)
        assert selector.select(0.01) == []
        assert not selector.looks


def test_what_comes_while_it_looks_is_returned_without_sleep(pipe: tuple[int, int]) -> None:
    clock = Clock(0.1)
    with watching(pipe, 1.0, clock, SHORT_SLEEPS) as selector:
        assert len(selector.select(None)) == 1
        assert selector.looks
        assert clock.now == pytest.approx(0.1)  # one look was enough


def test_it_does_not_look_while_others_want_the_processor(pipe: tuple[int, int]) -> None:
    with watching(pipe, 1.0, Clock(CROWDED_SECONDS * 1.5), SHORT_SLEEPS) as selector:
        os.read(pipe[0], 1)
        assert selector.select(0.01) == []
        assert not selector.looks


def test_no_time_to_sleep_is_no_time_to_look(pipe: tuple[int, int]) -> None:
    clock = Clock(0.1)
    with watching(pipe, 1.0, clock, SHORT_SLEEPS) as selector:
        os.read(pipe[0], 1)
        assert selector.select(0) == []
        assert clock.now == 0


def test_it_looks_no_longer_than_the_next_timer(pipe: tuple[int, int]) -> None:
    clock = Clock(CROWDED_SECONDS / 2)
    with watching(pipe, 100.0, clock, SHORT_SLEEPS) as selector:
        os.read(pipe[0], 1)
        assert selector.select(CROWDED_SECONDS * 4) == []
        assert clock.now < CROWDED_SECONDS * 6


def test_0_never_looks(pipe: tuple[int, int]) -> None:
    with watching(pipe, 0.0, Clock(0.1)) as selector:
        for _ in range(2 * SHORT_SLEEPS):
            assert len(selector.select(5)) == 1
        assert not selector.looks


def test_run_ends_what_still_runs() -> None:
    ended = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("forever")

    async def main() -> int:
        asyncio.get_running_loop().create_task(forever())
        await asyncio.sleep(0)
        return 7

    assert run(main(), 100) == 7
    assert ended == ["forever"]


def test_run_raises_what_main_raises() -> None:
    async def main() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        run(main(), 0)
