"""What the command prints: one line of what is now true, a table, an item, JSON, one sentence."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional, TextIO

from ..config.sizes import format_size
from ..control.operations import Operation, Shape

PROGRESS_AFTER_SECONDS = 2.0
PROGRESS_EVERY_SECONDS = 0.5


def render(operation: Operation, result: Mapping[str, Any]) -> str:
    """The result as text for people; '' if there is nothing to say."""
    if operation.shape is Shape.NOW:
        return printable(str(result.get("now", "done")))
    if operation.shape is Shape.LIST:
        return table(operation.columns, result.get("items", []))
    if operation.shape is Shape.WORDS:
        return "\n".join(printable(str(word)) for word in result.get("items", []))
    return item(result)


def as_json(value: Any) -> str:
    """One JSON document, for programs."""
    return json.dumps(value, indent=2, sort_keys=True, default=str)


def printable(text: str) -> str:
    """The text without characters that move a terminal's cursor: names may come from an initiator."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def cell(name: str, value: Any) -> str:
    """One value for a table or an item: sizes with units, lists with commas, nothing as a dash."""
    if value is None or value == "" or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and name.endswith("_bytes"):
        return format_size(value)
    if isinstance(value, (list, tuple)):
        return printable(",".join(" ".join(map(str, one)) if isinstance(one, list) else str(one) for one in value))
    return printable(str(value))


def heading(name: str) -> str:
    """SIZE of size_bytes."""
    return name.removesuffix("_bytes").replace("_", " ").upper()


def table(columns: Sequence[str], items: Sequence[Mapping[str, Any]]) -> str:
    """Columns as wide as their widest cell; '' for an empty list."""
    if not items:
        return ""
    rows = [[heading(name) for name in columns]]
    rows += [[cell(name, entry.get(name)) for name in columns] for entry in items]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    return "\n".join("  ".join(word.ljust(width) for word, width in zip(row, widths)).rstrip() for row in rows)


def item(entry: Mapping[str, Any], indent: str = "") -> str:
    """name: value, a line each; what is nested is indented."""
    lines: list[str] = []
    names = [name.removesuffix("_bytes").replace("_", " ") for name in entry]
    width = max(map(len, names), default=0) + 1
    for name, (key, value) in zip(names, entry.items()):
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{name}:", item(value, indent + "  ")]
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            lines.append(f"{indent}{name}:")
            for part in value:
                body = item(part, indent + "    ")
                lines.append(f"{indent}  - {body.lstrip()}")
        else:
            lines.append(f"{indent}{name + ':':<{width}} {cell(key, value)}")
    return "\n".join(lines)


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
