"""A log that strangers can't fill: so many lines in so many seconds, then a number."""

from __future__ import annotations

import logging
from collections.abc import Callable

MOST_LINES = 50
SECONDS = 5.0


class Seldom:
    """Passes lines on to a logger. What was left out is counted with the first line of the next span."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float]) -> None:
        self._log, self._clock = log, clock
        self._until = float("-inf")
        self._lines = 0

    def info(self, text: str, *values: object) -> None:
        """As Logger.info."""
        now = self._clock()
        if now >= self._until:
            if self._lines > MOST_LINES:
                self._log.info("%d lines about other connections were left out", self._lines - MOST_LINES)
            self._until, self._lines = now + SECONDS, 0
        self._lines += 1
        if self._lines <= MOST_LINES:
            self._log.info(text, *values)
