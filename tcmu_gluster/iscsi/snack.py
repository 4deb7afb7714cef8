"""SNACK: what the initiator missed is sent again, and what it has is acknowledged.  Source: RFC 7143 11.16."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

from tcmu_gluster.iscsi.pdu import NO_TAG, RejectPdu, RejectReason

if TYPE_CHECKING:
    from tcmu_gluster.iscsi.connection import Connection


class SnackType(IntEnum):
    """RFC 7143 11.16.1."""

    DATA_OR_R2T = 0
    STATUS = 1
    DATA_ACK = 2
    R_DATA = 3


def answer_snack(connection: Connection, request: Any) -> None:
    """Send again what a SNACK_REQUEST record asks for. Raises RejectPdu for what is not there any more."""
    keeper, kind = connection.output.keeper, request.type
    begin, run, tag = request.begin_run, request.run_length, request.initiator_task_tag
    if keeper is None:
        reason = RejectReason.INVALID_DATA_ACK if kind == SnackType.DATA_ACK else RejectReason.SNACK_REJECT
        raise RejectPdu(reason, "SNACK at ErrorRecoveryLevel 0")
    if kind == SnackType.STATUS:
        done = keeper.repeat_status(begin, run)
    elif kind == SnackType.DATA_OR_R2T:
        done = keeper.repeat_data(tag, begin, run) or _repeat_r2ts(connection, tag, begin, run)
    elif kind == SnackType.R_DATA:
        done = not begin and not run and keeper.resegment(tag, request.target_transfer_tag)
    elif kind == SnackType.DATA_ACK:
        if not keeper.acknowledge_data(request.target_transfer_tag, begin):
            raise RejectPdu(RejectReason.INVALID_DATA_ACK, f"no data up to {begin} waits to be acknowledged")
        return
    else:
        raise RejectPdu(RejectReason.INVALID_PDU_FIELD, f"SNACK of type {kind}")
    if not done:
        raise RejectPdu(RejectReason.SNACK_REJECT, f"SNACK of type {kind} for {begin}, {run}: it is not kept")


def _repeat_r2ts(connection: Connection, tag: int, begin: int, run: int) -> bool:
    session = connection.session
    command = session.tasks.get(tag) if session is not None else None
    if command is None or command.connection is not connection:
        return False
    transfer = command.transfer
    if transfer is None or begin >= transfer.r2t_sn or begin + run > transfer.r2t_sn:
        return False
    for transfer_tag, burst in transfer.bursts.items():
        if transfer_tag != NO_TAG and begin <= burst.r2t_sn < (begin + run if run else transfer.r2t_sn):
            connection.intake.send_r2t(command, transfer_tag, burst)
    return True
