"""What a terminal is shown while a command runs: names without tricks, and how a long operation goes on."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Optional, TextIO

from ..config.sizes import format_size
from .client import ControlClient

PROGRESS_AFTER_SECONDS = 2.0
PROGRESS_EVERY_SECONDS = 0.5


def call_with_progress(client: ControlClient, name: str, args: Mapping[str, Any], line: ProgressLine) -> dict[str, Any]:
    """Ask, wait, and show how it goes on. Raises what ControlClient.call() does."""
    try:
        return client.call(name, args, line)
    finally:
        line.end()


def printable(text: str) -> str:
    """The text without characters that move a terminal's cursor: names may come from an initiator."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


class ProgressLine:
    """Shows progress on a terminal once an operation has taken two seconds; with --json, as JSON lines."""

    def __init__(
        self, stream: Optional[TextIO] = None, as_json: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._as_json, self._clock = as_json, clock
        self._started = clock()
        self._last = float("-inf")
        self._width = 0

    def __call__(self, progress: Mapping[str, Any]) -> None:
        """One report: what, done, total (any unit; sizes if the names end in _bytes)."""
        now = self._clock()
        if now - self._started < PROGRESS_AFTER_SECONDS or now - self._last < PROGRESS_EVERY_SECONDS:
            return
        self._last = now
        if self._as_json:
            print(json.dumps({"progress": dict(progress)}), file=self._stream, flush=True)
        elif self._stream.isatty():
            text = progress_text(progress)
            print("\r" + text.ljust(self._width), end="", file=self._stream, flush=True)
            self._width = len(text)

    def end(self) -> None:
        """Wipe the line."""
        if self._width:
            print("\r" + " " * self._width + "\r", end="", file=self._stream, flush=True)
            self._width = 0


def progress_text(progress: Mapping[str, Any]) -> str:
    """allocating: 3.0G of 20G (15%)"""
    what = printable(str(progress.get("what", "working")))
    unit = "_bytes" if "total_bytes" in progress else ""
    done, total = progress.get(f"done{unit}"), progress.get(f"total{unit}")
    if not isinstance(done, int) or not isinstance(total, int) or total <= 0:
        return what
    words = (format_size(done), format_size(total)) if unit else (str(done), str(total))
    return f"{what}: {words[0]} of {words[1]} ({100 * done // total}%)"
