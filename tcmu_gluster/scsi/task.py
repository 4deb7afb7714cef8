"""Tasks: the runner of a handler's generator, and the set of a unit's tasks that run or wait.

A handler yields storage operations and is sent their results (an OSError is thrown in). The runner starts each on the
unit's Backend. What the backend answers at once costs no more than a loop turn; what comes later resumes the generator.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Optional

from tcmu_gluster.backends.base import PENDING, Backend, Operation
from tcmu_gluster.scsi.command import Command, Response
from tcmu_gluster.scsi.overlap import HEAD_OF_QUEUE, is_restless, must_wait

Steps = Generator[Operation, Any, Response]
"""What a storage handler returns when it is called."""


class Task:
    """One command that is not answered yet. generator is None while it waits for others."""

    __slots__ = ("aborted", "backend", "command", "generator", "operation", "set")

    def __init__(self, set_: TaskSet, command: Command, backend: Backend, generator: Optional[Steps]) -> None:
        self.set, self.command, self.backend, self.generator = set_, command, backend, generator
        self.operation: Optional[Operation] = None
        self.aborted: Optional[Response] = None

    def run(self, outcome: Any) -> Optional[Response]:
        """Send outcome to the generator, and go on until it ends (its Response) or has to wait (None).

        Raises what the generator raises.
        """
        generator = self.generator
        assert generator is not None
        try:
            while True:
                if isinstance(outcome, BaseException):
                    operation = generator.throw(outcome)
                else:
                    operation = generator.send(outcome)
                self.operation = operation
                try:
                    outcome = operation.start(self.backend, self.resume)
                except OSError as error:
                    outcome = error
                if outcome is PENDING:
                    return None
        except StopIteration as stop:
            response: Response = stop.value
            return response

    def resume(self, outcome: Any) -> None:
        """The backend's done: an operation that was PENDING ended with outcome."""
        response = self.aborted
        if response is not None:
            assert self.generator is not None
            self.generator.close()
        else:
            try:
                response = self.run(outcome)
            except Exception as error:
                response = self.set.answer(self.command, error)
        if response is not None:
            self.set.end(self, response)


class TaskSet:
    """The tasks of one unit.

    running     started, waiting for the backend
    waiting     not started yet, in arrival order
    restless    how many of them a plain READ or WRITE has to look at before it starts; 0 nearly always
    """

    __slots__ = ("_pumping", "answer", "restless", "running", "start", "waiting")

    def __init__(
        self,
        start: Callable[[Command], Optional[Response]],
        answer: Callable[[Command, Exception], Response],
    ) -> None:
        self.start, self.answer = start, answer
        self.running: dict[Task, None] = {}
        self.waiting: list[Task] = []
        self.restless = 0
        self._pumping = False

    def has_to_wait(self, command: Command) -> bool:
        """Whether command conflicts with one that runs, or with one that waits since before (unless HEAD OF QUEUE)."""
        if any(must_wait(command, task.command) for task in self.running):
            return True
        if command.attribute == HEAD_OF_QUEUE:
            return False
        return any(must_wait(command, task.command) for task in self.waiting)

    def wait(self, command: Command, backend: Backend) -> None:
        """Keep command until it may start; a HEAD OF QUEUE one before the others."""
        task = command.task = Task(self, command, backend, None)
        if command.attribute == HEAD_OF_QUEUE:
            self.waiting.insert(0, task)
        else:
            self.waiting.append(task)
        self.restless += 1

    def add(self, task: Task) -> None:
        """A task has started and waits for the backend."""
        command = task.command
        command.task = task
        self.running[task] = None
        if is_restless(command):
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
            older = self.waiting[:index]
            if any(must_wait(command, other.command) for other in (*self.running, *older)):
                continue
            del self.waiting[index]
            self.restless -= 1
            command.task = None
            response = self.start(command)
            if response is not None:
                assert command.done is not None
                command.done(command, response)
            return True
        return False

    def abort(
        self, which: Callable[[Command], bool], response_for: Callable[[Command], Response], done: Callable[[], None]
    ) -> list[Command]:
        """End every task that which() picks: response_for(command) is its end, when the backend has let go of it.

        done() is called when all of them have ended (at once if none runs). Returns the commands that were picked.
        """
        running = [task for task in self.running if task.aborted is None and which(task.command)]
        waiting = [task for task in self.waiting if which(task.command)]
        commands = [task.command for task in (*running, *waiting)]
        for task in running:
            task.aborted = response_for(task.command)
        for task in waiting:
            self.waiting.remove(task)
            self.restless -= 1
            task.command.task = None
            if task.command.done is not None:
                task.command.done(task.command, response_for(task.command))
        if waiting:
            self.pump()
        _when_all_ended(running, done)
        return commands

    def find(self, which: Callable[[Command], bool]) -> Optional[Command]:
        """A command that runs or waits."""
        return next((task.command for task in (*self.running, *self.waiting) if which(task.command)), None)


def _when_all_ended(tasks: list[Task], done: Callable[[], None]) -> None:
    """Call done() once every one of these commands had its end: their done is wrapped."""
    left = len(tasks)
    if not left:
        done()
        return

    def wrapped(original: Any) -> Callable[[Command, Response], None]:
        def ended(command: Command, response: Response) -> None:
            nonlocal left
            original(command, response)
            left -= 1
            if not left:
                done()

        return ended

    for task in tasks:
        task.command.done = wrapped(task.command.done)
