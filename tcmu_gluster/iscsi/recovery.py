"""Connection recovery, ErrorRecoveryLevel 2: the tasks of a lost connection go on over another one.

    a connection is lost ── its tasks are kept ── logout "for recovery", or a login with its CID ── TASK REASSIGN each
                                 └── DefaultTime2Wait + DefaultTime2Retain later: they end

A task that executes goes on meanwhile; what it answers is kept. An answer whose status was not acknowledged counts as
not given.  Source: RFC 7143 6.3.4, 7.1.3, 7.2.2, 11.5, 11.9, 11.14.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

from tcmu_gluster.iscsi.keeper import Answer
from tcmu_gluster.iscsi.life import Input
from tcmu_gluster.iscsi.pdu import ASYNC_MESSAGE, NO_TAG, AsyncEvent
from tcmu_gluster.iscsi.task_set import ANSWERED, ENDED, EXECUTING, PREPARING, IscsiCommand, IscsiTaskManagement
from tcmu_gluster.scsi.command import ABORTED, Function, ManagementResponse, Response

if TYPE_CHECKING:
    from tcmu_gluster.iscsi.connection import Connection
    from tcmu_gluster.iscsi.session import Session

FAILURES = frozenset((Input.LOST, Input.TIMED_OUT, Input.PROTOCOL_ERROR))
"""How a connection fails, in contrast to how it is closed."""


@dataclass
class Lost:
    """A connection that failed. until: when its tasks end. free: the initiator has logged it out, tasks may move."""

    until: float
    free: bool


@dataclass
class Parked:
    """The answer of a task whose connection was lost; sent is what was sent of it, if anything was."""

    response: Response
    sent: Optional[Answer] = None


def retains(session: Session) -> bool:
    """Whether tasks of this session outlive their connection."""
    return session.parameters.error_recovery_level == 2 and not session.ended


def abort_executing(connection: Connection, session: Session) -> None:
    """The session lives on, but tasks belong to the connection they came over (RFC 7143 4.2.2)."""
    if session.ended:
        return
    for task in session.tasks.allegiant_to(connection):
        request = IscsiTaskManagement(
            Function.ABORT_TASK, session.nexus, lun=task.lun, referenced_tag=task.tag, tag=NO_TAG
        )
        request.asked = False
        connection.emit(request)
        del session.tasks[task.tag]  # the initiator may use the tag again


def keep_tasks(connection: Connection, session: Session, now: float, *, free: bool) -> None:
    """The connection has stopped: its tasks wait."""
    intake, responder, keeper = connection.intake, connection.responder, connection.output.keeper
    responder.elsewhere = lambda command, response: _answered(connection, session, command, response)
    intake.suspended = True
    ask_again(connection, session)
    for answer in keeper.give_up() if keeper is not None else ():
        command = answer.command
        if command.tag in session.tasks:
            assert keeper is not None
            keeper.free([answer])
            continue
        command.phase = ANSWERED
        session.tasks[command.tag] = command
        session.parked[command.tag] = Parked(answer.response, answer)
    session.lost[connection] = Lost(now + _seconds(session), free)


def ask_again(connection: Connection, session: Session) -> None:
    """Data-Out that is owed doesn't come: what is missing is asked for by recovery R2Ts (RFC 7143 7.1.4.1)."""
    intake = connection.intake
    for command in session.tasks.allegiant_to(connection):
        transfer = command.transfer
        if transfer is not None and transfer.bursts:
            intake.open_bursts -= transfer.give_up_bursts()
            intake.pump(command, transfer)


def _seconds(session: Session) -> int:
    return session.parameters.default_time2wait + session.parameters.default_time2retain


def _answered(lost: Connection, session: Session, command: IscsiCommand, response: Response) -> bool:
    """A task that began on a lost connection has ended."""
    if command.connection is not lost:
        command.connection.responder.complete(command, response)
        command.connection.wake()
        return True
    if response is ABORTED or session.tasks.get(command.tag) is not command:
        return False
    command.phase = ANSWERED
    session.parked[command.tag] = Parked(response)
    if command.numbered:
        session.window.ended()
    else:
        lost.intake.immediate_running -= 1
    return True


def log_out(session: Session, cid: int, now: float) -> bool:
    """The initiator says that a lost connection is gone: its tasks may be reassigned. False: none is lost."""
    found = [lost for connection, lost in session.lost.items() if connection.cid == cid]
    for lost in found:
        lost.free, lost.until = True, now + _seconds(session)
    return bool(found)


def give_up(session: Session, connection: Connection) -> None:
    """The tasks of a lost connection end, those in the SCSI core by an ABORT TASK that nobody asked for."""
    del session.lost[connection]
    for task in session.tasks.allegiant_to(connection):
        if task.phase is EXECUTING:
            request = IscsiTaskManagement(
                Function.ABORT_TASK, session.nexus, lun=task.lun, referenced_tag=task.tag, tag=NO_TAG
            )
            request.asked = False
            connection.emit(request)
            del session.tasks[task.tag]
        else:
            drop(session, task)
    connection.wake()


def drop(session: Session, task: IscsiCommand) -> None:
    """A task that isn't executing ends without a word."""
    session.parked.pop(task.tag, None)
    task.connection.intake.drop(task)


def end_waiting(session: Session) -> None:
    """The session ends: tasks that wait for a connection end without a word; the SCSI core ends the others."""
    for connection in session.lost:
        for task in session.tasks.allegiant_to(connection):
            if task.phase is not EXECUTING:
                drop(session, task)
    for connection in session.lost:
        connection.withdraw()  # what the memory of those that were dropped let begin meanwhile
    session.lost.clear()


def tell_others(session: Session, cid: int, but: Optional[Connection] = None) -> None:
    """Asynchronous message 2: a connection is gone (RFC 7143 11.9.1)."""
    for other in session.connections.values():
        if other is but:
            continue
        keys = session.parameters
        other.output.respond(
            ASYNC_MESSAGE, initiator_task_tag=NO_TAG, async_event=AsyncEvent.CONNECTION_DROP, parameter1=cid,
            parameter2=keys.default_time2wait, parameter3=keys.default_time2retain if retains(session) else 0,
        )  # fmt: skip
        other.wake()
        return


def tell_session_drop(session: Session) -> None:
    """Asynchronous message 3: we drop all connections of this session (RFC 7143 11.9.1); no task will be kept."""
    for connection in session.connections.values():
        if connection.responder.open and session.entry is not None:
            connection.output.respond(
                ASYNC_MESSAGE, initiator_task_tag=NO_TAG, async_event=AsyncEvent.SESSION_DROP,
                parameter2=session.parameters.default_time2wait, parameter3=0,
            )  # fmt: skip


def reassign(
    connection: Connection, session: Session, request: Any
) -> tuple[ManagementResponse, Optional[IscsiCommand]]:
    """TASK REASSIGN: the answer, and the task that resume() goes on with after it was given."""
    if not retains(session):
        return ManagementResponse.TASK_REASSIGN_NOT_SUPPORTED, None
    task = session.tasks.get(request.referenced_task_tag)
    if task is None:
        return ManagementResponse.TASK_DOES_NOT_EXIST, None
    lost = session.lost.get(task.connection)
    if lost is None or not lost.free:
        return ManagementResponse.TASK_STILL_ALLEGIANT, None
    parked = session.parked.get(task.tag)
    sent = parked.sent if parked is not None else None
    if task.lun_field != request.lun or (sent is not None and not _complete(sent)):
        return ManagementResponse.FUNCTION_REJECTED, None
    old = task.connection
    if task.memory is not None:
        connection.share.adopt(task.memory, old.share)
    else:
        old.share.cancel(task)
    if task.phase is EXECUTING and not task.numbered:
        old.intake.immediate_running -= 1
        connection.intake.immediate_running += 1
    task.connection = connection
    return ManagementResponse.FUNCTION_COMPLETE, task


def _complete(sent: Answer) -> bool:
    """Whether everything that isn't acknowledged is still here."""
    return sent.has_data or sent.acknowledged == sent.first + sent.sent


def resume(connection: Connection, session: Session, task: IscsiCommand, exp_data_sn: int) -> None:
    """The task goes on over this connection; exp_data_sn: the first Data-In that the initiator lacks, or 0."""
    transfer = task.transfer
    if task.phase is not ANSWERED:
        if transfer is not None:
            transfer.recoveries = 0
            if len(transfer.memory) < transfer.length and transfer.whole is None:
                transfer.whole = task.memory = connection.share.take_or_wait(transfer.length, task)
            connection.intake.pump(task, transfer)
        elif task.phase is PREPARING:
            connection.intake.start(task)
        return
    parked = session.parked.pop(task.tag)
    del session.tasks[task.tag]
    task.phase = ENDED
    keeper, sent = connection.output.keeper, parked.sent
    assert keeper is not None  # the level is 2
    if sent is None:
        keeper.answer(task, parked.response)
        return
    number = sent.acknowledged
    if number < exp_data_sn <= sent.first + sent.sent:
        number = exp_data_sn
    skipped = sent.length
    for data_sn, offset, _, _ in sent.pieces(session.parameters.max_burst_length):
        if data_sn == number:
            skipped = offset
    keeper.answer(task, parked.response, number, skipped)
