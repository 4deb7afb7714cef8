#!/usr/bin/env python3
"""Python CPU of one 4 KiB READ through the TCMU ring, in batches of 32, on a fake kernel's ring.

    script/ring_bench.py [--rounds N] [--json]

"ring" takes and answers commands without looking at them (null backend); "unit" runs each through a logical unit on
a memory backend. The producer's own time is not counted. The budget is 12 microseconds.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
import time
from pathlib import Path
from typing import Any, Callable

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tcmu_gluster.scsi.command import Response  # noqa: E402
from tcmu_gluster.tcmu.access import PythonAccess, ShimAccess, shim_is_built  # noqa: E402
from tcmu_gluster.tcmu.ring import Ring  # noqa: E402

BATCH = 32
BLOCK = 4096
RUNS = 25
BUDGET = 12.0
RING_BYTES = 8 * 1024 * 1024 - 128
ENTRY = struct.Struct("=IHBBIII4xQ16xQQ48x16s")


class Producer:
    """The kernel's part, as cheap as can be: READ(16) entries of one iovec, a head, and no judging."""

    def __init__(self) -> None:
        self.memory = bytearray(128 + RING_BYTES + BATCH * BLOCK)
        struct.pack_into("=HHIII", self.memory, 0, 2, 0xF, 128, RING_BYTES, 0)
        self.head = 0

    def submit_batch(self, start_lba: int) -> None:
        for index in range(BATCH):
            if self.head + 128 > RING_BYTES:
                struct.pack_into("=IHBB", self.memory, 128 + self.head, RING_BYTES - self.head, 0, 0, 0)
                self.head = 0
            at = 128 + self.head
            cdb = struct.pack(">BBQIBB", 0x88, 0, start_lba + index * (BLOCK // 512), BLOCK // 512, 0, 0)
            base = 128 + RING_BYTES + index * BLOCK
            ENTRY.pack_into(self.memory, at, 128 | 1, index + 1, 0, 0, 1, 0, 0, at + 112, base, BLOCK, cdb)
            self.head = (self.head + 128) % RING_BYTES
        struct.pack_into("=I", self.memory, 12, self.head)


def serve(ring: Ring, execute: Callable[[Any], Any]) -> None:
    """The front's six steps, as in handler/tcmu_front.py."""
    complete = ring.complete
    while ring.refresh():
        for command in ring.commands():
            response = execute(command)
            if response is not None:
                complete(command, response)
    ring.publish()


def null_unit(command: Any) -> Response:
    """No SCSI, no storage: the buffers are handed back as they are."""
    return Response(0, command.data_in(command.data_in_bytes))


def memory_unit(ring: Ring) -> Callable[[Any], Any]:
    """A real logical unit on a memory backend."""
    from tcmu_gluster.backends.memory import MemoryBackend
    from tcmu_gluster.scsi.logical_unit import LogicalUnit

    return LogicalUnit(MemoryBackend("ring-bench", 1 << 26)).execute


def measure(access: Any, make_unit: Callable[[Ring], Callable[[Any], Any]], rounds: int) -> float:
    """Microseconds of CPU a command; the best of many short runs, so that a neighbour's load hardly counts."""
    producer = Producer()
    ring = Ring(memoryview(producer.memory), access, block_bytes=512)
    execute = make_unit(ring)
    ring.done = ring.complete
    best = float("inf")
    for _ in range(RUNS):
        spent = 0
        for number in range(rounds):
            producer.submit_batch(number % 64 * 256)
            begun = time.process_time_ns()
            serve(ring, execute)
            spent += time.process_time_ns() - begun
        best = min(best, spent / (rounds * BATCH) / 1000)
    if not ring.drained or ring.reason or ring.fetched != RUNS * rounds * BATCH:
        raise SystemExit(f"the ring did not do its work: {ring.reason or 'commands are left'}")
    return best


def main() -> int:
    """Measure what is there, print a table or JSON; exit status 1 if the null backend is over budget."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100, help="batches of 32 a run (100)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    accesses = {"python": PythonAccess, **({"shim": ShimAccess} if shim_is_built() else {})}
    results = {}
    for name, access in accesses.items():
        results[f"ring, {name} access"] = measure(access, lambda ring: null_unit, options.rounds)
        try:
            results[f"unit, {name} access"] = measure(access, memory_unit, options.rounds)
        except ImportError as error:
            print(f"unit: not measured ({error})", file=sys.stderr)
    if options.json:
        print(json.dumps({"unit": "microseconds of CPU per 4 KiB READ", "batch": BATCH, "results": results}))
    else:
        print(f"TCMU ring, 4 KiB READ, batches of {BATCH}: microseconds of Python CPU a command (budget {BUDGET:g})")
        for name, microseconds in results.items():
            print(f"  {name:24} {microseconds:6.2f}")
    return int(any(spent > BUDGET for name, spent in results.items() if name.startswith("ring")))


if __name__ == "__main__":
    sys.exit(main())
