"""A few threads for calls that block, with one wake of the loop for everything that finished meanwhile."""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final

from tcmu_gluster.native.completions import Loop

DEFAULT_THREADS: Final = 8


class BlockingPool:
    """Runs calls in at most limit threads (started when needed) and hands each result to its done on the loop.

    submit() belongs to the loop's thread. A call that raises OSError has that as its result; anything else it raises
    is a fault, becomes OSError(EIO) with the fault as its cause, and so is never lost.
    """

    def __init__(self, loop: Loop, name: str, limit: int = DEFAULT_THREADS) -> None:
        self._loop, self._name, self._limit = loop, name, limit
        self._work: SimpleQueue[tuple[Callable[[], Any], Callable[[Any], None]] | None] = SimpleQueue()
        self._finished: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._is_awake = False
        self._threads: list[threading.Thread] = []
        self._submitted = 0
        self._ended = [0]
        self._lock = threading.Lock()

    def submit(self, call: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Run call in a thread; done(result) on the loop later."""
        self._submitted += 1
        self._work.put((call, done))
        if len(self._threads) < self._limit and self.in_flight() > len(self._threads):
            thread = threading.Thread(target=self._run, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def in_flight(self) -> int:
        """Calls that were submitted and have not ended. Any thread may ask."""
        return self._submitted - self._ended[0]

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            call, done = item
            result: Any
            try:
                result = call()
            except OSError as error:
                result = error
            except Exception as fault:
                result = OSError(errno.EIO, f"internal fault: {fault!r}")
                result.__cause__ = fault
            self._finished.append((done, result))
            with self._lock:
                self._ended[0] += 1
                wake, self._is_awake = not self._is_awake, True
            if wake:
                try:
                    self._loop.call_soon_threadsafe(self._deliver)
                except RuntimeError:  # the loop is closed: nobody waits for a result any more
                    return

    def _deliver(self) -> None:
        with self._lock:
            self._is_awake = False  # before the results are taken: what comes after this wakes again
        failure: BaseException | None = None
        while self._finished:
            done, result = self._finished.popleft()
            try:
                done(result)
            except BaseException as error:  # one command's fault must not keep the others' results
                failure = error
        if failure is not None:
            raise failure

    def close(self, limit_seconds: float) -> int:
        """Wait for what runs, end the threads; returns how many calls did not end in time (their threads stay)."""
        deadline = time.monotonic() + limit_seconds
        while self.in_flight() and time.monotonic() < deadline:
            time.sleep(0.005)
        for _ in self._threads:
            self._work.put(None)
        return self.in_flight()
