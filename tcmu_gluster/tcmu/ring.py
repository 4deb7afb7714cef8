"""The TCMU command ring, over any writable buffer. It touches no file, no clock and no thread.

    while ring.refresh():                                   # acquiring load of cmd_head
        for command in ring.commands():
            response = unit.execute(command)                # or None, and later ring.complete(command, response)
            if response is not None:
                ring.complete(command, response)
    if ring.publish():                                      # releasing store of cmd_tail
        os.write(uio_fd, b"....")                           # the kernel looks

Nothing in the ring is believed before it is checked, and an entry's header is read once. A ring that holds what the
kernel never writes is DEAD: nothing more is posted, cmd_tail stays, and whoever drives it blocks the device, waits
until `inflight` is 0, resets the ring and opens a new one.

Completion out of order: a response is written into whatever CMD entry is at cmd_tail ("slot stealing") and cmd_tail
moves on by that entry's length. So the lengths of fetched entries are kept here, and the ring is never read back.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from enum import Enum
from typing import Optional

from ..errors import RingError
from ..scsi.command import ANY, Done, Function, Response, Status
from .access import AccessFactory, PythonAccess
from .data_direction import DATA_OUT, length_fits
from .ring_command import (
    BIDIRECTIONAL_REFUSED,
    FUNCTIONS,
    LENGTH_REFUSED,
    RingCommand,
    RingTaskManagement,
    sense_for_ring,
)
from .uapi import (
    ALIGNMENT,
    CDB_LENGTHS,
    CMD_TAIL_OFFSET,
    ENTRY_BYTES,
    HEADER,
    HEADER_BYTES,
    IOVEC_BYTES,
    MAILBOX,
    MAILBOX_BYTES,
    MAILBOX_VERSION,
    REQUEST_BYTES,
    TASK_MANAGEMENT,
    TASK_MANAGEMENT_BYTES,
    MailboxFlag,
    ResponseFlag,
    RingOpcode,
)


class RingState(Enum):
    """Where a ring is in its life."""

    SERVING = "serving"
    DRAINING = "draining"
    DEAD = "dead"
    CLOSED = "closed"


class RingInput(Enum):
    """What moves it on."""

    DRAIN = "drain"
    CORRUPTION = "corruption"
    CLOSE = "close"


# DRAINING fetches nothing more and answers what it has. DEAD posts nothing more; the first reason stays. CLOSED is
# entered with nothing in flight, or a backend's callback would find its memory gone. Other pairs are our own bugs.
TRANSITIONS = {
    (RingState.SERVING, RingInput.DRAIN): RingState.DRAINING,
    (RingState.SERVING, RingInput.CORRUPTION): RingState.DEAD,
    (RingState.SERVING, RingInput.CLOSE): RingState.CLOSED,
    (RingState.DRAINING, RingInput.DRAIN): RingState.DRAINING,
    (RingState.DRAINING, RingInput.CORRUPTION): RingState.DEAD,
    (RingState.DRAINING, RingInput.CLOSE): RingState.CLOSED,
    (RingState.DEAD, RingInput.DRAIN): RingState.DEAD,
    (RingState.DEAD, RingInput.CORRUPTION): RingState.DEAD,
    (RingState.DEAD, RingInput.CLOSE): RingState.CLOSED,
    (RingState.CLOSED, RingInput.CLOSE): RingState.CLOSED,
}

# The usual entry, read in one go: a header and request with one iovec, and at byte 112 a CDB of at most 16 bytes.
_USUAL = struct.Struct("=IHxxII8xQ16xQQ48x16s")
_USUAL_BYTES = _USUAL.size
_REQUEST = struct.Struct("=4xHxxII8xQ")
_RESPONSE = struct.Struct("=HxBB3xI")  # from byte 4 of the entry: cmd_id, uflags, scsi_status, read_len
_CMD = int(RingOpcode.CMD)
_GOOD = int(Status.GOOD)
_CHECK_CONDITION = int(Status.CHECK_CONDITION)
_SMALLEST_CMD = ENTRY_BYTES + ALIGNMENT
_LONGEST_CDB = 8 + 255
_OPCODE_MASK = ALIGNMENT - 1


class Ring:
    """One device's ring, from a checked mailbox on.

    mapping        the whole of map0 as a flat, writable memoryview
    done           the `done` of every command (called by the logical unit for answers that come later)
    block_bytes    logical block length, to check announced lengths against CDBs; 0: unchecked
    in_order       complete in the ring's order even if the kernel allows any: for kernels without reset_ring
    A mapping that is no ring gives a Ring that is DEAD from the start.
    """

    def __init__(
        self,
        mapping: memoryview,
        access: AccessFactory = PythonAccess,
        *,
        done: Optional[Done] = None,
        block_bytes: int = 0,
        in_order: bool = False,
    ) -> None:
        self.state = RingState.SERVING
        self.reason = ""
        self.done = done
        self.block_bytes = block_bytes
        self.hints: deque[RingTaskManagement] = deque()
        """TMR entries, oldest first; the front takes them out after commands()."""
        self.dropped = 0
        """Completions of commands that were not in flight: a bug of ours, harmless to the ring."""
        self.fetched = 0
        self._mapping = mapping
        self._inflight: dict[int, RingCommand] = {}
        self._slots: deque[int] = deque()  # lengths from tail to cursor; negative: nothing to answer there
        self._parked: deque[RingCommand] = deque()  # in order only: commands whose slot wasn't answered yet
        self._flags = MailboxFlag(0)
        self.in_order = in_order
        self._base = self._size = self._head = self._cursor = self._tail = self._published = 0
        if len(mapping) < MAILBOX_BYTES:
            self._die(f"the mapping has only {len(mapping)} bytes")
            return
        self._access = access(mapping[:MAILBOX_BYTES])
        self._open()

    # -- what others may know -----------------------------------------------------------------------------------------

    @property
    def inflight(self) -> int:
        """Commands that were fetched and not completed: while there are any, no reset and no unmapping."""
        return len(self._inflight)

    @property
    def drained(self) -> bool:
        """Everything that was fetched is answered and, unless the ring is dead, published."""
        if self._inflight:
            return False
        return self.state in (RingState.DEAD, RingState.CLOSED) or (not self._slots and self._tail == self._published)

    @property
    def empty(self) -> bool:
        """Nothing left between the fetch cursor and the cmd_head of the last refresh()."""
        return self._cursor == self._head

    @property
    def flags(self) -> MailboxFlag:
        """What this kernel's mailbox says it understands."""
        return self._flags

    # -- take -------------------------------------------------------------------------------------------------------

    def refresh(self) -> bool:
        """Look how far the kernel has come. True if commands() has something to fetch."""
        if self.state is not RingState.SERVING:
            return False
        head, size = self._access.load_head(), self._size
        if self._access.load_tail() != self._published:
            self._die("cmd_tail was moved by somebody else: another handler, or reset_ring")
        elif head >= size or head % ALIGNMENT:
            self._die(f"cmd_head {head} is outside the ring of {size} bytes or not aligned")
        elif (head - self._tail) % size < (self._cursor - self._tail) % size:
            self._die(f"cmd_head jumped back to {head}, behind entries that were already fetched")
        else:
            self._head = head
            return head != self._cursor
        return False

    def commands(self) -> Iterator[RingCommand]:
        """Fetch every entry up to the cmd_head that refresh() saw; stopping early leaves the rest in the ring.

        Commands that the ring itself must refuse are completed here and not given out; TMR entries become hints.
        """
        mapping, base, size, map_bytes = self._mapping, self._base, self._size, len(self._mapping)
        data_start, inflight, add_slot, unpack = base + size, self._inflight, self._slots.append, _USUAL.unpack_from
        done, block_bytes, in_order, serving = self.done, self.block_bytes, self.in_order, RingState.SERVING
        cdb_lengths, opcode_mask, cmd = CDB_LENGTHS, _OPCODE_MASK, _CMD
        while (cursor := self._cursor) != (head := self._head) and self.state is serving:
            available = (head if head > cursor else size) - cursor
            command = None
            if available >= _USUAL_BYTES:
                at = base + cursor
                len_op, entry_id, iovec_count, bidi_count, cdb_offset, start, count, cdb = unpack(mapping, at)
                length = len_op & ~opcode_mask
                cdb_length = cdb_lengths[cdb[0]]
                if (
                    len_op & opcode_mask == cmd
                    and iovec_count == 1
                    and not bidi_count
                    and cdb_offset == at + ENTRY_BYTES
                    and ENTRY_BYTES + cdb_length <= length <= available
                    and cdb_length
                    and data_start <= start
                    and start + count <= map_bytes
                    and entry_id
                    and entry_id not in inflight
                ):
                    self.fetched = tag = self.fetched + 1
                    if cdb_length != 16:
                        cdb = cdb[:cdb_length]
                    command = RingCommand(mapping, entry_id, cdb, (start, count), count, tag, done)
                    inflight[entry_id] = command
                    add_slot(length)
                    cursor += length
                    self._cursor = cursor if cursor != size else 0
                    if in_order:
                        self._parked.append(command)
            if command is None:
                try:
                    command = self._take_any(cursor, available)
                except RingError as error:
                    self._die(f"{error}, in the entry at {cursor}")
                if command is None:
                    continue
            if block_bytes and not length_fits(command.cdb, command.data_in_bytes, block_bytes):
                self.complete(command, LENGTH_REFUSED)
                continue
            yield command

    def _take_any(self, cursor: int, available: int) -> Optional[RingCommand]:
        """One entry of any kind; None if it was no command for others. Raises RingError for what no kernel writes."""
        at = self._base + cursor
        header = HEADER.unpack(self._mapping, at)
        opcode, length = header.len_op & _OPCODE_MASK, header.len_op & ~_OPCODE_MASK
        if length < HEADER_BYTES or length > available:
            raise RingError(f"its length is {length} where at most {available} can be")
        command: Optional[RingCommand] = None
        if opcode == RingOpcode.CMD:
            command = self._take_command(at, length)
        elif opcode == RingOpcode.TMR:
            self._take_task_management(at, length)
        elif opcode != RingOpcode.PAD:
            self._mapping[at + 7] = ResponseFlag.UNKNOWN_OP
        self._slots.append(length if command else -length)
        self._cursor = (cursor + length) % self._size
        if command and command.outcome is not None:  # refused while it was fetched
            refusal, command.outcome = command.outcome, None
            self.complete(command, refusal)
            return None
        return command

    def _take_command(self, at: int, length: int) -> RingCommand:
        """A CMD entry of any shape, checked and entered as in flight. Raises RingError."""
        mapping = self._mapping
        if length < _SMALLEST_CMD:
            raise RingError(f"a command of {length} bytes is too short")
        entry_id, iovec_count, bidi_count, cdb_offset = _REQUEST.unpack_from(mapping, at)
        after_iovecs = REQUEST_BYTES + IOVEC_BYTES * (iovec_count + bidi_count)
        if after_iovecs > length:
            raise RingError(f"{iovec_count} and {bidi_count} iovecs don't fit into {length} bytes")
        if not max(ENTRY_BYTES, after_iovecs) <= cdb_offset - at < length:
            raise RingError(f"cdb_off {cdb_offset} points elsewhere")
        cdb = bytes(mapping[cdb_offset : min(at + length, cdb_offset + _LONGEST_CDB)])
        cdb_length = CDB_LENGTHS[cdb[0]] or 8 + (cdb[7] if len(cdb) >= 8 else 0)
        if cdb_length > len(cdb):
            raise RingError(f"a CDB of {cdb_length} bytes at cdb_off {cdb_offset} reaches past it")
        iovecs = struct.unpack_from(f"={2 * (iovec_count + bidi_count)}Q", mapping, at + REQUEST_BYTES)
        for start, count in zip(iovecs[::2], iovecs[1::2]):
            if start < self._base + self._size or start + count > len(mapping):
                raise RingError(f"an iovec of {count} bytes at {start} is not in the data area")
        if not entry_id or entry_id in self._inflight:
            raise RingError(f"cmd_id {entry_id} is {'still in flight' if entry_id else 'no id'}")
        iovecs = iovecs[: 2 * iovec_count]
        self.fetched += 1
        command = RingCommand(mapping, entry_id, cdb[:cdb_length], iovecs, sum(iovecs[1::2]), self.fetched, self.done)
        command.outcome = BIDIRECTIONAL_REFUSED if bidi_count else None
        self._inflight[entry_id] = command
        if self.in_order:
            self._parked.append(command)
        return command

    def _take_task_management(self, at: int, length: int) -> None:
        """A TMR entry becomes a hint. Raises RingError."""
        if length < TASK_MANAGEMENT_BYTES:
            raise RingError(f"task management of {length} bytes is too short")
        entry = TASK_MANAGEMENT.unpack(self._mapping, at)
        if TASK_MANAGEMENT_BYTES + 2 * entry.cmd_cnt > length:
            raise RingError(f"{entry.cmd_cnt} ids don't fit into {length} bytes")
        ids = struct.unpack_from(f"={entry.cmd_cnt}H", self._mapping, at + TASK_MANAGEMENT_BYTES)
        found = tuple(self._inflight[entry_id] for entry_id in dict.fromkeys(ids) if entry_id in self._inflight)
        function = FUNCTIONS.get(entry.tmr_type, Function.ABORT_TASK)
        tag = found[0].tag if found else 0
        self.hints.append(
            RingTaskManagement(function, ANY, referenced_tag=tag, kernel_type=entry.tmr_type, commands=found)
        )

    # -- give back ----------------------------------------------------------------------------------------------------

    def complete(self, command: RingCommand, response: Response) -> None:
        """Write the response; the command and its buffers belong to the kernel again once publish() ran.

        A command that isn't in flight (answered already, or of another ring) is dropped and counted.
        """
        inflight, entry_id = self._inflight, command.entry_id
        if inflight.get(entry_id) is not command:
            self.dropped += 1
            return
        del inflight[entry_id]
        if self.state is RingState.DEAD:
            return
        status, flags, read_length, sense = response.status, 0, 0, b""
        if status == _GOOD:
            data_in = response.data_in
            if command.data_in_bytes and data_in is not command.whole and not DATA_OUT[command.cdb[0]]:
                moved = command.put_data_in(data_in)
                if self._flags & MailboxFlag.READ_LENGTH and 0 < moved < command.data_in_bytes:
                    flags, read_length = int(ResponseFlag.READ_LENGTH), moved
        elif status == _CHECK_CONDITION:
            sense = sense_for_ring(response.sense)
        if self.in_order:
            command.outcome = (entry_id, flags, status, read_length, sense)
            parked = self._parked
            while parked and parked[0].outcome is not None:
                self._post(*parked.popleft().outcome)
            return
        self._post(entry_id, flags, status, read_length, sense)

    def _post(self, entry_id: int, flags: int, status: int, read_length: int, sense: bytes) -> None:
        """Into the CMD slot at the tail. It exists: every command in flight has one between tail and cursor."""
        take_slot, tail, size = self._slots.popleft, self._tail, self._size
        length = take_slot()
        while length < 0:
            tail -= length
            if tail == size:
                tail = 0
            length = take_slot()
        at = self._base + tail
        _RESPONSE.pack_into(self._mapping, at + 4, entry_id, flags, status, read_length)
        if sense:
            self._mapping[at + 16 : at + ENTRY_BYTES] = sense
        tail += length
        self._tail = tail if tail != size else 0

    def publish(self) -> bool:
        """Post cmd_tail. True if it moved: the 4-byte write to the uio fd is due. A dead ring posts nothing."""
        if self.state not in (RingState.SERVING, RingState.DRAINING):
            return False
        slots = self._slots
        while slots and slots[0] < 0:  # PAD, TMR and unknown entries want no answer
            self._tail = (self._tail - slots.popleft()) % self._size
        if self._tail == self._published:
            return False
        self._access.store_tail(self._tail)
        self._published = self._tail
        return True

    # -- life --------------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Fetch nothing more. What is in flight is still answered; `drained` says when that is done."""
        self._enter(RingInput.DRAIN)

    def close(self) -> None:
        """Let go of the mapping. Raises RingError while backend callbacks may still write into it."""
        if self._inflight:
            raise RingError(f"the ring can't be closed: {len(self._inflight)} commands are still in flight")
        self._enter(RingInput.CLOSE)
        self._mapping = memoryview(b"")
        self._slots.clear()
        self.hints.clear()

    def _enter(self, event: RingInput) -> None:
        following = TRANSITIONS.get((self.state, event))
        if following is None:
            raise RingError(f"a {self.state.value} ring has no {event.value}")
        self.state = following

    def _die(self, reason: str) -> None:
        """The ring holds what no kernel writes. Never posts again; the first reason stays."""
        if self.state is not RingState.DEAD:
            self.reason = reason
        self._enter(RingInput.CORRUPTION)

    def _open(self) -> None:
        """Check the mailbox and take cmd_tail as the place to begin."""
        mailbox = MAILBOX.unpack(self._mapping)
        base, size, map_bytes = mailbox.cmdr_off, mailbox.cmdr_size, len(self._mapping)
        head, tail = self._access.load_head(), self._access.load_tail()
        if mailbox.version != MAILBOX_VERSION:
            self._die(f"mailbox version {mailbox.version} is not {MAILBOX_VERSION}")
        elif base < CMD_TAIL_OFFSET + 4 or base % ALIGNMENT or not size or size % ALIGNMENT or base + size > map_bytes:
            self._die(f"a ring of {size} bytes at {base} doesn't fit into a mapping of {map_bytes} bytes")
        elif head >= size or head % ALIGNMENT or tail >= size or tail % ALIGNMENT:
            self._die(f"cmd_head {head} or cmd_tail {tail} is outside the ring of {size} bytes or not aligned")
        else:
            self._flags = MailboxFlag(mailbox.flags & 0xF)
            self.in_order = self.in_order or not self._flags & MailboxFlag.OUT_OF_ORDER
            self._base, self._size = base, size
            self._head = self._cursor = self._tail = self._published = tail
