"""Memory for data on its way: size classes, kept for reuse up to a bound, handed out up to a limit.

Whole commands are admitted: one that gets its memory gets all of it and so can end; one that doesn't waits in line and
holds none. That is why waiting can't deadlock. Buffers are not cleared: who takes one fills what he shows to others.
"""

from __future__ import annotations

import mmap
from collections import deque
from typing import Optional, Protocol
from weakref import WeakValueDictionary

SMALL_BYTES = 8192
"""Data up to this size isn't pooled or counted: a fresh bytearray costs less, and the CmdSN window bounds it."""

_SMALLEST_CLASS = 14


class Waiter(Protocol):
    """Somebody in line for memory."""

    def memory_ready(self, view: memoryview) -> None:
        """The memory asked for. Called from within give()."""


class Memory(Protocol):
    """What a connection asks of its pool, or of its share of one."""

    def take_anyway(self, length: int) -> memoryview:
        """A view for data that can't be refused any more."""

    def take_or_wait(self, length: int, waiter: Waiter) -> Optional[memoryview]:
        """A view, or None: then waiter.memory_ready() will be called, unless cancel() comes first."""

    def cancel(self, waiter: Waiter) -> None:
        """The waiter leaves the line."""

    def give(self, view: memoryview) -> None:
        """Back with a view, once."""


class Source(Memory, Protocol):
    """What a share is one of: a pool, or a larger share."""

    def take(self, length: int) -> Optional[memoryview]:
        """A view, or None when the limit is reached or others wait."""


class BufferPool:
    """Hands out memoryviews of at least 1 byte; limit_bytes counts whole size classes (powers of two from 16 KiB)."""

    def __init__(self, limit_bytes: int = 256 << 20, retain_bytes: int = 32 << 20) -> None:
        self.limit_bytes, self.retain_bytes = limit_bytes, retain_bytes
        self.handed_out_bytes = 0
        self.retained_bytes = 0
        self._free: dict[int, list[memoryview]] = {}
        self._unneeded: dict[int, int] = {}  # of each class, how many have been free all the time since trim()
        self._waiting: deque[tuple[Waiter, int]] = deque()

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._waiting)

    def take(self, length: int) -> Optional[memoryview]:
        """A writable view of length bytes, or None when the limit is reached or others wait.

        One request that is larger than the whole limit is still served when nothing else is out.
        """
        if self._waiting or not self._fits(length):
            return None
        return self._hand_out(length)

    def take_anyway(self, length: int) -> memoryview:
        """A view for data that can't be refused any more. It counts, so that others wait for it."""
        return self._hand_out(length)

    def take_or_wait(self, length: int, waiter: Waiter) -> Optional[memoryview]:
        """Like take(), but None means that waiter.memory_ready() will be called, unless cancel() comes first."""
        view = self.take(length)
        if view is None:
            self._waiting.append((waiter, length))
        return view

    def cancel(self, waiter: Waiter) -> None:
        """The waiter leaves the line. Others that fit now are served."""
        if self._waiting:
            self._waiting = deque(entry for entry in self._waiting if entry[0] is not waiter)
            self._serve()

    def give(self, view: memoryview) -> None:
        """Back with a view that take() returned (itself, not a slice), once. Serves those who wait."""
        size = 1 << _class_of(len(view))
        self.handed_out_bytes -= size
        if self.retained_bytes + size <= self.retain_bytes:
            self.retained_bytes += size
            self._free.setdefault(size, []).append(view)
        if self._waiting:
            self._serve()

    def trim(self) -> None:
        """Give the memory that nobody needed since the last trim() back to the system."""
        for size, free in self._free.items():
            unneeded = self._unneeded.get(size, 0)
            del free[:unneeded]
            self.retained_bytes -= size * unneeded
            self._unneeded[size] = len(free)

    def _fits(self, length: int) -> bool:
        return not self.handed_out_bytes or self.handed_out_bytes + (1 << _class_of(length)) <= self.limit_bytes

    def _hand_out(self, length: int) -> memoryview:
        size = 1 << _class_of(length)
        self.handed_out_bytes += size
        free = self._free.get(size)
        if free:
            self.retained_bytes -= size
            base = free.pop().obj
            if len(free) < self._unneeded.get(size, 0):
                self._unneeded[size] = len(free)
        else:
            base = mmap.mmap(-1, size)
        return memoryview(base)[:length]

    def _serve(self) -> None:
        while self._waiting and self._fits(self._waiting[0][1]):
            waiter, length = self._waiting.popleft()
            waiter.memory_ready(self._hand_out(length))


class Share:
    """What one connection may have of a pool, so that it can't keep everybody else waiting; or of its address's share.

    It is counted from when the connection stands in the pool's line, so nobody fills the line either.
    """

    def __init__(self, pool: Source, limit_bytes: int) -> None:
        self._pool, self.limit_bytes = pool, limit_bytes
        self.used_bytes = 0
        """What it has, and what it waits for in the pool's line."""
        self._waiting: deque[tuple[Waiter, int]] = deque()  # for the share; then they wait for the pool
        self._in_line: dict[int, _InLine] = {}  # by id of the waiter

    def take(self, length: int) -> Optional[memoryview]:
        """A view, or None when this share or the pool is used up, or others wait."""
        if self._waiting or not self._fits(length):
            return None
        view = self._pool.take(length)
        if view is not None:
            self.used_bytes += 1 << _class_of(length)
        return view

    def take_anyway(self, length: int) -> memoryview:
        """A view for data that can't be refused any more."""
        self.used_bytes += 1 << _class_of(length)
        return self._pool.take_anyway(length)

    def take_or_wait(self, length: int, waiter: Waiter) -> Optional[memoryview]:
        """A view, or None: then waiter.memory_ready() will be called, unless cancel() comes first."""
        if self._waiting or not self._fits(length):
            self._waiting.append((waiter, length))
            return None
        return self._ask(length, waiter)

    def cancel(self, waiter: Waiter) -> None:
        """The waiter leaves the line."""
        if self._waiting:
            self._waiting = deque(entry for entry in self._waiting if entry[0] is not waiter)
        entry = self._in_line.pop(id(waiter), None)
        if entry is not None:
            self.used_bytes -= 1 << _class_of(entry.length)
            self._pool.cancel(entry)
        self._serve()

    def give(self, view: memoryview) -> None:
        """Back with a view, once."""
        self.used_bytes -= 1 << _class_of(len(view))
        self._pool.give(view)
        if self._waiting:
            self._serve()

    def adopt(self, view: memoryview, other: Share) -> None:
        """A view of another share counts here from now on (its task was reassigned)."""
        size = 1 << _class_of(len(view))
        if isinstance(self._pool, Share) and isinstance(other._pool, Share) and self._pool is not other._pool:
            self._pool.adopt(view, other._pool)
        other.used_bytes -= size
        self.used_bytes += size
        other._serve()

    def arrived(self, entry: _InLine, view: memoryview) -> None:
        """The pool has served one of ours."""
        del self._in_line[id(entry.waiter)]
        entry.waiter.memory_ready(view)

    def _fits(self, length: int) -> bool:
        return not self.used_bytes or self.used_bytes + (1 << _class_of(length)) <= self.limit_bytes

    def _ask(self, length: int, waiter: Waiter) -> Optional[memoryview]:
        self.used_bytes += 1 << _class_of(length)
        view = self._pool.take(length)
        if view is None:
            entry = self._in_line[id(waiter)] = _InLine(self, waiter, length)
            view = self._pool.take_or_wait(length, entry)
        return view

    def _serve(self) -> None:
        while self._waiting and self._fits(self._waiting[0][1]):
            waiter, length = self._waiting.popleft()
            view = self._ask(length, waiter)
            if view is not None:
                waiter.memory_ready(view)


class Shares:
    """The share of each address, made when it comes and gone when its last connection is."""

    def __init__(self, pool: Source, limit_bytes: int) -> None:
        self._pool, self._limit_bytes = pool, limit_bytes
        self._by_name: WeakValueDictionary[str, Share] = WeakValueDictionary()

    def of(self, name: str) -> Share:
        """What all connections of name may have together."""
        share = self._by_name.get(name)
        if share is None:
            share = self._by_name[name] = Share(self._pool, self._limit_bytes)
        return share


class _InLine:
    """A waiter in the pool's line, on account of a share."""

    __slots__ = ("length", "share", "waiter")

    def __init__(self, share: Share, waiter: Waiter, length: int) -> None:
        self.share, self.waiter, self.length = share, waiter, length

    def memory_ready(self, view: memoryview) -> None:
        """The pool has memory for it."""
        self.share.arrived(self, view)


def _class_of(length: int) -> int:
    """The power of two that holds length bytes."""
    return max(_SMALLEST_CLASS, (length - 1).bit_length())
