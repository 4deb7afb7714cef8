"""SCSI Command and Data-Out PDUs in, commands whose data is complete out.  Source: RFC 7143 4.2.5, 11.3, 11.7, 11.8.

    command PDU ── memory for all its Data-Out ── immediate data ── unsolicited burst ── R2T bursts ── events

A transfer that goes wrong (wrong DataSN or offset, too much or too little data, a bad digest) ends its task with CHECK
CONDITION once everything that was asked for has arrived (RFC 7143 7.8, 7.9). From ErrorRecoveryLevel 1 on, what is
missing or damaged is asked for again by a recovery R2T instead. A Data-Out of a task that is unknown is dropped: the
task may just have been aborted.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Optional

from tcmu_gluster.iscsi.buffers import SMALL_BYTES
from tcmu_gluster.iscsi.burst import (
    INCORRECT_AMOUNT_OF_DATA,
    PROTOCOL_SERVICE_CRC_ERROR,
    TOO_LONG,
    UNEXPECTED_UNSOLICITED_DATA,
    Burst,
    Transfer,
)
from tcmu_gluster.iscsi.keys import Parameters
from tcmu_gluster.iscsi.output import Output
from tcmu_gluster.iscsi.pdu import (
    FINAL,
    IMMEDIATE,
    NO_TAG,
    CommandFlag,
    Opcode,
    RejectPdu,
    RejectReason,
    pack_r2t,
    parse_ahs,
)
from tcmu_gluster.iscsi.serial import MASK, CommandWindow, Verdict
from tcmu_gluster.iscsi.task_set import ANSWERED, ENDED, EXECUTING, HELD, PREPARING, Event, IscsiCommand, TaskSet
from tcmu_gluster.scsi.command import Done, Nexus, Response, Status, lun_number

if TYPE_CHECKING:
    from tcmu_gluster.iscsi.connection import Connection
    from tcmu_gluster.iscsi.session import Session

_READ, _WRITE = int(CommandFlag.READ), int(CommandFlag.WRITE)
_READ_WRITE = _READ | _WRITE
_R2T = int(Opcode.R2T)

CommandFields = tuple[int, int, int, int, int, int, int, int, bytes]
DataOutFields = tuple[int, int, int, int, int, int, int, int, int]


class Intake:
    """Takes SCSI Command and Data-Out PDUs of one connection in full feature phase."""

    def __init__(self, connection: Connection, output: Output) -> None:
        self._connection, self._output, self._pool = connection, output, output.pool
        self._window: CommandWindow = output.window
        self._tasks = TaskSet()
        self._nexus = Nexus("")
        self._transfer_tag = 0
        self.events: list[Event] = []
        self.done: Optional[Done] = None
        self.open_bursts = 0
        """Sequences of Data-Out that the initiator still owes."""
        self.immediate_running = 0
        self.suspended = False
        """The connection is lost: what its tasks lack is asked for by the one that they are reassigned to."""
        self.progress = False
        """Set when Data-Out came or was asked for; whoever keeps the time resets it."""

    def begin(self, session: Session, parameters: Parameters) -> None:
        """Full feature phase begins."""
        leading, settings = session.parameters, self._connection.settings
        self._window, self._tasks, self._nexus = session.window, session.tasks, session.nexus
        self._immediate_limit = leading.first_burst_length if leading.immediate_data else 0
        self._small_write = min(SMALL_BYTES, self._immediate_limit, settings.max_transfer_bytes)
        self._first_burst = leading.first_burst_length
        self._unsolicited_allowed = not leading.initial_r2t
        self._max_burst, self._max_r2t = leading.max_burst_length, leading.max_outstanding_r2t
        self._max_transfer = settings.max_transfer_bytes
        self._max_immediate = settings.immediate_commands
        self._recovers = leading.error_recovery_level > 0
        if self._recovers:
            self._max_r2t = 1  # DataSequenceInOrder=Yes: only the last R2T may be repeated (RFC 7143 13.19)

    # -- SCSI Command ---------------------------------------------------------------------------------------------

    def command(self, fields: CommandFields, ahs: Optional[memoryview], data: Optional[memoryview]) -> None:
        """A whole SCSI Command PDU. fields is what unpack_scsi_command gives. Raises RejectPdu."""
        first, flags, _, lun, tag, edtl, cmd_sn, _, cdb = fields
        window = self._window
        if cmd_sn == window.expected and cmd_sn != window.limit and tag not in self._tasks:
            plain = not first & IMMEDIATE and ahs is None and flags & FINAL and not window.held
            if plain and data is None and not flags & _WRITE:
                window.expected = (cmd_sn + 1) & MASK
                self._tasks[tag] = command = IscsiCommand(
                    self._connection, cdb, self._nexus, lun and lun_number(lun), lun, tag, flags & 7,
                    edtl if flags & _READ else 0, 0, True, self.done,
                )  # fmt: skip
                if edtl <= SMALL_BYTES:
                    command.phase = EXECUTING
                    self.events.append(command)
                else:
                    self.start(command)
                return
            if plain and data is not None and len(data) == edtl <= self._small_write and flags & _READ_WRITE == _WRITE:
                window.expected = (cmd_sn + 1) & MASK
                self._tasks[tag] = command = IscsiCommand(
                    self._connection, cdb, self._nexus, lun and lun_number(lun), lun, tag, flags & 7,
                    0, edtl, True, self.done,
                )  # fmt: skip
                command.data_out = (memoryview(bytes(data)),)
                command.phase = EXECUTING
                self.events.append(command)
                return
        made = self.begin_command(fields, ahs, len(data) if data is not None else 0)
        if made is None:
            return
        if data is not None and made.transfer is not None and not made.transfer.failed:
            made.transfer.memory[: len(data)] = data
        self.end_command(made, fields)

    def begin_command(self, fields: CommandFields, ahs: Optional[memoryview], length: int) -> Optional[IscsiCommand]:
        """A command whose immediate data (length bytes) comes now; None if all of it is to be ignored.

        The data belongs at the start of command.transfer.memory, unless the transfer has failed already.
        """
        first, flags, _, lun, tag, edtl, cmd_sn, _, cdb = fields
        if not first & IMMEDIATE and self._window.judge(cmd_sn) is Verdict.IGNORE:
            return None
        read_length = edtl if flags & _READ else 0
        if ahs is not None:
            cdb, bidirectional = parse_ahs(cdb, ahs)
            if flags & _READ and flags & _WRITE:
                read_length = bidirectional
        elif flags & _READ and flags & _WRITE:
            read_length = 0
        write_length = edtl if flags & _WRITE else 0
        command = IscsiCommand(
            self._connection, cdb, self._nexus, lun_number(lun), lun, tag, flags & 7,
            read_length, write_length, not first & IMMEDIATE, self.done,
        )  # fmt: skip
        command.phase = HELD
        if flags & _WRITE and edtl:
            self._prepare_transfer(command, flags, length)
        elif length or not flags & FINAL:
            command.transfer = Transfer(0)
            command.transfer.failed = UNEXPECTED_UNSOLICITED_DATA
        return command

    def _prepare_transfer(self, command: IscsiCommand, flags: int, length: int) -> None:
        """Judge the lengths, then take memory."""
        transfer = command.transfer = Transfer(command.data_out_bytes)
        if transfer.length > self._max_transfer:
            transfer.failed = TOO_LONG
        elif length > self._immediate_limit or not (flags & FINAL or self._unsolicited_allowed):
            transfer.failed = UNEXPECTED_UNSOLICITED_DATA
        elif length > transfer.length:
            transfer.failed = INCORRECT_AMOUNT_OF_DATA
        else:
            unsolicited = length if flags & FINAL else min(self._first_burst, transfer.length)
            self._take_memory(command, transfer, unsolicited)
        transfer.received = transfer.requested = length
        if not flags & FINAL:
            transfer.bursts[NO_TAG] = Burst(length, min(self._first_burst, transfer.length))

    def _take_memory(self, command: IscsiCommand, transfer: Transfer, unsolicited: int) -> None:
        """unsolicited bytes may come without being asked for: they get their place whatever the pool says."""
        length, pool = transfer.length, self._pool
        if length <= SMALL_BYTES:
            transfer.memory = memoryview(bytearray(length))
        elif unsolicited == length:
            command.memory = transfer.memory = pool.take_anyway(length)
        else:
            command.memory = pool.take_or_wait(length, command)
            transfer.memory = command.memory if command.memory is not None else memoryview(bytearray(unsolicited))

    def end_command(self, command: IscsiCommand, fields: CommandFields) -> None:
        """All of the command PDU is here and good. Raises RejectPdu."""
        first, tag, cmd_sn = fields[0], command.tag, fields[6]
        window = self._window
        verdict = Verdict.DELIVER if first & IMMEDIATE else window.judge(cmd_sn)
        if verdict is Verdict.IGNORE:
            self.forget(command)
            return
        if tag in self._tasks or (first & IMMEDIATE and self.immediate_running >= self._max_immediate):
            self.forget(command)
            self._pass_number(first, cmd_sn, verdict)
            if tag in self._tasks:
                raise RejectPdu(RejectReason.TASK_IN_PROGRESS, f"task tag {tag:#x} is in use")
            raise RejectPdu(RejectReason.IMMEDIATE_COMMAND_REJECT, "too many immediate commands")
        self._tasks[tag] = command
        if command.transfer is not None:
            self.open_bursts += len(command.transfer.bursts)
            self.progress = True
        if verdict is Verdict.EARLY:
            window.hold(cmd_sn, partial(_start_late, command))
            return
        if not first & IMMEDIATE:
            window.advance()
        self.start(command)
        if window.held:
            window.release()

    def _pass_number(self, first: int, cmd_sn: int, verdict: Verdict) -> None:
        """A refused request uses up its CmdSN."""
        if first & IMMEDIATE:
            return
        if verdict is Verdict.EARLY:
            self._window.hold(cmd_sn, self._window.ended)
        else:
            self._window.advance()
            self._window.ended()
            self._window.release()

    def start(self, command: IscsiCommand) -> None:
        """It is the command's turn."""
        if command.phase is ENDED:  # aborted while it was held
            if command.numbered:
                self._window.ended()
            return
        command.phase = PREPARING
        if command.transfer is not None:
            self.pump(command, command.transfer)
            return
        if command.data_in_bytes > SMALL_BYTES:
            command.memory = self._pool.take_or_wait(min(command.data_in_bytes, self._max_transfer), command)
            if command.memory is None:
                return
        self._execute(command)

    def _execute(self, command: IscsiCommand) -> None:
        command.phase = EXECUTING
        if not command.numbered:
            self.immediate_running += 1
        self._connection.emit(command)

    def memory_ready(self, command: IscsiCommand, view: memoryview) -> None:
        """The pool serves a command that waited."""
        if command.phase is ENDED:
            self._pool.give(view)
            return
        command.memory = view
        if command.transfer is None:
            self._execute(command)
        else:
            command.transfer.whole = view
            self.pump(command, command.transfer)
        self._connection.wake()

    # -- Data-Out -------------------------------------------------------------------------------------------------

    def begin_data_out(self, fields: DataOutFields, length: int) -> Optional[tuple[IscsiCommand, Burst, memoryview]]:
        """Where the data of this PDU belongs; None: drop it. Raises RejectPdu."""
        flags, tag, transfer_tag, data_sn, offset = fields[1], fields[4], fields[5], fields[7], fields[8]
        self.progress = True
        command = self._tasks.get(tag)
        if command is None or command.phase is EXECUTING or command.connection is not self._connection:
            return None
        transfer = command.transfer
        burst = transfer.bursts.get(transfer_tag) if transfer is not None else None
        if transfer is None or burst is None:
            if self._recovers:
                return None  # an R2T that was given up and asked again; or a repetition
            if transfer is not None and transfer_tag == NO_TAG:
                self._fail(command, transfer, UNEXPECTED_UNSOLICITED_DATA)
                return None
            raise RejectPdu(RejectReason.INVALID_PDU_FIELD, f"no R2T of target transfer tag {transfer_tag:#x} is open")
        sense = b""
        if (data_sn != burst.data_sn or offset != burst.at) and not (self._recovers and burst.skip(data_sn, offset)):
            if self._recovers and data_sn < burst.data_sn:
                return None  # here already
            sense = PROTOCOL_SERVICE_CRC_ERROR
        elif offset + length > burst.end:
            sense = INCORRECT_AMOUNT_OF_DATA
        if sense or transfer.failed:
            self._skip_data_out(command, transfer_tag, flags, sense)
            return None
        return command, burst, transfer.memory[offset : offset + length]

    def end_data_out(self, command: IscsiCommand, burst: Burst, fields: DataOutFields, length: int) -> None:
        """The data is in place."""
        transfer = command.transfer
        if transfer is None or command.phase is ENDED:
            return
        flags, transfer_tag = fields[1], fields[5]
        burst.at += length
        burst.data_sn += 1
        transfer.received += length
        self._end_burst(command, transfer, burst, transfer_tag, flags)

    def _end_burst(
        self, command: IscsiCommand, transfer: Transfer, burst: Burst, transfer_tag: int, flags: int
    ) -> None:
        """A PDU of the burst was taken: see whether it was the last one."""
        if not flags & FINAL:
            if burst.at == burst.end and burst.end > burst.start:  # nothing more may come, and no F said so
                self._close_burst(transfer, transfer_tag)
                self._fail(command, transfer, INCORRECT_AMOUNT_OF_DATA)
            return
        if transfer_tag == NO_TAG:
            transfer.requested = burst.at
        elif burst.at != burst.end:
            transfer.failed = transfer.failed or INCORRECT_AMOUNT_OF_DATA
        self._close_burst(transfer, transfer_tag)
        self.pump(command, transfer)

    def fail_data_out(self, command: IscsiCommand, fields: DataOutFields) -> None:
        """The data of this PDU had a bad digest (RFC 7143 7.8): ask again, or end the task when all else is here."""
        transfer = command.transfer
        burst = transfer.bursts.get(fields[5]) if transfer is not None else None
        if self._recovers and transfer is not None and burst is not None and command.phase is not ENDED:
            flags, data_sn, offset, length = fields[1], fields[7], fields[8], fields[2] & 0xFFFFFF
            in_place = (data_sn == burst.data_sn and offset == burst.at) or burst.skip(data_sn, offset)
            if in_place and offset + length <= burst.end:
                burst.lose(offset + length)
                burst.data_sn = data_sn + 1
                self._end_burst(command, transfer, burst, fields[5], flags)
                return
        self._skip_data_out(command, fields[5], fields[1], PROTOCOL_SERVICE_CRC_ERROR)

    def bad_digest(self, fields: DataOutFields) -> None:
        """The same, for a PDU whose data was not yet looked at."""
        command = self._tasks.get(fields[4])
        if command is not None and command.connection is self._connection and command.transfer is not None:
            self.fail_data_out(command, fields)

    def _skip_data_out(self, command: IscsiCommand, transfer_tag: int, flags: int, sense: bytes) -> None:
        transfer = command.transfer
        if transfer is None or command.phase in (EXECUTING, ENDED):
            return
        if flags & FINAL:
            self._close_burst(transfer, transfer_tag)
        if sense or flags & FINAL:
            self._fail(command, transfer, sense)

    def _fail(self, command: IscsiCommand, transfer: Transfer, sense: bytes) -> None:
        transfer.failed = transfer.failed or sense
        self.pump(command, transfer)

    def _close_burst(self, transfer: Transfer, transfer_tag: int) -> None:
        burst = transfer.bursts.pop(transfer_tag, None)
        if burst is not None:
            transfer.missing += burst.gaps
            self.open_bursts -= 1

    def pump(self, command: IscsiCommand, transfer: Transfer) -> None:
        """Go on as far as possible: fail, ask for more data, or hand the command over."""
        if command.phase is not PREPARING:
            return
        bursts = transfer.bursts
        if transfer.failed:
            if not bursts:
                self._refuse(command, transfer.failed)
            return
        if NO_TAG in bursts:
            return
        if transfer.whole is not None:
            transfer.whole[: transfer.received] = transfer.memory[: transfer.received]
            transfer.memory, transfer.whole = transfer.whole, None
        if len(transfer.memory) < transfer.length:
            return
        if transfer.received == transfer.length:
            command.data_out = (transfer.memory,)
            self._execute(command)
            return
        if self.suspended:
            return
        while transfer.missing and len(bursts) < self._max_r2t:
            again = transfer.next_missing()
            if again is None:
                self._fail(command, transfer, transfer.failed)
                return
            self._ask(command, transfer, *again)
        while transfer.requested < transfer.length and len(bursts) < self._max_r2t:
            start = transfer.requested
            transfer.requested = end = min(start + self._max_burst, transfer.length)
            self._ask(command, transfer, start, end)

    def _ask(self, command: IscsiCommand, transfer: Transfer, start: int, end: int) -> None:
        """Send the next R2T."""
        self._transfer_tag = tag = (self._transfer_tag + 1) % NO_TAG
        transfer.bursts[tag] = burst = Burst(start, end, transfer.r2t_sn)
        transfer.r2t_sn += 1
        self.open_bursts += 1
        self.progress = True
        self.send_r2t(command, tag, burst)

    def send_r2t(self, command: IscsiCommand, tag: int, burst: Burst) -> None:
        """R2T of target transfer tag `tag`: once, or again with the present StatSN."""
        output, window = self._output, self._window
        header = pack_r2t(
            _R2T, FINAL, 0, command.lun_field, command.tag, tag, output.stat_sn, window.expected, window.max_cmd_sn,
            burst.r2t_sn, burst.start, burst.end - burst.start,
        )  # fmt: skip
        output.send(header)

    def _refuse(self, command: IscsiCommand, sense: bytes) -> None:
        """The engine itself ends a command that the SCSI core never sees."""
        self._pool.cancel(command)
        command.phase = EXECUTING
        if not command.numbered:
            self.immediate_running += 1
        self._connection.complete(command, Response(Status.CHECK_CONDITION, sense=sense))

    # -- the end --------------------------------------------------------------------------------------------------

    def drop(self, command: IscsiCommand) -> None:
        """A command that isn't executing ends without a word. Its memory is free, its Data-Out will be ignored."""
        held, answered = command.phase is HELD, command.phase is ANSWERED
        command.phase = ENDED
        self._tasks.pop(command.tag, None)
        if command.transfer is not None:
            self.open_bursts -= len(command.transfer.bursts)
            command.transfer.bursts.clear()
            self._connection.framing.divert(command)
        self.forget(command)
        if command.numbered and not held and not answered:
            self._window.ended()

    def forget(self, command: IscsiCommand) -> None:
        """A command that nobody knows yet ends; its memory goes back."""
        command.phase = ENDED
        memory, command.memory = command.memory, None
        if memory is not None:
            self._pool.give(memory)
        else:
            self._pool.cancel(command)


def _start_late(command: IscsiCommand) -> None:
    """The missing requests before it came, over whichever connection; it may have been reassigned meanwhile."""
    command.connection.intake.start(command)
    command.connection.wake()
