"""The form of tgt's targets.conf: Apache-like blocks, as Perl's Config::General reads them.

    name value            "value" may stand in quotes; name = value is the same; a \\ at the end continues the line
    <block argument> ... </block>
    # comment             anywhere in a line, unless it is \\#;  /* ... */ on lines of their own
    include PATTERN       the files that match, in the order of their names

Names of options and blocks are case-sensitive. What breaks the form of the whole is one ConfigError with file and line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Optional

from ..errors import ConfigError

Include = Callable[[str], Iterable[tuple[str, str]]]
"""A pattern -> (name, text) of every file that matches."""

DEEPEST_INCLUDE = 16
_OPEN = re.compile(r"<\s*([^\s/>][^\s>]*)(?:\s+(.*?))?\s*>")
_CLOSE = re.compile(r"</\s*([^\s>]+)\s*>")
_INCLUDE = re.compile(r"(?:<<\s*)?include\s+(.+?)\s*(?:>>)?", re.IGNORECASE)
_COMMENT = re.compile(r"(?<!\\)#.*")
_ESCAPED = re.compile(r'\\([$\\"#])')
_OPTION = re.compile(r"(\S+?)(?:\s*=\s*|\s+)(.*)")


@dataclass(frozen=True)
class Place:
    """Where something is written: file:line."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Option:
    """name value. The value may be a password: it is not shown."""

    name: str
    value: str = field(repr=False)
    place: Place


@dataclass
class Block:
    """<name argument> with what is in it, in order."""

    name: str
    argument: str
    place: Place
    options: list[Option] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)


class _Reader:
    def __init__(self, include: Include) -> None:
        self.include = include
        self.notes: list[str] = []

    def read(self, block: Block, file: str, text: str, depth: int) -> None:
        """Append a file's content to the block; blocks end in the file in which they begin."""
        stack = [block]
        lines = _lines(file, text)
        for place, line in lines:
            if (close := _CLOSE.fullmatch(line)) is not None:
                if len(stack) == 1 or stack[-1].name != close[1]:
                    raise ConfigError(f"{place}: </{close[1]}> closes nothing that is open here")
                stack.pop()
            elif (included := _INCLUDE.fullmatch(line)) is not None:
                self._read_included(stack[-1], place, included[1], depth)
            elif (opened := _OPEN.fullmatch(line)) is not None:
                inner = Block(opened[1], _value(opened[2] or ""), place)
                stack[-1].blocks.append(inner)
                stack.append(inner)
            elif line.startswith("<"):
                raise ConfigError(f"{place}: a block begins with <name argument> and ends with </name>")
            else:
                self._read_option(stack[-1], place, line, lines)
        if len(stack) > 1:
            raise ConfigError(f"{stack[-1].place}: <{stack[-1].name}> is never closed")

    def _read_included(self, block: Block, place: Place, pattern: str, depth: int) -> None:
        if depth >= DEEPEST_INCLUDE:
            raise ConfigError(f"{place}: files include each other more than {DEEPEST_INCLUDE} deep")
        pattern = _value(pattern)
        found = sorted(self.include(pattern))
        if not found and not any(character in pattern for character in "*?["):
            self.notes.append(f"{place}: there is no {pattern} to include")
        for name, text in found:
            self.read(block, name, text, depth + 1)

    def _read_option(self, block: Block, place: Place, line: str, lines: Iterator[tuple[Place, str]]) -> None:
        match = _OPTION.fullmatch(line)
        name, value = (match[1], match[2]) if match else (line, "")
        if value.startswith("<<"):
            mark = value[2:].strip().strip("\"'")
            for _, inner in lines:
                if inner == mark:
                    break
            self.notes.append(f"{place}: skipped {name}: a text of several lines is not read")
            return
        block.options.append(Option(name, _value(value), place))


def _lines(file: str, text: str) -> Iterator[tuple[Place, str]]:
    """Lines without comments and blanks around, continued ones joined, empty ones left out."""
    begun: Optional[Place] = None
    whole, in_comment = "", False
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if in_comment or (line.startswith("/*") and not whole):
            in_comment = "*/" not in line
            line = line.partition("*/")[2].strip()
        line = _COMMENT.sub("", line).rstrip()
        begun = begun or Place(file, number)
        if line.endswith("\\") and not line.endswith("\\\\"):
            whole += line[:-1]
            continue
        whole = (whole + line).strip()
        if whole:
            yield begun, whole
        begun, whole = None, ""
    if whole.strip() and begun:
        yield begun, whole.strip()


def _value(text: str) -> str:
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    return _ESCAPED.sub(r"\1", text)


def parse(file: str, text: str, include: Include) -> tuple[Block, list[str]]:
    """(the root with everything in it, notes). Raises ConfigError."""
    root, reader = Block("", "", Place(file, 1)), _Reader(include)
    reader.read(root, file, text, 0)
    return root, reader.notes
