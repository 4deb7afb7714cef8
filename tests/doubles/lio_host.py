"""A host with LIO as the daemon sees it: uio devices in a sysfs, configfs files, announcements, and a fake kernel's
ring behind each device. Directories and a socket pair; nothing of the real kernel."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections import deque
from pathlib import Path
from typing import Any

from tcmu_gluster.tcmu.device_events import Added, Reconfigured, Removed
from tcmu_gluster.tcmu.uapi import GenlCommand
from tcmu_gluster.tcmu.uio import UioDevice
from tests.doubles.fake_kernel import FakeKernel


class FakeMapping:
    """An opened device. Events come through a socket; knock() is the kernel's walk."""

    def __init__(self, device: LioDevice) -> None:
        self._device = device
        self.fd = device.far.fileno()
        self.memory = memoryview(device.kernel.memory)

    def read_event(self) -> int | None:
        if self._device.removed:
            raise OSError(errno.EIO, "Input/output error")
        try:
            return len(self._device.far.recv(4096))
        except BlockingIOError:
            return None

    def knock(self) -> None:
        if self._device.removed:
            raise OSError(errno.EINVAL, "Invalid argument")
        self._device.kernel.notify()

    def close(self) -> None:
        assert self.fd >= 0
        self.fd = -1
        self._device.mapped -= 1


class LioDevice:
    """One TCMU device, with the directory that configfs would show."""

    def __init__(self, host: LioHost, uio: UioDevice, size_bytes: int, serial: str, can_reset: bool) -> None:
        self.uio, self.host = uio, host
        self.kernel = FakeKernel(ring_bytes=4088, blocks=64, block_bytes=512)
        self.near, self.far = socket.socketpair()
        for end in (self.near, self.far):
            end.setblocking(False)
        self.opened = self.mapped = 0
        self.removed = False
        self.directory = host.core / f"user_{uio.hba}" / uio.name
        for folder in ("action", "attrib", "wwn"):
            (self.directory / folder).mkdir(parents=True)
        self.write("attrib/dev_size", str(size_bytes))
        self.write("attrib/hw_block_size", "512")
        self.write("attrib/emulate_write_cache", "1")
        self.write("attrib/cmd_time_out", "25")
        self.write("attrib/nl_reply_supported", "1")
        self.write("wwn/vpd_unit_serial", f"T10 VPD Unit Serial Number: {serial}\n")
        if can_reset:
            self.write("action/block_dev", "0")  # a real one reads "unblocked"; a write replaces a byte here
            self.write("action/reset_ring", "")
        folder = host.sysfs / f"uio{uio.minor}"
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"tcm-user/{uio.hba}/{uio.name}/{uio.config}\n")

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def read(self, name: str) -> str:
        return (self.directory / name).read_text()

    def event(self) -> None:
        """The uio event counter moved."""
        self.near.send(b"\1\0\0\0")

    def submit(self, cdb: bytes, **more: Any) -> Any:
        """A command of some initiator; blocked devices answer BUSY as the kernel does."""
        self.kernel.blocked = self.read("action/block_dev") == "1"
        issue = self.kernel.submit(cdb, **more)
        self.event()
        return issue


class FakeNetlink:
    """The daemon's listener: announce() makes it readable, replies are kept."""

    def __init__(self, host: LioHost) -> None:
        self._near, self._far = socket.socketpair()
        for end in (self._near, self._far):
            end.setblocking(False)
        self._events: deque[Any] = deque()
        self.replies: list[tuple[str, str, int]] = []
        self.features: list[bool] = []
        self.forgotten = 0
        self.kernel_waits = host.kernel_waits
        self.closed = False

    def fileno(self) -> int:
        return self._far.fileno()

    def announce(self, event: Any) -> None:
        self._events.append(event)
        self._near.send(b"!")

    def receive(self) -> list[Any]:
        self._far.recv(4096)
        events = list(self._events)
        self._events.clear()
        return events

    def reply(self, event: Any, error: int = 0) -> int:
        self.replies.append((event.kind.name, event.device.name, error))
        return 0 if self.kernel_waits else errno.ENODEV

    def forget(self) -> None:
        self.forgotten += 1

    def set_features(self, kernel_waits: bool) -> int:
        self.features.append(kernel_waits)
        return 0

    def close(self) -> None:
        self.closed = True
        self._near.close()
        self._far.close()


class LioHost:
    """sysfs and configfs below one directory. kernel_waits: nl_reply_supported is on."""

    def __init__(self, root: Path, *, kernel_waits: bool = False) -> None:
        self.root = root
        self.sysfs, self.configfs = root / "sys", root / "config"
        self.parameters = root / "parameters"
        self.core = self.configfs / "target" / "core"
        self.core.mkdir(parents=True, exist_ok=True)
        self.sysfs.mkdir(exist_ok=True)
        self.kernel_waits = kernel_waits
        self.devices: dict[str, LioDevice] = {}
        self.netlink: FakeNetlink | None = None
        self.log: list[str] = []

    def listen(self) -> FakeNetlink:
        """What the daemon calls to listen."""
        self.netlink = FakeNetlink(self)
        return self.netlink

    def add(
        self, name: str, config: str, size_bytes: int = 32 << 10, *, minor: int = 0, serial: str = "",
        announce: bool = True, can_reset: bool = True,
    ) -> LioDevice:  # fmt: skip
        """enable: the device appears, and whoever listens hears of it."""
        device = LioDevice(self, UioDevice(minor, minor, name, config), size_bytes, serial, can_reset)
        self.devices[name] = device
        if announce:
            self.announce(Added(GenlCommand.ADDED_DEVICE, device.uio, minor + 1))
        return device

    def announce(self, event: Any) -> None:
        assert self.netlink is not None, "nobody listens"
        self.netlink.announce(event)

    def remove(self, name: str, *, announce: bool = True) -> LioDevice:
        """rmdir: the announcement, then the device is gone."""
        device = self.devices.pop(name)
        if announce:
            self.announce(Removed(GenlCommand.REMOVED_DEVICE, device.uio, device.uio.minor + 1))
        device.removed = True
        shutil.rmtree(device.directory)
        folder = self.sysfs / f"uio{device.uio.minor}"
        (folder / "name").unlink()
        folder.rmdir()
        if not announce and device.mapped:
            device.event()
        return device

    def reconfigure(self, name: str, **what: Any) -> None:
        """Somebody writes attrib/dev_size, emulate_write_cache or dev_config."""
        device = self.devices[name]
        self.announce(Reconfigured(GenlCommand.RECONFIG_DEVICE, device.uio, device.uio.minor + 1, **what))

    # -- what the daemon opens ----------------------------------------------------------------------------------------

    def open_device(self, uio: UioDevice) -> int:
        device = self.devices.get(uio.name)
        if device is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", f"/dev/uio{uio.minor}")
        if device.opened > 0:
            raise OSError(errno.EBUSY, "Device or resource busy")
        self.log.append(f"open {uio.name}")
        return os.open(os.devnull, os.O_RDWR)

    def map_device(self, uio: UioDevice, fd: int) -> FakeMapping:
        device = self.devices[uio.name]
        os.close(fd)
        if (
            "action/reset_ring"
            and (device.directory / "action/reset_ring").exists()
            and device.read("action/reset_ring")
        ):
            device.kernel.reset()
            device.write("action/reset_ring", "")
            self.log.append(f"reset {uio.name}, blocked {device.read('action/block_dev')}")
        self.log.append(f"map {uio.name}")
        device.mapped += 1
        return FakeMapping(device)
