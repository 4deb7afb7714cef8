"""Soak: many sessions read, write, flush and verify, while everything around them breaks.

Tasks are aborted, units reset, connections cut in every way, bricks of a replicated volume killed and brought back.
Nothing may be lost, stale or torn, and memory stays where it is.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import statistics
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional
from xml.etree import ElementTree

from script.trials.blocks import BLOCK_BYTES, SLOT_BLOCKS, SLOT_BYTES, Book, content, version_of
from script.trials.client import (
    ABORT_TASK,
    FLUSH,
    FUNCTION_COMPLETE,
    LOGICAL_UNIT_RESET,
    TASK_DOES_NOT_EXIST,
    TEST_UNIT_READY,
    Client,
    SessionLost,
    read_16,
    write_16,
)  # fmt: skip
from tests.doubles.initiator import Task
from tests.system.export import Export
from tests.system.gluster_server import BLOCK_OPTIONS, GlusterServer, why_unavailable

SLOTS = 64
LONGEST_SLOTS = 32
DEPTH = 4
SILENCE_SECONDS = 20.0
HANG_SECONDS = 120.0
SAMPLE_SECONDS = 2.0
HEAL_SECONDS = 120.0
CHECK_CONDITION, UNIT_ATTENTION = 2, 6
VOLUME = "soak"


class Soak:
    """What all sessions share: the book, the counts, and when to stop."""

    def __init__(self, export: Export, seed: int) -> None:
        self.export, self.dice = export, random.Random(seed)
        self.book, self.counts = Book(), Counter[str]()
        self.stop = asyncio.Event()
        self.memory: list[tuple[float, int]] = []
        self.problems: list[str] = []
        self.events: list[str] = []
        self.begun = time.monotonic()

    def note(self, words: str) -> None:
        """Something that helps to explain a fault."""
        self.events.append(f"{time.monotonic() - self.begun:.1f} s: {words}")


class Worker:
    """One session and its slots, one command at a time in each."""

    def __init__(self, soak: Soak, number: int) -> None:
        self.soak, self.number, self.dice = soak, number, random.Random(soak.dice.random())
        self.first = number * SLOTS
        self.busy: set[int] = set()
        self.client: Optional[Client] = None
        self.cleared = asyncio.Event()
        self.writes: dict[asyncio.Future[Any], Task] = {}

    async def run(self) -> None:
        """Until the soak stops."""
        while not self.soak.stop.is_set():
            try:
                await self.session()
            except (SessionLost, OSError) as error:
                self.soak.counts["sessions ended"] += 1
                if "AssertionError" in str(error):
                    self.soak.problems.append(f"session {self.number}: {error}")
                await asyncio.sleep(self.dice.random())
            except asyncio.TimeoutError:
                self.soak.problems.append(f"session {self.number}: no answer within {HANG_SECONDS:.0f} s")
                return
        if self.client is not None:
            self.client.drop()

    async def session(self) -> None:
        """Log in, work for a while, leave in some way."""
        keys = {"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"} if self.number % 4 == 0 else None
        old = self.client
        client = Client(self.soak.export.port, self.soak.export.iqn, f"iqn.2026-01.trial:host-{self.number}", keys)
        await client.login()
        if old is not None and not old.lost:
            old.drop()  # it was replaced by the new login
        self.client = client
        self.soak.counts["logins"] += 1
        self.busy.clear()
        end = time.monotonic() + self.dice.expovariate(1 / 20)
        hands = [asyncio.ensure_future(self.hand(client, end)) for _ in range(DEPTH)]
        try:
            await asyncio.gather(*hands)
        finally:
            for hand in hands:
                hand.cancel()
            await asyncio.gather(*hands, return_exceptions=True)
        await self.leave(client)

    async def leave(self, client: Client) -> None:
        how = self.dice.choice(("logout", "fin", "reset", "half", "replace"))
        self.soak.counts[f"left by {how}"] += 1
        if how == "logout":
            await client.logout()
        elif how != "replace":  # then the next login finds this session still there
            for _ in range(self.dice.randrange(4)):
                self.begin_write(client, self.dice.randrange(SLOTS), 1)
            client.drop(reset=how == "reset", half_a_pdu=how == "half")

    async def hand(self, client: Client, end: float) -> None:
        """One command after the other."""
        while time.monotonic() < end and not self.soak.stop.is_set():
            count = self.dice.choice((1, 1, 1, 2, 8, LONGEST_SLOTS))
            start = self.dice.randrange(SLOTS - count + 1)
            slots = set(range(start, start + count))
            if slots & self.busy:
                await asyncio.sleep(0)
                continue
            self.busy |= slots
            try:
                await self.one(client, start, count)
            finally:
                self.busy -= slots

    async def one(self, client: Client, start: int, count: int) -> None:
        what = self.dice.random()
        if what < 0.003:
            await self.reset(client)
        elif what < 0.03:
            task = await self.answer(client, client.start(FLUSH))
            self.soak.counts["flushes" if task and not task.status else "flushes failed"] += 1
        elif what < 0.08:
            await self.abort(client, start, count)
        elif what < 0.5:
            await self.read(client, start, count)
        else:
            task, versions = None, {}
            started, versions = self.begin_write(client, start, count)
            task = await self.answer(client, started)
            if task is not None and not task.status:
                for slot, version in versions.items():
                    self.soak.book.acknowledge(slot, version)
                self.soak.counts["writes"] += 1
            else:
                self.soak.counts["writes failed or aborted"] += 1

    def begin_write(self, client: Client, start: int, count: int) -> tuple[Any, dict[int, int]]:
        """Send it; its versions may be on the disk from now on."""
        slots = range(self.first + start, self.first + start + count)
        versions = {slot: self.soak.book.begin(slot) for slot in slots}
        data = b"".join(content(slot, version) for slot, version in versions.items())
        cdb = write_16(slots[0] * SLOT_BLOCKS, count * SLOT_BLOCKS, fua=self.dice.random() < 0.2)
        return client.start(cdb, data_out=data, unsolicited=self.dice.random() < 0.3), versions

    async def read(self, client: Client, start: int, count: int) -> None:
        first = self.first + start
        length = count * SLOT_BYTES
        task = await self.answer(client, client.start(read_16(first * SLOT_BLOCKS, count * SLOT_BLOCKS), read=length))
        if task is None or task.status:
            self.soak.counts["reads failed or aborted"] += 1
            return
        self.soak.counts["reads"] += 1
        data = task.data
        if len(data) != length:
            self.soak.problems.append(f"session {self.number}: a READ of {length} bytes gave {len(data)}")
            return
        for number in range(count):
            part = data[number * SLOT_BYTES : (number + 1) * SLOT_BYTES]
            self.soak.book.check(first + number, part, f" (session {self.number})")

    async def answer(self, client: Client, started: tuple[Task, asyncio.Future[Any]]) -> Optional[Task]:
        """The task with its status; None if a reset ended it without an answer."""
        task, future = started
        begun = time.monotonic()
        while True:
            done, _ = await asyncio.wait({future}, timeout=SILENCE_SECONDS)
            if done:
                answer: Task = future.result()
                if answer.status == CHECK_CONDITION and answer.sense[2] & 15 == UNIT_ATTENTION:
                    self.soak.counts["unit attentions"] += 1
                return answer
            if time.monotonic() - begun > HANG_SECONDS:
                raise asyncio.TimeoutError
            # Another session may have reset the unit: then there is no answer, and asking tells why.
            probe = await asyncio.wait_for(client.start(TEST_UNIT_READY)[1], HANG_SECONDS)
            if not future.done() and (probe.status or await self.is_unknown(client, task)):
                client.forget(task)
                return None

    async def is_unknown(self, client: Client, task: Task) -> bool:
        """Whether the target has no such task (any more): then it was aborted."""
        response = await asyncio.wait_for(client.manage(ABORT_TASK, task), HANG_SECONDS)
        return response in (FUNCTION_COMPLETE, TASK_DOES_NOT_EXIST)

    async def abort(self, client: Client, start: int, count: int) -> None:
        """A write that is aborted while it is under way. Aborted means: it changes nothing from then on."""
        (task, future), versions = self.begin_write(client, start, count)
        await asyncio.sleep(self.dice.random() * 0.01)
        response = await asyncio.wait_for(client.manage(ABORT_TASK, task), HANG_SECONDS)
        self.soak.counts["aborts"] += 1
        if future.done() and not future.exception():
            if not future.result().status:
                for slot, version in versions.items():
                    self.soak.book.acknowledge(slot, version)
            return
        if response not in (FUNCTION_COMPLETE, TASK_DOES_NOT_EXIST):
            self.soak.problems.append(f"ABORT TASK was answered with {response}")
        client.forget(task)

    async def reset(self, client: Client) -> None:
        """LOGICAL UNIT RESET, which ends everybody's tasks; rarely, so that work is done in between."""
        if self.dice.random() < 0.1:
            response = await asyncio.wait_for(client.manage(LOGICAL_UNIT_RESET), HANG_SECONDS)
            self.soak.counts["unit resets"] += response == FUNCTION_COMPLETE


# -- what happens around them ------------------------------------------------------------------------------------------


async def watch_memory(soak: Soak) -> None:
    """The engine's resident memory, every few seconds."""
    while not soak.stop.is_set():
        status = Path(f"/proc/{soak.export.pid}/status").read_text()
        kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
        soak.memory.append((time.monotonic(), kib))
        if len(soak.memory) % 30 == 0:
            print(
                f"  {len(soak.memory) // 30} min: {kib / 1024:.1f} MiB, {soak.book.checked:,} blocks", file=sys.stderr
            )
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(soak.stop.wait(), SAMPLE_SECONDS)


async def kill_bricks(soak: Soak, server: GlusterServer, up_seconds: float, down_seconds: float) -> None:
    """One after the other dies and comes back, each when the last is whole again."""
    loop, number = asyncio.get_running_loop(), 0
    while not soak.stop.is_set():
        if await pause(soak, up_seconds):
            return
        await loop.run_in_executor(None, server.kill_brick, VOLUME, number % 3)
        soak.counts["bricks killed"] += 1
        soak.note(f"brick {number % 3} killed")
        await pause(soak, down_seconds)
        await loop.run_in_executor(None, server.restart_bricks, VOLUME)
        soak.note(f"brick {number % 3} started")
        deadline = time.monotonic() + HEAL_SECONDS
        while await loop.run_in_executor(None, unhealed, server) and time.monotonic() < deadline:
            await asyncio.sleep(2)
        soak.note("nothing left to heal")
        number += 1


def on_bricks(soak: Soak, server: GlusterServer) -> list[str]:
    """What every brick itself holds of the slots with a fault, one line a slot: whose copy is old tells whose fault."""
    slots = sorted({int(fault.split()[1]) for fault in soak.book.faults})
    paths = [server.folder / "bricks" / f"{VOLUME}-{number}" / "brick" / "disk" for number in range(3)]
    lines = [f"{time.monotonic() - soak.begun:.1f} s: {len(slots)} slots with a fault: {slots}"]
    for slot in slots[:16]:
        held = []
        for path in paths:
            with path.open("rb") as file:
                file.seek(slot * SLOT_BYTES)
                held.append(version_of(file.read(BLOCK_BYTES), slot, 0))
        lines.append(f"slot {slot}: versions on the bricks {held}, acknowledged {soak.book.acknowledged.get(slot, 0)}")
    return lines


async def pause(soak: Soak, seconds: float) -> bool:
    """Whether the soak ended meanwhile."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(soak.stop.wait(), seconds)
    return soak.stop.is_set()


def unhealed(server: GlusterServer) -> int:
    """Files that bricks still have to take over from each other; 1 if Gluster can't say."""
    try:
        info = ElementTree.fromstring(server.gluster("volume", "heal", VOLUME, "info", "--xml"))
    except (RuntimeError, ElementTree.ParseError):
        return 1
    counts = [entry.text or "" for entry in info.iter("numberOfEntries")]
    return sum(int(text) if text.isdigit() else 1 for text in counts)


async def verify(soak: Soak, sessions: int, why: str) -> None:
    """Every slot, by a session of its own."""
    client = Client(soak.export.port, soak.export.iqn, "iqn.2026-01.trial:verifier")
    await client.login()
    with contextlib.suppress(SessionLost):
        await client.run(TEST_UNIT_READY)
    for first in range(0, sessions * SLOTS, LONGEST_SLOTS):
        blocks = LONGEST_SLOTS * SLOT_BLOCKS
        for _ in range(3):
            task = await client.run(read_16(first * SLOT_BLOCKS, blocks), read=LONGEST_SLOTS * SLOT_BYTES)
            if not task.status:
                break
        else:
            soak.problems.append(f"{why}: slots {first} to {first + LONGEST_SLOTS - 1} can't be read")
            continue
        for number in range(LONGEST_SLOTS):
            soak.book.check(first + number, task.data[number * SLOT_BYTES : (number + 1) * SLOT_BYTES], f" ({why})")
    await client.logout()


async def soak_for(soak: Soak, arguments: argparse.Namespace, server: Optional[GlusterServer]) -> None:
    """All of it at once."""
    seconds, sessions = arguments.minutes * 60, arguments.sessions
    workers = [asyncio.ensure_future(Worker(soak, number).run()) for number in range(sessions)]
    others = [asyncio.ensure_future(watch_memory(soak))]
    if server is not None:
        others.append(asyncio.ensure_future(kill_bricks(soak, server, arguments.up, arguments.down)))
    end = time.monotonic() + seconds
    while time.monotonic() < end and not soak.problems and not soak.book.faults:
        await asyncio.sleep(min(0.2, seconds / 10))
    if soak.book.faults and server is not None:
        soak.events.extend(on_bricks(soak, server))  # at once, before anything repairs it
    soak.stop.set()
    await asyncio.wait(workers, timeout=2 * HANG_SECONDS)
    for task in [*workers, *others]:
        if task.done() and (error := task.exception()):
            soak.problems.append(
                "the trial itself broke:\n"
                + "".join(traceback.format_exception(type(error), error, error.__traceback__))
            )
    await asyncio.gather(*others, return_exceptions=True)
    await verify(soak, sessions, "at the end")


def growth(memory: list[tuple[float, int]]) -> tuple[int, int, float]:
    """Median KiB of the first tenth after the warm-up (a quarter of the time) and of the last tenth; the ratio - 1."""
    if len(memory) < 10:
        return 0, 0, 0.0
    warm = [kib for _, kib in memory[len(memory) // 4 :]]
    tenth = max(3, len(warm) // 10)
    first, last = statistics.median(warm[:tenth]), statistics.median(warm[-tenth:])
    return int(first), int(last), last / first - 1


@contextlib.contextmanager
def served(gluster: bool, options: Sequence[str]) -> Iterator[tuple[str, Optional[GlusterServer]]]:
    """The URI of the disk, and the server behind it."""
    if not gluster:
        yield "memory:soak", None
        return
    reason = why_unavailable()
    if reason:
        raise SystemExit(f"soak: {reason}; --memory soaks without Gluster")
    with GlusterServer() as server:
        server.create_volume(
            VOLUME, 3, {**BLOCK_OPTIONS, "network.ping-timeout": "10", **dict(word.split("=", 1) for word in options)}
        )
        with server.entered():
            yield f"gluster://{server.host}/{VOLUME}/disk", server


def report(soak: Soak, minutes: float, sessions: int) -> int:
    """Print the figures; the exit status."""
    print(
        f"{minutes:g} minutes, {sessions} sessions: " + ", ".join(f"{n:,} {w}" for w, n in sorted(soak.counts.items()))
    )
    first, last, ratio = growth(soak.memory)
    print(f"{soak.book.checked:,} blocks verified, {len(soak.book.faults)} lost, stale or torn")
    print(f"memory after warm-up {first / 1024:.1f} MiB, at the end {last / 1024:.1f} MiB ({ratio:+.1%})")
    for line in [*soak.book.faults[:20], *soak.problems[:20]]:
        print(line)
    if soak.book.faults:
        print("what happened before:", *soak.events[-40:], sep="\n  ")
    return int(bool(soak.book.faults or soak.problems))


def main(arguments: argparse.Namespace) -> int:
    """Run and report."""
    size = arguments.sessions * SLOTS * SLOT_BYTES
    with served(not arguments.memory, arguments.option) as (uri, server), Export(uri, "--size", str(size)) as export:

        async def trial() -> Soak:
            soak = Soak(export, arguments.seed)
            await soak_for(soak, arguments, server)
            return soak

        soak = asyncio.run(trial())
        if server is not None:  # once more from the bricks, by a process that knows nothing
            export.stop()
            with Export(uri) as soak.export:
                asyncio.run(verify(soak, arguments.sessions, "after a restart"))
        if "Traceback" in export.log():
            soak.problems.append("the engine's log has a traceback:\n" + export.log()[-3000:])
    return report(soak, arguments.minutes, arguments.sessions)
