"""Soft thresholds of thin provisioning: initiators hear that space gets short before a write fails for want of it.

Resources are counted in threshold sets of 1 MiB (VPD page B2h tells the exponent), in the thresholds of mode page
1Ch/02h as in log page 0Ch. What is used and left comes from the backend, which looks again from time to time.
Source: SBC-4 4.7.3.7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from tcmu_gluster.scsi.mode_pages import LOGICAL_BLOCK_PROVISIONING
from tcmu_gluster.scsi.sense import Asc

if TYPE_CHECKING:
    from tcmu_gluster.scsi.logical_unit import LogicalUnit

THRESHOLD_SET_BYTES = 1 << 20
LARGEST_COUNT = 0xFFFFFFFF
RECOVERY_PAGE, PROVISIONING_PAGE = (0x01, 0x00), (0x1C, 0x02)


def threshold_exponent(block_size_bytes: int) -> int:
    """THRESHOLD EXPONENT of VPD page B2h: a threshold set has 2 to this power blocks."""
    return (THRESHOLD_SET_BYTES // block_size_bytes).bit_length() - 1


def resource_counts(unit: LogicalUnit) -> Optional[tuple[int, int]]:
    """(available, used) in threshold sets: what is left rounded down, what is used up; None if nobody knows."""
    space = unit.backend.space
    if space is None:
        return None
    available = space.available_bytes // THRESHOLD_SET_BYTES
    used = -(-space.used_bytes // THRESHOLD_SET_BYTES)
    return min(available, LARGEST_COUNT), min(used, LARGEST_COUNT)


class Thresholds:
    """Which thresholds of one unit are reached: each is told once, and again only after it was left."""

    __slots__ = ("_reached",)

    def __init__(self) -> None:
        self._reached: set[str] = set()

    def look(self, unit: LogicalUnit) -> None:
        """The space, or what mode pages say of it, may have changed: whoever is to hear of that does."""
        reached = self._reached_now(unit)
        for name in sorted(reached - self._reached):
            self._tell(unit, name)
        self._reached = reached

    def reset(self, unit: LogicalUnit) -> None:
        """A logical unit reset: what is reached is told once more."""
        self._reached = set()
        self.look(unit)

    def _reached_now(self, unit: LogicalUnit) -> set[str]:
        modes, counts = unit.modes, resource_counts(unit)
        if counts is None or not modes.has(*PROVISIONING_PAGE) or not modes.value(RECOVERY_PAGE[0], "lbpere"):
            return set()
        available, used = counts
        page, subpage = PROVISIONING_PAGE
        is_past = {
            "available": available <= modes.value(page, "available_threshold_count", subpage),
            "used": used >= modes.value(page, "used_threshold_count", subpage),
        }
        return {name for name, past in is_past.items() if past and modes.value(page, f"{name}_enabled", subpage)}

    def _tell(self, unit: LogicalUnit, name: str) -> None:
        """Every nexus, or with SITUA the first from which a command comes. INFORMATION says which threshold it is.

        That is the offset of its descriptor in the mode page.  Source: SBC-4 4.7.3.7.6.
        """
        offset, _ = LOGICAL_BLOCK_PROVISIONING.field_pointer(f"{name}_enabled")
        one = unit.modes.value(PROVISIONING_PAGE[0], "situa", PROVISIONING_PAGE[1])
        establish = unit.attentions.establish_for_the_first if one else unit.attentions.establish_all
        establish(Asc.THIN_PROVISIONING_SOFT_THRESHOLD_REACHED, offset)
        unit.look_again()
