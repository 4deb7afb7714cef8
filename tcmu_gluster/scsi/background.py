"""What is done to the whole medium with no command that could be aborted: FORMAT UNIT and SANITIZE.

While it runs the unit is NOT READY with a progress indication; resets, lost nexuses and aborted commands change
nothing. A section of the record beside the disk says that it began, and goes when it has ended: a unit that finds the
section when it is opened has half of its blocks done, answers MEDIUM ERROR, and waits for a host that begins anew. It
does not begin by itself, because meanwhile another gateway may serve the disk. After a failed format whoever needs no
blocks is served, or a host could not find out what to format.

    IDLE ── start() ──▶ RUNNING ── all done ──▶ IDLE
                          └─────── error ─────▶ FAILED ── start(), leave_failure() ──▶ RUNNING, IDLE

Source: SBC-4 4.11 (sanitize), 4.33 (format); SPC-4 5.11.2 (progress).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Optional

from tcmu_gluster.backends.base import PENDING, Backend, Done, Flush, Operation, Outcome
from tcmu_gluster.scsi.command import GOOD, Command
from tcmu_gluster.scsi.persistence import DamagedRecord
from tcmu_gluster.scsi.sense import PROGRESS, Asc, CheckCondition, MediumError, NotReady

if TYPE_CHECKING:
    from tcmu_gluster.scsi.logical_unit import LogicalUnit
    from tcmu_gluster.scsi.task import Steps

SECTION = "background"
Work = Generator[Operation, Any, None]
Later = Callable[[float, Callable[[], None]], Any]
"""later(seconds, function): the front's loop calls function then."""


@dataclass(frozen=True)
class Kind:
    """An operation: its name in the record; what the unit says during it, as its command's end, and after it failed."""

    name: str
    in_progress: Asc
    failed: Asc
    afterwards: Asc


FORMAT = Kind("format", Asc.FORMAT_IN_PROGRESS, Asc.FORMAT_COMMAND_FAILED, Asc.MEDIUM_FORMAT_CORRUPTED)
SANITIZE = Kind("sanitize", Asc.SANITIZE_IN_PROGRESS, Asc.SANITIZE_COMMAND_FAILED, Asc.SANITIZE_COMMAND_FAILED)
KINDS = {kind.name: kind for kind in (FORMAT, SANITIZE)}

MEDIUM, BUSY, DECIDES = 2, 64, 128  # the gates of table.py that say who may pass

# SBC-4 4.11.2: what is allowed during a sanitize operation by a field, and not by the operation code alone.
MODE_PAGES = (0x08, 0x0A, 0x1C)  # Caching, Control, Informational Exceptions Control
DURING_SANITIZE: dict[int, Callable[[Any], bool]] = {
    0x4D: lambda fields: fields.page_code == 0x0D and not fields.subpage_code,  # LOG SENSE: Temperature
    0x1A: lambda fields: fields.page_code in MODE_PAGES and not fields.subpage_code,  # MODE SENSE(6) and (10)
    0x5A: lambda fields: fields.page_code in MODE_PAGES and not fields.subpage_code,
}


class State(Enum):
    """Where a unit's background operation is."""

    IDLE = "idle"
    RUNNING = "running"
    FAILED = "failed"


class Background:
    """The background operation of one unit."""

    def __init__(self, unit: LogicalUnit) -> None:
        self._unit = unit
        self.state, self.kind = State.IDLE, FORMAT
        self.done_bytes = self.total_bytes = 0
        self.may_leave_failure = False
        self.failure: Optional[MediumError] = None
        """What the command of the last operation of this process ended with, if that failed."""
        self._command: Any = None
        self._steps: Optional[Work] = None
        self._operation: Optional[Operation] = None
        self._waiting: list[Done] = []
        self._stopped: Optional[Callable[[], None]] = None

    def restore(self, section: Any) -> None:
        """From the record beside the disk: what began and never ended has failed. Raises DamagedRecord."""
        if section is None:
            return
        kind = KINDS.get(str(section.get("operation"))) if isinstance(section, dict) else None
        if kind is None:
            raise DamagedRecord("it names a background operation that this program doesn't know")
        self.state, self.kind, self.may_leave_failure = State.FAILED, kind, bool(section.get("may_leave_failure"))

    # -- what commands see -------------------------------------------------------------------------------------------

    def trouble(self) -> Optional[CheckCondition]:
        """Why nothing else can be done with the medium, or None."""
        if self.state is State.RUNNING:
            return NotReady(self.kind.in_progress, key_specific=bytes(PROGRESS.pack(progress_indication=self.progress)))
        if self.state is State.FAILED:
            return MediumError(self.kind.afterwards)
        return None

    @property
    def progress(self) -> int:
        """PROGRESS INDICATION: 65536ths of the way."""
        return min(self.done_bytes * 65536 // max(self.total_bytes, 1), 65535)

    def check(self) -> None:
        """Raises what a command that may not be done now ends with."""
        trouble = self.trouble()
        if trouble is not None:
            raise trouble

    def gate(self, command: Command) -> None:
        """Raises what a command ends with unless it may be done: beside the operation, or although one has failed."""
        gates = command.entry.gates
        if gates & DECIDES:
            return
        if self.kind is SANITIZE:
            allowed = DURING_SANITIZE.get(command.entry.operation_code)
            if gates & BUSY or (allowed is not None and allowed(command.fields)):
                return
        elif self.state is State.FAILED and (gates & BUSY or not gates & MEDIUM):
            return
        self.check()

    def admit(self, kind: Kind) -> None:
        """Raises unless an operation of this kind may begin: none runs, and none of another kind has failed."""
        if self.state is State.RUNNING or (self.state is State.FAILED and self.kind is not kind):
            self.check()

    # -- beginning and ending ----------------------------------------------------------------------------------------

    def run(
        self,
        command: Command,
        kind: Kind,
        total_bytes: int,
        work: Work,
        *,
        immed: bool,
        may_leave_failure: bool = False,
    ) -> Steps:
        """Steps of a handler whose command began alone on the unit: GOOD at once (immed), or when work has ended."""
        command.entry = command.entry.beside_everybody()
        self._command = command
        self.state, self.kind, self.may_leave_failure = State.RUNNING, kind, may_leave_failure
        self.done_bytes, self.total_bytes = 0, total_bytes
        self._unit.look_again()
        self._steps = self._whole(work)
        self._go(None)
        if not immed:
            yield Ended(self)
        return GOOD

    def _whole(self, work: Work) -> Work:
        keeper = self._unit.keeper
        about = {"operation": self.kind.name, "may_leave_failure": self.may_leave_failure}
        yield from keeper.keep(SECTION, about)
        yield from work
        yield Flush()
        yield from keeper.keep(SECTION, None)

    def _go(self, outcome: Any) -> None:
        """Send an operation's outcome to the work; on until it ends or has to wait."""
        steps = self._steps
        assert steps is not None
        try:
            while self._stopped is None:
                operation = steps.throw(outcome) if isinstance(outcome, Exception) else steps.send(outcome)
                self._operation = operation
                try:
                    outcome = operation.start(self._unit.backend, self._go)
                except OSError as error:
                    outcome = error
                if outcome is PENDING:
                    return
            steps.close()
            stopped, self._stopped = self._stopped, _nothing
            stopped()
        except StopIteration:
            self._end(State.IDLE)
        except Exception as error:
            self._end(State.FAILED, error)

    def _end(self, state: State, error: Optional[Exception] = None) -> None:
        self.state, self._steps, self._operation = state, None, None
        self.failure = None if error is None else MediumError(self.kind.failed)
        waiting, self._waiting = self._waiting, []
        self._unit.look_again()
        if error is not None and self._unit.report is not None:
            self._unit.report(self._command, error)
        for done in waiting:
            done(self.failure or 0)

    def stop(self, stopped: Callable[[], None]) -> None:
        """The unit goes: nothing more is begun; stopped() once the backend has let go. It has failed then."""
        if self._steps is None:
            stopped()
            return
        self._stopped = stopped
        if self._operation is not None:
            self._operation.cancel()

    def leave_failure(self) -> Work:
        """Steps: a failed operation is let be, and the unit is ready again."""

        def stable() -> None:
            self.state = State.IDLE
            self._unit.look_again()

        yield from self._unit.keeper.keep(SECTION, None, stable)

    # -- for the work ------------------------------------------------------------------------------------------------

    def moved(self, length: int) -> Work:
        """So many bytes were written. Others have the loop now, and the storage for as long as the options say."""
        rate = self._unit.options.background_bytes_per_second
        yield from self.turn(length, length / rate if rate else 0.0)

    def turn(self, length: int, seconds: float = 0.0) -> Work:
        """So many bytes are dealt with, whatever was done. Others have the loop now."""
        self.done_bytes += length
        if self._unit.later is not None:
            yield Pause(self._unit.later, seconds)


class Ended(Operation):
    """The end of the background operation: 0, or the error that it ended with."""

    __slots__ = ("_background", "_done")

    def __init__(self, background: Background) -> None:
        self._background = background
        self._done: Optional[Done] = None

    def start(self, backend: Backend, done: Done) -> Outcome:
        background = self._background
        if background.state is State.RUNNING:
            self._done = done
            background._waiting.append(done)
            return PENDING
        if background.failure is not None:
            raise background.failure
        return 0

    def cancel(self) -> None:
        """Whoever waited is gone; the operation goes on."""
        if self._done in self._background._waiting:
            self._background._waiting.remove(self._done)
            assert self._done is not None
            self._done(0)


class Pause(Operation):
    """Some seconds, or a turn of the loop."""

    __slots__ = ("_done", "_later", "_seconds")

    def __init__(self, later: Later, seconds: float) -> None:
        self._later, self._seconds = later, seconds
        self._done: Optional[Done] = None

    def start(self, backend: Backend, done: Done) -> Outcome:
        self._done = done
        self._later(self._seconds, self.cancel)
        return PENDING

    def cancel(self) -> None:
        """It is over, now or already."""
        done, self._done = self._done, None
        if done is not None:
            done(0)


def _nothing() -> None:
    """It was told already."""
