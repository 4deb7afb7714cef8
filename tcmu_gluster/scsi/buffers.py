"""Several views used as one: cut, compare, fill, copy. The views are flat ('B') and in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Optional

Views = Sequence[memoryview]


def length_of(views: Views) -> int:
    """The sum of the lengths, in bytes."""
    return sum(map(len, views))


def cut(views: Views, start: int, length: int) -> list[memoryview]:
    """The views of length bytes from start. The caller knows that they are there; what is missing is left out."""
    parts: list[memoryview] = []
    for view in views:
        size = len(view)
        if start >= size:
            start -= size
            continue
        part = view[start : start + length]
        start = 0
        length -= len(part)
        parts.append(part)
        if length <= 0:
            break
    return parts


def gather(views: Views, limit: Optional[int] = None) -> bytes:
    """The bytes as one object: for parameter lists, which are short. At most limit bytes."""
    if limit is not None:
        views = cut(views, 0, limit) if limit else ()
    return b"".join(views)


def scatter(views: Views, data: bytes, start: int = 0) -> int:
    """Copy data into the views from start; returns how many bytes found room."""
    copied = 0
    for part in cut(views, start, len(data)):
        part[:] = data[copied : copied + len(part)]
        copied += len(part)
    return copied


def zero(views: Views) -> None:
    """Every byte becomes 0."""
    for view in views:
        view[:] = bytes(len(view))


def first_difference(left: Views, right: Views) -> Optional[int]:
    """The offset of the first byte that differs, or None; compares as far as the shorter one reaches."""
    at = 0
    for a, b in _pairs(left, right):
        if a != b:
            return at + _first_in_chunk(bytes(a), bytes(b))
        at += len(a)
    return None


def is_zero(views: Views) -> bool:
    """Whether every byte is 0."""
    return not any(view != bytes(len(view)) for view in views)


def repeated(pattern: bytes, length: int) -> memoryview:
    """length bytes of pattern after pattern. length is a multiple of the pattern's length."""
    return memoryview(pattern * (length // len(pattern)))


def _pairs(left: Views, right: Views) -> Iterator[tuple[memoryview, memoryview]]:
    """The two sides in pieces of equal length."""
    ours, theirs = iter(left), iter(right)
    a, b = next(ours, None), next(theirs, None)
    while a is not None and b is not None:
        size = min(len(a), len(b))
        if size:
            yield a[:size], b[:size]
        a = a[size:] if len(a) > size else next(ours, None)
        b = b[size:] if len(b) > size else next(theirs, None)


def _first_in_chunk(a: bytes, b: bytes) -> int:
    low, high = 0, len(a)
    while high - low > 1:  # halve: slices compare at memory speed, bytes one by one don't
        middle = (low + high) // 2
        if a[low:middle] != b[low:middle]:
            high = middle
        else:
            low = middle
    return low
