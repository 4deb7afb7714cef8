"""Renews the leases that this process holds: a thread a volume, so that one that hangs stops no other.

Where a lease is for a disk whose storage sends late what it was given (libgfapi does), a process that is stopped longer
than the lease lasts is ended by the kernel (dead_man.py).
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from tcmu_gluster.backends.dead_man import DeadMan
from tcmu_gluster.backends.lease import Lease

log = logging.getLogger(__name__)

RETRY_SECONDS: Final = 0.5
"""How soon a renewal that failed is tried again."""


class Keeper:
    """The leases of one group. turn() is one look at them; start() lets a thread do it."""

    def __init__(self, group: object) -> None:
        self.group = group
        self._due: dict[Lease, float] = {}
        self._failing: set[Lease] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, lease: Lease, now: float) -> None:
        """Renew it from now on. now: time.monotonic()."""
        with self._changed:
            self._due[lease] = now + lease.renewal_seconds
            self._changed.notify()

    def remove(self, lease: Lease) -> None:
        """It is given back. Nothing happens if it is not known."""
        with self._changed:
            self._due.pop(lease, None)
            self._failing.discard(lease)

    def turn(self, now: float) -> float:
        """Renew what is due; how long until the next one is."""
        with self._changed:
            due = [lease for lease, when in self._due.items() if when <= now]
        for lease in due:
            pause = lease.renewal_seconds
            try:
                lease.renew()
                self._failing.discard(lease)
            except Exception as error:  # a lease that is not renewed ends by itself: only the others must not suffer
                pause = min(pause, RETRY_SECONDS)
                if lease not in self._failing:
                    self._failing.add(lease)
                    log.warning("%s: its lease can't be renewed: %s", lease.disk, error)
            with self._changed:
                if lease in self._due:
                    self._due[lease] = now + pause
                    if lease.lost:
                        del self._due[lease]
        with self._changed:
            return self._left(now)

    def _left(self, now: float) -> float:
        return min(self._due.values(), default=now + 60.0) - now

    def start(self) -> None:
        """A thread that does so as long as the process lives."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            self.turn(time.monotonic())
            with self._changed:  # who was added since then is counted
                self._changed.wait(max(0.01, self._left(time.monotonic())))


class Watch:
    """Winds the dead man's timer as long as this process runs, while it holds leases that want it."""

    def __init__(self, dead_man: DeadMan) -> None:
        self._dead_man = dead_man
        self._leases: set[Lease] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, lease: Lease) -> None:
        """From now on a stop that outlasts this lease ends the process."""
        with self._changed:
            self._leases.add(lease)
            self._changed.notify()

    def remove(self, lease: Lease) -> None:
        """It is given back. Nothing happens if it is not known."""
        with self._changed:
            self._leases.discard(lease)
            self._changed.notify()

    def turn(self) -> float | None:
        """Wind once; how long until it wants to be wound again, None if never."""
        with self._changed:
            shortest = min((lease.record.lease_seconds for lease in self._leases), default=None)
        self._dead_man.wind(shortest)
        return None if shortest is None else min(1.0, shortest / 4)

    def start(self) -> None:
        """A thread that does so as long as the process lives. It does nothing that could wait for anybody."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lease-watch", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:  # so that nobody is added between the look and the wait
                self._changed.wait(self.turn())


_watch = Watch(DeadMan())
_keepers: dict[object, Keeper] = {}
_lock = threading.Lock()


def keep(lease: Lease, *, sends_late: bool = False) -> None:
    """Renew it until leave(). sends_late: the storage's library may send later what it was given."""
    if sends_late:
        _watch.add(lease)
        _watch.start()
    with _lock:
        keeper = _keepers.setdefault(lease.store.group, Keeper(lease.store.group))
    keeper.add(lease, time.monotonic())
    keeper.start()


def leave(lease: Lease) -> None:
    """Give it back, and renew it no more."""
    with _lock:
        keeper = _keepers.get(lease.store.group)
    if keeper is not None:
        keeper.remove(lease)
    _watch.remove(lease)
    try:
        lease.release()
    except OSError as error:
        log.warning("%s: its lease can't be given back (%s); it ends by itself", lease.disk, error)
