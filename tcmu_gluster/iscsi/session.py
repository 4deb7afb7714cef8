"""Sessions: an I_T nexus over one or more connections, and the registry where they are found.  Source: RFC 7143 4.4."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from tcmu_gluster.iscsi.credit import Credit
from tcmu_gluster.iscsi.directory import TargetEntry
from tcmu_gluster.iscsi.keys import Parameters
from tcmu_gluster.iscsi.pdu import LoginError, LoginStatus
from tcmu_gluster.iscsi.recovery import Lost, Parked, end_waiting, give_up, tell_session_drop
from tcmu_gluster.iscsi.serial import CommandWindow
from tcmu_gluster.iscsi.task_set import TaskSet
from tcmu_gluster.scsi.command import Nexus

if TYPE_CHECKING:
    from tcmu_gluster.iscsi.connection import Connection

_ISCSI_TRANSPORT_ID = 0x45  # FORMAT CODE 01b, PROTOCOL IDENTIFIER 5h


def transport_id(initiator_name: str, isid: bytes) -> bytes:
    """The TransportID of an iSCSI initiator port: name, ",i,0x", ISID; NUL-terminated and padded to a multiple of 4.

    Source: SPC-4 7.6.4.6.
    """
    text = f"{initiator_name},i,0x{isid.hex()}".encode() + b"\0"
    text += bytes(-len(text) % 4)
    return bytes((_ISCSI_TRANSPORT_ID, 0)) + len(text).to_bytes(2, "big") + text


class Session:
    """One session. entry is None for discovery. Its parameters are those of the leading connection."""

    def __init__(
        self, tsih: int, isid: bytes, entry: Optional[TargetEntry], parameters: Parameters, window: CommandWindow
    ) -> None:
        self.tsih, self.isid, self.entry, self.parameters, self.window = tsih, isid, entry, parameters, window
        self.initiator_name = parameters.initiator_name
        self.initiator_alias = parameters.initiator_alias
        self.tasks = TaskSet()
        self.connections: dict[int, Connection] = {}
        """By CID."""
        self.lost: dict[Connection, Lost] = {}
        """Connections whose tasks may be reassigned (ErrorRecoveryLevel 2)."""
        self.parked: dict[int, Parked] = {}
        """Answers of such tasks, by task tag."""
        self.ended = False
        self.lent = "", 0
        """Whose share of the outstanding commands its window is, and how many."""
        self.nexus = Nexus(self.initiator_name, isid)
        if entry is not None:
            self.nexus = Nexus(
                self.initiator_name, isid, entry.name, entry.relative_target_port,
                transport_id=transport_id(self.initiator_name, isid),
            )  # fmt: skip

    @property
    def target(self) -> Any:
        """scsi.target.Target, for the shell; None in a discovery session."""
        return self.entry.target if self.entry is not None else None

    @property
    def target_name(self) -> str:
        """The target's iSCSI name; empty in a discovery session."""
        return self.entry.name if self.entry is not None else ""

    @property
    def key(self) -> tuple[str, bytes, str, int]:
        """What makes a session one: a second login with the same key replaces it (RFC 7143 6.3.5)."""
        if self.entry is None:
            return self.initiator_name, self.isid, "", 0
        return self.initiator_name, self.isid, self.entry.name, self.entry.portal_group_tag

    def __str__(self) -> str:
        where = self.entry.name if self.entry is not None else "discovery"
        return f"session {self.tsih} of {self.nexus} with {where}"


class SessionRegistry:
    """Every session behind a portal group. One for all connections of a process is fine."""

    def __init__(self, max_sessions: int = 1024, credit: Optional[Credit] = None) -> None:
        self.max_sessions, self.credit = max_sessions, credit or Credit()
        self.by_tsih: dict[int, Session] = {}
        self.recovering: set[Session] = set()
        """Sessions with lost connections."""
        self._by_key: dict[tuple[str, bytes, str, int], Session] = {}
        self._last_tsih = 0

    def __len__(self) -> int:
        return len(self.by_tsih)

    def find(self, tsih: int, initiator_name: str, isid: bytes) -> Session:
        """The session a further connection asks for. Raises LoginError(SESSION_DOES_NOT_EXIST)."""
        session = self.by_tsih.get(tsih)
        if session is None or session.initiator_name != initiator_name or session.isid != isid:
            raise LoginError(LoginStatus.SESSION_DOES_NOT_EXIST, f"{initiator_name} has no session {tsih}")
        return session

    def start(
        self, isid: bytes, entry: Optional[TargetEntry], parameters: Parameters, window: CommandWindow,
        address: str = "", commands: int = 1,
    ) -> Session:  # fmt: skip
        """A new session, its window open for up to so many commands, on account of its address.

        One with the same key is replaced: its connections are dropped, its tasks end first.
        Discovery sessions are not replaced. Raises LoginError(OUT_OF_RESOURCES).
        """
        probe = Session(0, isid, entry, parameters, window)
        old = self._by_key.get(probe.key) if entry is not None else None
        if old is not None:
            self.end(old, "the initiator logged in anew (session reinstatement)")
        if len(self.by_tsih) >= min(self.max_sessions, 0xFFFF):
            raise LoginError(LoginStatus.OUT_OF_RESOURCES, f"{self.max_sessions} sessions are open, that is the limit")
        granted = self.credit.lend(address, commands)
        probe.lent = address, granted
        window.open(granted)
        probe.tsih = self._free_tsih()
        self.by_tsih[probe.tsih] = probe
        if entry is not None:
            self._by_key[probe.key] = probe
        return probe

    def end(self, session: Session, why: str, *, tell: bool = False) -> None:
        """The session ends: no connection of it goes on. Its last connection tells its shell (SessionEnded).

        tell: its initiator hears so first (asynchronous message 3).
        """
        if session.ended:
            return
        if tell:
            tell_session_drop(session)
        session.ended = True
        self.credit.give_back(*session.lent)
        self.by_tsih.pop(session.tsih, None)
        if self._by_key.get(session.key) is session:
            del self._by_key[session.key]
        connections = [*session.lost, *session.connections.values()]
        self.recovering.discard(session)
        end_waiting(session)
        for connection in connections:
            connection.leave_session(why, last=connection is connections[-1])

    def handle_timeout(self, now: float) -> None:
        """Tasks that were not reassigned in time end, and sessions that have no connection any more."""
        for session in tuple(self.recovering):
            for connection in [connection for connection, lost in session.lost.items() if now >= lost.until]:
                if session.connections or len(session.lost) > 1:
                    give_up(session, connection)
                else:
                    self.end(session, "no connection came back in time")
            if not session.lost:
                self.recovering.discard(session)

    def of_target(self, name: str) -> list[Session]:
        """The sessions with one target."""
        return [session for session in self.by_tsih.values() if session.target_name == name]

    def _free_tsih(self) -> int:
        tsih = self._last_tsih
        while True:
            tsih = tsih % 0xFFFF + 1
            if tsih not in self.by_tsih:
                self._last_tsih = tsih
                return tsih
