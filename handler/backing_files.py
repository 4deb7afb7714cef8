"""What is done to a backing as a whole, beside serving it: its size, growing it, allocating it, removing it.

All of it blocks, so all of it runs in threads. Raises OSError or ConfigError.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Optional

from tcmu_gluster.config.uri import Backing
from tcmu_gluster.errors import ConfigError

if TYPE_CHECKING:
    from tcmu_gluster.native.libgfapi import File, Volume

STEP_BYTES = 256 << 20
"""So much is allocated between two reports of progress."""
Report = Callable[[int, int], None]
"""report(done_bytes, total_bytes)"""


def size_of(backing: Backing) -> Optional[int]:
    """Bytes in the file or block device; None if there is no such file (always so for memory:)."""
    if backing.scheme == "memory":
        return None
    try:
        if backing.scheme == "gluster":
            return int(_volume(backing).stat(backing.path).st_size)
        status = os.stat(backing.path)
        if stat.S_ISBLK(status.st_mode):
            return int(_with_file(backing.path, os.O_RDONLY, lambda fd: os.lseek(fd, 0, os.SEEK_END)))
        return status.st_size
    except FileNotFoundError:
        return None


def resize(backing: Backing, size_bytes: int) -> None:
    """Make the file longer or shorter. What is new reads as zeros."""
    if backing.scheme == "memory":
        raise ConfigError(f"{backing} can't change its size; delete it and create it again")
    if backing.scheme == "gluster":
        with _volume(backing).open(backing.path, os.O_RDWR) as file:
            file.ftruncate(size_bytes)
            file.fsync()
        return
    if stat.S_ISBLK(os.stat(backing.path).st_mode):
        present = size_of(backing)
        if present is not None and present < size_bytes:
            raise ConfigError(f"{backing.path} is a block device of {present} bytes; grow it first (lvextend)")
        return

    def change(fd: int) -> None:
        os.ftruncate(fd, size_bytes)
        os.fsync(fd)

    _with_file(backing.path, os.O_RDWR, change)


def remove(backing: Backing) -> None:
    """Delete the file with its lease and its record; nothing happens if it is gone, or a block device or memory.

    What lies beside it goes first: another file of that name must not find it.
    """
    from tcmu_gluster.backends.lease_store import lease_path  # with the binding, which a start does not wait for
    from tcmu_gluster.backends.sidecar import sidecar_path

    unlink: Callable[[str], None]
    if backing.scheme == "gluster":
        unlink, path = _volume(backing).unlink, backing.path
    elif backing.scheme == "file" and os.path.isfile(backing.path):
        unlink, path = os.unlink, os.path.realpath(backing.path)
    else:
        return
    for beside in (lease_path(path), sidecar_path(path)):
        with contextlib.suppress(FileNotFoundError):
            unlink(beside)
    with contextlib.suppress(FileNotFoundError):
        unlink(backing.path)


def allocate(backing: Backing, size_bytes: int, report: Report) -> None:
    """Allocate every byte of a new file now, so that it can't run out of space later."""
    if backing.scheme == "memory":
        return
    if backing.scheme == "gluster":
        with _volume(backing).open(backing.path, os.O_RDWR) as file:
            _in_steps(size_bytes, report, lambda offset, length: _allocate_gluster(file, offset, length))
            file.fsync()
        return

    def allocate_(fd: int) -> None:
        _in_steps(size_bytes, report, lambda offset, length: os.posix_fallocate(fd, offset, length))
        os.fsync(fd)

    _with_file(backing.path, os.O_RDWR, allocate_)


def _allocate_gluster(file: File, offset: int, length: int) -> None:
    try:
        file.fallocate(False, offset, length)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        file.zerofill(offset, length)


def _in_steps(size_bytes: int, report: Report, step: Callable[[int, int], None]) -> None:
    for offset in range(0, size_bytes, STEP_BYTES):
        length = min(STEP_BYTES, size_bytes - offset)
        step(offset, length)
        report(offset + length, size_bytes)


def _with_file(path: str, flags: int, act: Callable[[int], Any]) -> Any:
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        return act(fd)
    finally:
        os.close(fd)


def _volume(backing: Backing) -> Volume:
    from tcmu_gluster.backends.volumes import mount  # needs the C shim, which the other schemes don't

    return mount(backing).volume
