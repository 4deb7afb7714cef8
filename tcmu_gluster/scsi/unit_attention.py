"""Unit attention conditions, queued per I_T nexus.  Source: SAM-5 5.14, SPC-4 5.11.2."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Optional

from tcmu_gluster.scsi.command import Nexus
from tcmu_gluster.scsi.sense import Asc

# SPC-4 5.11.2: a condition of a reset makes the ones below it superfluous; they are dropped when it is established.
PRIORITY: tuple[Asc, ...] = (
    Asc.POWER_ON,
    Asc.POWER_ON_OCCURRED,
    Asc.SCSI_BUS_RESET_OCCURRED,
    Asc.BUS_DEVICE_RESET,
    Asc.DEVICE_INTERNAL_RESET,
    Asc.NEXUS_LOSS,
)
_RESETS = {asc: rank for rank, asc in enumerate(PRIORITY)}
_REPORTED_LATER = len(PRIORITY)
MAXIMUM_QUEUED = 16
"""A nexus that never asks must not make us grow; the oldest of the lesser conditions goes first."""
MAXIMUM_LOST = 1024
"""Of how many lost nexuses we know that they were there; of the others, power on is said again."""


class UnitAttentions:
    """The conditions that each nexus of one unit has still to hear."""

    __slots__ = ("_lost", "_queues", "pending")

    def __init__(self) -> None:
        self._queues: dict[Nexus, list[Asc]] = {}
        self._lost: dict[Nexus, Asc] = {}
        """What a nexus that was lost will hear first if it comes back."""
        self.pending = 0
        """How many nexuses have something to hear."""

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
        self._lost[nexus] = queue[0] if queue and queue[0] in _RESETS else Asc.NEXUS_LOSS
        if len(self._lost) > MAXIMUM_LOST:
            del self._lost[next(iter(self._lost))]

    def establish(self, nexus: Nexus, asc: Asc) -> None:
        """One nexus has something to hear (a nexus that is not attached has not). The same one twice is one."""
        queue = self._queues.get(nexus)
        if queue is None or asc in queue:
            return
        rank = _RESETS.get(asc, _REPORTED_LATER)
        if rank < _REPORTED_LATER:
            if queue and _RESETS.get(queue[0], _REPORTED_LATER) <= rank:
                return  # a stronger reset is still unheard
            keep: list[Asc] = []
        else:
            keep = queue[-(MAXIMUM_QUEUED - 1) :] if len(queue) >= MAXIMUM_QUEUED else queue
        if not queue:
            self.pending += 1
        queue[:] = [*keep, asc]

    def establish_all(self, asc: Asc, *, besides: Optional[Nexus] = None) -> None:
        """Every attached nexus hears it, but for one (the one that did it)."""
        for nexus in self._queues:
            if nexus != besides:
                self.establish(nexus, asc)

    def take(self, nexus: Nexus) -> Optional[Asc]:
        """The next condition of a nexus, which is cleared by that; None if there is none."""
        queue = self._queues.get(nexus)
        if not queue:
            return None
        asc = queue.pop(0)
        if not queue:
            self.pending -= 1
        return asc

    def clear(self, nexus: Nexus, asc: Asc) -> None:
        """One condition is heard in another way (REPORT LUNS clears REPORTED LUNS DATA HAS CHANGED)."""
        queue = self._queues.get(nexus)
        if queue and asc in queue:
            queue.remove(asc)
            if not queue:
                self.pending -= 1

    def nexuses(self) -> Iterable[Nexus]:
        """Every attached nexus."""
        return tuple(self._queues)
