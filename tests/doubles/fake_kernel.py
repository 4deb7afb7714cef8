"""FakeKernel: the kernel's side of a TCMU ring, on a bytearray. Written from the kernel's rules, not from our ring.

It allocates the lowest free id and the lowest free blocks, pads the end of the ring, zeroes an entry before it fills
it, poisons what it takes back, keeps commands that don't fit, and judges every answer the way the kernel does: an id
it doesn't know breaks the ring, a tail off an entry's boundary would make it spin. Broken rules of ours raise
AssertionError. Layout numbers are literals here on purpose: a double that shared them would share their mistakes.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Optional

OOOC, READ_LEN, TMR, KEEP_BUF = 1, 2, 4, 8
ALL_FLAGS = OOOC | READ_LEN | TMR | KEEP_BUF
MAILBOX = 128
POISON = 0xDB


def cdb_length(cdb: bytes) -> int:
    """scsi_command_size() of the kernel."""
    if cdb[0] == 0x7F:
        return 8 + cdb[7]
    return (6, 10, 10, 12, 16, 12, 10, 10)[cdb[0] >> 5]


@dataclass
class Issue:
    """One command as the kernel sees it. answer is set exactly once."""

    cdb: bytes
    data_out: bytes = b""
    data_in_bytes: int = 0
    bidi_bytes: int = 0
    number: int = 0
    id: int = 0
    blocks: list[int] = field(default_factory=list)
    iovecs: list[tuple[int, int]] = field(default_factory=list)
    expired: bool = False
    answer: Optional[Answer] = None


@dataclass(frozen=True)
class Answer:
    """status, what reached the initiator as data, sense (96 bytes with CHECK CONDITION), and the reported residual."""

    status: int
    data_in: bytes = b""
    sense: bytes = b""
    residual: int = 0


class FakeKernel:
    """memory is the mapping; notify() stands for the handler's 4-byte write to the uio fd."""

    def __init__(
        self, *, ring_bytes: int = 1192, blocks: int = 12, block_bytes: int = 64, flags: int = ALL_FLAGS,
        ids: int = 65535, scatter: bool = False, memory: Optional[memoryview] = None,
    ) -> None:  # fmt: skip
        assert ring_bytes % 8 == 0
        self.size, self.block_bytes, self.flags, self.ids = ring_bytes, block_bytes, flags, ids
        self.base, self.data = MAILBOX, MAILBOX + ring_bytes
        self.scatter = scatter
        self.memory: Any = bytearray(self.data + blocks * block_bytes) if memory is None else memory
        self.memory[MAILBOX:] = bytes([POISON]) * (len(self.memory) - MAILBOX)
        self.memory[:MAILBOX] = bytes(MAILBOX)
        struct.pack_into("=HHIII", self.memory, 0, 2, flags, MAILBOX, ring_bytes, 0)
        self.head = self.cleaned = 0
        self.free_blocks = set(range(blocks))
        self.by_id: dict[int, Issue] = {}
        self.waiting: deque[Issue] = deque()
        self.issued = 0
        self.events = 0
        self.skipped: list[int] = []  # opcodes of passed entries other than CMD and PAD, with their uflags
        self.slots: dict[int, int] = {}  # start of each entry in the ring -> len_op: what must stay as it is
        self.blocked = False

    # -- producing ----------------------------------------------------------------------------------------------------

    def submit(self, cdb: bytes, data_out: bytes = b"", data_in_bytes: int = 0, bidi_bytes: int = 0) -> Issue:
        """Queue a command; it enters the ring now or, if there is no room, after a later notify()."""
        assert not (data_out and data_in_bytes)
        self.issued += 1
        issue = Issue(cdb[: cdb_length(cdb)], data_out, data_in_bytes, bidi_bytes, self.issued)
        assert len(issue.cdb) == cdb_length(cdb), "a CDB the kernel could not have received"
        if self.blocked:
            issue.answer = Answer(0x08)
        elif self.waiting or not self._enter(issue):
            self.waiting.append(issue)
        return issue

    def task_management(self, kind: int, ids: list[int]) -> bool:
        """A TMR entry. False if there is no room now."""
        length = -(-(32 + 2 * len(ids)) // 8) * 8
        if not self._room(length):
            return False
        at = self._pad_for(length)
        self._zero(at, length)
        entry = (length | 2, 0, 0, 0, kind, len(ids), *ids)
        struct.pack_into(f"=IHBBB3xI16x{len(ids)}H", self.memory, self.base + at, *entry)
        self._publish(at, length)
        return True

    def unknown_entry(self, opcode: int, length: int = 16) -> bool:
        """An entry of a ring opcode that nobody has defined yet."""
        assert 3 <= opcode <= 7 and length % 8 == 0
        if not self._room(length):
            return False
        at = self._pad_for(length)
        self._zero(at, length)
        struct.pack_into("=IHBB", self.memory, self.base + at, length | opcode, 0, 0, 0)
        self._publish(at, length)
        return True

    def pad_now(self) -> bool:
        """Publish a PAD to the ring's end and no command behind it (yet)."""
        rest = self.size - self.head
        if self.head == 0 or not self._room(rest):
            return False
        self._write_pad()
        return True

    def expire(self, issue: Issue) -> None:
        """The initiator got its answer from the kernel; id and blocks stay ours until we answer too."""
        assert issue.answer is None and self.by_id.get(issue.id) is issue
        issue.expired = True
        issue.answer = Answer(0x02, sense=b"timed out")

    def reset(self) -> None:
        """action/reset_ring: everything in the ring is answered BUSY, and both indices are 0."""
        for issue in self.by_id.values():
            issue.answer = issue.answer or Answer(0x08)
            self._free(issue)
        self.by_id.clear()
        self.slots.clear()
        self.head = self.cleaned = 0
        struct.pack_into("=I", self.memory, 12, 0)
        struct.pack_into("=I", self.memory, 64, 0)

    # -- judging ------------------------------------------------------------------------------------------------------

    @property
    def tail(self) -> int:
        return int(struct.unpack_from("=I", self.memory, 64)[0])

    def notify(self) -> None:
        """Walk from the last cleaned entry to cmd_tail, complete, free, and let waiting commands in."""
        tail = self.tail
        assert tail < self.size and tail % 8 == 0, f"cmd_tail {tail} is no place in the ring"
        while self.cleaned != tail:
            assert self.cleaned != self.head, "cmd_tail passed cmd_head"
            assert self.cleaned in self.slots, "cmd_tail is not on an entry's boundary"
            at = self.base + self.cleaned
            len_op, entry_id, kflags, uflags = struct.unpack_from("=IHBB", self.memory, at)
            assert len_op == self.slots.pop(self.cleaned), "len_op was changed"
            assert kflags == 0
            if len_op & 7 == 1:
                self._complete(at, entry_id, uflags)
            elif len_op & 7:
                self.skipped.append(len_op & 7 | uflags << 8)
            self.memory[at : at + (len_op & ~7)] = bytes([POISON]) * (len_op & ~7)
            self.cleaned = (self.cleaned + (len_op & ~7)) % self.size
        while self.waiting and self._enter(self.waiting[0]):
            self.waiting.popleft()

    def _complete(self, at: int, entry_id: int, uflags: int) -> None:
        issue = self.by_id.pop(entry_id, None)
        assert issue is not None, f"cmd_id {entry_id} not found, ring is broken"
        assert not uflags & ~READ_LEN, f"uflags {uflags:#x}"
        if uflags:
            assert self.flags & READ_LEN, "READ_LEN without the capability"
        if not issue.expired:
            assert issue.answer is None, "answered twice"
            issue.answer = self._judge(issue, at, uflags)
        self._free(issue)

    def _judge(self, issue: Issue, at: int, uflags: int) -> Answer:
        status, read_length = struct.unpack_from("=B3xI", self.memory, at + 8)
        if status == 0x02:
            sense = bytes(self.memory[at + 16 : at + 112])
            assert sense[0] & 0x7F in (0x70, 0x72), "no response code in the sense data"
            assert not uflags, "READ_LEN with sense is for tapes"
            used = 8 + sense[7]
            assert not any(sense[used:]), "sense of another command"
            return Answer(status, sense=sense)
        if status:
            return Answer(status)
        data = b"".join(bytes(self.memory[base : base + length]) for base, length in issue.iovecs)
        data = data[: issue.data_in_bytes]
        residual = 0
        if uflags:
            assert read_length, "READ_LEN 0 means nothing to the kernel"
            residual = len(data) - min(read_length, len(data))
            data = data[: len(data) - residual]
        return Answer(status, data, residual=residual)

    # -- the ring -----------------------------------------------------------------------------------------------------

    def _enter(self, issue: Issue) -> bool:
        """Into the ring, if ids, blocks and ring bytes are there."""
        total = len(issue.data_out) or issue.data_in_bytes
        wanted, more = -(-total // self.block_bytes), -(-issue.bidi_bytes // self.block_bytes)
        free_id = next((i for i in range(1, self.ids + 1) if i not in self.by_id), None)
        if free_id is None or wanted + more > len(self.free_blocks):
            return False
        order = sorted(self.free_blocks)
        if self.scatter:
            order = order[1::2] + order[::2]
        taken = order[: wanted + more]
        iovecs, bidi = self._iovecs(taken[:wanted], total), self._iovecs(taken[wanted:], issue.bidi_bytes)
        length = max(112, 48 + 16 * (len(iovecs) + len(bidi))) + -(-len(issue.cdb) // 8) * 8
        assert length <= self.size // 2, "the kernel would answer INVALID FIELD IN CDB"
        if not self._room(length):
            return False
        self.free_blocks -= set(taken)
        issue.id, issue.blocks, issue.iovecs = free_id, taken, iovecs
        self.by_id[free_id] = issue
        self._fill(issue)
        at = self._pad_for(length)
        self._zero(at, length)
        start = self.base + at
        cdb_off = start + length - -(-len(issue.cdb) // 8) * 8
        header = (length | 1, issue.id, 0, 0, len(iovecs), len(bidi), 0, cdb_off)
        struct.pack_into("=IHBBIII4xQ", self.memory, start, *header)
        for index, pair in enumerate(iovecs + bidi):
            struct.pack_into("=QQ", self.memory, start + 48 + 16 * index, *pair)
        self.memory[cdb_off : cdb_off + len(issue.cdb)] = issue.cdb
        self._publish(at, length)
        return True

    def _iovecs(self, blocks: list[int], total: int) -> list[tuple[int, int]]:
        """One iovec a run of adjacent blocks."""
        runs: list[tuple[int, int]] = []
        for block in blocks:
            base, length = self.data + block * self.block_bytes, min(self.block_bytes, total)
            total -= length
            if runs and sum(runs[-1]) == base:
                runs[-1] = (runs[-1][0], runs[-1][1] + length)
            else:
                runs.append((base, length))
        return runs

    def _fill(self, issue: Issue) -> None:
        rest = issue.data_out
        for base, length in issue.iovecs:
            if issue.data_out:
                self.memory[base : base + length], rest = rest[:length], rest[length:]

    def _free(self, issue: Issue) -> None:
        for block in issue.blocks:
            base = self.data + block * self.block_bytes
            self.memory[base : base + self.block_bytes] = bytes([POISON]) * self.block_bytes
        self.free_blocks |= set(issue.blocks)

    def _room(self, length: int) -> bool:
        """Whether an entry (and the PAD it may need) fits while at least one byte stays free."""
        rest = self.size - self.head
        needed = length if length <= rest else rest + length
        used = (self.head - self.cleaned) % self.size
        return needed < self.size - used

    def _pad_for(self, length: int) -> int:
        if length > self.size - self.head:
            self._write_pad()
        return self.head

    def _write_pad(self) -> None:
        rest = self.size - self.head
        struct.pack_into("=IHBB", self.memory, self.base + self.head, rest, 0, 0, 0)
        self._publish(self.head, rest)

    def _zero(self, at: int, length: int) -> None:
        self.memory[self.base + at : self.base + at + length] = bytes(length)

    def _publish(self, at: int, length: int) -> None:
        self.slots[at] = struct.unpack_from("=I", self.memory, self.base + at)[0]
        self.head = (at + length) % self.size
        struct.pack_into("=I", self.memory, 12, self.head)
        self.events += 1

    # -- what the handler may touch -----------------------------------------------------------------------------------

    def frozen(self, seen: int) -> bytes:
        """The whole memory with everything a handler may write blanked: cmd_tail, responses, buffers of live commands.

        seen is the newest cmd_head that the handler has looked at. Two of these around a step of it must be equal.
        """
        copy = bytearray(self.memory)
        copy[64:68] = bytes(4)
        for at, len_op in self.slots.items():
            start = self.base + at
            if (at - self.cleaned) % self.size >= (seen - self.cleaned) % self.size:
                continue
            if len_op & 7 == 1:
                copy[start + 4 : start + 112] = bytes(108)
            elif len_op & 7 > 2:
                copy[start + 7] = 0
        for issue in self.by_id.values():
            for base, length in issue.iovecs:
                copy[base : base + length] = bytes(length)
        return bytes(copy)
