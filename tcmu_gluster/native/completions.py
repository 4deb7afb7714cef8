"""The loop's side of the completion queue: slots, their free list, and one drain per wake.

An operation is a slot number. What belongs to it stands in parallel lists, so that a submission is a pop and a few
stores, and a completion a few loads: no object and no closure is made for it.

    slot = queue.free.pop()                     # IndexError: too many in flight
    queue.done[slot], queue.owner[slot] = done, owner
    queue.expected[slot], queue.memory[slot] = length, ffi.from_buffer(view)
    if (error := lib.tg_read(queue.handle, slot, ...)): queue.release(slot)

When the result equals what was expected, done is called with it; anything else goes to owner.judge(slot, result) first,
whose answer done then gets (or, if the answer is RETRIED, the owner has started the slot again). request is the owner's
own: what it needs to judge or to start again.

memory is one from_buffer object or a list of them. They are released by hand: cffi crashes the process when the garbage
collector meets one in a cycle with its memoryview, as in the traceback of an exception. For the same reason the list
of them is pinned until close(): what is in flight when everybody forgot the queue stays where Gluster will write.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any, Final, Protocol

from tcmu_gluster.native import require_shim
from tcmu_gluster.native.symbols import ASYNCHRONOUS, Gfapi

DEFAULT_SLOTS: Final = 4096
RETRIED: Final = object()


class Loop(Protocol):
    """What is needed of an event loop; asyncio's fits."""

    def call_soon_threadsafe(self, callback: Any) -> Any: ...

    def add_reader(self, fd: int, callback: Any) -> Any: ...

    def remove_reader(self, fd: int) -> Any: ...


class CompletionQueue:
    """One a loop. Everything but in_flight() belongs to the loop's thread.

    Its memory and what the slots keep alive last until every operation has come back: Gluster's threads write there.
    """

    def __init__(self, gfapi: Gfapi, slots: int = DEFAULT_SLOTS) -> None:
        shim = require_shim()
        self.lib, self.ffi = shim.lib, shim.ffi
        self.handle = shim.lib.tg_queue_new(slots)
        if self.handle == shim.ffi.NULL:
            number = shim.ffi.errno
            raise OSError(number, os.strerror(number), "completion queue")
        for call, name in ASYNCHRONOUS:
            address, with_stat = gfapi.find(name, has_versions=True)
            shim.lib.tg_queue_set_call(self.handle, getattr(shim.lib, call), address, with_stat)
        self.slots = slots
        self.free = list(range(slots - 1, -1, -1))
        self.done: list[Any] = [None] * slots
        self.owner: list[Any] = [None] * slots
        self.expected = [0] * slots
        self.memory: list[Any] = [None] * slots
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.memory))
        self.request: list[Any] = [None] * slots
        self._pairs = shim.ffi.new("int64_t[]", 2 * slots)
        self._numbers = memoryview(shim.ffi.buffer(self._pairs)).cast("B").cast("q")
        self._drain = shim.lib.tg_queue_drain
        self._release = shim.ffi.release

    def fileno(self) -> int:
        """Readable when drain() has something to do."""
        return int(self.lib.tg_queue_fd(self.handle))

    def release(self, slot: int) -> None:
        """Give back a slot whose submission failed."""
        self.release_memory(slot)
        self.done[slot] = self.owner[slot] = self.request[slot] = None
        self.free.append(slot)

    def release_memory(self, slot: int) -> None:
        """Libgfapi won't touch it any more, and nobody else will hand it the slot's memory again."""
        memory, self.memory[slot] = self.memory[slot], None
        if type(memory) is list:
            for part in memory:
                self._release(part)
        elif memory is not None:
            self._release(memory)

    def drain(self) -> int:
        """Call done for everything that completed; returns how many. A done that raises doesn't stop the others."""
        count = int(self._drain(self.handle, self._pairs))
        if not count:
            return 0
        numbers = iter(self._numbers[: 2 * count].tolist())
        dones, owners, expected, requests, free = self.done, self.owner, self.expected, self.request, self.free
        failure: BaseException | None = None
        for slot, result in zip(numbers, numbers):
            value: Any = result
            try:
                if result != expected[slot]:
                    value = owners[slot].judge(slot, result)
                    if value is RETRIED:
                        continue
                done = dones[slot]
                dones[slot] = owners[slot] = requests[slot] = None
                self.release_memory(slot)
                free.append(slot)
                done(value)
            except BaseException as error:
                failure = error
        if failure is not None:
            raise failure
        return count

    def in_flight(self, file: Any = None) -> int:
        """Operations (on one file) that libgfapi has not called back for. Any thread may ask."""
        return int(self.lib.tg_queue_in_flight(self.handle, self.ffi.NULL if file is None else file))

    def strays(self) -> int:
        """Callbacks that belonged to no operation: a fault of libgfapi, counted and ignored."""
        return int(self.lib.tg_queue_strays(self.handle))

    def close(self) -> bool:
        """Free the memory; False (and nothing done) while an operation is in flight."""
        if self.handle is None or self.lib.tg_queue_free(self.handle) != 0:
            return self.handle is None
        self.handle = None
        ctypes.pythonapi.Py_DecRef(ctypes.py_object(self.memory))
        return True
