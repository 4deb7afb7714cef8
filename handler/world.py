"""What the daemon's parts share: the loop, the settings, threads for what may block, the kernel's trees."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, TypeVar

from tcmu_gluster.backends.base import PENDING, Backend, Done, Outcome
from tcmu_gluster.config.settings import Settings
from tcmu_gluster.config.sizes import out_of_reach
from tcmu_gluster.config.uri import Backing
from tcmu_gluster.scsi.command import Command
from tcmu_gluster.scsi.copies import CopyManager
from tcmu_gluster.scsi.identity import Identity, identity_as_recorded, identity_of_serial
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.persistence import UnitRecord
from tcmu_gluster.tcmu.access import AccessFactory, best_access
from tcmu_gluster.tcmu.configfs import MODULE_PARAMETERS
from tcmu_gluster.tcmu.uio import SYSFS, UioDevice, map_uio, open_uio

from .lio import ask_lio
from .state import DiskFiles
from .units import later, tell_trouble, trouble_of

log = logging.getLogger(__name__)

T = TypeVar("T")
THREADS = 8
"""How many backings may be opening at a time: one that hangs must not hold up the others."""

COPIES = CopyManager(time.monotonic, secrets.token_bytes)
"""All units of the process copy among each other, as far as their initiators see them."""

Open = Callable[..., Backend]


GRACE_SECONDS = 2.0
"""So much longer than the command limit does a lease's follower wait: a command limit is noticed a tick late."""


def open_backing(backing: Backing, loop: Any, **options: Any) -> Backend:
    """backends/open.py, loaded when the first disk is opened. Blocks; raises OSError or ConfigError."""
    from tcmu_gluster.backends.open import open_backing as really_open

    return really_open(backing, loop, **options)


def lease_terms(settings: Settings) -> Any:
    """What leases are taken for (backends/lease.py: Terms), or None if they are turned off."""
    from tcmu_gluster.backends.lease import Terms

    if not settings.lease_seconds:
        return None
    return Terms(float(settings.lease_seconds), settings.command_limit_seconds + GRACE_SECONDS)


@dataclass
class World:
    """Handed to every part; tests bring their own trees and their own open."""

    loop: asyncio.AbstractEventLoop
    settings: Settings
    disk_files: DiskFiles
    open: Open = open_backing
    access: AccessFactory = field(default_factory=best_access)
    sysfs: Path = SYSFS
    open_device: Callable[[UioDevice], int] = open_uio
    map_device: Callable[[UioDevice, int], Any] = map_uio
    parameters: Path = MODULE_PARAMETERS
    beside_other: bool = False
    """Whether tcmu-runner is on this host: then no device of ours may wait for answers, which it would give first."""
    ask_lio: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]] = ask_lio
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(THREADS, "tcmu-gluster-open"))

    @property
    def core(self) -> Path:
        """Where LIO's backstores are in configfs."""
        return self.settings.configfs / "target" / "core"

    async def in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """function(*arguments) in a thread: for what may block."""
        return await self.loop.run_in_executor(self.threads, function, *arguments)

    async def open_backing(
        self,
        backing: Backing,
        *,
        create_size_bytes: Optional[int] = None,
        read_only: bool = False,
        block_bytes: int = 512,
    ) -> Backend:
        """An open backend, of one block at least. Raises OSError or ConfigError."""

        def open_() -> Backend:
            return self.open(backing, self.loop, create_size_bytes=create_size_bytes, read_only=read_only,
                             lease=lease_terms(self.settings), block_bytes=block_bytes)  # fmt: skip

        return await self.in_thread(open_)


def identity_of(serial: str, record: Mapping[str, Any]) -> Identity:
    """Who a disk with this serial is; record (our file about it) may hold what another target called it."""
    try:
        return identity_as_recorded(serial, record.get("identity") or {})
    except (AttributeError, ValueError) as error:
        log.error("serial %s: what is recorded of its identity can't be used: %s", serial, error)
        return identity_of_serial(serial)


def make_unit(
    name: str, backend: Backend, serial: str, options: UnitOptions, record: Optional[Mapping[str, Any]] = None
) -> LogicalUnit:
    """A disk on an open backend. Without a serial the identity follows from the data."""

    def report(command: Command, error: BaseException) -> None:
        trouble = not isinstance(error, OSError)
        log.error("disk %s: %s ended with an unforeseen %r", name, command, error, exc_info=error if trouble else None)

    identity = identity_of(serial, record or {}) if serial else None
    unit = LogicalUnit(backend, options, identity, report=report, clock=time.time, later=later, copies=COPIES)
    tell_trouble(name, trouble_of(unit, name))
    if behind := out_of_reach(backend.size_bytes, unit.block_size_bytes):
        log.warning("disk %s: %s", name, behind)
    return unit


def on_lease_lost(backend: Optional[Backend], lost: Callable[[str], object]) -> None:
    """lost(sentence) is called, from any thread, when another gateway has taken the backing."""
    lease: Any = backend.lease if backend is not None else None
    if lease is not None:
        lease.on_lost = lost
        if lease.lost:
            lost(lease.lost)


async def flush(world: World, backend: Backend) -> None:
    """Everything acknowledged so far reaches stable storage. Raises OSError."""
    await _ended(world, backend.flush)


async def give_up_record(world: World, unit: LogicalUnit) -> None:
    """An empty record takes the place of the damaged one beside a disk, which is ready then. Raises OSError."""
    empty = UnitRecord().encode()
    await _ended(world, lambda done: unit.backend.store_sidecar(empty, done))
    unit.forget_record()


async def _ended(world: World, start: Callable[[Done], Outcome]) -> None:
    """An operation of a backend has ended. Raises OSError."""
    ended: asyncio.Future[Any] = world.loop.create_future()

    def done(outcome: Any) -> None:
        if not ended.done():
            ended.set_result(outcome)

    outcome: Any = start(done)
    if outcome is PENDING:
        outcome = await ended
    if isinstance(outcome, OSError):
        raise outcome


def reason_of(error: BaseException) -> str:
    """One sentence why something could not be opened."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__
