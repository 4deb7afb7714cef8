"""An event loop that a test turns by hand: ask() starts a backend's operation and waits for its result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tcmu_gluster.backends.base import PENDING


class BackendLoop:
    """asyncio's loop and what a test does with a backend on it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def start(self, call: Callable[[Callable[[Any], None]], Any]) -> asyncio.Future[Any]:
        """Begin call(done); the future is set by done, or at once by what it returned or raised."""
        future: asyncio.Future[Any] = self.loop.create_future()
        try:
            outcome = call(future.set_result)
        except OSError as error:
            outcome = error
        if outcome is not PENDING:
            assert not future.done(), "done was called although the operation completed at once"
            future.set_result(outcome)
        return future

    def wait(self, future: asyncio.Future[Any], seconds: float = 20) -> Any:
        """The result; an OSError is raised."""
        result = self.loop.run_until_complete(asyncio.wait_for(future, seconds))
        if isinstance(result, OSError):
            raise result
        return result

    def ask(self, call: Callable[[Callable[[Any], None]], Any]) -> Any:
        """start() and wait()."""
        return self.wait(self.start(call))

    def turn(self, times: int = 3) -> None:
        """Let callbacks that are due run."""
        for _ in range(times):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def write(self, backend: Any, offset: int, *parts: bytes, durable: bool = False) -> Any:
        """Ask for a write of parts, one view each."""
        return self.ask(lambda done: backend.write(offset, [memoryview(part) for part in parts], done, durable))

    def read(self, backend: Any, offset: int, length: int) -> bytes:
        """Ask for a read into one buffer."""
        target = bytearray(length)
        assert self.ask(lambda done: backend.read(offset, [memoryview(target)], done)) == length
        return bytes(target)

    def close(self) -> None:
        """Run what is due, and end."""
        self.turn()
        self.loop.close()
