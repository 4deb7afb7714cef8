"""The boots of a test run: a job's machine is started when its first scenario is asked for, or when there is room."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

AT_ONCE = 2
"""Machines that run side by side, on as many processors: most of a scenario is one processor's work, or waiting."""


class Boot(Protocol):
    """What is needed of a Machine."""

    @property
    def ended(self) -> bool: ...
    def result(self, scenario: str) -> dict[str, Any]: ...
    def stop(self) -> None: ...


class Machines:
    """selected: the scenarios of each job, in the order in which they will be asked for. boot starts a machine."""

    def __init__(self, selected: Mapping[str, Sequence[str]], boot: Callable[[str, Sequence[str]], Boot]) -> None:
        self._selected, self._boot = selected, boot
        self._started: dict[str, Boot] = {}
        self._running: list[str] = []

    def result(self, job: str, name: str) -> dict[str, Any]:
        """The scenario's result, waited for.  Raises MachineError if it can no longer come."""
        if job not in self._started:
            self._make_room()
            self._start(job)
        self._end_what_has_ended()
        for other in self._selected:
            if other not in self._started and len(self._running) < AT_ONCE:
                self._start(other)
        return self._started[job].result(name)

    def stop(self) -> None:
        """End every machine that runs, gently where it has nothing left to do."""
        while self._running:
            self._started[self._running.pop(0)].stop()

    def _start(self, job: str) -> None:
        self._started[job] = self._boot(job, self._selected[job])
        self._running.append(job)

    def _make_room(self) -> None:
        """Jobs are asked for one after the other, so the oldest has told what it was asked for."""
        self._end_what_has_ended()
        while len(self._running) >= AT_ONCE:
            self._started[self._running.pop(0)].stop()

    def _end_what_has_ended(self) -> None:
        for job in [job for job in self._running if self._started[job].ended]:
            self._running.remove(job)
            self._started[job].stop()
