"""The reservations of one unit: the gate that every command passes while something is reserved, and what is remembered.

Persistent reservations follow reservation_rules.py; RESERVE and RELEASE of SPC-2 are here, they are one word of state.
Source: SPC-4 "Reservations" with its table of commands allowed in the presence of reservations, SBC-4 the same for
block commands, SPC-2 5.5 (RESERVE and RELEASE).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Optional

from tcmu_gluster.backends.base import PENDING, Backend, Done, Operation, Outcome
from tcmu_gluster.scsi.command import ABORTED, GOOD, Command, Nexus, Response, Status
from tcmu_gluster.scsi.persistence import DamagedRecord
from tcmu_gluster.scsi.reservation_rules import (
    ALL_REGISTRANTS_TYPES,
    EXCLUSIVE_ACCESS_TYPES,
    REGISTRANTS_TYPES,
    Change,
    Request,
    ReservationType,
    Rule,
    State,
)
from tcmu_gluster.scsi.sense import Asc, IllegalRequest, ReservationConflict
from tcmu_gluster.scsi.transport_id import Registrant, registrant_of
from tcmu_gluster.scsi.turns import Turns

SECTION = "reservations"
SHARED, OPEN, SPC_2 = 8, 16, 32  # the gates of table.py that say who may pass
EVERYTHING = -1
MAXIMUM_REGISTRATIONS = 1024
"""A host that registers under ever new names must not make us grow: INSUFFICIENT REGISTRATION RESOURCES."""

# What the tables decide by a field and not by the operation code alone.
PASSES: dict[int, Callable[[Any], bool]] = {
    0x1B: lambda fields: bool(fields.start) and not fields.power_condition,  # START STOP UNIT: starting
    0x1E: lambda fields: not fields.prevent,  # PREVENT ALLOW MEDIUM REMOVAL: allowing
}


class Reservations:
    """State of one unit. unit is its LogicalUnit.

    spc_2_holder    the nexus that RESERVE(6) or (10) gave the unit to
    state           persistent reservations
    """

    __slots__ = ("_absent", "_passes", "_unit", "spc_2_holder", "state", "turns")

    def __init__(self, unit: Any) -> None:
        self._unit = unit
        self.spc_2_holder: Optional[Nexus] = None
        self.state = State()
        self.turns = Turns()
        self._passes: dict[Nexus, int] = {}
        self._absent: dict[Registrant, list[Asc]] = {}
        try:
            self.state = state_from(unit.keeper.record.section(SECTION))
        except DamagedRecord as error:
            unit.keeper.note_damage(str(error))

    @property
    def held(self) -> bool:
        """Whether any reservation exists: then every command asks allows()."""
        return self.spc_2_holder is not None or self.state.type != 0

    # -- the gate ------------------------------------------------------------------------------------------------

    def allows(self, command: Command) -> bool:
        """Whether the command's nexus may do it beside the reservation that exists."""
        passes = self._passes.get(command.nexus)
        if passes is None:
            passes = self._passes[command.nexus] = self._passes_of(command.nexus)
        if passes < 0 or command.entry.gates & passes:
            return True
        exception = PASSES.get(command.entry.operation_code)
        return exception is not None and exception(command.fields)

    def _passes_of(self, nexus: Nexus) -> int:
        """The gates one of which a command of this nexus needs; EVERYTHING: it needs none."""
        if self.spc_2_holder is not None:
            return EVERYTHING if self.spc_2_holder == nexus else SPC_2
        state, who = self.state, registrant_of(nexus)
        if not state.type or state.is_holder(who) or (state.type in REGISTRANTS_TYPES and who in state.keys):
            return EVERYTHING
        return OPEN if state.type in EXCLUSIVE_ACCESS_TYPES else OPEN | SHARED

    def _changed(self) -> None:
        self._passes.clear()
        self._unit.look_again()

    # -- SPC-2 ---------------------------------------------------------------------------------------------------

    def reserve(self, nexus: Nexus) -> Response:
        """RESERVE. Beside registrations it is a conflict, but for who may do everything (CRH)."""
        if self.state.keys:
            return self._with_registrations(nexus)
        if self.spc_2_holder not in (None, nexus):
            raise ReservationConflict()
        self.spc_2_holder = nexus
        self._changed()
        return GOOD

    def release(self, nexus: Nexus) -> Response:
        """RELEASE. By somebody else than the holder it does nothing."""
        if self.state.keys:
            return self._with_registrations(nexus)
        self._release_spc_2(nexus)
        return GOOD

    def _with_registrations(self, nexus: Nexus) -> Response:
        """SPC-4 "Exceptions to SPC-2 RESERVE and RELEASE behavior": nothing happens, for a holder or a registrant."""
        who, state = registrant_of(nexus), self.state
        if state.is_holder(who) or (state.type in REGISTRANTS_TYPES and who in state.keys):
            return GOOD
        raise ReservationConflict()

    def _release_spc_2(self, nexus: Optional[Nexus]) -> None:
        if self.spc_2_holder is not None and nexus in (None, self.spc_2_holder):
            self.spc_2_holder = None
            self._changed()

    # -- events --------------------------------------------------------------------------------------------------

    def attach(self, nexus: Nexus) -> None:
        """A nexus came (back): it hears what happened to its registration while it was away."""
        for asc in self._absent.pop(registrant_of(nexus), ()):
            self._unit.attentions.establish(nexus, asc)

    def detach(self, nexus: Nexus) -> None:
        """I_T nexus loss: an SPC-2 reservation ends, registrations stay."""
        self._release_spc_2(nexus)
        self._passes.pop(nexus, None)

    def reset(self) -> None:
        """A reset of the unit or the target: an SPC-2 reservation ends, registrations stay."""
        self._release_spc_2(None)

    # -- persistent ----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """While RESERVE holds the unit, PERSISTENT RESERVE is a conflict for everybody.  Source: SPC-2 5.5.1.

        Raises NotReady while nobody knows what is reserved: the record is damaged.
        """
        self._unit.keeper.check()
        if self.spc_2_holder is not None:
            raise ReservationConflict()

    def change(
        self, command: Command, rule: Rule, request: Request, abort: bool
    ) -> Generator[Operation, Any, Response]:
        """Steps of PERSISTENT RESERVE OUT: one after the other, GOOD when it is stable and its effect complete."""
        turn = self.turns.join()
        try:
            yield turn
            self.check()
            change = rule(self.state, request)
            if len(change.state.keys) > max(MAXIMUM_REGISTRATIONS, len(self.state.keys)):
                raise IllegalRequest(Asc.INSUFFICIENT_REGISTRATION_RESOURCES)
            keeper = self._unit.keeper
            section = section_of(change.state)
            if section == keeper.record.section(SECTION):
                self.apply(change)
            else:
                yield from keeper.keep(SECTION, section, lambda: self.apply(change))
        finally:
            turn.leave()
        if abort and change.preempted:  # nobody's turn any more: what is to end may be waiting for its own
            self._allow_removal(change.preempted)
            yield Ended(self._unit, command, change.preempted)
        return GOOD

    def _allow_removal(self, whose: frozenset[Registrant]) -> None:
        """What PREEMPT AND ABORT does for nexuses that prevent medium removal.  Source: SPC-4 5.13.11.2.6 h)."""
        for nexus in self._unit.attentions.nexuses():
            if registrant_of(nexus) in whose:
                self._unit.medium.keep(nexus, False)

    def apply(self, change: Change) -> None:
        """From here on the new state holds, and those whom it concerns hear of it."""
        self.state = change.state
        present = {registrant_of(nexus): nexus for nexus in self._unit.attentions.nexuses()}
        for who, asc in change.attentions:
            nexus = present.get(who)
            if nexus is not None:
                self._unit.attentions.establish(nexus, asc)
            elif len(self._absent) < MAXIMUM_REGISTRATIONS:
                heard_later = self._absent.setdefault(who, [])
                if asc not in heard_later:
                    heard_later.append(asc)
        self._changed()


class Ended(Operation):
    """End the commands of preempted nexuses (all but the one that asks); over when storage has let go of them.

    TAS is for nexuses whose commands another one ends.  Source: SPC-4 7.5.8.
    """

    __slots__ = ("_asking", "_unit", "_whose")

    def __init__(self, unit: Any, asking: Command, whose: frozenset[Registrant]) -> None:
        self._unit, self._asking, self._whose = unit, asking, whose

    def start(self, backend: Backend, done: Done) -> Outcome:
        ended = False
        returned = False

        def all_ended() -> None:
            nonlocal ended
            ended = True
            if returned:
                done(0)

        told, asking = bool(self._unit.modes.value(0x0A, "tas")), self._asking.nexus
        self._unit.tasks.abort(
            lambda command: command is not self._asking and registrant_of(command.nexus) in self._whose,
            lambda command: Response(Status.TASK_ABORTED) if told and command.nexus != asking else ABORTED,
            all_ended,
        )
        returned = True
        return 0 if ended else PENDING


# -- what is remembered ----------------------------------------------------------------------------------------------


def section_of(state: State) -> Any:
    """The state as the record keeps it, or None: without APTPL nothing outlives us. PRGENERATION starts at 0 anew."""
    if not state.persists:
        return None
    return {
        "type": state.type,
        "registrations": [
            {
                "initiator": who.initiator_name,
                "isid": who.isid.hex(),
                "target": who.target_name,
                "relative_target_port": who.relative_target_port,
                "key": f"{key:016x}",
                "holder": state.holder == who,
            }
            for who, key in state.keys.items()
        ],
    }


def state_from(section: Any) -> State:
    """What section_of() made. Raises DamagedRecord."""
    if section is None:
        return State()
    try:
        keys: dict[Registrant, int] = {}
        holder: Optional[Registrant] = None
        for entry in section["registrations"]:
            who = Registrant(
                str(entry["initiator"]), bytes.fromhex(entry["isid"]), str(entry["target"]),
                int(entry["relative_target_port"]),
            )  # fmt: skip
            keys[who] = int(entry["key"], 16)
            if entry["holder"]:
                holder = who
        type_ = int(section["type"])
        if type_:
            ReservationType(type_)
        if (holder is not None) != (type_ != 0 and type_ not in ALL_REGISTRANTS_TYPES):
            raise ValueError("its holder does not fit its type")
        return State(0, keys, type_, holder, True)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedRecord(f"its reservations make no sense: {error!r}") from error
