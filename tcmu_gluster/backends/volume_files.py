"""Opening a file of a Gluster volume for a disk, and the sentence for every way in which that can fail."""

from __future__ import annotations

import errno
import os
from typing import Optional

from tcmu_gluster.config.sizes import format_size
from tcmu_gluster.errors import ConfigError
from tcmu_gluster.native.libgfapi import File, Volume


def open_file(volume: Volume, path: str, create_size_bytes: Optional[int], read_only: bool) -> File:
    """The file, which is created if it is missing and a size was named. Raises ConfigError with a sentence."""
    where = f"{path} on volume {volume.name}"
    flags = os.O_RDONLY if read_only else os.O_RDWR
    try:
        return volume.open(path, flags)
    except FileNotFoundError as error:
        if create_size_bytes is None:
            raise ConfigError(f"there is no {where}; name a size to create it, or correct the path") from error
    except OSError as error:
        raise ConfigError(_sentence(error, where)) from error
    _create(volume, path, create_size_bytes)
    try:
        return volume.open(path, flags)
    except OSError as error:
        raise ConfigError(_sentence(error, where)) from error


def _create(volume: Volume, path: str, size_bytes: int) -> None:
    """Raises ConfigError with a sentence; then nothing was made."""
    where = f"{path} on volume {volume.name}"
    try:
        created = volume.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return  # another gateway was faster, and chose the size
    except FileNotFoundError as error:
        raise ConfigError(f"{where} can't be created: its folder does not exist; make it first") from error
    except OSError as error:
        raise ConfigError(f"{where} can't be created: {error.strerror}; see gluster volume status") from error
    try:
        with created:
            created.ftruncate(size_bytes)
    except OSError as error:
        volume.unlink(path)
        raise ConfigError(
            f"{where} can't have {format_size(size_bytes)}: {error.strerror}; choose a size that the bricks' file "
            "systems can hold"
        ) from error


def _sentence(error: OSError, where: str) -> str:
    reasons = {
        errno.EACCES: "permission denied; see the file's owner and mode, and the user this runs as",
        errno.EPERM: "permission denied; see the file's owner and mode, and the user this runs as",
        errno.EROFS: "the volume is read-only, or it lost its quorum; open it read-only or see gluster volume status",
        errno.EISDIR: "it is a folder; name a file",
        errno.ENOTDIR: "a part of its path is a file, not a folder; correct the path",
        errno.ENOTCONN: "its bricks don't answer, or quorum is lost; see gluster volume status",
        errno.EIO: "its bricks don't answer, quorum is lost or the file is split-brain; see gluster volume heal info",
    }
    return f"{where} can't be opened: {reasons.get(error.errno or 0, error.strerror)}"
