"""Unit attention conditions, queued per I_T nexus.  Source: SAM-5 5.14."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Optional

from tcmu_gluster.scsi.command import Nexus
from tcmu_gluster.scsi.sense import Asc, UnitAttention

# A condition of a reset makes the ones below it superfluous; they are dropped when it is established.
PRIORITY: tuple[Asc, ...] = (
    Asc.POWER_ON,
    Asc.DEVICE_INTERNAL_RESET,
    Asc.POWER_ON_OCCURRED,
    Asc.SCSI_BUS_RESET_OCCURRED,
    Asc.BUS_DEVICE_RESET,
    Asc.NEXUS_LOSS,
)
_RESETS = {asc: rank for rank, asc in enumerate(PRIORITY)}
_REPORTED_LATER = len(PRIORITY)
MAXIMUM_QUEUED = 16
"""A nexus that never asks must not make us grow; the oldest of the lesser conditions goes first."""
MAXIMUM_LOST = 1024
"""Of how many lost nexuses we know that they were there; of the others, power on is said again."""


class Condition(NamedTuple):
    """What there is to hear: the code, and what INFORMATION says beside it."""

    asc: Asc
    information: Optional[int] = None


class UnitAttentions:
    """The conditions that each nexus of one unit has still to hear."""

    __slots__ = ("_for_the_first", "_lost", "_queues", "pending")

    def __init__(self) -> None:
        self._queues: dict[Nexus, list[Condition]] = {}
        self._for_the_first: list[Condition] = []
        """What only the nexus hears from which the next command comes."""
        self._lost: dict[Nexus, Asc] = {}
        """What a nexus that was lost will hear first if it comes back."""
        self.pending = 0
        """How many nexuses have something to hear; whoever comes next, for what is for the first, counts as one."""

    def attach(self, nexus: Nexus, asc: Optional[Asc] = None) -> None:
        """A nexus came into being; asc is its first condition, or that it was lost if it was there before."""
        self.detach(nexus)
        self._queues[nexus] = []
        lost = self._lost.pop(nexus, None)
        if asc is not None:
            self.establish(nexus, asc if lost is None else lost)

    def detach(self, nexus: Nexus) -> None:
        """A nexus is gone, and its conditions with it, but for a reset that it hasn't heard of."""
        queue = self._queues.pop(nexus, None)
        if queue is None:
            return
        if queue:
            self.pending -= 1
        self._lost[nexus] = queue[0].asc if queue and queue[0].asc in _RESETS else Asc.NEXUS_LOSS
        if len(self._lost) > MAXIMUM_LOST:
            del self._lost[next(iter(self._lost))]

    def establish(self, nexus: Nexus, asc: Asc, information: Optional[int] = None) -> None:
        """One nexus has something to hear (a nexus that is not attached has not). The same one twice is one."""
        queue, condition = self._queues.get(nexus), Condition(asc, information)
        if queue is None or condition in queue:
            return
        rank = _RESETS.get(asc, _REPORTED_LATER)
        if rank < _REPORTED_LATER:
            if queue and _RESETS.get(queue[0].asc, _REPORTED_LATER) <= rank:
                return  # a stronger reset is still unheard
            keep: list[Condition] = []
        else:
            keep = queue
            if len(queue) >= MAXIMUM_QUEUED:
                oldest = queue[0].asc in _RESETS  # a reset stays: it stands for what was dropped before it
                keep = [*queue[:oldest], *queue[oldest + 1 :]]
        if not queue:
            self.pending += 1
        queue[:] = [*keep, condition]

    def establish_all(self, asc: Asc, information: Optional[int] = None, *, besides: Optional[Nexus] = None) -> None:
        """Every attached nexus hears it, but for one (the one that did it)."""
        for nexus in self._queues:
            if nexus != besides:
                self.establish(nexus, asc, information)

    def establish_for_the_first(self, asc: Asc, information: Optional[int] = None) -> None:
        """One nexus hears it: that from which the next command comes."""
        condition = Condition(asc, information)
        if condition not in self._for_the_first:
            self.pending += not self._for_the_first
            self._for_the_first.append(condition)

    def take(self, nexus: Nexus) -> Optional[UnitAttention]:
        """What the next command of a nexus ends with, which is cleared by that; None if there is nothing to hear."""
        queue = self._queues.get(nexus)
        if queue is not None and self._for_the_first:
            conditions, self._for_the_first = self._for_the_first, []
            self.pending -= 1
            for condition in conditions:
                self.establish(nexus, *condition)
        if not queue:
            return None
        asc, information = queue.pop(0)
        if not queue:
            self.pending -= 1
        return UnitAttention(asc, information=information)

    def clear(self, nexus: Nexus, asc: Asc) -> None:
        """One condition is heard in another way (REPORT LUNS clears REPORTED LUNS DATA HAS CHANGED)."""
        queue = self._queues.get(nexus)
        if queue:
            queue[:] = [condition for condition in queue if condition.asc != asc]
            if not queue:
                self.pending -= 1

    def nexuses(self) -> Iterable[Nexus]:
        """Every attached nexus."""
        return tuple(self._queues)
