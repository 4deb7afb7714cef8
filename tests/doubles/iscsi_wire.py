"""An iSCSI connection without sockets: the Initiator double at one end, the engine at the other, a small disk behind.

wire = Wire(keys={"HeaderDigest": "CRC32C"}, chunk=1)    # logged in; bytes are handed over one at a time
task = wire.write(0, b"x" * 4096); wire.pump(); task.status
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Optional

from tcmu_gluster.iscsi.auth import Authenticator, NoAuthentication
from tcmu_gluster.iscsi.buffers import BufferPool
from tcmu_gluster.iscsi.connection import Connection
from tcmu_gluster.iscsi.login import Refusal
from tcmu_gluster.iscsi.pdu import LoginStatus
from tcmu_gluster.iscsi.session import SessionRegistry
from tcmu_gluster.iscsi.settings import DEFAULTS, Settings
from tcmu_gluster.iscsi.task_set import IscsiCommand, IscsiTaskManagement
from tcmu_gluster.scsi.command import GOOD, ManagementResponse, Response, Status
from tests.doubles.initiator import Initiator, Task

TARGET = "iqn.2026-01.example:target"
BLOCK = 512
READ_10, WRITE_10 = 0x28, 0x2A


class Entry:
    """A target that admits everybody but those in `refused`."""

    def __init__(self, name: str = TARGET, *, alias: str = "", portals: Sequence[tuple[str, int]] = ()) -> None:
        self.name, self.alias = name, alias
        self.target: Any = object()
        self.portals = portals or [("192.0.2.1:3260", 1)]
        self.portal_group_tag = 1
        self.relative_target_port = 1
        self.refused: set[str] = set()
        self.redirect: Optional[tuple[str, bool]] = None

    def allows(self, initiator_name: str, peer_address: str) -> bool:
        return initiator_name not in self.refused


class Directory:
    """Targets by name; `authenticator` makes what every login gets."""

    def __init__(self, *entries: Entry, authenticator: Callable[[], Authenticator] = NoAuthentication) -> None:
        self.entries = {entry.name: entry for entry in entries or (Entry(),)}
        self.authenticator = authenticator
        self.absences: dict[str, LoginStatus] = {}

    def lookup(self, target_name: str) -> Optional[Entry]:
        return self.entries.get(target_name)

    def absence(self, target_name: str) -> LoginStatus:
        return self.absences.get(target_name, LoginStatus.NOT_FOUND)

    def targets_for(self, initiator_name: str, peer_address: str) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.allows(initiator_name, peer_address)]

    def authenticator_for(self, initiator_name: str, entry: Any, peer_address: str) -> Authenticator:
        return self.authenticator()


class Disk:
    """READ(10) and WRITE(10) of 512-byte blocks; every other command is GOOD."""

    def __init__(self, size: int = 1 << 20) -> None:
        self.bytes = bytearray(size)

    def execute(self, command: IscsiCommand) -> Response:
        start = int.from_bytes(command.cdb[2:6], "big") * BLOCK
        length = int.from_bytes(command.cdb[7:9], "big") * BLOCK
        if command.cdb[0] in (READ_10, WRITE_10) and start + length > len(self.bytes):
            return Response(Status.CHECK_CONDITION, sense=bytes.fromhex("700005000000000a000000002100000000000000"))
        if command.cdb[0] == READ_10:
            views = command.data_in(length)
            views[0][:] = self.bytes[start : start + length]
            return Response(0, views)
        if command.cdb[0] == WRITE_10:
            command.data_out_wanted = length
            data = b"".join(command.data_out)[:length]
            self.bytes[start : start + len(data)] = data
        return GOOD


def cdb_10(opcode: int, lba: int, blocks: int) -> bytes:
    """READ(10) or WRITE(10)."""
    return bytes((opcode, 0)) + lba.to_bytes(4, "big") + b"\0" + blocks.to_bytes(2, "big") + b"\0"


class Wire:
    """One connection and its initiator. hold: commands are kept in `held` instead of executed."""

    def __init__(
        self,
        keys: Optional[dict[str, str]] = None,
        *,
        settings: Settings = DEFAULTS,
        chunk: int = 0,
        login: bool = True,
        hold: bool = False,
        initiator: Optional[Initiator] = None,
        beside: Optional[Wire] = None,
        directory: Optional[Directory] = None,
        pool: Optional[BufferPool] = None,
        now: float = 0.0,
        hold_refusals_seconds: float = 0.0,
    ) -> None:
        self.refusals: list[Refusal] = []
        self.hold_refusals_seconds = hold_refusals_seconds
        self.directory = beside.directory if beside else (directory or Directory())
        self.registry = beside.registry if beside else SessionRegistry()
        self.pool = beside.pool if beside else (pool or BufferPool())
        self.disk = beside.disk if beside else Disk()
        self.now, self.chunk, self.hold = now, chunk, hold
        self.woken = 0
        self.connection = Connection(
            self.directory, self.registry, self.pool, now,
            peer_address="192.0.2.77", local_address="192.0.2.1:3260", settings=settings, wake=self._wake,
            refused=self._refused,
        )  # fmt: skip
        self.initiator = initiator or Initiator(keys=keys)
        self.held: list[IscsiCommand] = []
        self.executed: list[IscsiCommand] = []
        self.managed: list[IscsiTaskManagement] = []
        self.management_answer: Optional[int] = ManagementResponse.FUNCTION_COMPLETE
        self.events: list[Any] = []
        if login:
            self.initiator.login()
            self.pump()
            assert self.initiator.full_feature, f"login status {self.initiator.login_status}"

    def _refused(self, refusal: Refusal, now: float) -> float:
        self.refusals.append(refusal)
        return self.hold_refusals_seconds

    def _wake(self) -> None:
        self.woken += 1

    # -- moving bytes ------------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Hand bytes over in both directions until nobody has anything to say."""
        while True:
            data = self.initiator.take()
            self.give(data)
            answer = self.fetch()
            self.initiator.feed(answer)
            if not data and not answer:
                return

    def give(self, data: bytes) -> None:
        """Bytes for the target, as it wants to receive them, at most chunk at a time."""
        at = 0
        connection = self.connection
        while at < len(data) and connection.wants_input:
            view = connection.receive_buffer()
            assert len(view), "the target wants input but has no room"
            size = min(len(view), len(data) - at, self.chunk or len(data))
            view[:size] = data[at : at + size]
            at += size
            connection.received(size, self.now)
            self.run()
        self.run()

    def fetch(self) -> bytes:
        """What the target sends."""
        data = b"".join(bytes(buffer) for buffer in self.connection.data_to_send())
        self.connection.release()
        self.run()
        return data

    def fetch_into_initiator(self) -> None:
        """Only the target's half of a turn."""
        self.initiator.feed(self.fetch())

    def run(self) -> None:
        """Act on the connection's events."""
        for event in self.connection.commands():
            if isinstance(event, IscsiCommand):
                self.executed.append(event)
                if self.hold:
                    self.held.append(event)
                else:
                    self.connection.complete(event, self.disk.execute(event))
            elif isinstance(event, IscsiTaskManagement):
                self.managed.append(event)
                if self.management_answer is not None:
                    self.connection.complete_management(event, self.management_answer)
            else:
                self.events.append(event)

    def finish(self, response: Optional[Response] = None) -> None:
        """Complete what is held."""
        held, self.held = self.held, []
        for command in held:
            self.connection.complete(command, response or self.disk.execute(command))

    # -- commands ----------------------------------------------------------------------------------------------------

    def read(self, lba: int, length: int, **fields: Any) -> Task:
        """READ(10) of whole blocks."""
        return self.initiator.scsi(cdb_10(READ_10, lba, length // BLOCK), **{"read": length, **fields})

    def write(self, lba: int, data: bytes, **fields: Any) -> Task:
        """WRITE(10) of whole blocks."""
        return self.initiator.scsi(cdb_10(WRITE_10, lba, len(data) // BLOCK), **{"data_out": data, **fields})
