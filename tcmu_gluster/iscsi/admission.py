"""How many may knock, and how long the answer to a failed login waits. Counted by address; no sockets, no clocks.

    why = admission.arrive(address, now)         # "" or the sentence why this connection is closed at once
    admission.logged_in(address)                 # it has a session with a target
    seconds = admission.failed(address, now)     # its login failed: hold the answer back so long
    admission.leave(address, in_login)           # once for each that arrived; in_login: neither of the two was called

A connection that has not logged in costs memory and proves nothing, so there are few of them per address. A failed
login keeps its place among them until its answer is due, even if the peer has left by then: to guess faster by not
waiting for the answer gains nothing.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque
from dataclasses import dataclass
from functools import lru_cache

REMEMBERED_ADDRESSES = 4096
"""Addresses with failed logins. The one that failed longest ago is forgotten first."""


@dataclass(frozen=True)
class Limits:
    """Numbers of connections, and times in seconds."""

    connections: int = 4096
    connections_per_address: int = 1024
    logins: int = 1024
    """Connections without a session, of all addresses."""
    logins_per_address: int = 64
    first_delay_seconds: float = 0.5
    """What the first failed login waits; each further one waits twice as long."""
    longest_delay_seconds: float = 5.0
    forget_seconds: float = 300.0
    """After this long without another failure an address starts anew."""


class _Open:
    __slots__ = ("connections", "logins")

    def __init__(self) -> None:
        self.connections = self.logins = 0


class _Failures:
    __slots__ = ("count", "last", "total", "waiting")

    def __init__(self) -> None:
        self.count = self.total = 0
        self.last = 0.0
        self.waiting: deque[float] = deque()  # when held answers are due


@lru_cache(maxsize=REMEMBERED_ADDRESSES)
def group_of(address: str) -> str:
    """Who counts as one: an IPv4 address, or an IPv6 network of 64 bits (a host has all of it)."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Address(int(parsed) >> 64 << 64)) + "/64"
    return str(parsed)


class Admission:
    """The counts of one process."""

    def __init__(self, limits: Limits = Limits()) -> None:
        self.limits = limits
        self.connections = self.logins = 0
        self.turned_away = 0
        """Connections that were closed at once."""
        self._open: dict[str, _Open] = {}
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def arrive(self, address: str, now: float) -> str:
        """Count a new connection; or say why it may not stay, and don't count it."""
        limits, group = self.limits, group_of(address)
        present = self._open.get(group)
        mine = present.connections if present else 0
        logins = (present.logins if present else 0) + self._waiting(group, now)
        why = ""
        if self.connections >= limits.connections:
            why = f"{self.connections} connections are open"
        elif mine >= limits.connections_per_address:
            why = f"{group} has {mine} connections open"
        elif logins >= limits.logins_per_address:
            why = f"{group} has {logins} connections that have not logged in"
        elif self.logins >= limits.logins:
            why = f"{self.logins} connections have not logged in"
        if why:
            self.turned_away += 1
            return why
        if present is None:
            present = self._open[group] = _Open()
        present.connections += 1
        present.logins += 1
        self.connections += 1
        self.logins += 1
        return ""

    def logged_in(self, address: str) -> None:
        """A connection has a session with a target. Discovery sessions don't count: anybody may have one."""
        self._open[group_of(address)].logins -= 1
        self.logins -= 1

    def leave(self, address: str, in_login: bool) -> None:
        """A connection that arrived is closed. in_login: it neither logged in nor failed to."""
        group = group_of(address)
        present = self._open[group]
        present.connections -= 1
        self.connections -= 1
        if in_login:
            present.logins -= 1
            self.logins -= 1
        if not present.connections:
            del self._open[group]

    def failed(self, address: str, now: float) -> float:
        """Count the failed login of a connection that arrived; how many seconds its answer is held back."""
        self.logged_in(address)  # its place is with those that wait now
        group, limits = group_of(address), self.limits
        record = self._failures.pop(group, None) or _Failures()
        if now - record.last > limits.forget_seconds:
            record.count = 0
        record.count += 1
        record.total += 1
        record.last = now
        doublings = min(record.count - 1, 30)
        seconds = min(limits.first_delay_seconds * (1 << doublings), limits.longest_delay_seconds)
        record.waiting.append(now + seconds)
        self._failures[group] = record
        if len(self._failures) > REMEMBERED_ADDRESSES:
            self._failures.popitem(last=False)
        return seconds

    def failures(self) -> dict[str, int]:
        """Failed logins by address, as far as they are remembered."""
        return {group: record.total for group, record in self._failures.items()}

    def _waiting(self, group: str, now: float) -> int:
        """Answers of this address that are still held back."""
        record = self._failures.get(group)
        if record is None:
            return 0
        waiting = record.waiting
        while waiting and waiting[0] <= now:
            waiting.popleft()
        return len(waiting)
