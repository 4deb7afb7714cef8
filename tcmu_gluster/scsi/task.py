"""Tasks: the runner of what a handler returns, and the set of a unit's tasks that run or wait.

A generator yields storage operations and is sent their results (an OSError is thrown in). The runner starts each on the
unit's Backend. What the backend answers at once costs no more than a loop turn; what comes later resumes the generator.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from itertools import islice
from typing import Any, Optional, Protocol, Union

from tcmu_gluster.backends.base import PENDING, Backend, Operation
from tcmu_gluster.scsi.command import Command, Response
from tcmu_gluster.scsi.overlap import HEAD_OF_QUEUE, is_restless, must_wait
from tcmu_gluster.scsi.sense import Busy

Steps = Generator[Operation, Any, Response]
"""A handler that needs several operations: a generator, its Response returned."""

Plan = tuple[Operation, Response]
"""A handler that needs one operation returns it with the Response that its success means: READ and WRITE do."""

Result = Union[Response, Plan, Steps]
"""What a handler of the command table returns."""


class Unit(Protocol):
    """What a task needs of its logical unit."""

    backend: Backend
    tasks: TaskSet

    def answer(self, command: Command, error: Exception) -> Response:
        """The Response that an error becomes."""

    def lapsed(self) -> bool:
        """Whether the lease on the disk has: nothing may be started or answered as done."""


class Task:
    """One command that is not answered yet, while it waits for others or for the backend.

    operation   the one that the backend works on, or that failed
    response    what its success means, if steps is None
    """

    __slots__ = ("command", "operation", "response", "steps", "unit")

    def __init__(self, unit: Unit, command: Command) -> None:
        self.unit = unit
        self.command = command
        self.operation: Optional[Operation] = None
        self.response: Optional[Response] = None
        self.steps: Optional[Steps] = None

    def run(self, steps: Steps, outcome: Any = None) -> Optional[Response]:
        """Send outcome to a generator, and go on until it ends (its Response) or has to wait for the backend (None).

        Raises what the generator raises.
        """
        self.steps = steps
        backend, resume = self.unit.backend, self.resume
        try:
            while True:
                operation = steps.throw(outcome) if isinstance(outcome, Exception) else steps.send(outcome)
                self.operation = operation
                if self.unit.lapsed():
                    raise Busy()
                try:
                    outcome = operation.start(backend, resume)
                except OSError as error:
                    outcome = error
                if outcome is PENDING:
                    return None
        except StopIteration as stop:
            response: Response = stop.value
            return response

    def resume(self, outcome: Any) -> None:
        """The backend's done: an operation that was PENDING ended with outcome."""
        tasks = self.unit.tasks
        response = tasks.running[self]
        if response is not None:  # aborted meanwhile
            if self.steps is not None:
                self.steps.close()
        else:
            try:
                if self.unit.lapsed():
                    raise Busy()
                if self.steps is not None:
                    response = self.run(self.steps, outcome)
                elif isinstance(outcome, Exception):
                    raise outcome
                else:
                    response = self.response
            except Exception as error:
                response = self.unit.answer(self.command, error)
        if response is not None:
            tasks.end(self, response)


class TaskSet:
    """The tasks of one unit.

    running     started, waiting for the backend; with the Response of one that was aborted meanwhile
    waiting     not started yet, in arrival order
    restless    how many of them a plain READ or WRITE has to look at before it starts; 0 nearly always
    """

    __slots__ = ("_ending", "_pumping", "_start", "restless", "running", "waiting")

    def __init__(self, start: Callable[[Command], Optional[Response]]) -> None:
        self._start = start
        self.running: dict[Task, Optional[Response]] = {}
        self.waiting: list[Task] = []
        self.restless = 0
        self._pumping = False
        self._ending: list[tuple[set[Task], Callable[[], None]]] = []

    def has_to_wait(self, command: Command) -> bool:
        """Whether command conflicts with one that runs, or with one that waits since before (unless HEAD OF QUEUE)."""
        if any(must_wait(command, task.command) for task in self.running):
            return True
        if command.attribute == HEAD_OF_QUEUE or command.is_part:
            return False
        return any(must_wait(command, task.command) for task in self.waiting)

    def wait(self, task: Task) -> None:
        """Keep a task until it may start; a HEAD OF QUEUE one before the others."""
        command = task.command
        command.task = task
        if command.attribute == HEAD_OF_QUEUE:
            self.waiting.insert(0, task)
        else:
            self.waiting.append(task)
        self.restless += 1

    def add(self, task: Task) -> None:
        """A task has started and waits for the backend."""
        self.running[task] = None
        if is_restless(task.command):
            self.restless += 1

    def end(self, task: Task, response: Response) -> None:
        """A running task has its response; whoever waited for it may start."""
        command = task.command
        del self.running[task]
        command.task = None
        if self.restless and is_restless(command):
            self.restless -= 1
        assert command.done is not None
        command.done(command, response)
        if self._ending:
            self._note_end(task)
        if self.waiting:
            self.pump()

    def pump(self) -> None:
        """Start every waiting task that may start, in order."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._start_next():
                pass
        finally:
            self._pumping = False

    def _start_next(self) -> bool:
        """Start the first waiting task that conflicts with nobody before it; False if there is none."""
        for index, task in enumerate(self.waiting):
            command = task.command
            if any(must_wait(command, other.command) for other in self.running):
                continue
            if not command.is_part and any(must_wait(command, older.command) for older in islice(self.waiting, index)):
                continue
            del self.waiting[index]
            self.restless -= 1
            command.task = None
            response = self._start(command)
            if response is not None:
                assert command.done is not None
                command.done(command, response)
            return True
        return False

    def abort(
        self, which: Callable[[Command], bool], response_for: Callable[[Command], Response], done: Callable[[], None]
    ) -> list[Command]:
        """End every task that which() picks: response_for(command) is its end, when the backend has let go of it.

        done() is called when all of them have ended (at once if none runs; also those that were aborted before count).
        Until then their blocks are closed: a session that replaces a lost one doesn't wait for done(), and what it
        writes must not be overtaken by what it replaces. Returns the commands that were picked.
        """
        running = [task for task in self.running if which(task.command)]
        waiting = [task for task in self.waiting if which(task.command)]
        commands = [task.command for task in (*running, *waiting)]
        if running:
            self._ending.append((set(running), done))
        pumping, self._pumping = self._pumping, True  # an end may end others, and nobody that was picked may start
        for task in running:
            if task in self.running and self.running[task] is None:
                self.running[task] = response_for(task.command)
                self._close_blocks(task.command)
                if task.operation is not None:
                    task.operation.cancel()
        for task in waiting:
            if task in self.waiting:
                self.waiting.remove(task)
                self.restless -= 1
                task.command.task = None
                if task.command.done is not None:
                    task.command.done(task.command, response_for(task.command))
        self._pumping = pumping
        if self.waiting:
            self.pump()
        if not running:
            done()
        return commands

    def _note_end(self, task: Task) -> None:
        """Tell those who wait for aborted tasks and have none left."""
        for entry in tuple(self._ending):
            tasks, done = entry
            tasks.discard(task)
            if not tasks:
                self._ending.remove(entry)
                done()

    def is_waiting(self, command: Command) -> bool:
        """Whether it has not started yet."""
        return any(task.command is command for task in self.waiting)

    def abandon(self, command: Command, response: Response) -> bool:
        """A front answered a running command before the backend let go of it: until then its blocks are closed.

        Nobody else starts on them, or what was abandoned could come down after what replaced it. Its further steps
        are dropped, and its done() comes with response when the backend is through.  Returns whether the backend does
        without the command's memory from now on.  Raises KeyError if it doesn't run.
        """
        task = next((task for task in self.running if task.command is command), None)
        if task is None:
            raise KeyError(command)
        self.running[task] = response
        self._close_blocks(command)
        return task.unit.backend.give_back(task.resume)

    def _close_blocks(self, command: Command) -> None:
        """Nobody starts on a running command's blocks any more until it has ended."""
        if not is_restless(command):
            command.entry = command.entry.alone_on_its_blocks()
            self.restless += is_restless(command)

    def find(self, which: Callable[[Command], bool]) -> Optional[Command]:
        """A command that runs or waits."""
        return next((task.command for task in (*self.running, *self.waiting) if which(task.command)), None)
