"""From a backing URI to an open backend, with the lease on its file where it may be written to."""

from __future__ import annotations

import errno
import logging
import os
import stat
from typing import Final, Optional

from tcmu_gluster.backends import lease_keeper
from tcmu_gluster.backends.base import Backend
from tcmu_gluster.backends.file import FileBackend
from tcmu_gluster.backends.gfapi import GfapiBackend
from tcmu_gluster.backends.lease import Lease, Terms, acquire
from tcmu_gluster.backends.lease_store import FileLeases, LeaseStore, VolumeLeases
from tcmu_gluster.backends.memory import MemoryBackend
from tcmu_gluster.backends.volumes import mount
from tcmu_gluster.config.uri import Backing
from tcmu_gluster.errors import ConfigError
from tcmu_gluster.native.completions import Loop

log = logging.getLogger(__name__)

NO_PLACE: Final = frozenset((errno.EACCES, errno.EPERM, errno.EROFS))


def open_backing(
    backing: Backing,
    loop: Loop,
    *,
    create_size_bytes: int | None = None,
    read_only: bool = False,
    lease: Optional[Terms] = None,
    block_bytes: int = 512,
) -> Backend:
    """Open, and create it first if it is missing and create_size_bytes is given. Raises ConfigError, OSError.

    block_bytes: what is smaller than one block is no disk. lease: what a lease on the file is taken for, unless it is
    only read; None takes none. Raises LeaseHeld.
    May block for a bounded time, so it is called in a thread beside the loop; the backend then belongs to the loop.
    """
    if backing.scheme == "memory":
        memory = MemoryBackend(backing.name, backing.size_bytes or create_size_bytes, read_only=read_only)
        return _large_enough(memory, backing, block_bytes)
    if backing.scheme not in ("file", "gluster"):
        raise ConfigError(f"{backing.scheme!r} is no kind of backing; use gluster, file or memory")
    held, missing = None, ""
    if lease is not None and not read_only:
        try:
            held = _take(backing, lease, will_create=create_size_bytes is not None)
        except _NoPlace as error:
            missing = str(error)
    try:
        open_ = FileBackend if backing.scheme == "file" else GfapiBackend
        backend: Backend = open_(backing, loop, create_size_bytes=create_size_bytes, read_only=read_only)
        _large_enough(backend, backing, block_bytes)
    except BaseException:
        if held is not None:
            held.give_back()
        raise
    backend.lease = held
    if missing:
        log.warning("%s: no lease can be kept beside it (%s): another host may write to it", backing, missing)
    return backend


def _large_enough(backend: Backend, backing: Backing, block_bytes: int) -> Backend:
    """The backend. Raises ConfigError, and then it is closed."""
    size_bytes = backend.size_bytes
    if size_bytes < block_bytes:
        backend.close()
        what = f"has {size_bytes} bytes, which is less than one block of {block_bytes}" if size_bytes else "is empty"
        raise ConfigError(f"{backing} {what}; make it as large as the disk shall be, or delete it and name a size")
    return backend


class _NoPlace(Exception):
    """Why no lease can be beside a plain file. It is served without one."""


class KeptLease(Lease):
    """A lease that is renewed until it is given back."""

    def give_back(self) -> None:
        """Others may have the disk."""
        lease_keeper.leave(self)


def _take(backing: Backing, terms: Terms, will_create: bool) -> Optional[KeptLease]:
    """The lease; None if there is no disk (opening says so). Raises LeaseHeld, ConfigError, _NoPlace."""
    store = _store_of(backing)
    try:
        if store is None or not (will_create or store.exists()):
            return None
        lease = acquire(str(backing), store, terms, make=KeptLease)
    except OSError as error:
        if backing.scheme == "file" and error.errno in NO_PLACE:
            raise _NoPlace(error.strerror) from error
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None  # the folder is missing: opening the file says so
        if error.errno in (errno.EACCES, errno.EPERM):
            raise ConfigError(
                f"the user this runs as (uid {os.geteuid()}) may not write beside {backing}; make it the owner of that "
                "folder, or of the volume: gluster volume set VOLUME storage.owner-uid UID"
            ) from error
        raise ConfigError(
            f"no lease can be kept beside {backing}: {error.strerror or error}; without one (lease_seconds = 0) "
            "nothing keeps a second gateway away"
        ) from error
    lease_keeper.keep(lease, sends_late=backing.scheme == "gluster")
    return lease


def _store_of(backing: Backing) -> Optional[LeaseStore]:
    """Where leases on it are kept; None for a block device, which has no folder that others would see."""
    if backing.scheme == "gluster":
        return VolumeLeases(mount(backing).volume, backing.path)
    try:
        is_file = stat.S_ISREG(os.stat(backing.path).st_mode)
    except OSError:
        is_file = True  # it is going to be made
    return FileLeases(backing.path) if is_file else None
