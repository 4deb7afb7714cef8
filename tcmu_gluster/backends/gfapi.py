"""Backing on a Gluster volume, through libgfapi's asynchronous calls.

A call returns as soon as libgfapi has taken the request (10 to 70 us; its threads do the rest), and the completion
queue brings the result back to the loop. libgfapi can't cancel, so an operation always comes back, late if it must.

Files are opened O_RDWR, without O_DIRECT and O_SYNC. Nothing is cached on our side (connect.XLATOR_OPTIONS), so an
acknowledged write is at the bricks and survives us; flush makes them write it down. O_DIRECT would only take the
bricks' page cache away, at half the speed. A durable write carries O_DSYNC itself: one round trip, where a write and
then fdatasync takes two and at depth 32 half the speed. Lost quorum arrives as ENOTCONN.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final, Optional

from tcmu_gluster.backends import volumes
from tcmu_gluster.backends.base import PENDING, Allocation, Backend, Buffers, Capabilities, Done, Extent, Outcome, Space
from tcmu_gluster.backends.graphs import Handles
from tcmu_gluster.backends.lost_writes import LostWrites
from tcmu_gluster.backends.sidecar import Record, load_on_volume, sidecar_path, store_on_volume
from tcmu_gluster.backends.volume_files import open_file
from tcmu_gluster.config.uri import Backing
from tcmu_gluster.errors import ConfigError
from tcmu_gluster.native.completions import RETRIED, Loop
from tcmu_gluster.native.libgfapi import SEEK_DATA, SEEK_HOLE, File
from tcmu_gluster.native.symbols import LIBRARY

log = logging.getLogger(__name__)

MAXIMUM_EXTENTS: Final = 64
CLOSE_LIMIT_SECONDS: Final = 15.0
HANDLE_LOST: Final = frozenset((errno.EBADF, errno.EBADFD))
"""Our handle was broken by a change of the volume's options while calls were under way (a fault of libgfapi)."""
UNSUPPORTED: Final = frozenset((errno.EOPNOTSUPP, errno.ENOSYS))

BRICK_BLOCK_BYTES: Final = 4096
"""What a brick's file system gives back. Of a stripe of several bricks' data each has to give one."""
_READ, _WRITE, _FLUSH, _DISCARD, _ZERO = range(5)
_WORDS: Final = ("read", "write", "flush", "discard", "zerofill")


class GfapiBackend(Backend):
    """One open file. Opening blocks (a bounded time); everything else belongs to the loop's thread but close()."""

    def __init__(
        self,
        backing: Backing,
        loop: Loop,
        *,
        create_size_bytes: int | None = None,
        read_only: bool = False,
        library: str = LIBRARY,
    ) -> None:
        mounted = volumes.mount(backing, library)
        self._volume = mounted.volume
        self.uri, self.read_only = str(backing), read_only
        self._path, self._loop, self._library = backing.path, loop, library
        opened = mounted.open(lambda volume: open_file(volume, backing.path, create_size_bytes, read_only))
        file = opened.file
        try:
            self.size_bytes = file.fgetsize()
            self.identity = f"gluster:{self._volume.volume_id()}:{self._volume.gfid(backing.path)}"
            granularity = BRICK_BLOCK_BYTES * volumes.stripe_bricks(self._volume.volfile())
            self.capabilities = _probe(file, read_only, granularity)
            beside = sidecar_path(backing.path)
            self._record = Record(
                partial(load_on_volume, self._volume, beside), f"{beside} on volume {self._volume.name}"
            )
            self._queue = queue = volumes.join_queue(loop, library)
        except OSError as error:
            mounted.end(opened)
            raise ConfigError(f"{self.uri} can't be used: {error.strerror}") from error
        self._lost = LostWrites()
        self._reopening: list[int] | None = None
        self._closed = False
        # Looked up once: the submissions below are the hot path.
        self._handle, self._glfd = queue.handle, file.handle
        self._from_buffer, self._lib = queue.ffi.from_buffer, queue.lib
        self._handles = Handles(
            mounted,
            loop,
            opened,
            open_on=lambda volume: volume.open(backing.path, os.O_RDONLY if read_only else os.O_RDWR),
            taken=self._taken,
            in_flight=lambda file: queue.in_flight(file.handle),
            flush=self._flush_older,
        )

    # -- the loop's operations ----------------------------------------------------------------------------------

    def read(self, offset: int, buffers: Buffers, done: Done) -> Outcome:
        """Raises OSError(EAGAIN) when the loop's queue has no slot left."""
        queue = self._queue
        if not queue.free:
            raise OSError(errno.EAGAIN, "too many operations in flight")
        slot = queue.free.pop()
        queue.done[slot] = done
        queue.owner[slot] = self
        if len(buffers) == 1:
            memory = queue.memory[slot] = self._from_buffer(buffers[0])
            length = queue.expected[slot] = len(memory)
            queue.request[slot] = (_READ, None, offset, 0)
            error = self._lib.tg_read(self._handle, slot, self._glfd, memory, length, offset)
        else:
            vector = self._vector(slot, buffers)
            queue.request[slot] = (_READ, vector, offset, 0)
            error = self._lib.tg_readv(self._handle, slot, self._glfd, vector, len(buffers), offset)
        return PENDING if not error else self._refused(slot, error)

    def write(self, offset: int, buffers: Buffers, done: Done, durable: bool = False) -> Outcome:
        """Raises OSError(EROFS), or EAGAIN when the loop's queue has no slot left."""
        if self.read_only:
            raise OSError(errno.EROFS, "the disk was opened read-only")
        queue = self._queue
        if not queue.free:
            raise OSError(errno.EAGAIN, "too many operations in flight")
        flags = os.O_DSYNC if durable else 0
        slot = queue.free.pop()
        queue.done[slot] = done
        queue.owner[slot] = self
        if len(buffers) == 1:
            memory = queue.memory[slot] = self._from_buffer(buffers[0])
            length = queue.expected[slot] = len(memory)
            queue.request[slot] = (_WRITE, None, offset, flags)
            error = self._lib.tg_write(self._handle, slot, self._glfd, memory, length, offset, flags)
        else:
            vector = self._vector(slot, buffers)
            queue.request[slot] = (_WRITE, vector, offset, flags)
            error = self._lib.tg_writev(self._handle, slot, self._glfd, vector, len(buffers), offset, flags)
        return PENDING if not error else self._refused(slot, error)

    def flush(self, done: Done) -> Outcome:
        """fdatasync at the bricks. Raises the error of an earlier flush that lost data."""
        lost = self._lost.error()
        if lost is not None:
            raise lost
        if self.read_only:
            return 0
        older = self._handles.unflushed()
        return self._flush_all(older, done) if older else self._start(_FLUSH, 0, 0, done)

    def _flush_all(self, older: list[File], done: Done) -> Outcome:
        """Of a disk that went over to another connection: what was written on those before is flushed there."""
        outcomes: list[Any] = []

        def ended(outcome: Any) -> None:
            outcomes.append(outcome)
            if len(outcomes) > len(older):
                done(next((each for each in outcomes if isinstance(each, OSError)), 0))

        starts = [
            *(partial(self._flush_older, file, ended) for file in older),
            partial(self._start, _FLUSH, 0, 0, ended),
        ]
        for start in starts:
            try:
                start()
            except OSError as error:
                outcomes.append(error)
        if len(outcomes) == len(starts):
            raise outcomes[0]
        return PENDING

    def _flush_older(self, file: File, done: Done) -> Outcome:
        """fdatasync by a handle that is not the one of now. It is not tried again on that one."""
        return self._start(_Again(_FLUSH), 0, 0, done, file.handle)

    def discard(self, offset: int, length: int, done: Done) -> Outcome:
        """Raises OSError(EOPNOTSUPP) where the volume's type can't. What holds no whole granule is zeroed instead."""
        granule = self.capabilities.discard_granularity_bytes
        is_piece = granule > BRICK_BLOCK_BYTES and offset + length < (-(-offset // granule) + 1) * granule
        if is_piece and self.capabilities.can_discard:
            return self._write_zeros(offset, length, done)
        return self._change_range(_DISCARD, self.capabilities.can_discard, offset, length, done)

    def _write_zeros(self, offset: int, length: int, done: Done) -> Outcome:
        """For the pieces of stripes: a dispersed volume that discards less than a stripe zeroes it and answers EIO."""

        def written(outcome: Any) -> None:
            done(outcome if isinstance(outcome, OSError) else 0)

        return 0 if isinstance(self.write(offset, [memoryview(bytes(length))], written), int) else PENDING

    def zero(self, offset: int, length: int, done: Done) -> Outcome:
        """Raises OSError(EOPNOTSUPP) where the volume's type can't (disperse)."""
        return self._change_range(_ZERO, self.capabilities.can_zero, offset, length, done)

    def map(self, offset: int, length: int, done: Done) -> Outcome:
        """In the pool for slow calls: libgfapi has no asynchronous seek."""
        if not self.capabilities.can_map:
            raise OSError(errno.EOPNOTSUPP, "this volume does not tell data from holes")

        def look() -> None:
            try:
                with self._handles.held() as file:
                    answer: Any = _extents(file, offset, offset + length)
            except OSError as error:
                answer = error
            self._loop.call_soon_threadsafe(lambda: done(answer))

        volumes.slow_calls.submit(look)
        return PENDING

    def load_sidecar(self) -> Optional[bytes]:
        """Read when the disk was opened. Raises OSError."""
        return self._record.load()

    def store_sidecar(self, data: bytes, done: Done) -> Outcome:
        """In the pool for slow calls: libgfapi has no asynchronous rename. Raises OSError(EROFS)."""
        if self.read_only:
            raise OSError(errno.EROFS, "the disk was opened read-only")

        stored = self._record.storing(data, done)

        def store() -> None:
            try:
                self.must_hold()
                answer: Any = store_on_volume(self._volume, sidecar_path(self._path), data)
            except OSError as error:
                answer = error
            self._loop.call_soon_threadsafe(lambda: stored(answer))

        volumes.slow_calls.submit(store)
        return PENDING

    def give_back(self, done: Done) -> bool:
        """True for a write that libgfapi has taken: it made a copy. It is not tried again on another handle."""
        queue = self._queue
        slot = next((slot for slot, each in enumerate(queue.done) if each == done and queue.owner[slot] is self), None)
        if slot is None or queue.request[slot][0] != _WRITE or slot in (self._reopening or ()):
            return False
        queue.request[slot] = (_Again(_WRITE), *queue.request[slot][1:])
        queue.release_memory(slot)
        return True

    # -- submission ---------------------------------------------------------------------------------------------

    def _vector(self, slot: int, buffers: Buffers) -> Any:
        """The buffers as struct iovec; sets what the slot keeps and expects."""
        vector = self._queue.ffi.new("struct iovec[]", len(buffers))
        keep = self._queue.memory[slot] = [self._from_buffer(buffer) for buffer in buffers]
        total = 0
        for entry, memory in zip(vector, keep):
            entry.iov_base = memory
            entry.iov_len = length = len(memory)
            total += length
        self._queue.expected[slot] = total
        return vector

    def _change_range(self, call: int, supported: bool, offset: int, length: int, done: Done) -> Outcome:
        if self.read_only:
            raise OSError(errno.EROFS, "the disk was opened read-only")
        if not supported:
            raise OSError(errno.EOPNOTSUPP, f"this volume has no {_WORDS[call]}")
        return self._start(call, offset, length, done)

    def _start(self, call: int, offset: int, length: int, done: Done, older: Any = None) -> Outcome:
        queue = self._queue
        if not queue.free:
            raise OSError(errno.EAGAIN, "too many operations in flight")
        slot = queue.free.pop()
        queue.done[slot], queue.owner[slot], queue.expected[slot] = done, self, 0
        queue.request[slot] = (call, older, offset, length)
        error = self._submit(slot)
        return PENDING if not error else self._refused(slot, error)

    def _submit(self, slot: int) -> int:
        """Hand what stands in the slot to libgfapi: 0, or -errno."""
        call, vector, offset, extra = self._queue.request[slot]
        memory = self._queue.memory[slot]
        lib, handle, file = self._lib, self._handle, self._glfd
        if call == _FLUSH:
            return int(lib.tg_sync(handle, slot, vector or file))
        if call in (_DISCARD, _ZERO):
            number = lib.TG_DISCARD if call == _DISCARD else lib.TG_ZEROFILL
            return int(lib.tg_range(handle, slot, number, file, offset, extra))
        if vector is None:
            if call == _READ:
                return int(lib.tg_read(handle, slot, file, memory, len(memory), offset))
            return int(lib.tg_write(handle, slot, file, memory, len(memory), offset, extra))
        if call == _READ:
            return int(lib.tg_readv(handle, slot, file, vector, len(vector), offset))
        return int(lib.tg_writev(handle, slot, file, vector, len(vector), offset, extra))

    def _refused(self, slot: int, error: int) -> Outcome:
        """libgfapi did not take it."""
        value = self.judge(slot, error)
        if value is RETRIED:
            return PENDING
        self._queue.release(slot)
        raise value

    # -- completion ---------------------------------------------------------------------------------------------

    def judge(self, slot: int, result: int) -> Any:
        """The OSError for an unexpected result, or RETRIED. Learns what the volume can't do."""
        call, _, offset, extra = self._queue.request[slot]
        if result >= 0:
            expected = self._queue.expected[slot]
            error = OSError(errno.EIO, f"short {_WORDS[call]}: {result} of {expected} bytes at {offset}")
        elif -result in HANDLE_LOST and not self._closed and self._reopen(slot):
            return RETRIED
        else:
            error = OSError(-result, os.strerror(-result), self.uri)
        if -result in UNSUPPORTED and call == _DISCARD:
            self.capabilities = replace(self.capabilities, can_discard=False)
        elif -result in UNSUPPORTED and call == _ZERO:
            self.capabilities = replace(self.capabilities, can_zero=False)
        elif call == _FLUSH:
            self._lost.note_flush(error)
        elif call == _WRITE and extra:
            self._lost.note_durable_write(error)
        return error

    def _reopen(self, slot: int) -> bool:
        """Start the slot again on a new handle, made in the pool; False if that was tried for it already."""
        call, vector, offset, extra = self._queue.request[slot]
        if isinstance(call, _Again):
            return False
        self._queue.request[slot] = (_Again(call), vector, offset, extra)
        if self._reopening is not None:
            self._reopening.append(slot)
            return True
        self._reopening = [slot]
        log.warning("%s: its handle broke (the volume's options were changed?); opening it again", self.uri)

        def work() -> None:
            try:
                self._handles.renew()
            except OSError as error:
                number = error.errno or errno.EIO
                self._loop.call_soon_threadsafe(lambda: self._submit_again(-number))

        volumes.slow_calls.submit(work)
        return True

    def _taken(self, file: File) -> None:
        """From now on calls go to this handle. The old one stays open for those under way there."""
        self._glfd = file.handle
        self._submit_again(0)

    def _submit_again(self, error: int) -> None:
        """What waits for another handle: on the one of now, or it ends with -errno."""
        slots, self._reopening = self._reopening or [], None
        for slot in slots:
            refused = error or self._submit(slot)
            if refused:
                done = self._queue.done[slot]
                value = OSError(-refused, os.strerror(-refused), self.uri)
                self._queue.release(slot)
                done(value)

    # -- size and end -------------------------------------------------------------------------------------------

    def refresh_size(self) -> int:
        """Ask the volume. Raises OSError."""
        with self._handles.held() as file:
            self.size_bytes = file.fgetsize()
        return self.size_bytes

    def refresh_space(self) -> Space:
        """The file's blocks, and what the volume has left. By name: the handle may be closed meanwhile."""
        left = self._volume.statvfs(self._path)
        used = self._volume.stat(self._path).st_blocks * 512
        self.space = Space(used, left.f_bavail * (left.f_frsize or left.f_bsize))
        return self.space

    def close(self) -> None:
        """Wait (a bounded time) for what is under way, then close the file. A second close does nothing.

        If something does not come back in time the handle stays open: libgfapi forgets the callbacks of a closed one.
        """
        if self._closed:
            return
        self._closed = True
        deadline = time.monotonic() + CLOSE_LIMIT_SECONDS
        while (left := self._handles.unreturned() + len(self._reopening or ())) and time.monotonic() < deadline:
            time.sleep(0.005)
        self._handles.close()
        if left:
            log.error("%s: %d operations did not come back; its handle stays open", self.uri, left)
        elif self.lease is not None:
            self.lease.give_back()
        volumes.leave_queue(self._loop, self._library)


class _Again(int):
    """The number of a call that is being tried for the second time."""


def _probe(file: File, read_only: bool, discard_granularity_bytes: int) -> Capabilities:
    """Ask with calls that change nothing: a length of 0 is EINVAL where the call exists."""

    def can(call: Callable[[], object]) -> bool:
        try:
            call()
        except OSError as error:
            return error.errno not in UNSUPPORTED
        return True

    def tells_holes() -> bool:
        try:
            file.lseek(0, SEEK_DATA)
        except OSError as error:
            return error.errno == errno.ENXIO  # all of it is a hole
        return True

    return Capabilities(
        can_discard=not read_only and can(lambda: file.discard(0, 0)),
        can_zero=not read_only and can(lambda: file.zerofill(0, 0)),
        can_map=tells_holes(),
        discard_granularity_bytes=discard_granularity_bytes,
    )


def _extents(file: File, offset: int, end: int) -> list[Extent]:
    extents: list[Extent] = []
    while offset < end and len(extents) < MAXIMUM_EXTENTS:
        try:
            data = min(file.lseek(offset, SEEK_DATA), end)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            data = end  # no data from here to the end of the file
        if data > offset:
            extents.append(Extent(offset, data - offset, Allocation.HOLE))
        if data < end and len(extents) < MAXIMUM_EXTENTS:
            offset = min(file.lseek(data, SEEK_HOLE), end)
            extents.append(Extent(data, offset - data, Allocation.DATA))
        else:
            offset = data
    return extents
