"""UIO devices of TCMU: finding them in sysfs, opening and mapping them, waiting and knocking.

The kernel lets one process at a time open /dev/uioN: that is the lock on a device. mmap and munmap are called through
cffi, because Python's mmap keeps a duplicate of the descriptor (so that closing ours would not let go of the device).
The mapping is 1 GiB and mostly without pages behind it: nobody may touch more than the ring and the buffers of
commands in flight. Root directories are arguments so that tests can bring their own.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

SYSFS = Path("/sys/class/uio")
DEV = Path("/dev")
NAME_PREFIX = "tcm-user"

_PROT_READ_WRITE = 0x1 | 0x2
_MAP_SHARED = 0x01
_MAP_FAILED = 2 * sys.maxsize + 1  # (void *) -1
_EVENT_BYTES = 4
_KNOCK = bytes(_EVENT_BYTES)


@dataclass(frozen=True)
class UioDevice:
    """A TCMU device as its uio name tells it: `tcm-user/<hba>/<name>[/<config>]`. minor: uioN. config may be empty."""

    minor: int
    hba: int
    name: str
    config: str

    @property
    def subtype(self) -> str:
        """The first token of the config string, whole: whose device it is."""
        return self.config.partition("/")[0]

    @property
    def key(self) -> tuple[int, str]:
        """What stays the same when the minor number is given to another device."""
        return self.hba, self.name

    def __str__(self) -> str:
        return f"user_{self.hba}/{self.name} (uio{self.minor})"


def parse_name(text: str, minor: int) -> Optional[UioDevice]:
    """The device that a uio name (sysfs file or netlink attribute) stands for; None if it is no TCMU device's."""
    parts = text.strip().split("/", 3)
    if len(parts) < 3 or parts[0] != NAME_PREFIX or not parts[2]:
        return None
    if not (parts[1].isascii() and parts[1].isdigit() and len(parts[1]) < 10):
        return None
    return UioDevice(minor, int(parts[1]), parts[2], parts[3].strip() if len(parts) > 3 else "")


def read_device(minor: int, sysfs: Path = SYSFS) -> Optional[UioDevice]:
    """The TCMU device behind uio<minor> now, or None: not there, vanished meanwhile, somebody else's driver."""
    try:
        raw = (sysfs / f"uio{minor}" / "name").read_bytes()
    except OSError:
        return None
    return parse_name(raw.decode("utf-8", "surrogateescape"), minor)


def find_devices(subtype: str, sysfs: Path = SYSFS) -> Iterator[UioDevice]:
    """Every TCMU device whose config begins with the token subtype, by minor number."""
    try:
        names = os.listdir(sysfs)
    except FileNotFoundError:  # no uio driver, no devices
        return
    minors = sorted(int(name[3:]) for name in names if name.startswith("uio") and name[3:].isdecimal())
    for minor in minors:
        device = read_device(minor, sysfs)
        if device is not None and device.subtype == subtype:
            yield device


def map_size_bytes(minor: int, sysfs: Path = SYSFS) -> int:
    """Size of map0: ring and data area. Raises OSError (EINVAL if the text makes no sense)."""
    text = (sysfs / f"uio{minor}" / "maps" / "map0" / "size").read_text("ascii", "replace")
    try:
        size = int(text.strip(), 0)
    except ValueError:
        size = 0
    if size <= 0:
        raise OSError(errno.EINVAL, f"uio{minor} has a map0 of {text.strip()!r} bytes")
    return size


class _Libc:
    """mmap and munmap, without a compiler. Loaded late: a daemon that starts has rings to save before that."""

    def __init__(self) -> None:
        from cffi import FFI

        self.ffi = FFI()
        self.ffi.cdef(
            "void *mmap(void *addr, size_t length, int prot, int flags, int fd, long offset);"
            "int munmap(void *addr, size_t length);"
        )
        self.lib: Any = self.ffi.dlopen(None)


_libc: Optional[_Libc] = None


def _open_libc() -> _Libc:
    global _libc
    if _libc is None:
        _libc = _Libc()
    return _libc


class UioMapping:
    """An opened and mapped device: fd to wait on, memory for a Ring. close() unmaps, then closes.

    Nobody may keep a view of memory past close(): the address range is gone then.
    """

    def __init__(self, device: UioDevice, fd: int, size_bytes: int) -> None:
        libc = _open_libc()
        self.device, self.fd, self.size_bytes = device, fd, size_bytes
        address = libc.lib.mmap(libc.ffi.NULL, size_bytes, _PROT_READ_WRITE, _MAP_SHARED, fd, 0)
        if int(libc.ffi.cast("uintptr_t", address)) == _MAP_FAILED:
            raise OSError(libc.ffi.errno, f"{device} can't be mapped: {os.strerror(libc.ffi.errno)}")
        self._address: Any = address
        self.memory = memoryview(libc.ffi.buffer(address, size_bytes))

    def read_event(self) -> Optional[int]:
        """Mark all events so far as seen; read it before the ring is drained. None: nothing new.

        Raises OSError when the device is gone (EIO).
        """
        try:
            return int.from_bytes(os.read(self.fd, _EVENT_BYTES), "little")
        except BlockingIOError:
            return None

    def knock(self) -> None:
        """Tell the kernel that cmd_tail moved; it completes the answered commands in this call.

        Raises OSError when the device is gone (EINVAL, EIO).
        """
        os.write(self.fd, _KNOCK)

    def close(self) -> None:
        """Unmap before the descriptor goes: old kernels count open files only, not mappings."""
        if self.fd < 0:
            return
        libc = _open_libc()
        self.memory = memoryview(b"")
        if libc.lib.munmap(self._address, self.size_bytes):
            raise OSError(libc.ffi.errno, f"{self.device} can't be unmapped: {os.strerror(libc.ffi.errno)}")
        fd, self.fd = self.fd, -1
        os.close(fd)


def open_uio(device: UioDevice, sysfs: Path = SYSFS, dev: Path = DEV) -> int:
    """A descriptor of the device; from now on nobody else can open it.

    Raises OSError: EBUSY while another process has it, ENODEV if the number belongs to another device by now.
    """
    fd = os.open(dev / f"uio{device.minor}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    now = read_device(device.minor, sysfs)
    if now is None or now.key != device.key:
        os.close(fd)
        raise OSError(errno.ENODEV, f"{device} is gone")
    return fd


def map_uio(device: UioDevice, fd: int, sysfs: Path = SYSFS) -> UioMapping:
    """Map all of map0. The fd belongs to the mapping afterwards, and stays the caller's if this raises OSError."""
    return UioMapping(device, fd, map_size_bytes(device.minor, sysfs))
