"""How slowly a peer may do what it has begun. No clock: the time is handed in.

    pace = Pace(seconds, least_bytes)
    pace.moved += count                     # bytes that came (or went)
    if pace.too_slow(now, owes): ...        # now and then; owes: whether anything is due

Whoever owes something all the time has to move least_bytes in every such span of seconds, or be done within it.
"""

from __future__ import annotations

from typing import Optional


class Pace:
    """One peer, one direction."""

    __slots__ = ("_least_bytes", "_seconds", "_since", "moved")

    def __init__(self, seconds: float, least_bytes: int) -> None:
        self._seconds, self._least_bytes = seconds, least_bytes
        self._since: Optional[float] = None
        self.moved = 0

    def too_slow(self, now: float, owes: bool) -> bool:
        """Whether a span has gone by in which too little moved."""
        if not owes:
            self._since = None
        elif self._since is None or self.moved >= self._least_bytes:
            self._since, self.moved = now, 0
        else:
            return now >= self._since + self._seconds
        return False
