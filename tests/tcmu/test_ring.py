"""The ring: one behaviour at a time, and all that a kernel never writes. The histories are in the properties."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcmu_gluster.errors import RingError
from tcmu_gluster.scsi.command import ABORTED, GOOD, Function, Response, Status
from tcmu_gluster.tcmu.access import AccessFactory, PythonAccess, ShimAccess, shim_is_built
from tcmu_gluster.tcmu.ring import TRANSITIONS, Ring, RingInput, RingState
from tcmu_gluster.tcmu.ring_command import RingCommand
from tests.doubles.fake_kernel import ALL_FLAGS, OOOC, READ_LEN, FakeKernel

READ_10 = bytes.fromhex("28 00 00000000 00 0001 00")
WRITE_10 = bytes.fromhex("2a 00 00000000 00 0001 00")
TEST_UNIT_READY = bytes(6)
INQUIRY = bytes.fromhex("12 00 00 00ff 00")
SENSE = bytes.fromhex("70 00 05 00000000 0a 00000000 24 00 00 000000")

needs_shim = pytest.mark.skipif(not shim_is_built(), reason="the C shim is not built")


@pytest.fixture(params=[PythonAccess, pytest.param(ShimAccess, marks=needs_shim)])
def access(request: pytest.FixtureRequest) -> AccessFactory:
    chosen: AccessFactory = request.param
    return chosen


def fetch(ring: Ring) -> list[RingCommand]:
    return list(ring.commands()) if ring.refresh() else []


def finish(ring: Ring, kernel: FakeKernel) -> bool:
    due = ring.publish()
    kernel.notify()
    return due


class TestRing:
    @pytest.fixture(autouse=True)
    def make(self, access: AccessFactory) -> None:
        self.access = access
        self.kernel = FakeKernel()
        self.ring = self.open()

    def open(self, **options: object) -> Ring:
        return Ring(memoryview(self.kernel.memory), self.access, **options)

    def test_read_is_answered_with_what_was_put_into_its_views(self) -> None:
        issue = self.kernel.submit(READ_10, data_in_bytes=150)
        (command,) = fetch(self.ring)
        assert (command.cdb, command.data_in_bytes) == (READ_10, 150)
        views = command.data_in(150)
        for view in views:
            view[:] = b"r" * len(view)
        self.ring.complete(command, Response(Status.GOOD, views))
        assert finish(self.ring, self.kernel)
        assert issue.answer and issue.answer.data_in == b"r" * 150 and issue.answer.residual == 0

    def test_write_sees_its_data_in_the_mapping(self) -> None:
        issue = self.kernel.submit(WRITE_10, data_out=bytes(range(100)))
        (command,) = fetch(self.ring)
        assert b"".join(command.data_out) == bytes(range(100))
        assert command.data_out_bytes == 100
        self.ring.complete(command, GOOD)
        finish(self.ring, self.kernel)
        assert issue.answer and issue.answer.status == Status.GOOD

    def test_nothing_is_due_when_nothing_happened(self) -> None:
        assert not self.ring.refresh()
        assert not self.ring.publish()
        assert self.ring.drained and self.ring.empty

    def test_completions_in_any_order_steal_the_slot_at_the_tail(self) -> None:
        issues = [self.kernel.submit(cdb) for cdb in (TEST_UNIT_READY, INQUIRY[:6], TEST_UNIT_READY)]
        first, second, third = fetch(self.ring)
        self.ring.complete(third, Response(Status.BUSY))
        finish(self.ring, self.kernel)
        assert [issue.answer.status if issue.answer else None for issue in issues] == [None, None, Status.BUSY]
        self.ring.complete(first, GOOD)
        self.ring.complete(second, GOOD)
        finish(self.ring, self.kernel)
        assert [issue.answer.status for issue in issues if issue.answer] == [0, 0, Status.BUSY]
        assert self.kernel.tail == self.kernel.head

    @pytest.mark.parametrize("asked", [False, True])
    def test_in_order_an_early_answer_waits_for_its_turn(self, asked: bool) -> None:
        self.kernel = FakeKernel(flags=OOOC if asked else 0)
        self.ring = self.open(in_order=asked)
        issues = [self.kernel.submit(TEST_UNIT_READY) for _ in range(2)]
        first, second = fetch(self.ring)
        self.ring.complete(second, Response(Status.CHECK_CONDITION, sense=SENSE))
        assert self.ring.inflight == 1
        assert not finish(self.ring, self.kernel) and not self.ring.drained
        self.ring.complete(first, GOOD)
        assert finish(self.ring, self.kernel) and self.ring.drained
        assert [issue.answer.status for issue in issues if issue.answer] == [0, 2]

    def test_commands_may_be_left_in_the_ring(self) -> None:
        for _ in range(3):
            self.kernel.submit(TEST_UNIT_READY)
        assert self.ring.refresh()
        taken = next(self.ring.commands())
        assert self.ring.inflight == 1 and not self.ring.empty
        rest = fetch(self.ring)
        assert len(rest) == 2 and taken not in rest

    def test_done_and_unique_tags_are_on_each_command(self) -> None:
        answers: list[RingCommand] = []
        self.ring.done = lambda command, response: answers.append(command)
        self.kernel.submit(TEST_UNIT_READY)
        (first,) = fetch(self.ring)
        assert first.done is not None
        first.done(first, GOOD)
        assert answers == [first]
        self.ring.complete(first, GOOD)
        finish(self.ring, self.kernel)
        self.kernel.submit(TEST_UNIT_READY)
        (again,) = fetch(self.ring)
        assert again.entry_id == first.entry_id and again.tag != first.tag

    def test_late_completion_of_an_earlier_issue_does_not_touch_the_new_one(self) -> None:
        self.kernel.submit(TEST_UNIT_READY)
        (old,) = fetch(self.ring)
        self.ring.complete(old, GOOD)
        finish(self.ring, self.kernel)
        issue = self.kernel.submit(TEST_UNIT_READY)
        (new,) = fetch(self.ring)
        self.ring.complete(old, Response(Status.BUSY))
        assert self.ring.dropped == 1 and not self.ring.publish()
        self.ring.complete(new, GOOD)
        finish(self.ring, self.kernel)
        assert issue.answer and issue.answer.status == Status.GOOD

    # -- data ---------------------------------------------------------------------------------------------------------

    def test_underflow_is_told_with_read_len(self) -> None:
        issue = self.kernel.submit(INQUIRY, data_in_bytes=255)
        (command,) = fetch(self.ring)
        self.ring.complete(command, Response(Status.GOOD, (memoryview(b"a" * 20), memoryview(b"b" * 16))))
        finish(self.ring, self.kernel)
        assert issue.answer and issue.answer.data_in == b"a" * 20 + b"b" * 16
        assert issue.answer.residual == 255 - 36

    @pytest.mark.parametrize("flags", [OOOC, ALL_FLAGS & ~READ_LEN])
    def test_without_read_len_everything_not_written_is_zero(self, flags: int) -> None:
        self.kernel = FakeKernel(flags=flags)
        self.ring = self.open()
        issue = self.kernel.submit(INQUIRY, data_in_bytes=255)
        (command,) = fetch(self.ring)
        self.ring.complete(command, Response(Status.GOOD, (memoryview(b"a" * 36),)))
        finish(self.ring, self.kernel)
        assert issue.answer and issue.answer.data_in == b"a" * 36 + bytes(219)

    def test_good_without_any_data_is_all_zeros_even_with_read_len(self) -> None:
        """read_len 0 is ignored by the kernel: it would ship the recycled pages."""
        issue = self.kernel.submit(READ_10, data_in_bytes=90)
        (command,) = fetch(self.ring)
        self.ring.complete(command, GOOD)
        finish(self.ring, self.kernel)
        assert issue.answer and issue.answer.data_in == bytes(90)

    def test_more_data_than_the_initiator_takes_is_dropped(self) -> None:
        issue = self.kernel.submit(INQUIRY, data_in_bytes=5)
        (command,) = fetch(self.ring)
        views = command.data_in(36)
        assert sum(map(len, views)) == 36
        for view in views:
            view[:] = b"i" * len(view)
        self.ring.complete(command, Response(Status.GOOD, views))
        finish(self.ring, self.kernel)
        assert issue.answer and issue.answer.data_in == b"iiiii" and issue.answer.residual == 0

    def test_views_handed_back_in_another_order_arrive_in_that_order(self) -> None:
        issue = self.kernel.submit(INQUIRY, data_in_bytes=8)
        (command,) = fetch(self.ring)
        (view,) = command.data_in(8)
        view[:] = b"abcdEFGH"
        self.ring.complete(command, Response(Status.GOOD, (view[4:], view[:4])))
        finish(self.ring, self.kernel)
        assert issue.answer and issue.answer.data_in == b"EFGHabcd"

    def test_scattered_buffers_are_one_buffer(self) -> None:
        self.kernel = FakeKernel(scatter=True)
        self.ring = self.open()
        read = self.kernel.submit(READ_10, data_in_bytes=300)
        write = self.kernel.submit(WRITE_10, data_out=bytes(range(200)))
        reading, writing = fetch(self.ring)
        assert len(writing.data_out) > 1 and b"".join(writing.data_out) == bytes(range(200))
        views = reading.data_in(300)
        assert len(views) > 1
        for number, view in enumerate(views):
            view[:] = bytes([number]) * len(view)
        self.ring.complete(writing, GOOD)
        self.ring.complete(reading, Response(Status.GOOD, views))
        finish(self.ring, self.kernel)
        assert read.answer and len(read.answer.data_in) == 300 and read.answer.data_in[-1] == len(views) - 1
        assert write.answer and write.answer.status == 0

    @pytest.mark.parametrize(
        ("cdb", "announced", "good"),
        [
            (READ_10, 512, True),
            (READ_10, 511, False),
            (READ_10, 600, True),
            (WRITE_10, 512, True),
            (WRITE_10, 500, False),
            (WRITE_10, 513, False),
            (bytes.fromhex("08 000000 00 00"), 512, False),  # READ(6): 0 is 256 blocks
            (bytes.fromhex("89 00 0000000000000000 000000 01 00 00"), 512, True),  # COMPARE AND WRITE's handler judges
            (bytes.fromhex("8a 00 0000000000000000 80000001 00 00"), 512, False),
            (bytes.fromhex("aa 00 00000000 00000001 00 00"), 512, True),
            (bytes.fromhex("2a 00 00000000 00 0000 00"), 0, True),
        ],
    )
    def test_an_announced_length_that_does_not_suit_the_cdb(self, cdb: bytes, announced: int, good: bool) -> None:
        """The kernel does not compare them, and can report neither overflow nor the residual of a write."""
        self.kernel = FakeKernel(blocks=32)
        self.ring = self.open(block_bytes=512)
        if cdb[0] in (0x28, 0x08):
            issue = self.kernel.submit(cdb, data_in_bytes=announced)
        else:
            issue = self.kernel.submit(cdb, data_out=bytes(announced))
        commands = fetch(self.ring)
        assert len(commands) == good
        for command in commands:
            self.ring.complete(command, GOOD)
        finish(self.ring, self.kernel)
        assert issue.answer is not None
        if not good:
            assert (issue.answer.status, issue.answer.sense[2], issue.answer.sense[12:14]) == (2, 5, b"\x0e\x03")

    def test_bidirectional_commands_are_refused(self) -> None:
        issue = self.kernel.submit(bytes.fromhex("53 00 00000000 00 0001 00"), data_out=b"xor", bidi_bytes=3)
        after = self.kernel.submit(TEST_UNIT_READY)
        (command,) = fetch(self.ring)
        self.ring.complete(command, GOOD)
        finish(self.ring, self.kernel)
        assert issue.answer and issue.answer.status == 2 and issue.answer.sense[2:3] == b"\5"
        assert after.answer and after.answer.status == 0

    # -- status and sense ---------------------------------------------------------------------------------------------

    def test_sense_is_padded_and_does_not_bleed_into_the_next(self) -> None:
        long_sense = bytes([0x72, 5, 0x24, 0, 0, 0, 0, 80]) + bytes(range(80))
        for sense in (long_sense, SENSE, long_sense * 3):
            issue = self.kernel.submit(TEST_UNIT_READY)
            (command,) = fetch(self.ring)
            self.ring.complete(command, Response(Status.CHECK_CONDITION, sense=sense))
            if len(sense) <= 96:
                finish(self.ring, self.kernel)
                assert issue.answer and issue.answer.sense == sense + bytes(96 - len(sense))

    @pytest.mark.parametrize("sense", [b"", bytes(18), b"\x12junk"])
    def test_check_condition_always_has_sense_that_says_something(self, sense: bytes) -> None:
        issue = self.kernel.submit(TEST_UNIT_READY)
        (command,) = fetch(self.ring)
        self.ring.complete(command, Response(Status.CHECK_CONDITION, sense=sense))
        finish(self.ring, self.kernel)
        assert issue.answer
        assert (issue.answer.sense[0], issue.answer.sense[2], issue.answer.sense[12]) == (0x70, 4, 0x44)

    def test_aborted_commands_are_answered_too(self) -> None:
        issue = self.kernel.submit(READ_10, data_in_bytes=10)
        (command,) = fetch(self.ring)
        self.ring.complete(command, ABORTED)
        finish(self.ring, self.kernel)
        assert issue.answer and issue.answer.status == Status.TASK_ABORTED

    def test_expired_commands_are_answered_too(self) -> None:
        issue = self.kernel.submit(READ_10, data_in_bytes=10)
        (command,) = fetch(self.ring)
        self.kernel.expire(issue)
        self.ring.complete(command, GOOD)
        finish(self.ring, self.kernel)
        assert not self.kernel.by_id and len(self.kernel.free_blocks) == 12

    # -- entries of other kinds ---------------------------------------------------------------------------------------

    def test_head_is_seen_right_after_a_pad(self) -> None:
        for _ in range(8):
            self.kernel.submit(TEST_UNIT_READY)
            for command in fetch(self.ring):
                self.ring.complete(command, GOOD)
            finish(self.ring, self.kernel)
        assert self.kernel.pad_now() and self.kernel.head == 0
        assert fetch(self.ring) == []
        assert finish(self.ring, self.kernel), "a trailing PAD has to be passed, or head never meets tail"
        assert self.kernel.tail == 0 and self.ring.drained

    def test_pad_of_eight_bytes_and_entry_that_ends_with_the_ring(self) -> None:
        for size in (9 * 120, 9 * 120 + 8):
            self.kernel = FakeKernel(ring_bytes=size)
            self.ring = self.open()
            for _ in range(40):
                issue = self.kernel.submit(TEST_UNIT_READY)
                for command in fetch(self.ring):
                    self.ring.complete(command, GOOD)
                finish(self.ring, self.kernel)
                assert issue.answer
            assert self.ring.state is RingState.SERVING

    def test_ring_that_is_full_but_for_one_entry(self) -> None:
        self.kernel = FakeKernel(ring_bytes=10 * 120)
        self.ring = self.open()
        issues = [self.kernel.submit(TEST_UNIT_READY) for _ in range(30)]
        assert self.kernel.waiting
        while any(issue.answer is None for issue in issues):
            for command in reversed(fetch(self.ring)):
                self.ring.complete(command, GOOD)
            finish(self.ring, self.kernel)
        assert self.ring.fetched == 30

    def test_task_management_is_a_hint_that_names_commands_in_flight(self) -> None:
        for _ in range(3):
            self.kernel.submit(TEST_UNIT_READY)
        first, second, third = fetch(self.ring)
        self.ring.complete(third, GOOD)
        finish(self.ring, self.kernel)
        assert self.kernel.task_management(1, [second.entry_id, third.entry_id, 99, second.entry_id])
        assert fetch(self.ring) == []
        (hint,) = self.ring.hints
        assert (hint.function, hint.commands, hint.referenced_tag) == (Function.ABORT_TASK, (second,), second.tag)
        self.ring.complete(first, GOOD)
        self.ring.complete(second, ABORTED)
        finish(self.ring, self.kernel)
        assert self.kernel.skipped == [2] and self.ring.drained

    @pytest.mark.parametrize(
        ("kind", "function"),
        [
            (0, Function.ABORT_TASK), (1, Function.ABORT_TASK), (2, Function.ABORT_TASK_SET), (3, Function.CLEAR_ACA),
            (4, Function.CLEAR_TASK_SET), (5, Function.LOGICAL_UNIT_RESET), (6, Function.TARGET_WARM_RESET),
            (7, Function.TARGET_COLD_RESET), (128, Function.ABORT_TASK_SET), (77, Function.ABORT_TASK),
        ],
    )  # fmt: skip
    def test_task_management_types(self, kind: int, function: Function) -> None:
        assert self.kernel.task_management(kind, [])
        fetch(self.ring)
        (hint,) = self.ring.hints
        assert (hint.function, hint.kernel_type, hint.commands) == (function, kind, ())
        assert finish(self.ring, self.kernel), "the tail passes it even when idle"

    @pytest.mark.parametrize("opcode", range(3, 8))
    def test_unknown_entries_are_flagged_and_passed(self, opcode: int) -> None:
        self.kernel.unknown_entry(opcode, 24)
        issue = self.kernel.submit(TEST_UNIT_READY)
        (command,) = fetch(self.ring)
        self.ring.complete(command, GOOD)
        finish(self.ring, self.kernel)
        assert self.kernel.skipped == [opcode | 0x1 << 8]  # TCMU_UFLAG_UNKNOWN_OP
        assert issue.answer

    @pytest.mark.parametrize("length", [8, 9, 100, 260])
    def test_variable_length_cdb_is_copied_whole(self, length: int) -> None:
        self.kernel = FakeKernel(ring_bytes=2048)
        self.ring = self.open()
        cdb = bytes([0x7F, 0, 0, 0, 0, 0, 0, length - 8]) + bytes(i & 0xFF for i in range(length - 8))
        self.kernel.submit(cdb, data_in_bytes=4)
        (command,) = fetch(self.ring)
        assert command.cdb == cdb

    # -- life ---------------------------------------------------------------------------------------------------------

    def test_leftovers_of_a_predecessor_are_there_after_opening(self) -> None:
        self.kernel.submit(TEST_UNIT_READY)
        assert len(fetch(self.ring)) == 1
        successor = self.open()
        (leftover,) = fetch(successor)
        successor.complete(leftover, Response(Status.BUSY))
        assert finish(successor, self.kernel)

    def test_draining_takes_nothing_more_and_answers_what_it_has(self) -> None:
        self.kernel.submit(TEST_UNIT_READY)
        (command,) = fetch(self.ring)
        self.ring.drain()
        self.kernel.submit(TEST_UNIT_READY)
        assert fetch(self.ring) == [] and not self.ring.drained
        self.ring.complete(command, GOOD)
        assert not self.ring.drained, "answered, but the kernel can't see it yet"
        assert finish(self.ring, self.kernel) and self.ring.drained
        self.ring.close()
        assert self.ring.state is RingState.CLOSED

    def test_closing_with_callbacks_outstanding_is_refused(self) -> None:
        self.kernel.submit(TEST_UNIT_READY)
        (command,) = fetch(self.ring)
        with pytest.raises(RingError, match="1 commands are still in flight"):
            self.ring.close()
        self.ring.complete(command, GOOD)
        self.ring.close()

    def test_reset_by_somebody_else_is_noticed(self) -> None:
        for _ in range(2):
            self.kernel.submit(TEST_UNIT_READY)
        first, second = fetch(self.ring)
        self.ring.complete(first, GOOD)
        finish(self.ring, self.kernel)
        self.kernel.reset()
        fresh = self.kernel.submit(TEST_UNIT_READY)
        assert fetch(self.ring) == []
        assert self.ring.state is RingState.DEAD and "reset_ring" in self.ring.reason
        before = bytes(self.kernel.memory)
        self.ring.complete(second, Response(Status.BUSY))
        assert not self.ring.publish()
        assert bytes(self.kernel.memory) == before and fresh.answer is None
        assert self.ring.drained, "the backend is done with everything: a reset is allowed now"

    def test_head_that_jumps_back_is_noticed(self) -> None:
        for _ in range(2):
            self.kernel.submit(TEST_UNIT_READY)
        fetch(self.ring)
        struct.pack_into("=I", self.kernel.memory, 12, 120)
        assert not self.ring.refresh()
        assert self.ring.state is RingState.DEAD and "jumped back" in self.ring.reason


# -- what a kernel never writes: DEAD with a reason, nothing posted, no exception ------------------------------------


def poke(offset: int, format_: str, *values: int) -> Callable[[FakeKernel], None]:
    return lambda kernel: struct.pack_into(f"={format_}", kernel.memory, offset, *values)


def entry(offset: int, format_: str, *values: int) -> Callable[[FakeKernel], None]:
    return poke(128 + offset, format_, *values)


BAD_MAILBOXES = {
    "version 1": poke(0, "H", 1),
    "version 3": poke(0, "H", 3),
    "ring inside the mailbox": poke(4, "I", 64),
    "ring unaligned": poke(4, "I", 132),
    "no ring": poke(8, "I", 0),
    "ring size unaligned": poke(8, "I", 1004),
    "ring larger than the mapping": poke(8, "I", 1 << 20),
    "ring far away": poke(4, "I", 0xFFFFFFF8),
    "head outside": poke(12, "I", 1192),
    "head unaligned": poke(12, "I", 9),
    "tail outside": poke(64, "I", 1 << 31),
    "tail unaligned": poke(64, "I", 7),
}

BAD_ENTRIES = {
    "length 0": entry(0, "I", 1),
    "all zero": entry(0, "112x"),
    "length less than a command": entry(0, "I", 112 | 1),
    "length over head": entry(0, "I", 136 | 1),
    "length past the ring": entry(0, "I", 4096 | 1),
    "length of 4 GiB": entry(0, "I", 0xFFFFFFF9),
    "pad of length 0": entry(0, "I", 0),
    "pad over head": entry(0, "I", 240),
    "task management too short": entry(0, "I", 24 | 2),
    "task management with more ids than room": entry(0, "IHBBB3xI", 128 | 2, 0, 0, 0, 1, 1000),
    "unknown opcode past head": entry(0, "I", 2048 | 5),
    "id 0": entry(4, "H", 0),
    "huge iovec count": entry(8, "I", 0xFFFFFFFF),
    "huge bidi count": entry(12, "I", 0x10000000),
    "iovecs up to the CDB": entry(8, "I", 5),
    "cdb_off 0": entry(24, "Q", 0),
    "cdb_off in the request": entry(24, "Q", 128 + 48),
    "cdb_off at the end": entry(24, "Q", 128 + 128),
    "cdb_off in the data area": entry(24, "Q", 128 + 1192),
    "cdb_off overflows": entry(24, "Q", (1 << 64) - 8),
    "cdb past its entry": entry(24, "Q", 128 + 124),
    "variable length CDB past its entry": entry(112, "8B", 0x7F, 0, 0, 0, 0, 0, 0, 200),
    "iovec in the mailbox": entry(48, "Q", 0),
    "iovec in the ring": entry(48, "Q", 128 + 1184),
    "iovec past the end": entry(48, "QQ", 128 + 1192, 12 * 64 + 1),
    "iovec base at the end": entry(48, "QQ", 128 + 1192 + 12 * 64, 1),
    "iovec length overflows": entry(56, "Q", (1 << 64) - 1),
    "iovec base overflows": entry(48, "QQ", (1 << 64) - 32, 64),
}


@pytest.mark.parametrize("damage", BAD_MAILBOXES.values(), ids=BAD_MAILBOXES)
def test_a_hostile_mailbox_is_dead_from_the_start(access: AccessFactory, damage: Callable[[FakeKernel], None]) -> None:
    kernel = FakeKernel()
    damage(kernel)
    ring = Ring(memoryview(kernel.memory), access)
    assert ring.state is RingState.DEAD and ring.reason
    assert not ring.refresh() and list(ring.commands()) == [] and not ring.publish()
    ring.close()


@pytest.mark.parametrize("length", [0, 1, 64, 127, 128, 1000, 128 + 1184])
def test_a_mapping_that_is_too_small_is_dead(access: AccessFactory, length: int) -> None:
    ring = Ring(memoryview(FakeKernel().memory)[:length], access)
    assert ring.state is RingState.DEAD and ring.reason
    ring.close()


@pytest.mark.parametrize("damage", BAD_ENTRIES.values(), ids=BAD_ENTRIES)
def test_a_hostile_entry_kills_the_ring_and_posts_nothing(
    access: AccessFactory, damage: Callable[[FakeKernel], None]
) -> None:
    kernel = FakeKernel()
    ring = Ring(memoryview(kernel.memory), access)
    kernel.submit(READ_10, data_in_bytes=40)
    damage(kernel)
    before = bytes(kernel.memory)
    assert fetch(ring) == []
    assert ring.state is RingState.DEAD and ring.reason
    assert not ring.publish() and not ring.refresh()
    assert bytes(kernel.memory) == before and ring.drained


@pytest.mark.parametrize("second", [TEST_UNIT_READY, READ_10])
def test_an_id_that_is_still_in_flight_kills_the_ring(access: AccessFactory, second: bytes) -> None:
    kernel = FakeKernel()
    ring = Ring(memoryview(kernel.memory), access)
    kernel.submit(TEST_UNIT_READY)
    (command,) = fetch(ring)
    kernel.submit(second, data_in_bytes=40 if second is READ_10 else 0)
    struct.pack_into("=H", kernel.memory, 128 + 120 + 4, command.entry_id)
    assert fetch(ring) == []
    assert ring.state is RingState.DEAD and "still in flight" in ring.reason
    assert ring.inflight == 1 and not ring.drained
    ring.complete(command, GOOD)
    assert ring.drained and kernel.tail == 0


def test_commands_before_the_damage_may_still_end(access: AccessFactory) -> None:
    kernel = FakeKernel()
    ring = Ring(memoryview(kernel.memory), access)
    kernel.submit(TEST_UNIT_READY)
    kernel.submit(READ_10, data_in_bytes=40)
    struct.pack_into("=I", kernel.memory, 128 + 120, 3)
    (command,) = fetch(ring)
    assert ring.state is RingState.DEAD
    with pytest.raises(RingError):
        ring.close()
    ring.complete(command, GOOD)
    ring.close()


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1319), st.integers(0, 255)), max_size=8),
    st.lists(st.sampled_from(["read", "write", "tur", "tmr", "odd"]), min_size=1, max_size=5),
)
def test_no_bytes_in_mailbox_or_ring_can_do_more_than_kill_the_ring(
    damage: list[tuple[int, int]], kinds: list[str]
) -> None:
    kernel = FakeKernel()
    guard = b"\xa5" * 4096
    memory = bytearray(guard + bytes(kernel.memory) + guard)
    for kind in kinds:
        if kind == "tmr":
            kernel.task_management(1, [1, 2])
        elif kind == "odd":
            kernel.unknown_entry(4)
        elif kind == "write":
            kernel.submit(WRITE_10, data_out=b"w" * 70)
        else:
            kernel.submit(READ_10 if kind == "read" else TEST_UNIT_READY, data_in_bytes=70 if kind == "read" else 0)
    memory[4096:-4096] = kernel.memory
    for offset, value in damage:
        memory[4096 + offset] = value
    mapping = memoryview(memory)[4096:-4096]
    ring = Ring(mapping, PythonAccess, block_bytes=512)
    for command in fetch(ring):
        ring.complete(command, GOOD)
        assert b"".join(command.data_out) is not None
    ring.publish()
    assert ring.state in (RingState.SERVING, RingState.DEAD)
    assert memory[:4096] == guard and memory[-4096:] == guard
    assert ring.state is RingState.SERVING or ring.reason


# -- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", RingState)
@pytest.mark.parametrize("event", RingInput)
def test_every_state_and_input(state: RingState, event: RingInput) -> None:
    kernel = FakeKernel()
    ring = Ring(memoryview(kernel.memory))
    ring.state = state
    expected = {
        RingState.SERVING: ("draining", "dead", "closed"),
        RingState.DRAINING: ("draining", "dead", "closed"),
        RingState.DEAD: ("dead", "dead", "closed"),
        RingState.CLOSED: (None, None, "closed"),
    }[state][list(RingInput).index(event)]
    assert ((state, event) in TRANSITIONS) == (expected is not None)
    if expected is None:
        with pytest.raises(RingError):
            ring._enter(event)
    else:
        ring._enter(event)
        assert ring.state is RingState(expected)


def test_the_first_reason_stays() -> None:
    ring = Ring(memoryview(bytearray(4)))
    first = ring.reason
    ring._die("another")
    assert ring.reason == first
