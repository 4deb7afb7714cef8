"""SendTargets: who is shown what."""

from __future__ import annotations

from typing import Optional

import pytest

from tcmu_gluster.iscsi.discovery import send_targets
from tests.doubles.iscsi_wire import Directory, Entry

A = Entry("iqn.2026-01.example:a", alias="first", portals=[("192.0.2.1:3260", 1), ("[2001:db8::1]:3260", 2)])
B = Entry("iqn.2026-01.example:b", portals=[("", 1)])
NAME = "iqn.2026-01.example:me"
LINES_OF_A = [
    ("TargetName", A.name),
    ("TargetAlias", "first"),
    ("TargetAddress", "192.0.2.1:3260,1"),
    ("TargetAddress", "[2001:db8::1]:3260,2"),
]
LINES_OF_B = [("TargetName", B.name), ("TargetAddress", "198.51.100.7:3260,1")]


def ask(value: str, own: Optional[Entry] = None, directory: Optional[Directory] = None) -> object:
    return send_targets(value, directory or Directory(A, B), NAME, "192.0.2.9", "198.51.100.7:3260", own)


@pytest.mark.parametrize(("value", "own", "lines"), [
    ("All", None, LINES_OF_A + LINES_OF_B), (A.name, None, LINES_OF_A), (B.name, None, LINES_OF_B),
    ("iqn.2026-01.example:c", None, []), ("", None, None),
    ("", A, LINES_OF_A), (A.name, A, LINES_OF_A), (B.name, A, []), ("All", A, None),
])  # fmt: skip
def test_answer(value: str, own: Optional[Entry], lines: object) -> None:
    assert ask(value, own) == lines


def test_targets_that_the_initiator_may_not_use_are_not_shown() -> None:
    hidden = Entry("iqn.2026-01.example:hidden")
    hidden.refused.add(NAME)
    directory = Directory(A, hidden)
    assert ask("All", directory=directory) == LINES_OF_A
    assert ask(hidden.name, directory=directory) == []
