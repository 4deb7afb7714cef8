"""An initiator that loses PDUs and gets them back: ErrorRecoveryLevel 1 and 2.  Source: RFC 7143 7, 11.16.

    initiator = Recovering({"DataDigest": "CRC32C"}, level=1)
    initiator.lose(Opcode.DATA_IN, 2)           # the third Data-In never arrives (a header digest error: 7.8)
    initiator.damage(Opcode.DATA_OUT, 0)        # its first Data-Out leaves with a wrong data digest
    initiator.damage(Opcode.DATA_OUT, 0, header=True)

It asks for what is missing by SNACK as soon as it notices (7.10, 7.11), acknowledges data when it is asked to (11.7.2),
and its ExpStatSN passes a SCSI Response only when all data of the task is here (11.7.2). A task has its status then.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Optional

from tcmu_gluster.iscsi import pdu
from tcmu_gluster.iscsi.pdu import NO_TAG, Opcode
from tests.doubles.initiator import MASK, Initiator, Pdu, Task

DATA, STATUS, DATA_ACK, R_DATA = 0, 1, 2, 3


class Recovering(Initiator):
    """See the module."""

    def __init__(self, keys: Optional[dict[str, str]] = None, *, level: int = 1, **more: Any) -> None:
        wanted = {"ErrorRecoveryLevel": str(level), "DefaultTime2Retain": "20", **(keys or {})}
        super().__init__(keys=wanted, **more)
        self.asks = True
        """Whether it sends SNACKs by itself."""
        self.lost: list[Pdu] = []
        self.snacks: list[Any] = []
        self._losing: Counter[tuple[int, int]] = Counter()
        self._damaging: dict[tuple[int, int], bool] = {}
        self._seen: Counter[int] = Counter()
        self._left: Counter[int] = Counter()
        self._statuses: dict[int, Pdu] = {}
        self._data: dict[int, dict[int, Pdu]] = {}
        self._asked: set[tuple[int, int, int]] = set()

    # -- trouble -----------------------------------------------------------------------------------------------------

    def lose(self, opcode: int, index: int = 0) -> None:
        """The PDU of that kind that comes index places after the next one doesn't arrive."""
        self._losing[opcode, self._seen[opcode] + index] = 1

    def damage(self, opcode: int, index: int = 0, *, header: bool = False) -> None:
        """The same for what it sends: the data, or the header, has a digest that doesn't match."""
        self._damaging[opcode, self._left[opcode] + index] = header

    def queue(self, layout: Any, data: bytes = b"", ahs: bytes = b"", **fields: Any) -> bytes:
        """Queue one PDU, damaged if that was asked for."""
        start = len(self._out)
        raw = super().queue(layout, data, ahs, **fields)
        opcode = raw[0] & 0x3F
        header = self._damaging.pop((opcode, self._left[opcode]), None)
        self._left[opcode] += 1
        if header is not None:
            assert self.header_digest if header else self.data_digest and data, "there is no digest to notice it"
            at = start + 48 if header else len(self._out) - 1
            self._out[at] ^= 0xFF
        return raw

    # -- what comes --------------------------------------------------------------------------------------------------

    def _take_pdu(self, answer: Pdu) -> None:
        seen = self._seen[answer.opcode]
        self._seen[answer.opcode] += 1
        if self._losing.pop((answer.opcode, seen), 0):
            self.lost.append(answer)
            return
        if not self.full_feature or self.number_of("ErrorRecoveryLevel") == 0:
            super()._take_pdu(answer)
            return
        self.every.append(answer)
        fields = answer.fields
        task = self.tasks.get(fields.initiator_task_tag)
        self.max_cmd_sn = fields.max_cmd_sn
        if answer.opcode == Opcode.DATA_IN and task:
            assert not fields.has_status, "status that is collapsed can't be recovered apart"
            self._take_data(task, answer)
        elif answer.opcode == Opcode.R2T and task:
            self._take_r2t(task, answer)
        elif answer.opcode == Opcode.NOP_IN and fields.initiator_task_tag == NO_TAG:
            self._gap_before(fields.stat_sn)
            self.others.append(answer)
        else:
            self._take_status(answer)
        self._advance()

    def _take_status(self, answer: Pdu) -> None:
        """RFC 7143 4.2.2.2: StatSN tells what is missing."""
        number = answer.fields.stat_sn
        if (number - self.exp_stat_sn) & MASK >= 1 << 31 or (
            number in self._statuses and not getattr(answer.fields, "snack_tag", 0)
        ):
            return  # a repetition
        self._statuses[number] = answer
        self._gap_before(number)

    def _gap_before(self, number: int) -> None:
        missing = [
            sn & MASK for sn in range(self.exp_stat_sn, self.exp_stat_sn + ((number - self.exp_stat_sn) & MASK))
            if sn & MASK not in self._statuses
        ]  # fmt: skip
        if missing:
            self.ask(STATUS, NO_TAG, missing[0], len(missing))

    def _take_data(self, task: Task, answer: Pdu) -> None:
        fields = answer.fields
        have = self._data.setdefault(task.tag, {})
        have[fields.data_sn] = answer
        holes = [number for number in range(fields.data_sn) if number not in have]
        if holes:
            self.ask(DATA, task.tag, holes[0], len(holes))
        elif fields.acknowledge:
            assert fields.final and fields.target_transfer_tag != NO_TAG and fields.lun == task.lun_field  # 11.7.2, .4
            self.acknowledge_data(answer, max(have) + 1)

    def acknowledge_data(self, answer: Pdu, begin: int) -> None:
        """DataACK (11.16.1): LUN and tag are those of the Data-In that asked."""
        self._snack(DATA_ACK, NO_TAG, begin, 0, lun=answer.fields.lun, tag=answer.fields.target_transfer_tag)

    def _take_r2t(self, task: Task, answer: Pdu) -> None:
        fields = answer.fields
        if fields.r2t_sn < task.r2t_sn:
            return
        if fields.r2t_sn > task.r2t_sn:
            self.ask(DATA, task.tag, task.r2t_sn, fields.r2t_sn - task.r2t_sn)
            return
        task.r2t_sn += 1
        if self.answer_r2t:
            length = fields.desired_data_transfer_length
            self.data_out(task, fields.buffer_offset, length, fields.target_transfer_tag)
        else:
            self.others.append(answer)

    def _advance(self) -> None:
        """ExpStatSN passes what is whole."""
        while self.exp_stat_sn in self._statuses:
            answer = self._statuses[self.exp_stat_sn]
            task = self.tasks.get(answer.fields.initiator_task_tag)
            if answer.opcode == Opcode.SCSI_RESPONSE and task:
                have = self._data.get(task.tag, {})
                count = answer.fields.exp_data_sn - task.r2t_sn
                holes = [number for number in range(count) if number not in have]
                if holes:
                    self.ask(DATA, task.tag, holes[0], len(holes))
                    return
                self._finish(task, answer, have)
            else:
                self.others.append(answer)
            del self._statuses[self.exp_stat_sn]
            self.exp_stat_sn = (self.exp_stat_sn + 1) & MASK

    def _finish(self, task: Task, answer: Pdu, have: dict[int, Pdu]) -> None:
        offset = 0
        for number in sorted(have):
            piece = have[number]
            assert piece.fields.buffer_offset == offset, "data out of order"
            task.buffer[offset : offset + len(piece.data)] = piece.data
            offset += len(piece.data)
        task.received = offset
        task.data_sn = answer.fields.exp_data_sn - task.r2t_sn
        self._scsi_response(task, answer)

    # -- asking ------------------------------------------------------------------------------------------------------

    def ask(self, kind: int, task_tag: int, begin: int, run: int) -> None:
        """A SNACK, once for each loss."""
        if self.asks and (kind, task_tag, begin) not in self._asked:
            self._asked.add((kind, task_tag, begin))
            self._snack(kind, task_tag, begin, run)

    def _snack(self, kind: int, task_tag: int, begin: int, run: int, *, lun: int = 0, tag: int = NO_TAG) -> None:
        self.snacks.append((kind, task_tag, begin, run))
        self.queue(
            pdu.SNACK_REQUEST, type=kind, initiator_task_tag=task_tag, lun=lun, target_transfer_tag=tag,
            begin_run=begin, run_length=run,
        )  # fmt: skip

    def r_data(self, task: Task, snack_tag: int) -> None:
        """R-Data SNACK (11.16.3): forget the data that came, get it in other segments."""
        self._data.pop(task.tag, None)
        self._statuses = {
            number: answer for number, answer in self._statuses.items() if answer.fields.initiator_task_tag != task.tag
        }
        self._snack(R_DATA, task.tag, 0, 0, lun=task.lun_field, tag=snack_tag)
