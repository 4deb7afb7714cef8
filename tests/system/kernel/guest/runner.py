"""Runs a job's scenarios one after the other and appends a JSON line for each to results.jsonl.

Every scenario runs in a forked child: a child that gets stuck in the kernel is reported with the stacks of all stuck
threads and left behind, and the next scenario starts.  A scenario also fails if the kernel complained meanwhile.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from . import scenarios as scenario_modules
from .reboot import FLAG
from .shell import PATIENCE

_LOG_BYTES = 12000
_COMPLAINT = re.compile(
    r"BUG:|Oops|general protection|Kernel panic|WARNING: |blocked for more than|refcount_t|"
    r"UBSAN|use-after-free|stack-protector"
)


class Scenario(NamedTuple):
    """What @scenario knows.  limit_seconds: after PATIENCE times this it has failed and the next one starts."""

    name: str
    job: str
    limit_seconds: float
    function: Callable[[], Any]


TABLE: dict[str, Scenario] = {}


def scenario(job: str = "default", limit: float = 120) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Put a function into the table under its name.  What it returns (or None) are its figures, shown by the host."""

    def enter(function: Callable[[], Any]) -> Callable[[], Any]:
        name = function.__name__
        TABLE[name] = Scenario(name, job, limit, function)
        return function

    return enter


def load() -> dict[str, Scenario]:
    """All scenarios, in the order of the modules' names and of their lines."""
    for module in sorted(pkgutil.iter_modules(scenario_modules.__path__), key=lambda module: module.name):
        importlib.import_module(f"{scenario_modules.__name__}.{module.name}")
    return TABLE


def main() -> None:
    """The guest's only job; argv: the shared folder with job.json.  After a reboot it goes on where it was."""
    folder = Path(sys.argv[1])
    job = json.loads((folder / "job.json").read_text())
    table, done = load(), _done(folder / "results.jsonl")
    with open(folder / "results.jsonl", "ab", buffering=0) as results:
        results.write(json.dumps({"boot": time.monotonic()}).encode() + b"\n")
        for name in job["scenarios"]:
            if name in done:
                continue
            result = run_one(table[name], folder)
            results.write(json.dumps(result).encode() + b"\n")
            if (folder / FLAG).exists():
                return


def _done(results: Path) -> set[str]:
    """The scenarios that ran before a reboot."""
    lines = results.read_text().splitlines() if results.exists() else []
    return {json.loads(line).get("name", "") for line in lines}


def run_one(entry: Scenario, folder: Path) -> dict[str, Any]:
    """The result of one scenario: name, outcome (passed, failed, timeout), seconds, log, figures."""
    log = folder / f"log-{entry.name}.txt"
    figures = folder / f"figures-{entry.name}.json"
    seen = max(_kernel_messages(), default=-1)
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _in_child(entry, log, figures)
    outcome = _wait(child, entry.limit_seconds * PATIENCE)
    seconds = time.monotonic() - started
    text = log.read_text(errors="replace")
    if outcome == "timeout":
        text += f"\nnot done after {entry.limit_seconds * PATIENCE} s\n" + stuck_threads()
    news = [text for number, text in _kernel_messages().items() if number > seen]
    complaints = [line for line in news if _COMPLAINT.search(line)]
    if complaints and outcome == "passed":
        outcome = "failed"
    if outcome != "passed":
        _tidy_up()
        text += "\n--- the kernel's last messages\n" + "\n".join(complaints + news[-40:])
    return {
        "name": entry.name,
        "outcome": outcome,
        "seconds": round(seconds, 1),
        "log": text[-_LOG_BYTES:],
        "figures": json.loads(figures.read_text()) if figures.exists() else None,
    }


def _tidy_up() -> None:
    """After a failure: end what the scenario left running and take LIO's objects away, so that the next one can pass.

    In a child with a limit, because whatever failed may hang us too.
    """
    child = os.fork()
    if child == 0:
        try:
            from . import tidy

            tidy.everything()
        except BaseException:
            traceback.print_exc()  # into runner.txt: the failure itself has been reported
        finally:
            os._exit(0)
    _wait(child, 60)


def _in_child(entry: Scenario, log: Path, figures: Path) -> None:
    """Run the function with its output in the log, and leave with status 0 only if it returned."""
    status = 1
    try:
        os.setsid()
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1, errors="replace", closefd=False)
        value = entry.function()
        if value is not None:
            figures.write_text(json.dumps(value))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _wait(child: int, limit: float) -> str:
    until = time.monotonic() + limit
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return "passed" if status == 0 else "failed"
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    return "timeout"


def _kernel_messages() -> dict[int, str]:
    """The kernel's buffer by sequence number.

    Source: Documentation/ABI/testing/dev-kmsg ("prio,number,time,-;text").
    """
    messages = {}
    file = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    try:
        while True:
            try:
                record = os.read(file, 8192)
            except BlockingIOError:
                return messages
            except BrokenPipeError:  # records were overwritten while we read
                continue
            head, _, text = record.decode(errors="replace").partition(";")
            messages[int(head.split(",")[1])] = text.splitlines()[0]
    finally:
        os.close(file)


def stuck_threads() -> str:
    """The kernel stacks of all threads in uninterruptible sleep."""
    stacks = []
    for task in Path("/proc").glob("[0-9]*/task/[0-9]*"):
        try:
            state = (task / "stat").read_text().rsplit(")", 1)[1].split()[0]
            if state == "D":
                stacks.append(f"{task.name} {(task / 'comm').read_text().strip()}\n{(task / 'stack').read_text()}")
        except OSError:
            continue
    return "threads in D state:\n" + "\n".join(stacks)


if __name__ == "__main__":
    # The scenarios import this module by its full name: there must be one table.
    from tests.system.kernel.guest import runner

    runner.main()
