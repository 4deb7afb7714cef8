"""Taking turns: handlers that change one piece of a unit's state, each after the one before has ended.

turn = turns.join()
try:
    yield turn
    ...                 # nobody else is between here
finally:
    turn.leave()        # and so also if the command is aborted, even while it waits
"""

from __future__ import annotations

from collections import deque
from typing import Optional

from tcmu_gluster.backends.base import PENDING, Backend, Done, Operation, Outcome


class Turn(Operation):
    """One place in the queue."""

    __slots__ = ("_queue", "granted")

    def __init__(self, queue: deque[Turn]) -> None:
        self._queue = queue
        self.granted: Optional[Done] = None

    def start(self, backend: Backend, done: Done) -> Outcome:
        """0 at once for the first in the queue, else when it has become the first."""
        if self._queue[0] is self:
            return 0
        self.granted = done
        return PENDING

    def leave(self) -> None:
        """It is over, or nobody wants it any more. Leaving twice does nothing."""
        queue = self._queue
        if self not in queue:
            return
        was_first = queue[0] is self
        queue.remove(self)
        if was_first and queue:
            done, queue[0].granted = queue[0].granted, None
            if done is not None:
                done(0)


class Turns:
    """The queue."""

    __slots__ = ("_queue",)

    def __init__(self) -> None:
        self._queue: deque[Turn] = deque()

    def join(self) -> Turn:
        """The last place."""
        turn = Turn(self._queue)
        self._queue.append(turn)
        return turn
