"""Copy operations: one while it runs and until its results are forgotten, those of a unit by list identifier, and the
copy manager, which knows the units of the process by their designators and the tokens that name their data.

An initiator reaches another unit only where it is logged in to it as well: naming a disk is not a way around access
rules. A front that does not know its initiators (LIO's) can copy within one unit.

Source: SPC-4 5.17 (third-party copies), 6.24 to 6.26 (what is told of them).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Optional
from weakref import WeakSet

from tcmu_gluster.backends.base import Operation
from tcmu_gluster.scsi.background import Pause
from tcmu_gluster.scsi.command import GOOD, Command, Nexus, Response
from tcmu_gluster.scsi.copy_descriptors import ALL_COPIES, UNIT_COPIES
from tcmu_gluster.scsi.copy_parts import CHUNK_BYTES, Work
from tcmu_gluster.scsi.copy_sense import CopyAborted, PartFailed
from tcmu_gluster.scsi.designation import BINARY, NAA
from tcmu_gluster.scsi.overlap import COPIES
from tcmu_gluster.scsi.sense import Asc, IllegalRequest, InvalidFieldInCdb, TaskSetFull
from tcmu_gluster.scsi.task import Task
from tcmu_gluster.scsi.tokens import Secret, Tokens

if TYPE_CHECKING:
    from tcmu_gluster.scsi.logical_unit import LogicalUnit
    from tcmu_gluster.scsi.maintenance import Clock
    from tcmu_gluster.scsi.task import Result, Steps

RESULTS = 256
"""How many copies of a unit are remembered after their end; then the oldest are forgotten."""


class CopyStatus(IntEnum):
    """COPY OPERATION STATUS.  Source: SPC-4 table 249."""

    COMPLETED = 0x01
    FAILED = 0x02
    PARTIAL_TOKEN = 0x03
    IN_FOREGROUND = 0x11
    IN_BACKGROUND = 0x12
    TERMINATED = 0x60


class Copy:
    """One copy operation.

    commands        how many commands of its own ended GOOD (OPERATION COUNTER)
    moved_bytes     what the destination has, segment_bytes of it in the segment that runs
    segments        how many were begun
    token           the ROD token that it made and that nobody fetched yet
    check           raises if the source may not be used any more
    """

    def __init__(self, unit: LogicalUnit, nexus: Nexus, list_id: Optional[int], service_action: int) -> None:
        self.unit, self.nexus, self.list_id, self.service_action = unit, nexus, list_id, service_action
        self.status = CopyStatus.IN_FOREGROUND
        self.command: Optional[Command] = None
        self.commands = self.moved_bytes = self.segment_bytes = self.segments = 0
        self.response = GOOD
        self.token = b""
        self.met: dict[LogicalUnit, int] = {}
        """Units that it has asked, with how often they had been reset by then."""
        self.check: Callable[[], None] = _fine
        self._room: Optional[memoryview] = None

    @property
    def is_running(self) -> bool:
        return self.status in (CopyStatus.IN_FOREGROUND, CopyStatus.IN_BACKGROUND)

    def room(self, length: int) -> memoryview:
        """The copy's memory, of which length bytes (at most a chunk, or one block) are wanted."""
        if self._room is None or len(self._room) < length:
            self._room = memoryview(bytearray(max(length, CHUNK_BYTES)))
        return self._room[:length]

    def moved(self, length: int) -> Work:
        """So many more bytes are where they should be. Others have the loop now."""
        self.moved_bytes += length
        self.segment_bytes += length
        if self.unit.later is not None:
            yield Pause(self.unit.later, 0.0)

    def end(self, status: CopyStatus, response: Response = GOOD) -> None:
        """It is over."""
        if self.is_running:
            self.status, self.response, self._room, self.command = status, response, None, None
            self.unit.copies.ended(self)


class CopyManager:
    """The units of one process, and the tokens. clock (seconds) and secret (random bytes): without them, no tokens."""

    def __init__(self, clock: Optional[Clock] = None, secret: Optional[Secret] = None) -> None:
        self.units: WeakSet[LogicalUnit] = WeakSet()
        self.running = 0
        self.tokens = Tokens(clock, secret) if clock is not None and secret is not None else None

    def join(self, unit: LogicalUnit) -> None:
        """A unit takes part from now on."""
        self.units.add(unit)

    def leave(self, unit: LogicalUnit) -> None:
        """A unit is taken away: nobody finds it any more, and its tokens are worth nothing."""
        self.units.discard(unit)
        if self.tokens is not None:
            self.tokens.unit_gone(unit)

    def find(
        self, asked: LogicalUnit, nexus: Nexus, code_set: int, designator_type: int, designator: bytes
    ) -> Optional[tuple[LogicalUnit, Nexus]]:
        """The unit of that designator and the nexus as which it is asked: asked itself, or one that the initiator sees.

        None if the initiator sees none of that name.
        """
        for unit in (asked, *(unit for unit in self.units if unit is not asked)):
            if names(unit, code_set, designator_type, designator):
                seen_as = nexus if unit is asked else _seen_as(unit, nexus)
                if seen_as is not None:
                    return unit, seen_as
        return None


def names(unit: LogicalUnit, code_set: int, designator_type: int, designator: bytes) -> bool:
    """Whether a designator (of a logical unit) of VPD page 83h is the unit's."""
    return (code_set, designator_type, designator) == (BINARY, NAA, unit.identity.naa)


def _seen_as(unit: LogicalUnit, nexus: Nexus) -> Optional[Nexus]:
    """As which nexus the initiator of nexus is logged in to a unit: the same one, or through another target."""
    attached = unit.attentions.nexuses()
    if nexus in attached:
        return nexus
    return next((other for other in attached if other.initiator_name == nexus.initiator_name), None)


class Copies:
    """The copies whose commands one unit was sent."""

    def __init__(self, unit: LogicalUnit, manager: CopyManager) -> None:
        self._unit, self.manager = unit, manager
        self.running = self.resets = 0
        self._named: dict[tuple[Nexus, int], Copy] = {}

    def begin(self, command: Command, list_id: Optional[int], service_action: int) -> Copy:
        """A new copy. Raises IllegalRequest if its name is in use, TaskSetFull if too many run.

        The results of an older copy of that name are forgotten.
        """
        key = (command.nexus, list_id or 0)
        if list_id is not None:
            older = self._named.get(key)
            if older is not None and older.is_running:
                raise IllegalRequest(Asc.OPERATION_IN_PROGRESS)
            self._named.pop(key, None)
        if self.running >= UNIT_COPIES or self.manager.running >= ALL_COPIES:
            raise TaskSetFull()
        copy = Copy(self._unit, command.nexus, list_id, service_action)
        self.running += 1
        self.manager.running += 1
        if list_id is not None:
            self._named[key] = copy
        return copy

    def ended(self, copy: Copy) -> None:
        """A copy told that it is over."""
        self.running -= 1
        self.manager.running -= 1
        over = [key for key, kept in self._named.items() if not kept.is_running]
        for key in over[: max(len(over) - RESULTS, 0)]:
            del self._named[key]

    def find(self, nexus: Nexus, list_id: int) -> Copy:
        """The copy that a nexus named so. Raises InvalidFieldInCdb."""
        copy = self._named.get((nexus, list_id))
        if copy is None:
            raise InvalidFieldInCdb("list_identifier")
        return copy

    def leave(self) -> None:
        """The unit is taken away: copies that it takes part in fail, and nobody finds it any more."""
        self.manager.leave(self._unit)

    def blocks_change(self, command: Command) -> None:
        """A command is about to change blocks while tokens name some of the unit's."""
        tokens = self.manager.tokens
        if tokens is not None and command.entry.overlap != COPIES:  # whose parts come here one by one
            first, end = command.entry.blocks_of(command)
            tokens.blocks_change(self._unit, first, end, getattr(command, "copy", None))

    def forget(self, copy: Copy) -> None:
        """Its results were told."""
        self._named.pop((copy.nexus, copy.list_id or 0), None)

    def forget_results(self, nexus: Optional[Nexus] = None) -> None:
        """A reset, or the loss of a nexus: the results of what has ended are forgotten."""
        self.resets += nexus is None
        for key, copy in tuple(self._named.items()):
            if not copy.is_running and nexus in (None, copy.nexus):
                del self._named[key]


class Unattended(Command):
    """What runs on after its command was answered: of no nexus, ended by a reset or COPY OPERATION ABORT alone."""

    __slots__ = ()

    def belongs_to(self, nexus: Nexus) -> bool:
        """The loss of a nexus changes nothing.  Source: SPC-4 table 109."""
        return False


def carry_out(unit: LogicalUnit, command: Command, copy: Copy, work: Steps, *, immed: bool) -> Result:
    """What a handler returns for a copy: its steps; or GOOD at once (immed), while they go on in the background."""
    if not immed:
        copy.command = command
        return _whole(unit, command, copy, work)
    unattended = Unattended(command.cdb, command.nexus, tag=-1, done=_told)
    unattended.entry, unattended.fields = command.entry, command.fields
    copy.status, copy.command = CopyStatus.IN_BACKGROUND, unattended
    unattended.task = task = Task(unit, unattended)
    if task.run(_whole(unit, unattended, copy, work)) is None:
        unit.tasks.add(task)
    return GOOD


def _whole(unit: LogicalUnit, command: Command, copy: Copy, work: Steps) -> Generator[Operation, Any, Response]:
    """The work, and how it ended for those who ask later."""
    try:
        response = yield from work
    except GeneratorExit:
        copy.end(CopyStatus.TERMINATED)
        raise
    except PartFailed as failed:  # of a copy without segments: its own unit's answer is the command's
        response = failed.response
        copy.end(CopyStatus.FAILED, response)
    except Exception as error:
        response = unit.answer(command, error)
        copy.end(CopyStatus.FAILED, response)
    else:
        copy.end(copy.status if not copy.is_running else CopyStatus.COMPLETED, response)
    return response


def cleared(unit: LogicalUnit) -> Response:
    """How a foreground copy ends that COPY OPERATION ABORT aborted.  Source: SPC-4 5.17.4.7."""
    return CopyAborted(Asc.COMMANDS_CLEARED_BY_DEVICE_SERVER).response(unit.descriptor_sense)


def _told(command: Command, response: Response) -> None:
    """The command was answered long ago; the copy keeps what there is to tell."""


def _fine() -> None:
    """Nothing speaks against it."""
