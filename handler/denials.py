"""Whom targets turned away lately, why, and what to type to let them in: what `tcmu-gluster why-denied` shows."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tcmu_gluster.config.names import validate_iscsi_name
from tcmu_gluster.errors import ConfigError
from tcmu_gluster.iscsi.login import Refusal
from tcmu_gluster.iscsi.pdu import LoginStatus

MOST_DENIALS = 100
_FULL = (LoginStatus.OUT_OF_RESOURCES, LoginStatus.TOO_MANY_CONNECTIONS)


@dataclass(frozen=True)
class Denial:
    """An initiator that was turned away. when: the last time, in seconds since 1970."""

    when: float
    target: str
    initiator: str
    address: str
    reason: str
    times: int = 1


class Denials:
    """The last refusals, newest first. One that repeats itself is counted, so that it doesn't push the others out."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str, str, str], Denial] = OrderedDict()

    def __iter__(self) -> Iterator[Denial]:
        return iter(tuple(reversed(self._kept.values())))

    def add(self, target: str, initiator: str, address: str, reason: str) -> None:
        """Note a refusal."""
        key = (target, initiator, address, reason)
        before = self._kept.pop(key, None)
        self._kept[key] = Denial(time.time(), *key, before.times + 1 if before else 1)
        if len(self._kept) > MOST_DENIALS:
            self._kept.popitem(last=False)

    def add_unruly(self, target: str, rules: Iterable[str], initiator: str, address: str) -> None:
        """No rule of the target admits it."""
        who = initiator if _is_name(initiator) else address
        reason = f"{target} admits {', '.join(rules) or 'nobody'}; to let it in: tcmu-gluster acl allow {target} {who}"
        self.add(target, initiator, address, reason)

    def add_refusal(self, refusal: Refusal, address: str, *, known: bool) -> None:
        """A login failed. known: there is such a target. That a rule is missing is noted where the rules are."""
        target = refusal.target_name
        if refusal.unproved:
            place = target if known else "TARGET" if target else "--discovery"
            reason = (f"{refusal.why}; a user and a password are set with: "
                      f"tcmu-gluster chap set {place} --user USER --password-file FILE")  # fmt: skip
        elif refusal.unknown_target:
            reason = "there is no such target at this portal; `tcmu-gluster target list` shows targets and portals"
        elif refusal.status is LoginStatus.SERVICE_UNAVAILABLE:
            reason = f"the target is disabled; to let initiators in: tcmu-gluster target enable {target}"
        elif refusal.status in _FULL:
            reason = f"{refusal.why}; `tcmu-gluster session list` shows who came, `tcmu-gluster settings` the limits"
        else:
            return
        self.add(target, refusal.initiator_name, address, reason)


def _is_name(text: str) -> bool:
    """Whether it may stand in a line to be typed: a name from the network may hold anything a shell understands."""
    try:
        return validate_iscsi_name(text) == text.lower()
    except ConfigError:
        return False
