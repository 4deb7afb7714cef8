"""A plan: operations of our table, grouped by what is done as a whole or not at all, and what had to be left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Step:
    """One operation. words say what it does, without passwords; args may hold some, so they are never shown."""

    op: str
    words: str
    args: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Group:
    """Steps in their order, done as a whole or not at all. name is the target's IQN, or what else it is about."""

    name: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Plan:
    """Everything that a file asks for. notes are whole sentences: what was skipped, and what differs."""

    groups: tuple[Group, ...] = ()
    notes: tuple[str, ...] = ()


TCMU_RUNNER = {"vendor": "LIO-ORG", "product": "TCMU device", "revision": "0002"}
"""What every disk of tcmu-runner calls itself in its INQUIRY data; its serial number is LIO's wwn, and serial and NAA
designator follow from that as ours do."""


def chap(target: str, user: str, password: str, outgoing: tuple[str, str] = ("", "")) -> Step:
    """The step that asks all initiators of a target (of discovery, if it is '') for a password."""
    place: dict[str, Any] = {"target": target} if target else {"discovery": True}
    args = {**place, "user": user, "password": password}
    words = f"ask for the password of {user}"
    if outgoing[0]:
        args.update(mutual_user=outgoing[0], mutual_password=outgoing[1])
        words += f", and prove to be {outgoing[0]}"
    return Step("chap.set", words if target else f"{words}, before showing what there is", args)
