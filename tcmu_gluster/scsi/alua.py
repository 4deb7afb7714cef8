"""Target ports, their groups and asymmetric access states (ALUA), as one unit sees them.

Source: SPC-4 5.16.2; 6.37 and 6.45, REPORT and SET TARGET PORT GROUPS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Optional

from tcmu_gluster.scsi import buffers
from tcmu_gluster.scsi.command import GOOD, Command, Nexus, Response
from tcmu_gluster.scsi.sense import (
    Asc,
    InvalidFieldInCdb,
    InvalidFieldInParameterList,
    NotReady,
    ParameterListLengthError,
)
from tcmu_gluster.scsi.spc import reply
from tcmu_gluster.wire.layout import Bit, Bits, Int, Layout

if TYPE_CHECKING:
    from tcmu_gluster.scsi.logical_unit import LogicalUnit


class AccessState(IntEnum):
    """ASYMMETRIC ACCESS STATE."""

    ACTIVE_OPTIMIZED = 0x0
    ACTIVE_NON_OPTIMIZED = 0x1
    STANDBY = 0x2
    UNAVAILABLE = 0x3
    TRANSITIONING = 0xF


SETTABLE = frozenset((0x0, 0x1, 0x2, 0x3))
NO_STATUS, BY_COMMAND, IMPLICITLY = 0, 1, 2  # STATUS CODE: what changed the state last

# What still works, as (operation code, service action); everything else ends NOT READY with the state's code.
# Source: SPC-4 5.16.2.4.4, 5.16.2.4.5, 5.16.2.5; what a device server "may" support besides is not there.
_ALWAYS = frozenset((
    (0x12, None), (0xA0, None), (0x03, None),  # INQUIRY, REPORT LUNS, REQUEST SENSE
    (0xA3, 0x0A), (0x3C, None), (0x3B, None),  # REPORT TARGET PORT GROUPS, READ BUFFER, WRITE BUFFER
))  # fmt: skip
_UNAVAILABLE = _ALWAYS | {(0xA4, 0x0A)}  # SET TARGET PORT GROUPS
_STANDBY = _UNAVAILABLE | {
    (0x4C, None), (0x4D, None),                              # LOG SELECT, LOG SENSE
    (0x15, None), (0x55, None), (0x1A, None), (0x5A, None),  # MODE SELECT, MODE SENSE
    (0x1C, None), (0x1D, None),                              # RECEIVE DIAGNOSTIC RESULTS, SEND DIAGNOSTIC
    *((0x5E, action) for action in range(0x20)),             # PERSISTENT RESERVE IN
    *((0x5F, action) for action in range(0x20)),             # PERSISTENT RESERVE OUT
}  # fmt: skip
RESTRICTED = {
    AccessState.STANDBY: (_STANDBY, Asc.TARGET_PORT_IN_STANDBY_STATE),
    AccessState.UNAVAILABLE: (_UNAVAILABLE, Asc.TARGET_PORT_IN_UNAVAILABLE_STATE),
    AccessState.TRANSITIONING: (_ALWAYS, Asc.ASYMMETRIC_ACCESS_STATE_TRANSITION),
}

GROUPS_HEADER = Layout("REPORT TARGET PORT GROUPS parameter data", 4, (Int("return_data_length", 0, 4),))
EXTENDED_HEADER = Layout("REPORT TARGET PORT GROUPS extended header parameter data", 8, (
    Int("return_data_length", 0, 4),
    Bits("format_type", 4, high=6, low=4, value=1),
    Int("implicit_transition_time", 5, 1),
))  # fmt: skip
GROUP = Layout("target port group descriptor", 8, (
    Bit("pref", 0, 7), Bits("asymmetric_access_state", 0, high=3, low=0),
    Bit("t_sup", 1, 7), Bit("o_sup", 1, 6), Bit("lbd_sup", 1, 4), Bit("u_sup", 1, 3), Bit("s_sup", 1, 2),
    Bit("an_sup", 1, 1), Bit("ao_sup", 1, 0),
    Int("target_port_group", 2, 2),
    Int("status_code", 5, 1),
    Int("target_port_count", 7, 1),
))  # fmt: skip
PORT = Layout("target port descriptor", 4, (Int("relative_target_port_identifier", 2, 2),))
SET_GROUP = Layout("set target port group descriptor", 4, (
    Bits("asymmetric_access_state", 0, high=3, low=0),
    Int("target_port_group", 2, 2),
))  # fmt: skip
PLAIN, EXTENDED = 0b000, 0b001  # PARAMETER DATA FORMAT
NOT_CONNECTED = 0b001
"""What INQUIRY says of a unit through a port in the unavailable state.  Source: SPC-4 5.16.2.4.5, 6.6.2."""
MOST_PORTS = 255


@dataclass(frozen=True)
class Port:
    """One of our target ports. group is its target port group (ALUA), which has nothing to do with iSCSI's tag."""

    target_name: str
    relative_target_port: int = 1
    group: int = 1


@dataclass
class Group:
    """One target port group of one unit."""

    number: int
    state: AccessState = AccessState.ACTIVE_OPTIMIZED
    preferred: bool = False
    status: int = NO_STATUS


@dataclass
class Ports:
    """The ports that one unit is reached through, and the states of their groups.

    groups                  by target and number: numbers mean something only within one target
    transition_seconds      how long hosts should wait for a transition (0: nothing is said)
    """

    unit: LogicalUnit
    transition_seconds: int = 0
    ports: tuple[Port, ...] = ()
    groups: dict[tuple[str, int], Group] = field(default_factory=dict)

    def of(self, target_name: str) -> tuple[Port, ...]:
        """The ports of one target: relative port identifiers mean something only within one."""
        return tuple(port for port in self.ports if port.target_name == target_name)

    def relative_ports(self, target_name: str) -> list[int]:
        """The relative target port identifiers of one target."""
        return [port.relative_target_port for port in self.of(target_name)]

    def put(self, target_name: str, ports: Iterable[Port], state: AccessState = AccessState.ACTIVE_OPTIMIZED) -> None:
        """What the ports of a target are now (none: the unit isn't reached through it any more).

        Groups that were not there before begin in that state.
        """
        fresh = tuple(ports)
        self.ports = tuple(port for port in self.ports if port.target_name != target_name) + fresh
        keys = {(target_name, port.group) for port in fresh}
        for key in [key for key in self.groups if key[0] == target_name and key not in keys]:
            del self.groups[key]
        for key in keys - set(self.groups):
            self.groups[key] = Group(key[1], state)
        self.unit.look_again()

    def state_for(self, nexus: Nexus) -> AccessState:
        """The state of the group that a nexus comes through."""
        return self.state_of(nexus.target_name, nexus.target_port_group)

    def state_of(self, target_name: str, number: int) -> AccessState:
        """The state of a group of a target."""
        group = self.groups.get((target_name, number))
        return AccessState.ACTIVE_OPTIMIZED if group is None else group.state

    def states(self, target_name: str) -> set[AccessState]:
        """Those in which the groups of a target are."""
        return {group.state for (name, _), group in self.groups.items() if name == target_name}

    @property
    def tpgs(self) -> int:
        """TPGS of the standard INQUIRY data: 0 no groups, 1 implicit, 3 implicit and explicit."""
        if not self.unit.options.ports:
            return 0
        return 3 if self.unit.commands.find(0xA4, 0x0A) is not None else 1

    def qualifier(self, nexus: Nexus) -> int:
        """PERIPHERAL QUALIFIER of INQUIRY data: whether a nexus comes through a port that is unavailable."""
        return NOT_CONNECTED if self.state_for(nexus) is AccessState.UNAVAILABLE else 0

    @property
    def restricting(self) -> bool:
        """Whether any group is in a state that refuses commands: then every command asks check()."""
        return any(group.state in RESTRICTED for group in self.groups.values())

    def check(self, command: Command) -> None:
        """Raises NotReady if the state of the command's port does not allow it."""
        restricted = RESTRICTED.get(self.state_for(command.nexus))
        if restricted is not None:
            allowed, asc = restricted
            if (command.entry.operation_code, command.entry.service_action) not in allowed:
                raise NotReady(asc)

    def change(
        self,
        target_name: str,
        states: Mapping[int, AccessState],
        status: int = IMPLICITLY,
        *,
        besides: Optional[Nexus] = None,
    ) -> bool:
        """Groups of a target are in other states now; its nexuses hear so, but for the one that asked for it.

        False if they were in these states.  Raises KeyError.
        """  # fmt: skip
        changed = {number: state for number, state in states.items() if self.state_of(target_name, number) is not state}
        for number, state in changed.items():
            group = self.groups[target_name, number]
            group.state, group.status = state, status
        if changed:
            for nexus in self.unit.attentions.nexuses():
                if nexus.target_name == target_name and nexus != besides:
                    self.unit.attentions.establish(nexus, Asc.ASYMMETRIC_ACCESS_STATE_CHANGED)
            self.unit.look_again()
        return bool(changed)


def report_target_port_groups(unit: LogicalUnit, command: Command) -> Response:
    """REPORT TARGET PORT GROUPS: the groups of the target that the command came to."""
    fields = command.fields
    if fields.parameter_data_format not in (PLAIN, EXTENDED):
        raise InvalidFieldInCdb("parameter_data_format")
    ports = unit.ports.of(command.nexus.target_name) or (_port_of(command.nexus),)
    parts = b""
    for number in sorted({port.group for port in ports}):
        parts += _group_descriptor(unit, number, [port for port in ports if port.group == number][:MOST_PORTS])
    if fields.parameter_data_format == EXTENDED:
        head = EXTENDED_HEADER.pack(
            return_data_length=4 + len(parts), implicit_transition_time=unit.ports.transition_seconds
        )
    else:
        head = GROUPS_HEADER.pack(return_data_length=len(parts))
    return reply(command, bytes(head) + parts, fields.allocation_length)


def _port_of(nexus: Nexus) -> Port:
    return Port(nexus.target_name, nexus.relative_target_port, nexus.target_port_group)


def _group_descriptor(unit: LogicalUnit, number: int, ports: list[Port]) -> bytes:
    group = unit.ports.groups.get((ports[0].target_name, number)) or Group(number)
    head = GROUP.pack(
        pref=group.preferred, asymmetric_access_state=group.state, t_sup=1, u_sup=1, s_sup=1, an_sup=1, ao_sup=1,
        target_port_group=number, status_code=group.status, target_port_count=len(ports),
    )  # fmt: skip
    return bytes(head) + b"".join(
        PORT.pack(relative_target_port_identifier=port.relative_target_port) for port in ports
    )


def set_target_port_groups(unit: LogicalUnit, command: Command) -> Response:
    """SET TARGET PORT GROUPS: every descriptor is judged before the first state changes."""
    length = command.fields.parameter_list_length
    command.data_out_wanted = length
    if not length:
        return GOOD
    data = buffers.gather(command.data_out, min(length, command.data_out_bytes))
    if length % SET_GROUP.size_bytes:
        raise InvalidFieldInCdb("parameter_list_length")  # SPC-4 6.45
    if len(data) != length:
        raise ParameterListLengthError()
    states: dict[int, AccessState] = {}
    here = {port.group for port in unit.ports.of(command.nexus.target_name)}
    for at in range(4, length, SET_GROUP.size_bytes):
        wanted = SET_GROUP.unpack(data, at)
        number = wanted.target_port_group
        if wanted.asymmetric_access_state not in SETTABLE:
            raise InvalidFieldInParameterList("asymmetric_access_state", layout=SET_GROUP, base=at)
        if number not in here or number in states:
            raise InvalidFieldInParameterList("target_port_group", layout=SET_GROUP, base=at)
        states[number] = AccessState(wanted.asymmetric_access_state)
    unit.ports.change(command.nexus.target_name, states, BY_COMMAND, besides=command.nexus)
    return GOOD
