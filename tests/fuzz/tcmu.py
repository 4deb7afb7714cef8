"""The kernel's ring: long histories of a well-behaved kernel, and one whose memory is damaged anywhere.

With the first, FakeKernel judges every answer. With the second the ring goes on or is DEAD with a reason; it never
raises and never writes outside of its mapping."""

from __future__ import annotations

from tcmu_gluster.scsi.command import GOOD, Response, Status
from tcmu_gluster.tcmu.access import AccessFactory, PythonAccess, ShimAccess, shim_is_built
from tcmu_gluster.tcmu.ring import Ring, RingState
from tcmu_gluster.tcmu.ring_command import RingCommand
from tests.doubles.fake_kernel import ALL_FLAGS, OOOC, TMR, FakeKernel, cdb_length
from tests.fuzz.reader import Reader

FLAGS = (ALL_FLAGS, ALL_FLAGS, OOOC, TMR)
STEPS = 60
GUARD = b"\xa5" * 256
SENSE = bytes.fromhex("70000300000000 0a 00000000 1100 00000000")
STATUSES = (Status.CHECK_CONDITION, Status.BUSY, Status.RESERVATION_CONFLICT, Status.TASK_SET_FULL, Status.TASK_ABORTED)


def any_cdb(reader: Reader) -> bytes:
    """A CDB that a kernel could have received."""
    noise = reader.take(12)
    cdb = bytes((reader.byte(),)) + noise + bytes(300)
    return cdb[: cdb_length(cdb)]


def ring_history(data: bytes) -> None:
    """A kernel that keeps the rules and a handler that answers late, in any order, with too much or too little."""
    reader = Reader(data)
    mode = reader.byte()
    kernel = FakeKernel(blocks=14, block_bytes=32, flags=FLAGS[mode & 3], scatter=bool(mode & 4), ids=9)
    access: AccessFactory = ShimAccess if mode & 8 and shim_is_built() else PythonAccess
    ring = Ring(memoryview(kernel.memory), access, in_order=bool(mode & 16))
    live: list[RingCommand] = []
    issues = []
    for _ in range(STEPS):
        if reader.empty:
            break
        step = reader.byte() % 8
        if step == 0:
            issues.append(kernel.submit(any_cdb(reader), data_in_bytes=reader.number(2) % 301))
        elif step == 1:
            length = reader.byte() + 1
            issues.append(kernel.submit(bytes((0x2A,)) + bytes(9), data_out=reader.take(length).ljust(length, b"w")))
        elif step == 2:
            other_entries(kernel, reader)
        elif step == 3:
            fetch(ring, live)
        elif step in (4, 5) and live:
            answer(ring, live.pop(reader.byte() % len(live)), reader)
        elif step == 6:
            ring.publish()
        else:
            kernel.notify()
        assert ring.state is RingState.SERVING, ring.reason
        assert ring.inflight == len(live)
    for _ in range(4 * len(issues) + 20):
        while live:
            ring.complete(live.pop(), Response(Status.BUSY))
        ring.publish()
        kernel.notify()
        fetch(ring, live)
    assert all(issue.answer is not None for issue in issues)
    assert ring.drained and ring.empty and len(kernel.free_blocks) == 14


def other_entries(kernel: FakeKernel, reader: Reader) -> None:
    """Task management, entries of the future, padding, and commands the kernel gave up."""
    kind = reader.byte() % 4
    if kind == 0:
        kernel.task_management(reader.byte(), [reader.byte() % 13 for _ in range(reader.byte() % 9)])
    elif kind == 1:
        kernel.unknown_entry(3 + reader.byte() % 5, 8 * (1 + reader.byte() % 20))
    elif kind == 2:
        kernel.pad_now()
    else:
        alive = [issue for issue in kernel.by_id.values() if not issue.expired]
        if alive:
            kernel.expire(reader.pick(alive))


def fetch(ring: Ring, live: list[RingCommand]) -> None:
    """Take what is there, and the hints."""
    if ring.refresh():
        live += ring.commands()
    ring.hints.clear()


def answer(ring: Ring, command: RingCommand, reader: Reader) -> None:
    """Data of any length in the command's memory or in other, or a bad status."""
    how = reader.byte()
    if how & 1:
        status = reader.pick(STATUSES)
        ring.complete(command, Response(status, sense=SENSE if status == Status.CHECK_CONDITION else b""))
        return
    length = reader.number(2) % (command.data_in_bytes + 64)
    if how & 2:
        views = command.data_in(min(length, command.data_in_bytes))
    else:
        views = (memoryview(b"d" * length),)
    ring.complete(command, Response(Status.GOOD, () if command.data_out else tuple(views)))


def ring_damage(data: bytes) -> None:
    """Bytes of mailbox, ring and data area are overwritten before, between and after the handler's steps."""
    reader = Reader(data)
    mode = reader.byte()
    kernel = FakeKernel()
    memory = bytearray(GUARD + bytes(kernel.memory) + GUARD)
    kernel.memory = memoryview(memory)[len(GUARD) : -len(GUARD)]
    access: AccessFactory = ShimAccess if mode & 1 and shim_is_built() else PythonAccess
    ring = Ring(kernel.memory, access, block_bytes=512)
    live: list[RingCommand] = []
    for _ in range(STEPS // 2):
        if reader.empty:
            break
        step = reader.byte() % 6
        if step == 0:
            kernel.submit(any_cdb(reader), data_in_bytes=reader.byte())
        elif step == 1:
            kernel.submit(bytes((0x2A,)) + bytes(9), data_out=b"w" * (1 + reader.byte()))
        elif step == 2:
            at, change = reader.number(2) % len(kernel.memory), reader.take(1 + reader.byte() % 8)
            part = kernel.memory[at : at + len(change)]
            part[:] = change[: len(part)]
        elif step == 3:
            fetch(ring, live)
        elif step == 4 and live:
            command = live.pop(reader.byte() % len(live))
            assert sum(map(len, command.data_out)) <= len(kernel.memory)
            ring.complete(command, GOOD)
        else:
            ring.publish()
    while live:
        ring.complete(live.pop(), GOOD)
    ring.publish()
    assert ring.state is RingState.SERVING or (ring.state is RingState.DEAD and ring.reason)
    assert memory[: len(GUARD)] == GUARD and memory[-len(GUARD) :] == GUARD
