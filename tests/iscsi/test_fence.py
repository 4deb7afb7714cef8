"""Task management over several connections.  Source: RFC 7143 4.2.2.3.3, 4.2.3.3."""

from __future__ import annotations

from tcmu_gluster.iscsi.pdu import NO_TAG, NOP_OUT, Opcode
from tcmu_gluster.scsi.command import Function
from tests.doubles.initiator import Initiator
from tests.doubles.iscsi_wire import Wire


def pair(hold: bool = False) -> tuple[Wire, Wire]:
    first = Wire({"MaxConnections": "2"}, hold=hold)
    initiator = Initiator(cid=1, tsih=first.initiator.tsih, cmd_sn=first.initiator.cmd_sn)
    initiator.keys = {"MaxRecvDataSegmentLength": "262144"}
    second = Wire(beside=first, initiator=initiator, hold=hold)
    for wire in (first, second):  # its ExpStatSN is known from now on
        acknowledge(wire)
    return first, second


def acknowledge(wire: Wire) -> None:
    initiator = wire.initiator
    initiator.queue(
        NOP_OUT, immediate=1, initiator_task_tag=NO_TAG, target_transfer_tag=NO_TAG, cmd_sn=initiator.cmd_sn
    )
    wire.pump()


def responses(wire: Wire) -> int:
    return len(wire.initiator.answers(Opcode.TASK_MANAGEMENT_RESPONSE))


def test_the_response_waits_until_answers_over_other_connections_are_acknowledged() -> None:
    first, second = pair()
    task = first.read(0, 512)
    first.pump()
    assert task.status == 0
    second.initiator.cmd_sn = first.initiator.cmd_sn
    second.initiator.manage(Function.LOGICAL_UNIT_RESET)
    second.pump()
    assert responses(second) == 0, "the initiator may not have the answer to its READ yet"
    first.pump()
    (ping,) = (
        answer for answer in first.initiator.answers(Opcode.NOP_IN) if answer.fields.initiator_task_tag == NO_TAG
    )
    assert ping.fields.target_transfer_tag != NO_TAG
    acknowledge(first)
    assert second.woken
    second.pump()
    assert responses(second) == 1


def test_a_connection_that_ends_keeps_nobody_waiting() -> None:
    first, second = pair()
    first.read(0, 512)
    first.pump()
    second.initiator.cmd_sn = first.initiator.cmd_sn
    second.initiator.manage(Function.LOGICAL_UNIT_RESET)
    second.pump()
    first.connection.closed(1.0)
    second.pump()
    assert responses(second) == 1


def test_the_response_does_not_wait_when_all_is_acknowledged() -> None:
    first, second = pair()
    first.read(0, 512)
    first.pump()
    acknowledge(first)
    second.initiator.cmd_sn = first.initiator.cmd_sn
    second.initiator.manage(Function.TARGET_WARM_RESET)
    second.pump()
    assert responses(second) == 1


def test_an_immediate_reset_waits_for_commands_that_were_sent_before_it_over_other_connections() -> None:
    first, second = pair(hold=True)
    task = first.read(0, 65536)
    late = first.initiator.take()
    second.initiator.cmd_sn = first.initiator.cmd_sn
    second.initiator.manage(Function.ABORT_TASK_SET)
    second.pump()
    assert not second.managed, "a command with a lower CmdSN has not come yet"
    first.give(late)
    assert [command.tag for command in first.held] == [task.tag]
    second.run()
    assert [request.function for request in second.managed] == [Function.ABORT_TASK_SET]


def test_an_abort_task_reaches_a_task_of_another_connection() -> None:
    first, second = pair()
    first.initiator.answer_r2t = False
    task = first.write(0, b"w" * 65536, immediate_data=0)
    first.pump()
    second.initiator.cmd_sn = first.initiator.cmd_sn
    second.initiator.manage(Function.ABORT_TASK, task=task)
    second.pump()
    (answer,) = second.initiator.answers(Opcode.TASK_MANAGEMENT_RESPONSE)
    assert answer.fields.response == 0 and first.pool.handed_out_bytes == 0
    first.pump()
    assert task.status is None
