"""Persistent reservations as values: a state, a request, and what becomes of them. Pure: no unit, no commands, no time.

Each service action of PERSISTENT RESERVE OUT is one function from (state, request) to a Change.
Source: SPC-4, "Persistent reservations" (the model, by the headings named below) and PERSISTENT RESERVE OUT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Optional

from tcmu_gluster.scsi.sense import (
    Asc,
    IllegalRequest,
    InvalidFieldInCdb,
    InvalidFieldInParameterList,
    ReservationConflict,
)
from tcmu_gluster.scsi.transport_id import Registrant
from tcmu_gluster.wire.layout import Bit, Int, Layout


class ReservationType(IntEnum):
    """The TYPE field.  Source: SPC-4, PERSISTENT RESERVE IN, "Persistent reservations type"."""

    WRITE_EXCLUSIVE = 1
    EXCLUSIVE_ACCESS = 3
    WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 5
    EXCLUSIVE_ACCESS_REGISTRANTS_ONLY = 6
    WRITE_EXCLUSIVE_ALL_REGISTRANTS = 7
    EXCLUSIVE_ACCESS_ALL_REGISTRANTS = 8


EXCLUSIVE_ACCESS_TYPES = frozenset((3, 6, 8))
ALL_REGISTRANTS_TYPES = frozenset((7, 8))
REGISTRANTS_TYPES = frozenset((5, 6, 7, 8))

# SPC-4, PERSISTENT RESERVE OUT: the basic parameter list, and the one of REGISTER AND MOVE.
PARAMETER_LIST = Layout("PERSISTENT RESERVE OUT parameter list", 24, (
    Int("reservation_key", 0, 8),
    Int("service_action_reservation_key", 8, 8),
    Bit("spec_i_pt", 20, 3), Bit("all_tg_pt", 20, 2), Bit("aptpl", 20, 0),
))  # fmt: skip
MOVE_PARAMETER_LIST = Layout("REGISTER AND MOVE parameter list", 24, (
    Int("reservation_key", 0, 8),
    Int("service_action_reservation_key", 8, 8),
    Bit("unreg", 17, 1), Bit("aptpl", 17, 0),
    Int("relative_target_port_identifier", 18, 2),
    Int("transportid_length", 20, 4),
))  # fmt: skip


@dataclass(frozen=True)
class State:
    """Who is registered with which key, in the order of registration, and who holds what.

    holder is None without a reservation, and with an all registrants type, which all of them hold.
    """

    generation: int = 0
    keys: Mapping[Registrant, int] = field(default_factory=dict)
    type: int = 0
    """A ReservationType, or 0: nothing is reserved."""
    holder: Optional[Registrant] = None
    persists: bool = False
    """APTPL: power loss changes nothing."""

    def is_holder(self, who: Registrant) -> bool:
        """Whether a registrant holds the reservation."""
        if self.type in ALL_REGISTRANTS_TYPES:
            return who in self.keys
        return self.type != 0 and self.holder == who


@dataclass(frozen=True)
class Request:
    """One PERSISTENT RESERVE OUT, its list already read.

    also    further registrants that a registration is made for: SPEC_I_PT's ports, ALL_TG_PT's target ports
    target  where REGISTER AND MOVE moves to
    """

    who: Registrant
    key: int = 0
    new_key: int = 0
    type: int = 0
    persists: bool = False
    also: tuple[Registrant, ...] = ()
    target: Optional[Registrant] = None
    unregister: bool = False
    spec_i_pt: bool = False


@dataclass(frozen=True)
class Change:
    """What a request does. attentions: who has to hear what; preempted: whose commands PREEMPT AND ABORT ends.

    Whoever preempts its own key is one of them: its other commands end too (SPC-4 5.13.11.2.6).
    """

    state: State
    attentions: tuple[tuple[Registrant, Asc], ...] = ()
    preempted: frozenset[Registrant] = frozenset()


Rule = Callable[[State, Request], Change]


def _demand_key(state: State, request: Request) -> None:
    """Everything but registering is for registered nexuses that know their key.

    Source: SPC-4, table of PERSISTENT RESERVE OUT service actions allowed in the presence of various reservations.
    """
    if state.keys.get(request.who) != request.key:
        raise ReservationConflict()


def _tell(whom: Iterable[Registrant], asc: Asc, besides: Registrant) -> tuple[tuple[Registrant, Asc], ...]:
    return tuple((one, asc) for one in whom if one != besides)


def register(state: State, request: Request) -> Change:
    """REGISTER: the key that is registered has to be named, 0 if there is none.  Source: SPC-4 "Registering"."""
    if state.keys.get(request.who, 0) != request.key:
        raise ReservationConflict()
    return _register(state, request)


def register_and_ignore_existing_key(state: State, request: Request) -> Change:
    """REGISTER AND IGNORE EXISTING KEY.  Source: SPC-4 "Registering"."""
    if request.spec_i_pt:
        raise InvalidFieldInParameterList("spec_i_pt", layout=PARAMETER_LIST)
    return _register(state, request)


def _register(state: State, request: Request) -> Change:
    registered = request.who in state.keys
    if registered and request.spec_i_pt:
        raise InvalidFieldInParameterList("spec_i_pt", layout=PARAMETER_LIST)
    if not request.new_key:
        ports = [who for who in (request.who, *request.also) if who in state.keys]
        if not registered:
            return Change(state)
        return _after(replace(state, generation=_next(state), persists=request.persists), ports, request.who)
    if request.spec_i_pt and any(who in state.keys for who in request.also):
        raise InvalidFieldInParameterList(PARAMETER_LIST.size_bytes)  # one of the ports is registered: then none is
    keys = {**state.keys, **dict.fromkeys((request.who, *request.also), request.new_key)}
    return Change(replace(state, generation=_next(state), keys=keys, persists=request.persists))


def _next(state: State) -> int:
    return (state.generation + 1) & 0xFFFFFFFF


def _after(state: State, gone: Iterable[Registrant], by: Registrant) -> Change:
    """The state without some registrations: a reservation that loses its last holder is released.

    Source: SPC-4 "Unregistering": the others hear RESERVATIONS RELEASED of a registrants only reservation.
    """
    gone = set(gone)
    keys = {who: key for who, key in state.keys.items() if who not in gone}
    state = replace(state, keys=keys)
    lost = not keys if state.type in ALL_REGISTRANTS_TYPES else state.holder in gone
    if not state.type or not lost:
        return Change(state)
    attentions = _tell(keys, Asc.RESERVATIONS_RELEASED, by) if state.type in REGISTRANTS_TYPES else ()
    return Change(replace(state, type=0, holder=None), attentions)


def reserve(state: State, request: Request) -> Change:
    """RESERVE: again by the holder, with the same type, changes nothing.  Source: SPC-4 "Reserving"."""
    _demand_key(state, request)
    if not state.type:
        return Change(_reserved(state, request))
    if not state.is_holder(request.who) or state.type != request.type:
        raise ReservationConflict()
    return Change(state)


def _reserved(state: State, request: Request) -> State:
    holder = None if request.type in ALL_REGISTRANTS_TYPES else request.who
    return replace(state, type=request.type, holder=holder)


def release(state: State, request: Request) -> Change:
    """RELEASE: by somebody else than the holder it does nothing.  Source: SPC-4 "Releasing"."""
    _demand_key(state, request)
    if not state.is_holder(request.who):
        return Change(state)
    if state.type != request.type:
        raise IllegalRequest(Asc.INVALID_RELEASE_OF_PERSISTENT_RESERVATION)
    attentions = _tell(state.keys, Asc.RESERVATIONS_RELEASED, request.who) if state.type in REGISTRANTS_TYPES else ()
    return Change(replace(state, type=0, holder=None), attentions)


def clear(state: State, request: Request) -> Change:
    """CLEAR: no reservation and no registration is left.  Source: SPC-4 "Clearing"."""
    _demand_key(state, request)
    return Change(
        State(_next(state), persists=state.persists), _tell(state.keys, Asc.RESERVATIONS_PREEMPTED, request.who)
    )


def preempt(state: State, request: Request) -> Change:
    """PREEMPT: take the reservation over, or only registrations away.  Source: SPC-4 "Preempting"."""
    _demand_key(state, request)
    everybody = state.type in ALL_REGISTRANTS_TYPES and not request.new_key
    if not request.new_key and not everybody:
        raise InvalidFieldInParameterList("service_action_reservation_key", layout=PARAMETER_LIST)
    gone = {who for who, key in state.keys.items() if everybody or key == request.new_key}
    if not gone:
        raise ReservationConflict()
    preempted = frozenset(gone)
    attentions = _tell(gone, Asc.REGISTRATIONS_PREEMPTED, request.who)
    following = replace(state, generation=_next(state))
    if not everybody and (state.holder is None or state.holder not in gone):
        change = _after(following, gone, request.who)
        return replace(change, attentions=attentions + change.attentions, preempted=preempted)
    gone.discard(request.who)  # it takes the reservation over, and stays registered
    keys = {who: key for who, key in state.keys.items() if who not in gone}
    if state.type != request.type:
        attentions += _tell(keys, Asc.RESERVATIONS_RELEASED, request.who)
    return Change(_reserved(replace(following, keys=keys), request), attentions, preempted)


def register_and_move(state: State, request: Request) -> Change:
    """REGISTER AND MOVE: the holder registers another port and hands the reservation to it.

    Source: SPC-4 "Registering and moving the reservation".
    """
    if request.who not in state.keys:
        raise ReservationConflict()
    if not state.type:
        raise InvalidFieldInCdb("service_action")
    if state.type in ALL_REGISTRANTS_TYPES or not state.is_holder(request.who):
        raise ReservationConflict()
    if state.keys[request.who] != request.key:
        raise ReservationConflict()
    if not request.new_key:
        raise InvalidFieldInParameterList("service_action_reservation_key", layout=MOVE_PARAMETER_LIST)
    assert request.target is not None
    if request.target.initiator_port == request.who.initiator_port:  # through whatever target port
        raise InvalidFieldInParameterList(MOVE_PARAMETER_LIST.size_bytes)
    keys = {**state.keys, request.target: request.new_key}
    if request.unregister:
        del keys[request.who]
    return Change(replace(state, generation=_next(state), keys=keys, holder=request.target, persists=request.persists))
