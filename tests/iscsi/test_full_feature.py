"""NOP, task management, text, logout, SNACK."""

from __future__ import annotations

import itertools

import pytest

from tcmu_gluster.iscsi import pdu
from tcmu_gluster.iscsi.life import State
from tcmu_gluster.iscsi.settings import Settings
from tcmu_gluster.scsi.command import ABORTED, Function, ManagementResponse
from tests.doubles.initiator import Initiator, decode
from tests.doubles.iscsi_wire import TARGET, Directory, Entry, Wire


def reject_reasons(wire: Wire) -> list[int]:
    return [item.fields.reason for item in wire.initiator.answers(pdu.Opcode.REJECT)]


def management_answers(wire: Wire) -> list[int]:
    return [item.fields.response for item in wire.initiator.answers(pdu.Opcode.TASK_MANAGEMENT_RESPONSE)]


# -- NOP ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("immediate", [False, True])
@pytest.mark.parametrize("length", [0, 1, 4096])
def test_a_ping_comes_back_with_its_data(immediate: bool, length: int) -> None:
    wire = Wire()
    tag = wire.initiator.nop(b"p" * length, immediate=immediate)
    wire.pump()
    (answer,) = wire.initiator.answers(pdu.Opcode.NOP_IN)
    assert answer.data == b"p" * length
    assert (answer.fields.initiator_task_tag, answer.fields.target_transfer_tag) == (tag, pdu.NO_TAG)


def test_a_long_ping_is_cut_to_what_the_initiator_takes() -> None:
    wire = Wire({"MaxRecvDataSegmentLength": "512"})
    wire.initiator.nop(b"p" * 600)
    wire.pump()
    assert len(wire.initiator.answers(pdu.Opcode.NOP_IN)[0].data) == 512


def test_a_nop_without_task_tag_has_no_answer_and_must_be_immediate() -> None:
    wire = Wire()
    for immediate in (1, 0):
        wire.initiator.queue(pdu.NOP_OUT, immediate=immediate, initiator_task_tag=pdu.NO_TAG, target_transfer_tag=1)
    wire.pump()
    assert not wire.initiator.answers(pdu.Opcode.NOP_IN)
    assert reject_reasons(wire) == [pdu.RejectReason.PROTOCOL_ERROR]


def test_pings_out_of_turn_wait_for_their_turn() -> None:
    wire = Wire()
    first = wire.initiator.cmd_sn
    wire.initiator.cmd_sn += 1
    late = wire.initiator.nop()
    wire.pump()
    assert not wire.initiator.answers(pdu.Opcode.NOP_IN)
    wire.initiator.cmd_sn = first
    early = wire.initiator.nop()
    wire.pump()
    tags = [item.fields.initiator_task_tag for item in wire.initiator.answers(pdu.Opcode.NOP_IN)]
    assert tags == [early, late]


# -- task management ---------------------------------------------------------------------------------------------------


def test_abort_of_a_write_that_waits_for_data_ends_here() -> None:
    wire = Wire()
    wire.initiator.answer_r2t = False
    task = wire.write(0, b"w" * 65536, immediate_data=0)
    wire.pump()
    assert wire.pool.handed_out_bytes
    wire.initiator.manage(Function.ABORT_TASK, task=task)
    wire.pump()
    assert management_answers(wire) == [ManagementResponse.FUNCTION_COMPLETE]
    assert not wire.managed and wire.pool.handed_out_bytes == 0
    r2t = wire.initiator.answers(pdu.Opcode.R2T)[0].fields
    wire.initiator.data_out(task, 0, 65536, r2t.target_transfer_tag)  # it may still be on its way
    after = wire.read(0, 512)
    wire.pump()
    assert task.status is None and after.status == 0 and not reject_reasons(wire)


def test_abort_of_a_running_task_is_for_the_core_and_nothing_is_sent_for_the_task() -> None:
    wire = Wire(hold=True)
    wire.management_answer = None
    task = wire.read(0, 512)
    tag = wire.initiator.manage(Function.ABORT_TASK, task=task)
    wire.pump()
    (request,) = wire.managed
    assert (request.function, request.referenced_tag, request.tag) == (Function.ABORT_TASK, task.tag, tag)
    assert not management_answers(wire)
    wire.finish(ABORTED)
    wire.connection.complete_management(request, 0)
    wire.pump()
    assert task.status is None and management_answers(wire) == [0]


def test_abort_of_a_task_that_has_ended_does_not_exist() -> None:
    wire = Wire()
    task = wire.read(0, 512)
    wire.pump()
    wire.initiator.manage(Function.ABORT_TASK, task=task)
    wire.pump()
    assert task.status == 0 and management_answers(wire) == [ManagementResponse.TASK_DOES_NOT_EXIST]


def test_abort_of_a_command_that_never_came_counts_it_as_received() -> None:
    wire = Wire()
    missing = wire.initiator.scsi(bytes(16))
    wire.initiator.take()  # lost on the way
    after = wire.read(0, 512)
    wire.pump()
    assert after.status is None
    wire.initiator.manage(Function.ABORT_TASK, task=missing)
    wire.pump()
    assert management_answers(wire) == [ManagementResponse.FUNCTION_COMPLETE]
    assert after.status == 0, "the gap is closed"


def test_abort_with_another_lun_is_refused() -> None:
    wire = Wire(hold=True)
    task = wire.read(0, 512)
    wire.initiator.manage(Function.ABORT_TASK, task=task, lun=3)
    wire.pump()
    assert management_answers(wire) == [ManagementResponse.FUNCTION_REJECTED] and not wire.managed


@pytest.mark.parametrize("function", [
    Function.ABORT_TASK_SET, Function.CLEAR_TASK_SET, Function.LOGICAL_UNIT_RESET, Function.TARGET_WARM_RESET,
])  # fmt: skip
@pytest.mark.parametrize("immediate", [True, False])
def test_wide_functions_drop_what_waits_and_pass_on_the_rest(function: Function, immediate: bool) -> None:
    wire = Wire(hold=True)
    wire.initiator.answer_r2t = False
    waiting = wire.write(0, b"w" * 4096, immediate_data=0)
    other_lun = wire.write(0, b"w" * 4096, immediate_data=0, lun=1)
    wire.pump()
    wire.initiator.manage(function, immediate=immediate)
    wire.pump()
    assert [request.function for request in wire.managed] == [function]
    tasks = wire.connection.session.tasks
    assert waiting.tag not in tasks
    assert (other_lun.tag in tasks) is (function is not Function.TARGET_WARM_RESET)
    assert management_answers(wire) == [0]


@pytest.mark.parametrize(("function", "answer"), [
    (Function.CLEAR_ACA, ManagementResponse.FUNCTION_NOT_SUPPORTED),
    (Function.TASK_REASSIGN, ManagementResponse.TASK_REASSIGN_NOT_SUPPORTED),
    (0, ManagementResponse.FUNCTION_NOT_SUPPORTED), (127, ManagementResponse.FUNCTION_NOT_SUPPORTED),
])  # fmt: skip
def test_other_functions_are_refused(function: int, answer: int) -> None:
    wire = Wire()
    wire.initiator.manage(function)
    wire.pump()
    assert management_answers(wire) == [answer] and not wire.managed


def test_cold_reset_answers_and_ends_every_session_with_the_target() -> None:
    wire = Wire()
    other = Wire(beside=wire, initiator=Initiator(name="iqn.2026-01.example:other"))
    discovery = Wire(beside=wire, initiator=Initiator(discovery=True))
    wire.initiator.manage(Function.TARGET_COLD_RESET)
    wire.pump()
    assert management_answers(wire) == [0]
    assert wire.connection.wants_close and other.connection.wants_close and not discovery.connection.wants_close
    other.run()
    assert type(other.events[-1]).__name__ == "SessionEnded"


def test_immediate_requests_at_once_are_bounded() -> None:
    wire = Wire(settings=Settings(immediate_commands=2))
    wire.management_answer = None
    for _ in range(3):
        wire.initiator.manage(Function.LOGICAL_UNIT_RESET)
    wire.pump()
    assert len(wire.managed) == 2 and reject_reasons(wire) == [pdu.RejectReason.IMMEDIATE_COMMAND_REJECT]
    wire.connection.complete_management(wire.managed[0], 0)
    wire.initiator.manage(Function.LOGICAL_UNIT_RESET)
    wire.pump()
    assert len(wire.managed) == 3


# -- text --------------------------------------------------------------------------------------------------------------


def text_answer(wire: Wire) -> list[tuple[str, str]]:
    return decode(b"".join(item.data for item in wire.initiator.answers(pdu.Opcode.TEXT_RESPONSE)))


def test_discovery_shows_the_targets() -> None:
    wire = Wire(initiator=Initiator(discovery=True))
    wire.initiator.text({"SendTargets": "All"})
    wire.pump()
    assert text_answer(wire) == [("TargetName", TARGET), ("TargetAddress", "192.0.2.1:3260,1")]
    (answer,) = wire.initiator.answers(pdu.Opcode.TEXT_RESPONSE)
    assert answer.fields.final and answer.fields.target_transfer_tag == pdu.NO_TAG


def test_a_long_answer_goes_over_several_pdus() -> None:
    entries = [Entry(f"iqn.2026-01.example:{number:04}") for number in range(200)]
    wire = Wire(initiator=Initiator(discovery=True, keys={}), directory=Directory(*entries), login=False)
    wire.initiator.keys = {"MaxRecvDataSegmentLength": "1024"}
    wire.initiator.login()
    wire.pump()
    tag = wire.initiator.text({"SendTargets": "All"})
    for _ in range(100):
        wire.pump()
        last = wire.initiator.answers(pdu.Opcode.TEXT_RESPONSE)[-1].fields
        assert bool(last.continues) is (last.target_transfer_tag != pdu.NO_TAG) is not bool(last.final)
        if last.final:
            break
        wire.initiator.text({}, initiator_task_tag=tag, target_transfer_tag=last.target_transfer_tag)
    names = [value for key, value in text_answer(wire) if key == "TargetName"]
    assert names == [entry.name for entry in entries]


def test_a_request_over_several_pdus() -> None:
    wire = Wire(initiator=Initiator(discovery=True))
    initiator = wire.initiator
    tag = initiator.text({}, final=False, continues=True)
    initiator.take()
    initiator.cmd_sn -= 1
    initiator.queue(
        pdu.TEXT_REQUEST, b"SendTar", continues=1, initiator_task_tag=tag, target_transfer_tag=pdu.NO_TAG,
        cmd_sn=initiator.number(),
    )  # fmt: skip
    wire.pump()
    answer = initiator.answers(pdu.Opcode.TEXT_RESPONSE)[-1].fields
    assert not answer.final and answer.target_transfer_tag != pdu.NO_TAG
    initiator.queue(
        pdu.TEXT_REQUEST, b"gets=All\0", final=1, initiator_task_tag=tag, cmd_sn=initiator.number(),
        target_transfer_tag=answer.target_transfer_tag,
    )  # fmt: skip
    wire.pump()
    assert ("TargetName", TARGET) in text_answer(wire)


def test_a_request_without_end_is_refused_and_forgotten() -> None:
    """16 KiB are what all PDUs of one request may hold together (RFC 7143 6.1 asks for 8 KiB at least)."""
    wire = Wire(initiator=Initiator(discovery=True))
    initiator = wire.initiator
    tag, transfer_tag = initiator.next_tag(), pdu.NO_TAG
    for number in range(5):
        initiator.queue(
            pdu.TEXT_REQUEST, b"X-a=" + b"a" * 4000, continues=1, initiator_task_tag=tag, cmd_sn=initiator.number(),
            target_transfer_tag=transfer_tag,
        )  # fmt: skip
        wire.pump()
        if number < 4:
            transfer_tag = initiator.answers(pdu.Opcode.TEXT_RESPONSE)[-1].fields.target_transfer_tag
    assert reject_reasons(wire) == [pdu.RejectReason.PROTOCOL_ERROR] and not wire.connection.owes
    initiator.text({"SendTargets": "All"})
    wire.pump()
    assert ("TargetName", TARGET) in text_answer(wire)


def test_keys_in_full_feature_phase() -> None:
    wire = Wire()
    wire.initiator.text({"SendTargets": "", "X-org.example.a": "1", "Unknown": "2", "MaxRecvDataSegmentLength": "4096"})
    wire.initiator.keys["MaxRecvDataSegmentLength"] = "4096"
    wire.pump()
    answers = dict(text_answer(wire))
    assert answers["TargetName"] == TARGET
    assert answers["X-org.example.a"] == answers["Unknown"] == "NotUnderstood"
    task = wire.read(0, 8192)
    wire.pump()
    assert task.status == 0 and task.data_sn == 2, "the new segment length is used"


@pytest.mark.parametrize(("text", "fields", "reason"), [
    ({"MaxBurstLength": "65536"}, {}, pdu.RejectReason.PROTOCOL_ERROR),
    ({"TargetAddress": "x"}, {}, pdu.RejectReason.PROTOCOL_ERROR),
    ({}, {"target_transfer_tag": 99}, pdu.RejectReason.INVALID_PDU_FIELD),
    ({}, {"continues": True}, pdu.RejectReason.PROTOCOL_ERROR),
])  # fmt: skip
def test_bad_text_is_rejected(text: dict[str, str], fields: dict[str, int], reason: int) -> None:
    wire = Wire()
    wire.initiator.text(text, **fields)
    wire.pump()
    assert reject_reasons(wire) == [reason]
    wire.initiator.nop()
    wire.pump()
    assert len(wire.initiator.answers(pdu.Opcode.NOP_IN)) == 1


def test_all_is_not_for_normal_sessions() -> None:
    wire = Wire()
    wire.initiator.text({"SendTargets": "All"})
    wire.pump()
    assert text_answer(wire) == [("SendTargets", "Reject")]


# -- logout and the rest -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reason", "cid", "response", "closes"), [
    (0, 0, 0, True), (1, 0, 0, True), (1, 5, 1, False), (2, 0, 2, False),
])  # fmt: skip
def test_logout(reason: int, cid: int, response: int, closes: bool) -> None:
    wire = Wire()
    wire.initiator.logout(reason, cid)
    wire.pump()
    (answer,) = wire.initiator.answers(pdu.Opcode.LOGOUT_RESPONSE)
    assert answer.fields.response == response
    assert wire.connection.wants_close is closes
    assert (len(wire.registry) == 0) is closes
    assert (type(wire.events[-1]).__name__ == "SessionEnded") is closes


def test_logout_for_an_unknown_reason_is_rejected() -> None:
    wire = Wire()
    wire.initiator.logout(9)
    wire.pump()
    assert reject_reasons(wire) == [pdu.RejectReason.INVALID_PDU_FIELD]
    assert wire.connection.state is State.FULL_FEATURE


def test_nothing_is_taken_after_a_logout_and_running_commands_are_not_answered() -> None:
    wire = Wire(hold=True)
    task = wire.read(0, 512)
    wire.initiator.logout()
    wire.initiator.nop()
    wire.pump()
    assert wire.connection.wants_close and not wire.initiator.answers(pdu.Opcode.NOP_IN)
    wire.finish()
    wire.pump()
    assert task.status is None


def test_snack_is_refused_politely() -> None:
    wire = Wire()
    wire.initiator.queue(pdu.SNACK_REQUEST, type=0, initiator_task_tag=pdu.NO_TAG)
    wire.pump()
    assert reject_reasons(wire) == [pdu.RejectReason.SNACK_REJECT]


@pytest.mark.parametrize("opcode", [code for code in range(64) if code not in set(pdu.Opcode)] + [0x20, 0x25, 0x3F])
def test_opcodes_that_no_initiator_may_send_are_rejected(opcode: int) -> None:
    wire = Wire()
    header = bytearray(pdu.NOP_OUT.pack(immediate=1, initiator_task_tag=1))
    header[0] = 0x40 | opcode
    wire.give(bytes(header))
    wire.pump()
    assert reject_reasons(wire) == [pdu.RejectReason.COMMAND_NOT_SUPPORTED]
    assert wire.initiator.answers(pdu.Opcode.REJECT)[0].data == bytes(header)


def test_discovery_sessions_take_text_and_logout_alone() -> None:
    wire = Wire(initiator=Initiator(discovery=True))
    wire.initiator.nop()
    wire.initiator.manage(Function.LOGICAL_UNIT_RESET)
    wire.initiator.scsi(bytes(16))
    wire.pump()
    assert reject_reasons(wire) == [pdu.RejectReason.COMMAND_NOT_SUPPORTED] * 3
    wire.initiator.logout()
    wire.pump()
    assert wire.connection.wants_close


def test_every_order_of_four_requests_of_different_kinds_is_answered_in_order_of_cmd_sn() -> None:
    for order in itertools.permutations(range(4)):
        wire = Wire()
        pieces = []
        initiator = wire.initiator
        for make in (
            lambda i=initiator: i.nop(),
            lambda w=wire: w.read(0, 512),
            lambda i=initiator: i.manage(Function.LOGICAL_UNIT_RESET, immediate=False),
            lambda i=initiator: i.text({"SendTargets": ""}),
        ):
            make()
            pieces.append(initiator.take())
        seen = len(initiator.every)
        for index in order:
            wire.give(pieces[index])
        wire.pump()
        assert {item.opcode for item in initiator.every[seen:]} == {0x20, 0x25, 0x22, 0x24}, order
        assert initiator.every[-1].fields.exp_cmd_sn == initiator.cmd_sn
