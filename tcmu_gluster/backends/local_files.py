"""Opening a file or a block device of this machine: kind, lock, creation, and a sentence for each failure."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import logging
import os
import stat
from typing import Final

from tcmu_gluster.errors import ConfigError

log = logging.getLogger(__name__)

LOCAL_FILE_SYSTEMS: Final = frozenset(
    # linux/magic.h: ext2 to ext4, XFS, Btrfs, F2FS, tmpfs, ramfs, bcachefs. Writing there only ever waits for a disk.
    (0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0x01021994, 0x858458F6, 0xCA451A4E)
)

_REASONS: Final = {
    errno.EACCES: "permission denied; see its owner and mode, and the user this runs as",
    errno.EPERM: "permission denied; see its owner and mode, and the user this runs as",
    errno.EROFS: "it is on a read-only file system; open it read-only",
    errno.EBUSY: "it is in use (mounted, or part of a volume group or an array); free it, or open it read-only",
    errno.ENOTDIR: "a part of its path is a file, not a folder; correct the path",
}


def open_file(path: str, create_size_bytes: int | None, read_only: bool) -> int:
    """A descriptor, locked: alone for writing, beside other readers for reading. Raises ConfigError."""
    flags = os.O_RDONLY if read_only else os.O_RDWR
    try:
        kind = _kind(path, create_size_bytes)
        if stat.S_ISBLK(kind) and not read_only:
            flags |= os.O_EXCL  # refuses a device that is mounted
        descriptor = os.open(path, flags)
    except OSError as error:
        raise ConfigError(f"{path} can't be opened: {_REASONS.get(error.errno or 0, error.strerror)}") from error
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if read_only else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ConfigError(
            f"{path} is in use: another process (or another disk of this one) has it open for "
            f"{'writing' if read_only else 'its own disk'}; close that first"
        ) from error
    except OSError as error:
        log.warning("%s: can't be locked (%s): nothing keeps a second writer away", path, error.strerror)
    return descriptor


def _kind(path: str, create_size_bytes: int | None) -> int:
    """The mode of the file, which is created if it is missing and a size was named. Raises OSError, ConfigError."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as error:
        if create_size_bytes is None:
            raise ConfigError(f"there is no {path}; name a size to create it, or correct the path") from error
        mode = _create(path, create_size_bytes)
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "neither a regular file nor a block device"
        raise ConfigError(f"{path} is {what}; name a file or a block device")
    return mode


def _create(path: str, size_bytes: int) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileNotFoundError as error:
        raise ConfigError(f"{path} can't be created: its folder does not exist; make it first") from error
    except FileExistsError as error:
        raise ConfigError(f"{path} is a link to a file that is missing; name that file, or remove the link") from error
    try:
        os.ftruncate(descriptor, size_bytes)
        return os.fstat(descriptor).st_mode
    except OSError as error:
        os.unlink(path)
        raise ConfigError(f"{path} can't be created with {size_bytes} bytes: {error.strerror}") from error
    finally:
        os.close(descriptor)


class _FileSystem(ctypes.Structure):
    # struct statfs of 64-bit Linux begins with f_type; the whole is 120 bytes.
    _fields_ = (("f_type", ctypes.c_long), ("rest", ctypes.c_char * 248))


def is_local(descriptor: int) -> bool:
    """Whether the file system is one that waits for disks at most, never for a network or another process."""
    result = _FileSystem()
    if ctypes.CDLL(None).fstatfs(descriptor, ctypes.byref(result)) != 0:
        return False
    return (result.f_type & 0xFFFFFFFF) in LOCAL_FILE_SYSTEMS
