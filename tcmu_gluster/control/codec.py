"""The control socket's lines, without I/O: one JSON object a line, of bounded length.

    -> {"id": 1, "op": "disk.create", "args": {"name": "vm1", ...}}
    <- {"id": 1, "progress": {"done": 5, "total": 10, "what": "allocating"}}      any number of times
    <- {"id": 1, "result": {...}}    or    {"id": 1, "error": {"code": "refused", "sentence": "..."}}

Whatever a peer sends comes out as a message or as a Malformed with one sentence; nothing raises because of a peer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Union

LONGEST_REQUEST_BYTES = 64 << 10
LONGEST_REPLY_BYTES = 16 << 20
LARGEST_ID = (1 << 53) - 1
"""The largest integer that every JSON reader holds exactly."""


class Code(Enum):
    """Why an operation failed, for scripts; the sentence is for people."""

    REFUSED = "refused"
    USAGE = "usage"
    INTERNAL = "internal"


@dataclass(frozen=True)
class Request:
    """Somebody asks for an operation."""

    id: int
    op: str
    args: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """It was done; result is what is now true."""

    id: int
    result: dict[str, Any]


@dataclass(frozen=True)
class Failure:
    """It was not done. id 0 if the request could not be read that far."""

    id: int
    code: Code
    sentence: str


@dataclass(frozen=True)
class Progress:
    """It is under way."""

    id: int
    progress: dict[str, Any]


@dataclass(frozen=True)
class Malformed:
    """A line that is no message. fatal: nothing after it can be understood, so the connection ends."""

    sentence: str
    fatal: bool = False


Message = Union[Request, Result, Failure, Progress, Malformed]


def encode(message: Union[Request, Result, Failure, Progress]) -> bytes:
    """The message as one line, newline included."""
    if isinstance(message, Request):
        fields: dict[str, Any] = {"id": message.id, "op": message.op, "args": message.args}
    elif isinstance(message, Result):
        fields = {"id": message.id, "result": message.result}
    elif isinstance(message, Failure):
        fields = {"id": message.id, "error": {"code": message.code.value, "sentence": message.sentence}}
    else:
        fields = {"id": message.id, "progress": message.progress}
    return json.dumps(fields, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


class LineReader:
    """Bytes in, messages out. longest_bytes bounds a line and so what a peer can make us hold."""

    def __init__(self, longest_bytes: int) -> None:
        self._longest_bytes = longest_bytes
        self._pending = bytearray()
        self._ended = False

    def receive_data(self, data: bytes) -> list[Message]:
        """Every message that data completes. After a fatal Malformed there is nothing more."""
        messages: list[Message] = []
        if self._ended:
            return messages
        searched = len(self._pending)
        self._pending += data
        start = 0
        while True:
            end = self._pending.find(b"\n", max(start, searched))
            length = (len(self._pending) if end < 0 else end) - start
            if length > self._longest_bytes:
                self._ended = True
                self._pending.clear()
                messages.append(Malformed(f"a line is longer than {self._longest_bytes} bytes", fatal=True))
                return messages
            if end < 0:
                del self._pending[:start]
                return messages
            line = bytes(self._pending[start:end])
            start = end + 1
            if line.strip():
                messages.append(decode(line))


def decode(line: bytes) -> Message:
    """The message of one line."""
    try:
        value = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_object)
        if b"\\ud" in line.lower():  # a lone surrogate can't be stored or printed; encoding finds it
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        return Malformed("the line is nested too deeply")
    except ValueError as error:  # JSONDecodeError, UnicodeError, oversized integers and our own refusals are all one
        return Malformed(f"the line is not JSON: {error}")
    if not isinstance(value, dict):
        return Malformed("the line is not a JSON object")
    return _message(value)


def _message(value: dict[str, Any]) -> Message:
    number = value.pop("id", None)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= LARGEST_ID:
        return Malformed("the object has no usable id (a whole number)")
    keys = frozenset(value)
    if "op" in keys and keys <= {"op", "args"}:
        op, args = value["op"], value.get("args", {})
        if isinstance(op, str) and isinstance(args, dict):
            return Request(number, op, args)
    elif keys == {"result"} and isinstance(value["result"], dict):
        return Result(number, value["result"])
    elif keys == {"progress"} and isinstance(value["progress"], dict):
        return Progress(number, value["progress"])
    elif keys == {"error"} and isinstance(value["error"], dict):
        error = value["error"]
        if isinstance(error.get("sentence"), str):
            code = next((code for code in Code if code.value == error.get("code")), Code.INTERNAL)
            return Failure(number, code, error["sentence"])
    return Malformed("the object is no request (id, op, args) and no answer (id, result or error)")


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is not a JSON number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return table
