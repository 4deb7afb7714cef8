"""Bricks of a volume are replaced and added under sessions that write: is every block right, on each brick too?

One replicated volume, one daemon. Options change, each of three bricks is replaced, a replica is added, bricks are
added and the volume is rebalanced; after each step self-heal has to find an end. Last, every block is read through the
disk, and from every copy of its file that the volume has.

A replica is added while the self-heal daemons rest (`--hasty`: they don't). Gluster tells them of the new brick before
it tells its clients: what a client writes to a place that is healed already, and before it knows the brick, is
missing there, and nothing notes it.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from script.trials.blocks import SLOT_BYTES, Book
from script.trials.load import SYNC, WRITE, Load
from script.trials.storage import RECOVER_SECONDS, in_thread, iqn
from tests.system.gluster_server import BLOCK_OPTIONS, GlusterServer, why_unavailable
from tests.system.served import Served, until

VOLUME, REPLICAS, SLOTS = "moving", 3, 512
DISK_BYTES = 16 << 20
BETWEEN_SECONDS = 2.0
"""Between two steps: the trial's own pace."""
HEAL_SECONDS = 120.0


class Step(NamedTuple):
    """What an administrator does: gluster volume WORDS, in order; a rest lets clients hear of what was done."""

    name: str
    commands: list[list[str]]


class Bricks:
    """The volume's bricks: folders of one server, named as they come."""

    def __init__(self, server: GlusterServer) -> None:
        self.server = server
        self.present = server.create_volume(VOLUME, REPLICAS, {**BLOCK_OPTIONS, "network.ping-timeout": "10"})
        self.made = REPLICAS

    def fresh(self) -> Path:
        """A folder for another brick."""
        path = self.server.folder / "bricks" / f"{VOLUME}-{self.made}" / "brick"
        path.parent.mkdir()
        self.made += 1
        return path

    def named(self, path: Path) -> str:
        """As gluster wants it."""
        return f"{self.server.host}:{path}"

    def healed(self) -> bool:
        """Whether self-heal has nothing left to do; asks for it otherwise."""
        summary = self.server.gluster("volume", "heal", VOLUME, "info", "summary", "--xml")
        pending = [
            brick.findtext("numberOfEntriesInHealPending") for brick in ElementTree.fromstring(summary).iter("brick")
        ]
        if set(pending) == {"0"}:
            return True
        self.server.gluster("volume", "heal", VOLUME, check=False)
        return False

    def rebalanced(self) -> bool:
        """Whether a rebalance has ended."""
        status = ElementTree.fromstring(self.server.gluster("volume", "rebalance", VOLUME, "status", "--xml"))
        return status.findtext(".//aggregate/statusStr") == "completed"

    def check(self, load: Load) -> int:
        """Compare every whole copy of the disk's file with the book; how many blocks that were."""
        book = Book()
        book.acknowledged, book.unknown = load.book.acknowledged, load.book.unknown
        for path in self.present:
            file = path / "disk"
            if not file.exists() or file.stat().st_size < DISK_BYTES:
                continue  # of the other bricks' set, which has at most a pointer to it
            with file.open("rb") as copy:
                for slot in range(SLOTS):
                    book.check(slot, copy.read(SLOT_BYTES), f" on brick {path.parent.name}")
        load.book.faults += book.faults
        return book.checked


def steps(bricks: Bricks, hasty: bool) -> Iterator[Step]:
    """One after the other: a step's bricks are made when it is its turn."""
    yield from (Step(f"io-cache {word}", [["set", VOLUME, "performance.io-cache", word]]) for word in ("on", "off"))
    for number, old in enumerate(bricks.present):
        bricks.present[number] = bricks.fresh()
        names = [bricks.named(path) for path in (old, bricks.present[number])]
        yield Step(f"brick {number} replaced", [["replace-brick", VOLUME, *names, "commit", "force"]])
    bricks.present.append(bricks.fresh())
    replicas = len(bricks.present)
    add = ["add-brick", VOLUME, "replica", str(replicas), bricks.named(bricks.present[-1]), "force"]
    rest, work = (["set", VOLUME, "cluster.self-heal-daemon", word] for word in ("off", "on"))
    yield Step("a replica added", [add] if hasty else [rest, add, work])
    others = [bricks.fresh() for _ in range(replicas)]
    bricks.present += others
    add = ["add-brick", VOLUME, *map(bricks.named, others), "force"]
    yield Step("bricks added", [add])
    yield Step("rebalanced", [["rebalance", VOLUME, "start", "force"]])


async def change(bricks: Bricks, load: Load, hasty: bool) -> None:
    """All steps under the load, and the disk serves after each."""
    loop = asyncio.get_running_loop()
    for step in steps(bricks, hasty):
        for words in step.commands:
            await in_thread(partial(bricks.server.gluster, "volume", *words))
            await asyncio.sleep(BETWEEN_SECONDS)
        if step.name == "rebalanced":
            await in_thread(partial(until, bricks.rebalanced, step.name, HEAL_SECONDS))
        await in_thread(partial(until, bricks.healed, f"healed after: {step.name}", HEAL_SECONDS))
        await load.until_serves(loop.time(), RECOVER_SECONDS, f"it serves after: {step.name}")


async def run(served: Served, bricks: Bricks, hasty: bool) -> Load:
    """The load with what became of it."""
    load = Load(int(served.portal.rpartition(":")[2]), iqn(VOLUME), slots=SLOTS)
    load.start()
    await load.until_serves(asyncio.get_running_loop().time(), RECOVER_SECONDS, "it serves")
    try:
        await change(bricks, load, hasty)
    finally:
        await load.stop()
    await load.verify("in the end")
    await in_thread(partial(until, bricks.healed, "healed in the end", HEAL_SECONDS))
    return load


def main(arguments: argparse.Namespace) -> int:
    """Run and report; 0 if every block is right."""
    reason = why_unavailable()
    if reason:
        raise SystemExit(f"moving-bricks: {reason}")
    broken = False
    for _ in range(arguments.rounds):
        begun = time.monotonic()
        with GlusterServer() as server, server.entered(), tempfile.TemporaryDirectory(prefix="moving-") as folder:
            bricks = Bricks(server)
            with Served(Path(folder)) as served:
                served.do("disk", "create", VOLUME, f"gluster://{server.host}/{VOLUME}/disk", "--size", str(DISK_BYTES))
                served.do("target", "create", iqn(VOLUME))
                served.do("acl", "allow", iqn(VOLUME), "all")
                served.do("lun", "map", iqn(VOLUME), VOLUME)
                load = asyncio.run(run(served, bricks, arguments.hasty))
            copies = bricks.check(load)
        counts = ", ".join(f"{what} {number:,}" for what, number in sorted(load.counts.items())) or "nothing refused"
        told, faults = {kind: len(load.good[kind]) for kind in (WRITE, SYNC)}, load.book.faults
        print(
            f"{told[WRITE]:,} writes and {told[SYNC]:,} flushes acknowledged; {load.book.checked:,} blocks verified "
            f"through the disk and {copies:,} on the bricks, {len(faults)} lost, torn or invented; slowest answer "
            f"{load.longest_seconds():.1f} s; {counts} ({time.monotonic() - begun:.0f} s)",
            *load.problems,
            *faults[:10],
            sep="\n",
            flush=True,
        )
        broken = broken or bool(load.problems or faults)
    return int(broken)
