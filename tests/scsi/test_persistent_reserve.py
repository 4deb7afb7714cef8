"""PERSISTENT RESERVE IN and OUT by their bytes.  Source of the layouts: SPC-4 under the commands' names."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.alua import Port
from tcmu_gluster.scsi.command import Status
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.reservation_rules import ReservationType
from tcmu_gluster.scsi.sense import Asc
from tcmu_gluster.scsi.transport_id import pack_transport_id
from tests.doubles.cluster import OUT, TARGET, Node, basic_list, with_ports
from tests.doubles.host import memory

WE, EA, WE_RO, EA_RO, WE_AR, EA_AR = ReservationType
SPEC_I_PT, ALL_TG_PT, APTPL = 8, 4, 1
CONFLICT = Status.RESERVATION_CONFLICT
ISID = b"\0\0\0\0\0\1"


@pytest.fixture
def unit() -> LogicalUnit:
    return LogicalUnit(memory())


def iqn(name: str) -> str:
    return f"iqn.2026-11.test:{name}"


def ports_list(key: int, *transport_ids: bytes, flags: int = SPEC_I_PT) -> bytes:
    data = b"".join(transport_ids)
    return basic_list(0, key, flags) + len(data).to_bytes(4, "big") + data


def move_list(key: int, new: int, transport_id: bytes, port: int = 1, flags: int = 0) -> bytes:
    head = key.to_bytes(8, "big") + new.to_bytes(8, "big") + bytes([0, flags]) + port.to_bytes(2, "big")
    return head + len(transport_id).to_bytes(4, "big") + transport_id


# -- PERSISTENT RESERVE IN -------------------------------------------------------------------------------------------


def test_keys_in_the_order_of_registration(unit: LogicalUnit) -> None:
    one, two = Node(unit, "one"), Node(unit, "two")
    assert one.run(cdb.READ_KEYS.pack(allocation_length=255)).data == bytes(8)
    one.out("register", 0, 0x1122334455667788)
    two.out("register", 0, 2)
    data = two.run(cdb.READ_KEYS.pack(allocation_length=255)).data
    assert data.hex() == "00000002" + "00000010" + "1122334455667788" + "0000000000000002"


@pytest.mark.parametrize("length", [0, 1, 8, 12, 16, 24, 65535])
@pytest.mark.parametrize("layout", [cdb.READ_KEYS, cdb.READ_RESERVATION, cdb.REPORT_CAPABILITIES, cdb.READ_FULL_STATUS])
def test_the_allocation_length_cuts_and_changes_nothing_inside(unit: LogicalUnit, layout, length: int) -> None:
    one = Node(unit, "one")
    one.out("register", 0, 5)
    one.out("reserve", 5, kind=EA)
    whole = one.run(layout.pack(allocation_length=65535)).data
    answer = one.run(layout.pack(allocation_length=length))
    assert answer.good and answer.data == whole[:length]


@pytest.mark.parametrize("kind", ReservationType)
def test_the_reservation(unit: LogicalUnit, kind: ReservationType) -> None:
    one = Node(unit, "one")
    one.out("register", 0, 5)
    assert one.run(cdb.READ_RESERVATION.pack(allocation_length=255)).data.hex() == "00000001" + "00000000"
    one.out("reserve", 5, kind=kind)
    key = "00" * 8 if kind in (WE_AR, EA_AR) else "0000000000000005"
    expected = "00000001" + "00000010" + key + "00000000" + "00" + f"{int(kind):02x}" + "0000"
    assert one.run(cdb.READ_RESERVATION.pack(allocation_length=255)).data.hex() == expected


def test_capabilities(unit: LogicalUnit) -> None:
    one = Node(unit, "one")
    # length 8; CRH, SIP_C, ATP_C, PTPL_C; TMV, ALLOW COMMANDS 100b; all six types
    assert (
        one.run(cdb.REPORT_CAPABILITIES.pack(allocation_length=255)).data.hex()
        == "0008" + "1d" + "c0" + "ea01" + "0000"
    )
    one.out("register", 0, 5, flags=APTPL)
    assert one.run(cdb.REPORT_CAPABILITIES.pack(allocation_length=255)).data[3] == 0xC1  # PTPL_A


@pytest.mark.parametrize("kind", ReservationType)
def test_full_status_names_every_port_and_who_holds(unit: LogicalUnit, kind: ReservationType) -> None:
    one, two = Node(unit, "one"), Node(unit, "two", port=0x102)
    one.out("register", 0, 5)
    two.out("register", 0, 6)
    one.out("reserve", 5, kind=kind)
    data = one.run(cdb.READ_FULL_STATUS.pack(allocation_length=65535)).data
    expected = b""
    for name, key, port, holds in (("one", 5, 1, True), ("two", 6, 0x102, kind in (WE_AR, EA_AR))):
        who = pack_transport_id(iqn(name), ISID)
        expected += key.to_bytes(8, "big") + bytes(4) + bytes([holds, int(kind) if holds else 0]) + bytes(4)
        expected += port.to_bytes(2, "big") + len(who).to_bytes(4, "big") + who
    assert data == (2).to_bytes(4, "big") + len(expected).to_bytes(4, "big") + expected


@pytest.mark.parametrize(("operation_code", "known"), [(0x5E, 4), (0x5F, 8)])
def test_other_service_actions_do_not_exist(unit: LogicalUnit, operation_code: int, known: int) -> None:
    one = Node(unit, "one")
    for action in range(known, 32):
        answer = one.run(bytes([operation_code, action]) + bytes(8), bytes(24))
        assert (answer.asc, answer.pointer) == (Asc.INVALID_FIELD_IN_CDB, (1, 4))


# -- PERSISTENT RESERVE OUT: lists -----------------------------------------------------------------------------------


@pytest.mark.parametrize("action", OUT)
@pytest.mark.parametrize("length", [0, 1, 23, 25, 28, 1 << 17])
def test_a_list_of_another_length_is_refused(unit: LogicalUnit, action: str, length: int) -> None:
    one = Node(unit, "one")
    one.out("register", 0, 1)
    data = basic_list(1, 2).ljust(length, b"\0")[:length]
    assert one.listed(action, data, WE).asc == Asc.PARAMETER_LIST_LENGTH_ERROR
    assert one.keys() == (1, [1])


@pytest.mark.parametrize("action", OUT)
def test_a_list_shorter_than_the_cdb_says_is_refused(unit: LogicalUnit, action: str) -> None:
    one = Node(unit, "one")
    answer = one.run(OUT[action].pack(type=1, parameter_list_length=24), bytes(23))
    assert answer.asc == Asc.PARAMETER_LIST_LENGTH_ERROR


@pytest.mark.parametrize("action", ["reserve", "release", "preempt", "preempt_and_abort"])
def test_scope_and_type_are_judged_where_they_mean_something(unit: LogicalUnit, action: str) -> None:
    one = Node(unit, "one")
    one.out("register", 0, 1)
    layout = OUT[action]
    for scope, kind, pointer in ((1, 1, (2, 7)), (0, 0, (2, 3)), (0, 2, (2, 3)), (0, 4, (2, 3)), (0, 9, (2, 3))):
        answer = one.run(layout.pack(scope=scope, type=kind, parameter_list_length=24), basic_list(1, 1))
        assert (answer.asc, answer.pointer) == (Asc.INVALID_FIELD_IN_CDB, pointer)
    for other in ("register", "ignore", "clear"):
        assert one.run(OUT[other].pack(scope=1, type=9, parameter_list_length=24), basic_list(1, 1)).good


def test_spec_i_pt_registers_ports_that_never_logged_in(unit: LogicalUnit) -> None:
    one = Node(unit, "one")
    named = [pack_transport_id(iqn(name), ISID) for name in ("two", "three")]
    assert one.listed("register", ports_list(7, *named)).good
    assert one.keys() == (1, [7, 7, 7])
    assert Node(unit, "three").out("reserve", 7, kind=EA).good
    assert Node(unit, "four").write().status == CONFLICT


@pytest.mark.parametrize("action", sorted(set(OUT) - {"register", "move"}))
def test_spec_i_pt_is_for_register_alone(unit: LogicalUnit, action: str) -> None:  # SPC-4 6.16.3, table 216
    one = Node(unit, "one")
    one.out("register", 0, 1)
    layout = OUT[action]
    data = basic_list(1, 2, SPEC_I_PT)
    before = unit.reserved.state
    answer = one.run(layout.pack(type=WE, parameter_list_length=len(data)), data)
    assert (answer.asc, answer.pointer) == (Asc.INVALID_FIELD_IN_PARAMETER_LIST, (20, 3))
    assert unit.reserved.state == before


def test_a_name_without_isid_stands_for_its_sessions(unit: LogicalUnit) -> None:
    one = Node(unit, "one")
    nobody = one.listed("register", ports_list(7, pack_transport_id(iqn("two"), b"")))
    assert (nobody.asc, nobody.pointer) == (Asc.INVALID_FIELD_IN_PARAMETER_LIST, (28, None))
    two = [Node(unit, "two", isid=number) for number in (1, 2)]
    assert one.listed("register", ports_list(7, pack_transport_id(iqn("two"), b""))).good
    assert one.keys()[1] == [7, 7, 7]
    assert all(node.out("reserve", 7, kind=WE_AR).good for node in two)


@pytest.mark.parametrize("wrong", [ports_list(7)[:27], ports_list(7, bytes(24))[:-1], ports_list(7) + b"\0"])
def test_spec_i_pt_with_a_wrong_length_registers_nobody(unit: LogicalUnit, wrong: bytes) -> None:
    one = Node(unit, "one")
    assert one.listed("register", wrong).asc == Asc.PARAMETER_LIST_LENGTH_ERROR
    assert one.keys() == (0, [])


def test_one_bad_transport_id_registers_nobody(unit: LogicalUnit) -> None:
    one = Node(unit, "one")
    good = pack_transport_id(iqn("two"), ISID)
    answer = one.listed("register", ports_list(7, good, b"\x46" + good[1:]))
    assert (answer.asc, answer.pointer) == (Asc.INVALID_FIELD_IN_PARAMETER_LIST, (28 + len(good), 3))
    assert one.keys() == (0, [])


def test_all_tg_pt_registers_through_every_port_of_the_target(unit: LogicalUnit) -> None:
    with_ports(unit, Port(TARGET, 1), Port(TARGET, 2), Port(TARGET, 3))
    one = Node(unit, "one", port=2)
    assert one.out("register", 0, 7, flags=ALL_TG_PT).good
    assert one.keys()[1] == [7, 7, 7]
    assert Node(unit, "one", port=3).out("reserve", 7, kind=EA).good
    assert one.out("register", 7, 0, flags=ALL_TG_PT).good
    assert one.keys()[1] == [] and one.reservation() == (0, 0)


# -- REGISTER AND MOVE -----------------------------------------------------------------------------------------------


def test_the_reservation_moves(unit: LogicalUnit) -> None:
    one, two = Node(unit, "one"), Node(unit, "two")
    one.out("register", 0, 1)
    one.out("reserve", 1, kind=EA)
    assert one.listed("move", move_list(1, 9, pack_transport_id(iqn("two"), ISID), flags=2)).good  # UNREG
    assert one.keys() == (2, [9]) and two.reservation() == (EA, 9)
    assert two.write().good and one.write().status == CONFLICT


def test_a_move_to_where_nothing_is_is_refused(unit: LogicalUnit) -> None:
    with_ports(unit, Port(TARGET, 1), Port(TARGET, 2))
    one = Node(unit, "one")
    one.out("register", 0, 1)
    one.out("reserve", 1, kind=EA)
    there = pack_transport_id(iqn("two"), ISID)
    cases = (
        (move_list(1, 9, there, port=3), (18, None)),
        (move_list(1, 9, pack_transport_id(iqn("two"), b"")), (24, None)),
        (move_list(1, 9, there + there), (24, None)),
        (move_list(1, 9, pack_transport_id(iqn("one"), ISID)), (24, None)),
        (move_list(1, 0, there), (8, None)),
    )
    for data, pointer in cases:
        answer = one.listed("move", data)
        assert (answer.asc, answer.pointer) == (Asc.INVALID_FIELD_IN_PARAMETER_LIST, pointer)
    assert one.listed("move", move_list(1, 9, there)[:-4]).asc == Asc.PARAMETER_LIST_LENGTH_ERROR
    assert one.listed("move", move_list(2, 9, there)).status == CONFLICT
    assert one.keys() == (1, [1])
    assert one.listed("move", move_list(1, 9, there, port=2)).good


def test_moving_what_is_not_there_is_a_wrong_service_action(unit: LogicalUnit) -> None:  # SPC-4 5.13.8
    one = Node(unit, "one")
    one.out("register", 0, 1)
    answer = one.listed("move", move_list(1, 9, pack_transport_id(iqn("two"), ISID)))
    assert (answer.asc, answer.pointer) == (Asc.INVALID_FIELD_IN_CDB, (1, 4))
    assert one.keys() == (1, [1])


def test_a_port_that_is_registered_already_registers_nobody(unit: LogicalUnit) -> None:  # SPC-4 table 67, note b
    one, two = Node(unit, "one"), Node(unit, "two")
    two.out("register", 0, 2)
    named = [pack_transport_id(iqn(name), ISID) for name in ("three", "two")]
    answer = one.listed("register", ports_list(7, *named))
    assert (answer.key, answer.asc) == (5, Asc.INVALID_FIELD_IN_PARAMETER_LIST)
    assert one.keys() == (1, [2])


@pytest.mark.parametrize("action", ["register", "ignore"])
def test_the_generation_counts_what_changed_registrations_and_nothing_else(unit: LogicalUnit, action: str) -> None:
    """SPC-4 6.15.2: not PERSISTENT RESERVE IN, RESERVE, RELEASE, nor what ended with an error or a conflict."""
    one, two = Node(unit, "one"), Node(unit, "two")
    steps = (
        (one, (action, 0, 1), 1), (two, (action, 0, 2), 2),
        (two, ("register", 9, 3), 2),  # a conflict
        (one, ("reserve", 1, 0, WE), 2), (two, ("reserve", 2, 0, WE), 2),
        (one, ("release", 1, 0, EA), 2),  # of another type: an error
        (one, ("release", 1, 0, WE), 2),
        (one, ("preempt", 1, 2, WE), 3), (one, ("preempt", 1, 2, WE), 3),  # whose key is gone
        (two, (action, 0, 2), 4), (one, ("preempt_and_abort", 1, 2, WE), 5),
        (one, ("register", 1, 0), 6), (one, (action, 0, 1), 7), (one, ("clear", 1), 8),
    )  # fmt: skip
    for number, (node, request, generation) in enumerate(steps):
        node.hears()
        node.out(*request)
        assert one.keys()[0] == generation, number


def test_hosts_cannot_make_the_list_of_registrations_grow_without_end(unit: LogicalUnit, monkeypatch) -> None:
    monkeypatch.setattr("tcmu_gluster.scsi.reservations.MAXIMUM_REGISTRATIONS", 2)
    for name in ("one", "two"):
        assert Node(unit, name).out("register", 0, 5).good
    three = Node(unit, "three")
    assert three.out("register", 0, 5).asc == Asc.INSUFFICIENT_REGISTRATION_RESOURCES
    assert Node(unit, "one").out("register", 5, 6).good


# -- anything --------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(OUT)), st.integers(0, 15), st.binary(max_size=96), st.booleans())
def test_any_list_is_refused_or_leaves_a_state_that_can_be_read(action, kind, data, basic) -> None:
    unit = LogicalUnit(memory())
    one, two = Node(unit, "one"), Node(unit, "two")
    one.out("register", 0, 1, flags=APTPL)
    two.out("register", 0, 2, flags=APTPL)
    one.out("reserve", 1, kind=WE_RO)
    before = one.keys(), one.reservation()
    body = basic_list(1, 2) + data if basic else data
    answer = one.listed(action, body, kind)
    if not answer.good:
        assert answer.status == CONFLICT or answer.key == 5
        assert (one.keys(), one.reservation()) == before
    two.hears()
    again = Node(LogicalUnit(unit.backend), "one")
    assert not again.unit.trouble
    assert again.reservation() == two.reservation() or not unit.reserved.state.persists
    unit.backend.close()
