"""Sequence numbers: serial arithmetic (RFC 1982, 32 bits) and the CmdSN window of a session.

ExpCmdSN is the next command that will be delivered, MaxCmdSN the highest one the initiator may send. The window opens
by one for every command that has ended, so it bounds what is outstanding: that is the back-pressure of the session.
MaxCmdSN never goes back.  Source: RFC 7143 4.2.2.1.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

MASK = 0xFFFFFFFF
_HALF = 1 << 31


def less(a: int, b: int) -> bool:
    """a < b as RFC 1982 compares 32-bit serial numbers; False where it is undefined (exactly half apart)."""
    return a != b and (b - a) & MASK < _HALF


def following(a: int) -> int:
    """a + 1."""
    return (a + 1) & MASK


class Verdict(Enum):
    """What becomes of a numbered request."""

    DELIVER = "it is the next one"
    EARLY = "inside the window, but others come first"
    IGNORE = "outside the window, or here already"


class CommandWindow:
    """expected = ExpCmdSN; limit = MaxCmdSN + 1. The hot path reads and writes both itself."""

    __slots__ = ("expected", "held", "limit")

    def __init__(self, first: int, size: int) -> None:
        self.expected = first & MASK
        self.limit = (first + size) & MASK
        self.held: dict[int, Callable[[], None]] = {}

    @property
    def max_cmd_sn(self) -> int:
        """MaxCmdSN: ExpCmdSN - 1 while the window is closed."""
        return (self.limit - 1) & MASK

    def open(self, count: int) -> None:
        """Before the first request: so many may be outstanding."""
        self.limit = (self.expected + count) & MASK

    def judge(self, cmd_sn: int) -> Verdict:
        """Where cmd_sn lies. Changes nothing."""
        if cmd_sn == self.expected and cmd_sn != self.limit:
            return Verdict.DELIVER
        early = less(self.expected, cmd_sn) and less(cmd_sn, self.limit) and cmd_sn not in self.held
        return Verdict.EARLY if early else Verdict.IGNORE

    def advance(self) -> None:
        """The expected request is delivered now; those that waited only for it are delivered after it by release()."""
        self.expected = (self.expected + 1) & MASK

    def hold(self, cmd_sn: int, deliver: Callable[[], None]) -> None:
        """Keep an EARLY request until it is its turn."""
        self.held[cmd_sn] = deliver

    def when_all_before(self, cmd_sn: int, action: Callable[[], None]) -> None:
        """Run action when every request before cmd_sn was delivered (now, if so). An immediate request may wait so."""
        if not less(self.expected, cmd_sn):
            action()
            return
        earlier = self.held.get(-1 - cmd_sn)

        def both() -> None:
            if earlier is not None:
                earlier()
            action()

        self.held[-1 - cmd_sn] = both

    def release(self) -> None:
        """Deliver what is in turn now, in order."""
        while self.held:
            waiting = self.held.pop(-1 - self.expected, None)
            if waiting is not None:
                waiting()
                continue
            deliver: Any = self.held.pop(self.expected, None)
            if deliver is None:
                return
            self.expected = (self.expected + 1) & MASK
            deliver()

    def forget(self, cmd_sn: int) -> bool:
        """Give up a held request (its connection is gone, or it was aborted): its number is delivered as nothing."""
        if cmd_sn not in self.held:
            return False
        self.held[cmd_sn] = self.ended
        return True

    def ended(self) -> None:
        """A numbered request has ended: the window opens by one."""
        self.limit = (self.limit + 1) & MASK
