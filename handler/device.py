"""One TCMU device's life, driven through the table of tcmu/device_life.py by one task.

After a predecessor's death: open (which proves that nobody else holds the buffers), block, reset, map, open the
backing, unblock. A fresh device is only opened and mapped. What fails is told in `reason` and tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
from collections.abc import Callable
from typing import Optional

from tcmu_gluster.backends.base import Backend
from tcmu_gluster.config.cfgstring import StateId
from tcmu_gluster.config.disk_shape import DiskShape
from tcmu_gluster.config.uri import Backing, parse_backing
from tcmu_gluster.errors import ConfigError, TcmuGlusterError
from tcmu_gluster.scsi.command import ANY
from tcmu_gluster.scsi.limits import BLOCK_SIZES_BYTES
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.tcmu import actions
from tcmu_gluster.tcmu.cfgstring import ConfigRefused, parse_config
from tcmu_gluster.tcmu.configfs import DeviceDirectory, DeviceInfo
from tcmu_gluster.tcmu.device_life import DeviceInput, DeviceState, following
from tcmu_gluster.tcmu.ring import RingState
from tcmu_gluster.tcmu.uio import UioDevice, read_device

from .tcmu_front import Mapping, TcmuFront
from .units import options_of, stop_background
from .world import World, flush, identity_of, make_unit, on_lease_lost, reason_of

log = logging.getLogger(__name__)

E, S = DeviceInput, DeviceState
BUSY_RETRY_SECONDS = 0.5
"""How soon a device is tried again that another process still holds: a predecessor that is just ending."""
Answer = Callable[[int], object]


class Device:
    """A TCMU device of ours. answer(errno) ends the kernel's wait for ADDED, where it waits."""

    def __init__(self, uio: UioDevice, world: World) -> None:
        self.uio, self._world = uio, world
        self.state = S.ABSENT
        self.reason = ""
        self.serial = ""
        self.backing: Optional[Backing] = None
        self.backend: Optional[Backend] = None
        self.unit: Optional[LogicalUnit] = None
        self.front: Optional[TcmuFront] = None
        self.size_bytes = 0
        self._directory = DeviceDirectory(uio.hba, uio.name, world.core)
        self._fd = -1
        self._mapping: Optional[Mapping] = None
        self._known = False  # whether an initiator may have seen it before this ring's first command
        self._wish: Optional[DeviceInput] = None  # STOP or GONE: what outlasts everything else
        self._ended: Optional[DeviceInput] = None  # what ended the front
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()
        self._retry_seconds = 0.0
        with contextlib.suppress(OSError, TcmuGlusterError):  # what is wrong with it is said when it is opened
            self.backing = self._backing()

    @property
    def name(self) -> str:
        """The backstore's name: the disk's name."""
        return self.uio.name

    def _tell(self, event: DeviceInput) -> None:
        before = self.state
        self.state = following(before, event)
        if before is not self.state:
            log.info("%s: %s%s", self.uio, self.state.value, f" ({self.reason})" if self.reason else "")
        self._changed.set()

    # -- asked from outside -------------------------------------------------------------------------------------------

    def wish(self, event: DeviceInput) -> None:
        """GONE (LIO removes it) or STOP (the daemon ends). GONE wins."""
        if self._wish is not E.GONE:
            self._wish = event
        self._wake.set()

    @property
    def leaving(self) -> bool:
        """Whether it is on its way out: another device of this name is another device."""
        return self._wish is not None or self.state in (S.REMOVING, S.REMOVED)

    async def settled(self, seconds: float) -> bool:
        """Wait until it serves (True), or has failed or gone (False)."""
        deadline = self._world.loop.time() + seconds
        while self.state not in (S.SERVING, S.FAILED, S.REMOVED):
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), max(0.0, deadline - self._world.loop.time()))
            except asyncio.TimeoutError:
                return False
        return self.state is S.SERVING

    def check_limit(self, now: float) -> None:
        """Give up commands that have run too long."""
        if self.front is not None and self.state in (S.SERVING, S.DRAINING, S.REMOVING):
            self.front.check_limit(now)

    # -- its life -----------------------------------------------------------------------------------------------------

    async def live(self, fresh: bool, answer: Optional[Answer] = None) -> None:
        """From FOUND to REMOVED. fresh: LIO just made it, so nobody else can have used its ring."""
        self._tell(E.FOUND)
        while True:
            ended = await self._one_life(fresh, answer)
            fresh, answer = False, None
            if ended in (E.GONE, E.STOP):
                break
            await self._pause()
            if self._wish is None and self._is_gone():
                self._wish = E.GONE
            if self._wish is not None:
                self._tell(self._wish)
                break
            self._tell(E.RETRY)
        if self.state is not S.REMOVED:  # DEAD or SERVING before: what is left has to come back first
            await self._let_go()
            self._tell(E.QUIET)

    async def _one_life(self, fresh: bool, answer: Optional[Answer]) -> DeviceInput:
        """Open, serve, let go; why it ended."""
        self.reason, self._ended = "", None
        try:
            await self._open(fresh)
            if self._wish is None:
                await self._start(fresh)
        except (OSError, TcmuGlusterError) as error:
            return await self._fail(error, fresh, answer)
        if self._wish is None:
            self._retry_seconds = 0.0
            if answer is not None:
                answer(0)
            await self._wait_for_end()
        return await self._end()

    async def _open(self, fresh: bool) -> None:
        """OPENING to MAPPED. Raises OSError, ConfigError."""
        world, uio = self._world, self.uio
        self._fd = world.open_device(uio)
        used = not fresh and await world.in_thread(lambda: self._directory.can_reset)
        if used:
            try:
                await world.in_thread(actions.block_device, uio.hba, uio.name, world.core)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                used = False  # LIO is still adding it: there is nothing to reset
        if used:
            self._tell(E.OPENED_USED)
            self._tell(E.QUIET)
            await world.in_thread(actions.reset_ring, uio.hba, uio.name, actions.ResetAnswer.BUSY, world.core)
            self._tell(E.RESET)
        else:
            self._tell(E.OPENED_FRESH)

    async def _start(self, fresh: bool) -> None:
        """MAPPED to SERVING. Raises OSError, ConfigError."""
        world, uio = self._world, self.uio
        info = await world.in_thread(self._directory.info)
        can_reset = await world.in_thread(lambda: self._directory.can_reset)
        self._mapping, self._fd = world.map_device(uio, self._fd), -1
        self._known = info.exported
        unit = await self._make_unit(info, fresh)
        self.front = TcmuFront(
            str(uio), self._mapping, unit, world.loop, limit_seconds=world.settings.command_limit_seconds,
            in_order=not can_reset, access=world.access, on_end=self._front_ended, before_first=self._before_first,
        )  # fmt: skip
        if self.front.ring.state is RingState.DEAD:
            raise ConfigError(f"the ring can't be trusted: {self.front.ring.reason}")
        if self._wish is not None:
            return
        if not fresh and can_reset:
            with contextlib.suppress(OSError):  # EINVAL: LIO is still adding it, so it isn't blocked
                await world.in_thread(actions.unblock_device, uio.hba, uio.name, world.core)
        if world.beside_other:
            with contextlib.suppress(OSError):  # an old kernel has no such attribute
                await world.in_thread(actions.set_netlink_reply, uio.hba, uio.name, -1, world.core)
        self._tell(E.STARTED)
        self.front.start(answer_busy=not fresh and not can_reset)

    async def _make_unit(self, info: DeviceInfo, fresh: bool) -> LogicalUnit:
        record = self._world.disk_files.read(info.serial) if info.serial else {}
        backing = self._backing()
        self.backing, self.serial, self.size_bytes = backing, info.serial, info.size_bytes
        block_bytes = info.block_bytes or 512
        if block_bytes not in BLOCK_SIZES_BYTES or info.size_bytes <= 0 or info.size_bytes % block_bytes:
            raise ConfigRefused(f"{info.size_bytes} bytes in blocks of {block_bytes} can't be served; "
                                "blocks have 512 or 4096 bytes, and a disk a whole number of them")  # fmt: skip
        create = info.size_bytes if fresh or backing.scheme == "memory" else None
        read_only = bool(record.get("read_only"))
        backend = await self._world.open_backing(backing, create_size_bytes=create, read_only=read_only)
        self.backend = backend
        on_lease_lost(backend, lambda why: self._world.loop.call_soon_threadsafe(self._lose, backend, why))
        if backend.size_bytes < info.size_bytes:
            raise ConfigRefused(f"{backing} has only {backend.size_bytes} bytes and LIO was told {info.size_bytes}; "
                                "grow the file, or delete the disk and create it with its real size")  # fmt: skip
        unit = make_unit(self.name, backend, info.serial, options_of(
            DiskShape.chosen(record), block_size_bytes=block_bytes, write_protected=read_only,
            reservations=False, ports=False,  # the kernel knows initiators and ports, we don't
        ), record)  # fmt: skip
        unit.blocks = info.size_bytes // block_bytes
        if not info.write_cache:
            unit.set_write_cache(False)
        self.unit = unit
        return unit

    def _backing(self) -> Backing:
        named = parse_config(self.uio.config)
        if isinstance(named, StateId):
            record = self._world.disk_files.find_id(named.id)
            if "uri" not in record:
                raise ConfigRefused(f"no disk file of ours has the id {named.id}; it was made on another host, or its "
                                    "file was lost", errno.ENOENT)  # fmt: skip
            return parse_backing(str(record["uri"]))
        return named

    def _before_first(self) -> None:
        """The serial is written after ADDED and before the first LUN: so at the first command it is there to stay.

        Attributes are set then too. Of a disk that no LUN showed so far, these changes are news to nobody.
        """
        serial = self._directory.serial()
        if self.unit is not None:
            if serial and serial != self.unit.identity.serial:
                self.unit.identity = identity_of(serial, self._world.disk_files.read(serial))
            if not self._known:
                self.unit.attach(ANY, attention=None)
        self.serial = serial or self.serial

    # -- its ends -----------------------------------------------------------------------------------------------------

    def _front_ended(self, reason: str) -> None:
        """The ring died, or the device vanished under us."""
        self._ended = E.GONE if self._is_gone() else E.CORRUPTION
        self.reason = reason
        log.log(logging.INFO if self._ended is E.GONE else logging.ERROR, "%s: %s", self.uio, reason)
        self._wake.set()

    def _lose(self, backend: Backend, why: str) -> None:
        """Another gateway has taken the disk."""
        if self.backend is backend and self._ended is None:
            self._ended, self.reason = E.CORRUPTION, why
            log.error("%s: %s", self.uio, why)
            self._wake.set()

    async def _wait_for_end(self) -> None:
        while self._wish is None and self._ended is None:
            self._wake.clear()
            await self._wake.wait()

    async def _end(self) -> DeviceInput:
        """Leave SERVING (or an earlier state, if the wish came while it was opened)."""
        why = self._wish or self._ended or E.STOP
        if why is E.STOP and self.state is S.SERVING:
            with contextlib.suppress(OSError):
                await self._world.in_thread(actions.block_device, self.uio.hba, self.uio.name, self._world.core)
        self._tell(why)
        quiet = await self._let_go()
        if self.state in (S.DRAINING, S.REMOVING) and quiet:
            self._tell(E.QUIET)
        return why

    async def _fail(self, error: Exception, fresh: bool, answer: Optional[Answer]) -> DeviceInput:
        self.reason = reason_of(error)
        number = getattr(error, "errno", None) or errno.EIO
        self._retry_seconds = BUSY_RETRY_SECONDS if number == errno.EBUSY else float(self._world.settings.retry_seconds)
        self._tell(self._wish or E.FAILURE)
        if fresh and (answer is None or answer(number) != 0):  # nobody waited, so it stays: let initiators hear BUSY
            with contextlib.suppress(OSError):
                await self._world.in_thread(actions.block_device, self.uio.hba, self.uio.name, self._world.core)
        await self._let_go()
        return self._wish or E.FAILURE

    async def _let_go(self) -> bool:
        """Wait for what is in flight, then unmap and close. False if a stop could not wait so long."""
        front, self.front = self.front, None
        if front is not None:
            front.ring.drain()
            patience = float(self._world.settings.drain_seconds)
            while not await front.drain(patience):
                log.warning("%s: %d commands are still with storage", self.uio, front.outstanding)
                if self._wish is E.STOP:
                    self.front = front
                    return False  # the process ends now, and the kernel takes the memory back
            front.close()
            self._mapping = None
        if self._mapping is not None:
            self._mapping.close()
            self._mapping = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        backend, unit = self.backend, self.unit
        self.backend = self.unit = None
        if unit is not None:
            unit.copies.leave()
            await stop_background(unit)
        if backend is not None:
            await self._world.in_thread(backend.close)
        return True

    async def _pause(self) -> None:
        if self._wish is None:
            self._wake.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._retry_seconds or self._world.settings.retry_seconds)

    def _is_gone(self) -> bool:
        now = read_device(self.uio.minor, self._world.sysfs)
        return now is None or now.key != self.uio.key

    # -- reconfiguration ----------------------------------------------------------------------------------------------

    async def _served(self) -> tuple[LogicalUnit, Backend]:
        """The unit, waited for while it is opened: rtslib sets attributes as soon as the device is there."""
        if self.unit is None:
            await self.settled(self._world.settings.command_limit_seconds)
        if self.unit is None or self.backend is None:
            raise ConfigRefused(f"{self.uio} is not served now ({self.reason or self.state.value})", errno.EAGAIN)
        return self.unit, self.backend

    async def resize(self, size_bytes: int) -> None:
        """LIO has another size. Raises ConfigRefused if the backing is smaller."""
        unit, backend = await self._served()
        if size_bytes <= 0 or size_bytes % unit.block_size_bytes:
            raise ConfigRefused(f"{size_bytes} bytes are not a whole number of blocks of {unit.block_size_bytes}")
        if size_bytes != self.size_bytes:
            real = await self._world.in_thread(backend.refresh_size)
            if real < size_bytes:
                raise ConfigRefused(
                    f"{backend.uri} has only {real} bytes; grow it with tcmu-gluster disk resize {self.name}"
                )
            unit.capacity_changed()
            unit.blocks = size_bytes // unit.block_size_bytes
            self.size_bytes = size_bytes

    async def set_write_cache(self, on: bool) -> None:
        """LIO's emulate_write_cache was changed. What an off switch found in the cache is flushed. Raises OSError."""
        unit, backend = await self._served()
        unit.set_write_cache(on)
        if not on:
            await flush(self._world, backend)
