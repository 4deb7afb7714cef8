"""A sans-IO iSCSI initiator: queues requests, takes the target's bytes, checks its numbers.  Source: RFC 7143.

    initiator = Initiator(target_name="iqn....")
    initiator.login()                       # queues the first Login Request
    to_target = initiator.take()            # bytes for the target
    initiator.feed(from_target)             # answers R2Ts and login stages by itself
    task = initiator.scsi(cdb, read=4096); ...; task.status, task.data

Whatever breaks the RFC in what the target sends fails with AssertionError: StatSN that isn't the next, DataSN or offset
out of order, bursts longer than negotiated, a segment longer than declared.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any, Optional

import crc32c

from tcmu_gluster.iscsi import pdu
from tcmu_gluster.iscsi.pdu import NO_TAG, Opcode

MASK = 0xFFFFFFFF

DEFAULT_KEYS = {
    "HeaderDigest": "None", "DataDigest": "None", "MaxConnections": "1", "InitialR2T": "No", "ImmediateData": "Yes",
    "MaxRecvDataSegmentLength": "262144", "MaxBurstLength": "262144", "FirstBurstLength": "65536",
    "MaxOutstandingR2T": "1", "DefaultTime2Wait": "2", "DefaultTime2Retain": "0", "ErrorRecoveryLevel": "0",
    "DataPDUInOrder": "Yes", "DataSequenceInOrder": "Yes",
}  # fmt: skip


COUNTER_CHALLENGE = bytes(range(32))
CHAP_HASHES = {"5": "md5", "6": "sha1", "7": "sha256", "8": "sha3_256"}


def digest(*parts: bytes) -> bytes:
    """CRC32C as it travels."""
    return struct.pack("<I", crc32c.crc32c(b"".join(parts)))


def encode(keys: dict[str, str]) -> bytes:
    """key=value text."""
    return b"".join(f"{key}={value}\0".encode() for key, value in keys.items())


def decode(data: bytes) -> list[tuple[str, str]]:
    """The pairs of a text."""
    return [tuple(item.decode().split("=", 1)) for item in data.split(b"\0") if item]


class Pdu:
    """One PDU from the target: its record and its data."""

    def __init__(self, header: bytes, data: bytes) -> None:
        self.opcode = header[0] & 0x3F
        self.fields: Any = pdu.LAYOUTS[self.opcode].unpack(header)
        self.header, self.data = header, data

    def __repr__(self) -> str:
        return f"{self.fields} + {len(self.data)} bytes"


class Task:
    """One SCSI command: what was sent and what came back."""

    def __init__(self, tag: int, cmd_sn: int, lun_field: int, read: int, data_out: bytes) -> None:
        self.tag, self.cmd_sn, self.lun_field, self.read, self.data_out = tag, cmd_sn, lun_field, read, data_out
        self.buffer = bytearray(read)
        self.received = 0
        self.data_sn = 0
        self.burst = 0
        self.r2t_sn = 0
        self.status: Optional[int] = None
        self.response: Optional[int] = None
        self.sense = b""
        self.residual = 0
        self.overflow = self.underflow = False
        self.status_in_data = False

    @property
    def data(self) -> bytes:
        """The Data-In so far."""
        return bytes(self.buffer[: self.received])


class Initiator:
    """The initiator's end of one connection; several may share a Session-like CmdSN with `join`."""

    def __init__(
        self,
        target_name: str = "iqn.2026-01.example:target",
        name: str = "iqn.2026-01.example:initiator",
        *,
        isid: bytes = b"\x80\x00\x00\x00\x00\x01",
        keys: Optional[dict[str, str]] = None,
        discovery: bool = False,
        cid: int = 0,
        tsih: int = 0,
        cmd_sn: int = 1,
        chap: Optional[tuple[str, str]] = None,
        methods: str = "CHAP,None",
        algorithms: str = "5",
        mutual: bool = False,
    ) -> None:
        self.chap, self.methods, self.algorithms, self.mutual = chap, methods, algorithms, mutual
        """(user, password) to prove who it is; AuthMethod and CHAP_A as offered; whether it wants a proof, too."""
        self.target_name, self.name, self.isid, self.cid, self.tsih = target_name, name, isid, cid, tsih
        self.discovery = discovery
        self.keys = dict(DEFAULT_KEYS, **(keys or {}))
        if discovery:
            self.keys = {"MaxRecvDataSegmentLength": "262144"}
        self.cmd_sn, self.exp_stat_sn = cmd_sn, 0
        self.max_cmd_sn = cmd_sn
        self.agreed: dict[str, str] = {}
        self.login_status: Optional[int] = None
        self.full_feature = False
        self.answer_r2t = True
        self.header_digest = self.data_digest = False
        self.tasks: dict[int, Task] = {}
        self.others: list[Pdu] = []
        """PDUs that no task takes, in order."""
        self.every: list[Pdu] = []
        self._tag = 0
        self._out = bytearray()
        self._in = bytearray()
        self._first_response = True

    # -- bytes -------------------------------------------------------------------------------------------------------

    def take(self) -> bytes:
        """What is queued for the target."""
        out = bytes(self._out)
        self._out.clear()
        return out

    def feed(self, data: bytes) -> None:
        """Bytes from the target, cut anywhere."""
        self._in += data
        while len(self._in) >= 48:
            length = int.from_bytes(self._in[5:8], "big")
            start = 48 + (4 if self.header_digest else 0)
            total = start + length + (-length & 3) + (4 if self.data_digest and length else 0)
            assert self._in[4] == 0, "a target sends no AHS"
            if len(self._in) < total:
                return
            raw = bytes(self._in[:total])
            del self._in[:total]
            if self.header_digest:
                assert raw[48:52] == digest(raw[:48]), "header digest"
            if self.data_digest and length:
                assert raw[-4:] == digest(raw[start:-4]), "data digest"
            self._take_pdu(Pdu(raw[:48], raw[start : start + length]))

    def queue(self, layout: Any, data: bytes = b"", ahs: bytes = b"", **fields: Any) -> bytes:
        """Queue one PDU of any kind; returns its bytes."""
        names = layout.fields
        if "exp_stat_sn" in names:
            fields.setdefault("exp_stat_sn", self.exp_stat_sn)
        header = bytes(layout.pack(data_segment_length=len(data), total_ahs_length=len(ahs) // 4, **fields)) + ahs
        raw = header + (digest(header) if self.header_digest else b"")
        if data:
            padded = data + bytes(-len(data) % 4)
            raw += padded + (digest(padded) if self.data_digest else b"")
        self._out += raw
        return raw

    def next_tag(self) -> int:
        """A fresh Initiator Task Tag."""
        self._tag += 1
        return self._tag

    def number(self, immediate: bool = False) -> int:
        """CmdSN for the next request; an immediate one doesn't use it up."""
        number = self.cmd_sn
        if not immediate:
            self.cmd_sn = (self.cmd_sn + 1) & MASK
        return number

    # -- login -------------------------------------------------------------------------------------------------------

    def identity(self) -> dict[str, str]:
        """The keys of the first login request."""
        keys = {"InitiatorName": self.name, "SessionType": "Discovery" if self.discovery else "Normal"}
        if not self.discovery:
            keys["TargetName"] = self.target_name
        return keys

    def login(self, *, security: bool = False) -> None:
        """Begin: in the operational stage, or in the security stage with AuthMethod=None."""
        if self.chap:
            self.login_request({**self.identity(), "AuthMethod": self.methods}, stage=0)
        elif security:
            self.login_request({**self.identity(), "AuthMethod": "None"}, stage=0, following=1)
        else:
            self.login_request({**self.identity(), **self.keys}, stage=1, following=3)

    def login_request(
        self, keys: dict[str, str], *, stage: int, following: Optional[int] = None, more: bool = False, **fields: Any
    ) -> None:
        """One Login Request; following sets T and NSG."""
        values = {
            "immediate": 1, "transit": following is not None, "continues": more, "current_stage": stage,
            "next_stage": following or 0, "isid": self.isid, "tsih": self.tsih, "cid": self.cid, "cmd_sn": self.cmd_sn,
            "initiator_task_tag": 1,
        }  # fmt: skip
        self.queue(pdu.LOGIN_REQUEST, encode(keys), **{**values, **fields})

    def _login_response(self, answer: Pdu) -> None:
        fields = answer.fields
        self.login_status = fields.status
        if fields.status:
            return
        self.agreed.update(decode(answer.data))
        if self.chap and not fields.current_stage and not fields.transit:
            self._prove(*self.chap)
        elif fields.transit and fields.next_stage == 1:
            self.login_request(self.keys, stage=1, following=3)
        elif fields.transit and fields.next_stage == 3:
            self.tsih = fields.tsih
            self.full_feature = True
            self.header_digest = self.agreed.get("HeaderDigest") == "CRC32C"
            self.data_digest = self.agreed.get("DataDigest") == "CRC32C"

    def _prove(self, user: str, password: str) -> None:
        """The next step of CHAP (RFC 1994 4.1, RFC 7143 12.1.3)."""
        if "CHAP_C" not in self.agreed:
            self.login_request({"CHAP_A": self.algorithms}, stage=0)
            return
        challenge = bytes.fromhex(self.agreed["CHAP_C"][2:])
        data = bytes((int(self.agreed["CHAP_I"]),)) + password.encode() + challenge
        response = hashlib.new(CHAP_HASHES[self.agreed["CHAP_A"]], data).hexdigest()
        wanted = {"CHAP_I": "7", "CHAP_C": f"0x{COUNTER_CHALLENGE.hex()}"} if self.mutual else {}
        self.login_request({"CHAP_N": user, "CHAP_R": f"0x{response}", **wanted}, stage=0, following=1)

    # -- requests ----------------------------------------------------------------------------------------------------

    def number_of(self, key: str) -> int:
        """A negotiated number."""
        return int(self.agreed.get(key, self.keys.get(key, "8192")))

    def scsi(
        self,
        cdb: bytes,
        *,
        read: int = 0,
        data_out: bytes = b"",
        length: Optional[int] = None,
        lun: int = 0,
        immediate: bool = False,
        immediate_data: Optional[int] = None,
        unsolicited: bool = False,
        attribute: int = 1,
        **fields: Any,
    ) -> Task:
        """One SCSI command. Immediate data as much as allowed (or immediate_data bytes), then unsolicited if asked."""
        tag = self.next_tag()
        writes = bool(data_out) or (length is not None and not read)
        expected = length if length is not None else (len(data_out) if writes else read)
        first = min(self.number_of("FirstBurstLength"), self.number_of("MaxRecvDataSegmentLength"), len(data_out))
        if self.agreed.get("ImmediateData", "Yes") != "Yes":
            first = 0
        if immediate_data is not None:
            first = immediate_data
        number = self.number(immediate)
        task = Task(tag, number, lun << 48, read, data_out)
        self.tasks[tag] = task
        values = {
            "immediate": immediate, "final": not unsolicited, "read": bool(read), "write": writes,
            "attribute": attribute, "lun": lun << 48, "initiator_task_tag": tag,
            "expected_data_transfer_length": expected, "cmd_sn": number, "cdb": cdb,
        }  # fmt: skip
        self.queue(pdu.SCSI_COMMAND, data_out[:first], **{**values, **fields})
        if unsolicited:
            burst = min(self.number_of("FirstBurstLength"), len(data_out))
            self.data_out(task, first, burst - first)
        return task

    def data_out(self, task: Task, offset: int, length: int, transfer_tag: int = NO_TAG, **fields: Any) -> None:
        """A sequence of Data-Out PDUs of task's data, cut by the target's MaxRecvDataSegmentLength."""
        segment = self.number_of("MaxRecvDataSegmentLength")
        end, data_sn = offset + length, 0
        while True:
            size = min(segment, end - offset)
            values = {
                "final": offset + size == end, "lun": task.lun_field, "initiator_task_tag": task.tag,
                "target_transfer_tag": transfer_tag, "data_sn": data_sn, "buffer_offset": offset,
            }  # fmt: skip
            self.queue(pdu.DATA_OUT, task.data_out[offset : offset + size], **{**values, **fields})
            offset += size
            data_sn += 1
            if offset >= end:
                return

    def nop(self, data: bytes = b"ping", immediate: bool = False) -> int:
        """A ping; returns its tag."""
        tag = self.next_tag()
        self.queue(
            pdu.NOP_OUT, data, immediate=immediate, initiator_task_tag=tag, target_transfer_tag=NO_TAG,
            cmd_sn=self.number(immediate),
        )  # fmt: skip
        return tag

    def text(self, keys: dict[str, str], **fields: Any) -> int:
        """A Text Request; returns its tag."""
        tag = fields.pop("initiator_task_tag", None) or self.next_tag()
        values = {"final": True, "initiator_task_tag": tag, "target_transfer_tag": NO_TAG}
        self.queue(pdu.TEXT_REQUEST, encode(keys), **{**values, "cmd_sn": self.number(), **fields})
        return tag

    def logout(self, reason: int = 0, cid: Optional[int] = None) -> int:
        """A Logout Request; returns its tag."""
        tag = self.next_tag()
        self.queue(
            pdu.LOGOUT_REQUEST, immediate=1, reason=reason, initiator_task_tag=tag,
            cid=self.cid if cid is None else cid, cmd_sn=self.number(True),
        )  # fmt: skip
        return tag

    def manage(
        self, function: int, *, task: Optional[Task] = None, lun: int = 0, immediate: bool = True, **fields: Any
    ) -> int:
        """A Task Management Function Request; returns its tag."""
        tag = self.next_tag()
        values = {
            "immediate": immediate, "function": function, "lun": lun << 48, "initiator_task_tag": tag,
            "referenced_task_tag": task.tag if task else NO_TAG, "ref_cmd_sn": task.cmd_sn if task else 0,
            "cmd_sn": self.number(immediate),
        }  # fmt: skip
        self.queue(pdu.TASK_MANAGEMENT_REQUEST, **{**values, **fields})
        return tag

    # -- what comes back ---------------------------------------------------------------------------------------------

    def answers(self, opcode: int) -> list[Pdu]:
        """The PDUs of one kind that came so far (not those of SCSI tasks)."""
        return [item for item in self.others if item.opcode == opcode]

    def _take_pdu(self, answer: Pdu) -> None:
        self.every.append(answer)
        fields = answer.fields
        assert len(answer.data) <= int(self.keys.get("MaxRecvDataSegmentLength", "8192")) or not self.full_feature
        self._check_numbers(answer)
        if answer.opcode == Opcode.LOGIN_RESPONSE:
            self._login_response(answer)
        task = self.tasks.get(fields.initiator_task_tag)
        if answer.opcode == Opcode.DATA_IN and task:
            self._data_in(task, answer)
        elif answer.opcode == Opcode.SCSI_RESPONSE and task:
            self._scsi_response(task, answer)
        elif answer.opcode == Opcode.R2T and task:
            assert fields.r2t_sn == task.r2t_sn + task.data_sn, "R2TSN"
            assert fields.lun == task.lun_field
            assert 0 < fields.desired_data_transfer_length <= self.number_of("MaxBurstLength")
            task.r2t_sn += 1
            if self.answer_r2t:
                length = fields.desired_data_transfer_length
                self.data_out(task, fields.buffer_offset, length, fields.target_transfer_tag)
            else:
                self.others.append(answer)
        else:
            self.others.append(answer)

    def _check_numbers(self, answer: Pdu) -> None:
        """StatSN is the next one; only PDUs that carry status use it up."""
        fields = answer.fields
        counts = answer.opcode not in (Opcode.R2T, Opcode.DATA_IN)
        counts = counts or (answer.opcode == Opcode.DATA_IN and bool(fields.has_status))
        ping = answer.opcode == Opcode.NOP_IN and fields.initiator_task_tag == NO_TAG
        if self._first_response:
            self.exp_stat_sn, self._first_response = fields.stat_sn, False
        if counts or answer.opcode == Opcode.R2T:
            assert fields.stat_sn == self.exp_stat_sn, f"StatSN {fields.stat_sn}, due is {self.exp_stat_sn}: {answer}"
        if counts and not ping:
            self.exp_stat_sn = (self.exp_stat_sn + 1) & MASK
        self.max_cmd_sn = fields.max_cmd_sn

    def _data_in(self, task: Task, answer: Pdu) -> None:
        fields = answer.fields
        assert task.status is None, "data after status"
        assert fields.data_sn == task.data_sn + task.r2t_sn, "DataSN"
        assert fields.buffer_offset == task.received, "data out of order"
        task.data_sn += 1
        task.burst += len(answer.data)
        assert task.burst <= self.number_of("MaxBurstLength"), "burst longer than negotiated"
        if fields.final:
            task.burst = 0
        task.buffer[task.received : task.received + len(answer.data)] = answer.data
        task.received += len(answer.data)
        assert task.received <= task.read, "more data than expected"
        if fields.has_status:
            assert fields.final
            task.status, task.status_in_data = fields.status, True
            self._residuals(task, fields)

    def _scsi_response(self, task: Task, answer: Pdu) -> None:
        fields = answer.fields
        assert task.status is None, "two responses"
        assert fields.exp_data_sn == task.data_sn + task.r2t_sn, "ExpDataSN"
        task.status, task.response = fields.status, fields.response
        if answer.data:
            size = int.from_bytes(answer.data[:2], "big")
            task.sense = answer.data[2 : 2 + size]
            assert len(task.sense) == size
        self._residuals(task, fields)

    def _residuals(self, task: Task, fields: Any) -> None:
        task.residual = fields.residual_count
        task.overflow, task.underflow = bool(fields.overflow), bool(fields.underflow)
        assert not (task.overflow and task.underflow)
