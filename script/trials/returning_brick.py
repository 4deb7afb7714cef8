"""A replica misses a write and comes back: is what it still has read?  libgfapi alone, no engine takes part.

Gluster acknowledges a write that one of three bricks missed, and notes on the others that it did so up to
cluster.post-op-delay-secs later. A brick that is back before that passes as whole, and READs go to
it. The delay is 20 seconds here, so that nothing depends on luck; by default it is one. `--plain` leaves out what our
binding says to that.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

from tcmu_gluster.native.connect import XLATOR_OPTIONS, Server
from tcmu_gluster.native.libgfapi import Volume
from tests.system.gluster_server import BLOCK_OPTIONS, GlusterServer, why_unavailable

VOLUME, BLOCK_BYTES = "three", 4096
DELAY_SECONDS, LOOK_SECONDS, LIMIT_SECONDS = 20, 2.0, 60.0
OPTIONS = {
    **BLOCK_OPTIONS,
    "cluster.post-op-delay-secs": str(DELAY_SECONDS),
    "cluster.read-subvolume-index": "0",  # all READs go to the brick that is killed,
    "cluster.choose-local": "off",  # though the others are as near
    "cluster.self-heal-daemon": "off",
}


class Broken(Exception):
    """The trial itself did not work."""


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Raises Broken if that takes too long."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise Broken(f"{what}: not within {LIMIT_SECONDS:.0f} s")
        time.sleep(0.05)


def old_reads(server: GlusterServer, volume: Volume, path: str) -> tuple[int, int]:
    """In a new file: how many READs came after the brick's return, and how many gave what was overwritten."""

    def is_up() -> bool:
        with volume.open(f"/.meta/graphs/active/{VOLUME}-replicate-0/private", os.O_RDONLY) as file:
            return b"child_up[0] = 1\n" in file.pread(4096, 0)

    old, new = b"1" * BLOCK_BYTES, b"2" * BLOCK_BYTES
    with volume.open(path, os.O_RDWR | os.O_CREAT) as file:
        file.pwrite(old, 0)
        server.kill_brick(VOLUME, 0)
        wait_until(lambda: not is_up(), "the client's notice that a brick is gone")
        file.pwrite(new, 0)
        begun = time.monotonic()
        server.restart_bricks(VOLUME)
        wait_until(is_up, "the client's notice that the brick is back")
        if time.monotonic() - begun > DELAY_SECONDS - LOOK_SECONDS:
            raise Broken("the brick came back too late to show anything")
        reads = olds = 0
        end = time.monotonic() + LOOK_SECONDS
        while time.monotonic() < end:
            reads += 1
            olds += file.pread(BLOCK_BYTES, 0) != new
        return reads, olds


def main(arguments: argparse.Namespace) -> int:
    """Run and report; 0 if nothing old was read."""
    reason = why_unavailable()
    if reason:
        raise SystemExit(f"returning-brick: {reason}")
    options = [row for row in XLATOR_OPTIONS if not (arguments.plain and "replicate" in row[0])]
    reads = olds = 0
    with GlusterServer() as server:
        server.create_volume(VOLUME, 3, OPTIONS)
        with server.entered():
            volume = Volume([Server(server.host)], VOLUME, options=options).mount()
            for number in range(arguments.rounds):
                counts = old_reads(server, volume, f"/disk{number}")
                reads, olds = reads + counts[0], olds + counts[1]
    print(f"{reads:,} READs after a brick's return, {olds:,} of them gave what had been overwritten before")
    return int(bool(olds))
