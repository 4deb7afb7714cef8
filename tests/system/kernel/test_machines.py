"""Which machines run when (no QEMU needed)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .machines import AT_ONCE, Machines


class Double:
    """A machine that answers at once and ends when it is told."""

    def __init__(self, job: str, log: list[str]) -> None:
        self.job, self.log, self.ended = job, log, False

    def result(self, scenario: str) -> dict[str, Any]:
        return {"name": scenario}

    def stop(self) -> None:
        self.ended = True
        self.log.append(f"-{self.job}")


class Boots:
    """Starts doubles and writes down which was started and stopped when."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.doubles: dict[str, Double] = {}

    def __call__(self, job: str, scenarios: Sequence[str]) -> Double:
        self.log.append(f"+{job}")
        self.doubles[job] = Double(job, self.log)
        return self.doubles[job]


JOBS = {"a": ["a1", "a2"], "b": ["b1"], "c": ["c1"], "d": ["d1"]}


def test_the_next_job_runs_beside_the_first() -> None:
    boots = Boots()
    machines = Machines(JOBS, boots)
    assert machines.result("a", "a1") == {"name": "a1"}
    assert boots.log == ["+a", "+b"]
    assert AT_ONCE == 2


def test_one_job_is_one_machine() -> None:
    boots = Boots()
    machines = Machines({"a": ["a1", "a2"]}, boots)
    machines.result("a", "a1")
    machines.result("a", "a2")
    assert boots.log == ["+a"]


def test_where_a_machine_has_ended_the_next_job_starts() -> None:
    boots = Boots()
    machines = Machines(JOBS, boots)
    machines.result("a", "a1")
    boots.doubles["b"].ended = True
    machines.result("a", "a2")
    assert boots.log == ["+a", "+b", "-b", "+c"]
    assert machines.result("b", "b1") == {"name": "b1"}, "what it has told can still be asked for"


def test_a_job_that_is_asked_for_takes_the_place_of_the_oldest() -> None:
    boots = Boots()
    machines = Machines(JOBS, boots)
    machines.result("a", "a1")
    machines.result("d", "d1")
    assert boots.log == ["+a", "+b", "-a", "+d"]


def test_all_are_stopped_at_the_end_and_only_once() -> None:
    boots = Boots()
    machines = Machines(JOBS, boots)
    machines.result("a", "a1")
    machines.stop()
    machines.stop()
    assert boots.log == ["+a", "+b", "-a", "-b"]
