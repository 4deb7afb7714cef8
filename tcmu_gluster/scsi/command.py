"""What the two fronts and the SCSI core say to each other: Command, Response, Nexus, TaskManagement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Optional


class Status(IntEnum):
    """SAM-5 status codes that this target sends."""

    GOOD = 0x00
    CHECK_CONDITION = 0x02
    CONDITION_MET = 0x04
    BUSY = 0x08
    RESERVATION_CONFLICT = 0x18
    TASK_SET_FULL = 0x28
    ACA_ACTIVE = 0x30
    TASK_ABORTED = 0x40


class TaskAttribute(IntEnum):
    """SAM-5 task attributes, with iSCSI's numbers (RFC 7143 11.3.1). UNTAGGED counts as SIMPLE."""

    UNTAGGED = 0
    SIMPLE = 1
    ORDERED = 2
    HEAD_OF_QUEUE = 3
    ACA = 4


class Function(IntEnum):
    """SAM-5 task management functions, with iSCSI's numbers (RFC 7143 11.5.1)."""

    ABORT_TASK = 1
    ABORT_TASK_SET = 2
    CLEAR_ACA = 3
    CLEAR_TASK_SET = 4
    LOGICAL_UNIT_RESET = 5
    TARGET_WARM_RESET = 6
    TARGET_COLD_RESET = 7
    TASK_REASSIGN = 8


class ManagementResponse(IntEnum):
    """How a task management function ended, with iSCSI's numbers (RFC 7143 11.6.1)."""

    FUNCTION_COMPLETE = 0
    TASK_DOES_NOT_EXIST = 1
    LUN_DOES_NOT_EXIST = 2
    TASK_STILL_ALLEGIANT = 3
    TASK_REASSIGN_NOT_SUPPORTED = 4
    FUNCTION_NOT_SUPPORTED = 5
    FUNCTION_AUTHORIZATION_FAILED = 6
    FUNCTION_REJECTED = 255


NO_LUN = -1
"""The number of a LUN field in an addressing method that no unit of ours can have."""


def lun_number(field: int) -> int:
    """The number that an 8-byte LUN field (as an integer) names, or NO_LUN.  Source: SAM-5 4.7."""
    if not field:
        return 0
    first = field >> 48
    method = first >> 14
    if not field & 0xFFFFFFFFFFFF:
        if method == 0b00:  # peripheral device addressing; only bus 0 is ours
            return first if first < 256 else NO_LUN
        if method == 0b01:  # flat space addressing
            return first & 0x3FFF
    if field >> 56 == 0xD2 and not field & 0xFFFFFFFF:  # extended flat space addressing, 24 bits
        return field >> 32 & 0xFFFFFF
    return NO_LUN


def lun_field(number: int) -> int:
    """The 8-byte LUN field of a LUN number: peripheral addressing below 256, flat below 16384, else extended flat."""
    if number < 256:
        return number << 48
    if number < 1 << 14:
        return (0x4000 | number) << 48
    return 0xD2 << 56 | number << 32


@dataclass(frozen=True)
class Nexus:
    """An I_T nexus: unit attentions, reservations and registrations belong to one. The ring tells none: it uses ANY.

    transport_id is the SPC-4 7.6.4 TransportID of the initiator port (iSCSI: format 01b, name and ISID);
    relative_target_port says through which of our ports it comes, portal_group_tag what iSCSI calls that port, and
    target_port_group the group that the port is in (ALUA).
    """

    initiator_name: str
    isid: bytes = b""
    target_name: str = ""
    relative_target_port: int = 1
    target_port_group: int = 1
    portal_group_tag: int = 1
    transport_id: bytes = field(default=b"", repr=False)
    _hash: int = field(default=0, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        key = (self.initiator_name, self.isid, self.target_name, self.relative_target_port, self.target_port_group)
        object.__setattr__(self, "_hash", hash(key))

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return f"{self.initiator_name},i,0x{self.isid.hex()}" if self.isid else self.initiator_name


ANY = Nexus("(kernel)")
"""The nexus of a front that isn't told who asks."""


class Response:
    """The end of a command: status, sense (bytes, only with CHECK CONDITION) and the Data-In that is valid."""

    __slots__ = ("data_in", "sense", "status")

    def __init__(self, status: int = Status.GOOD, data_in: Sequence[Any] = (), sense: bytes = b"") -> None:
        self.status, self.data_in, self.sense = status, data_in, sense

    def __repr__(self) -> str:
        moved = sum(map(len, self.data_in))
        sense = f", sense {self.sense.hex()}" if self.sense else ""
        return f"Response({Status(self.status).name}, {moved} bytes in{sense})"


GOOD = Response()
"""The one Response of every command that succeeded and returns no data. Never changed."""

ABORTED = Response(Status.TASK_ABORTED)
"""How a task ends that task management took away without a word to its initiator (compare with `is`).

The front frees what it holds for the command and sends nothing. Where the TAS bit asks for an answer to the nexus
whose task another one aborted, the unit gives a different Response with status TASK ABORTED, which is sent.
"""

Done = Callable[["Command", Response], None]


class Command:
    """One SCSI command on its way through the target. Made by a front, ended by exactly one Response.

    data_out        the Data-Out Buffer, complete (iSCSI: after all R2Ts), as memoryviews used as one
    data_in_bytes   how much Data-In the initiator will take (its allocation, the sum of the ring's iovecs)
    data_out_bytes  how much Data-Out the initiator means to send (iSCSI's expected data transfer length)
    data_out_wanted how much the CDB asks for, set by the handler of a command with Data-Out before it moves or refuses
                    data; -1 as long as nobody said. A front that reports residuals compares the two
    done            called once by LogicalUnit when execute() returned None: done(command, response)
    """

    __slots__ = (  # noqa: RUF023 (grouped by who sets them)
        "cdb", "lun", "nexus", "tag", "attribute", "data_out", "data_out_bytes", "data_in_bytes", "done",
        "fields", "entry", "task", "data_out_wanted",
    )  # fmt: skip
    is_part = False
    """Whether it is a step of a copy that runs (copy_parts.py): it doesn't queue behind who has yet to start."""

    def __init__(
        self,
        cdb: bytes,
        nexus: Nexus = ANY,
        *,
        lun: int = 0,
        tag: int = 0,
        attribute: int = TaskAttribute.SIMPLE,
        data_out: Sequence[memoryview] = (),
        data_out_bytes: int = 0,
        data_in_bytes: int = 0,
        done: Optional[Done] = None,
    ) -> None:
        self.cdb, self.nexus, self.lun, self.tag, self.attribute = cdb, nexus, lun, tag, attribute
        self.data_out, self.data_out_bytes, self.data_in_bytes = data_out, data_out_bytes, data_in_bytes
        self.done = done
        self.fields: Any = None  # the CDB's Record, set by LogicalUnit.execute
        self.entry: Any = None  # the row of the command table, likewise
        self.task: Any = None  # the running task, while there is one
        self.data_out_wanted = -1

    def data_in(self, length: int) -> Sequence[memoryview]:
        """Memory for length bytes of Data-In, to be handed back in Response.data_in.

        A front overrides it to hand out its own memory (the ring's data area, a pooled buffer). If length is more than
        the initiator takes, the front drops what is too much when it sends.
        """
        return (memoryview(bytearray(length)),)

    def belongs_to(self, nexus: Nexus) -> bool:
        """Whether it ends with that nexus."""
        return self.nexus == nexus

    def __str__(self) -> str:
        name = self.entry.name if self.entry else f"operation code {self.cdb[0]:02X}h"
        return f"{name} {self.cdb.hex()} from {self.nexus}"


@dataclass
class TaskManagement:
    """A task management request on its way. response is one of iSCSI's codes (RFC 7143 11.6.1)."""

    function: Function
    nexus: Nexus
    lun: int = 0
    referenced_tag: int = 0
    tag: int = 0
