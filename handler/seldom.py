"""A log that strangers can't fill: so many lines in so many seconds, then a number."""

from __future__ import annotations

from collections.abc import Callable

MOST_LINES = 50
SECONDS = 5.0


class Seldom:
    """Hands lines on to a method of a logger. What was left out is counted with the first line of the next span."""

    def __init__(self, log: Callable[..., object], clock: Callable[[], float], most_lines: int = MOST_LINES) -> None:
        self._log, self._clock, self._most_lines = log, clock, most_lines
        self._until = float("-inf")
        self._lines = 0

    def __call__(self, text: str, *values: object) -> None:
        """As the logger's method."""
        now = self._clock()
        if now >= self._until:
            if self._lines > self._most_lines:
                self._log("%d lines about other connections were left out", self._lines - self._most_lines)
            self._until, self._lines = now + SECONDS, 0
        self._lines += 1
        if self._lines <= self._most_lines:
            self._log(text, *values)
