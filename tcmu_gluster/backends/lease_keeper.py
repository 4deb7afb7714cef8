"""Renews the leases that this process holds: a thread a volume, so that one that hangs stops no other."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

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
            return min(self._due.values(), default=now + 60.0) - now

    def start(self) -> None:
        """A thread that does so as long as the process lives."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            left = self.turn(time.monotonic())
            with self._changed:
                self._changed.wait(max(0.01, min(left, 60.0)))


_keepers: dict[object, Keeper] = {}
_lock = threading.Lock()


def keep(lease: Lease) -> None:
    """Renew it until leave()."""
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
    try:
        lease.release()
    except OSError as error:
        log.warning("%s: its lease can't be given back (%s); it ends by itself", lease.disk, error)
