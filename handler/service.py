"""The daemon from start to stop, in order.

Start: state, LIO's rings found again, listeners, control socket, D-Bus name, ready. Stop is the reverse: refuse, drain,
flush, close. One event loop in one thread owns every ring, connection and unit; threads only open and close backings.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Optional

from tcmu_gluster.config.settings import Settings
from tcmu_gluster.errors import ConfigError, TcmuGlusterError
from tcmu_gluster.scsi.logical_unit import LogicalUnit

from .bounds import make_front
from .config_check import check_config
from .configuration import Configuration
from .control_server import ControlServer
from .devices import Devices
from .engine import Engine
from .engine_disk import EngineDisk
from .lio import LioAdmin
from .lock import lock_state
from .loop import ending_signals
from .loop import run as run_loop
from .notify import Notifier
from .operations import Operations, interrupted
from .operations.context import Context
from .operations.whole import convert
from .privileges import become, find_user, hand_over, paths_of
from .space import SpaceWatch
from .state import DiskFiles, StateFile
from .world import World, reason_of

log = logging.getLogger(__name__)

TICK_SECONDS = 0.5
"""How late the command limit may be noticed."""
SETTLE_SECONDS = 45.0
"""A start waits no longer for LIO to give back what a cut off move left; systemd would end it (TimeoutStartSec)."""
MODULE = "target_core_user"


class Service:
    """All parts of one daemon."""

    def __init__(self, world: World, notifier: Notifier) -> None:
        settings = world.settings
        self.world, self.notifier = world, notifier
        front = make_front(world.loop, settings)
        self.engine = Engine(world, front, front.directory)
        self.devices = Devices(world)
        self.context = Context(
            world, StateFile(settings.state_file), self.engine, self.devices, lio=wants_lio(settings)
        )
        self.engine.served_elsewhere = self._on_lio
        self.operations = Operations(self.context)
        self.control = ControlServer(settings.control_socket, self.operations)
        self._tasks: list[asyncio.Task[None]] = []
        self._dbus: Optional[asyncio.Task[None]] = None
        self._lock = -1

    async def start(self) -> None:
        """Everything that was saved is served afterwards, or waits with a reason. Raises ConfigError, OSError."""
        self._lock = lock_state(self.world.settings.state_file)
        self.operations.hold()
        await self.control.start()
        try:
            await self._restore()
        except BaseException:
            self.operations.give_up()
            raise
        self.operations.begin()
        watch = SpaceWatch(self._units, self.world.in_thread)
        self._tasks = [
            self.world.loop.create_task(work()) for work in (self._tick, self._retry, self._watch, watch.run)
        ]
        if self.context.lio:
            self._dbus = self.world.loop.create_task(self._join_bus())
        self.notifier.ready(self._summary())
        log.info("ready: %s", self._summary())

    async def _restore(self) -> None:
        """What was saved, and LIO's rings."""
        configuration, skipped = convert(self.context.state.load())
        for sentence in skipped:
            log.warning("saved configuration: %s", sentence)
        if self.context.lio:
            await self.world.in_thread(load_module)
            await self.devices.start()
        await self.engine.apply(await self._settled(configuration), strict=False)

    async def _settled(self, configuration: Configuration) -> Configuration:
        """Without what a move left on LIO that a crash cut off; if that can't be, the engine's disk waits for it."""
        if self.context.lio and interrupted.is_cut_off(configuration):
            try:
                return await asyncio.wait_for(interrupted.settle(self.context, configuration), SETTLE_SECONDS)
            except asyncio.TimeoutError:
                log.error("a move that was cut off can't be settled yet: LIO took longer than %g s", SETTLE_SECONDS)
            except (OSError, TcmuGlusterError) as error:
                log.error("a move that was cut off can't be settled yet: %s", reason_of(error))
        return configuration

    async def _settle(self) -> None:
        await self.engine.apply(await self._settled(self.context.configuration), strict=False)

    async def _join_bus(self) -> None:
        """Plain targetcli finds its backstore types on the system bus; without dbus-fast it doesn't find ours."""
        try:
            from .dbus_service import DbusService
        except ImportError as error:
            log.warning("plain targetcli does not show gluster disks: %s", error)
            return
        service = DbusService(partial(check_config, self.world), retry_seconds=self.world.settings.retry_seconds)
        service.on_neighbour = self.devices.settle_waiting
        self.context.targetcli = lambda: service.place
        await service.run()

    def _summary(self) -> str:
        waiting = sum(disk.unit is None for disk in self.engine.disks.values())
        return (
            f"{len(self.devices.devices)} disks on LIO, {len(self.engine.disks)} disks ({waiting} waiting) and "
            f"{len(self.engine.directory.targets)} targets on the engine"
        )

    def _on_lio(self, disk: EngineDisk) -> Optional[str]:
        """LIO's device of that disk, in words. Its serial is known when it is open, its file from the beginning."""
        for device in self.devices.devices.values():
            same = str(device.backing) == str(disk.backing) or device.serial == disk.serial != ""
            if same and not device.leaving:
                return f"LIO (backstore {device.name})"
        return None

    def _units(self) -> list[LogicalUnit]:
        """The disks that are open now, on either front."""
        units = [device.unit for device in self.devices.devices.values()]
        units += [disk.unit for disk in self.engine.disks.values()]
        return [unit for unit in units if unit is not None]

    async def stop(self) -> None:
        """Refuse, drain, flush, close."""
        self.notifier.stopping()
        seconds = float(self.world.settings.drain_seconds)
        for task in [*self._tasks[1:], *([self._dbus] if self._dbus is not None else [])]:
            task.cancel()
        await self.control.stop()
        await asyncio.gather(self.devices.stop(), self.engine.stop(min(seconds, 5.0)))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *([self._dbus] if self._dbus else []), return_exceptions=True)
        self.world.threads.shutdown(wait=False, cancel_futures=True)
        if self._lock >= 0:
            os.close(self._lock)

    async def _tick(self) -> None:
        """The command limit; it runs until the very end, because a drain needs it too."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.devices.tick(self.world.loop.time())

    async def _retry(self) -> None:
        """What waits for a volume, a portal or the kernel's module."""
        while True:
            await asyncio.sleep(self.world.settings.retry_seconds)
            try:
                if self.context.lio and interrupted.is_cut_off(self.context.configuration):
                    await self.operations.alone(self._settle)
                await self.engine.retry()
                if self.context.lio:
                    self.devices.rescan()
            except (OSError, TcmuGlusterError) as error:
                log.error("trying again failed: %s", reason_of(error))

    async def _watch(self) -> None:
        """systemd's watchdog: as long as the loop turns, it hears of us."""
        seconds = self.notifier.watchdog_seconds
        while seconds:
            self.notifier.alive()
            await asyncio.sleep(seconds)


def wants_lio(settings: Settings) -> bool:
    """Whether the LIO front is on: as set, or where this host has LIO and we are root."""
    if settings.user:
        return False  # the kernel's front needs root
    if settings.lio != "auto":
        return settings.lio == "on"
    has_lio = (settings.configfs / "target").is_dir() or Path(f"/sys/module/{MODULE}").is_dir()
    return os.geteuid() == 0 and (has_lio or _can_load())


def _can_load() -> bool:
    try:
        found = subprocess.run(["modprobe", "-n", "-q", MODULE], check=False, timeout=10, capture_output=True)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return found.returncode == 0


def load_module() -> None:
    """Load the kernel's TCMU and mount configfs where that is possible; its absence shows when LIO is asked."""
    if not Path(f"/sys/module/{MODULE}").is_dir():
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(["modprobe", "-q", MODULE], check=False, timeout=30, capture_output=True)


async def serve(settings: Settings) -> int:
    """Until a signal ends it. Raises ConfigError, OSError if it can't start."""
    loop = asyncio.get_running_loop()
    lio_admin = LioAdmin()
    world = World(loop, settings, DiskFiles(settings.state_file.parent / "disks"), ask_lio=lio_admin.ask)
    stop = asyncio.Event()
    for number in ending_signals():
        loop.add_signal_handler(number, stop.set)
    service = Service(world, Notifier())
    try:
        await service.start()
        await stop.wait()
        log.info("stopping")
    finally:
        await service.stop()
        await lio_admin.close()
    return 0


def run(settings: Settings) -> int:
    """The daemon in the foreground; its log goes to standard error, in systemd's form where systemd reads it."""
    level = getattr(logging, settings.log_level.upper())
    under_systemd = "JOURNAL_STREAM" in os.environ
    form = "%(levelname)s: %(message)s" if under_systemd else "%(asctime)s %(levelname)s: %(message)s"
    logging.basicConfig(level=level, format=form, stream=sys.stderr)
    try:
        settings.state_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the folder of the state file {settings.state_file} can't be made ({reason_of(error)}); choose another "
            "with --state-file"
        ) from error
    if settings.user:
        user = find_user(settings.user)
        settings.control_socket.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if os.geteuid() == 0:
            hand_over(paths_of(settings), user)
        become(user)
    return run_loop(serve(settings), settings.look_microseconds)
