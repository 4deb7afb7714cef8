"""One iSCSI connection, without a socket: bytes in, commands out; responses in, buffers out.

    view = connection.receive_buffer(); n = sock.recv_into(view)      # not while connection.wants_input is False
    connection.received(n, now)
    for event in connection.commands(): ...                           # IscsiCommand: target.execute(event), ...
    connection.complete(command, response)                            # once for each IscsiCommand
    connection.complete_management(request, response_code)            # once for each IscsiTaskManagement
    buffers = connection.data_to_send()                               # send them all, then:
    connection.release()
    if connection.wants_close: close the socket; connection.closed(now)

connection.wake() is called when there is output, an event or a wish to close that none of these calls of the shell
caused: memory came back, another connection ended this one's session. It may be called from within a call on another
connection, so the shell only notes it down. connection.done is what every command gets as its `done`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

from tcmu_gluster.iscsi import recovery
from tcmu_gluster.iscsi.buffers import Share, Source
from tcmu_gluster.iscsi.directory import Directory
from tcmu_gluster.iscsi.framing import Broken, Framing
from tcmu_gluster.iscsi.full_feature import FullFeature
from tcmu_gluster.iscsi.keeper import Keeper
from tcmu_gluster.iscsi.keys import Parameters
from tcmu_gluster.iscsi.life import Input, State, follow
from tcmu_gluster.iscsi.login import MAX_NAME_BYTES, Login, Refusal
from tcmu_gluster.iscsi.output import Output
from tcmu_gluster.iscsi.pdu import (
    ASYNC_MESSAGE,
    LOGIN_REQUEST,
    LOGIN_RESPONSE,
    NO_TAG,
    NOP_IN,
    OPCODE_MASK,
    REJECT,
    AsyncEvent,
    Buffer,
    LoginError,
    LoginStatus,
    Opcode,
    RejectPdu,
)
from tcmu_gluster.iscsi.response import Responder
from tcmu_gluster.iscsi.serial import CommandWindow, less
from tcmu_gluster.iscsi.session import Session, SessionRegistry
from tcmu_gluster.iscsi.settings import DEFAULTS, Settings
from tcmu_gluster.iscsi.task_set import (
    EXECUTING,
    ConnectionJoined,
    Event,
    IscsiCommand,
    IscsiTaskManagement,
    SessionEnded,
    SessionStarted,
)
from tcmu_gluster.iscsi.text import encode
from tcmu_gluster.iscsi.transfer import Intake
from tcmu_gluster.scsi.command import ABORTED, Done, Response


def _nothing() -> None:
    """The shell wants no wake-up."""


def _at_once(refusal: Refusal, now: float) -> float:
    """No answer is held back."""
    return 0.0


class Connection:
    """See the module. peer_address and local_address are what access rules and TargetAddress see; now is in seconds.

    refused(refusal, now) hears of each failed login, and says for how many seconds its response is held back.
    """

    def __init__(
        self,
        directory: Directory,
        registry: SessionRegistry,
        pool: Source,
        now: float,
        *,
        peer_address: str = "",
        local_address: str = "",
        settings: Settings = DEFAULTS,
        done: Optional[Done] = None,
        wake: Callable[[], None] = _nothing,
        refused: Callable[[Refusal, float], float] = _at_once,
    ) -> None:
        self.directory, self.registry, self.settings = directory, registry, settings
        self.peer_address, self.local_address, self.wake = peer_address, local_address, wake
        self._refused = refused
        self._held: tuple[bytes, dict[str, Any]] = b"", {}  # data and fields of a Login Response that waits
        self.state = State.LOGIN
        self.why = ""
        """Why the connection is ending, in words, for the log."""
        self.session: Optional[Session] = None
        self.cid = 0
        self.share = Share(pool, settings.connection_buffer_bytes)
        self.output = Output(self.share, CommandWindow(0, 1))
        self.acknowledged = 0
        """The initiator's ExpStatSN; known from ErrorRecoveryLevel 1 or MaxConnections 2 on."""
        self._awaiting: list[tuple[int, Callable[[], None]]] = []
        self.intake = Intake(self, self.output)
        self.intake.done = done
        self.responder = Responder(self.output)
        self.framing = Framing(settings, self.intake, self.output, self.refuse)
        self.framing.handlers = [self._login_pdu] * 64
        self._login = Login(directory, registry, settings, peer_address, local_address)
        self._full_feature: Optional[FullFeature] = None
        self.now = self._heard = now
        self._deadline = now + settings.login_seconds
        self._asked_at: Optional[float] = None  # when our ping left
        self._progress = now  # when the last Data-Out came
        self.receive_buffer: Callable[[], memoryview] = self.framing.receive_buffer
        self.complete: Callable[[IscsiCommand, Response], None] = self.responder.complete
        self.data_to_send: Callable[[], list[Buffer]] = self.output.drain
        self.emit: Callable[[Event], None] = self.intake.events.append

    # -- what the shell calls ----------------------------------------------------------------------------------------

    def received(self, count: int, now: float) -> None:
        """count bytes came into receive_buffer(). Never raises because of what they are."""
        self.now = self._heard = now
        self._asked_at = None
        framing, intake = self.framing, self.intake
        try:
            framing.received(count)
        except Broken as problem:
            self._break(problem)
        if intake.progress or framing.landing:
            self._progress, intake.progress = now, False

    def commands(self) -> list[Event]:
        """What happened since the last call, in order."""
        intake = self.intake
        events = intake.events
        if events:
            intake.events = []
            self.emit = intake.events.append
        return events

    def complete_management(self, request: IscsiTaskManagement, response: int) -> None:
        """A task management request of commands() has taken effect; response is a ManagementResponse."""
        if self._full_feature is not None and self.responder.open:
            self._full_feature.management_done(request, response)

    def release(self) -> None:
        """Everything that data_to_send() returned has been sent: its memory may be used again."""
        self.output.release()
        if self.framing.stopped and self.state in (State.FULL_FEATURE, State.ASKED_TO_LOG_OUT):
            self.framing.stopped = False
            self.received(0, self._heard)
            self.wake()

    @property
    def output_bytes(self) -> int:
        """How much data_to_send() would return now."""
        return self.output.bytes

    @property
    def wants_input(self) -> bool:
        """False: don't receive (the connection is ending, or its output must leave first)."""
        return not self.framing.stopped and self.state not in (State.CLOSING, State.DEAD)

    @property
    def wants_close(self) -> bool:
        """True when the shell shall close the socket, once it has sent what data_to_send() still returns."""
        return self.state in (State.CLOSING, State.DEAD)

    @property
    def owes(self) -> bool:
        """Whether the initiator has begun something, after its login, that it has yet to finish."""
        if self._full_feature is None:
            return False
        return self.framing.unfinished or self.intake.open_bursts > 0 or self._full_feature.waiting

    def taken(self, now: float) -> None:
        """The transport takes what waits for it: the initiator lives, even if its answers are still to come."""
        self.now = self._heard = now
        self._asked_at = None

    def closed(self, now: float, why: str = "the initiator closed the connection") -> None:
        """The socket is closed, by either side. Commands that still execute must still be completed."""
        self.now = now
        self.end(Input.LOST, why)
        self.output.discard()
        self.framing.give_back()

    # -- time --------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> Optional[float]:
        """When handle_timeout() is to be called at the latest; None while nothing is awaited."""
        if self.state is State.DEAD:
            return None
        if self.state is not State.FULL_FEATURE:
            return self._deadline
        ping = self.settings.ping_seconds
        silent = (self._asked_at if self._asked_at is not None else self._heard) + ping
        if self.intake.open_bursts:
            return min(silent, self._progress + self._data_seconds)
        return silent

    @property
    def _data_seconds(self) -> float:
        return self.settings.data_seconds if self.output.keeper is None else self.settings.recovery_seconds

    def handle_timeout(self, now: float) -> None:
        """Do what is due at now: ping a silent peer, give up a dead one."""
        self.now = now
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return
        if self.state is State.HOLDING:
            self._let_go()
        elif self.state is not State.FULL_FEATURE:
            reasons = {State.LOGIN: "the login took too long", State.ASKED_TO_LOG_OUT: "the initiator didn't log out"}
            self.end(Input.TIMED_OUT, reasons.get(self.state, self.why))
        elif self.intake.open_bursts and now >= self._progress + self._data_seconds:
            if self.output.keeper is not None:
                self._progress = now
                if self.session is not None:
                    recovery.ask_again(self, self.session)
                return
            self.end(Input.TIMED_OUT, "the initiator owes Data-Out and sends none")
        elif self._asked_at is not None:
            self.end(Input.TIMED_OUT, "the initiator doesn't answer")
        else:
            self._asked_at = now
            if self.session is not None and self.session.entry is not None:
                self._ping()

    def request_logout(self, now: float, why: str = "the target shuts down") -> None:
        """Ask the initiator to log out (asynchronous message 1); it has closing_seconds to do so."""
        self.now, self.why = now, why
        before, self.state = self.state, follow(self.state, Input.LOGOUT_WANTED)
        if self.state is State.ASKED_TO_LOG_OUT and before is State.FULL_FEATURE:
            seconds = max(1, int(self.settings.closing_seconds))
            self.output.respond(
                ASYNC_MESSAGE, initiator_task_tag=NO_TAG, async_event=AsyncEvent.LOGOUT_REQUEST, parameter3=seconds
            )
            self._deadline = now + self.settings.closing_seconds
        if self.state is State.DEAD:
            self.framing.stopped = True

    # -- login -------------------------------------------------------------------------------------------------------

    def _login_pdu(self, header: memoryview, data: Optional[memoryview]) -> None:
        """Any PDU before full feature phase. One that is no login request ends it (RFC 7143 4.2.4)."""
        if header[0] & OPCODE_MASK != Opcode.LOGIN_REQUEST:
            why = f"opcode {header[0] & OPCODE_MASK:#04x} before the login has ended"
            if not self._login.requests:
                raise Broken(why)
            self._refuse_login(LoginError(LoginStatus.INVALID_DURING_LOGIN, why))
            return
        request = LOGIN_REQUEST.unpack(header)
        if self._login.requests == 0:
            self.output.window = CommandWindow(request.cmd_sn, 1)  # registry.start() opens it
            self.output.stat_sn = request.exp_stat_sn
        try:
            answer = self._login.request(request, bytes(data) if data is not None else b"")
            if answer.finished:
                self._join()
        except LoginError as problem:
            self._refuse_login(problem)
            return
        session, fields = self.session, self._login.echo
        if session is not None:
            fields["tsih"] = session.tsih
        self.output.respond(LOGIN_RESPONSE, answer.data, transit=answer.transit, status=LoginStatus.SUCCESS, **fields)
        if session is not None:
            self._begin_full_feature(session, self._login.parameters)

    def _refuse_login(self, problem: LoginError) -> None:
        """Say so, or begin to wait with saying so."""
        login, fields = self._login, {**self._login.echo, "status": problem.status}
        names = login.parameters.initiator_name, login.asked_for[:MAX_NAME_BYTES]
        seconds = self._refused(Refusal(problem.status, *names, problem.why), self.now)
        if seconds <= 0:
            self.output.respond(LOGIN_RESPONSE, encode(problem.keys), **fields)
            self.end(Input.REFUSED, str(problem))
            return
        self._held = encode(problem.keys), fields
        self._stop(Input.HELD, str(problem))
        self.why, self._deadline = str(problem), self.now + seconds

    def _let_go(self) -> None:
        """The time has come for the response that was held back."""
        data, fields = self._held
        self.output.respond(LOGIN_RESPONSE, data, **fields)
        self.end(Input.REFUSED, self.why)

    def _join(self) -> None:
        """The login is over: this connection leads a new session or joins one. Raises LoginError."""
        login, parameters = self._login, self._login.parameters
        login.admit_again()
        parameters.first_burst_length = min(parameters.first_burst_length, parameters.max_burst_length)
        session = login.joins
        if session is None:
            account = self.peer_address, self.settings.window
            session = self.registry.start(login.isid, login.entry, parameters, self.output.window, *account)
        else:
            old = session.connections.get(login.cid)
            if session.ended:
                raise LoginError(LoginStatus.SESSION_DOES_NOT_EXIST, "the session ended during the login")
            if old is None and len(session.connections) >= session.parameters.max_connections:
                raise LoginError(LoginStatus.TOO_MANY_CONNECTIONS, "the session has as many connections as it may")
            session.connections[login.cid] = self  # first, so that the session outlives the old connection
            recovery.log_out(session, login.cid, self.now)  # implicitly, if it was lost (RFC 7143 6.3.4)
            if old is not None:
                old.end(Input.DROPPED, "the initiator logged in anew (connection reinstatement)", free=True)
        session.connections[login.cid] = self
        self.session, self.cid = session, login.cid

    def _begin_full_feature(self, session: Session, parameters: Parameters) -> None:
        self.state = follow(self.state, Input.LOGGED_IN)
        output, framing = self.output, self.framing
        output.window = session.window
        output.header_digest = parameters.header_digest != "None"
        output.data_digest = parameters.data_digest != "None"
        recovers = session.entry is not None and session.parameters.error_recovery_level > 0
        if recovers:
            output.keeper = Keeper(
                output, session.window, parameters, session.parameters.max_burst_length,
                2 * self.settings.window, self.settings.kept_bytes,
            )  # fmt: skip
        self.intake.begin(session, parameters)
        self.responder.begin(session, parameters)
        self._full_feature = FullFeature(self, session, parameters)
        framing.handlers = self._full_feature.handlers()
        framing.begin(
            commands=session.entry is not None, header_digest=output.header_digest, data_digest=output.data_digest,
            recovers=recovers,
            acknowledge=self._acknowledge if recovers or session.parameters.max_connections > 1 else None,
        )  # fmt: skip
        self.emit(SessionStarted(session) if self._login.joins is None else ConnectionJoined(session))

    # -- refusing and ending -----------------------------------------------------------------------------------------

    def refuse(self, problem: RejectPdu, header: Any) -> None:
        """Answer one PDU with Reject; its header goes back as data."""
        self.output.respond(REJECT, bytes(header[:48]), initiator_task_tag=NO_TAG, reason=problem.reason)

    def _break(self, problem: Broken) -> None:
        """The stream can't be followed any further."""
        if problem.reject is not None and self.state is not State.LOGIN:
            self.output.respond(REJECT, initiator_task_tag=NO_TAG, reason=problem.reject)
        self.end(Input.PROTOCOL_ERROR, problem.why)

    def end_session(self, why: str) -> None:
        """Every connection of the session ends (logout)."""
        if self.session is not None:
            self.registry.end(self.session, why)

    def cold_reset(self) -> None:
        """TARGET COLD RESET was answered: every session with this target ends (RFC 7143 11.5.1)."""
        if self.session is not None and self.session.entry is not None:
            for session in self.registry.of_target(self.session.entry.name):
                self.registry.end(session, "target cold reset")

    def leave_session(self, why: str, last: bool) -> None:
        """Called by the registry: the session is over."""
        session = self.session
        self._stop(Input.DROPPED, why)
        if session is not None and last:
            self.emit(SessionEnded(session, why))
        self.wake()

    def end(self, event: Input, why: str, *, free: bool = False) -> None:
        """This connection ends; its session too if it was the last one.

        At ErrorRecoveryLevel 2 the tasks of one that failed are kept, and if it is free, they may be reassigned.
        """
        session = self.session
        if session is None or self in session.lost:
            self._stop(event, why)
            return
        if self.responder.open and recovery.retains(session) and (free or event in recovery.FAILURES):
            if session.connections.get(self.cid) is self:
                del session.connections[self.cid]
            self._stop(event, why, keep=True, free=free)
            if event in recovery.FAILURES:
                recovery.tell_others(session, self.cid)
            self.wake()
            return
        if event in (Input.TIMED_OUT, Input.PROTOCOL_ERROR):
            recovery.tell_others(session, self.cid, but=self)
        if self.cid in session.connections and session.connections[self.cid] is self and len(session.connections) == 1:
            self._stop(event, why)
            self.registry.end(session, why)
            return
        self._stop(event, why)
        if session.connections.get(self.cid) is self:
            del session.connections[self.cid]
        recovery.abort_executing(self, session)
        self.wake()

    def _acknowledge(self, exp_stat_sn: int) -> None:
        """What was sent before this number has arrived."""
        self.acknowledged = exp_stat_sn
        if self.output.keeper is not None:
            self.output.keeper.acknowledge(exp_stat_sn)
        while self._awaiting and not less(exp_stat_sn, self._awaiting[0][0]):
            self._awaiting.pop(0)[1]()

    def await_acknowledgement(self, action: Callable[[], None]) -> None:
        """Run action when all that was sent so far is acknowledged, or when this connection ends."""
        self._awaiting.append((self.output.stat_sn, action))
        self._ping()
        self.wake()

    def _ping(self) -> None:
        self._asked_at = self.now
        self.output.announce(NOP_IN, initiator_task_tag=NO_TAG, target_transfer_tag=1)

    def _stop(self, event: Input, why: str, *, keep: bool = False, free: bool = False) -> None:
        """Nothing more is taken from the peer or answered; tasks that the SCSI core doesn't know end."""
        before, self.state = self.state, follow(self.state, event)
        self.framing.stopped = True
        if self.state in (State.CLOSING, State.DEAD) and before not in (State.CLOSING, State.DEAD):
            self.why = why
            self._deadline = self.now + self.settings.closing_seconds
        if self.responder.open:
            self.responder.open = False
            if self.session is not None and keep:
                recovery.keep_tasks(self, self.session, self.now, free=free)
                self.registry.recovering.add(self.session)
            elif self.session is not None:
                for task in self.session.tasks.allegiant_to(self):
                    if task.phase is not EXECUTING:
                        self.intake.drop(task)
                self.withdraw()
            if self.output.keeper is not None:
                self.output.keeper.free(self.output.keeper.give_up())
        self.framing.abandon()
        awaiting, self._awaiting = self._awaiting, []
        for _, action in awaiting:
            action()

    def withdraw(self) -> None:
        """Commands that the shell hasn't fetched yet end here: it will not execute them."""
        events = self.intake.events
        waiting = [event for event in events if isinstance(event, IscsiCommand)]
        events[:] = [event for event in events if not isinstance(event, IscsiCommand)]
        for command in waiting:
            self.complete(command, ABORTED)
