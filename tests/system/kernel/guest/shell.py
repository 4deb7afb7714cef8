"""Running commands and waiting for things, in words that make a readable log."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")

CHECKOUT = Path(__file__).resolve().parents[4]
PYTHON = str(CHECKOUT / ".venv/bin/python")
OURS = str(CHECKOUT / ".venv/bin/tcmu-gluster")
PATIENCE = 3
"""Limits say what is enough on an idle machine; beside others it may be this many times slower."""


class CommandFailed(AssertionError):
    """A command ended with a status that the scenario does not accept."""


def say(sentence: str) -> None:
    """A line in the scenario's log, with the machine's uptime in front."""
    print(f"[{time.monotonic():8.2f}] {sentence}", flush=True)


def run(
    *command: str, status: int | None = 0, limit: float = 60, feed: str | None = None, env: dict[str, str] | None = None
) -> str:
    """What the command printed (both streams).  status None: any.  limit: seconds, times PATIENCE: then it is killed.

    Raises CommandFailed with its last words.
    """
    started = time.monotonic()
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE if feed is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **(env or {})},
    )
    try:
        output, _ = process.communicate(feed, timeout=limit * PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        output = process.communicate()[0] if _ends(process) else ""
        raise CommandFailed(f"{shlex.join(command)}: not done after {limit * PATIENCE} s\n{output[-2000:]}") from None
    say(f"{shlex.join(command)[:160]}  -> {process.returncode} ({time.monotonic() - started:.1f} s)")
    if status is not None and process.returncode != status:
        raise CommandFailed(f"{shlex.join(command)}: status {process.returncode}, not {status}\n{output[-2000:]}")
    return output


def _ends(process: subprocess.Popen[str]) -> bool:
    """Whether a killed process really went: one that is stuck in the kernel does not."""
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        return False
    return True


def start(*command: str, log: str, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """A process in the background in a session of its own; its output is appended to the file log."""
    with open(log, "ab") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            env={**os.environ, **(env or {})},
        )
    say(f"{shlex.join(command)[:160]} & (pid {process.pid})")
    return process


def wait_for(what: str, condition: Callable[[], Value], limit: float = 30) -> Value:
    """condition()'s first true value.  Raises AssertionError after limit seconds, times PATIENCE."""
    started = time.monotonic()
    pause = 0.02
    while True:
        value = condition()
        if value:
            say(f"{what} ({time.monotonic() - started:.1f} s)")
            return value
        if time.monotonic() - started > limit * PATIENCE:
            raise AssertionError(f"not within {limit * PATIENCE} s: {what}")
        time.sleep(pause)
        pause = min(0.25, pause * 1.5)


def expect(condition: object, sentence: str) -> None:
    """Raise AssertionError(sentence) unless the condition holds."""
    if not condition:
        raise AssertionError(sentence)
    say(f"ok: {sentence}")


def write(path: str | Path, text: str) -> None:
    """One write to a configfs, sysfs or proc file; the error names the file and what was written."""
    file = os.open(path, os.O_WRONLY)
    try:
        os.write(file, text.encode())
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror} on writing {text!r}", str(path)) from None
    finally:
        os.close(file)


def read(path: str | Path) -> str:
    """The text of a small file, stripped; empty if it is not there."""
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


def number_in(path: str | Path) -> int:
    """The number in a small file; 0 if there is none yet: a device's folder comes before its files."""
    return int(read(path) or 0)
