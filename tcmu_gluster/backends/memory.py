"""Backing in this process's memory: tests, trials, and the yardstick of what everything above a backend costs.

Disks of one name share their bytes for as long as one of them is open; the last close() gives the memory back.
The bytes are an anonymous private mapping, so that a large disk costs only what was written, and MADV_DONTNEED makes
real holes. Which pages hold data is a byte a page in a second mapping: marking is one store and finding is memchr.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
from pathlib import Path
from typing import Final, Optional

from tcmu_gluster.backends.base import Allocation, Backend, Buffers, Capabilities, Done, Extent, Outcome, Space
from tcmu_gluster.errors import ConfigError

PAGE_BYTES: Final = mmap.PAGESIZE
MAXIMUM_EXTENTS: Final = 64
_MAP_NORESERVE: Final = 0x4000  # asm-generic/mman.h; a name of the mmap module only since Python 3.13


def _anonymous(size_bytes: int) -> mmap.mmap:
    return mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE)


class _Store:
    """The bytes of one name."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.pages = -(-size_bytes // PAGE_BYTES)
        self.mapping = _anonymous(self.pages * PAGE_BYTES)
        self.bytes = memoryview(self.mapping)
        self.written = _anonymous(self.pages)
        self.users = 0
        self.sidecar: Optional[bytes] = None

    def drop(self) -> None:
        self.bytes.release()
        self.mapping.close()
        self.written.close()


_stores: dict[str, _Store] = {}
_stores_lock = threading.Lock()


def _machine_id() -> str:
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            text = Path(path).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if text:
            return text
    return os.uname().nodename


class MemoryBackend(Backend):
    """size_bytes of zeros under a name; every operation completes at once.

    size_bytes None joins a name that is open already. Raises ConfigError for another size than the name has, or when
    the memory can't be had.
    """

    capabilities = Capabilities(discard_granularity_bytes=PAGE_BYTES, atomic_write_bytes=8 << 20)
    # Nothing of a write can be there alone: what ends the process ends the disk.

    def __init__(self, name: str, size_bytes: int | None = None, *, read_only: bool = False) -> None:
        self.uri = f"memory:{name}"
        self.read_only = read_only
        self._name = name
        with _stores_lock:
            self._store = self._join(name, size_bytes)
            self._store.users += 1
        self.size_bytes = self._store.size_bytes
        self.identity = f"memory:{_machine_id()}:{name}"
        self._bytes = self._store.bytes
        self._written = self._store.written
        self._closed = False

    @staticmethod
    def _join(name: str, size_bytes: int | None) -> _Store:
        store = _stores.get(name)
        if store is not None:
            if size_bytes not in (None, store.size_bytes):
                raise ConfigError(
                    f"memory:{name} is open already with {store.size_bytes} bytes, so it can't be opened with "
                    f"{size_bytes}; leave the size out, or use another name"
                )
            return store
        if size_bytes == 0:
            raise ConfigError(f"memory:{name} needs a size of one block at least; write memory:{name}?size=64M")
        if not size_bytes or size_bytes < 0:
            raise ConfigError(f"memory:{name} does not exist yet, so it needs a size; write memory:{name}?size=64M")
        try:
            store = _stores[name] = _Store(size_bytes)
        except (OSError, OverflowError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise ConfigError(f"memory:{name} can't have {size_bytes} bytes: {why}; choose a smaller size") from error
        return store

    def read(self, offset: int, buffers: Buffers, done: Done) -> Outcome:
        """Copy out."""
        position, source = offset, self._bytes
        for buffer in buffers:
            end = position + len(buffer)
            buffer[:] = source[position:end]
            position = end
        return position - offset

    def write(self, offset: int, buffers: Buffers, done: Done, durable: bool = False) -> Outcome:
        """Copy in. Raises EROFS."""
        if self.read_only:
            raise OSError(errno.EROFS, "the disk was opened read-only")
        position, target = offset, self._bytes
        for buffer in buffers:
            end = position + len(buffer)
            target[position:end] = buffer
            position = end
        self._mark_written(offset, position)
        return position - offset

    def _mark_written(self, offset: int, end: int) -> None:
        first, last = offset // PAGE_BYTES, (end - 1) // PAGE_BYTES
        if first == last:
            self._written[first] = 1
        elif last > first:
            self._written[first : last + 1] = b"\1" * (last + 1 - first)

    def flush(self, done: Done) -> Outcome:
        """There is nothing more stable than memory here."""
        return 0

    def discard(self, offset: int, length: int, done: Done) -> Outcome:
        """Whole pages become holes; what is left of a page at either end becomes zeros. Raises EROFS."""
        if self.read_only:
            raise OSError(errno.EROFS, "the disk was opened read-only")
        end = offset + length
        first = -(-offset // PAGE_BYTES)
        last = self._store.pages if end == self.size_bytes else end // PAGE_BYTES
        if first >= last:
            self._fill_zeros(offset, end)
            return 0
        self._fill_zeros(offset, first * PAGE_BYTES)
        self._fill_zeros(last * PAGE_BYTES, end)
        self._store.mapping.madvise(mmap.MADV_DONTNEED, first * PAGE_BYTES, (last - first) * PAGE_BYTES)
        self._written[first:last] = bytes(last - first)
        return 0

    def _fill_zeros(self, offset: int, end: int) -> None:
        if end > offset:
            self._bytes[offset:end] = bytes(end - offset)

    def zero(self, offset: int, length: int, done: Done) -> Outcome:
        """Zeros that count as data. Raises EROFS."""
        if self.read_only:
            raise OSError(errno.EROFS, "the disk was opened read-only")
        step = 1 << 20
        for start in range(offset, offset + length, step):
            self._fill_zeros(start, min(start + step, offset + length))
        self._mark_written(offset, offset + length)
        return 0

    def map(self, offset: int, length: int, done: Done) -> Outcome:
        """Extents in pages, cut to the range asked for."""
        extents: list[Extent] = []
        position, end = offset, offset + length
        last_page = -(-end // PAGE_BYTES)
        while position < end and len(extents) < MAXIMUM_EXTENTS:
            page = position // PAGE_BYTES
            is_data = self._written[page] == 1
            next_page = self._written.find(b"\0" if is_data else b"\1", page, last_page)
            stop = end if next_page < 0 else min(end, next_page * PAGE_BYTES)
            extents.append(Extent(position, stop - position, Allocation.DATA if is_data else Allocation.HOLE))
            position = stop
        return extents

    def load_sidecar(self) -> Optional[bytes]:
        """Kept with the bytes, for as long as they are."""
        return self._store.sidecar

    def store_sidecar(self, data: bytes, done: Done) -> Outcome:
        """Kept with the bytes. Raises EROFS."""
        if self.read_only:
            raise OSError(errno.EROFS, "the disk was opened read-only")
        self._store.sidecar = data
        return 0

    def refresh_size(self) -> int:
        """A memory disk never changes its size."""
        return self.size_bytes

    def refresh_space(self) -> Space:
        """Used are the pages that hold data, and left is the rest of the disk."""
        with _stores_lock:
            if self._closed:
                return Space(0, 0, is_shared=False)
            used = min(self._written[:].count(b"\1") * PAGE_BYTES, self.size_bytes)
        self.space = Space(used, self.size_bytes - used, is_shared=False)
        return self.space

    def close(self) -> None:
        """Leave the name; the last one to leave gives the memory back. A second close does nothing."""
        if self._closed:
            return
        self._closed = True
        with _stores_lock:
            self._store.users -= 1
            if self._store.users:
                return
            del _stores[self._name]
        self._bytes = memoryview(b"")
        self._store.drop()
