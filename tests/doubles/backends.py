"""Backends around another one: one that fails when it is told to, one that answers when it is told to; and a loop."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Any, Optional

from tcmu_gluster.backends.base import PENDING, Backend, Buffers, Done, Outcome, Space


class Wrapper(Backend):
    """A backend that hands everything to another one, through call(name, start, done)."""

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        self.uri, self.size_bytes, self.read_only = inner.uri, inner.size_bytes, inner.read_only
        self.capabilities, self.identity = inner.capabilities, inner.identity

    def call(self, name: str, start: Callable[[Done], Outcome], done: Done) -> Outcome:
        """Run the inner operation; subclasses do something about it."""
        return start(done)

    def read(self, offset: int, buffers: Buffers, done: Done) -> Outcome:
        return self.call("read", lambda later: self.inner.read(offset, buffers, later), done)

    def write(self, offset: int, buffers: Buffers, done: Done, durable: bool = False) -> Outcome:
        return self.call("write", lambda later: self.inner.write(offset, buffers, later, durable), done)

    def flush(self, done: Done) -> Outcome:
        return self.call("flush", self.inner.flush, done)

    def discard(self, offset: int, length: int, done: Done) -> Outcome:
        return self.call("discard", lambda later: self.inner.discard(offset, length, later), done)

    def zero(self, offset: int, length: int, done: Done) -> Outcome:
        return self.call("zero", lambda later: self.inner.zero(offset, length, later), done)

    def map(self, offset: int, length: int, done: Done) -> Outcome:
        return self.call("map", lambda later: self.inner.map(offset, length, later), done)

    def load_sidecar(self) -> Optional[bytes]:
        return self.inner.load_sidecar()

    def store_sidecar(self, data: bytes, done: Done) -> Outcome:
        return self.call("store_sidecar", lambda later: self.inner.store_sidecar(data, later), done)

    def refresh_space(self) -> Optional[Space]:
        self.space = self.inner.refresh_space()
        return self.space

    def refresh_size(self) -> int:
        self.size_bytes = self.inner.refresh_size()
        return self.size_bytes

    def close(self) -> None:
        self.inner.close()


class RecordingBackend(Wrapper):
    """Keeps what was asked: (name, offset, length, durable) in order; flush is ("flush", 0, 0, False)."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self.calls: list[tuple[str, int, int, bool]] = []

    def read(self, offset: int, buffers: Buffers, done: Done) -> Outcome:
        self.calls.append(("read", offset, sum(map(len, buffers)), False))
        return super().read(offset, buffers, done)

    def write(self, offset: int, buffers: Buffers, done: Done, durable: bool = False) -> Outcome:
        self.calls.append(("write", offset, sum(map(len, buffers)), durable))
        return super().write(offset, buffers, done, durable)

    def flush(self, done: Done) -> Outcome:
        self.calls.append(("flush", 0, 0, False))
        return super().flush(done)

    def discard(self, offset: int, length: int, done: Done) -> Outcome:
        self.calls.append(("discard", offset, length, False))
        return super().discard(offset, length, done)

    def zero(self, offset: int, length: int, done: Done) -> Outcome:
        self.calls.append(("zero", offset, length, False))
        return super().zero(offset, length, done)

    def names(self) -> list[str]:
        """The operations by name alone."""
        return [call[0] for call in self.calls]


class FaultyBackend(Wrapper):
    """Fails as fail() says; everything else works."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self._faults: list[tuple[str, Exception, bool]] = []
        self._due: deque[tuple[Done, Exception]] = deque()

    def fail(self, name: str, error: int | Exception, *, later: bool = False) -> None:
        """The next operation of that name fails: an errno or any exception; raised at once, or given to done later."""
        exception = OSError(error, os.strerror(error)) if isinstance(error, int) else error
        self._faults.append((name, exception, later))

    def call(self, name: str, start: Callable[[Done], Outcome], done: Done) -> Outcome:
        for fault in self._faults:
            if fault[0] == name:
                self._faults.remove(fault)
                if not fault[2]:
                    raise fault[1]
                self._due.append((done, fault[1]))
                return PENDING
        return start(done)

    def run(self) -> None:
        """Deliver the failures that were to come later."""
        while self._due:
            done, error = self._due.popleft()
            done(error)


class SlowBackend(Wrapper):
    """Every operation is PENDING until step() or run() lets it happen."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self.waiting: deque[tuple[str, Callable[[Done], Outcome], Done]] = deque()

    def call(self, name: str, start: Callable[[Done], Outcome], done: Done) -> Outcome:
        self.waiting.append((name, start, done))
        return PENDING

    def step(self, index: int = 0) -> str:
        """Let one operation happen (the oldest, or another); returns its name."""
        name, start, done = self.waiting[index]
        del self.waiting[index]
        result: Any
        try:
            result = start(done)
        except OSError as error:
            result = error
        if result is not PENDING:
            done(result)
        return name

    def run(self) -> None:
        """Let everything happen, also what follows from it."""
        while self.waiting:
            self.step()
