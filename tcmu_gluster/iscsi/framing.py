"""From bytes to PDUs: the receive buffer, lengths, digests.

Bytes are received into one fixed buffer and PDUs are taken from it where they lie, in one loop. A large data segment
that isn't here yet is received straight into the memory of its command ("landing"), so that it is copied by the kernel
alone. Lengths are judged as soon as the 48 bytes are here, before memory is taken for anything they announce.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

from tcmu_gluster.errors import ProtocolError
from tcmu_gluster.iscsi.digest import DIGEST_BYTES, digest, matches
from tcmu_gluster.iscsi.output import Output
from tcmu_gluster.iscsi.pdu import (
    BHS_BYTES,
    OPCODE_MASK,
    Opcode,
    RejectPdu,
    RejectReason,
    unpack_data_out,
    unpack_scsi_command,
)
from tcmu_gluster.iscsi.settings import Settings
from tcmu_gluster.iscsi.task_set import IscsiCommand
from tcmu_gluster.iscsi.transfer import Intake

LOGIN_BUFFER_BYTES = 16 << 10
"""Before it has logged in, a connection costs no more than this."""
SLACK_BYTES = 64
"""Room for the padding and digest of a PDU that just fits."""

_COMMAND, _DATA_OUT = int(Opcode.SCSI_COMMAND), int(Opcode.DATA_OUT)

Handler = Callable[[memoryview, Optional[memoryview]], None]
"""handler(header, data): header is the 48 bytes, data the data segment or None. Both are valid during the call only."""


class Broken(ProtocolError):
    """The stream can't be read any further: the connection ends. reject: what to say before, if anything."""

    def __init__(self, why: str, reject: Optional[RejectReason] = None) -> None:
        super().__init__(why)
        self.why, self.reject = why, reject


class Landing:
    """A data segment that is received straight into memory."""

    __slots__ = ("command", "finish", "fresh", "header", "length", "rest", "view")

    def __init__(self, header: bytes, length: int, view: Optional[memoryview]) -> None:
        self.header, self.length = header, length
        self.view = view  # None: the data is dropped
        self.rest = length
        self.command: Optional[IscsiCommand] = None
        self.fresh = False  # nobody knows the command yet: its own PDU is what lands
        self.finish: Optional[Callable[[bool], None]] = None


class Framing:
    """The receiving half of one connection.

    handlers    one row an opcode: who takes a PDU other than the two hot ones
    limit_bytes largest DataSegmentLength now
    """

    def __init__(
        self, settings: Settings, intake: Intake, output: Output, refuse: Callable[[RejectPdu, Any], None]
    ) -> None:
        self._settings = settings
        self._capacity = min(LOGIN_BUFFER_BYTES, settings.receive_buffer_bytes)
        self._buffer = bytearray(self._capacity + SLACK_BYTES)
        self._view = memoryview(self._buffer)
        self._whole = self._view[: self._capacity]
        self._grow = False
        self._end = 0  # bytes of the buffer that hold unparsed data
        self._landing_threshold = settings.landing_bytes
        self._intake, self._output, self._refuse = intake, output, refuse
        self._landing: Optional[Landing] = None
        self._tail = 0  # padding and digest that follow a landed data segment
        self._bulk = False
        self.handlers: list[Handler] = []
        self.full_feature = False
        self.limit_bytes = 8192
        self.header_digest = self.data_digest = False
        self._plain = False  # SCSI commands may be taken in the short loop
        self._recovers = False
        self._acknowledge: Optional[Callable[[int], None]] = None
        self.dropped = 0
        """PDUs whose header digest was wrong and that were skipped."""
        self.stopped = False
        """Set by a handler: nothing more is parsed (login ended, back-pressure, the connection is closing)."""

    def begin(
        self,
        *,
        commands: bool,
        header_digest: bool,
        data_digest: bool,
        recovers: bool = False,
        acknowledge: Optional[Callable[[int], None]] = None,
    ) -> None:
        """Full feature phase begins with the next PDU. commands: SCSI PDUs may come (not in a discovery session).

        recovers: ErrorRecoveryLevel is 1 or more. acknowledge hears the ExpStatSN of every PDU.
        """
        self.full_feature = commands
        self._plain = commands and not header_digest and acknowledge is None
        self._recovers, self._acknowledge = recovers, acknowledge
        self.header_digest, self.data_digest = header_digest, data_digest
        self.limit_bytes = self._settings.max_recv_data_segment_bytes
        self._grow = True

    # -- feeding --------------------------------------------------------------------------------------------------

    def receive_buffer(self) -> memoryview:
        """Where the next bytes go. Empty only while `stopped` has filled the buffer."""
        landing = self._landing
        if landing is not None and landing.rest:
            if landing.view is not None:
                return landing.view[landing.length - landing.rest :]
            return self._view[: min(landing.rest, len(self._view))]
        if self._grow:
            self._enlarge()
        if self._bulk and not self._end:
            return self._view[: self._landing_threshold]  # likely another header: leave its data to land
        end = self._end
        if not end:
            return self._whole
        return self._view[end : self._capacity] if end < self._capacity else self._view[end:]

    def _enlarge(self) -> None:
        waiting = self._buffer[: self._end]
        self._capacity = self._settings.receive_buffer_bytes
        self._buffer = bytearray(self._capacity + SLACK_BYTES)
        self._buffer[: len(waiting)] = waiting
        self._view = memoryview(self._buffer)
        self._whole = self._view[: self._capacity]
        self._grow = False

    def received(self, count: int) -> None:
        """count bytes are in receive_buffer(). Raises Broken."""
        landing = self._landing
        if landing is not None and landing.rest:
            landing.rest -= count
            if landing.rest or self._tail:
                return
            self._land(landing, True)
            return
        if count == self._landing_threshold:
            self._bulk = False
        self._end += count
        self.parse()

    def parse(self) -> None:
        """Take every whole PDU out of the buffer. Raises Broken."""
        end, at = self._end, 0
        if self._landing is not None:
            at = self._take_tail(end)
            if at < 0:
                return
        try:
            at = self._parse(at, end)
        finally:
            left = self._end - at
            if left and at:
                self._buffer[:left] = self._buffer[at : self._end]
            self._end = left

    def _parse(self, at: int, end: int) -> int:
        """Returns how far the buffer is used up."""
        buffer, view, intake = self._buffer, self._view, self._intake
        short = BHS_BYTES - 1
        while end - at > short and not self.stopped:
            if buffer[at] & OPCODE_MASK == _COMMAND and self._plain:
                fields = unpack_scsi_command(buffer, at)
                lengths = fields[2]
                data_end = at + BHS_BYTES + lengths  # far beyond the end if there is an AHS
                following = data_end + (-lengths & 3)
                if not lengths or (following <= end and lengths <= self.limit_bytes and not self.data_digest):
                    try:
                        intake.command(fields, None, view[at + BHS_BYTES : data_end] if lengths else None)
                    except RejectPdu as problem:
                        self._refuse(problem, buffer[at : at + BHS_BYTES])
                    at = following
                    continue
            used = self._general(at, end)
            if used < 0:
                break
            at += used
        return at

    # -- one PDU --------------------------------------------------------------------------------------------------

    def _general(self, at: int, end: int) -> int:
        """One PDU of any kind: its length, or -1 if it isn't all here. A landing takes all that is in the buffer."""
        buffer, view = self._buffer, self._view
        opcode = buffer[at] & OPCODE_MASK
        ahs_length = buffer[at + 4] << 2
        length = int.from_bytes(buffer[at + 5 : at + 8], "big")
        self._judge(opcode, ahs_length, length)
        start = at + BHS_BYTES + ahs_length
        if self.header_digest:
            start += DIGEST_BYTES
        if start > end:
            return -1
        tail = -length & 3
        if self.data_digest and length:
            tail += DIGEST_BYTES
        data_end = start + length
        if self.header_digest and not matches(view[at : start - DIGEST_BYTES], view[start - DIGEST_BYTES : start]):
            return self._skip(at, end, data_end + tail)
        if self._acknowledge is not None:
            self._acknowledge(int.from_bytes(buffer[at + 28 : at + 32], "big"))
        if data_end + tail > end:
            if data_end - end >= self._landing_threshold or (data_end > end and data_end - at > self._capacity):
                self._open_landing(at, start, end, length, tail)
                return end - at
            return -1
        if length and self.data_digest:
            digest_at = data_end + tail - DIGEST_BYTES
            if not matches(view[start:digest_at], view[digest_at : digest_at + DIGEST_BYTES]):
                self._bad_data(view[at : at + BHS_BYTES])
                return data_end + tail - at
        data = view[start:data_end] if length else None
        try:
            self._dispatch(opcode, at, ahs_length, data)
        except RejectPdu as problem:
            self._refuse(problem, buffer[at : at + BHS_BYTES])
        if self._output.bytes > self._settings.output_limit_bytes:
            self.stopped = True
        return data_end + tail - at

    def _dispatch(self, opcode: int, at: int, ahs_length: int, data: Optional[memoryview]) -> None:
        if opcode == _COMMAND and self.full_feature:
            first = at + BHS_BYTES
            ahs = self._view[first : first + ahs_length] if ahs_length else None
            self._intake.command(unpack_scsi_command(self._buffer, at), ahs, data)
        elif opcode == _DATA_OUT and self.full_feature:
            fields = unpack_data_out(self._buffer, at)
            length = len(data) if data is not None else 0
            place = self._intake.begin_data_out(fields, length)
            if place is not None:
                command, burst, memory = place
                if data is not None:
                    memory[:] = data
                self._intake.end_data_out(command, burst, fields, length)
        else:
            self.handlers[opcode](self._view[at : at + BHS_BYTES], data)

    def _judge(self, opcode: int, ahs_length: int, length: int) -> None:
        if length > self.limit_bytes:
            why = f"a data segment of {length} bytes, allowed are {self.limit_bytes}"
            raise Broken(why, RejectReason.PROTOCOL_ERROR)
        if ahs_length and opcode != _COMMAND:
            raise Broken(f"an additional header segment after opcode {opcode:#04x}", RejectReason.PROTOCOL_ERROR)

    def _skip(self, at: int, end: int, following: int) -> int:
        """A header that can't be trusted hides where the next one begins (RFC 7143 7.8).

        From ErrorRecoveryLevel 1 on, a good header digest at `following`, where the next header should be, proves that
        the lengths were right: this PDU is dropped without a word, and whoever misses it asks again.
        """
        short = following + BHS_BYTES + DIGEST_BYTES
        if not self._recovers or short - at > self._capacity:
            raise Broken("header digest error")
        if short > end:
            return -1
        ahs_length = self._buffer[following + 4] << 2
        digest_at = following + BHS_BYTES + ahs_length
        if ahs_length and self._buffer[following] & OPCODE_MASK != _COMMAND:
            raise Broken("header digest error")
        if digest_at + DIGEST_BYTES - at > self._capacity:
            raise Broken("header digest error")
        if digest_at + DIGEST_BYTES > end:
            return -1
        if not matches(self._view[following:digest_at], self._view[digest_at : digest_at + DIGEST_BYTES]):
            raise Broken("header digest error")
        self.dropped += 1
        return following - at

    def _bad_data(self, header: Any) -> None:
        """RFC 7143 7.8: discard the PDU, say Reject, and end the task of a Data-Out."""
        self._refuse(RejectPdu(RejectReason.DATA_DIGEST_ERROR, "data digest error"), bytes(header))
        if header[0] & OPCODE_MASK == _DATA_OUT and self.full_feature:
            self._intake.bad_digest(unpack_data_out(header, 0))

    # -- landing --------------------------------------------------------------------------------------------------

    def _open_landing(self, at: int, start: int, end: int, length: int, tail: int) -> None:
        """The data segment goes on beyond the buffer: what is here is copied, the rest received in place."""
        header = bytes(self._buffer[at:start])
        opcode = header[0] & OPCODE_MASK
        try:
            landing = self._landing_for(opcode, header, length)
        except RejectPdu as problem:
            self._refuse(problem, header[:BHS_BYTES])
            landing = Landing(header, length, None)
        here = end - start
        if landing.view is not None:
            landing.view[:here] = self._view[start:end]
        landing.rest = length - here
        self._landing, self._tail, self._bulk = landing, tail, True

    def _landing_for(self, opcode: int, header: bytes, length: int) -> Landing:
        intake = self._intake
        if opcode == _COMMAND and self.full_feature:
            fields = unpack_scsi_command(header, 0)
            ahs_end = BHS_BYTES + (header[4] << 2)
            ahs = memoryview(header)[BHS_BYTES:ahs_end] if header[4] else None
            made = intake.begin_command(fields, ahs, length)
            if made is None:
                return Landing(header, length, None)
            failed = made.transfer is None or made.transfer.failed
            view = None if failed or made.transfer is None else made.transfer.memory[:length]
            landing = Landing(header, length, view)
            landing.finish = lambda good: intake.end_command(made, fields) if good else intake.forget(made)
            landing.command, landing.fresh = made, True
            return landing
        if opcode == _DATA_OUT and self.full_feature:
            data_fields = unpack_data_out(header, 0)
            place = intake.begin_data_out(data_fields, length)
            if place is None:
                return Landing(header, length, None)
            command, burst, memory = place

            def landed(good: bool) -> None:
                if good:
                    intake.end_data_out(command, burst, data_fields, length)
                else:
                    intake.fail_data_out(command, data_fields)

            landing = Landing(header, length, memory)
            landing.finish, landing.command = landed, command
            return landing
        view = memoryview(bytearray(length))
        landing = Landing(header, length, view)
        landing.finish = lambda good: self.handlers[opcode](memoryview(header)[:BHS_BYTES], view) if good else None
        return landing

    @property
    def landing(self) -> bool:
        """Whether a large data segment is on its way."""
        return self._landing is not None

    @property
    def unfinished(self) -> bool:
        """Whether a part of a PDU is here whose rest isn't."""
        return bool(self._end) or self._landing is not None

    def divert(self, command: IscsiCommand) -> None:
        """The command has ended (another connection's doing): what is still to land for it is dropped."""
        landing = self._landing
        if landing is not None and landing.command is command:
            landing.view = landing.finish = None

    def abandon(self) -> None:
        """Nothing more is received: a command whose own PDU isn't complete gives its memory back."""
        landing, self._landing = self._landing, None
        if landing is not None and landing.command is not None and landing.finish is not None and landing.fresh:
            self._intake.forget(landing.command)

    def give_back(self) -> None:
        """The transport has ended: the memory that was received into goes at once, however long this object is kept.

        (What belongs to a connection refers to each other, so Python frees it when its collector comes to it.)
        """
        self._buffer = bytearray()
        self._view = self._whole = memoryview(self._buffer)
        self._grow = False
        self._capacity = self._end = 0

    def _take_tail(self, end: int) -> int:
        """Padding and digest of a landed segment: how many bytes they are, or -1 if they aren't here yet."""
        landing, tail = self._landing, self._tail
        if end < tail or landing is None:
            return -1
        good = True
        if self.data_digest and landing.view is not None:
            padding = tail - DIGEST_BYTES
            expected = digest((landing.view, self._view[:padding]))
            good = expected == bytes(self._view[padding:tail])
        self._tail = 0
        self._land(landing, good)
        return tail

    def _land(self, landing: Landing, good: bool) -> None:
        self._landing = None
        header = landing.header[:BHS_BYTES]
        if not good:
            self._refuse(RejectPdu(RejectReason.DATA_DIGEST_ERROR, "data digest error"), header)
        if landing.finish is None:
            return
        try:
            landing.finish(good)
        except RejectPdu as problem:
            self._refuse(problem, header)
