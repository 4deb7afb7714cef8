"""ErrorRecoveryLevel 2: tasks go on over another connection.  Source: RFC 7143 7.1.3, 7.2.2, 11.5, 11.14."""

from __future__ import annotations

from typing import Any, Optional

import pytest

from tcmu_gluster.iscsi.pdu import Opcode
from tcmu_gluster.iscsi.settings import Settings
from tcmu_gluster.iscsi.task_set import SessionEnded
from tcmu_gluster.scsi.command import ABORTED, Function
from tests.doubles.initiator import Task
from tests.doubles.iscsi_wire import Wire
from tests.doubles.recovering import Recovering

KEYS = {"MaxConnections": "4", "MaxRecvDataSegmentLength": "8192", "MaxBurstLength": "65536"}
CONTENTS = bytes(range(256)) * 4096
COMPLETE, DOES_NOT_EXIST, STILL_ALLEGIANT, NOT_SUPPORTED, REJECTED = 0, 1, 3, 4, 255  # RFC 7143 11.6.1
WAIT_AND_RETAIN = 22.0


def first_wire(level: int = 2, **more: Any) -> Wire:
    wire = Wire(initiator=Recovering(KEYS, level=level), **more)
    wire.disk.bytes[:] = CONTENTS
    assert wire.initiator.agreed["ErrorRecoveryLevel"] == str(level)
    return wire


def join(first: Wire, cid: int = 1, hold: Optional[bool] = None, segment: str = "8192") -> Wire:
    """A further connection, with the CmdSN that is due."""
    initiator = Recovering(level=2, cid=cid, tsih=first.initiator.tsih, cmd_sn=first.initiator.cmd_sn)
    initiator.keys = {"MaxRecvDataSegmentLength": segment}
    wire = Wire(beside=first, initiator=initiator, hold=first.hold if hold is None else hold, now=first.now)
    initiator.agreed = {**first.initiator.agreed, **initiator.agreed}
    return wire


def move(wire: Wire, task: Task, exp_data_sn: int = 0) -> int:
    """TASK REASSIGN of a task to wire's connection: the response."""
    initiator = wire.initiator
    initiator.tasks[task.tag] = task
    tag = initiator.manage(Function.TASK_REASSIGN, task=task, exp_data_sn=exp_data_sn)
    wire.pump()
    return next(
        int(answer.fields.response)
        for answer in initiator.answers(Opcode.TASK_MANAGEMENT_RESPONSE)
        if answer.fields.initiator_task_tag == tag
    )


def lose(wire: Wire, now: float = 0.0) -> None:
    """The transport is gone."""
    wire.connection.closed(now)
    wire.run()


def log_out(wire: Wire, cid: int) -> int:
    """Remove connection cid for recovery, over this one: the response."""
    wire.initiator.logout(reason=2, cid=cid)
    wire.pump()
    return int(wire.initiator.answers(Opcode.LOGOUT_RESPONSE)[-1].fields.response)


def nothing_is_left(*wires: Wire) -> None:
    for wire in wires:
        wire.connection.closed(100.0)
        wire.run()
    wires[0].registry.handle_timeout(1000.0)
    for wire in wires:
        wire.run()
        wire.finish(ABORTED)
        wire.fetch()
    assert wires[0].pool.handed_out_bytes == 0 and wires[0].pool.waiting == 0 and len(wires[0].registry) == 0
    session = wires[0].connection.session
    assert session is not None and not session.tasks and not session.parked and not session.lost
    assert all(wire.connection.share.used_bytes == 0 for wire in wires)


# -- a task in each state ---------------------------------------------------------------------------------------


def test_a_task_that_executes_is_answered_over_the_connection_it_was_reassigned_to() -> None:
    first = first_wire(hold=True)
    second = join(first)
    task = first.read(8, 65536)
    first.pump()
    lose(first)
    assert log_out(second, 0) == 0
    assert move(second, task) == COMPLETE and task.status is None
    first.finish()
    assert second.woken
    second.pump()
    assert task.status == 0 and task.data == CONTENTS[4096 : 4096 + 65536]
    nothing_is_left(first, second)


def test_a_task_that_ended_meanwhile_is_answered_when_it_is_reassigned() -> None:
    first = first_wire(hold=True)
    second = join(first)
    task, write = first.read(8, 65536), first.write(0, b"w" * 512)
    first.pump()
    lose(first)
    first.finish()
    assert log_out(second, 0) == 0
    assert move(second, task) == COMPLETE and move(second, write) == COMPLETE
    assert task.status == 0 and task.data == CONTENTS[4096 : 4096 + 65536]
    assert write.status == 0 and first.disk.bytes[:512] == b"w" * 512
    nothing_is_left(first, second)


@pytest.mark.parametrize("segment", ["8192", "4096", "65536"])
def test_an_answer_whose_status_was_not_acknowledged_is_given_again_from_the_data_that_lacks(segment: str) -> None:
    first = first_wire()
    second = join(first, segment=segment)
    initiator = first.initiator
    assert isinstance(initiator, Recovering)
    initiator.asks = False
    for index in range(3, 8):
        initiator.lose(Opcode.DATA_IN, index)
    initiator.lose(Opcode.SCSI_RESPONSE)
    task = first.read(8, 65536)
    first.pump()
    lose(first)
    log_out(second, 0)
    assert isinstance(second.initiator, Recovering)
    second.initiator._data[task.tag] = dict(initiator._data[task.tag])
    start = len(second.initiator.every)
    assert move(second, task, exp_data_sn=3) == COMPLETE  # 11.5.6: the first that is not acknowledged
    again = [answer.fields for answer in second.initiator.every[start:] if answer.opcode == Opcode.DATA_IN]
    assert again[0].data_sn == 3 and again[0].buffer_offset == 3 * 8192
    assert task.status == 0 and task.data == CONTENTS[4096 : 4096 + 65536]
    nothing_is_left(first, second)


def test_an_answer_that_was_acknowledged_is_not_there_any_more() -> None:
    first = first_wire()
    second = join(first)
    task = first.read(8, 512)
    first.pump()
    first.initiator.nop(immediate=True)  # it carries ExpStatSN
    first.pump()
    lose(first)
    log_out(second, 0)
    assert move(second, task) == DOES_NOT_EXIST
    nothing_is_left(first, second)


@pytest.mark.parametrize("sent", [0, 3])
def test_data_that_was_owed_is_asked_for_over_the_new_connection(sent: int) -> None:
    first = first_wire()
    second = join(first)
    first.initiator.agreed["MaxRecvDataSegmentLength"] = "8192"
    first.initiator.answer_r2t = False
    data = b"".join(bytes((number,)) * 8192 for number in range(16))
    task = first.write(0, data, immediate_data=0)
    first.pump()
    (r2t,) = first.initiator.answers(Opcode.R2T)
    first.initiator.data_out(task, 0, 65536, r2t.fields.target_transfer_tag)
    stream = first.initiator.take()
    first.give(stream[: (8192 + 48) * sent + 100])
    lose(first)
    log_out(second, 0)
    start = len(second.initiator.every)
    assert move(second, task) == COMPLETE
    r2ts = [answer.fields for answer in second.initiator.every[start:] if answer.opcode == Opcode.R2T]
    assert [(r2t.r2t_sn, r2t.buffer_offset) for r2t in r2ts] == [(1, 8192 * sent), (2, 65536)]
    assert task.status == 0 and first.disk.bytes[: len(data)] == data
    nothing_is_left(first, second)


def test_a_task_that_waits_for_its_turn_can_be_reassigned_too() -> None:
    first = first_wire()
    second = join(first)
    missing = first.initiator.number()
    task = first.read(0, 65536)
    first.pump()
    lose(first)
    log_out(second, 0)
    assert move(second, task) == COMPLETE and task.status is None
    second.initiator.cmd_sn = missing
    other = second.read(0, 512)
    second.pump()
    assert other.status == 0 and task.status == 0 and task.data == CONTENTS[:65536]
    nothing_is_left(first, second)


@pytest.mark.parametrize("write", [False, True])
def test_a_task_that_waits_for_memory_can_be_reassigned_too(write: bool) -> None:
    first = first_wire(hold=True)
    taken = first.pool.take(first.pool.limit_bytes)
    assert taken is not None
    second = join(first)
    task = first.write(0, b"m" * 65536, immediate_data=0) if write else first.read(0, 65536)
    first.pump()
    assert not first.held
    lose(first)
    log_out(second, 0)
    assert move(second, task) == COMPLETE
    first.pool.give(taken)
    second.pump()
    second.finish()
    second.pump()
    assert task.status == 0
    nothing_is_left(first, second)


def test_commands_that_the_shell_had_not_fetched_are_still_executed() -> None:
    first = first_wire()
    second = join(first)
    task = first.write(0, b"f" * 512)
    stream = first.initiator.take()
    view = first.connection.receive_buffer()
    view[: len(stream)] = stream
    first.connection.received(len(stream), 0.0)
    lose(first)
    log_out(second, 0)
    assert move(second, task) == COMPLETE and task.status == 0 and first.disk.bytes[:512] == b"f" * 512
    nothing_is_left(first, second)


# -- who may ----------------------------------------------------------------------------------------------------


def test_a_task_stays_where_it_is_until_its_connection_is_logged_out() -> None:
    first = first_wire(hold=True)
    second = join(first)
    task = first.read(0, 512)
    first.pump()
    assert move(second, task) == STILL_ALLEGIANT, "the connection lives"
    lose(first)
    assert move(second, task) == STILL_ALLEGIANT, "nobody said that it is gone"
    assert log_out(second, 0) == 0 and move(second, task) == COMPLETE
    nothing_is_left(first, second)


def test_tasks_do_not_move_below_level_2() -> None:
    first = first_wire(level=1, hold=True)
    second = join(first)
    task = first.read(0, 512)
    first.pump()
    assert move(second, task) == NOT_SUPPORTED
    assert log_out(second, 0) == 2  # 11.15.1: connection recovery is not supported
    lose(first)
    assert first.managed[0].function is Function.ABORT_TASK


def test_a_living_connection_can_be_removed_for_recovery() -> None:
    first = first_wire(hold=True)
    second = join(first)
    task = first.read(0, 512)
    first.pump()
    assert log_out(second, 0) == 0 and first.connection.wants_close
    assert log_out(second, 7) == 1  # CID not found
    assert move(second, task) == COMPLETE
    first.finish()
    second.pump()
    assert task.status == 0
    nothing_is_left(first, second)


def test_a_task_of_another_lun_is_not_reassigned() -> None:
    first = first_wire(hold=True)
    second = join(first)
    task = first.read(0, 512, lun=1)
    first.pump()
    lose(first)
    log_out(second, 0)
    assert move(second, task) == REJECTED
    nothing_is_left(first, second)


# -- the last connection ----------------------------------------------------------------------------------------


def test_a_session_outlives_its_only_connection_and_a_login_with_its_cid_logs_it_out() -> None:
    first = first_wire(hold=True)
    task = first.read(0, 512)
    first.pump()
    lose(first)
    assert len(first.registry) == 1 and not any(isinstance(event, SessionEnded) for event in first.events)
    again = join(first, cid=0)  # 6.3.4: connection reinstatement
    assert move(again, task) == COMPLETE
    first.finish()
    again.pump()
    assert task.status == 0
    nothing_is_left(first, again)


def test_a_login_with_the_cid_of_a_living_connection_frees_its_tasks() -> None:
    first = first_wire(hold=True)
    task = first.read(0, 512)
    first.pump()
    again = join(first, cid=0)
    assert first.connection.wants_close and move(again, task) == COMPLETE
    nothing_is_left(first, again)


def test_a_session_whose_connections_do_not_come_back_ends() -> None:
    first = first_wire(hold=True)
    first.read(0, 65536)
    first.pump()
    lose(first, 10.0)
    first.registry.handle_timeout(10.0 + WAIT_AND_RETAIN - 0.1)
    assert len(first.registry) == 1
    first.registry.handle_timeout(10.0 + WAIT_AND_RETAIN)
    assert len(first.registry) == 0 and first.woken
    first.run()
    assert isinstance(first.events[-1], SessionEnded)
    first.finish(ABORTED)
    nothing_is_left(first)


def test_tasks_that_are_not_reassigned_in_time_end() -> None:
    first = first_wire(hold=True)
    second = join(first)
    executing, waiting = first.read(0, 512), first.write(0, b"w" * 65536, immediate_data=0)
    first.initiator.answer_r2t = False
    first.pump()
    lose(first)
    first.management_answer = None
    first.registry.handle_timeout(WAIT_AND_RETAIN)
    first.run()
    (abort,) = first.managed
    assert (abort.function, abort.referenced_tag, abort.asked) == (Function.ABORT_TASK, executing.tag, False)
    first.finish(ABORTED)
    assert first.pool.handed_out_bytes == 0 and len(first.registry) == 1
    log_out(second, 0)
    assert move(second, waiting) == DOES_NOT_EXIST
    nothing_is_left(first, second)


def test_a_new_session_ends_what_was_kept_for_the_old_one() -> None:
    first = first_wire(hold=True)
    first.read(0, 65536)
    first.pump()
    lose(first)
    again = Wire(beside=first, initiator=Recovering(KEYS, level=2))
    first.run()
    assert isinstance(first.events[-1], SessionEnded) and len(first.registry) == 1
    first.finish(ABORTED)
    nothing_is_left(again)


@pytest.mark.parametrize("reason", [0, 1])
def test_a_logout_that_closes_ends_the_tasks_of_a_lost_connection(reason: int) -> None:
    first = first_wire()
    second = join(first)
    initiator = first.initiator
    initiator.answer_r2t = False
    first.write(0, b"w" * 65536, immediate_data=0)
    first.pump()
    lose(first)
    assert first.pool.handed_out_bytes
    second.initiator.logout(reason=reason, cid=0)
    second.pump()
    assert second.initiator.answers(Opcode.LOGOUT_RESPONSE)[-1].fields.response == 0
    assert first.pool.handed_out_bytes == 0
    nothing_is_left(first, second)


def test_a_reset_ends_tasks_that_wait_for_a_connection() -> None:
    first = first_wire(hold=True)
    second = join(first)
    task = first.read(0, 65536)
    first.pump()
    lose(first)
    first.finish()
    second.initiator.manage(Function.LOGICAL_UNIT_RESET)
    second.pump()
    log_out(second, 0)
    assert move(second, task) == DOES_NOT_EXIST and first.pool.handed_out_bytes == 0
    nothing_is_left(first, second)


# -- what the others hear -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "retain"), [(0, 0), (1, 0), (2, 20)])
def test_the_other_connection_hears_of_a_connection_that_is_dropped(level: int, retain: int) -> None:
    first = first_wire(level)
    second = join(first)
    first.connection.handle_timeout(10.0)
    first.connection.handle_timeout(20.0)
    second.pump()
    (message,) = second.initiator.answers(Opcode.ASYNC_MESSAGE)  # 11.9.1: event 2, CID, Time2Wait, Time2Retain
    fields = message.fields
    assert (fields.async_event, fields.parameter1, fields.parameter2, fields.parameter3) == (2, 0, 2, retain)


def test_time2wait_and_time2retain_are_in_the_logout_response() -> None:
    first = first_wire(settings=Settings(default_time2wait=4, default_time2retain=7))
    first.initiator.logout()
    first.pump()
    (answer,) = first.initiator.answers(Opcode.LOGOUT_RESPONSE)
    assert (answer.fields.time2wait, answer.fields.time2retain) == (4, 7)
