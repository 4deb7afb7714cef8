"""All TCMU devices of ours: found in sysfs, announced and taken back over netlink; a task lives the life of each."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

from tcmu_gluster.config.cfgstring import SUBTYPE
from tcmu_gluster.errors import TcmuGlusterError
from tcmu_gluster.tcmu import actions
from tcmu_gluster.tcmu.cfgstring import ConfigRefused
from tcmu_gluster.tcmu.device_events import Added, DeviceEvent, Reconfigured, Removed, Resync
from tcmu_gluster.tcmu.device_life import DeviceInput
from tcmu_gluster.tcmu.uio import UioDevice, find_devices

from .device import Device
from .world import World, reason_of

log = logging.getLogger(__name__)

Key = tuple[int, str]
OTHER_DAEMON = "tcmu-runner"
_COMM_BYTES = 64


class Devices:
    """The LIO front. netlink: makes the listener; raises OSError where the kernel has no TCMU (yet)."""

    def __init__(
        self,
        world: World,
        netlink: Callable[[], Any] = lambda: listener_class()(SUBTYPE),
        is_other_running: Callable[[], bool] = lambda: is_running(OTHER_DAEMON),
    ) -> None:
        self._world, self._make_netlink, self._is_other_running = world, netlink, is_other_running
        self._waiting = False  # whether we told the kernel to wait for answers
        self._netlink: Optional[Any] = None
        self.devices: dict[Key, Device] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._others: set[asyncio.Task[None]] = set()
        self._stopping = False

    # -- start and stop -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Adopt what is there; then listen, release whoever waits for a predecessor, and look again.

        Initiators wait for the disks that are there already, so these come before the listener's code is even loaded.
        """
        self._world.beside_other = self._is_other_running()
        self._adopt()
        await self._world.in_thread(listener_class)
        self.listen()
        await self._start_afresh()

    async def _start_afresh(self) -> None:
        """Release whoever waits for an answer that can't come any more, and look at what is there."""
        parameters = self._world.parameters
        if self._netlink is not None and (parameters / "reset_netlink").exists():
            try:
                await self._world.in_thread(actions.release_waiters, parameters)
            except OSError as error:
                log.warning("whoever waits for an answer could not be released: %s", reason_of(error))
            self._netlink.forget()
        self.rescan()

    def listen(self) -> bool:
        """Join the kernel's announcements if that is possible by now."""
        if self._netlink is not None or self._stopping:
            return self._netlink is not None
        try:
            self._netlink = self._make_netlink()
        except OSError as error:
            log.debug("no TCMU in this kernel (yet): %s", reason_of(error))
            return False
        self._world.loop.add_reader(self._netlink.fileno(), self._readable)
        self.settle_waiting()
        return True

    def settle_waiting(self) -> None:
        """Whether the kernel waits for answers about devices. It waits for the first answer, whoever gives it.

        tcmu-runner answers ENOENT for every subtype that it doesn't know, and so vetoes devices of ours that rtslib
        restored without nl_reply_supported=-1. So beside it nobody waits; its own devices don't need it. It turns the
        waiting on when it starts, hence this is said again for as long as it is there.
        """
        beside = self._is_other_running()
        if self._netlink is None or (self._waiting and not beside):
            return
        if beside is not self._world.beside_other:
            log.info("%s is %s: the kernel %s for answers", OTHER_DAEMON, "here" if beside else "gone",
                     "does not wait" if beside else "waits")  # fmt: skip
        self._world.beside_other = beside
        self._waiting = not beside
        refused = self._netlink.set_features(self._waiting)
        if refused not in (0, errno.EOPNOTSUPP):
            log.warning("the kernel would not be told whether to wait for answers: errno %d", refused)

    async def stop(self) -> None:
        """Drain every device and let go; LIO keeps them, blocked, for whoever comes next."""
        self._stopping = True
        for device in self.devices.values():
            device.wish(DeviceInput.STOP)
        await asyncio.gather(*self._tasks.values(), *self._others, return_exceptions=True)
        if self._netlink is not None:
            self._world.loop.remove_reader(self._netlink.fileno())
            if not self._is_other_running():
                self._netlink.set_features(False)  # while nobody is here, nobody shall wait
            self._netlink.close()
            self._netlink = None

    def rescan(self) -> None:
        """Adopt devices that nobody announced, drop those that vanished unannounced."""
        if self.listen():
            self.settle_waiting()
        present = self._adopt()
        for key, device in self.devices.items():
            if key not in present:
                device.wish(DeviceInput.GONE)

    def _adopt(self) -> dict[Key, UioDevice]:
        """Begin with every device that is there and unknown; all that are there."""
        present = {uio.key: uio for uio in find_devices(SUBTYPE, self._world.sysfs)}
        for key, uio in present.items():
            if key not in self.devices:
                self._begin(uio, fresh=False)
        return present

    def tick(self, now: float) -> None:
        """Every second: the command limit. now: the loop's clock."""
        for device in self.devices.values():
            device.check_limit(now)

    def find(self, name: str) -> Optional[Device]:
        """The device of a disk name."""
        return next((device for device in self.devices.values() if device.name == name), None)

    async def wait_for(self, name: str, seconds: float) -> Optional[Device]:
        """The device of that name once it has settled; None if it doesn't appear in time."""
        deadline = self._world.loop.time() + seconds
        while True:
            self.rescan()
            device = self.find(name)
            left = deadline - self._world.loop.time()
            if device is not None:
                await device.settled(left)
                return device
            if left <= 0:
                return None
            await asyncio.sleep(min(0.1, left))

    async def wait_until_gone(self, name: str, seconds: float) -> bool:
        """Whether the device of that name is let go within that time."""
        key = next((key for key, device in self.devices.items() if device.name == name), None)
        task = self._tasks.get(key) if key is not None else None
        if task is None:
            return True
        done, _ = await asyncio.wait({task}, timeout=seconds)
        return bool(done)

    # -- one device ---------------------------------------------------------------------------------------------------

    def _begin(self, uio: UioDevice, fresh: bool, event: Optional[Added] = None) -> None:
        device = Device(uio, self._world)
        before = self._tasks.get(uio.key)
        self.devices[uio.key] = device
        if self._stopping:
            device.wish(DeviceInput.STOP)
        self._tasks[uio.key] = self._world.loop.create_task(self._live(device, before, fresh, event))

    async def _live(
        self, device: Device, before: Optional[asyncio.Task[None]], fresh: bool, event: Optional[Added]
    ) -> None:
        if before is not None:  # the name is used again while its old device is still being let go
            await asyncio.wait({before})
        answer = None if event is None else lambda number: self._reply(event, number)
        try:
            await device.live(fresh, answer)
        except Exception:
            log.exception("%s ended unexpectedly", device.uio)
        finally:
            if self.devices.get(device.uio.key) is device:
                del self.devices[device.uio.key]
                del self._tasks[device.uio.key]

    # -- netlink ------------------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        if self._netlink is None:
            return
        try:
            events = self._netlink.receive()
        except OSError as error:
            log.error("the kernel's announcements can't be read: %s", reason_of(error))
            return
        for event in events:
            log.debug("netlink: %s", event)
            self._take(event)

    def _take(self, event: Any) -> None:
        if isinstance(event, Added):
            known = self.devices.get(event.device.key)
            if known is not None and known.uio == event.device and not known.leaving:
                self._later(self._answer_added(known, event))
            else:
                self._begin(event.device, fresh=True, event=event)
        elif isinstance(event, Removed):
            self._later(self._remove(event))
        elif isinstance(event, Reconfigured):
            self._later(self._reconfigure(event))
        elif isinstance(event, Resync):
            log.warning("%s; looking again", event.reason)
            self._later(self._start_afresh())

    async def _answer_added(self, device: Device, event: Added) -> None:
        """The scan was faster than the announcement."""
        serves = await device.settled(self._world.settings.command_limit_seconds)
        self._reply(event, 0 if serves else errno.EIO)

    async def _remove(self, event: Removed) -> None:
        device, task = self.devices.get(event.device.key), self._tasks.get(event.device.key)
        if device is not None and task is not None:
            device.wish(DeviceInput.GONE)
            await asyncio.wait({task})
        self._reply(event, 0)

    async def _reconfigure(self, event: Reconfigured) -> None:
        device = self.devices.get(event.device.key)
        try:
            if device is None:
                raise ConfigRefused(f"{event.device} is not served", errno.ENODEV)
            if event.size_bytes is not None:
                await device.resize(event.size_bytes)
            elif event.write_cache is not None:
                await device.set_write_cache(event.write_cache)
            elif event.config != device.uio.config:
                raise ConfigRefused(f"{event.device} can't become {event.config!r}: make a new disk", errno.EOPNOTSUPP)
        except (OSError, TcmuGlusterError) as error:
            log.error("%s: LIO's change was refused: %s", event.device, reason_of(error))
            self._reply(event, getattr(error, "errno", None) or errno.EIO)
        else:
            self._reply(event, 0)

    def _reply(self, event: DeviceEvent, number: int) -> int:
        """Answer the kernel; 0 if somebody waited for it."""
        if self._netlink is None:
            return errno.ENOTCONN
        try:
            return int(self._netlink.reply(event, number))
        except OSError as error:
            log.error("%s could not be answered: %s", event, reason_of(error))
            return error.errno or errno.EIO

    def _later(self, work: Any) -> None:
        task = self._world.loop.create_task(work)
        self._others.add(task)
        task.add_done_callback(self._others.discard)


def listener_class() -> Callable[[str], Any]:
    """NetlinkShell, loaded when it is wanted: pyroute2 takes a third of all the time that loading a daemon takes."""
    from tcmu_gluster.tcmu.netlink import NetlinkShell

    return NetlinkShell


def is_running(command: str, proc: Path = Path("/proc")) -> bool:
    """Whether a process of that name runs.

    Every disk waits while a host's thousands of processes are looked at, so this does without the comfort of pathlib.
    """
    wanted, root = command.encode() + b"\n", os.fspath(proc)
    for pid in os.listdir(root):
        if not pid.isdecimal():
            continue
        try:
            descriptor = os.open(f"{root}/{pid}/comm", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # it has ended meanwhile
            continue
        try:
            if os.read(descriptor, _COMM_BYTES) == wanted:
                return True
        except OSError:
            continue
        finally:
            os.close(descriptor)
    return False
