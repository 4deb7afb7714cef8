"""Where leases are kept: small files beside a disk, on its own volume or file system.

A lease is read by others only as a whole, is born exclusively, is replaced as a whole, and is renewed in place through
the handle of whoever wrote it: a late renewal then reaches the file that it was meant for, never its successor's.
Everything blocks. Failures are OSError.
"""

from __future__ import annotations

import abc
import contextlib
import os
import posixpath
from typing import Final, Optional, Protocol

from tcmu_gluster.native.libgfapi import File, Volume

LIMIT_BYTES: Final = 4096
"""More than any lease of ours."""


class Cell(Protocol):
    """A file that was opened for renewals."""

    def write(self, data: bytes) -> None:
        """Put data in place of what is there; data has always the same length."""

    def read(self) -> bytes:
        """What is there now."""

    def close(self) -> None:
        """Let go of the handle."""


class LeaseStore(Protocol):
    """The lease files of one disk. claim "" is the lease itself, any other the claim to follow that term's holder."""

    group: object
    """What blocks together: stores of one volume (or file system) have the same."""

    def exists(self) -> bool:
        """Whether there is a disk at all."""

    def read(self, claim: str = "") -> Optional[bytes]:
        """What it says, or None if there is none."""

    def create(self, data: bytes, claim: str = "") -> Optional[Cell]:
        """Make it, with this content, on stable storage; None if there is one already."""

    def open(self) -> Optional[Cell]:
        """The lease's file once more; None if there is none. Look at what it says before writing."""

    def replace(self, data: bytes, unique: str) -> Cell:
        """Put a new lease in place of the present one, on stable storage. unique: a word that nobody else uses."""

    def remove(self, claim: str = "") -> None:
        """Delete it, if it is there."""


def lease_path(path: str, claim: str = "") -> str:
    """Where the lease of the disk at path is kept, or the claim to follow a holder."""
    folder, name = posixpath.split(path)
    return posixpath.join(folder, f".{name}.tcmu-gluster-lease" + (f".{claim}" if claim else ""))


class _Beside(abc.ABC):
    """Lease files in the folder of the disk at _path; whose folder that is, a child knows."""

    _path: str

    def create(self, data: bytes, claim: str = "") -> Optional[Cell]:
        """O_EXCL decides who is first."""
        try:
            return self._write_new(lease_path(self._path, claim), data)
        except FileExistsError:
            return None

    def open(self) -> Optional[Cell]:
        """None if there is none."""
        try:
            return self._open(lease_path(self._path))
        except FileNotFoundError:
            return None

    def replace(self, data: bytes, unique: str) -> Cell:
        """A fresh file, renamed over the present one."""
        fresh = lease_path(self._path, unique + ".new")
        cell = self._write_new(fresh, data)
        self._rename(fresh, lease_path(self._path))
        return cell

    def remove(self, claim: str = "") -> None:
        """Nothing happens if it is gone."""
        with contextlib.suppress(FileNotFoundError):
            self._unlink(lease_path(self._path, claim))

    @abc.abstractmethod
    def _write_new(self, path: str, data: bytes) -> Cell:
        """A file that was not there, on stable storage. Raises FileExistsError."""

    @abc.abstractmethod
    def _open(self, path: str) -> Cell: ...

    @abc.abstractmethod
    def _rename(self, old: str, new: str) -> None:
        """On stable storage when it returns."""

    @abc.abstractmethod
    def _unlink(self, path: str) -> None: ...


class FileCell:
    """A lease in a file of this machine."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes) -> None:
        """One pwrite."""
        os.pwrite(self._descriptor, data, 0)

    def read(self) -> bytes:
        """One pread."""
        return os.pread(self._descriptor, LIMIT_BYTES, 0)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)


class FileLeases(_Beside):
    """Beside a regular file, local or on a network file system."""

    def __init__(self, path: str) -> None:
        self._path = os.path.realpath(path)
        self._folder = os.path.dirname(self._path)
        try:
            self.group: object = ("file", os.stat(self._folder).st_dev)
        except OSError:
            self.group = ("file", self._folder)

    def exists(self) -> bool:
        """Whether the disk's file is there."""
        return os.path.exists(self._path)

    def read(self, claim: str = "") -> Optional[bytes]:
        """None if there is none."""
        try:
            with open(lease_path(self._path, claim), "rb", buffering=0) as file:
                return file.read(LIMIT_BYTES)
        except FileNotFoundError:
            return None

    def _open(self, path: str) -> FileCell:
        return FileCell(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC))

    def _rename(self, old: str, new: str) -> None:
        os.rename(old, new)
        self._sync()

    def _unlink(self, path: str) -> None:
        os.unlink(path)

    def _write_new(self, path: str, data: bytes) -> FileCell:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, data, 0)
            os.fsync(descriptor)
            self._sync()
        except OSError:
            os.close(descriptor)
            raise
        return FileCell(descriptor)

    def _sync(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class VolumeCell:
    """A lease in a file of a Gluster volume."""

    def __init__(self, file: File) -> None:
        self._file = file

    def write(self, data: bytes) -> None:
        """One write, at the bricks when it returns."""
        self._file.pwrite(data, 0)

    def read(self) -> bytes:
        """One read."""
        return self._file.pread(LIMIT_BYTES, 0)

    def close(self) -> None:
        """Close the handle."""
        self._file.close()


class VolumeLeases(_Beside):
    """Beside a file on a Gluster volume. A file's birth and its renaming are settled by the bricks."""

    def __init__(self, volume: Volume, path: str) -> None:
        self._volume, self._path = volume, path
        self.group: object = ("gluster", id(volume))

    def exists(self) -> bool:
        """Whether the disk's file is there."""
        return self._volume.exists(self._path)

    def read(self, claim: str = "") -> Optional[bytes]:
        """By its name, from the bricks: nothing is cached on our side."""
        try:
            with self._volume.fopen(lease_path(self._path, claim)) as file:
                return file.pread(LIMIT_BYTES, 0)
        except FileNotFoundError:
            return None

    def _open(self, path: str) -> VolumeCell:
        return VolumeCell(self._volume.open(path, os.O_RDWR))

    def _rename(self, old: str, new: str) -> None:
        self._volume.rename(old, new)

    def _unlink(self, path: str) -> None:
        self._volume.unlink(path)

    def _write_new(self, path: str, data: bytes) -> VolumeCell:
        file = self._volume.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            file.pwrite(data, 0)
            file.fsync()
        except OSError:
            file.close()
            raise
        return VolumeCell(file)
