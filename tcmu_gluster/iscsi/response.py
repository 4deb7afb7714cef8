"""The end of a command: Data-In sequences, residuals, status.  Source: RFC 7143 11.4, 11.7.

Status is collapsed into the last Data-In (S bit) when it is GOOD. Everything that is queued is a header of ours and the
views of the response as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Optional

from tcmu_gluster.iscsi.keys import Parameters
from tcmu_gluster.iscsi.output import Output
from tcmu_gluster.iscsi.pdu import NO_TAG, Buffer, Opcode, ResponseFlag, pack_data_in, pack_scsi_response
from tcmu_gluster.iscsi.serial import MASK, CommandWindow
from tcmu_gluster.iscsi.task_set import ENDED, EXECUTING, IscsiCommand, TaskSet
from tcmu_gluster.scsi.command import ABORTED, Response, Status

if TYPE_CHECKING:
    from tcmu_gluster.iscsi.session import Session

_DATA_IN, _SCSI_RESPONSE = int(Opcode.DATA_IN), int(Opcode.SCSI_RESPONSE)
_FINAL, _FINAL_WITH_STATUS = 0x80, 0x81
_OVERFLOW, _UNDERFLOW = int(ResponseFlag.OVERFLOW), int(ResponseFlag.UNDERFLOW)
_BIDIRECTIONAL = 2  # the read residual's flags of a bidirectional command lie two bits higher
_GOOD = int(Status.GOOD)


class Responder:
    """Answers the commands of one connection."""

    __slots__ = (
        "_largest_plain",
        "_max_burst",
        "_max_segment",
        "_output",
        "_pool",
        "_tasks",
        "_window",
        "elsewhere",
        "open",
    )

    def __init__(self, output: Output) -> None:
        self._output = output
        self._pool = output.pool
        self._window: CommandWindow = output.window
        self._tasks = TaskSet()
        self._max_segment = self._max_burst = 8192
        self._largest_plain = 0
        self.elsewhere: Optional[Callable[[IscsiCommand, Response], bool]] = None
        """Where answers go that this connection can't give any more (ErrorRecoveryLevel 2); False: nowhere."""
        self.open = False
        """False before full feature phase and after the connection has ended: nothing is sent then."""

    def begin(self, session: Session, parameters: Parameters) -> None:
        """Full feature phase begins: the negotiated sizes are known."""
        self._window, self._tasks = session.window, session.tasks
        self._max_segment = parameters.max_recv_data_segment_length
        self._max_burst = session.parameters.max_burst_length
        special = self._output.header_digest or self._output.data_digest or self._output.keeper is not None
        self._largest_plain = -1 if special else min(self._max_segment, self._max_burst)
        self.open = True

    def complete(self, command: IscsiCommand, response: Response) -> None:
        """End a command that commands() returned, exactly once. A response of ABORTED is not sent."""
        if command.phase is not EXECUTING or not self.open or response is ABORTED:
            self._end_silently(command, response)
            return
        command.phase = ENDED
        del self._tasks[command.tag]
        window, output = self._window, self._output
        if command.numbered:
            window.limit = (window.limit + 1) & MASK
        else:
            command.connection.intake.immediate_running -= 1
        data_in = response.data_in
        if len(data_in) == 1 and response.status == _GOOD and not command.data_out_bytes:
            view = data_in[0]
            length = len(view)
            if length == command.data_in_bytes and length <= self._largest_plain and not length & 3:
                stat_sn = output.stat_sn
                output.stat_sn = (stat_sn + 1) & MASK
                header = pack_data_in(
                    _DATA_IN, _FINAL_WITH_STATUS, _GOOD, length, command.tag, NO_TAG,
                    stat_sn, window.expected, (window.limit - 1) & MASK, 0, 0, 0,
                )  # fmt: skip
                output.buffers += (header, view)
                output.bytes += 48 + length
                if command.memory is not None:
                    output.returning.append(command.memory)
                return
        elif not data_in and not response.status and not command.data_in_bytes and self._largest_plain > 0:
            wanted = command.data_out_wanted
            if wanted == command.data_out_bytes or wanted < 0:
                stat_sn = output.stat_sn
                output.stat_sn = (stat_sn + 1) & MASK
                r2t_count = command.transfer.r2t_sn if command.transfer is not None else 0
                header = pack_scsi_response(
                    _SCSI_RESPONSE, _FINAL, 0, _GOOD, 0, command.tag, 0,
                    stat_sn, window.expected, (window.limit - 1) & MASK, r2t_count, 0, 0,
                )  # fmt: skip
                output.buffers.append(header)
                output.bytes += 48
                if command.memory is not None:
                    self._free(command)
                return
        self._answer(command, response)

    def _end_silently(self, command: IscsiCommand, response: Response) -> None:
        if self.elsewhere is not None and command.phase is EXECUTING and self.elsewhere(command, response):
            return
        if command.phase is EXECUTING:
            command.phase = ENDED
            if self._tasks.get(command.tag) is command:
                del self._tasks[command.tag]
            if command.numbered:
                self._window.ended()
            else:
                command.connection.intake.immediate_running -= 1
        self._free(command)

    def _free(self, command: IscsiCommand) -> None:
        memory, command.memory = command.memory, None
        if memory is not None:
            self._pool.give(memory)

    def _answer(self, command: IscsiCommand, response: Response) -> None:
        if self._output.keeper is not None:
            self._output.keeper.answer(command, response)
            return
        total = sum(map(len, response.data_in))
        sent = min(total, command.data_in_bytes)
        flags, residual, read_residual = residuals(command, total)
        with_status = bool(sent) and response.status == _GOOD and not response.sense and not command.data_out_bytes
        count = 0
        if sent:
            count = self._send_data(command, response.data_in, sent, flags if with_status else None, residual)
        if not with_status:
            if command.transfer is not None:
                count += command.transfer.r2t_sn
            self._send_status(command, response, flags, residual, read_residual, count)
        if command.memory is not None:
            if sent:
                self._output.returning.append(command.memory)
            else:
                self._free(command)

    def _send_data(
        self, command: IscsiCommand, views: Sequence[Buffer], total: int, status_flags: int | None, residual: int
    ) -> int:
        """Data-In PDUs of at most the initiator's segment length, F at the end of each burst. Returns their number."""
        output, window = self._output, self._window
        offset = 0
        data_sn = first = command.transfer.r2t_sn if command.transfer is not None else 0  # they share the numbering
        burst_end = min(self._max_burst, total)
        cutter = Cutter(views)
        while offset < total:
            length = min(self._max_segment, burst_end - offset)
            end = offset + length
            flags, status, stat_sn, left = 0, 0, 0, 0
            if end == burst_end:
                flags = _FINAL
                burst_end = min(burst_end + self._max_burst, total)
            if end == total and status_flags is not None:
                flags, left = _FINAL_WITH_STATUS | status_flags, residual
                stat_sn = output.stat_sn
                output.stat_sn = (stat_sn + 1) & MASK
            header = pack_data_in(
                _DATA_IN, flags, status, length, command.tag, NO_TAG, stat_sn, window.expected, window.max_cmd_sn,
                data_sn, offset, left,
            )  # fmt: skip
            output.send_parts(header, cutter.cut(length), length)
            offset = end
            data_sn += 1
        return data_sn - first

    def _send_status(
        self, command: IscsiCommand, response: Response, flags: int, residual: int, read_residual: int, count: int
    ) -> None:
        output, window = self._output, self._window
        sense = response.sense
        data = len(sense).to_bytes(2, "big") + sense if sense else b""
        header = pack_scsi_response(
            _SCSI_RESPONSE, _FINAL | flags, 0, response.status, len(data), command.tag, 0,
            output.stat_sn, window.expected, window.max_cmd_sn, count, read_residual, residual,
        )  # fmt: skip
        output.stat_sn = (output.stat_sn + 1) & MASK
        output.send(header, data)


class Cutter:
    """Cuts a sequence of views into consecutive runs."""

    def __init__(self, views: Sequence[Buffer]) -> None:
        self._views = [view for view in views if len(view)]
        self._index = self._start = 0

    def cut(self, length: int) -> list[Buffer]:
        """The next length bytes, as views."""
        parts: list[Buffer] = []
        while length:
            view = self._views[self._index]
            rest = len(view) - self._start
            if rest <= length:
                parts.append(memoryview(view)[self._start :] if self._start else view)
                self._index += 1
                self._start = 0
                length -= rest
            else:
                parts.append(memoryview(view)[self._start : self._start + length])
                self._start += length
                length = 0
        return parts


def residuals(command: IscsiCommand, total_in: int) -> tuple[int, int, int]:
    """(flags, residual count, bidirectional read residual count).  Source: RFC 7143 11.4.5."""
    if not command.data_out_bytes:
        if command.data_out_wanted > 0 and not command.data_in_bytes:
            return _OVERFLOW, command.data_out_wanted, 0  # a write whose initiator sends nothing
        flags, residual = _residual(command.data_in_bytes, total_in)
        return flags, residual, 0
    flags = residual = 0
    if command.data_out_wanted >= 0:
        flags, residual = _residual(command.data_out_bytes, command.data_out_wanted)
    if not command.data_in_bytes:
        return flags, residual, 0
    read_flags, read_residual = _residual(command.data_in_bytes, total_in)
    return flags | read_flags << _BIDIRECTIONAL, residual, read_residual


def _residual(expected: int, actual: int) -> tuple[int, int]:
    if actual > expected:
        return _OVERFLOW, min(actual - expected, 0xFFFFFFFF)
    if actual < expected:
        return _UNDERFLOW, expected - actual
    return 0, 0
