"""The medium as a thing: START STOP UNIT, who prevents its removal, and its defects, of which a file has none.

A disk that says it is removable can be taken out of the unit and put back by START STOP UNIT with LOEJ. The backend
stays open meanwhile, and stays what it is: the medium that is loaded is the one that was ejected.
Source: SBC-4 5.15, 5.22, 5.23, 5.31.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tcmu_gluster.backends.base import Flush
from tcmu_gluster.scsi.command import GOOD, Command, Nexus, Response
from tcmu_gluster.scsi.sense import Asc, IllegalRequest, InvalidFieldInCdb
from tcmu_gluster.scsi.spc import reply
from tcmu_gluster.wire.layout import Bit, Bits, Int, Layout

if TYPE_CHECKING:
    from tcmu_gluster.scsi.logical_unit import LogicalUnit
    from tcmu_gluster.scsi.task import Steps

# ACTIVE, IDLE, STANDBY, LU_CONTROL with their modifiers: taken note of; a file has no motor. FORCE_IDLE_0 and
# FORCE_STANDBY_0 want timers, and there are none (mode page 1Ah). Where the medium is removable any other value is
# taken note of, too: iscsi-test-cu wants no more there than that LOEJ is ignored beside one.  Source: SBC-4 table 114.
POWER_CONDITIONS = {0x1: (0,), 0x2: (0, 1, 2), 0x3: (0, 1), 0x7: (0,)}

DEFECTS_10 = Layout("READ DEFECT DATA(10) parameter data", 4, (
    Bit("plistv", 1, 4), Bit("glistv", 1, 3), Bits("defect_list_format", 1, high=2, low=0),
    Int("defect_list_length", 2, 2),
))  # fmt: skip
DEFECTS_12 = Layout("READ DEFECT DATA(12) parameter data", 8, (
    Bit("plistv", 1, 4), Bit("glistv", 1, 3), Bits("defect_list_format", 1, high=2, low=0),
    Int("generation_code", 2, 2),
    Int("defect_list_length", 4, 4),
))  # fmt: skip


class Medium:
    """Whether the medium is in the unit, and which nexuses want it to stay there."""

    __slots__ = ("_keepers", "is_loaded")

    def __init__(self) -> None:
        self.is_loaded = True
        self._keepers: set[Nexus] = set()

    @property
    def is_kept(self) -> bool:
        """Whether a nexus prevents removal."""
        return bool(self._keepers)

    def keep(self, nexus: Nexus, prevent: bool) -> None:
        """A nexus prevents removal, or allows it as far as it is concerned."""
        if prevent:
            self._keepers.add(nexus)
        else:
            self._keepers.discard(nexus)

    def allow_all(self) -> None:
        """A reset: nobody prevents removal any more."""
        self._keepers.clear()


def prevent_allow_medium_removal(unit: LogicalUnit, command: Command) -> Response:
    """PREVENT ALLOW MEDIUM REMOVAL: until this nexus allows it again, is lost, or a reset.  Source: SBC-4 5.15."""
    prevent = command.fields.prevent
    if prevent > 1:
        raise InvalidFieldInCdb("prevent")
    unit.medium.keep(command.nexus, bool(prevent))
    return GOOD


def start_stop_unit(unit: LogicalUnit, command: Command) -> Steps:
    """START STOP UNIT: stopping flushes, unless NO_FLUSH says otherwise, and the disk stays ready.

    One initiator that shuts down must not take the disk away from the others, so there is no stopped state. LOEJ
    ejects or loads a removable medium, for everybody, unless somebody prevents it.  Source: SBC-4 5.31.
    """
    fields = command.fields
    if fields.power_condition:
        if not unit.options.removable:
            _check_power_condition(fields)
        return GOOD
    if fields.loej and not unit.options.removable:
        raise InvalidFieldInCdb("loej")
    if fields.loej and unit.medium.is_kept:
        raise IllegalRequest(Asc.MEDIUM_REMOVAL_PREVENTED)
    if not fields.start and not fields.no_flush and not unit.write_protected:
        yield Flush()
    if fields.loej and unit.medium.is_loaded is not bool(fields.start):
        unit.medium.is_loaded = bool(fields.start)
        if fields.start:
            unit.attentions.establish_all(Asc.MEDIUM_MAY_HAVE_CHANGED, besides=command.nexus)
        unit.look_again()
    return GOOD


def _check_power_condition(fields: Any) -> None:
    modifiers = POWER_CONDITIONS.get(fields.power_condition)
    if modifiers is None:
        raise InvalidFieldInCdb("power_condition")
    if fields.power_condition_modifier not in modifiers:
        raise InvalidFieldInCdb("power_condition_modifier")


def read_defect_data_10(unit: LogicalUnit, command: Command) -> Response:
    """READ DEFECT DATA(10): no defects, in whatever format they are wanted.  Source: SBC-4 5.22."""
    return _defects(command, DEFECTS_10)


def read_defect_data_12(unit: LogicalUnit, command: Command) -> Response:
    """READ DEFECT DATA(12): as above; no list has an element at any index.  Source: SBC-4 5.23."""
    return _defects(command, DEFECTS_12)


def _defects(command: Command, layout: Layout) -> Response:
    fields = command.fields
    data = layout.pack(
        plistv=fields.req_plist, glistv=fields.req_glist, defect_list_format=fields.defect_list_format
    )  # fmt: skip
    return reply(command, data, fields.allocation_length)
