"""`tcmu-gluster export`: one disk served over iSCSI in the foreground, without a daemon or a configuration."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import re
import secrets
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Optional, Protocol

from handler.accounts import Accounts
from handler.bounds import make_front
from handler.iscsi_front import IscsiFront
from handler.loop import ending_signals
from handler.loop import run as run_loop
from handler.space import SpaceWatch
from handler.targets import EngineTarget
from handler.units import later, options_of, stop_background, tell_trouble, trouble_of
from handler.world import lease_terms, on_lease_lost
from tcmu_gluster.backends.base import Backend
from tcmu_gluster.backends.lease import LeaseHeld
from tcmu_gluster.backends.open import open_backing
from tcmu_gluster.config.addresses import AccessRule, Portal, RuleKind, needless
from tcmu_gluster.config.disk_shape import DiskShape
from tcmu_gluster.config.secret_file import read_secret
from tcmu_gluster.config.settings import Settings, load_settings
from tcmu_gluster.config.sizes import format_size, out_of_reach
from tcmu_gluster.config.uri import Backing, parse_backing
from tcmu_gluster.iscsi.chap import Account, credentials
from tcmu_gluster.scsi.command import Command
from tcmu_gluster.scsi.copies import CopyManager
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.target import Target

log = logging.getLogger("tcmu_gluster.export")

NAMING_AUTHORITY = "iqn.2026-11.io.github.tcmu-gluster"
LOGOUT_SECONDS = 3.0
"""How long initiators have to log out when we are told to end."""
FLUSH_SECONDS = 60.0
LOOK_SECONDS = 0.5
"""How often another holder's lease is looked at."""


class Options(Protocol):
    """What the command line says, checked (cli/local.py: ExportOptions)."""

    uri: str
    size: Optional[int]
    portals: tuple[Portal, ...]
    iqn: Optional[str]
    lun: int
    read_only: bool
    shape: DiskShape
    write_same_to_end: bool
    allow: tuple[AccessRule, ...]
    read_otherwise: tuple[str, ...]
    chap: Optional[tuple[str, Path]]
    mutual_chap: Optional[tuple[str, Path]]
    discovery_chap: Optional[tuple[str, Path]]
    json: bool


@dataclass(frozen=True)
class Ready:
    """What is true once the disk is served."""

    iqn: str
    lun: int
    portals: tuple[Portal, ...]
    uri: str
    size_bytes: int
    serial: str

    def as_json(self) -> str:
        """One JSON object in one line."""
        facts = {"ready": True, "iqn": self.iqn, "lun": self.lun, "portals": [str(portal) for portal in self.portals],
                 "portal": str(self.portals[0]), "uri": self.uri, "size_bytes": self.size_bytes,
                 "serial": self.serial}  # fmt: skip
        return json.dumps(facts)

    def as_text(self) -> str:
        """The line that says what is true, and the ones to type next."""
        portal = self.portals[0]
        where = "the address of this machine" if portal.address in ("0.0.0.0", "::") else portal
        return "\n".join((
            f"serving {self.uri} ({format_size(self.size_bytes)}) as {self.iqn} LUN {self.lun} "
            f"on {', '.join(map(str, self.portals))}; Ctrl-C ends it",
            "",
            f"  iscsiadm -m discovery -t sendtargets -p {where}",
            f"  iscsiadm -m node -T {self.iqn} -p {where} --login",
            f"  qemu-img info iscsi://{where}/{self.iqn}/{self.lun}",
        ))  # fmt: skip


def run(options: Options) -> int:
    """Serve until a signal ends it. Exit status 0 if everything that was acknowledged is on the disk, else 1.

    Raises ConfigError before anything is served.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    settings = load_settings().settings
    demands = _demands(options, settings.chap_shortest_secret_bytes)
    return run_loop(_serve(options, settings, demands), settings.look_microseconds)


def _demands(options: Options, shortest_bytes: int) -> tuple[Optional[Account], Optional[Account]]:
    """What is asked for at login and at discovery. Raises ConfigError for a file or a password that won't do."""
    login, mutual, discovery = (
        credentials(given[0], read_secret(given[1]), shortest_bytes) if given is not None else None
        for given in (options.chap, options.mutual_chap, options.discovery_chap)
    )
    return Account(login, mutual) if login else None, Account(discovery, mutual) if discovery else None


async def _serve(options: Options, settings: Settings, demands: tuple[Optional[Account], Optional[Account]]) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in ending_signals():
        loop.add_signal_handler(number, stop.set)
    backing = parse_backing(options.uri)
    backend = await _open(backing, settings, options, stop)
    taken: list[str] = []

    def lost(why: str) -> None:
        taken.append(why)
        log.error("%s", why)
        loop.call_soon_threadsafe(stop.set)

    try:
        await asyncio.sleep(0)  # a signal that came in the same turn of the loop is heard in the next one
        if stop.is_set():
            return 1  # while it was opened, which took its time: nobody has seen the disk
        if options.size not in (None, backend.size_bytes):
            log.warning(
                "%s is there already and has %s (%d bytes): --size is for one that is missing",
                backing, format_size(backend.size_bytes), backend.size_bytes,
            )  # fmt: skip
        on_lease_lost(backend, lost)
        unit = LogicalUnit(
            backend, _unit_options(options), report=_report, clock=time.time, later=later,
            copies=CopyManager(time.monotonic, secrets.token_bytes),
        )  # fmt: skip
        tell_trouble(str(backing), trouble_of(unit))
        front = make_front(loop, settings)
        front.directory.discovery = demands[1]
        ready = _publish(front, unit, backing, options, demands[0])
        for sentence in _cautions(options, backend, everybody_unasked=demands[0] is None):
            log.warning("%s", sentence)
        print(ready.as_json() if options.json else ready.as_text(), flush=True)
        watch = loop.create_task(SpaceWatch(lambda: [unit], partial(loop.run_in_executor, None)).run())
        await stop.wait()
        watch.cancel()
        await front.stop(LOGOUT_SECONDS)
        await stop_background(unit)
        return 1 if taken else await _flush(backend, loop)
    finally:
        await loop.run_in_executor(None, backend.close)


def _cautions(options: Options, backend: Backend, everybody_unasked: bool) -> Iterator[str]:
    """What is as it was asked for, and may not be what was meant."""
    yield from options.read_otherwise
    if everybody_unasked and any(rule.kind is RuleKind.ALL for rule in options.allow):
        yield "--allow all: every initiator that reaches the portal may read and write this disk"
    if idle := needless(options.allow):
        yield f"--allow {idle}"
    if behind := out_of_reach(backend.size_bytes, options.shape.logical_block_bytes):
        yield f"{options.uri}: {behind}"


def _unit_options(options: Options) -> UnitOptions:
    to_the_end = options.write_same_to_end
    return options_of(
        options.shape, write_protected=options.read_only, write_same_to_the_end=to_the_end,
        unmapped_reads_zeros=not to_the_end,
    )  # fmt: skip


async def _open(backing: Backing, settings: Settings, options: Options, stop: asyncio.Event) -> Backend:
    """The backend; waits for another holder's lease to end, unless that one is alive. Raises ConfigError."""
    loop = asyncio.get_running_loop()
    left = 0.0
    while True:
        try:
            return await loop.run_in_executor(None, lambda: open_backing(
                backing, loop, create_size_bytes=options.size, read_only=options.read_only,
                lease=lease_terms(settings), block_bytes=options.shape.logical_block_bytes,
            ))  # fmt: skip
        except LeaseHeld as held:
            if left and held.seconds > left:
                raise  # it was renewed
            if not left:
                log.warning("%s; waiting to see whether it does", held)
            left = held.seconds
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stop.wait(), min(LOOK_SECONDS, left))
            if stop.is_set():
                raise


def _publish(
    front: IscsiFront, unit: LogicalUnit, backing: Backing, options: Options, account: Optional[Account]
) -> Ready:
    iqn = options.iqn or _iqn_for(backing)
    target = EngineTarget(iqn, Target(iqn, {options.lun: unit}), options.allow)
    target.accounts = Accounts(account)
    target.listening = [front.listen(portal) for portal in options.portals]
    front.directory.add(target)
    return Ready(iqn, options.lun, tuple(target.listening), str(backing), unit.backend.size_bytes, unit.identity.serial)


def _iqn_for(backing: Backing) -> str:
    """A name made of what is served: the same file, the same name. Letters that it has no room for become a digest."""
    words = [backing.volume, *backing.path.split("/"), backing.name]
    if not (whole := "/".join(words)).isascii():
        words.append(hashlib.sha256(whole.encode(errors="surrogateescape")).hexdigest()[:8])
    name = "-".join(re.sub(r"[^a-z0-9.:-]+", "-", word.lower()).strip("-") for word in words if word)
    return f"{NAMING_AUTHORITY}:{name[-150:] or 'disk'}"


async def _flush(backend: Backend, loop: asyncio.AbstractEventLoop) -> int:
    """Everything acknowledged reaches stable storage, or the exit status says that it may not have."""
    if backend.read_only:
        return 0
    ended: asyncio.Future[Any] = loop.create_future()
    try:
        outcome = backend.flush(lambda result: None if ended.done() else ended.set_result(result))
        if isinstance(outcome, int):
            return 0
        result = await asyncio.wait_for(ended, FLUSH_SECONDS)
    except (OSError, asyncio.TimeoutError) as error:
        result = error
    if isinstance(result, BaseException):
        log.error("the last flush failed (%s): acknowledged writes may be lost", result or "no answer in time")
        return 1
    return 0


def _report(command: Command, error: BaseException) -> None:
    log.error("unexpected error in %s", command, exc_info=error)
