"""Target port groups: what is reported, what is set, what a state forbids, who hears of a change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.alua import IMPLICITLY, AccessState, Port
from tcmu_gluster.scsi.command import Nexus
from tcmu_gluster.scsi.copies import CopyManager
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.sense import Asc, SenseKey
from tcmu_gluster.scsi.table import COMMANDS, CommandTable, Feature
from tcmu_gluster.scsi.target import Target
from tcmu_gluster.scsi.vpd import PAGES
from tests.doubles.cluster import TARGET, Node, with_ports
from tests.doubles.host import Host, memory

OPTIMIZED, NON_OPTIMIZED, STANDBY, UNAVAILABLE, TRANSITIONING = AccessState


class Two:
    """A unit behind three ports: 1 and 2 in group 1, 5 in group 9."""

    def __init__(self, unit: LogicalUnit | None = None) -> None:
        self.unit = unit or LogicalUnit(memory())
        self.target = with_ports(self.unit, Port(TARGET, 1, 1), Port(TARGET, 2, 1), Port(TARGET, 5, 9))
        self.near, self.far = Node(self.unit, "host"), Node(self.unit, "host", port=5, group=9)


@pytest.fixture
def two() -> Two:
    return Two()


def report(node: Host, form: int = 0, length: int = 1024) -> bytes:
    return node.run(cdb.REPORT_TARGET_PORT_GROUPS.pack(parameter_data_format=form, allocation_length=length)).data


def set_groups(node: Host, *groups: tuple[int, int], tail: bytes = b""):
    data = bytes(4) + b"".join(bytes([state, 0]) + number.to_bytes(2, "big") for number, state in groups) + tail
    return node.run(cdb.SET_TARGET_PORT_GROUPS.pack(parameter_list_length=len(data)), data)


# -- what is reported ------------------------------------------------------------------------------------------------

# SPC-4, REPORT TARGET PORT GROUPS: state, what is supported (T, U, S, AN, AO), group, status code, count, ports.
GROUP_1 = "00 8f 0001 00 00 00 02" + "0000 0001" + "0000 0002"
GROUP_9 = "00 8f 0009 00 00 00 01" + "0000 0005"


def test_groups_and_their_ports(two: Two) -> None:
    assert report(two.near) == bytes.fromhex("0000001c" + GROUP_1 + GROUP_9)
    assert report(two.far) == report(two.near)


def test_the_extended_header_says_how_long_a_transition_takes(two: Two) -> None:
    two.unit.ports.transition_seconds = 30
    assert report(two.near, form=1) == bytes.fromhex("00000020" + "10 1e 0000" + GROUP_1 + GROUP_9)


def test_a_format_that_is_reserved_is_refused(two: Two) -> None:
    answer = two.near.run(cdb.REPORT_TARGET_PORT_GROUPS.pack(parameter_data_format=2, allocation_length=255))
    assert (answer.asc, answer.pointer) == (Asc.INVALID_FIELD_IN_CDB, (1, 7))


@pytest.mark.parametrize("length", [0, 1, 4, 12, 33])
def test_the_allocation_length_cuts(two: Two, length: int) -> None:
    assert report(two.near, length=length) == report(two.near)[:length]


def test_only_the_ports_of_the_own_target_are_shown(two: Two) -> None:
    two.unit.ports.put("iqn.2026-11.test:another", (Port("iqn.2026-11.test:another", 1, 1),))
    assert report(two.near) == bytes.fromhex("0000001c" + GROUP_1 + GROUP_9)


def test_a_nexus_whose_ports_nobody_declared_finds_its_own() -> None:
    node = Node(LogicalUnit(memory()), "host", port=3, group=4)
    assert report(node) == bytes.fromhex("0000000c" + "00 8f 0004 00 00 00 01" + "0000 0003")


def test_inquiry_tells_of_groups_and_of_several_ports(two: Two) -> None:
    data = two.near.run(cdb.INQUIRY.pack(allocation_length=96)).data
    assert data[5] & 0x30 == 0x30  # TPGS: implicit and explicit
    assert data[6] & 0x10  # MULTIP
    alone = Node(LogicalUnit(memory()), "host").run(cdb.INQUIRY.pack(allocation_length=96)).data
    assert not alone[6] & 0x10


def test_device_identification_names_port_and_group(two: Two) -> None:
    data = two.far.run(cdb.INQUIRY.pack(evpd=1, page_code=0x83, allocation_length=1024)).data
    assert bytes.fromhex("51940004" + "00000005") in data  # relative target port
    assert bytes.fromhex("51950004" + "00000009") in data  # target port group


# -- what is set -----------------------------------------------------------------------------------------------------


def test_setting_a_group_is_reported_and_heard_by_the_others(two: Two) -> None:
    assert set_groups(two.near, (9, STANDBY)).good
    assert report(two.near) == bytes.fromhex("0000001c" + GROUP_1 + "02 8f 0009 00 01 00 01" + "0000 0005")
    assert (two.near.hears(), two.far.hears()) == ([], [Asc.ASYMMETRIC_ACCESS_STATE_CHANGED])


def test_a_change_of_our_own_is_heard_by_everybody(two: Two) -> None:
    two.unit.ports.change(TARGET, {1: NON_OPTIMIZED})
    assert two.near.hears() == two.far.hears() == [Asc.ASYMMETRIC_ACCESS_STATE_CHANGED]
    assert report(two.near)[9] == IMPLICITLY
    two.unit.ports.change(TARGET, {1: NON_OPTIMIZED})
    assert two.near.hears() == []  # nothing changed


def test_groups_of_another_target_have_their_own_states_though_the_numbers_are_the_same(two: Two) -> None:
    name = "iqn.2026-11.test:another"
    other = Target(name, {0: two.unit})
    host = Host(two.unit, "iqn.2026-11.test:there")
    host.nexus = Nexus(host.nexus.initiator_name, host.nexus.isid, name)
    other.attach(host.nexus, attention=None)
    assert other.set_access(STANDBY)
    assert (two.near.hears(), host.run(cdb.TEST_UNIT_READY.pack()).asc) == ([], Asc.ASYMMETRIC_ACCESS_STATE_CHANGED)
    assert two.near.read().good
    assert host.run(cdb.READ_10.pack(transfer_length=1)).asc == Asc.TARGET_PORT_IN_STANDBY_STATE
    assert report(host) == bytes.fromhex("0000000c" + "02 8f 0001 00 02 00 01" + "0000 0001")
    assert not other.set_access(STANDBY)
    assert set_groups(host, (1, OPTIMIZED)).good  # a host's word counts as ours
    assert other.set_access(STANDBY)


def test_a_unit_that_is_mapped_later_begins_in_the_state_of_its_target(two: Two) -> None:
    two.target.set_access(UNAVAILABLE)
    two.near.hears(), two.far.hears()
    late = LogicalUnit(memory())
    two.target.map(1, late)
    node = Node(late, "host")
    assert (node.read().key, node.read().asc) == (2, Asc.TARGET_PORT_IN_UNAVAILABLE_STATE)
    two.target.set_access(NON_OPTIMIZED)
    assert node.hears() == [Asc.ASYMMETRIC_ACCESS_STATE_CHANGED]
    assert node.read().good
    two.target.unmap(1)
    assert late.ports.groups == {}


def test_an_empty_list_changes_nothing(two: Two) -> None:
    assert two.near.run(cdb.SET_TARGET_PORT_GROUPS.pack(parameter_list_length=0)).good
    assert set_groups(two.near).good
    assert two.far.hears() == []


@pytest.mark.parametrize(
    ("groups", "pointer"),
    [
        ([(1, STANDBY), (9, 4)], (8, 3)),  # LBA dependent
        ([(9, 0xE)], (4, 3)),  # offline
        ([(9, TRANSITIONING)], (4, 3)),
        ([(1, STANDBY), (2, STANDBY)], (10, None)),  # there is no such group
        ([(9, STANDBY), (9, OPTIMIZED)], (10, None)),  # twice
    ],
)
def test_one_wrong_descriptor_changes_nothing(two: Two, groups, pointer) -> None:
    before = report(two.near)
    answer = set_groups(two.near, *groups)
    assert (answer.asc, answer.pointer) == (Asc.INVALID_FIELD_IN_PARAMETER_LIST, pointer)
    assert report(two.near) == before and two.far.hears() == []


@pytest.mark.parametrize("tail", [b"\0", b"\0\0\0"])
def test_a_descriptor_that_is_cut_is_refused(two: Two, tail: bytes) -> None:
    answer = set_groups(two.near, (9, STANDBY), tail=tail)  # SPC-4 6.45
    assert (answer.asc, answer.pointer) == (Asc.INVALID_FIELD_IN_CDB, (6, None))
    short = two.near.run(cdb.SET_TARGET_PORT_GROUPS.pack(parameter_list_length=8), bytes(4))
    assert short.asc == Asc.PARAMETER_LIST_LENGTH_ERROR


@given(st.binary(max_size=40))
def test_any_list_is_taken_or_refused(data: bytes) -> None:
    two = Two()
    answer = two.near.run(cdb.SET_TARGET_PORT_GROUPS.pack(parameter_list_length=len(data)), data)
    assert answer.good or answer.key == 5
    two.unit.ports.change(TARGET, {1: OPTIMIZED, 9: OPTIMIZED})
    assert report(two.near)[4] == 0 and len(report(two.near)) == 32
    two.unit.backend.close()


# -- what a state forbids --------------------------------------------------------------------------------------------

# SPC-4 5.16.2.4.4, 5.16.2.4.5 and 5.16.2.5: what is still answered.
ALWAYS = {
    "INQUIRY", "REPORT LUNS", "REQUEST SENSE", "REPORT TARGET PORT GROUPS", "READ BUFFER(10)", "WRITE BUFFER",
}  # fmt: skip
IN_UNAVAILABLE = ALWAYS | {"SET TARGET PORT GROUPS"}
IN_STANDBY = IN_UNAVAILABLE | {
    "LOG SELECT", "LOG SENSE", "MODE SELECT(6)", "MODE SELECT(10)", "MODE SENSE(6)", "MODE SENSE(10)",
    "RECEIVE DIAGNOSTIC RESULTS", "SEND DIAGNOSTIC",
    *(row.name for row in COMMANDS if row.name.startswith("PERSISTENT RESERVE")),
}  # fmt: skip
CASES = {
    STANDBY: (IN_STANDBY, Asc.TARGET_PORT_IN_STANDBY_STATE),
    UNAVAILABLE: (IN_UNAVAILABLE, Asc.TARGET_PORT_IN_UNAVAILABLE_STATE),
    TRANSITIONING: (ALWAYS, Asc.ASYMMETRIC_ACCESS_STATE_TRANSITION),
}


@pytest.mark.parametrize("state", CASES)
def test_a_state_lets_through_what_the_standard_lists_and_on_its_own_ports_only(state: AccessState) -> None:
    allowed, asc = CASES[state]
    copies = CopyManager(lambda: 0.0, bytes)
    two = Two(LogicalUnit(memory(), UnitOptions(removable=True), clock=lambda: 0.0, copies=copies))
    assert set(two.unit.commands) == set(COMMANDS)
    for row in COMMANDS:
        two.unit.ports.change(TARGET, {9: state})
        two.near.hears(), two.far.hears()
        raw = row.layout.pack()
        answer = two.far.run(raw)
        refused = (answer.key, answer.asc) == (SenseKey.NOT_READY, asc)
        assert refused == (row.name not in allowed), row.name
        assert two.near.run(raw).asc != asc


def test_through_an_unavailable_port_inquiry_says_that_nothing_is_connected(two: Two) -> None:
    """SPC-4 5.16.2.4.5: peripheral qualifier 001b; 6.39: then REQUEST SENSE says LOGICAL UNIT NOT SUPPORTED."""
    inquiries = [cdb.INQUIRY.pack(allocation_length=96)]
    inquiries += [cdb.INQUIRY.pack(evpd=1, page_code=page, allocation_length=255) for page in PAGES]
    for state in (OPTIMIZED, NON_OPTIMIZED, STANDBY, UNAVAILABLE, TRANSITIONING):
        two.unit.ports.change(TARGET, {9: state})
        for raw in inquiries:
            assert two.far.run(raw).data[0] == (0x20 if state is UNAVAILABLE else 0)
            assert two.near.run(raw).data[0] == 0
    two.unit.ports.change(TARGET, {9: UNAVAILABLE})
    data = two.far.run(cdb.REQUEST_SENSE.pack(allocation_length=18)).data
    assert (data[2], data[12:14].hex()) == (SenseKey.ILLEGAL_REQUEST, "2500")


def test_where_initiators_may_not_set_states_they_are_told_so_and_refused(two: Two) -> None:
    """SPC-4 6.6.2: TPGS 01b, implicit alone; 6.45: SET TARGET PORT GROUPS is of explicit access."""
    two.unit.commands = CommandTable(COMMANDS, Feature.PORTS)
    two.unit._slots = two.unit.commands.slots
    assert two.near.run(cdb.INQUIRY.pack(allocation_length=96)).data[5] & 0x30 == 0x10
    answer = set_groups(two.near, (9, STANDBY))
    assert (answer.asc, answer.pointer) == (Asc.INVALID_FIELD_IN_CDB, (1, 4))
    assert len(report(two.near)) == 32 and two.far.hears() == []


def test_a_restricted_port_that_is_set_active_again_serves(two: Two) -> None:
    assert two.unit.quiet
    set_groups(two.near, (9, UNAVAILABLE))
    assert not two.unit.quiet
    assert two.far.hears() == [Asc.ASYMMETRIC_ACCESS_STATE_CHANGED]
    assert (two.far.read().key, two.far.read().asc) == (2, Asc.TARGET_PORT_IN_UNAVAILABLE_STATE)
    assert set_groups(two.far, (9, NON_OPTIMIZED)).good
    assert two.far.read().good
    two.near.hears()
    assert two.near.read().good and two.unit.quiet


def test_where_the_front_keeps_the_ports_nothing_is_told() -> None:
    node = Node(LogicalUnit(memory(), UnitOptions(ports=False)), "host")
    assert not node.run(cdb.INQUIRY.pack(allocation_length=96)).data[5] & 0x30
    assert node.run(cdb.SET_TARGET_PORT_GROUPS.pack()).asc == Asc.INVALID_FIELD_IN_CDB
    assert node.run(cdb.REPORT_TARGET_PORT_GROUPS.pack(allocation_length=255)).asc == Asc.INVALID_FIELD_IN_CDB
    data = node.run(cdb.INQUIRY.pack(evpd=1, page_code=0x83, allocation_length=1024)).data
    assert bytes.fromhex("51950004") not in data
