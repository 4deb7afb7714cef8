"""What iscsi-test-cu (libiscsi's conformance tests) printed, as results that can be compared.

The program is built on CUnit, which knows only "passed" and "FAILED": a test that found the target without a feature
prints a line with [SKIPPED] and then counts as passed.  A test without any verdict is one that the program did not come
back from (it crashed, was killed, or the time ran out), so it is an outcome of its own and never a pass.

Source of the form: CUnit 2.1-3, Basic interface in verbose mode ("Suite: S", "  Test: T ...passed"); [SKIPPED] is
libiscsi 1.19's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

PASSED, FAILED, SKIPPED, UNFINISHED = "passed", "failed", "skipped", "unfinished"


class Result(NamedTuple):
    """One test.  reason: CUnit's failure records, the words after [SKIPPED], or the last line of an unfinished test."""

    suite: str
    test: str
    outcome: str
    reason: str

    @property
    def name(self) -> str:
        """SUITE.TEST, as `iscsi-test-cu --test=ALL.SUITE.TEST` takes it."""
        return f"{self.suite}.{self.test}"


_SUITE = re.compile(r"^Suite: (.+?)\s*$")
_TEST = re.compile(r"^  Test: (.+?) \.\.\.(.*)$")
# The verdict follows the test's own last output directly: at the start of a line (then the next suite's preparation
# may log behind it), or glued to its end.  "[FAILED] READ16 ..." in the test's own log is none: it stands in brackets.
_VERDICT = re.compile(r"^(passed|FAILED)\b|(passed|FAILED)\s*$")
_RECORD = re.compile(r"^    \d+\. (.+?)\s*$")
_SKIP = re.compile(r"\[SKIPPED\]\s*(.*?)\s*$")
_END = re.compile(r"^Run Summary:")


def parse(text: str) -> list[Result]:
    """All tests of one run's standard output, in its order.

    The same (suite, test) may come several times: without --test the program runs the tests once for each family.
    """
    results: list[Result] = []
    suite = ""
    test: _Test | None = None
    for line in text.splitlines():
        started = _TEST.match(line)
        named = _SUITE.match(line)
        if started or named or _END.match(line):
            if test is not None:
                results.append(test.result())
            test = None
        if named:
            suite = named.group(1)
        elif started:
            test = _Test(suite, started.group(1))
            test.take(started.group(2))
        elif test is not None:
            test.take(line)
    if test is not None:
        results.append(test.result())
    return results


class _Test:
    """The test whose lines are being read."""

    def __init__(self, suite: str, name: str) -> None:
        self.suite, self.name = suite, name
        self.verdict = ""
        self.skipped = ""
        self.records: list[str] = []
        self.last_line = ""

    def take(self, line: str) -> None:
        skip = _SKIP.search(line)
        if skip and not self.skipped and not self.verdict:  # behind the verdict it is the suite's clean-up that skips
            self.skipped = _without_verdict(skip.group(1)) or "no reason given"
        record = _RECORD.match(line)
        if self.verdict == "FAILED" and record:
            if record.group(1) not in self.records:  # a check in a loop fails hundreds of times
                self.records.append(record.group(1))
            return
        verdict = _VERDICT.search(line)
        if verdict:
            self.verdict = verdict.group(1) or verdict.group(2)
        if line.strip():
            self.last_line = line.strip()

    def result(self) -> Result:
        if self.verdict == "FAILED":
            return Result(self.suite, self.name, FAILED, "; ".join(self.records))
        if self.verdict == "passed" and self.skipped:
            return Result(self.suite, self.name, SKIPPED, self.skipped)
        if self.verdict == "passed":
            return Result(self.suite, self.name, PASSED, "")
        return Result(self.suite, self.name, UNFINISHED, self.last_line)


def _without_verdict(text: str) -> str:
    return re.sub(r"(passed|FAILED)$", "", text).strip()


def counts(results: Iterable[Result]) -> dict[str, int]:
    """How many tests had each outcome; all four outcomes are present."""
    table = dict.fromkeys((PASSED, FAILED, SKIPPED, UNFINISHED), 0)
    for result in results:
        table[result.outcome] += 1
    return table


def names(results: Iterable[Result], *outcomes: str) -> list[str]:
    """SUITE.TEST of the tests with one of these outcomes, sorted, each once."""
    return sorted({result.name for result in results if result.outcome in outcomes})
