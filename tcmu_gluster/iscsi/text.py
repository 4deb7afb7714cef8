"""key=value text of login and text PDUs.  Source: RFC 7143 section 6.1 and 6.2."""

from __future__ import annotations

from collections.abc import Iterable

from tcmu_gluster.errors import ProtocolError

MAX_KEY_BYTES = 63
MAX_VALUE_BYTES = 8192
"""Longest value taken. 255 is what ordinary keys may have; authentication keys are longer (RFC 7143 6.1)."""
MAX_NEGOTIATION_BYTES = 16384
"""Longest text of one request, all its PDUs together (RFC 7143 6.1 asks for 8192 at least)."""

_KEY_CHARACTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-+@_#")


class TextError(ProtocolError):
    """The text breaks the rules of RFC 7143 6.1; str() says how."""


Pairs = list[tuple[str, str]]


def encode(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Every pair as key=value and a NUL."""
    return b"".join(f"{key}={value}\0".encode() for key, value in pairs)


def decode(data: bytes) -> Pairs:
    """The pairs in order. Raises TextError: no '=', bad or long names, long values, no final NUL, a key sent twice."""
    if not data:
        return []
    if data[-1]:
        raise TextError("the last key=value pair has no NUL at its end")
    pairs: Pairs = []
    seen: set[str] = set()
    for item in data[:-1].split(b"\0"):
        if not item:
            continue  # some initiators pad with NULs inside the segment
        key, value = _split(item)
        if key in seen:
            raise TextError(f"{key} is sent twice")
        seen.add(key)
        pairs.append((key, value))
    return pairs


def _split(item: bytes) -> tuple[str, str]:
    raw_key, equals, raw_value = item.partition(b"=")
    if not equals or not raw_key:
        raise TextError("a pair has no key or no '='")
    if len(raw_key) > MAX_KEY_BYTES:
        raise TextError(f"a key name of {len(raw_key)} bytes, allowed are {MAX_KEY_BYTES}")
    if not _KEY_CHARACTERS.issuperset(raw_key):
        raise TextError("a key name has a character that isn't allowed")
    if len(raw_value) > MAX_VALUE_BYTES:
        raise TextError(f"a value of {len(raw_value)} bytes, allowed are {MAX_VALUE_BYTES}")
    try:
        value = raw_value.decode()
    except UnicodeDecodeError:
        raise TextError(f"the value of {raw_key.decode()} is not UTF-8") from None
    if not value.isprintable():
        raise TextError(f"the value of {raw_key.decode()} has a control character")
    return raw_key.decode(), value


class Collector:
    """Joins the data of a request that goes over several PDUs (C bit)."""

    def __init__(self, limit_bytes: int = MAX_NEGOTIATION_BYTES) -> None:
        self._parts: list[bytes] = []
        self._length = 0
        self._limit = limit_bytes

    def add(self, data: bytes) -> None:
        """One PDU's data. Raises TextError when all together are too long."""
        self._length += len(data)
        if self._length > self._limit:
            self.clear()
            raise TextError(f"more than {self._limit} bytes of text in one request")
        self._parts.append(data)

    def clear(self) -> None:
        """Forget what was collected."""
        self._parts.clear()
        self._length = 0

    @property
    def collecting(self) -> bool:
        """Whether a request has begun and not ended."""
        return bool(self._parts)

    def finish(self) -> Pairs:
        """The pairs of everything added; starts anew. Raises TextError."""
        data = b"".join(self._parts)
        self.clear()
        return decode(data)


def cut(data: bytes, limit: int) -> list[bytes]:
    """A long answer in pieces of at most limit bytes; always one piece at least."""
    return [data[start : start + limit] for start in range(0, len(data), limit)] or [b""]
