"""Bytes of a fuzzer as choices: numbers, picks, pieces. At their end everything is 0: any bytes are a whole input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Choice = TypeVar("Choice")


class Reader:
    """A cursor over the bytes."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def empty(self) -> bool:
        return self._at >= len(self._data)

    def take(self, length: int) -> bytes:
        """The next bytes; fewer at the end."""
        part = self._data[self._at : self._at + length]
        self._at += len(part)
        return part

    def byte(self) -> int:
        """0 to 255."""
        part = self.take(1)
        return part[0] if part else 0

    def number(self, size_bytes: int) -> int:
        """Big-endian."""
        return int.from_bytes(self.take(size_bytes).ljust(size_bytes, b"\0"), "big")

    def pick(self, choices: Sequence[Choice]) -> Choice:
        """One of them."""
        return choices[self.byte() % len(choices)]

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.take(len(self._data))
