"""Reservations of a unit: who may pass, who hears what, and what is left after logouts, resets, restarts and faults."""

from __future__ import annotations

import errno

import pytest

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.command import ABORTED, Function, Status, TaskManagement
from tcmu_gluster.scsi.copies import CopyManager, CopyStatus
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.persistence import DamagedRecord, UnitRecord
from tcmu_gluster.scsi.reservation_rules import ReservationType, State
from tcmu_gluster.scsi.reservations import SECTION, section_of, state_from
from tcmu_gluster.scsi.sense import Asc
from tcmu_gluster.scsi.table import COMMANDS, Gate
from tcmu_gluster.scsi.transport_id import Registrant
from tests.doubles.backends import FaultyBackend, SlowBackend
from tests.doubles.cluster import Node, basic_list
from tests.doubles.copying import b2b, cscd, lid4
from tests.doubles.host import Pending, memory

CONFLICT = Status.RESERVATION_CONFLICT
WE, EA, WE_RO, EA_RO, WE_AR, EA_AR = ReservationType
APTPL = 1


@pytest.fixture
def unit() -> LogicalUnit:
    return LogicalUnit(memory())


def cluster(unit: LogicalUnit, kind: ReservationType) -> tuple[Node, Node, Node]:
    """A holder, a second registered host, and one that is not registered."""
    holder, member, stranger = Node(unit, "holder"), Node(unit, "member"), Node(unit, "stranger")
    assert holder.out("register", 0, 1).good and member.out("register", 0, 2).good
    assert holder.out("reserve", 1, kind=kind).good
    return holder, member, stranger


# -- conflicts -------------------------------------------------------------------------------------------------------

# SPC-4 table 65 and SBC-4 table 13, commands that are allowed in the presence of various reservations. Columns:
# another nexus holds Write Exclusive; Exclusive Access; a registrants type and the nexus is registered; Write Exclusive
# of a registrants type and it is not; Exclusive Access of one and it is not. "." allowed, "x" conflict.
TABLE = {
    "TEST UNIT READY": ".....", "REQUEST SENSE": ".....", "INQUIRY": ".....", "REPORT LUNS": ".....",
    "READ CAPACITY(10)": ".....", "READ CAPACITY(16)": ".....", "REPORT TARGET PORT GROUPS": ".....",
    "MODE SENSE(6)": ".x..x", "MODE SENSE(10)": ".x..x", "REPORT SUPPORTED OPERATION CODES": ".x..x",
    "READ(6)": ".x..x", "READ(10)": ".x..x", "READ(12)": ".x..x", "READ(16)": ".x..x",
    "VERIFY(10)": ".x..x", "VERIFY(12)": ".x..x", "VERIFY(16)": ".x..x",
    "PRE-FETCH(10)": ".x..x", "PRE-FETCH(16)": ".x..x", "GET LBA STATUS": ".x..x",
    "MODE SELECT(6)": "xx.xx", "MODE SELECT(10)": "xx.xx", "SET TARGET PORT GROUPS": "xx.xx",
    "WRITE(6)": "xx.xx", "WRITE(10)": "xx.xx", "WRITE(12)": "xx.xx", "WRITE(16)": "xx.xx",
    "WRITE AND VERIFY(10)": "xx.xx", "WRITE AND VERIFY(12)": "xx.xx", "WRITE AND VERIFY(16)": "xx.xx",
    "WRITE SAME(10)": "xx.xx", "WRITE SAME(16)": "xx.xx", "UNMAP": "xx.xx", "COMPARE AND WRITE": "xx.xx",
    "SYNCHRONIZE CACHE(10)": "xx.xx", "SYNCHRONIZE CACHE(16)": "xx.xx", "START STOP UNIT": "xx.xx",
    "ORWRITE(16)": "xx.xx", "WRITE ATOMIC(16)": "xx.xx", "FORMAT UNIT": "xx.xx",
    "SANITIZE, OVERWRITE": "xx.xx", "SANITIZE, BLOCK ERASE": "xx.xx", "SANITIZE, EXIT FAILURE MODE": "xx.xx",
    "READ DEFECT DATA(10)": ".x..x", "READ DEFECT DATA(12)": ".x..x", "PREVENT ALLOW MEDIUM REMOVAL": ".....",
    "LOG SELECT": "xx.xx", "LOG SENSE": ".....", "READ BUFFER(10)": ".x..x", "WRITE BUFFER": "xx.xx",
    "RECEIVE DIAGNOSTIC RESULTS": ".x..x", "SEND DIAGNOSTIC": "xx.xx",
    "REPORT IDENTIFYING INFORMATION": ".....", "SET IDENTIFYING INFORMATION": "xx.xx",
    "REPORT TIMESTAMP": ".....", "SET TIMESTAMP": "xx.xx", "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS": ".x..x",
    "EXTENDED COPY(LID1)": "xx.xx", "EXTENDED COPY(LID4)": "xx.xx", "COPY OPERATION ABORT": "xx.xx",
    "POPULATE TOKEN": ".x..x", "WRITE USING TOKEN": "xx.xx",
    "RECEIVE COPY STATUS(LID1)": ".....", "RECEIVE COPY DATA(LID1)": ".....",
    "RECEIVE COPY OPERATING PARAMETERS": ".....", "RECEIVE COPY FAILURE DETAILS(LID1)": ".....",
    "RECEIVE COPY STATUS(LID4)": ".....", "RECEIVE COPY DATA(LID4)": ".....",
    "RECEIVE ROD TOKEN INFORMATION": ".....", "REPORT ALL ROD TOKENS": ".....",
}  # fmt: skip
# SPC-2 table 10 and SBC-2: what another nexus may while RESERVE holds the unit.
BESIDE_RESERVE = {
    "INQUIRY", "REQUEST SENSE", "REPORT LUNS", "READ CAPACITY(10)", "READ CAPACITY(16)", "PREVENT ALLOW MEDIUM REMOVAL",
}  # fmt: skip
JUDGE_THEMSELVES = ("PERSISTENT RESERVE ", "RESERVE(", "RELEASE(")
ROWS = {row.name: row for row in COMMANDS if row.name in TABLE}


def conflicts(node: Node, name: str) -> bool:
    row = ROWS[name]
    while node.unit.attentions.take(node.nexus) is not None:
        pass  # what others did before is heard
    node.unit.look_again()
    fields = {"service_action": row.service_action} if row.service_action is not None else {}
    return node.run(row.layout.pack(**fields)).status == CONFLICT


@pytest.fixture
def whole() -> LogicalUnit:
    """A unit that has every command."""
    copies = CopyManager(lambda: 0.0, bytes)
    return LogicalUnit(memory(), UnitOptions(removable=True), clock=lambda: 0.0, copies=copies)


def test_every_row_of_the_table_is_a_row_of_ours(whole: LogicalUnit) -> None:
    assert set(ROWS) == set(TABLE)
    assert {row.name for row in whole.commands if not row.name.startswith(JUDGE_THEMSELVES)} == set(TABLE)
    assert {row.name for row in COMMANDS} == {row.name for row in whole.commands}


@pytest.mark.parametrize("kind", ReservationType)
def test_the_holder_may_everything_and_the_others_what_the_table_says(
    whole: LogicalUnit, kind: ReservationType
) -> None:
    holder, member, stranger = cluster(whole, kind)
    exclusive_access, registrants = kind in (EA, EA_RO, EA_AR), kind not in (WE, EA)
    for name, columns in TABLE.items():
        outside = columns[3:][exclusive_access] if registrants else columns[:2][exclusive_access]
        inside = columns[2] if registrants else columns[:2][exclusive_access]
        assert not conflicts(holder, name), name
        assert conflicts(stranger, name) == (outside == "x"), name
        assert conflicts(member, name) == (inside == "x"), name


def test_beside_reserve_of_spc_2_what_its_own_table_says(whole: LogicalUnit) -> None:
    holder, other = Node(whole, "holder"), Node(whole, "other")
    assert holder.run(cdb.RESERVE_6.pack()).good
    for name in TABLE:
        assert not conflicts(holder, name), name
        assert conflicts(other, name) == (name not in BESIDE_RESERVE), name


@pytest.mark.parametrize("kind", [WE, EA_RO])
def test_starting_the_unit_is_allowed_and_stopping_it_is_not(unit: LogicalUnit, kind: ReservationType) -> None:
    _, _, stranger = cluster(unit, kind)
    assert stranger.run(cdb.START_STOP_UNIT.pack(start=1)).good
    assert stranger.run(cdb.START_STOP_UNIT.pack(start=0)).status == CONFLICT
    assert stranger.run(cdb.START_STOP_UNIT.pack(start=1, power_condition=2)).status == CONFLICT


def test_rows_that_modify_are_never_open_to_others() -> None:
    for row in COMMANDS:
        if row.gates & Gate.MODIFIES:
            assert not row.gates & (Gate.SHARED | Gate.OPEN | Gate.SPC_2), row.name


def test_nothing_is_asked_while_nothing_is_reserved(unit: LogicalUnit) -> None:
    holder, member = Node(unit, "holder"), Node(unit, "member")
    assert unit.quiet
    holder.out("register", 0, 1)
    member.out("register", 0, 2)
    assert unit.quiet  # registrations alone stop nobody
    holder.out("reserve", 1, kind=WE)
    assert not unit.quiet
    holder.out("release", 1, kind=WE)
    assert unit.quiet


def test_a_change_is_seen_at_once_by_who_was_refused_before(unit: LogicalUnit) -> None:
    holder, _, stranger = cluster(unit, EA_RO)
    assert stranger.write().status == CONFLICT
    assert stranger.out("register", 0, 3).good
    assert stranger.write().good
    assert stranger.out("register", 3, 0).good
    assert stranger.write().status == CONFLICT
    assert holder.out("clear", 1).good
    assert stranger.write().good


def test_ports_of_one_host_are_told_apart_by_isid_and_target_port(unit: LogicalUnit) -> None:
    holder, _, _ = cluster(unit, EA)
    assert holder.write().good
    assert Node(unit, "holder", isid=2).write().status == CONFLICT
    assert Node(unit, "holder", port=2).write().status == CONFLICT


# -- RESERVE and RELEASE ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reserve", "release"), [(cdb.RESERVE_6, cdb.RELEASE_6), (cdb.RESERVE_10, cdb.RELEASE_10)])
def test_reserve_is_for_one_until_it_releases(unit: LogicalUnit, reserve, release) -> None:
    one, other = Node(unit, "one"), Node(unit, "other")
    assert one.run(reserve.pack()).good and one.run(reserve.pack()).good
    assert other.run(reserve.pack()).status == CONFLICT
    assert other.run(release.pack()).good  # and does nothing
    assert other.write().status == CONFLICT
    assert one.write().good
    assert one.run(release.pack()).good
    assert other.write().good and unit.quiet


@pytest.mark.parametrize("field", ["third_party", "extent"])
@pytest.mark.parametrize("layout", [cdb.RESERVE_6, cdb.RELEASE_6, cdb.RESERVE_10, cdb.RELEASE_10])
def test_third_parties_and_extents_are_refused(unit: LogicalUnit, layout, field: str) -> None:
    answer = Node(unit, "one").run(layout.pack(**{field: 1}))
    assert (answer.asc, answer.pointer) == (Asc.INVALID_FIELD_IN_CDB, (1, 4 if field == "third_party" else 0))


def test_a_reserve_ends_with_its_nexus(unit: LogicalUnit) -> None:
    one, other = Node(unit, "one"), Node(unit, "other")
    one.run(cdb.RESERVE_6.pack())
    one.logout()
    assert other.write().good


def test_a_reserve_ends_with_a_reset(unit: LogicalUnit) -> None:
    one, other = Node(unit, "one"), Node(unit, "other")
    one.run(cdb.RESERVE_6.pack())
    unit.manage(TaskManagement(Function.LOGICAL_UNIT_RESET, other.nexus), lambda code: None)
    assert other.hears() == [Asc.BUS_DEVICE_RESET]
    assert other.write().good


def test_persistent_reserve_is_a_conflict_for_everybody_while_reserve_holds(unit: LogicalUnit) -> None:
    one, other = Node(unit, "one"), Node(unit, "other")
    one.run(cdb.RESERVE_6.pack())
    for node in (one, other):
        assert node.out("register", 0, 1).status == CONFLICT
        for layout in (cdb.READ_KEYS, cdb.READ_RESERVATION, cdb.REPORT_CAPABILITIES, cdb.READ_FULL_STATUS):
            assert node.run(layout.pack(allocation_length=255)).status == CONFLICT


def test_reserve_beside_registrations_changes_nothing_for_a_holder_and_conflicts_else(unit: LogicalUnit) -> None:
    holder, member, stranger = cluster(unit, WE)  # SPC-4 "Exceptions to SPC-2 RESERVE and RELEASE behavior", CRH
    for layout in (cdb.RESERVE_6, cdb.RELEASE_6, cdb.RESERVE_10, cdb.RELEASE_10):
        assert holder.run(layout.pack()).good
        assert member.run(layout.pack()).status == CONFLICT
        assert stranger.run(layout.pack()).status == CONFLICT
    assert unit.reserved.spc_2_holder is None
    assert holder.reservation() == (WE, 1)


# -- who hears what --------------------------------------------------------------------------------------------------


def test_those_whose_registrations_are_taken_hear_it_and_the_others_do_not(unit: LogicalUnit) -> None:
    holder, member, stranger = cluster(unit, WE)
    assert member.out("preempt", 2, 1, WE).good
    assert (holder.hears(), member.hears(), stranger.hears()) == ([Asc.REGISTRATIONS_PREEMPTED], [], [])
    assert holder.write().status == CONFLICT and member.write().good


def test_a_host_that_was_away_hears_it_when_it_comes_back(unit: LogicalUnit) -> None:
    holder, member, _ = cluster(unit, WE)
    holder.logout()
    assert member.write().status == CONFLICT  # a registration outlives its session
    assert member.out("preempt", 2, 1, WE).good
    holder.login()
    assert holder.hears() == [Asc.REGISTRATIONS_PREEMPTED]
    holder.logout()
    holder.login()
    assert holder.hears() == []


def test_registrations_and_reservation_survive_logout_and_resets(unit: LogicalUnit) -> None:
    holder, member, _ = cluster(unit, EA)
    holder.logout()
    unit.manage(TaskManagement(Function.LOGICAL_UNIT_RESET, member.nexus), lambda code: None)
    member.hears()
    holder.login()
    assert holder.reservation() == (EA, 1)
    assert holder.write().good and member.write().status == CONFLICT


# -- one after the other, and aborts ---------------------------------------------------------------------------------


class Slow:
    """A unit whose storage waits for step(), with a holder and a member."""

    def __init__(self) -> None:
        self.backend = SlowBackend(memory())
        self.unit = LogicalUnit(self.backend)
        self.holder, self.member = Node(self.unit, "holder"), Node(self.unit, "member")
        assert self.holder.out("register", 0, 1).good and self.member.out("register", 0, 2).good

    def member_writes(self, lba: int = 0) -> Pending:
        return self.member.send(cdb.WRITE_10.pack(logical_block_address=lba, transfer_length=1), bytes(512))


def test_preempt_and_abort_is_over_when_storage_has_let_go_of_what_it_ended() -> None:
    slow = Slow()
    theirs = slow.member_writes()
    ours = slow.holder.send(cdb.READ_10.pack(transfer_length=1))
    fence = slow.holder.begin("preempt_and_abort", 1, 2, WE)
    assert not fence.ended and not theirs.ended
    same_block = slow.member_writes()
    assert not same_block.ended  # what was aborted is still under way there
    assert slow.member_writes(lba=1).answer.asc == Asc.REGISTRATIONS_PREEMPTED
    slow.backend.step()
    assert theirs.ended and theirs.answer.status == Status.TASK_ABORTED
    assert fence.ended and fence.answer.good
    assert not ours.ended  # nobody else's commands end
    slow.backend.run()
    assert ours.answer.good and same_block.answer.good  # it came after the attention that told of the preemption


@pytest.mark.parametrize("tas", [0, 1])
def test_who_preempts_its_own_key_ends_its_own_other_commands_without_a_word(tas: int) -> None:
    slow = Slow()  # SPC-4 5.13.11.2.6: all I_T nexuses with that key; TAS is for what another nexus ends (7.5.8)
    slow.unit.modes.put(0x0A, "tas", tas)
    shares = Node(slow.unit, "shares")
    assert shares.out("register", 0, 1).good
    ours = slow.holder.send(cdb.READ_10.pack(transfer_length=1))
    shared = shares.send(cdb.READ_10.pack(transfer_length=1))
    others = slow.member.send(cdb.READ_10.pack(transfer_length=1))
    assert slow.holder.out("reserve", 1, kind=WE).good
    fence = slow.holder.begin("preempt_and_abort", 1, 1, EA)
    slow.backend.run()
    assert fence.answer.good and others.answer.good
    assert ours.responses == [ABORTED]
    assert shared.answer.status == Status.TASK_ABORTED
    assert (shared.responses[0] is ABORTED) is not bool(tas)
    assert slow.holder.reservation() == (EA, 1) and slow.holder.keys()[1] == [1, 2]
    assert slow.member.hears() == [Asc.RESERVATIONS_RELEASED]
    assert shares.hears() == [Asc.REGISTRATIONS_PREEMPTED]


def test_a_fence_lets_go_of_the_medium_and_a_mere_preemption_does_not() -> None:  # SPC-4 5.13.11.2.6 h)
    unit = LogicalUnit(memory(), UnitOptions(removable=True))
    holder, member = Node(unit, "holder"), Node(unit, "member")
    assert holder.out("register", 0, 1).good
    for action, is_kept in (("preempt", True), ("preempt_and_abort", False)):
        member.hears()
        assert member.out("ignore", 0, 2).good
        assert member.run(cdb.PREVENT_ALLOW_MEDIUM_REMOVAL.pack(prevent=1)).good
        assert holder.out(action, 1, 2, WE).good
        assert unit.medium.is_kept is is_kept


def test_a_fence_ends_copies_that_go_on_in_the_background() -> None:  # SPC-4 5.13.11.2.6 d)
    backend = SlowBackend(memory())
    unit = LogicalUnit(backend, copies=CopyManager(lambda: 0.0, bytes))
    holder, member = Node(unit, "holder"), Node(unit, "member")
    assert holder.out("register", 0, 1).good and member.out("register", 0, 2).good
    data = lid4([cscd(unit)], [b2b(0, 0, 64, 0, 1024)], list_id=7, immed=1)
    copy = member.send(cdb.EXTENDED_COPY_LID4.pack(parameter_list_length=len(data)), data)
    assert copy.answer.good and unit.copies.running == 1
    fence = holder.begin("preempt_and_abort", 1, 2, WE)
    backend.run()
    assert fence.answer.good and unit.copies.running == 0
    assert unit.copies.find(member.nexus, 7).status is CopyStatus.TERMINATED


def test_preempt_without_abort_lets_commands_go_on() -> None:
    slow = Slow()
    theirs = slow.member_writes()
    assert slow.holder.begin("preempt", 1, 2, WE).answer.good
    slow.backend.run()
    assert theirs.answer.good


def test_a_fence_does_not_wait_for_a_command_that_waits_for_its_turn() -> None:
    slow = Slow()
    theirs = slow.member_writes()
    slow.holder.begin("ignore", 0, 1, flags=APTPL)  # storing: whoever comes now waits for its turn
    fence = slow.holder.begin("preempt_and_abort", 1, 2, WE)
    late = slow.member.begin("register", 2, 9)
    slow.backend.run()
    assert fence.ended and fence.answer.good
    assert theirs.ended and late.ended
    assert slow.holder.keys()[1] == [1]


def test_commands_wait_for_their_turn_in_order() -> None:
    slow = Slow()
    first = slow.holder.begin("register", 1, 11, flags=APTPL)
    second = slow.member.begin("register", 2, 22, flags=APTPL)
    assert slow.holder.keys()[1] == [1, 2]  # not before it is stable
    slow.backend.step()
    assert first.answer.good and not second.ended
    assert slow.holder.keys()[1] == [11, 2]
    slow.backend.run()
    assert second.answer.good and slow.holder.keys()[1] == [11, 22]


def test_a_change_that_was_stored_holds_although_its_command_was_aborted() -> None:
    slow = Slow()
    waiting = slow.holder.begin("register", 1, 11, flags=APTPL)
    slow.holder.logout()
    slow.backend.run()
    assert waiting.answer.status == Status.TASK_ABORTED
    assert slow.member.keys()[1] == [11, 2]
    again = slow.member.begin("register", 2, 22)  # and nobody is stuck
    slow.backend.run()
    assert again.answer.good


# -- what is remembered ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ReservationType)
def test_with_aptpl_a_restart_changes_nothing_but_the_generation(kind: ReservationType) -> None:
    backend = memory()
    holder, _, _ = cluster(LogicalUnit(backend), kind)
    assert holder.out("ignore", 0, 1, flags=APTPL).good
    before = holder.reservation()
    again = LogicalUnit(backend)
    holder, member, stranger = Node(again, "holder"), Node(again, "member"), Node(again, "stranger")
    assert holder.keys() == (0, [1, 2])
    assert holder.reservation() == before
    assert stranger.write().status == CONFLICT and holder.write().good
    assert member.out("preempt", 2, 1 if kind not in (WE_AR, EA_AR) else 0, kind).good
    assert Node(LogicalUnit(backend), "member").keys() == (0, [2])


def test_without_aptpl_a_restart_forgets_everything() -> None:
    backend = memory()
    holder, _, _ = cluster(LogicalUnit(backend), EA)
    holder.out("ignore", 0, 1, flags=APTPL)
    assert backend.load_sidecar() is not None
    assert holder.out("ignore", 0, 1).good
    again = LogicalUnit(backend)
    assert Node(again, "stranger").write().good and again.quiet


def test_nothing_is_stored_without_aptpl() -> None:
    backend = memory()
    holder, _, _ = cluster(LogicalUnit(backend), WE)
    holder.out("clear", 1)
    assert backend.load_sidecar() is None


def test_what_could_not_be_stored_did_not_happen() -> None:
    backend = FaultyBackend(memory())
    unit = LogicalUnit(backend)
    holder = Node(unit, "holder")
    for fault, asc in ((errno.ENOSPC, Asc.SPACE_ALLOCATION_FAILED), (errno.EROFS, Asc.WRITE_PROTECTED)):
        backend.fail("store_sidecar", fault)
        assert holder.out("register", 0, 1, flags=APTPL).asc == asc
        assert holder.keys() == (0, [])
    backend.fail("store_sidecar", errno.ENOTCONN, later=True)
    waiting = holder.begin("register", 0, 1, flags=APTPL)
    backend.run()
    assert waiting.answer.status == Status.BUSY and holder.keys() == (0, [])
    assert holder.out("register", 0, 1, flags=APTPL).good


def test_a_damaged_record_stops_the_disk_and_says_why_until_somebody_decides() -> None:
    backend = memory()
    backend.store_sidecar(b"nonsense", lambda outcome: None)
    unit = LogicalUnit(backend)
    node = Node(unit, "holder")
    for answer in (node.read(), node.write(), node.ready()):
        assert (answer.key, answer.asc) == (2, Asc.MANUAL_INTERVENTION_REQUIRED)
    assert node.run(cdb.INQUIRY.pack(allocation_length=36)).good
    assert "damaged" in unit.trouble
    unit.set_ready(None)
    assert not node.write().good
    unit.forget_record()
    assert node.write().good and not unit.trouble


GOOD_SECTION = section_of(State(3, {Registrant("iqn.a", bytes(6), "iqn.t", 1): 5}, WE, Registrant(
    "iqn.a", bytes(6), "iqn.t", 1), True))  # fmt: skip


def test_what_is_remembered_comes_back() -> None:
    assert state_from(GOOD_SECTION).type == WE
    assert section_of(state_from(GOOD_SECTION)) == GOOD_SECTION
    assert state_from(None) == State()


@pytest.mark.parametrize(
    "change",
    [
        {"type": 2},
        {"type": "x"},
        {"type": 0},  # but it has a holder
        {"type": 7},  # whose holder is everybody
        {"registrations": None},
        {"registrations": [{}]},
        {"registrations": []},
        {"registrations": [{**GOOD_SECTION["registrations"][0], "isid": "zz"}]},
        {"registrations": [{**GOOD_SECTION["registrations"][0], "key": 5}]},
    ],
)
def test_a_section_that_makes_no_sense_is_damage(change) -> None:
    section = {**GOOD_SECTION, **change}
    with pytest.raises(DamagedRecord):
        state_from(section)
    backend = memory()
    backend.store_sidecar(UnitRecord(1, {SECTION: section}).encode(), lambda outcome: None)
    assert "make no sense" in LogicalUnit(backend).trouble


# -- where the front keeps them --------------------------------------------------------------------------------------


def test_without_the_feature_the_commands_do_not_exist() -> None:
    unit = LogicalUnit(memory(), UnitOptions(reservations=False))
    node = Node(unit, "host")
    for layout in (cdb.RESERVE_6, cdb.RELEASE_10, cdb.READ_KEYS):
        assert node.run(layout.pack()).asc == Asc.INVALID_COMMAND_OPERATION_CODE
    assert node.listed("register", basic_list(0, 1)).asc == Asc.INVALID_COMMAND_OPERATION_CODE


def test_who_keeps_reservations_makes_no_difference_to_what_initiators_are_told() -> None:
    """LIO answers them before we are asked, so an initiator that looks for them must find them (SPC-4 6.35)."""
    told = []
    for options in (UnitOptions(), UnitOptions(reservations=False)):
        node = Node(LogicalUnit(memory(), options), "host")
        ask = cdb.REPORT_SUPPORTED_OPERATION_CODES.pack(allocation_length=4096)
        told.append(node.run(ask).data)
    assert told[0] == told[1] and len(told[0]) > 100
