"""The lease on a disk's file: of all gateways that could write to it, one may.

A file beside the disk says who that is. Its holder renews it (a growing generation); it may touch the disk until
lease_seconds after it last *began* a renewal that worked, by its own clock. Clocks of two hosts are never compared: who
wants the disk watches the lease, and takes it when it has stood still for lease_seconds + grace_seconds by the
watcher's clock. The grace covers what the holder had handed to the storage before its time was up, so it exceeds the
command limit. Taken at once are a lease that was given back, and that of a process of this host that is surely dead.

To follow the holder of term T one first creates the file "claim T", exclusively: nobody else can follow T then. Who
wrote it looks at T's lease once more (it may have come back to life: then the claim goes), and replaces the lease. A
holder that renews also looks for a claim on itself: both write first and then look, so at least one of them gives way.
Who dies with a claim in the hand is followed like a holder. None of this needs locks, which Gluster's shard translator
does not keep.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Final, Optional, TypeVar

from tcmu_gluster.backends.lease_store import Cell, LeaseStore
from tcmu_gluster.backends.this_process import ProcessName, is_dead, this_process
from tcmu_gluster.errors import ConfigError

log = logging.getLogger(__name__)

RECORD_BYTES: Final = 1024
"""Every lease has this length, filled up with blanks, so that it can be renewed in place."""
RENEWALS: Final = 4
"""So many renewals fit in a lease: a storage that pauses may miss all but one."""
LONGEST_SECONDS: Final = 3600.0
UNREADABLE_WAIT_SECONDS: Final = 60.0
"""How long a lease that can't be read has to stand still."""
ATTEMPTS: Final = 5
_TERM: Final = re.compile("[0-9a-f]{32}", re.ASCII)
"""A term becomes part of a file's name."""


Clock = Callable[[], float]
Kind = TypeVar("Kind", bound="Lease")


seconds_since_boot: Final[Clock] = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
"""A clock that also counts while the host sleeps: others may have taken the disk meanwhile.

Every command reads it. No Python function around it: that would cost four times as much (0.5 us instead of 0.12).
"""


class LeaseHeld(ConfigError):
    """Another gateway may write to the disk."""

    def __init__(self, disk: str, holder: str, seconds: float, until: str) -> None:
        super().__init__(disk, holder, seconds, until)
        self.disk, self.holder, self.seconds, self.until = disk, holder, seconds, until
        """seconds: how long it has to stand still from now on."""

    def __str__(self) -> str:
        return (
            f"{self.disk} is in use by {self.holder}, which may write to it until {self.until}, or longer if it renews "
            "its lease; stop it there, open the disk read-only, or try again then"
        )


@dataclass(frozen=True)
class Terms:
    """What a lease is taken for."""

    lease_seconds: float
    grace_seconds: float


@dataclass(frozen=True)
class Record:
    """What a lease file says."""

    term: str
    """Names one holding, from taking it to losing it."""
    generation: int
    holder: ProcessName
    lease_seconds: float
    grace_seconds: float
    renewed: str
    """The holder's own time of day, for people."""
    released: bool = False

    @property
    def wait_seconds(self) -> float:
        """How long it must not change before somebody else may follow."""
        return (self.lease_seconds + self.grace_seconds) * 1.01  # two hosts' clocks never run equally fast

    def __str__(self) -> str:
        return f"host {self.holder.host} (process {self.holder.pid})"

    def encode(self) -> bytes:
        """RECORD_BYTES bytes."""
        return json.dumps({"version": 1, **asdict(self)}, sort_keys=True).encode("ascii")[: RECORD_BYTES - 1].ljust(
            RECORD_BYTES - 1
        ) + b"\n"  # fmt: skip

    @staticmethod
    def decode(data: bytes) -> Optional[Record]:
        """None if that is no lease (or one that is being written just now)."""
        try:
            fields: dict[str, Any] = json.loads(data)
            if fields.pop("version") != 1:
                return None
            fields["holder"] = ProcessName(**fields["holder"])
            record = Record(**fields)
            times = record.lease_seconds, record.grace_seconds
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        plausible = all(isinstance(one, (int, float)) and 0 < one <= LONGEST_SECONDS for one in times)
        holder = record.holder
        numbers = record.generation, holder.pid, holder.start_ticks
        words = record.term, holder.host, holder.boot_id, holder.namespace
        plausible &= all(type(one) is int and one >= 0 for one in numbers) and all(type(one) is str for one in words)
        return record if plausible and _TERM.fullmatch(record.term) else None


@dataclass
class _Sight:
    data: bytes
    since: float


_sights: dict[tuple[object, str], _Sight] = {}
"""What leases of others were last seen like, and since when: kept from one attempt to the next."""
_sights_lock = threading.Lock()


class Lease:
    """A lease that this process holds. lapsed() is for the loop and cheap; renew() and release() block.

    The hot path reads valid_until itself: `clock() > lease.valid_until` means hands off.
    """

    def __init__(self, disk: str, store: LeaseStore, cell: Cell, record: Record, began: float, clock: Clock) -> None:
        self.disk, self.record, self.clock = disk, record, clock
        self.store, self._cell = store, cell
        self.valid_until = began + record.lease_seconds
        self.lost = ""
        """Why it can never be valid again; empty as long as it can."""
        self.on_lost: Callable[[str], None] = log.error
        """Called once, from any thread, with a sentence."""
        self._lock = threading.Lock()

    @property
    def renewal_seconds(self) -> float:
        """How often renew() wants to be called."""
        return self.record.lease_seconds / RENEWALS

    def describe(self) -> dict[str, Any]:
        """For `disk show`."""
        left = max(0.0, self.valid_until - self.clock())
        return {"valid_for_seconds": round(left, 1), "lease_seconds": self.record.lease_seconds,
                "generation": self.record.generation, "term": self.record.term}  # fmt: skip

    def lapsed(self) -> bool:
        """Whether its holder must not touch the disk (any more, or for now)."""
        return self.clock() > self.valid_until

    def renew(self) -> None:
        """Say that we are alive, then make sure that the lease is still ours. Raises OSError: not known, ask again.

        A lease that has lapsed becomes valid again if nobody took it meanwhile.
        """
        with self._lock:
            if self.lost or self.record.released:
                return
            began = self.clock()
            self.record = replace(self.record, generation=self.record.generation + 1, renewed=_time_of_day())
            self._write(self.record.encode())
            why = self._taken_by()
            if why:
                self.lost, self.valid_until = why, float("-inf")
            else:
                self.valid_until = began + self.record.lease_seconds
        if why:
            self.on_lost(f"{self.disk}: {why}; nothing more is read or written through this process")

    def _write(self, data: bytes) -> None:
        try:
            self._cell.write(data)
        except OSError as error:
            log.debug("%s: the lease's handle broke: %s", self.disk, error)
            fresh = self.store.open()  # after a brick's restart; what it leads to is looked at first
            present = Record.decode(fresh.read()) if fresh is not None else None
            if fresh is None:
                return
            if present is None or present.term != self.record.term:
                fresh.close()
                return  # _taken_by() says whose it is
            with contextlib.suppress(OSError):
                self._cell.close()
            self._cell = fresh
            fresh.write(data)

    def _taken_by(self) -> str:
        """Why the lease isn't ours any more, or empty. Raises OSError if what stands there isn't what was written."""
        data = self.store.read()
        present = Record.decode(data) if data is not None else None
        if present is None or present.term != self.record.term:
            return f"its lease was taken by {present}" if present else "its lease is gone"
        claim = self.store.read(self.record.term)
        if claim is not None:
            follower = Record.decode(claim)
            return f"its lease was taken by {follower or 'another process'}"
        if present.generation != self.record.generation:
            raise OSError(f"{self.disk}: the renewal did not reach the lease")
        return ""

    def give_back(self) -> None:
        """release() for a backend that is being closed."""
        with contextlib.suppress(OSError):
            self.release()

    def release(self) -> None:
        """Give it back: others need not wait. Nothing of ours may be under way any more. Raises OSError."""
        with self._lock:
            if self.record.released:
                return
            self.valid_until = float("-inf")
            self.record = replace(self.record, generation=self.record.generation + 1, released=True)
            try:
                if not self.lost:
                    self._cell.write(self.record.encode())
            finally:
                self._cell.close()


def acquire(
    disk: str,
    store: LeaseStore,
    terms: Terms,
    *,
    clock: Clock = seconds_since_boot,
    dead: Callable[[ProcessName], bool] = is_dead,
    make: type[Kind],
) -> Kind:
    """Take the lease if that is allowed now. Raises LeaseHeld, OSError. disk: its name in sentences."""
    for _ in range(ATTEMPTS):
        began = clock()
        mine = Record(uuid.uuid4().hex, 1, this_process(), terms.lease_seconds, terms.grace_seconds, _time_of_day())
        chain = _chain(store)
        if not chain:
            cell = store.create(mine.encode())
            if cell is not None:
                return make(disk, store, cell, mine, began, clock)
            continue  # somebody was faster
        _check_free(disk, store, chain[-1], clock(), dead)
        taken = _follow(store, chain, mine)
        if taken is not None:
            with _sights_lock:
                _sights.pop((store.group, disk), None)
            if clock() - began < terms.lease_seconds:
                return make(disk, store, taken, mine, began, clock)
            taken.close()  # it took too long to be sure: as another holder's it will be watched
    data = store.read() or b""
    raise _held(disk, Record.decode(data), terms.lease_seconds + terms.grace_seconds)


@dataclass(frozen=True)
class _Link:
    """A lease (claim "") or a claim to follow the one before it."""

    claim: str
    data: bytes
    record: Optional[Record]

    @property
    def term(self) -> str:
        """What a claim to follow this is called."""
        return self.record.term if self.record is not None else hashlib.sha256(self.data).hexdigest()[:32]


def _chain(store: LeaseStore) -> list[_Link]:
    """The lease and the claims on it, each following the one before; the last one is who has the disk."""
    chain: list[_Link] = []
    claim = ""
    while len(chain) < 16:
        data = store.read(claim)
        if data is None:
            break
        chain.append(_Link(claim, data, Record.decode(data)))
        claim = chain[-1].term
    return chain


def _check_free(disk: str, store: LeaseStore, last: _Link, now: float, dead: Callable[[ProcessName], bool]) -> None:
    """Raises LeaseHeld unless who has the disk gave it back, is surely dead, or has not moved for long enough."""
    record = last.record
    if record is not None and (record.released or dead(record.holder)):
        return
    wait = record.wait_seconds if record is not None else UNREADABLE_WAIT_SECONDS
    with _sights_lock:
        key = (store.group, disk)
        sight = _sights.get(key)
        if sight is None or sight.data != last.data:
            sight = _sights[key] = _Sight(last.data, now)
    left = sight.since + wait - now
    if left > 0:
        raise _held(disk, record, left)


def _follow(store: LeaseStore, chain: list[_Link], mine: Record) -> Optional[Cell]:
    """The lease after the last of the chain, or None if it moved or somebody else follows it. Raises OSError."""
    last = chain[-1]
    claim = store.create(mine.encode(), last.term)
    if claim is None:
        return None
    claim.close()
    if store.read(last.claim) != last.data:
        store.remove(last.term)  # it lives, or was followed already
        return None
    cell = store.replace(mine.encode(), mine.term)
    if len(chain) == 1:  # a claim on a claim stays: its author may only be asleep, and must find it
        store.remove(last.term)
    return cell


def _held(disk: str, record: Optional[Record], seconds: float) -> LeaseHeld:
    holder = str(record) if record is not None else "another gateway"
    return LeaseHeld(disk, holder, seconds, time.strftime("%H:%M:%S", time.localtime(time.time() + max(1.0, seconds))))


def _time_of_day() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
