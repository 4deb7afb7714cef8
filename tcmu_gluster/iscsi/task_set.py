"""The commands of a session by Initiator Task Tag, and what the engine hands to its shell.

A command is HELD while commands with lower CmdSN are missing, PREPARING while it waits for memory or Data-Out,
EXECUTING from the moment the shell gets it until it is completed, then ENDED; ANSWERED in between if its connection was
lost and it may be reassigned (ErrorRecoveryLevel 2). What task management does to an EXECUTING
command is the SCSI core's business: it ends the command (scsi.command.ABORTED: nothing is sent) before it answers the
request. A command before that is dropped here, and nobody else has ever heard of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Optional, Union

from tcmu_gluster.iscsi.buffers import SMALL_BYTES
from tcmu_gluster.scsi.command import Command, Done, Function, Nexus, TaskManagement

if TYPE_CHECKING:
    from tcmu_gluster.iscsi.burst import Transfer
    from tcmu_gluster.iscsi.connection import Connection


class TaskPhase(Enum):
    """Where a command is."""

    HELD = "not its turn by CmdSN"
    PREPARING = "waits for memory or data"
    EXECUTING = "with the SCSI core"
    ANSWERED = "its answer waits for a connection"
    ENDED = "answered or dropped"


HELD, PREPARING, EXECUTING, ENDED = TaskPhase.HELD, TaskPhase.PREPARING, TaskPhase.EXECUTING, TaskPhase.ENDED
ANSWERED = TaskPhase.ANSWERED


class IscsiCommand(Command):
    """A SCSI command that came over iSCSI. tag is the Initiator Task Tag.

    memory      pooled memory for its data, or None while its data is small or absent
    numbered    it used up a CmdSN, so that its end opens the window
    """

    __slots__ = ("connection", "lun_field", "memory", "numbered", "phase", "transfer")

    def __init__(
        self,
        connection: Connection,
        cdb: bytes,
        nexus: Nexus,
        lun: int,
        lun_field: int,
        tag: int,
        attribute: int,
        data_in_bytes: int,
        data_out_bytes: int,
        numbered: bool,
        done: Optional[Done],
    ) -> None:  # sets the slots of Command itself: one call less on the hot path
        self.connection = connection
        self.cdb = cdb
        self.nexus = nexus
        self.lun = lun
        self.lun_field = lun_field
        self.tag = tag
        self.attribute = attribute
        self.data_in_bytes = data_in_bytes
        self.data_out_bytes = data_out_bytes
        self.numbered = numbered
        self.done = done
        self.data_out: Sequence[memoryview] = ()
        self.fields = self.entry = self.task = None
        self.data_out_wanted = -1
        self.memory: Optional[memoryview] = None
        self.transfer: Optional[Transfer] = None
        self.phase = PREPARING

    def data_in(self, length: int) -> Sequence[memoryview]:
        """Memory for length bytes of Data-In: fresh and zero if small, else pooled and NOT cleared: fill all of it."""
        memory = self.memory
        if length <= SMALL_BYTES or memory is None or length > len(memory):
            return (memoryview(bytearray(length)),)
        return (memory if len(memory) == length else memory[:length],)

    def memory_ready(self, view: memoryview) -> None:
        """The buffer pool has served this command (buffers.Waiter)."""
        self.connection.intake.memory_ready(self, view)


class IscsiTaskManagement(TaskManagement):
    """A task management request whose answer this connection owes; end it with complete_management()."""

    numbered = False
    """Whether it used up a CmdSN."""
    asked = True
    """False for the engine's own requests (a connection was lost): nobody waits for the answer."""


class SessionStarted:
    """An initiator has logged in: the shell may log it and tell the target."""

    __slots__ = ("session",)

    def __init__(self, session: Any) -> None:
        self.session = session


class ConnectionJoined:
    """This connection is a further one of a session that exists, or replaces one of its connections.

    Before it executes a command of this connection the shell takes the events of connections that were woken: their
    aborted tasks may have tags that come again here.
    """

    __slots__ = ("session",)

    def __init__(self, session: Any) -> None:
        self.session = session


class SessionEnded:
    """The session is gone (logout, reinstatement, all connections lost): the I_T nexus is lost.

    The shell tells session.target so, which ends every task of session.nexus. why is a sentence for the log.
    """

    __slots__ = ("session", "why")

    def __init__(self, session: Any, why: str) -> None:
        self.session, self.why = session, why


Event = Union[IscsiCommand, IscsiTaskManagement, SessionStarted, ConnectionJoined, SessionEnded]
"""All that Connection.commands() returns."""


class TaskSet(dict[int, IscsiCommand]):
    """The commands of a session that have not ended, by Initiator Task Tag."""

    def before_execution(self, lun: Optional[int] = None) -> list[IscsiCommand]:
        """Those the SCSI core doesn't know yet, of one LUN or all."""
        return [task for task in self._of(lun) if task.phase is not EXECUTING]

    def allegiant_to(self, connection: Connection) -> list[IscsiCommand]:
        """Those that came over this connection."""
        return [task for task in self.values() if task.connection is connection]

    def _of(self, lun: Optional[int]) -> Iterator[IscsiCommand]:
        return (task for task in self.values() if lun is None or task.lun == lun)


LUN_WIDE = frozenset((Function.ABORT_TASK_SET, Function.CLEAR_TASK_SET, Function.LOGICAL_UNIT_RESET))
TARGET_WIDE = frozenset((Function.TARGET_WARM_RESET, Function.TARGET_COLD_RESET))
