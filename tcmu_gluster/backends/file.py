"""Backing in a regular file or a block device of this machine.

Reads are tried at once with RWF_NOWAIT, which answers from the page cache or not at all. Everything that may block goes
to a small pool of threads: cache misses, fsync, discard, zero, map.

Writes: into the page cache, which is a copy (17 us for 4 KiB on ext4) unless the kernel slows writers down, or has to
read the rest of a page first. The pool costs about twice that copy, so whole pages are written at once where RWF_NOWAIT
is supported for writes (XFS, Btrfs, block devices), and also without it on file systems that are surely local; a write
that took long sends the following ones to the pool for a while (the kernel's own pause is at most 200 ms).
Everything else, a file on FUSE or NFS above all, is written in the pool.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import logging
import os
import stat
import time
from dataclasses import replace
from functools import partial
from typing import Final, Optional

from tcmu_gluster.backends import identity
from tcmu_gluster.backends.base import PENDING, Allocation, Backend, Buffers, Capabilities, Done, Extent, Outcome, Space
from tcmu_gluster.backends.local_files import is_local, open_file
from tcmu_gluster.backends.lost_writes import LostWrites
from tcmu_gluster.backends.pool import BlockingPool
from tcmu_gluster.backends.sidecar import Record, load_file, sidecar_path, store_file
from tcmu_gluster.config.uri import Backing
from tcmu_gluster.native.completions import Loop

log = logging.getLogger(__name__)

PAGE_BYTES: Final = 4096
IOV_MAX: Final = 1024
INLINE_LIMIT_BYTES: Final = 1 << 20
SLOW_WRITE_SECONDS: Final = 0.02
POOL_AFTER_SLOW_SECONDS: Final = 1.0
CLOSE_LIMIT_SECONDS: Final = 15.0
MAXIMUM_EXTENTS: Final = 64
DEVICE_RECORDS: Final = "/var/lib/tcmu-gluster/records"
"""A block device has no folder where something could lie beside it."""
UNSUPPORTED: Final = frozenset((errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV))

# linux/falloc.h
KEEP_SIZE: Final = 0x01
PUNCH_HOLE: Final = 0x02
ZERO_RANGE: Final = 0x10

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_ZEROS: Final = memoryview(bytes(1 << 20))


def fallocate(descriptor: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2), which os has no mode for. Raises OSError."""
    if _libc.fallocate(descriptor, mode, offset, length) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "fallocate")


class FileBackend(Backend):
    """One open file or device, locked against a second writer. Operations belong to the loop's thread.

    identity: what the caller knows the data by, where it can't be kept with the data. Raises ConfigError.
    """

    def __init__(
        self,
        backing: Backing,
        loop: Loop,
        *,
        create_size_bytes: int | None = None,
        read_only: bool = False,
        identity: str | None = None,
    ) -> None:
        self.uri, self.read_only = str(backing), read_only
        self._fd = open_file(backing.path, create_size_bytes, read_only)
        status = os.fstat(self._fd)
        self._is_device = stat.S_ISBLK(status.st_mode)
        self.size_bytes = self.refresh_size()
        self.identity = identity or self._find_identity(backing.path)
        self.capabilities = self._probe()
        self._reads_nowait = True
        self._writes_nowait = True
        self._is_local = self._is_device or is_local(self._fd)
        self._pool_until = 0.0
        self._lost = LostWrites()
        self._pool = BlockingPool(loop, "file")
        self._sidecar_path = self._where_to_remember(backing.path)
        self._record = Record(partial(load_file, self._sidecar_path), self._sidecar_path)
        self._closed = False

    def _find_identity(self, path: str) -> str:
        if self._is_device:
            return identity.of_device(path, self._fd)
        return identity.of_file(path, self._fd, self.read_only)

    def _probe(self) -> Capabilities:
        """Whether holes can be punched: on a file asked for behind its end, where nothing can be lost."""
        if self._is_device:
            can_discard = min(identity.device_limit(self._fd, f"{what}_max_bytes") for what in _DISCARDS) > 0
            granularity = identity.device_limit(self._fd, "discard_granularity") or PAGE_BYTES
            return Capabilities(can_discard, can_map=False, discard_granularity_bytes=granularity)
        can_discard = not self.read_only
        if can_discard:
            try:
                fallocate(self._fd, PUNCH_HOLE | KEEP_SIZE, -(-self.size_bytes // PAGE_BYTES) * PAGE_BYTES, PAGE_BYTES)
            except OSError as error:
                can_discard = error.errno not in UNSUPPORTED
        granularity = max(PAGE_BYTES, os.fstat(self._fd).st_blksize)
        return Capabilities(can_discard, discard_granularity_bytes=granularity)

    # -- reads and writes ---------------------------------------------------------------------------------------

    def read(self, offset: int, buffers: Buffers, done: Done) -> Outcome:
        """At once from the page cache, else in the pool."""
        length = len(buffers[0]) if len(buffers) == 1 else sum(map(len, buffers))
        count = 0
        if self._reads_nowait and len(buffers) <= IOV_MAX:
            try:
                count = os.preadv(self._fd, buffers, offset, os.RWF_NOWAIT)
            except BlockingIOError:
                pass  # not in the page cache
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    raise
                self._reads_nowait = False
            if count == length:
                return count
        self._pool.submit(partial(self._read_all, offset, buffers, length, count), done)
        return PENDING

    def _read_all(self, offset: int, buffers: Buffers, length: int, count: int) -> int:
        while count < length:
            part = os.preadv(self._fd, _rest(buffers, count), offset + count)
            if not part:
                raise OSError(errno.EIO, f"short read: {count} of {length} bytes at {offset}; the file shrank")
            count += part
        return count

    def write(self, offset: int, buffers: Buffers, done: Done, durable: bool = False) -> Outcome:
        """At once where that can't block for long, else in the pool. Raises OSError(EROFS)."""
        if self.read_only:
            raise OSError(errno.EROFS, "the disk was opened read-only")
        length = len(buffers[0]) if len(buffers) == 1 else sum(map(len, buffers))
        if durable:
            self._pool.submit(partial(self._write_durably, offset, buffers, length), done)
            return PENDING
        count = 0
        if length <= INLINE_LIMIT_BYTES and not (offset | length) % PAGE_BYTES and len(buffers) <= IOV_MAX:
            count = self._write_now(offset, buffers)
            if count == length:
                return count
        self._pool.submit(partial(self._write_all, offset, buffers, length, count), done)
        return PENDING

    def _write_now(self, offset: int, buffers: Buffers) -> int:
        """How much could be written without blocking for long: all, nothing, or (rarely) a part."""
        if self._writes_nowait:
            try:
                return os.pwritev(self._fd, buffers, offset, os.RWF_NOWAIT)
            except BlockingIOError:
                return 0
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    raise
                self._writes_nowait = False
        if not self._is_local:
            return 0
        start = time.monotonic()
        if start < self._pool_until:
            return 0
        count = os.pwritev(self._fd, buffers, offset)
        end = time.monotonic()
        if end - start > SLOW_WRITE_SECONDS:
            self._pool_until = end + POOL_AFTER_SLOW_SECONDS
        return count

    def _write_all(self, offset: int, buffers: Buffers, length: int, count: int, flags: int = 0) -> int:
        while count < length:
            self.must_hold()
            part = os.pwritev(self._fd, _rest(buffers, count), offset + count, flags)
            if not part:
                raise OSError(errno.EIO, f"short write: {count} of {length} bytes at {offset}")
            count += part
        return count

    def _write_durably(self, offset: int, buffers: Buffers, length: int) -> int:
        try:
            return self._write_all(offset, buffers, length, 0, os.RWF_DSYNC)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise self._lost.note_durable_write(error) from None
        self._write_all(offset, buffers, length, 0)
        self._sync()
        return length

    # -- the rest: always in the pool ---------------------------------------------------------------------------

    def flush(self, done: Done) -> Outcome:
        """fdatasync. Raises the error of an earlier flush that lost data."""
        lost = self._lost.error()
        if lost is not None:
            raise lost
        self._pool.submit(self._sync, done)
        return PENDING

    def _sync(self) -> int:
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise self._lost.note_flush(error) from None
        return 0

    def discard(self, offset: int, length: int, done: Done) -> Outcome:
        """Punch a hole. On a block device as well (BLKDISCARD would not promise zeros)."""
        if self.read_only:
            raise OSError(errno.EROFS, "the disk was opened read-only")
        if not self.capabilities.can_discard:
            raise OSError(errno.EOPNOTSUPP, "holes can't be punched here")
        self._pool.submit(partial(self._discard, offset, length), done)
        return PENDING

    def _discard(self, offset: int, length: int) -> int:
        self.must_hold()
        try:
            fallocate(self._fd, PUNCH_HOLE | KEEP_SIZE, offset, length)
        except OSError as error:
            if error.errno in UNSUPPORTED:
                self.capabilities = replace(self.capabilities, can_discard=False)
                raise OSError(errno.EOPNOTSUPP, "holes can't be punched here") from error
            if error.errno != errno.EINVAL:
                raise
            self._write_zeros(offset, length)  # a device that wants larger blocks than this range
        return 0

    def zero(self, offset: int, length: int, done: Done) -> Outcome:
        """The kernel's zero range, else zeros written."""
        if self.read_only:
            raise OSError(errno.EROFS, "the disk was opened read-only")
        self._pool.submit(partial(self._zero, offset, length), done)
        return PENDING

    def _zero(self, offset: int, length: int) -> int:
        self.must_hold()
        try:
            fallocate(self._fd, ZERO_RANGE | KEEP_SIZE, offset, length)
        except OSError as error:
            if error.errno not in UNSUPPORTED and error.errno != errno.EINVAL:
                raise
            self._write_zeros(offset, length)
        return 0

    def _write_zeros(self, offset: int, length: int) -> None:
        while length:
            part = min(length, len(_ZEROS))
            self._write_all(offset, [_ZEROS[:part]], part, 0)
            offset, length = offset + part, length - part

    def map(self, offset: int, length: int, done: Done) -> Outcome:
        """SEEK_DATA and SEEK_HOLE. Raises OSError(EOPNOTSUPP) for a block device."""
        if not self.capabilities.can_map:
            raise OSError(errno.EOPNOTSUPP, "a block device does not tell data from holes")
        self._pool.submit(partial(self._extents, offset, offset + length), done)
        return PENDING

    def _extents(self, offset: int, end: int) -> list[Extent]:
        extents: list[Extent] = []
        while offset < end and len(extents) < MAXIMUM_EXTENTS:
            try:
                data = min(os.lseek(self._fd, offset, os.SEEK_DATA), end)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                data = end  # no data from here to the end of the file
            if data > offset:
                extents.append(Extent(offset, data - offset, Allocation.HOLE))
                offset = data
            elif data < end:
                offset = min(os.lseek(self._fd, data, os.SEEK_HOLE), end)
                extents.append(Extent(data, offset - data, Allocation.DATA))
        return extents

    # -- the record beside the disk -------------------------------------------------------------------------------

    def _where_to_remember(self, path: str) -> str:
        """Beside a file. Devices come and go in /dev, so the record of one is kept by its identity."""
        if self._is_device:
            return os.path.join(DEVICE_RECORDS, hashlib.sha256(self.identity.encode()).hexdigest()[:32])
        return sidecar_path(os.path.realpath(path))

    def load_sidecar(self) -> Optional[bytes]:
        """Read when the disk was opened. Raises OSError."""
        return self._record.load()

    def store_sidecar(self, data: bytes, done: Done) -> Outcome:
        """In the pool: temporary file, fsync, rename, fsync of the folder. Raises OSError(EROFS)."""
        if self.read_only:
            raise OSError(errno.EROFS, "the disk was opened read-only")
        self._pool.submit(partial(self._store_sidecar, data), self._record.storing(data, done))
        return PENDING

    def _store_sidecar(self, data: bytes) -> int:
        self.must_hold()
        if self._is_device:
            os.makedirs(os.path.dirname(self._sidecar_path), 0o700, exist_ok=True)
        return store_file(self._sidecar_path, data)

    def refresh_size(self) -> int:
        """Ask the file or the device. Raises OSError."""
        self.size_bytes = os.lseek(self._fd, 0, os.SEEK_END) if self._is_device else os.fstat(self._fd).st_size
        return self.size_bytes

    def refresh_space(self) -> Optional[Space]:
        """A file's blocks, and what its file system has left for us. A block device tells nothing."""
        if self._is_device or self._closed:
            return None
        left = os.fstatvfs(self._fd)
        self.space = Space(os.fstat(self._fd).st_blocks * 512, left.f_bavail * left.f_frsize)
        return self.space

    def close(self) -> None:
        """Wait (a bounded time) for the pool, then close. A second close does nothing."""
        if self._closed:
            return
        self._closed = True
        left = self._pool.close(CLOSE_LIMIT_SECONDS)
        if left:
            log.error("%s: %d calls did not end; its descriptor stays open", self.uri, left)
            return
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        os.close(self._fd)
        if self.lease is not None:
            self.lease.give_back()


_DISCARDS: Final = ("discard", "write_zeroes")


def _rest(buffers: Buffers, count: int) -> list[memoryview]:
    """What is left after count bytes, at most as many views as one call takes."""
    left: list[memoryview] = []
    for buffer in buffers:
        if count >= len(buffer):
            count -= len(buffer)
            continue
        left.append(buffer[count:] if count else buffer)
        count = 0
        if len(left) == IOV_MAX:
            break
    return left
