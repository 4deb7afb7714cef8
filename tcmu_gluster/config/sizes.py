"""Sizes as people write them: 2G, 512MiB, 1.5T, 4096. One parser for every door."""

from __future__ import annotations

import re
from fractions import Fraction

from ..errors import ConfigError

UNITS = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50, "E": 1 << 60}
LARGEST = (1 << 63) - 1
"""The largest offset a file can have (off_t)."""

_SIZE = re.compile(r"(?P<number>[0-9]{1,20}(?:\.[0-9]{1,20})?)\s*(?P<unit>[KMGTPE]?)(?:i?B)?", re.IGNORECASE | re.ASCII)


def parse_size(text: str | int) -> int:
    """Bytes. K, M, G, T, P, E are powers of 1024, as in targetcli and lvm; KiB and KB mean the same as K.

    Raises ConfigError for anything that isn't a whole number of bytes between 0 and 2^63-1.
    """
    if isinstance(text, int):
        if isinstance(text, bool):
            raise ConfigError(f"{text!r} is not a size")
        return _within(text, str(text))
    match = _SIZE.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ConfigError(f"{text!r} is not a size; write bytes or a number with K, M, G or T, as in 20G or 512MiB")
    size = Fraction(match["number"]) * UNITS[match["unit"].upper()]
    if size.denominator != 1:
        raise ConfigError(f"{text!r} is not a whole number of bytes; use a smaller unit")
    return _within(int(size), text)


def _within(size: int, text: str) -> int:
    if not 0 <= size <= LARGEST:
        raise ConfigError(f"{text!r} is out of range; a size is at least 0 and less than 8E")
    return size


def why_no_disk(size_bytes: int, block_bytes: int) -> str:
    """Why a disk can't have this size, in a sentence; '' if it can."""
    if size_bytes > 0 and size_bytes % block_bytes == 0:
        return ""
    return (
        f"a disk has a whole number of blocks of {block_bytes} bytes, at least one, and {size_bytes} bytes are not "
        "that; choose a multiple, such as 1M"
    )


def out_of_reach(size_bytes: int, block_bytes: int) -> str:
    """What hosts don't see of a file that ends within a block, in a sentence; '' if none does."""
    left = size_bytes % block_bytes
    if not left:
        return ""
    return (
        f"of its {size_bytes} bytes the last {left} can't be reached, because a disk has whole blocks of "
        f"{block_bytes}; make it {size_bytes + block_bytes - left} bytes long to have them"
    )


def format_size(size_bytes: int) -> str:
    """The size in the largest unit that fits: exact (20G, 1.5G) or, if it can't be, rounded to a tenth (9.3G)."""
    for unit in "EPTGMK":
        whole = UNITS[unit]
        if size_bytes >= whole:
            if size_bytes % whole == 0:
                return f"{size_bytes // whole}{unit}"
            rounded = f"{size_bytes / whole:.1f}"
            return f"{rounded}{unit}"
    return f"{size_bytes}B"
