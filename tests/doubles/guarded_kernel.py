"""A fake kernel whose data blocks are pages without access until a command owns them, as the real ones have nothing
behind them: whoever touches a byte that is not his dies of SIGSEGV. Run as a program, it serves a few thousand
commands and exits with 0; with the argument `touch` it touches a free block on purpose.
"""

from __future__ import annotations

import random
import sys
from typing import Any

from cffi import FFI

from tcmu_gluster.scsi.command import GOOD, Response, Status
from tcmu_gluster.tcmu.access import best_access
from tcmu_gluster.tcmu.ring import Ring, RingState
from tests.doubles.fake_kernel import FakeKernel, Issue

PAGE = 4096
BLOCKS = 24
PROT_NONE, PROT_READ_WRITE = 0, 3
MAP_PRIVATE_ANONYMOUS = 0x22

ffi = FFI()
ffi.cdef(
    "void *mmap(void *addr, size_t length, int prot, int flags, int fd, long offset);"
    "int mprotect(void *addr, size_t length, int prot);"
)


class GuardedKernel(FakeKernel):
    """One page of mailbox and ring, then BLOCKS pages of data, and a page that nobody ever owns."""

    def __init__(self) -> None:
        self._libc: Any = ffi.dlopen(None)
        size = (2 + BLOCKS) * PAGE
        self._start = self._libc.mmap(ffi.NULL, size, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0)
        self.mapping = memoryview(ffi.buffer(self._start, size - PAGE))
        super().__init__(ring_bytes=PAGE - 128, blocks=BLOCKS, block_bytes=PAGE, scatter=True, memory=self.mapping)
        for block in range(BLOCKS + 1):
            self._protect(block, PROT_NONE)

    def _protect(self, block: int, access: int) -> None:
        if self._libc.mprotect(self._start + (1 + block) * PAGE, PAGE, access):
            raise OSError(ffi.errno, "mprotect")

    def _fill(self, issue: Issue) -> None:
        for block in issue.blocks:
            self._protect(block, PROT_READ_WRITE)
        super()._fill(issue)

    def _free(self, issue: Issue) -> None:
        super()._free(issue)
        for block in issue.blocks:
            self._protect(block, PROT_NONE)


def serve(seed: int, rounds: int) -> None:
    """Random commands of random lengths, answered in random order."""
    dice = random.Random(seed)
    kernel = GuardedKernel()
    ring = Ring(kernel.mapping, best_access(), block_bytes=512)
    live, issues = [], []
    for _ in range(rounds):
        length = dice.choice((0, 1, 512, 4096, 5000, 12288))
        if dice.random() < 0.4:
            cdb = bytes((0x2A, 0, 0, 0, 0, 0, 0, 0, length // 512, 0))
            issues.append(kernel.submit(cdb, data_out=bytes(length)))
        else:
            cdb = bytes((dice.choice((0x28, 0x12)), 0, 0, 0, 0, 0, 0, 0, dice.choice((1, 9)), 0))
            issues.append(kernel.submit(cdb, data_in_bytes=length))
        if ring.refresh():
            live += list(ring.commands())
        dice.shuffle(live)
        while len(live) > dice.randrange(6):
            command = live.pop()
            if command.cdb[0] == 0x2A:
                assert not any(b"".join(command.data_out))
                ring.complete(command, GOOD)
            else:
                views = command.data_in(dice.choice((0, 1, 36, command.data_in_bytes)))
                ring.complete(command, Response(dice.choice((Status.GOOD, Status.BUSY)), views))
        if ring.publish():
            kernel.notify()
    for command in live:
        ring.complete(command, GOOD)
    while ring.publish() or ring.refresh():
        kernel.notify()
        for command in ring.commands():
            ring.complete(command, GOOD)
    assert ring.state is RingState.SERVING and ring.drained, ring.reason
    assert all(issue.answer for issue in issues)


def main() -> int:
    if "touch" in sys.argv:
        return GuardedKernel().mapping[2 * PAGE]
    serve(seed=3, rounds=3000)
    return 0


if __name__ == "__main__":
    sys.exit(main())
