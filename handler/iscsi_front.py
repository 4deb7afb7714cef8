"""The engine's sockets: listen, feed connections, run their commands, send what they answer. Nothing is decided here.

Per wake of a connection: one recv_into, every command in it executed, one sendmsg. Commands that end later end in
batches (the backend's completions), and each connection they belong to is flushed once, at the end of that loop turn.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Optional

from handler.listening import listener_at
from handler.seldom import Seldom
from handler.targets import TargetDirectory
from tcmu_gluster.config.addresses import Portal
from tcmu_gluster.iscsi.admission import Admission, group_of
from tcmu_gluster.iscsi.buffers import BufferPool, Shares
from tcmu_gluster.iscsi.connection import Connection
from tcmu_gluster.iscsi.credit import Credit
from tcmu_gluster.iscsi.directory import Directory
from tcmu_gluster.iscsi.life import State
from tcmu_gluster.iscsi.login import Refusal
from tcmu_gluster.iscsi.pace import Pace
from tcmu_gluster.iscsi.session import Session, SessionRegistry
from tcmu_gluster.iscsi.settings import DEFAULTS, Settings
from tcmu_gluster.iscsi.task_set import (
    ConnectionJoined,
    IscsiCommand,
    IscsiTaskManagement,
    SessionEnded,
    SessionStarted,
)
from tcmu_gluster.scsi.command import Command, Response

log = logging.getLogger("tcmu_gluster.iscsi")

IOV_MAX = min(os.sysconf("SC_IOV_MAX"), 1024)
SWEEP_SECONDS = 0.5
"""How late a deadline of a connection may be noticed."""
LARGEST_BACKLOG_BYTES = 32 << 20
"""A connection that has not taken this much of its answers is not read from until it has."""
ACCEPTS_A_TURN = 2  # newcomers between two looks at those who are in: a crowd at the door costs them next to nothing
PAUSE_SECONDS = 1.0
"""How long nobody is accepted once the process has no descriptor left: the listener would wake us all the time."""
TRIM_SECONDS = 5.0
"""How often the buffer pool gives back what it did not need meanwhile."""


class Peer:
    """One accepted socket and its connection."""

    __slots__ = (
        "_flush_due", "_incoming", "_pending", "_reading", "_taken_bytes", "_writing", "address", "connection", "front",
        "in_login", "session", "sock", "stuck_at",
    )  # fmt: skip

    def __init__(
        self, front: IscsiFront, sock: socket.socket, address: str, local_address: str, directory: Directory
    ) -> None:
        self.front, self.sock, self.address = front, sock, address
        self.connection = Connection(
            directory, front.registry, front.shares.of(group_of(address)), front.loop.time(), peer_address=address,
            local_address=local_address, settings=front.settings, done=self.done, wake=self.wake,
            refused=self.refused,
        )  # fmt: skip
        self.session: Optional[Session] = None
        self._pending: list[Any] = []
        self._reading = self._writing = self._flush_due = False
        self.stuck_at: Optional[float] = None
        self._taken_bytes = 0
        self._incoming = Pace(front.settings.slow_sender_seconds, front.settings.slow_sender_bytes)
        self.in_login = True
        """Counted among the connections that have not logged in."""
        self._want_input()

    # -- in ------------------------------------------------------------------------------------------------------

    def readable(self) -> None:
        """The socket has bytes, or its end."""
        connection = self.connection
        try:
            count = self.sock.recv_into(connection.receive_buffer())
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.lost(f"receiving failed: {error.strerror}")
            return
        if not count:
            self.lost("the initiator closed the connection")
            return
        self._incoming.moved += count
        connection.received(count, self.front.loop.time())
        self.run()

    def run(self) -> None:
        """Execute what the connection has for us, and send what it answers."""
        connection = self.connection
        events = connection.commands()
        while events:
            complete = connection.complete
            for event in events:
                if event.__class__ is IscsiCommand:
                    response = self.session.target.execute(event)  # type: ignore[union-attr]
                    if response is not None:
                        complete(event, response)
                else:
                    self._handle(event)
            events = connection.commands()
        self.flush()

    def _handle(self, event: Any) -> None:
        """Everything but a command."""
        if isinstance(event, IscsiTaskManagement):
            assert self.session is not None

            def ended(code: int) -> None:
                self.connection.complete_management(event, code)
                self.wake()

            self.session.target.manage(event, ended)
        elif isinstance(event, SessionStarted):
            self.front.run_woken()  # a session that this one replaces has to end before
            self.session = event.session
            self._logged_in(event.session)
            self.front.session_started(event.session, self)
        elif isinstance(event, ConnectionJoined):
            self.front.run_woken()  # tasks of a connection that this one replaces have to end before
            self.session = event.session
            self._logged_in(event.session)
        elif isinstance(event, SessionEnded):
            self.front.session_ended(event.session, event.why)

    def _logged_in(self, session: Session) -> None:
        if session.entry is not None and self.in_login:
            self.in_login = False
            self.front.admission.logged_in(self.address)

    def refused(self, refusal: Refusal, now: float) -> float:
        """A login failed; how long its answer waits."""
        who = refusal.initiator_name or "nobody"
        self.front.tell("login of %s from %s refused: %s", who, self.address, refusal.why)
        self.front.on_refusal(refusal, self.address)
        if not refusal.unproved:
            return 0.0
        self.in_login = False
        return self.front.admission.failed(self.address, now)

    def done(self, command: Command, response: Response) -> None:
        """A command ended later."""
        self.connection.complete(command, response)  # type: ignore[arg-type]
        if not self._flush_due:
            self.wake()

    def wake(self) -> None:
        """Something happened that no call of ours caused: look after it at the end of this turn of the loop."""
        if not self._flush_due:
            self._flush_due = True
            self.front.note_woken(self)

    def woken(self) -> None:
        """The end of the turn has come."""
        self._flush_due = False
        self.run()

    # -- out -----------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what there is, as far as the socket takes it."""
        if not self._pending:  # else the socket is full: writable() goes on
            buffers = self.connection.data_to_send()
            if buffers:
                self._send(buffers)
        if not self._pending or self.connection.state is State.DEAD:
            self._settle()

    def _send(self, buffers: list[Any]) -> None:
        """sendmsg until all is gone (then release) or the socket is full (then keep the rest)."""
        try:
            while buffers:
                batch = buffers if len(buffers) <= IOV_MAX else buffers[:IOV_MAX]
                sent = self.sock.sendmsg(batch)
                self._taken_bytes += sent
                buffers = _rest(buffers, sent)
                if buffers and len(batch) == IOV_MAX:
                    continue
                if buffers:
                    break
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self.lost(f"sending failed: {error.strerror}")
            return
        self._pending = buffers
        if buffers:
            if not self._writing:
                self._writing = True
                self.stuck_at, self._taken_bytes = self.front.loop.time(), 0
                self.front.loop.add_writer(self.sock, self.writable)
            self._want_input()
        else:
            self.connection.release()

    def writable(self) -> None:
        """The socket takes more."""
        self.connection.taken(self.front.loop.time())
        if self._pending:
            self._send(self._pending)
        if not self._pending and self._writing:
            self._writing = False
            self.front.loop.remove_writer(self.sock)
            self.stuck_at = None
            self.run()

    def _settle(self) -> None:
        """All is sent: close if the connection wants it, else see whether to read on."""
        if self.connection.wants_close:
            self.lost(self.connection.why)
        else:
            self._want_input()

    def _want_input(self) -> None:
        backlog = self.connection.output_bytes + sum(map(len, self._pending))
        wanted = backlog <= LARGEST_BACKLOG_BYTES and self.connection.wants_input
        if wanted != self._reading and self.sock.fileno() >= 0:
            self._reading = wanted
            if wanted:
                self.front.loop.add_reader(self.sock, self.readable)
            else:
                self.front.loop.remove_reader(self.sock)

    # -- time and end --------------------------------------------------------------------------------------------

    def look_at_clock(self, now: float) -> None:
        """Deadlines of the connection, and of a peer that takes nothing, or sends next to nothing of what is due."""
        deadline = self.connection.next_deadline()
        if deadline is not None and now >= deadline:
            self.connection.handle_timeout(now)
            self.run()
        settings = self.front.settings
        if self.stuck_at is not None and now >= self.stuck_at + settings.slow_reader_seconds:
            if self._taken_bytes < settings.slow_reader_bytes:
                self.lost("the initiator takes its answers too slowly")
            else:
                self.stuck_at, self._taken_bytes = now, 0
        if self._incoming.too_slow(now, self.connection.owes and self._reading):
            self.lost("the initiator sends what it has begun too slowly")

    def lost(self, why: str) -> None:
        """The transport ends here."""
        if self.sock.fileno() < 0:
            return
        loop = self.front.loop
        loop.remove_reader(self.sock)
        loop.remove_writer(self.sock)
        self.sock.close()
        self._reading = self._writing = False
        self._pending = []
        self.stuck_at = None
        self.connection.closed(loop.time(), why)
        if self in self.front.peers:
            del self.front.peers[self]
            self.front.admission.leave(self.address, self.in_login)
        self.run()
        if self.session is None:
            self.front.tell("connection from %s ended: %s", self.address, why)


class IscsiFront:
    """All listeners and connections of one process."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        directory: TargetDirectory,
        settings: Settings = DEFAULTS,
        pool: Optional[BufferPool] = None,
        admission: Optional[Admission] = None,
        credit: Optional[Credit] = None,
    ) -> None:
        self.loop, self.directory, self.settings = loop, directory, settings
        self.pool = pool or BufferPool()
        self.shares = Shares(self.pool, settings.address_buffer_bytes)
        self.admission = admission or Admission()
        self.tell = Seldom(log.info, loop.time)
        self._warn = Seldom(log.warning, loop.time, most_lines=1)
        self.on_refusal: Callable[[Refusal, str], object] = lambda refusal, address: None
        """Hears of each login that was refused, and its address."""
        self.registry = SessionRegistry(self.admission.limits.connections, credit)
        self.peers: dict[Peer, None] = {}
        self._listeners: dict[Portal, socket.socket] = {}
        self._woken: list[Peer] = []
        self._sweep = loop.call_later(SWEEP_SECONDS, self._look_at_clock)
        self._trim_at = 0.0

    # -- listening -----------------------------------------------------------------------------------------------

    def listen(self, portal: Portal) -> Portal:
        """Accept initiators there; returns the portal with its real port. Raises ConfigError with the reason."""
        listener = listener_at(portal, self._listeners)
        actual = Portal(portal.address, listener.getsockname()[1])
        self._listeners[actual] = listener
        self.loop.add_reader(listener, self._accept, listener, self.directory.behind(actual))
        return actual

    def stop_listening(self, portal: Portal) -> None:
        """No further initiators there; connections that exist go on. Raises KeyError."""
        listener = self._listeners.pop(portal)
        self.loop.remove_reader(listener)
        listener.close()

    def _accept(self, listener: socket.socket, directory: Directory) -> None:
        for _ in range(ACCEPTS_A_TURN):
            try:
                sock, address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("can't accept a connection: %s; trying again in a second", error.strerror)
                self.loop.remove_reader(listener)
                self.loop.call_later(PAUSE_SECONDS, self._accept_again, listener, directory)
                return
            why = self.admission.arrive(address[0], self.loop.time())
            if why:
                sock.close()
                self._warn("connection from %s closed at once: %s", address[0], why)
                continue
            try:
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                host, port = sock.getsockname()[:2]
                self.peers[Peer(self, sock, address[0], str(Portal(host, port)), directory)] = None
            except OSError:  # it has gone already
                self.admission.leave(address[0], in_login=True)
                sock.close()

    def _accept_again(self, listener: socket.socket, directory: Directory) -> None:
        if listener.fileno() >= 0:
            self.loop.add_reader(listener, self._accept, listener, directory)

    # -- sessions ------------------------------------------------------------------------------------------------

    def session_started(self, session: Session, peer: Peer) -> None:
        """An initiator has logged in."""
        if session.target is not None:
            session.target.attach(session.nexus)
            log.info("%s logged in to %s from %s", session.nexus, session.target.name, peer.address)

    def session_ended(self, session: Session, why: str) -> None:
        """An I_T nexus is lost."""
        if session.target is not None:
            session.target.detach(session.nexus)
            log.info("%s left %s: %s", session.nexus, session.target.name, why)

    def sessions(self) -> Iterable[Session]:
        """Every session that is not a discovery session."""
        return [session for session in self.registry.by_tsih.values() if session.entry is not None]

    def end_session(self, session: Session, why: str) -> None:
        """Drop a session's connections; its initiator is told."""
        self.registry.end(session, why, tell=True)

    # -- wakes and time ------------------------------------------------------------------------------------------

    def note_woken(self, peer: Peer) -> None:
        """peer wants to be looked after at the end of this turn of the loop."""
        if not self._woken:
            self.loop.call_soon(self.run_woken)
        self._woken.append(peer)

    def run_woken(self) -> None:
        """Look after those who want it."""
        woken, self._woken = self._woken, []
        for peer in woken:
            peer.woken()

    def _look_at_clock(self) -> None:
        now = self.loop.time()
        for peer in tuple(self.peers):
            peer.look_at_clock(now)
        if self.registry.recovering:
            self.registry.handle_timeout(now)
        if now >= self._trim_at:
            self._trim_at = now + TRIM_SECONDS
            self.pool.trim()
        self._sweep = self.loop.call_later(SWEEP_SECONDS, self._look_at_clock)

    # -- stop ----------------------------------------------------------------------------------------------------

    async def stop(self, seconds: float = 5.0) -> None:
        """Refuse newcomers, ask every initiator to log out, wait so long for it, then close what is left."""
        for portal in tuple(self._listeners):
            self.stop_listening(portal)
        now = self.loop.time()
        for peer in tuple(self.peers):
            peer.connection.request_logout(now)
            peer.run()
        deadline = now + seconds
        while self.peers and self.loop.time() < deadline:
            await asyncio.sleep(0.02)
        for peer in tuple(self.peers):
            peer.lost("the target shuts down")
        self.run_woken()
        self._sweep.cancel()


def _rest(buffers: list[Any], sent: int) -> list[Any]:
    """What is left of buffers after sent bytes have gone."""
    for index, buffer in enumerate(buffers):
        size = len(buffer)
        if sent < size:
            return [memoryview(buffer)[sent:], *islice(buffers, index + 1, None)]
        sent -= size
    return []
