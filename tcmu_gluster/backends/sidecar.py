"""The small file beside a disk that holds what SCSI has to remember of it: `.<name>.tcmu-gluster` in the same folder.

It is replaced as a whole: a temporary file, fsync, rename, fsync of the folder. After a power cut the old or the new
contents are there, never a mixture.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import posixpath
from collections.abc import Callable
from typing import Any, Final, Optional, Union

from tcmu_gluster.native.libgfapi import Volume

log = logging.getLogger(__name__)

LIMIT_BYTES: Final = 4 << 20
"""More than any record of ours: a larger file is not read into memory."""


class Record:
    """The record of an open disk, as it was found when the disk was opened or stored last."""

    def __init__(self, read: Callable[[], Optional[bytes]], place: str) -> None:
        """A record that can't be read keeps no disk shut: load() raises why, and the unit knows what that means."""
        self._found: Union[bytes, OSError, None]
        try:
            self._found = read()
        except OSError as error:
            log.error("%s: the record beside the disk can't be read: %s", place, error.strerror)
            self._found = error

    def load(self) -> Optional[bytes]:
        """The contents, or None if there is none. Raises OSError."""
        if isinstance(self._found, OSError):
            raise self._found
        return self._found

    def storing(self, data: bytes, done: Callable[[Any], None]) -> Callable[[Any], None]:
        """Whom to tell how storing data ended."""

        def ended(outcome: Any) -> None:
            if not isinstance(outcome, OSError):
                self._found = data
            done(outcome)

        return ended


def sidecar_path(path: str) -> str:
    """Where the record of the disk at path is kept."""
    folder, name = posixpath.split(path)
    return posixpath.join(folder, f".{name}.tcmu-gluster")


def load_file(path: str) -> Optional[bytes]:
    """The contents, or None if there is no such file. Raises OSError."""
    try:
        with open(path, "rb") as file:
            return _bounded(file.read(LIMIT_BYTES + 1), path)
    except FileNotFoundError:
        return None


def store_file(path: str, data: bytes) -> int:
    """Replace the contents; they are stable when this returns. Result 0. Raises OSError."""
    fresh = f"{path}.new"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        at = 0
        while at < len(data):
            at += os.write(descriptor, data[at:])
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(fresh, path)
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return 0


def load_on_volume(volume: Volume, path: str) -> Optional[bytes]:
    """As load_file(), from a Gluster volume."""
    try:
        with volume.fopen(path) as file:
            return _bounded(file.read(LIMIT_BYTES + 1), path)
    except FileNotFoundError:
        return None


def store_on_volume(volume: Volume, path: str, data: bytes) -> int:
    """As store_file(), on a Gluster volume. A rename there is at the bricks when it returns; folders have no fsync."""
    fresh = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        volume.unlink(fresh)
    with volume.fopen(fresh, "x") as file:
        at = 0
        while at < len(data):
            at += file.pwrite(data[at:], at)
        file.fsync()
    volume.rename(fresh, path)
    return 0


def _bounded(data: bytes, path: str) -> bytes:
    if len(data) > LIMIT_BYTES:
        raise OSError(errno.EFBIG, f"more than {LIMIT_BYTES} bytes, so no record of ours", path)
    return data
