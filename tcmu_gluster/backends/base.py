"""The interface between SCSI and storage: what a backend can do, and the operations a SCSI handler yields.

A SCSI handler is a generator: it yields operations of this file and is sent each one's result. A backend completes an
operation at once (returns the result, or raises OSError) or later (returns PENDING and calls done exactly once, on the
loop's thread, with the result or an OSError). It never blocks the loop and never calls done before it returned.

    count = yield Read(offset_bytes, buffers)       # count is always the whole length: a short transfer is EIO
    yield Write(offset_bytes, buffers, durable=True)
    yield Flush()
"""

from __future__ import annotations

import abc
import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Optional, Protocol, Union

Buffers = Sequence[memoryview]
"""Memory used as one: the concatenation of the views, in order. Views are flat ('B')."""


class _Pending:
    def __repr__(self) -> str:
        return "PENDING"


PENDING: Final = _Pending()
"""Returned by a backend that will call done later."""


class Allocation(IntEnum):
    """What a range holds (the provisioning status of SBC-4 GET LBA STATUS uses the same distinction)."""

    DATA = 0
    HOLE = 1


@dataclass(frozen=True)
class Extent:
    """A run of bytes that are all data or all hole."""

    offset: int
    length: int
    allocation: Allocation


Result = Union[int, "list[Extent]", OSError]
Done = Callable[[Any], None]
Outcome = Union[int, "list[Extent]", _Pending]


@dataclass(frozen=True)
class Capabilities:
    """What this backing can really do; VPD B0/B2 are made from it."""

    can_discard: bool = True
    can_zero: bool = True
    can_map: bool = True
    discard_granularity_bytes: int = 4096
    optimal_io_bytes: int = 1 << 20
    atomic_write_bytes: int = 0
    """How long a write may be that is there whole or not at all, whatever fails meanwhile: power, process, space."""


@dataclass(frozen=True)
class Space:
    """What a backing takes of its storage, and what is left there. is_shared: others may take of that too."""

    used_bytes: int
    available_bytes: int
    is_shared: bool = True


class Holding(Protocol):
    """The right to use a backing (backends/lease.py). It lapses when clock() passes valid_until, and may come back."""

    clock: Callable[[], float]
    valid_until: float

    def describe(self) -> dict[str, Any]:
        """What `disk show` shows of it."""

    def give_back(self) -> None:
        """Others may have it; nothing of ours is under way any more. May block. Never raises."""


class Backend(abc.ABC):
    """One open backing. offset and length are bytes and lie inside size_bytes: the caller checked."""

    uri: str
    size_bytes: int
    read_only: bool
    capabilities: Capabilities
    identity: str
    """Stable text that names the data itself (volume id and GFID, a UUID kept with the file, ...)."""
    _sidecar_in_memory: Optional[bytes] = None
    space: Optional[Space] = None
    """What refresh_space() last found; None as long as nobody knows."""
    lease: Optional[Holding] = None
    """None: nobody else can write to it, or it is only read. While it has lapsed nothing is started, nor answered."""

    def must_hold(self) -> None:
        """Raises OSError(EBUSY) while the lease has lapsed: for what was started before, and waited for a thread."""
        lease = self.lease
        if lease is not None and lease.clock() > lease.valid_until:
            raise OSError(errno.EBUSY, "the lease on the disk has lapsed", self.uri)

    @abc.abstractmethod
    def read(self, offset: int, buffers: Buffers, done: Done) -> Outcome:
        """Fill all buffers from offset. Result: bytes read, always all of them. done(OSError) or raise for errors."""

    @abc.abstractmethod
    def write(self, offset: int, buffers: Buffers, done: Done, durable: bool = False) -> Outcome:
        """Write all buffers at offset; durable: on stable storage before it completes (FUA). Result: bytes written."""

    @abc.abstractmethod
    def flush(self, done: Done) -> Outcome:
        """Everything acknowledged so far reaches stable storage. Result 0. An error is told to later flushes too."""

    @abc.abstractmethod
    def discard(self, offset: int, length: int, done: Done) -> Outcome:
        """Give the space back; the range reads as zeros afterwards. Result 0. EOPNOTSUPP unless can_discard."""

    @abc.abstractmethod
    def zero(self, offset: int, length: int, done: Done) -> Outcome:
        """The range reads as zeros afterwards and stays allocated. Result 0. EOPNOTSUPP unless can_zero."""

    @abc.abstractmethod
    def map(self, offset: int, length: int, done: Done) -> Outcome:
        """Extents from offset on, ascending, gapless, at most 64, not beyond offset+length (less is fine)."""

    def load_sidecar(self) -> Optional[bytes]:
        """What store_sidecar() was last given for this data, wherever it is served now; None if nothing ever was.

        It was read when the backing was opened, so this does not block.  Raises OSError: it is there but unreadable.
        """
        return self._sidecar_in_memory

    def store_sidecar(self, data: bytes, done: Done) -> Outcome:
        """Keep data beside the disk, in place of what was kept before, all or nothing. Result 0, when it is stable.

        Callers store one after the other.  A backend that says nothing else keeps it for as long as it is open.
        """
        self._sidecar_in_memory = data
        return 0

    def give_back(self, done: Done) -> bool:
        """Whether the memory of the operation that will call done may go now: it is not looked at any more. For a front
        that answers before storage does. False from a backend that says nothing else."""
        return False

    @abc.abstractmethod
    def refresh_size(self) -> int:
        """Look again how large the backing is; updates and returns size_bytes. May block: not for the loop."""

    def refresh_space(self) -> Optional[Space]:
        """Look again at what is used and left; updates and returns space. May block: not for the loop. Raises OSError.

        A backend that says nothing else can't tell.
        """
        return self.space

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of everything. Only when no operation is under way. May block: not for the loop under load."""


class Operation:
    """What a handler may yield. start() asks the backend; the unit's own unless the operation names another."""

    __slots__ = ()

    def start(self, backend: Backend, done: Done) -> Outcome:
        """Begin; returns the result or PENDING, or raises OSError."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Nobody waits for it any more. What the backend works on can't be hurried; what only waits ends now."""


class Read(Operation):
    """Fill buffers from offset (bytes)."""

    __slots__ = ("buffers", "offset")

    def __init__(self, offset: int, buffers: Buffers) -> None:
        self.offset, self.buffers = offset, buffers

    def start(self, backend: Backend, done: Done) -> Outcome:
        return backend.read(self.offset, self.buffers, done)


class Write(Operation):
    """Write buffers at offset (bytes)."""

    __slots__ = ("buffers", "durable", "offset")

    def __init__(self, offset: int, buffers: Buffers, durable: bool = False) -> None:
        self.offset, self.buffers, self.durable = offset, buffers, durable

    def start(self, backend: Backend, done: Done) -> Outcome:
        return backend.write(self.offset, self.buffers, done, self.durable)


class Flush(Operation):
    """Everything acknowledged so far to stable storage."""

    __slots__ = ()

    def start(self, backend: Backend, done: Done) -> Outcome:
        return backend.flush(done)


class _Range(Operation):
    __slots__ = ("length", "offset")

    def __init__(self, offset: int, length: int) -> None:
        self.offset, self.length = offset, length


class Discard(_Range):
    """Unmap length bytes at offset."""

    __slots__ = ()

    def start(self, backend: Backend, done: Done) -> Outcome:
        return backend.discard(self.offset, self.length, done)


class Zero(_Range):
    """Zero length bytes at offset, kept allocated."""

    __slots__ = ()

    def start(self, backend: Backend, done: Done) -> Outcome:
        return backend.zero(self.offset, self.length, done)


class Map(_Range):
    """The extents of length bytes from offset."""

    __slots__ = ()

    def start(self, backend: Backend, done: Done) -> Outcome:
        return backend.map(self.offset, self.length, done)


class StoreSidecar(Operation):
    """Keep the unit's record beside the disk; ends when it is stable."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def start(self, backend: Backend, done: Done) -> Outcome:
        return backend.store_sidecar(self.data, done)
