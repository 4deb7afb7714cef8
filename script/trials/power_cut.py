"""Power cuts: the engine over TCP, on a disk with a volatile cache, is killed at a random moment and started again.

What it shows then is compared with the log of what it had acknowledged as durable. `--liar` shows that the trial
notices: its disk ignores flushes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import random
import signal
import tempfile
from collections import Counter
from pathlib import Path

from script.trials.blocks import BLOCK_BYTES, SLOT_BLOCKS, SLOT_BYTES, content, version_of
from script.trials.client import FLUSH, TEST_UNIT_READY, Client, SessionLost, read_16, write_16
from script.trials.volatile import IQN, serve

SLOTS = 48
SESSIONS = 3
HANDS = 3
LONGEST_SECONDS = 0.3


class Log:
    """What was acknowledged, and what of it as durable."""

    def __init__(self) -> None:
        self.issued = [0] * SLOTS
        self.acknowledged = [0] * SLOTS
        self.durable = [0] * SLOTS
        self.surface = [bytes(SLOT_BYTES) for _ in range(SLOTS)]
        """As the last restart found it."""
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []

    def check(self, slot: int, data: bytes, cut: int) -> None:
        """A block is the newest durable version, a later one, or (nothing durable since) what stood there."""
        for number in range(SLOT_BLOCKS):
            found = data[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES]
            before = self.surface[slot][number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES]
            version = version_of(found, slot, number)
            if version < 0 or version > self.issued[slot]:
                self.violations.append(f"cut {cut}, slot {slot}, block {number}: torn or never written")
            elif version < self.durable[slot] and found != before:
                self.violations.append(f"cut {cut}, slot {slot}, block {number}: version {version} came back")
            elif version < self.durable[slot]:
                lost = f"durable version {self.durable[slot]} is lost, {version} found"
                self.violations.append(f"cut {cut}, slot {slot}, block {number}: {lost}")
        self.surface[slot] = data
        # What survived a cut is on the surface: it is not less durable than what was flushed.
        self.durable[slot] = min(version_of(data[at * BLOCK_BYTES : (at + 1) * BLOCK_BYTES], slot, at)
                                 for at in range(SLOT_BLOCKS))  # fmt: skip
        self.acknowledged[slot] = self.durable[slot]  # the rest is gone: a later flush promises nothing about it


async def verify(port: int, log: Log, cut: int) -> None:
    """Read everything after a restart."""
    client = Client(port, IQN, "iqn.2026-01.trial:verifier")
    await client.login()
    await client.run(TEST_UNIT_READY)
    task = await client.run(read_16(0, SLOTS * SLOT_BLOCKS), read=SLOTS * SLOT_BYTES)
    if task.status or len(task.data) != SLOTS * SLOT_BYTES:
        log.violations.append(f"cut {cut}: the disk can't be read (status {task.status})")
    else:
        for slot in range(SLOTS):
            log.check(slot, task.data[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES], cut)
    client.drop()


async def work(client: Client, slots: list[int], dice: random.Random, log: Log) -> None:
    """Writes, durable or not, and flushes of one session, until the cut. Nobody else writes these slots."""
    while True:
        if dice.random() < 0.15:
            promised = {slot: log.acknowledged[slot] for slot in range(SLOTS)}
            task = await client.run(FLUSH)
            if not task.status:
                log.counts["flushes acknowledged"] += 1
                for slot, version in promised.items():
                    log.durable[slot] = max(log.durable[slot], version)
            continue
        slot, fua = dice.choice(slots), dice.random() < 0.3
        log.issued[slot] += 1
        version = log.issued[slot]
        cdb = write_16(slot * SLOT_BLOCKS, SLOT_BLOCKS, fua=fua)
        task = await client.run(cdb, data_out=content(slot, version))
        if not task.status:
            log.counts["durable writes acknowledged" if fua else "writes acknowledged"] += 1
            log.acknowledged[slot] = version
            if fua:
                log.durable[slot] = max(log.durable[slot], version)


async def until_the_cut(port: int, pid: int, dice: random.Random, log: Log, cut: int) -> None:
    """Check what the last cut left, then work until the next."""
    await verify(port, log, cut)
    clients = [Client(port, IQN, f"iqn.2026-01.trial:host-{number}") for number in range(SESSIONS)]
    for client in clients:
        await client.login()
        await client.run(TEST_UNIT_READY)
    hands = []
    for number, client in enumerate(clients):
        own = list(range(number, SLOTS, SESSIONS))
        hands += [asyncio.ensure_future(work(client, own[hand::HANDS], dice, log)) for hand in range(HANDS)]
    await asyncio.sleep(dice.random() * LONGEST_SECONDS)
    os.kill(pid, signal.SIGKILL)
    for outcome in await asyncio.gather(*hands, return_exceptions=True):
        if not isinstance(outcome, (SessionLost, OSError)):
            raise outcome or RuntimeError("a session ended without a cut")
    for client in clients:
        client.drop()


def main(arguments: argparse.Namespace) -> int:
    """Run the rounds; 0 if every promise was kept."""
    log, dice = Log(), random.Random(arguments.seed)
    forked = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory(prefix="power-cut-") as folder:
        path = Path(folder, "disk")
        path.write_bytes(bytes(SLOTS * SLOT_BYTES))
        for cut in range(arguments.rounds + 1):
            here, there = forked.Pipe(duplex=False)
            process = forked.Process(target=serve, args=(path, dice.random(), arguments.liar, there), daemon=True)
            process.start()
            there.close()
            try:
                port = here.recv()
                if cut == arguments.rounds:
                    asyncio.run(verify(port, log, cut))
                else:
                    assert process.pid is not None
                    asyncio.run(until_the_cut(port, process.pid, dice, log, cut))
            finally:
                with contextlib.suppress(AttributeError):
                    process.kill()
                process.join()
                here.close()
            if log.violations:
                break
    counts = ", ".join(f"{number:,} {what}" for what, number in sorted(log.counts.items()))
    print(f"{cut} power cuts: {counts}; {len(log.violations)} violations")
    for line in log.violations[:20]:
        print(line)
    return int(bool(log.violations))
