"""A brick of three comes back while a file is written and read by libgfapi alone: is what is read ever old?

No engine takes part: threads call glfs_pwrite and glfs_pread. Each block carries a number that counts up, and a READ
must not give a smaller one than was acknowledged before it began. All reads go to the brick that is killed
(cluster.read-subvolume-index), and nothing waits for self-heal. `--plain` leaves out what our binding sets for
replication.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import struct
import threading
import time
from collections import Counter

from script.trials.soak import unhealed
from tcmu_gluster.native.connect import XLATOR_OPTIONS, Server
from tcmu_gluster.native.libgfapi import File, Volume
from tests.system.gluster_server import BLOCK_OPTIONS, GlusterServer, why_unavailable

BLOCK_BYTES, BLOCKS = 4096, 2048
WRITERS, READERS = 6, 4
UP_SECONDS, DOWN_SECONDS, HEAL_SECONDS = 1.5, 4.0, 60.0
NUMBER = struct.Struct("<Q")
VOLUME = "soak"


class Race:
    """The file, and the newest number of each block that was acknowledged."""

    def __init__(self, file: File) -> None:
        self.file, self.acknowledged = file, [0] * BLOCKS
        self.counts, self.stop = Counter[str](), threading.Event()
        self.begun = time.monotonic()
        self.old_at: list[float] = []
        """Seconds after the start."""

    def write(self, part: int) -> None:
        """A thread that has every WRITERS-th block to itself."""
        dice, numbers = random.Random(part), [0] * BLOCKS
        while not self.stop.is_set():
            block = dice.randrange(BLOCKS // WRITERS) * WRITERS + part
            numbers[block] += 1
            try:
                self.file.pwrite(NUMBER.pack(numbers[block]) * (BLOCK_BYTES // NUMBER.size), block * BLOCK_BYTES)
            except OSError:
                self.counts["writes failed"] += 1
                continue
            self.acknowledged[block] = numbers[block]
            self.counts["writes"] += 1

    def read(self, part: int) -> None:
        """A thread that reads anywhere."""
        dice = random.Random(WRITERS + part)
        while not self.stop.is_set():
            block = dice.randrange(BLOCKS)
            least = self.acknowledged[block]
            try:
                data = self.file.pread(BLOCK_BYTES, block * BLOCK_BYTES)
            except OSError:
                self.counts["reads failed"] += 1
                continue
            self.counts["reads"] += 1
            if least and (len(data) < BLOCK_BYTES or NUMBER.unpack_from(data)[0] < least):
                self.counts["old"] += 1
                self.old_at.append(time.monotonic() - self.begun)

    def run(self, server: GlusterServer, rounds: int) -> None:
        """Kill and restart the first brick, again and again."""
        threads = [threading.Thread(target=self.write, args=(part,), daemon=True) for part in range(WRITERS)]
        threads += [threading.Thread(target=self.read, args=(part,), daemon=True) for part in range(READERS)]
        for thread in threads:
            thread.start()
        for _ in range(rounds):
            time.sleep(UP_SECONDS)
            server.kill_brick(VOLUME, 0)
            time.sleep(DOWN_SECONDS)
            server.restart_bricks(VOLUME)
            deadline = time.monotonic() + HEAL_SECONDS
            while unhealed(server) and time.monotonic() < deadline:
                time.sleep(0.3)
        self.stop.set()
        for thread in threads:
            thread.join(HEAL_SECONDS)


def main(arguments: argparse.Namespace) -> int:
    """Run and report; 0 if nothing old was read."""
    reason = why_unavailable()
    if reason:
        raise SystemExit(f"returning-brick: {reason}")
    options = [row for row in XLATOR_OPTIONS if not (arguments.plain and "replicate" in row[0])]
    with GlusterServer() as server, contextlib.ExitStack() as stack:
        server.create_volume(VOLUME, 3, {**BLOCK_OPTIONS, "cluster.read-subvolume-index": "0"})
        stack.enter_context(server.entered())
        volume = Volume([Server(server.host)], VOLUME, options=options).mount()
        race = Race(stack.enter_context(volume.open("/disk", os.O_RDWR | os.O_CREAT)))
        race.run(server, arguments.rounds)
    print(f"{arguments.rounds} rounds: " + ", ".join(f"{n:,} {what}" for what, n in sorted(race.counts.items())))
    times = [at for last, at in zip([-10.0, *race.old_at], race.old_at) if at - last > 2]
    print(f"{len(race.old_at):,} READs gave old data, in {len(times)} of the rounds")
    return int(bool(race.old_at))
