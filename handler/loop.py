"""The process's one event loop: asyncio's, that looks a little longer before it sleeps.

With one command outstanding a target spends most of its time being woken: the initiator's next command comes some
tens of microseconds after our answer, and by then the processor sleeps. So while the last sleep was that short, the
loop looks again and again for a moment instead, and lets others run between two looks. It costs nothing under load,
when there always is something to do, nor in silence: a sleep that was longer ends the looking.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import signal
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any, Optional, TypeVar

Result = TypeVar("Result")


CROWDED_SECONDS = 20e-6
"""Two looks this far apart: somebody else had the processor meanwhile."""
SHORT_SLEEPS = 8
"""So many in a row, and looking begins."""


class WatchfulSelector(selectors.DefaultSelector):
    """Looks for up to look_seconds before it sleeps, if that would have spared it the last sleeps. 0: never."""

    def __init__(self, look_seconds: float, clock: Callable[[], float] = perf_counter) -> None:
        super().__init__()
        self._look_seconds, self._clock = look_seconds, clock
        self._short_sleeps = 0

    def select(self, timeout: Optional[float] = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As selectors.BaseSelector says."""
        look = super().select
        if timeout is not None and timeout <= 0:
            return look(timeout)
        began = now = self._clock()
        longest = self._look_seconds if timeout is None else min(self._look_seconds, timeout)
        if self.looks:
            while now - began < longest:
                events = look(0)
                if events:
                    return events
                os.sched_yield()
                last, now = now, self._clock()
                if now - last > CROWDED_SECONDS:
                    self._short_sleeps = 0
                    return look(timeout)
        events = look(timeout)
        if self._clock() - began < longest:
            self._short_sleeps += 1
        else:
            self._short_sleeps = 0
        return events

    @property
    def looks(self) -> bool:
        """Whether it would look before the next sleep."""
        return self._short_sleeps >= SHORT_SLEEPS


def run(main: Coroutine[Any, Any, Result], look_microseconds: int) -> Result:
    """As asyncio.run, on a watchful loop."""
    loop = asyncio.SelectorEventLoop(WatchfulSelector(look_microseconds * 1e-6))
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main)
    finally:
        try:
            loop.run_until_complete(_end_the_rest())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def ending_signals() -> list[signal.Signals]:
    """What asks for an orderly end: SIGTERM, SIGINT, and the terminal's going away unless that is ignored (nohup)."""
    hangup = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGTERM, signal.SIGINT, *hangup]


async def _end_the_rest() -> None:
    """Nothing goes on once the loop's main story has ended."""
    loop = asyncio.get_running_loop()
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
