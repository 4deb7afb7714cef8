"""Whether two configurations say the same: for `restore` and `clear`, which tell whether they changed anything.

What is empty says as little as its absence, and of some lists the order only says in which things were made.
"""

from __future__ import annotations

import json
from typing import Any

from .configuration import Configuration

UNORDERED = ("storage_objects", "targets", "luns", "node_acls", "mapped_luns")


def say_the_same(one: Configuration, other: Configuration) -> bool:
    """Whether an engine that has one would be no other with the other."""
    return bool(_normal(one.root) == _normal(other.root))


def _normal(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        found = {name: _normal(one, name) for name, one in value.items()}
        return {name: one for name, one in found.items() if one not in ([], {})}
    if isinstance(value, list) and key in UNORDERED:
        return sorted(map(_normal, value), key=lambda one: json.dumps(one, sort_keys=True))
    return value
