"""Full feature phase: every PDU but the two hot ones.  Source: RFC 7143 section 11.

Each handler takes (header, data). A numbered request runs when its CmdSN is due; RejectPdu answers with Reject.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Optional

from tcmu_gluster.iscsi import discovery, recovery
from tcmu_gluster.iscsi.fence import behind_fence
from tcmu_gluster.iscsi.framing import Broken, Handler
from tcmu_gluster.iscsi.keys import NOT_UNDERSTOOD, REJECT, Negotiator, Parameters, When
from tcmu_gluster.iscsi.life import Input
from tcmu_gluster.iscsi.pdu import (
    LOGOUT_REQUEST,
    LOGOUT_RESPONSE,
    NO_TAG,
    NOP_IN,
    NOP_OUT,
    SNACK_REQUEST,
    TASK_MANAGEMENT_REQUEST,
    TASK_MANAGEMENT_RESPONSE,
    TEXT_REQUEST,
    TEXT_RESPONSE,
    LogoutReason,
    LogoutResponse,
    Opcode,
    RejectPdu,
    RejectReason,
)
from tcmu_gluster.iscsi.serial import Verdict
from tcmu_gluster.iscsi.session import Session
from tcmu_gluster.iscsi.snack import answer_snack
from tcmu_gluster.iscsi.task_set import EXECUTING, LUN_WIDE, TARGET_WIDE, IscsiTaskManagement
from tcmu_gluster.iscsi.text import MAX_NEGOTIATION_BYTES, Collector, Pairs, TextError, cut, encode
from tcmu_gluster.scsi.command import Function, ManagementResponse, lun_number

if TYPE_CHECKING:
    from tcmu_gluster.iscsi.connection import Connection

_TEXT_KEYS = frozenset(("MaxRecvDataSegmentLength", "InitiatorAlias"))
"""What may be negotiated in full feature phase."""


class FullFeature:
    """The slow PDUs of one connection."""

    def __init__(self, connection: Connection, session: Session, parameters: Parameters) -> None:
        self._connection, self._session, self._parameters = connection, session, parameters
        self._output, self._window = connection.output, session.window
        self._text = Collector()
        self._text_tag = 0
        self._text_rest: list[bytes] = []
        self._management_running = 0

    def handlers(self) -> list[Handler]:
        """One a possible opcode."""
        table: list[Handler] = [self.unknown] * 64
        table[Opcode.NOP_OUT] = self.nop_out
        table[Opcode.TASK_MANAGEMENT_REQUEST] = self.task_management
        table[Opcode.SNACK_REQUEST] = self.snack
        table[Opcode.TEXT_REQUEST] = self.text
        table[Opcode.LOGOUT_REQUEST] = self.logout
        table[Opcode.LOGIN_REQUEST] = self.login_again
        if self._session.entry is None:
            for opcode in (Opcode.NOP_OUT, Opcode.TASK_MANAGEMENT_REQUEST, Opcode.SNACK_REQUEST):
                table[opcode] = self.not_in_discovery
        return table

    @property
    def waiting(self) -> bool:
        """Whether the initiator has a text to finish or to fetch, or a CmdSN to send that others wait for."""
        return self._text.collecting or bool(self._text_rest or self._window.held)

    # -- numbering -------------------------------------------------------------------------------------------------

    def _in_turn(self, request: Any, action: Callable[[], None]) -> None:
        """Run action when CmdSN says so; a request outside the window is ignored (RFC 7143 4.2.2.1)."""
        if request.immediate:
            action()
            return
        window = self._window
        verdict = window.judge(request.cmd_sn)
        if verdict is Verdict.EARLY:
            window.hold(request.cmd_sn, partial(self._late, action, bytes(request.layout.name, "ascii")))
        elif verdict is Verdict.DELIVER:
            window.advance()
            window.ended()
            try:
                action()
            finally:
                window.release()

    def _keep_small(self, request: Any, length: int) -> None:
        """A request that comes early is kept with its data, so its data must be short. Raises RejectPdu."""
        early = not request.immediate and self._window.judge(request.cmd_sn) is Verdict.EARLY
        if early and length > MAX_NEGOTIATION_BYTES:
            raise RejectPdu(RejectReason.PROTOCOL_ERROR, f"{length} bytes of data with a request out of turn")

    def _late(self, action: Callable[[], None], name: bytes) -> None:
        """A held request runs: it was its predecessor's PDU that came now, so a refusal has no header of its own."""
        self._window.ended()
        try:
            action()
        except RejectPdu as problem:
            self._connection.refuse(problem, name[:48].ljust(48, b"\0"))
        self._connection.wake()

    # -- NOP -------------------------------------------------------------------------------------------------------

    def nop_out(self, header: memoryview, data: Optional[memoryview]) -> None:
        """Answer a ping with its own data. One without a task tag is the answer to ours, or just a sign of life."""
        request = NOP_OUT.unpack(header)
        if request.initiator_task_tag == NO_TAG:
            if not request.immediate:
                raise RejectPdu(RejectReason.PROTOCOL_ERROR, "a NOP-Out without task tag must be immediate")
            return
        echo = bytes(data[: self._parameters.max_recv_data_segment_length]) if data is not None else b""
        self._keep_small(request, len(echo))
        self._in_turn(request, partial(self._nop_in, request, echo))

    def _nop_in(self, request: Any, echo: bytes) -> None:
        tag = request.initiator_task_tag
        self._output.respond(NOP_IN, echo, initiator_task_tag=tag, target_transfer_tag=NO_TAG, lun=request.lun)

    # -- task management --------------------------------------------------------------------------------------------

    def task_management(self, header: memoryview, data: Optional[memoryview]) -> None:
        """RFC 7143 11.5. What the engine alone knows is ended here, the rest is for the SCSI core."""
        request = TASK_MANAGEMENT_REQUEST.unpack(header)
        if request.immediate and self._management_running >= self._connection.settings.immediate_commands:
            raise RejectPdu(RejectReason.IMMEDIATE_COMMAND_REJECT, "too many task management requests at once")
        self._in_turn(request, partial(self._manage, request))

    def _manage(self, request: Any) -> None:
        function = request.function
        if function == Function.TASK_REASSIGN:
            response, task = recovery.reassign(self._connection, self._session, request)
            self._management_response(request.initiator_task_tag, response)
            if task is not None:
                recovery.resume(self._connection, self._session, task, request.exp_data_sn)
        elif function == Function.ABORT_TASK:
            self._abort_task(request)
        elif function in LUN_WIDE or function in TARGET_WIDE:
            # what the initiator sent before over other connections is affected, too (RFC 7143 4.2.3.3)
            self._window.when_all_before(request.cmd_sn, partial(self._manage_many, request))
        else:
            self._management_response(request.initiator_task_tag, ManagementResponse.FUNCTION_NOT_SUPPORTED)

    def _manage_many(self, request: Any) -> None:
        lun = lun_number(request.lun) if request.function in LUN_WIDE else None
        for task in self._session.tasks.before_execution(lun):
            recovery.drop(self._session, task)
        self._pass_on(request)
        self._connection.wake()

    def _abort_task(self, request: Any) -> None:
        task = self._session.tasks.get(request.referenced_task_tag)
        if task is None:
            # RFC 7143 11.5.1: a command that is still to come counts as received and aborted
            missing = self._window.judge(request.ref_cmd_sn) is not Verdict.IGNORE
            if missing and request.ref_cmd_sn != request.cmd_sn:
                self._window.hold(request.ref_cmd_sn, self._window.ended)
                self._window.release()
                self._management_response(request.initiator_task_tag, ManagementResponse.FUNCTION_COMPLETE)
            else:
                self._management_response(request.initiator_task_tag, ManagementResponse.TASK_DOES_NOT_EXIST)
        elif task.lun_field != request.lun:
            self._management_response(request.initiator_task_tag, ManagementResponse.FUNCTION_REJECTED)
        elif task.phase is EXECUTING:
            self._pass_on(request)
        else:
            recovery.drop(self._session, task)
            self._management_response(request.initiator_task_tag, ManagementResponse.FUNCTION_COMPLETE)

    def _pass_on(self, request: Any) -> None:
        event = IscsiTaskManagement(
            Function(request.function),
            self._session.nexus,
            lun=lun_number(request.lun),
            referenced_tag=request.referenced_task_tag,
            tag=request.initiator_task_tag,
        )
        self._management_running += 1
        self._connection.emit(event)

    def management_done(self, request: IscsiTaskManagement, response: int) -> None:
        """The SCSI core has done what was asked."""
        if not request.asked:
            return
        self._management_running -= 1
        if request.function in LUN_WIDE or request.function in TARGET_WIDE:
            behind_fence(self._session, self._connection, partial(self._management_ended, request, response))
        else:
            self._management_response(request.tag, response)

    def _management_ended(self, request: IscsiTaskManagement, response: int) -> None:
        if not self._connection.responder.open:
            return
        self._management_response(request.tag, response)
        if request.function is Function.TARGET_COLD_RESET and response == ManagementResponse.FUNCTION_COMPLETE:
            self._connection.cold_reset()

    def _management_response(self, tag: int, response: int) -> None:
        self._output.respond(TASK_MANAGEMENT_RESPONSE, initiator_task_tag=tag, response=response)

    # -- text --------------------------------------------------------------------------------------------------------

    def text(self, header: memoryview, data: Optional[memoryview]) -> None:
        """RFC 7143 11.10: SendTargets, and the few keys that may change now."""
        request = TEXT_REQUEST.unpack(header)
        self._keep_small(request, len(data) if data is not None else 0)
        self._in_turn(request, partial(self._text_request, request, bytes(data) if data is not None else b""))

    def _text_request(self, request: Any, data: bytes) -> None:
        if request.target_transfer_tag == NO_TAG:
            self._text.clear()
            self._text_rest = []
        elif request.target_transfer_tag != self._text_tag:
            raise RejectPdu(RejectReason.INVALID_PDU_FIELD, "no text negotiation has this target transfer tag")
        try:
            self._text.add(data)
            if request.continues:
                if request.final:
                    raise RejectPdu(RejectReason.PROTOCOL_ERROR, "F and C bits are both set")
                self._text_response(request, b"", final=False, more=False)
                return
            if self._text_rest and not data:
                self._text_piece(request)
                return
            pairs = self._text.finish()
            self._text_rest = cut(encode(self._text_answers(pairs)), self._parameters.max_recv_data_segment_length)
        except TextError as problem:
            self._text.clear()
            raise RejectPdu(RejectReason.PROTOCOL_ERROR, str(problem)) from None
        self._text_piece(request)

    def _text_piece(self, request: Any) -> None:
        piece = self._text_rest.pop(0)
        more = bool(self._text_rest)
        self._text_response(request, piece, final=bool(request.final) and not more, more=more)

    def _text_response(self, request: Any, data: bytes, *, final: bool, more: bool) -> None:
        tag = NO_TAG
        if not final:
            self._text_tag = tag = (self._text_tag + 1) % NO_TAG
        self._output.respond(
            TEXT_RESPONSE, data, final=final, continues=more, lun=request.lun,
            initiator_task_tag=request.initiator_task_tag, target_transfer_tag=tag,
        )  # fmt: skip

    def _text_answers(self, pairs: Pairs) -> Pairs:
        answers: Pairs = []
        connection = self._connection
        negotiator = Negotiator(connection.settings, self._parameters)
        for name, value in pairs:
            if name == "SendTargets":
                found = discovery.send_targets(
                    value, connection.directory, self._session.initiator_name, connection.peer_address,
                    connection.local_address, self._session.entry,
                )  # fmt: skip
                answers += [("SendTargets", REJECT)] if found is None else found
            elif name in _TEXT_KEYS:
                answers += negotiator.settle([(name, value)], When.FULL_FEATURE)
            elif name.startswith(("X-", "Y-", "Z-", "X#", "Y#", "Z#")):
                answers.append((name, NOT_UNDERSTOOD))
            else:
                answers += negotiator.settle([(name, value)], When.FULL_FEATURE)
        connection.responder.begin(self._session, self._parameters)  # its segment length may be new
        return answers

    # -- logout and the rest -----------------------------------------------------------------------------------------

    def logout(self, header: memoryview, data: Optional[memoryview]) -> None:
        """RFC 7143 11.14."""
        request = LOGOUT_REQUEST.unpack(header)
        self._in_turn(request, partial(self._logout, request))

    def _logout(self, request: Any) -> None:
        reason, connection, session = request.reason, self._connection, self._session
        own = session.connections.get(request.cid) is connection
        known = request.cid in session.connections or any(lost.cid == request.cid for lost in session.lost)
        if reason == LogoutReason.REMOVE_FOR_RECOVERY and not recovery.retains(session):
            response = LogoutResponse.RECOVERY_NOT_SUPPORTED
        elif reason in (LogoutReason.CLOSE_CONNECTION, LogoutReason.REMOVE_FOR_RECOVERY) and not known:
            response = LogoutResponse.CID_NOT_FOUND
        elif reason in LogoutReason.__members__.values():
            response = LogoutResponse.CLOSED
        else:
            raise RejectPdu(RejectReason.INVALID_PDU_FIELD, f"logout for reason {reason}")
        self._output.respond(
            LOGOUT_RESPONSE, initiator_task_tag=request.initiator_task_tag, response=response,
            time2wait=session.parameters.default_time2wait, time2retain=session.parameters.default_time2retain,
        )  # fmt: skip
        if response is not LogoutResponse.CLOSED:
            return
        for_recovery = reason == LogoutReason.REMOVE_FOR_RECOVERY
        if reason == LogoutReason.CLOSE_SESSION:
            connection.end_session("the initiator logged out")
        elif own:
            connection.end(Input.LOGGED_OUT, "the initiator closed this connection", free=for_recovery)
        elif request.cid in session.connections:
            other = session.connections[request.cid]
            other.end(Input.DROPPED, "the initiator closed this connection from another one", free=for_recovery)
        elif for_recovery:
            recovery.log_out(session, request.cid, connection.now)
        else:
            for lost in [lost for lost in session.lost if lost.cid == request.cid]:
                recovery.give_up(session, lost)

    def snack(self, header: memoryview, data: Optional[memoryview]) -> None:
        """RFC 7143 11.16."""
        answer_snack(self._connection, SNACK_REQUEST.unpack(header))

    def login_again(self, header: memoryview, data: Optional[memoryview]) -> None:
        """A login request must not come in full feature phase."""
        raise Broken("login request in full feature phase", RejectReason.PROTOCOL_ERROR)

    def not_in_discovery(self, header: memoryview, data: Optional[memoryview]) -> None:
        """RFC 7143 4.3: a discovery session takes text and logout requests alone."""
        raise RejectPdu(RejectReason.COMMAND_NOT_SUPPORTED, f"opcode {header[0] & 0x3F:#04x} in a discovery session")

    def unknown(self, header: memoryview, data: Optional[memoryview]) -> None:
        """An opcode that no initiator may send."""
        raise RejectPdu(RejectReason.COMMAND_NOT_SUPPORTED, f"opcode {header[0] & 0x3F:#04x}")
