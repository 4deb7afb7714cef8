"""The invariants of a ring reader, judged by the fake kernel over long random histories, with both kinds of access.

The numbers I1..I12 are those of the ring reader's list of invariants: tails only on entry boundaries (I1), every
command answered exactly once (I2, I6), slots accounted for (I3), nothing touched that is the kernel's (I4, I5), all
Data-In defined (I7), sense sane (I8), notifications only hints (I9), ids reused at once (I10), expired commands still
answered (I11), a reset ring read from 0 (I12). FakeKernel.notify() raises for most of them by itself.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Optional

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tcmu_gluster.scsi.command import GOOD, Response, Status
from tcmu_gluster.tcmu.access import AccessFactory, PythonAccess, ShimAccess, shim_is_built
from tcmu_gluster.tcmu.ring import Ring, RingState
from tcmu_gluster.tcmu.ring_command import RingCommand
from tests.doubles.fake_kernel import ALL_FLAGS, OOOC, READ_LEN, TMR, Answer, FakeKernel, Issue, cdb_length

SENSE = bytes.fromhex("70000300000000 0a 00000000 1100 00000000")
READ_10, WRITE_10 = 0x28, 0x2A


def any_cdb(opcode: int, noise: bytes) -> bytes:
    cdb = bytes([opcode]) + noise + bytes(300)
    return cdb[: cdb_length(cdb)]


class RingMachine(RuleBasedStateMachine):
    access: AccessFactory = PythonAccess
    flags = ALL_FLAGS
    scatter = False
    in_order = False

    def __init__(self) -> None:
        super().__init__()
        self.kernel = FakeKernel(blocks=14, block_bytes=32, flags=self.flags, scatter=self.scatter, ids=9)
        self.ring = self.open()
        self.issues: list[Issue] = []
        self.expected: dict[int, Answer] = {}
        self.live: dict[int, tuple[RingCommand, Issue]] = {}
        self.finished: Optional[RingCommand] = None
        self.seen = self.tail_before = 0

    def open(self) -> Ring:
        access = type(self).access
        return Ring(memoryview(self.kernel.memory), access, in_order=self.in_order)

    # -- the kernel moves ---------------------------------------------------------------------------------------------

    @rule(opcode=st.just(READ_10) | st.integers(0, 255), noise=st.binary(max_size=16), length=st.integers(0, 300))
    def data_in(self, opcode: int, noise: bytes, length: int) -> None:
        self.issues.append(self.kernel.submit(any_cdb(opcode, noise), data_in_bytes=length))

    @rule(data=st.binary(min_size=1, max_size=200))
    def data_out(self, data: bytes) -> None:
        self.issues.append(self.kernel.submit(any_cdb(WRITE_10, b""), data_out=data))

    @rule()
    def bidirectional(self) -> None:
        issue = self.kernel.submit(any_cdb(0x53, b""), data_out=b"xor", bidi_bytes=40)
        self.issues.append(issue)
        self.expected[issue.number] = Answer(0x02)

    @rule(kind=st.sampled_from([0, 1, 2, 5, 128, 99]), ids=st.lists(st.integers(0, 12), max_size=9))
    def task_management(self, kind: int, ids: list[int]) -> None:
        self.kernel.task_management(kind, ids)

    @rule(opcode=st.integers(3, 7), words=st.integers(1, 20))
    def unknown_entry(self, opcode: int, words: int) -> None:
        self.kernel.unknown_entry(opcode, 8 * words)

    @rule()
    def pad_alone(self) -> None:
        self.kernel.pad_now()

    @rule(pick=st.integers(0, 50))
    def expire(self, pick: int) -> None:
        candidates = [issue for issue in self.kernel.by_id.values() if not issue.expired]
        if candidates:
            self.kernel.expire(candidates[pick % len(candidates)])

    @rule()
    def notify(self) -> None:
        """Spurious, coalesced and late notifications look alike to the kernel."""
        answered = {issue.number for issue in self.issues if issue.answer is not None}
        self.kernel.notify()
        for issue in self.issues:
            if issue.answer is not None and issue.number not in answered and not issue.expired:
                expected = self.expected[issue.number]
                assert issue.answer.status == expected.status
                if expected.status != 0x02:
                    assert issue.answer == expected

    # -- the handler moves --------------------------------------------------------------------------------------------

    @rule(most=st.integers(1, 12))
    def fetch(self, most: int) -> None:
        frozen = self.kernel.frozen(self.kernel.head)
        if not self.ring.refresh():
            assert self.ring.empty
            return
        self.seen = self.kernel.head
        for count, command in enumerate(self.ring.commands(), 1):
            issue = self.kernel.by_id[command.entry_id]
            assert command.cdb == issue.cdb
            assert b"".join(command.data_out)[: len(issue.data_out)] == issue.data_out
            assert command.data_in_bytes == (len(issue.data_out) or issue.data_in_bytes)
            assert command.tag not in self.live
            self.live[command.tag] = command, issue
            if count == most:
                break
        assert self.kernel.frozen(self.kernel.head) == frozen
        while self.ring.hints:
            hint = self.ring.hints.popleft()
            assert all(command.tag in self.live or command.outcome is not None for command in hint.commands)

    def take(self, pick: int) -> tuple[RingCommand, Issue]:
        tag = sorted(self.live)[pick % len(self.live)]
        return self.live.pop(tag)

    def answer(self, command: RingCommand, issue: Issue, response: Response, expected: Answer) -> None:
        self.expected[issue.number] = expected
        frozen = self.kernel.frozen(self.seen)
        self.ring.complete(command, response)
        assert self.kernel.frozen(self.seen) == frozen
        self.finished = command

    @precondition(lambda self: self.live)
    @rule(pick=st.integers(0, 50), share=st.floats(0, 1), own_memory=st.booleans())
    def complete_good(self, pick: int, share: float, own_memory: bool) -> None:
        command, issue = self.take(pick)
        if issue.data_out:
            self.answer(command, issue, GOOD, Answer(0))
            return
        length = int(share * command.data_in_bytes)
        data = bytes((issue.number + i) % 200 for i in range(length))
        views = memoryview(data)[: length // 2], memoryview(data)[length // 2 :]
        if own_memory:
            views, rest = command.data_in(length), data
            for view in views:
                view[:], rest = rest[: len(view)], rest[len(view) :]
        # ring commands whose direction is out by their opcode keep whatever is in their buffer: nobody sends it
        if self.is_data_out(command):
            self.answer(command, issue, GOOD, Answer(0, self.content(issue)))
            return
        short = self.flags & READ_LEN and 0 < length < command.data_in_bytes
        whole = data if short else data + bytes(command.data_in_bytes - length)
        residual = command.data_in_bytes - length if short else 0
        self.answer(command, issue, Response(Status.GOOD, views), Answer(0, whole, residual=residual))

    @staticmethod
    def is_data_out(command: RingCommand) -> bool:
        return command.cdb[0] in {
            0x04, 0x07, 0x0A, 0x15, 0x1D, 0x2A, 0x2E, 0x2F, 0x3B, 0x41, 0x42, 0x48, 0x4C, 0x53, 0x55, 0x5F, 0x83, 0x89,
            0x8A, 0x8B, 0x8E, 0x8F, 0x93, 0x9D, 0x9F, 0xA4, 0xA9, 0xAA, 0xAE, 0xAF, 0xB5,
        }  # fmt: skip

    def content(self, issue: Issue) -> bytes:
        return b"".join(bytes(self.kernel.memory[base : base + length]) for base, length in issue.iovecs)

    @precondition(lambda self: self.live)
    @rule(pick=st.integers(0, 50), status=st.sampled_from([0x02, 0x08, 0x18, 0x28, 0x40]))
    def complete_badly(self, pick: int, status: int) -> None:
        command, issue = self.take(pick)
        command.data_in(command.data_in_bytes)
        sense = SENSE if status == 0x02 else b""
        self.answer(command, issue, Response(status, sense=sense), Answer(status))

    @precondition(lambda self: self.finished)
    @rule()
    def complete_again(self) -> None:
        """A backend's callback that comes twice, or for a command of an earlier issue of the same id."""
        assert self.finished is not None
        before, dropped = bytes(self.kernel.memory), self.ring.dropped
        self.ring.complete(self.finished, GOOD)
        assert bytes(self.kernel.memory) == before
        assert self.ring.dropped == dropped + 1

    @rule()
    def publish(self) -> None:
        tail = self.kernel.tail
        due = self.ring.publish()
        assert due == (self.kernel.tail != tail)

    @precondition(lambda self: self.kernel.issued % 7 == 6)
    @rule()
    def crash_and_reset(self) -> None:
        """kill -9 between batches, then reset_ring and a fresh process."""
        self.kernel.reset()
        self.live.clear()
        self.finished = None
        self.ring = self.open()
        self.seen = 0
        assert self.ring.inflight == 0 and self.ring.empty and self.kernel.tail == 0

    @invariant()
    def ring_is_trusted(self) -> None:
        assert self.ring.state is RingState.SERVING, self.ring.reason

    @invariant()
    def slots_are_accounted_for(self) -> None:
        """I3: every CMD slot from cmd_tail to the newest fetched entry belongs to a command that isn't posted."""
        assert self.ring.inflight == len(self.live)
        unposted = [slot for slot in self.ring._slots if slot > 0]
        parked = [command for command in self.ring._parked if command.outcome is not None]
        assert len(unposted) == len(self.live) + len(parked)

    def teardown(self) -> None:
        for _ in range(4 * len(self.issues) + 20):
            while self.live:
                self.complete_badly(0, 0x08)
            self.publish()
            self.notify()
            self.fetch(1000)
        assert all(issue.answer is not None for issue in self.issues)
        assert self.ring.drained and self.ring.empty
        assert not self.kernel.by_id and not self.kernel.waiting and not self.kernel.slots
        assert len(self.kernel.free_blocks) == 14


class ShimMachine(RingMachine):
    access = ShimAccess


class InOrderMachine(RingMachine):
    """A RHEL 7 mailbox without CAP_OOOC would be older still; without reset_ring the order is asked for."""

    flags = TMR
    scatter = True


class OldKernelMachine(RingMachine):
    flags = OOOC
    in_order = True


class ScatteredMachine(RingMachine):
    scatter = True


SETTINGS = settings(max_examples=20, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck))

for machine in (RingMachine, ShimMachine, InOrderMachine, OldKernelMachine, ScatteredMachine):
    machine.TestCase.settings = SETTINGS

TestPythonAccess = RingMachine.TestCase
TestShimAccess = pytest.mark.skipif(not shim_is_built(), reason="the C shim is not built")(ShimMachine.TestCase)
TestWithoutOutOfOrder = InOrderMachine.TestCase
TestInOrderByRequest = OldKernelMachine.TestCase
TestScattered = ScatteredMachine.TestCase


# -- I5 once more, with pages that nobody may touch --------------------------------------------------------------------


def run_guarded(*arguments: str) -> int:
    root = Path(__file__).resolve().parents[2]
    program = [sys.executable, "-m", "tests.doubles.guarded_kernel", *arguments]
    return subprocess.run(program, cwd=root, timeout=120, check=False).returncode


def test_no_byte_outside_of_the_commands_in_flight_is_touched() -> None:
    assert run_guarded() == 0


def test_the_guard_bites() -> None:
    assert run_guarded("touch") == -signal.SIGSEGV
