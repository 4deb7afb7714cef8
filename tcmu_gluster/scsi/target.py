"""A target: which unit is behind which LUN, for whom, and what it answers where there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Optional, TypeVar

from tcmu_gluster.errors import ScsiError
from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.alua import AccessState, Port
from tcmu_gluster.scsi.command import (
    Command,
    Function,
    ManagementResponse,
    Nexus,
    Response,
    TaskManagement,
)
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.sense import (
    Asc,
    InvalidFieldInCdb,
    LunNotSupported,
    SenseKey,
    StatusError,
    pack_sense,
)
from tcmu_gluster.scsi.spc import inquiry_without_unit, luns_reply, reply
from tcmu_gluster.scsi.task_management import ManagementDone

_T = TypeVar("_T")

INQUIRY, REPORT_LUNS, REQUEST_SENSE = 0x12, 0xA0, 0x03

RESETS = {
    Function.TARGET_WARM_RESET: Asc.SCSI_BUS_RESET_OCCURRED,
    Function.TARGET_COLD_RESET: Asc.POWER_ON_OCCURRED,
}


class Target:
    """The LUN map of one target. A nexus sees the map itself, or a view of its own (attach(..., view=...)).

    LUNs are added and removed while nexuses are there: each hears REPORTED LUNS DATA HAS CHANGED.
    """

    def __init__(self, name: str = "", luns: Optional[Mapping[int, LogicalUnit]] = None) -> None:
        self.name = name
        self.luns: dict[int, LogicalUnit] = dict(luns or {})
        self.ports: tuple[Port, ...] = (Port(name),)
        self.access = AccessState.ACTIVE_OPTIMIZED
        """What its groups were set to last from our side; a unit that is mapped later begins so."""
        self._views: dict[Nexus, dict[int, LogicalUnit]] = {}
        self._own_views = 0
        """How many nexuses see something else than luns: with none, a command needs no look at its nexus."""
        for unit in self.luns.values():
            unit.ports.put(name, self.ports, self.access)

    def execute(self, command: Command) -> Optional[Response]:
        """Run a command at its LUN: a Response at once, or None and command.done(command, response) later."""
        luns = self.luns if not self._own_views else self._view(command.nexus)
        unit = luns.get(command.lun)
        if unit is not None:
            return unit.execute(command)
        return self._without_unit(command)

    def _view(self, nexus: Nexus) -> dict[int, LogicalUnit]:
        return self._views.get(nexus, self.luns)

    def set_ports(self, ports: Sequence[Port]) -> None:
        """The target's ports, of which every session comes through one. Call it before sessions begin.

        Their relative identifiers have to stay what they are: registrations that outlive a restart name them.
        """
        self.ports = tuple(ports)
        for unit in self._units():
            unit.ports.put(self.name, self.ports, self.access)

    def _units(self) -> set[LogicalUnit]:
        return {*self.luns.values(), *(unit for view in self._views.values() for unit in view.values())}

    def set_access(self, state: AccessState) -> bool:
        """All its groups are in that state now, at every unit. False if they were."""
        self.access = state
        states = {port.group: state for port in self.ports}
        changed = [unit.ports.change(self.name, states) for unit in self._units()]
        return any(changed)

    # -- the map -------------------------------------------------------------------------------------------------

    def map(self, lun: int, unit: LogicalUnit) -> None:
        """Show a unit at a LUN to every nexus that has no view of its own.  Raises ValueError if the LUN is taken."""
        if lun in self.luns:
            raise ValueError(f"LUN {lun} of {self.name} is taken")
        self.luns[lun] = unit
        unit.ports.put(self.name, self.ports, self.access)
        for nexus, view in self._views.items():
            if view is self.luns:
                self._attach(nexus, unit, write_protected=False)
        self._luns_changed()

    def unmap(self, lun: int, done: Optional[Callable[[], None]] = None) -> LogicalUnit:
        """Take a LUN away; done() when none of its tasks runs any more.  Raises KeyError."""
        unit = self.luns.pop(lun)
        if not any(unit in luns.values() for luns in (self.luns, *self._views.values())):
            unit.ports.put(self.name, ())
        gone = [nexus for nexus, view in self._views.items() if view is self.luns and unit not in view.values()]
        _each(gone, lambda nexus, ended: unit.detach(nexus, ended), done)
        self._luns_changed()
        return unit

    def _luns_changed(self) -> None:
        for nexus, view in self._views.items():
            if view is self.luns:
                for unit in set(view.values()):
                    unit.attentions.establish(nexus, Asc.REPORTED_LUNS_DATA_CHANGED)
                    unit.look_again()

    # -- nexuses -------------------------------------------------------------------------------------------------

    def attach(
        self,
        nexus: Nexus,
        view: Optional[Mapping[int, LogicalUnit]] = None,
        *,
        write_protected: Sequence[int] = (),
        attention: Optional[Asc] = Asc.POWER_ON_OCCURRED,
    ) -> None:
        """A nexus came into being. view is the LUN map it sees, if not the target's; write_protected LUNs of it."""
        luns = self.luns if view is None else dict(view)
        self._views[nexus] = luns
        self._count_own_views()
        protected = {luns[lun] for lun in write_protected if lun in luns}
        for unit in set(luns.values()):
            self._attach(nexus, unit, write_protected=unit in protected, attention=attention)

    def _attach(
        self,
        nexus: Nexus,
        unit: LogicalUnit,
        *,
        write_protected: bool,
        attention: Optional[Asc] = Asc.POWER_ON_OCCURRED,
    ) -> None:
        def inventory() -> Sequence[int]:
            return tuple(self._views.get(nexus, ()))

        def neighbours() -> set[LogicalUnit]:
            return set(self._views.get(nexus, {}).values())

        unit.ports.put(self.name, self.ports, self.access)
        unit.attach(
            nexus, inventory=inventory, neighbours=neighbours, write_protected=write_protected, attention=attention
        )

    def detach(self, nexus: Nexus, done: Optional[Callable[[], None]] = None) -> None:
        """A nexus is gone (logout, connection lost): its tasks end ABORTED, then done() is called."""
        view = self._views.pop(nexus, {})
        self._count_own_views()
        _each(list(set(view.values())), lambda unit, ended: unit.detach(nexus, ended), done)

    def _count_own_views(self) -> None:
        self._own_views = sum(view is not self.luns for view in self._views.values())

    # -- task management -----------------------------------------------------------------------------------------

    def manage(self, request: TaskManagement, done: ManagementDone) -> None:
        """Task management: resets of the target here, everything else by the unit that it names."""
        view = self._view(request.nexus)
        asc = RESETS.get(request.function)
        if asc is not None:
            units = list({*self.luns.values(), *view.values()})

            def reset(unit: LogicalUnit, ended: Callable[[], None]) -> None:
                unit.reset(asc, request.nexus, ended)

            _each(units, reset, lambda: done(ManagementResponse.FUNCTION_COMPLETE))
            return
        unit = view.get(request.lun)
        if unit is None:
            done(ManagementResponse.LUN_DOES_NOT_EXIST)
            return
        unit.manage(request, done)

    # -- where there is no unit ----------------------------------------------------------------------------------

    def _without_unit(self, command: Command) -> Response:
        """What the standards let a LUN without a unit answer.

        INQUIRY says that nothing is here, REQUEST SENSE too; at LUN 0 REPORT LUNS lists the others, without which no
        host would find LUN 1.  Source: SPC-4 6.6.2, 6.33, 6.39; SAM-5 4.13.
        """
        opcode = command.cdb[0] if command.cdb else None
        try:
            if opcode == INQUIRY:
                return inquiry_without_unit(command, cdb.INQUIRY.unpack(command.cdb))
            if opcode == REQUEST_SENSE:
                fields = cdb.REQUEST_SENSE.unpack(command.cdb)
                sense = pack_sense(
                    SenseKey.ILLEGAL_REQUEST, Asc.LOGICAL_UNIT_NOT_SUPPORTED, descriptor=bool(fields.desc)
                )
                return reply(command, sense, fields.allocation_length)
            if opcode == REPORT_LUNS and command.lun == 0:
                view = self._view(command.nexus)
                response = luns_reply(command, cdb.REPORT_LUNS.unpack(command.cdb), tuple(view))
                for unit in list(view.values())[:1]:
                    unit.luns_heard(command.nexus)
                return response
            raise LunNotSupported()
        except InvalidFieldInCdb as error:
            error.locate(cdb.REPORT_LUNS if opcode == REPORT_LUNS else cdb.INQUIRY)
            return error.response()
        except ScsiError as error:
            assert isinstance(error, StatusError)
            return error.response()
        except Exception:  # a CDB shorter than its operation code promises
            return InvalidFieldInCdb().response()


def _each(
    items: Sequence[_T], begin: Callable[[_T, Callable[[], None]], object], done: Optional[Callable[[], None]]
) -> None:
    """begin(item, ended) for every item; done() once all have ended."""
    left = len(items)
    if not left and done is not None:
        done()

    def ended() -> None:
        nonlocal left
        left -= 1
        if not left and done is not None:
            done()

    for item in list(items):
        begin(item, ended)
