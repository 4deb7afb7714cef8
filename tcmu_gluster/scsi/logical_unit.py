"""A logical unit: gates in one fixed order, handlers from the table, and the place where an error becomes an answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Optional

from tcmu_gluster.backends.base import PENDING, Backend, Map, Read
from tcmu_gluster.errors import ScsiError
from tcmu_gluster.scsi.alua import Ports
from tcmu_gluster.scsi.background import Background, Later, State
from tcmu_gluster.scsi.command import (
    ABORTED,
    Command,
    Function,
    Nexus,
    Response,
    TaskAttribute,
    TaskManagement,
)
from tcmu_gluster.scsi.copies import Copies, CopyManager
from tcmu_gluster.scsi.diagnostics import EchoBuffers
from tcmu_gluster.scsi.identity import Identity, identity_from
from tcmu_gluster.scsi.limits import Limits, UnitOptions
from tcmu_gluster.scsi.log_pages import Statistics
from tcmu_gluster.scsi.maintenance import Clock, Identification, Timestamp
from tcmu_gluster.scsi.medium import Medium
from tcmu_gluster.scsi.mode_pages import ModePages, Pages, rows_for
from tcmu_gluster.scsi.persistence import DamagedRecord, Keeper
from tcmu_gluster.scsi.reservations import Reservations
from tcmu_gluster.scsi.sense import (
    READING,
    WRITING,
    Asc,
    Busy,
    DataProtect,
    HardwareError,
    InvalidFieldInCdb,
    InvalidOpcode,
    NotReady,
    ReservationConflict,
    StatusError,
    UnitAttention,
    error_of,
)
from tcmu_gluster.scsi.table import COMMANDS, CommandTable, Entry, Feature, Gate
from tcmu_gluster.scsi.task import Task, TaskSet
from tcmu_gluster.scsi.task_management import FUNCTIONS, ManagementDone, manage, reset
from tcmu_gluster.scsi.thresholds import Thresholds
from tcmu_gluster.scsi.tokens import Token
from tcmu_gluster.scsi.unit_attention import UnitAttentions

Report = Callable[[Command, BaseException], None]

SIMPLE, ACA = int(TaskAttribute.SIMPLE), int(TaskAttribute.ACA)  # int: an enum's comparison shows in every READ


class LogicalUnit:
    """One disk: a backend, and what SCSI knows about it. Lives in one thread; execute() never raises.

    report(command, error) is called for an error that nobody foresaw, before it is answered INTERNAL TARGET FAILURE.
    clock tells the time; without one the unit has no timestamp. later is the loop's call_later(): without it what is
    done to the whole medium doesn't give way to anybody.
    """

    def __init__(
        self,
        backend: Backend,
        options: Optional[UnitOptions] = None,
        identity: Optional[Identity] = None,
        *,
        report: Optional[Report] = None,
        clock: Optional[Clock] = None,
        later: Optional[Later] = None,
        copies: Optional[CopyManager] = None,
        rows: Sequence[Entry] = COMMANDS,
    ) -> None:
        self.backend = backend
        self.lease = backend.lease
        self.options = options or UnitOptions()
        self.identity = identity or identity_from(backend.identity)
        self.report, self.later = report, later
        self.attentions = UnitAttentions()
        self.statistics = Statistics()
        self.identification = Identification()
        self.timestamp = Timestamp(clock) if clock is not None else None
        self.thresholds = Thresholds()
        self.tasks = TaskSet(self._start_waiting)
        self.keeper = Keeper(backend)
        self.reserved = Reservations(self)
        self.ports = Ports(self)
        self.background, self.medium, self.echo = Background(self), Medium(), EchoBuffers()
        self.copies = Copies(self, copies or CopyManager())
        self.promised: tuple[Token, ...] = ()
        self.not_ready: Optional[Asc] = None
        self._not_ready: Optional[Asc] = None
        self._protected: set[Nexus] = set()
        self._inventories: dict[Nexus, Callable[[], Sequence[int]]] = {}
        self._neighbours: dict[Nexus, Callable[[], Iterable[LogicalUnit]]] = {}
        self._rows = rows
        self._use_capabilities()
        self.modes = ModePages(rows_for(self.thin))
        self._restore()
        # read by every READ and WRITE
        self.block_size_bytes = self.options.block_size_bytes
        self.blocks = backend.size_bytes // self.block_size_bytes
        self.durable_writes = False
        self.write_protected = False
        self.descriptor_sense = False
        self.quiet = True
        self.look_again()
        self.copies.manager.join(self)

    def _use_capabilities(self) -> None:
        """What follows from the options and from what the backend can do."""
        wanted, capabilities = self.options.thin, self.backend.capabilities
        self.thin = capabilities.can_discard if wanted is None else wanted
        self.unmapped_reads_zeros = self.thin and self.options.unmapped_reads_zeros
        features = Feature.THIN if self.thin else Feature.NONE
        features |= Feature.REMOVABLE if self.options.removable else Feature.NONE
        features |= Feature.RESERVATIONS if self.options.reservations else Feature.NONE
        features |= Feature.PORTS | Feature.SETS_GROUPS if self.options.ports else Feature.NONE
        features |= Feature.ATOMIC_WRITES if capabilities.atomic_write_bytes else Feature.NONE
        features |= Feature.CLOCK if self.timestamp is not None else Feature.NONE
        tokens = self.copies.manager.tokens is not None and self.options.reservations
        features |= Feature.TOKENS if tokens else Feature.NONE
        self.commands = CommandTable(self._rows, features)
        # What an initiator may send, whoever answers it: LIO answers reservations itself and never asks us.
        self.reported = CommandTable(self._rows, features | Feature.RESERVATIONS)
        self.limits = Limits.of(self.options, capabilities, self.thin)
        self._slots = self.commands.slots
        self.transfer_blocks = self.limits.transfer_blocks

    def _restore(self) -> None:
        """What the record beside the disk keeps for this unit."""
        try:
            self.modes.restore(self.keeper.record.section("mode_pages"))
            self.identification.restore(self.keeper.record.section("identifying_information"))
            self.background.restore(self.keeper.record.section("background"))
        except DamagedRecord as error:
            self.keeper.note_damage(str(error))

    # -- commands ------------------------------------------------------------------------------------------------

    def execute(self, command: Command) -> Optional[Response]:
        """Run a command. Its Response at once, or None: then command.done(command, response) is called once, later."""
        try:
            cdb = command.cdb
            entry = self._slots[cdb[0]]
            if entry.__class__ is not Entry:
                entry = self._service_action(entry, cdb)
            command.entry = entry
            command.fields = entry.record(entry.unpack_raw(cdb))
            if not entry.is_plain or command.attribute > SIMPLE or self.tasks.restless:
                if command.attribute >= ACA:  # no ACA condition can exist: NACA is refused
                    raise InvalidFieldInCdb()
                if not entry.is_free and self.tasks.has_to_wait(command):
                    self.tasks.wait(Task(self, command))
                    return None
            return self._start(command, entry)
        except Exception as error:
            return self.answer(command, error)

    def _start(self, command: Command, entry: Entry) -> Optional[Response]:
        """The gates, then the handler. Raises what ends the command otherwise."""
        lease = self.lease
        if lease is not None and lease.clock() > lease.valid_until:
            raise Busy()  # the disk may be another gateway's by now
        if not self.quiet or command.cdb[entry.control] & 4:
            self._gates(command, entry)
        result = entry.handler(self, command)
        if result.__class__ is Response:
            return result
        command.task = task = Task(self, command)
        response: Optional[Response]
        if result.__class__ is tuple:
            task.operation, response = result
            task.response = response
            if task.operation.start(self.backend, task.resume) is PENDING:
                response = None
        else:
            response = task.run(result)
        if response is None:
            self.tasks.add(task)
        else:
            command.task = None
        return response

    def lapsed(self) -> bool:
        """Whether the lease on the disk has: then nothing is started, and nothing answered as done."""
        lease = self.lease
        return lease is not None and lease.clock() > lease.valid_until

    def _start_waiting(self, command: Command) -> Optional[Response]:
        try:
            return self._start(command, command.entry)
        except Exception as error:
            return self.answer(command, error)

    def _service_action(self, slot: Any, cdb: bytes) -> Entry:
        """The row of an operation code that has service actions."""
        if slot is None:
            raise InvalidOpcode()
        any_row: Entry = next(iter(slot.values()))
        row = slot.get(any_row.layout.unpack(cdb).service_action)
        if row is None:
            raise InvalidFieldInCdb("service_action", layout=any_row.layout)
        found: Entry = row
        return found

    def _gates(self, command: Command, entry: Entry) -> None:
        """In order of precedence: attention, access state, reservation, readiness, write protection, fields."""
        gates = entry.gates
        if self.attentions.pending and not gates & Gate.ATTENTION and not command.is_part:
            attention = self.hear(command.nexus)
            if attention is not None:
                raise attention
        if self.ports.restricting:
            self.ports.check(command)
        if self.reserved.held and not self.reserved.allows(command):
            raise ReservationConflict()
        if self.background.state is not State.IDLE and not gates & Gate.ATTENTION:
            self.background.gate(command)
        if self.not_ready is not None and gates & Gate.MEDIUM:
            raise NotReady(self.not_ready)
        if entry.modifies and self.is_write_protected(command.nexus):
            raise DataProtect(Asc.WRITE_PROTECTED)
        if command.fields.naca:
            raise InvalidFieldInCdb("naca")
        if self.promised and entry.modifies:
            self.copies.blocks_change(command)

    def answer(self, command: Command, error: Exception) -> Response:
        """The Response that an error becomes: the only such place."""
        task, command.task = command.task, None
        if isinstance(error, OSError):
            reading = task is not None and isinstance(task.operation, (Read, Map))
            cause, error = error, error_of(error, READING if reading else WRITING)
            if isinstance(error, HardwareError):
                self._tell(command, cause)
        elif isinstance(error, MemoryError):
            error = Busy()
        elif command.fields is None and not isinstance(error, ScsiError):
            error = InvalidFieldInCdb()  # fewer bytes than the operation code promises
        elif not isinstance(error, ScsiError):
            self._tell(command, error)
            error = HardwareError()
        if isinstance(error, InvalidFieldInCdb) and command.entry is not None:
            error.locate(command.entry.layout)
        assert isinstance(error, StatusError)
        return error.response(self.descriptor_sense)

    def hear(self, nexus: Nexus) -> Optional[UnitAttention]:
        """The next unit attention of a nexus, which is thereby cleared; None if there is none."""
        attention = self.attentions.take(nexus)
        if attention is not None:
            self.look_again()
            if attention.asc == Asc.REPORTED_LUNS_DATA_CHANGED:
                self.luns_heard(nexus)
        return attention

    def luns_heard(self, nexus: Nexus) -> None:
        """A nexus knows that its LUNs changed: it need not hear so at the others (LUICLR of VPD page 86h)."""
        for unit in self._neighbours.get(nexus, self._alone)():
            unit.attentions.clear(nexus, Asc.REPORTED_LUNS_DATA_CHANGED)
            unit.look_again()

    def _alone(self) -> Sequence[LogicalUnit]:
        return (self,)

    def _tell(self, command: Command, error: BaseException) -> None:
        if self.report is not None:
            self.report(command, error)

    # -- what changes --------------------------------------------------------------------------------------------

    def look_again(self) -> None:
        """Work out what commands read from the state. Whoever changes the state calls it."""
        modes = self.modes
        self.not_ready = Asc.MANUAL_INTERVENTION_REQUIRED if self.keeper.damage else self._not_ready
        if self.not_ready is None and not self.medium.is_loaded:
            self.not_ready = Asc.MEDIUM_NOT_PRESENT
        self.durable_writes = not modes.value(0x08, "wce")
        self.descriptor_sense = bool(modes.value(0x0A, "d_sense"))
        self.write_protected = self.options.write_protected or self.backend.read_only or bool(modes.value(0x0A, "swp"))
        self.quiet = not (
            self.attentions.pending
            or self.reserved.held
            or self.ports.restricting
            or self.not_ready is not None
            or self.background.state is not State.IDLE
            or self.write_protected
            or self._protected
            or self.promised
        )

    def is_write_protected(self, nexus: Nexus) -> bool:
        """Whether a nexus may not write: the disk, SWP, or the nexus's own mapping says so."""
        return self.write_protected or nexus in self._protected

    def set_ready(self, not_ready: Optional[Asc] = None) -> None:
        """None: the unit is ready. Else the additional sense code of the NOT READY that commands end with."""
        self._not_ready = not_ready
        self.look_again()

    @property
    def trouble(self) -> str:
        """Why the unit is NOT READY until an administrator decides (the record beside it is damaged), or empty."""
        return self.keeper.damage

    def forget_record(self) -> None:
        """An administrator gave up a damaged record: no reservation, no saved page, and ready again."""
        self.keeper.forget()
        self.reserved = Reservations(self)
        self.modes.forget_saved()
        self.identification = Identification()
        self.background = Background(self)
        self.look_again()

    def take_modes(self, pages: Pages, by: Nexus, *, saved: bool = False) -> None:
        """Mode pages hold from now on (and are the saved ones); the other nexuses hear of a change."""
        if self.modes.take(pages, saved=saved):
            self.attentions.establish_all(Asc.MODE_PARAMETERS_CHANGED, besides=by)
            self.thresholds.look(self)
            self.look_again()

    def capabilities_changed(self) -> None:
        """The backend turned out to be able to do less: every nexus hears that VPD pages say something else now."""
        before = self.thin, self.limits
        self._use_capabilities()
        if (self.thin, self.limits) != before:
            self.modes.use(rows_for(self.thin))
            self.attentions.establish_all(Asc.INQUIRY_DATA_CHANGED)
            self.attentions.establish_all(Asc.CAPACITY_DATA_CHANGED)
            self.look_again()

    def space_changed(self) -> None:
        """The backend looked again at what is used and left (Backend.refresh_space)."""
        self.thresholds.look(self)

    def capacity_changed(self) -> None:
        """The backend has another size now: every nexus hears of it."""
        self.blocks = self.backend.size_bytes // self.block_size_bytes
        self.attentions.establish_all(Asc.CAPACITY_DATA_CHANGED)
        self.look_again()

    def set_write_cache(self, on: bool) -> None:
        """The front's switch for WCE (LIO's emulate_write_cache); every nexus hears of a change."""
        if bool(self.modes.value(0x08, "wce")) is not on:
            self.modes.put(0x08, "wce", int(on))
            self.attentions.establish_all(Asc.MODE_PARAMETERS_CHANGED)
            self.look_again()

    # -- nexuses -------------------------------------------------------------------------------------------------

    def attach(
        self,
        nexus: Nexus,
        *,
        inventory: Optional[Callable[[], Sequence[int]]] = None,
        neighbours: Optional[Callable[[], Iterable[LogicalUnit]]] = None,
        write_protected: bool = False,
        attention: Optional[Asc] = Asc.POWER_ON_OCCURRED,
    ) -> None:
        """A nexus came into being. attention is the first it hears.

        inventory() gives the LUNs that its target shows, neighbours() the units behind them (this one, too).
        """
        self.attentions.attach(nexus, attention)
        if inventory is not None:
            self._inventories[nexus] = inventory
        if neighbours is not None:
            self._neighbours[nexus] = neighbours
        self.reserved.attach(nexus)
        self._protected.discard(nexus)
        if write_protected:
            self._protected.add(nexus)
        self.look_again()

    def detach(self, nexus: Nexus, done: Optional[Callable[[], None]] = None) -> None:
        """A nexus is gone: its tasks end ABORTED, then done() is called; what the unit kept for it goes."""
        self.attentions.detach(nexus)
        self.reserved.detach(nexus)
        self._inventories.pop(nexus, None)
        self._neighbours.pop(nexus, None)
        self._protected.discard(nexus)
        self.medium.keep(nexus, False)
        self.echo.forget(nexus)
        self.copies.forget_results(nexus)
        self.look_again()
        self.tasks.abort(lambda command: command.belongs_to(nexus), lambda command: ABORTED, done or _nothing)

    def inventory(self, command: Command) -> Sequence[int]:
        """The LUNs that REPORT LUNS lists for the command's nexus."""
        ask = self._inventories.get(command.nexus)
        return (command.lun,) if ask is None else ask()

    # -- task management -----------------------------------------------------------------------------------------

    @property
    def functions(self) -> Sequence[Function]:
        """The task management functions that manage() knows."""
        return tuple(FUNCTIONS)

    def manage(self, request: TaskManagement, done: ManagementDone) -> None:
        """Task management for this unit; done(response) when its effect is complete, at once if nothing runs."""
        manage(self, request, done)

    def reset(self, asc: Asc, by: Optional[Nexus], done: Callable[[], None]) -> None:
        """A reset: every task ends, mode parameters go back to the saved ones, every nexus hears asc."""
        reset(self, asc, by, done)


def _nothing() -> None:
    """Nobody waits."""
