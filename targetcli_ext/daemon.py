"""The daemon as the tree's nodes ask it: sentences go to the shell's log, refusals become configshell's error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from tcmu_gluster.config.sizes import format_size
from tcmu_gluster.control.client import ControlClient
from tcmu_gluster.control.terminal import ProgressLine, call_with_progress, printable
from tcmu_gluster.errors import TcmuGlusterError

from .configshell import ExecutionError


class Log(Protocol):
    """configshell's log."""

    def info(self, message: str) -> None: ...

    def warning(self, message: str) -> None: ...


class Ask(Protocol):
    """One question: the operation's result. Raises TcmuGlusterError."""

    def __call__(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]: ...


class SocketAsk:
    """Over the control socket, a connection for each question: the daemon lets silent ones go."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
        with ControlClient(self._path) as client:
            return call_with_progress(client, name, args, ProgressLine())


class Daemon:
    """ask: how a question gets to the daemon."""

    def __init__(self, ask: Ask, log: Log) -> None:
        self._ask, self._log = ask, log

    def question(self, name: str, /, **args: Any) -> dict[str, Any]:
        """The answer, without a word. Raises ExecutionError."""
        try:
            return self._ask(name, {key: value for key, value in args.items() if value is not None})
        except TcmuGlusterError as error:
            raise ExecutionError(printable(in_shell_words(str(error)))) from None

    def do(self, name: str, /, **args: Any) -> dict[str, Any]:
        """Change something and say what is true now. Raises ExecutionError."""
        result = self.question(name, **args)
        for warning in result.get("warnings", ()):
            self._log.warning(printable(str(warning)))
        self._log.info(printable(sentence(str(result.get("now", "done")))))
        return result

    def words(self, name: str, /, **args: Any) -> list[str]:
        """Words for completion; none where the daemon has none to give."""
        try:
            return [str(word) for word in self.question(name, **args).get("items", ())]
        except ExecutionError:
            return []


def sentence(text: str) -> str:
    """The same with a capital letter in front (unless a name stands there) and a stop, as targetcli's messages."""
    word = text.partition(" ")[0]
    begin = text[:1].upper() + text[1:] if word.isalpha() else text
    return begin if text.endswith(".") else begin + "."


_FLAG = re.compile(r"--(size|force|clear-existing|confirm)\b(?: (?=\d)(\S+))?")


def in_shell_words(text: str) -> str:
    """Flags of the command as what is typed here: size=20G, force=true. Whole lines to type elsewhere stay."""
    if "tcmu-gluster " in text:
        return text
    empty = {"size": ""}
    return _FLAG.sub(lambda flag: f"{flag[1].replace('-', '_')}={flag[2] or empty.get(flag[1], 'true')}", text)


def facts_text(facts: Mapping[str, Any]) -> list[str]:
    """Lines "name: value" for info and stats."""
    lines = []
    for name, value in facts.items():
        if isinstance(value, (dict, list)) and not value:
            continue
        shown = format_size(value) if name.endswith("_bytes") and isinstance(value, int) else value
        if isinstance(value, list):
            shown = ", ".join(map(str, value))
        elif isinstance(value, Mapping):
            shown = ", ".join(f"{key} {part}" for key, part in value.items())
        lines.append(printable(f"{name.removesuffix('_bytes')}: {'-' if shown in (None, '') else shown}"))
    return lines
