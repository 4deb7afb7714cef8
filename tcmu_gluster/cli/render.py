"""What the command prints: one line of what is now true, a table, an item, JSON, one sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..config.sizes import format_size
from ..control.operations import Operation, Shape
from ..control.terminal import printable


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
