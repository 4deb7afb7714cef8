"""What a connection may have to send again, from ErrorRecoveryLevel 1 on.  Source: RFC 7143 7.10, 11.7, 11.16.

Every PDU that used up a StatSN is kept until the initiator's ExpStatSN passes it; with a SCSI Response also the Data-In
that came before. Status is never collapsed into Data-In here, so that the two are recovered apart. Large data asks for
an acknowledgement (A bit). At most `limit_bytes` of data and `most` PDUs are kept; what is too old is forgotten first,
and a SNACK for it is rejected.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Optional

from tcmu_gluster.iscsi.keys import Parameters
from tcmu_gluster.iscsi.output import Output
from tcmu_gluster.iscsi.pdu import NO_TAG, Buffer, Opcode, ResponseFlag, pack_data_in, pack_scsi_response
from tcmu_gluster.iscsi.response import Cutter, residuals
from tcmu_gluster.iscsi.serial import MASK, CommandWindow, less
from tcmu_gluster.iscsi.task_set import IscsiCommand
from tcmu_gluster.scsi.command import Response

_DATA_IN, _SCSI_RESPONSE = int(Opcode.DATA_IN), int(Opcode.SCSI_RESPONSE)
_FINAL, _ACKNOWLEDGE = int(ResponseFlag.FINAL), int(ResponseFlag.ACKNOWLEDGE)
_NUMBERS = slice(28, 36)
"""ExpCmdSN and MaxCmdSN in every PDU of a target: a repeated one carries the current values."""


@dataclass
class Answer:
    """The Data-In and the status of one command. first: number of its first Data-In; tag: of its acknowledgements."""

    command: IscsiCommand
    response: Response
    length: int
    """Bytes of Data-In."""
    first: int
    segment: int = 0
    tag: int = NO_TAG
    sent: int = 0
    """Data-In PDUs."""
    acknowledged: int = 0
    """Data-In before this number need not be sent again."""
    skipped: int = 0
    """Bytes of data that the present numbering leaves out: they were acknowledged before it began."""
    has_data: bool = True

    def pieces(self, burst: int) -> Iterator[tuple[int, int, int, bool]]:
        """(DataSN, offset, length, whether the sequence ends) of each Data-In."""
        number, offset = self.first, self.skipped
        burst_end = min(offset - offset % burst + burst, self.length)
        while offset < self.length:
            size = min(self.segment, burst_end - offset)
            final = offset + size == burst_end
            yield number, offset, size, final
            offset += size
            number += 1
            if final:
                burst_end = min(burst_end + burst, self.length)


@dataclass
class Kept:
    """One PDU with a StatSN."""

    stat_sn: int
    header: bytes
    data: bytes
    answer: Optional[Answer] = field(default=None, repr=False)


class Keeper:
    """See the module. max_burst: MaxBurstLength of the session; parameters: of the connection (segments may change)."""

    def __init__(
        self, output: Output, window: CommandWindow, parameters: Parameters, max_burst: int, most: int, limit_bytes: int
    ) -> None:
        self._output, self._window, self._parameters, self._max_burst = output, window, parameters, max_burst
        self._most, self._limit = most, limit_bytes
        self.data_bytes = 0
        """Data-In that is kept."""
        self._kept: deque[Kept] = deque()
        self._by_task: dict[int, Answer] = {}
        self._by_tag: dict[int, Answer] = {}
        self._last_tag = 0

    # -- what is sent ------------------------------------------------------------------------------------------------

    def keep(self, stat_sn: int, header: Buffer, data: Buffer, answer: Optional[Answer] = None) -> None:
        """A PDU with that StatSN leaves."""
        self._kept.append(Kept(stat_sn, bytes(header), bytes(data), answer))
        if len(self._kept) > self._most:
            self._let_go(self._kept.popleft())

    def answer(self, command: IscsiCommand, response: Response, data_sn: int = 0, skipped: int = 0) -> None:
        """Send a command's data and its status.

        Of a reassigned task the first `skipped` bytes, the Data-In before number data_sn, are acknowledged already.
        """
        length = min(sum(map(len, response.data_in)), command.data_in_bytes)
        first = command.transfer.r2t_sn if command.transfer is not None else 0
        answer = Answer(command, response, length, max(first, data_sn))
        answer.segment, answer.skipped = self._parameters.max_recv_data_segment_length, skipped
        answer.acknowledged = answer.first
        if length > skipped:
            if command.memory is not None:
                self._last_tag = answer.tag = (self._last_tag + 1) % NO_TAG
                self._by_tag[answer.tag] = answer
            answer.sent = self._send_data(answer, answer.acknowledged, None)
        self._by_task[command.tag] = answer
        self.data_bytes += length
        self._send_status(answer, self._output.stat_sn, 0)
        self._output.stat_sn = (self._output.stat_sn + 1) & MASK
        while self.data_bytes > self._limit:
            self._forget_oldest_data()

    def _send_data(self, answer: Answer, begin: int, end: Optional[int]) -> int:
        """Data-In from number begin up to (not including) end. Returns how many there are of this answer in all."""
        output, window, command = self._output, self._window, answer.command
        cutter = Cutter(answer.response.data_in)
        cutter.cut(answer.skipped)
        count = 0
        for number, offset, size, final in answer.pieces(self._max_burst):
            count += 1
            parts = cutter.cut(size)
            if number < begin or (end is not None and number >= end):
                continue
            asks = final and answer.tag != NO_TAG
            header = pack_data_in(
                _DATA_IN, (_FINAL if final else 0) | (_ACKNOWLEDGE if asks else 0), 0, size, command.tag,
                answer.tag if asks else NO_TAG, 0, window.expected, window.max_cmd_sn, number, offset, 0,
            )  # fmt: skip
            if asks:
                header = header[:8] + command.lun_field.to_bytes(8, "big") + header[16:]
            output.send_parts(header, parts, size)
        return count

    def _send_status(self, answer: Answer, stat_sn: int, snack_tag: int) -> None:
        output, window, command = self._output, self._window, answer.command
        total = sum(map(len, answer.response.data_in)) if answer.has_data else answer.length
        flags, residual, read_residual = residuals(command, total)
        sense = answer.response.sense
        data = len(sense).to_bytes(2, "big") + sense if sense else b""
        header = pack_scsi_response(
            _SCSI_RESPONSE, _FINAL | flags, 0, answer.response.status, len(data), command.tag, snack_tag,
            stat_sn, window.expected, window.max_cmd_sn, answer.first + answer.sent, read_residual, residual,
        )  # fmt: skip
        output.send(header, data)
        if snack_tag:
            kept = self._of_answer(answer)
            if kept is not None:
                kept.header = header
            return
        self.keep(stat_sn, header, data, answer)
        if not answer.length and command.memory is not None:
            self._free(answer)

    # -- what is acknowledged ----------------------------------------------------------------------------------------

    def acknowledge(self, exp_stat_sn: int) -> None:
        """Every StatSN before it has arrived; a number that was not sent yet means nothing."""
        if less(self._output.stat_sn, exp_stat_sn):
            return
        while self._kept and less(self._kept[0].stat_sn, exp_stat_sn):
            self._let_go(self._kept.popleft())

    def acknowledge_data(self, tag: int, data_sn: int) -> bool:
        """DataACK: the Data-In before data_sn of the answer that asked with this tag. False: nobody asked that."""
        answer = self._by_tag.get(tag)
        if answer is None or not answer.acknowledged <= data_sn <= answer.first + answer.sent:
            return False
        answer.acknowledged = data_sn
        if data_sn == answer.first + answer.sent:
            self._free(answer)
        return True

    def give_up(self) -> list[Answer]:
        """The connection ends: the answers whose status was not acknowledged, with their memory; nothing is kept."""
        answers = [kept.answer for kept in self._kept if kept.answer is not None]
        self._kept.clear()
        self._by_task.clear()
        self._by_tag.clear()
        self.data_bytes = 0
        return answers

    def free(self, answers: list[Answer]) -> None:
        """What give_up() returned is of no use to anybody."""
        for answer in answers:
            memory, answer.command.memory = answer.command.memory, None
            if memory is not None:
                self._output.returning.append(memory)

    def _let_go(self, kept: Kept) -> None:
        answer = kept.answer
        if answer is None:
            return
        if self._by_task.get(answer.command.tag) is answer:
            del self._by_task[answer.command.tag]
        self._free(answer)

    def _free(self, answer: Answer) -> None:
        """Its data will not be sent again. The memory goes back after what is queued now has left."""
        if answer.has_data:
            answer.has_data = False
            self.data_bytes -= answer.length
        self._by_tag.pop(answer.tag, None)
        memory, answer.command.memory = answer.command.memory, None
        if memory is not None:
            self._output.returning.append(memory)

    def _forget_oldest_data(self) -> None:
        for kept in self._kept:
            if kept.answer is not None and kept.answer.has_data and kept.answer.length:
                self._free(kept.answer)
                return
        self.data_bytes = 0

    # -- what is asked for again (SNACK) -----------------------------------------------------------------------------

    def repeat_status(self, begin: int, run: int) -> bool:
        """PDUs with StatSN from begin on, run of them; (0, 0): all that are not acknowledged. False: they are gone."""
        if not self._kept:
            return False
        at = (begin - self._kept[0].stat_sn) & MASK if begin or run else 0
        count = run or len(self._kept) - at
        if not 0 < count <= len(self._kept) - at:
            return False
        numbers = struct.pack(">II", self._window.expected, self._window.max_cmd_sn)
        for index in range(at, at + count):
            kept = self._kept[index]
            self._output.send(kept.header[: _NUMBERS.start] + numbers + kept.header[_NUMBERS.stop :], kept.data)
        return True

    def repeat_data(self, task_tag: int, begin: int, run: int) -> bool:
        """Data-In of a task, from number begin on, run of them or (0) all. False: it isn't kept."""
        answer = self._by_task.get(task_tag)
        if answer is None or not answer.has_data:
            return False
        end = answer.first + answer.sent
        same = answer.segment <= self._parameters.max_recv_data_segment_length
        if not answer.acknowledged <= begin < end or begin + run > end or not same:
            return False
        self._send_data(answer, begin, begin + run if run else None)
        return True

    def resegment(self, task_tag: int, snack_tag: int) -> bool:
        """R-Data: all data that isn't acknowledged, in segments of the present size, and the status once more."""
        answer = self._by_task.get(task_tag)
        kept = self._of_answer(answer) if answer is not None else None
        if answer is None or kept is None or not answer.has_data or not snack_tag:
            return False
        for number, offset, _, _ in answer.pieces(self._max_burst):
            if number == answer.acknowledged:
                answer.skipped = offset
        answer.first = answer.acknowledged
        answer.segment = self._parameters.max_recv_data_segment_length
        answer.sent = self._send_data(answer, answer.first, None)
        self._send_status(answer, kept.stat_sn, snack_tag)
        return True

    def _of_answer(self, answer: Answer) -> Optional[Kept]:
        return next((kept for kept in self._kept if kept.answer is answer), None)
