"""PERSISTENT RESERVE IN and OUT, and SPC-2's RESERVE and RELEASE: their parameter data, and what asks reservations.py.

Source: SPC-4 under the commands' names; SPC-2 for RESERVE and RELEASE.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from tcmu_gluster.backends.base import Operation
from tcmu_gluster.scsi import buffers
from tcmu_gluster.scsi import reservation_rules as rules
from tcmu_gluster.scsi.command import Command, Response
from tcmu_gluster.scsi.reservation_rules import (
    MOVE_PARAMETER_LIST,
    PARAMETER_LIST,
    Request,
    ReservationType,
    State,
)
from tcmu_gluster.scsi.sense import InvalidFieldInCdb, InvalidFieldInParameterList, ParameterListLengthError
from tcmu_gluster.scsi.spc import reply
from tcmu_gluster.scsi.transport_id import Registrant, parse_transport_id, registrant_of
from tcmu_gluster.wire.layout import Bit, Bits, Int, Layout

if TYPE_CHECKING:
    from tcmu_gluster.scsi.logical_unit import LogicalUnit

IN_HEADER = Layout("PERSISTENT RESERVE IN parameter data", 8, (
    Int("prgeneration", 0, 4), Int("additional_length", 4, 4),
))  # fmt: skip
RESERVATION = Layout("READ RESERVATION descriptor", 16, (
    Int("reservation_key", 0, 8),
    Bits("scope", 13, high=7, low=4), Bits("type", 13, high=3, low=0),
))  # fmt: skip
CAPABILITIES = Layout("REPORT CAPABILITIES parameter data", 8, (
    Int("length", 0, 2),
    Bit("rlr_c", 2, 7), Bit("crh", 2, 4), Bit("sip_c", 2, 3), Bit("atp_c", 2, 2), Bit("ptpl_c", 2, 0),
    Bit("tmv", 3, 7), Bits("allow_commands", 3, high=6, low=4), Bit("ptpl_a", 3, 0),
    Bit("wr_ex_ar", 4, 7), Bit("ex_ac_ro", 4, 6), Bit("wr_ex_ro", 4, 5), Bit("ex_ac", 4, 3), Bit("wr_ex", 4, 1),
    Bit("ex_ac_ar", 5, 0),
))  # fmt: skip
FULL_STATUS = Layout("READ FULL STATUS descriptor", 24, (
    Int("reservation_key", 0, 8),
    Bit("all_tg_pt", 12, 1), Bit("r_holder", 12, 0),
    Bits("scope", 13, high=7, low=4), Bits("type", 13, high=3, low=0),
    Int("relative_target_port_identifier", 18, 2),
    Int("additional_descriptor_length", 20, 4),
))  # fmt: skip
ALL_OF_THEM_ALLOWED = 0b100  # ALLOW COMMANDS: what SPC-3 left open passes where SPC-4 says so (table 208)
LIST_BYTES = 24
LARGEST_LIST_BYTES = 1 << 16


# -- PERSISTENT RESERVE IN -------------------------------------------------------------------------------------------


def _in(unit: LogicalUnit, command: Command, parts: bytes) -> Response:
    head = IN_HEADER.pack(prgeneration=unit.reserved.state.generation, additional_length=len(parts))
    return reply(command, bytes(head) + parts, command.fields.allocation_length)


def read_keys(unit: LogicalUnit, command: Command) -> Response:
    """READ KEYS."""
    unit.reserved.check()
    return _in(unit, command, b"".join(key.to_bytes(8, "big") for key in unit.reserved.state.keys.values()))


def read_reservation(unit: LogicalUnit, command: Command) -> Response:
    """READ RESERVATION: of an all registrants type the key is 0."""
    unit.reserved.check()
    state = unit.reserved.state
    if not state.type:
        return _in(unit, command, b"")
    key = 0 if state.holder is None else state.keys[state.holder]
    return _in(unit, command, bytes(RESERVATION.pack(reservation_key=key, type=state.type)))


def report_capabilities(unit: LogicalUnit, command: Command) -> Response:
    """REPORT CAPABILITIES."""
    unit.reserved.check()
    data = CAPABILITIES.pack(
        length=CAPABILITIES.size_bytes, crh=1, sip_c=1, atp_c=1, ptpl_c=1, tmv=1,
        allow_commands=ALL_OF_THEM_ALLOWED, ptpl_a=unit.reserved.state.persists,
        wr_ex_ar=1, ex_ac_ro=1, wr_ex_ro=1, ex_ac=1, wr_ex=1, ex_ac_ar=1,
    )  # fmt: skip
    return reply(command, data, command.fields.allocation_length)


def read_full_status(unit: LogicalUnit, command: Command) -> Response:
    """READ FULL STATUS: one descriptor a registration, by target port (so ALL_TG_PT is 0)."""
    unit.reserved.check()
    state = unit.reserved.state
    return _in(unit, command, b"".join(_full_status(state, who, key) for who, key in state.keys.items()))


def _full_status(state: State, who: Registrant, key: int) -> bytes:
    port = who.transport_id()
    holds = state.is_holder(who)
    return bytes(FULL_STATUS.pack(
        reservation_key=key, r_holder=holds, type=state.type if holds else 0,
        relative_target_port_identifier=who.relative_target_port, additional_descriptor_length=len(port),
    )) + port  # fmt: skip


# -- PERSISTENT RESERVE OUT ------------------------------------------------------------------------------------------

Steps = Generator[Operation, Any, Response]
Handler = Callable[["LogicalUnit", Command], Steps]


def _list_of(command: Command) -> bytes:
    """The parameter list, as long as the CDB says.  Raises ParameterListLengthError."""
    length = command.fields.parameter_list_length
    command.data_out_wanted = length
    if not LIST_BYTES <= length <= LARGEST_LIST_BYTES or length > command.data_out_bytes:
        raise ParameterListLengthError()
    data = buffers.gather(command.data_out, length)
    if len(data) < length:
        raise ParameterListLengthError()
    return data


def _type_of(command: Command) -> int:
    """SCOPE and TYPE of the CDB: the whole unit, and one of the six."""
    fields = command.fields
    if fields.scope:
        raise InvalidFieldInCdb("scope")
    if fields.type not in set(ReservationType):
        raise InvalidFieldInCdb("type")
    return int(fields.type)


def _registering(rule: rules.Rule) -> Handler:
    """A service action that registers: SPEC_I_PT, ALL_TG_PT and APTPL mean something."""

    def handler(unit: LogicalUnit, command: Command) -> Steps:
        data = _list_of(command)
        fields = PARAMETER_LIST.unpack(data)
        who = registrant_of(command.nexus)
        if rule is not rules.register:
            _names_no_ports(fields)
        if not fields.spec_i_pt and len(data) != LIST_BYTES:
            raise ParameterListLengthError()
        ports = [(who.initiator_name, who.isid)]
        if fields.spec_i_pt:
            ports += _named_ports(unit, data)
        targets = [who.relative_target_port]
        if fields.all_tg_pt:
            targets += unit.ports.relative_ports(who.target_name)
        everyone = [Registrant(name, isid, who.target_name, port) for name, isid in ports for port in targets]
        return unit.reserved.change(command, rule, Request(
            who, fields.reservation_key, fields.service_action_reservation_key, persists=bool(fields.aptpl),
            also=tuple(dict.fromkeys(one for one in everyone if one != who)), spec_i_pt=bool(fields.spec_i_pt),
        ), False)  # fmt: skip

    return handler


def _names_no_ports(fields: Any) -> None:
    """SPEC_I_PT is for REGISTER alone.  Source: SPC-4 6.16.3."""
    if fields.spec_i_pt:
        raise InvalidFieldInParameterList("spec_i_pt", layout=PARAMETER_LIST)


def _named_ports(unit: LogicalUnit, data: bytes) -> list[tuple[str, bytes]]:
    """The initiator ports of SPEC_I_PT's TransportIDs; a name without ISID stands for its ports that are logged in."""
    start = LIST_BYTES + 4
    if len(data) < start or len(data) != start + int.from_bytes(data[LIST_BYTES:start], "big"):
        raise ParameterListLengthError()
    ports: list[tuple[str, bytes]] = []
    at = start
    while at < len(data):
        name, isid, size_bytes = parse_transport_id(data, at)
        here = [isid] if isid is not None else _isids(unit, name)
        if not here:
            raise InvalidFieldInParameterList(at)
        ports += [(name, one) for one in here]
        at += size_bytes
    return ports


def _isids(unit: LogicalUnit, name: str) -> list[bytes]:
    return list(dict.fromkeys(nexus.isid for nexus in unit.attentions.nexuses() if nexus.initiator_name == name))


def _reserving(rule: rules.Rule, *, typed: bool = True, abort: bool = False) -> Handler:
    """A service action of the basic list that registers nothing."""

    def handler(unit: LogicalUnit, command: Command) -> Steps:
        data = _list_of(command)
        fields = PARAMETER_LIST.unpack(data)
        _names_no_ports(fields)
        if len(data) != LIST_BYTES:
            raise ParameterListLengthError()
        request = Request(
            registrant_of(command.nexus), fields.reservation_key, fields.service_action_reservation_key,
            _type_of(command) if typed else 0,
        )  # fmt: skip
        return unit.reserved.change(command, rule, request, abort)

    return handler


def register_and_move(unit: LogicalUnit, command: Command) -> Steps:
    """REGISTER AND MOVE: one TransportID, and one of our target ports."""
    data = _list_of(command)
    fields = MOVE_PARAMETER_LIST.unpack(data)
    who = registrant_of(command.nexus)
    if len(data) != LIST_BYTES + fields.transportid_length:
        raise ParameterListLengthError()
    name, isid, size_bytes = parse_transport_id(data, LIST_BYTES)
    if isid is None or LIST_BYTES + size_bytes != len(data):
        raise InvalidFieldInParameterList(LIST_BYTES)
    port = fields.relative_target_port_identifier
    if port not in {who.relative_target_port, *unit.ports.relative_ports(who.target_name)}:
        raise InvalidFieldInParameterList("relative_target_port_identifier", layout=MOVE_PARAMETER_LIST)
    return unit.reserved.change(command, rules.register_and_move, Request(
        who, fields.reservation_key, fields.service_action_reservation_key, persists=bool(fields.aptpl),
        target=Registrant(name, isid, who.target_name, port), unregister=bool(fields.unreg),
    ), False)  # fmt: skip


register = _registering(rules.register)
register_and_ignore_existing_key = _registering(rules.register_and_ignore_existing_key)
reserve = _reserving(rules.reserve)
release = _reserving(rules.release)
clear = _reserving(rules.clear, typed=False)
preempt = _reserving(rules.preempt)
preempt_and_abort = _reserving(rules.preempt, abort=True)


# -- SPC-2 -----------------------------------------------------------------------------------------------------------


def _whole_unit_for_itself(command: Command) -> None:
    """Third-party reservations and extents are obsolete."""
    for name in ("third_party", "extent"):
        if getattr(command.fields, name):
            raise InvalidFieldInCdb(name)


def reserve_spc_2(unit: LogicalUnit, command: Command) -> Response:
    """RESERVE(6), RESERVE(10): the whole unit for this nexus."""
    _whole_unit_for_itself(command)
    return unit.reserved.reserve(command.nexus)


def release_spc_2(unit: LogicalUnit, command: Command) -> Response:
    """RELEASE(6), RELEASE(10)."""
    _whole_unit_for_itself(command)
    return unit.reserved.release(command.nexus)
