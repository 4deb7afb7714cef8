"""Loading cmd_head and storing cmd_tail: the only words that both sides of a ring use at the same time.

The kernel fills an entry and then publishes cmd_head; we may not read the entry before we saw that head (acquire).
We fill in responses and then publish cmd_tail (release). The C shim says so to compiler and processor, whatever they
are. The Python twin moves an aligned word in one instruction (memoryview items are copied whole, struct would go byte
by byte), which is enough where the processor itself keeps loads and stores in order, as x86-64 does.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Protocol

from ..errors import ConfigError
from ..native import function, require_shim
from .uapi import CMD_HEAD_OFFSET, CMD_TAIL_OFFSET, MAILBOX_BYTES

_ORDERED_MACHINES = ("x86_64", "AMD64", "i686", "s390x")


class MailboxAccess(Protocol):
    """The two live words of a mailbox."""

    def load_head(self) -> int:
        """cmd_head, with acquire ordering."""

    def load_tail(self) -> int:
        """cmd_tail as it stands: ours, unless somebody reset the ring."""

    def store_tail(self, tail: int) -> None:
        """cmd_tail, with release ordering."""


AccessFactory = Callable[[memoryview], MailboxAccess]


class PythonAccess:
    """The twin without a compiler. mailbox: the first 128 bytes of the mapping, writable."""

    __slots__ = ("_words",)

    def __init__(self, mailbox: memoryview) -> None:
        self._words = mailbox[:MAILBOX_BYTES].cast("I")

    def load_head(self) -> int:
        return self._words[CMD_HEAD_OFFSET // 4]

    def load_tail(self) -> int:
        return self._words[CMD_TAIL_OFFSET // 4]

    def store_tail(self, tail: int) -> None:
        self._words[CMD_TAIL_OFFSET // 4] = tail


class ShimAccess:
    """The C shim's acquiring loads and releasing store (native/ring.c). Raises ConfigError if it isn't built."""

    __slots__ = ("_head", "_load", "_mailbox", "_store", "_tail")

    def __init__(self, mailbox: memoryview) -> None:
        shim = require_shim()
        self._mailbox = shim.ffi.from_buffer("char[]", mailbox[:MAILBOX_BYTES], require_writable=True)
        self._head = shim.ffi.cast("uint32_t *", self._mailbox + CMD_HEAD_OFFSET)
        self._tail = shim.ffi.cast("uint32_t *", self._mailbox + CMD_TAIL_OFFSET)
        self._load, self._store = shim.lib.tg_ring_load_acquire, shim.lib.tg_ring_store_release

    def load_head(self) -> int:
        head: int = self._load(self._head)
        return head

    def load_tail(self) -> int:
        tail: int = self._load(self._tail)
        return tail

    def store_tail(self, tail: int) -> None:
        self._store(self._tail, tail)


def shim_is_built() -> bool:
    """Whether ShimAccess can be used."""
    return function("tg_ring_load_acquire") is not None


def best_access() -> AccessFactory:
    """The C shim; without it the Python twin where the processor allows. Raises ConfigError elsewhere."""
    if shim_is_built():
        return ShimAccess
    if platform.machine() in _ORDERED_MACHINES:
        return PythonAccess
    raise ConfigError(
        f"on {platform.machine()} a TCMU ring can only be read through the C shim, which is not built; "
        "run script/setup, or install a compiler and reinstall"
    )
