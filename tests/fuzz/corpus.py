"""The kept inputs of a target: one file each, an input a line in base64, so that they stay small and can be read."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).with_name("corpus")
LARGEST_BYTES = 24 << 10
"""Of one file: what a campaign found beyond it is left out, the longest inputs first."""


def load(name: str) -> list[bytes]:
    """The inputs, shortest first."""
    path = FOLDER / f"{name}.txt"
    return [base64.b64decode(line) for line in path.read_text().splitlines()] if path.exists() else []


def save(name: str, inputs: Iterable[bytes]) -> int:
    """Keep as many of these as fit; how many that are."""
    kept, size = [], 0
    for data in sorted(set(inputs), key=lambda data: (len(data), data)):
        line = base64.b64encode(data).decode()
        size += len(line) + 1
        if size > LARGEST_BYTES:
            break
        kept.append(line)
    (FOLDER / f"{name}.txt").write_text("".join(f"{line}\n" for line in kept))
    return len(kept)
