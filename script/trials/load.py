"""Load for trials with broken storage: sessions that write, flush and read back, with a book of what they were told.

A hand has its own slots and one command at a time, so that whatever is read can be judged. After a refusal it
goes on with something else in a moment; a session that ends logs in again.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Optional

from script.trials.blocks import SLOT_BLOCKS, SLOT_BYTES, Book, content
from script.trials.client import FLUSH, TEST_UNIT_READY, Client, SessionLost, read_16, write_16
from tests.doubles.initiator import Task

SESSIONS = 2
HANDS = 3
SLOTS = 48
PACE_SECONDS = 0.003
AGAIN_SECONDS = 0.1
HANG_SECONDS = 180.0
LOOK_SECONDS = 0.1
READ_SLOTS = 32
GOOD, CHECK_CONDITION, BUSY = 0, 2, 8
UNIT_ATTENTION = 6
READ, WRITE, SYNC = "read", "write", "flush"


class Told(NamedTuple):
    """One command that ended GOOD: of which session, and when it was sent and answered."""

    session: int
    begun: float
    ended: float


def words(task: Task) -> str:
    """A status other than GOOD, with the sense (fixed format, SPC-4 4.5.3)."""
    if task.status == CHECK_CONDITION and len(task.sense) >= 14:
        return f"CHECK CONDITION {task.sense[2] & 15:X}/{task.sense[12]:02X}{task.sense[13]:02X}"
    return "BUSY" if task.status == BUSY else f"status {task.status}"


class Load:
    """See the module. slots: how much of the disk is used, in slots of 4 KiB."""

    def __init__(self, port: int, iqn: str, *, slots: int = SLOTS, seed: int = 1) -> None:
        self.port, self.iqn, self.slots, self.seed = port, iqn, slots, seed
        self.book, self.counts = Book(), Counter[str]()
        self.good: dict[str, list[Told]] = defaultdict(list)
        self.refusals: list[float] = []
        """When a command was answered with something else than GOOD."""
        self.problems: list[str] = []
        self._stopping = False
        self._tasks: list[asyncio.Future[None]] = []

    def start(self) -> None:
        """Log in and work until stop()."""
        self._tasks = [asyncio.ensure_future(self._session(number)) for number in range(SESSIONS)]

    async def stop(self) -> None:
        """Let every command end, and log out."""
        self._stopping = True
        _, pending = await asyncio.wait(self._tasks, timeout=HANG_SECONDS)
        for task in pending:
            self.problems.append("a session did not come to its end")
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                self.problems.append(f"the trial itself broke: {outcome!r}")

    # -- work ---------------------------------------------------------------------------------------------------------

    async def _session(self, number: int) -> None:
        dice = random.Random(f"{self.seed} {number}")
        own = range(number, self.slots, SESSIONS)
        while not self._stopping:
            client = Client(self.port, self.iqn, f"iqn.2026-01.trial:host-{number}")
            try:
                await client.login()
                await client.run(TEST_UNIT_READY)
                hands = (self._hand(client, number, own[hand::HANDS], dice) for hand in range(HANDS))
                for outcome in await asyncio.gather(*hands, return_exceptions=True):
                    if outcome is not None:
                        raise outcome
                await client.logout()
            except (SessionLost, OSError) as error:
                self.counts["sessions ended"] += 1
                if "AssertionError" in str(error):
                    self.problems.append(f"session {number}: {error}")
                await asyncio.sleep(AGAIN_SECONDS)
            except asyncio.TimeoutError:
                self.problems.append(f"session {number}: no answer within {HANG_SECONDS:.0f} s")
                return
            finally:
                client.drop()

    async def _hand(self, client: Client, session: int, slots: range, dice: random.Random) -> None:
        while not self._stopping:
            what, slot = dice.random(), dice.choice(slots)
            if what < 0.1:
                await self._told(client, session, SYNC, FLUSH)
            elif what < 0.4:
                cdb = read_16(slot * SLOT_BLOCKS, SLOT_BLOCKS)
                task = await self._told(client, session, READ, cdb, read=SLOT_BYTES)
                if task is not None:
                    self.book.check(slot, task.data)
            else:
                version = self.book.begin(slot)
                cdb = write_16(slot * SLOT_BLOCKS, SLOT_BLOCKS, fua=dice.random() < 0.3)
                if await self._told(client, session, WRITE, cdb, data_out=content(slot, version)) is not None:
                    self.book.acknowledge(slot, version)
            await asyncio.sleep(PACE_SECONDS)

    async def _told(self, client: Client, session: int, kind: str, cdb: bytes, **options: Any) -> Optional[Task]:
        """Run a command: its task if it ended GOOD; anything else is counted."""
        begun = asyncio.get_running_loop().time()
        task = await asyncio.wait_for(client.run(cdb, **options), HANG_SECONDS)
        ended = asyncio.get_running_loop().time()
        if task.status == GOOD:
            self.good[kind].append(Told(session, begun, ended))
            return task
        self.counts[f"{kind}: {words(task)}"] += 1
        if task.status != CHECK_CONDITION or task.sense[2] & 15 != UNIT_ATTENTION:
            self.refusals.append(ended)
            await asyncio.sleep(AGAIN_SECONDS)
        return None

    # -- what is asked of it ------------------------------------------------------------------------------------------

    def serves(self, since: float) -> bool:
        """Whether every session had a write, a read and a flush done that it began after that time."""
        return all(
            {told.session for told in reversed(self.good[kind]) if told.begun > since} == set(range(SESSIONS))
            for kind in (READ, WRITE, SYNC)
        )

    def refuses(self, since: float) -> bool:
        """Whether a command was refused after that time."""
        return bool(self.refusals) and self.refusals[-1] > since

    def longest_seconds(self) -> float:
        """What the slowest command took that ended GOOD."""
        return max((told.ended - told.begun for every in self.good.values() for told in every), default=0.0)

    def acknowledged_within(self, begin: float, end: float) -> int:
        """Writes and flushes that were sent and answered GOOD within that time."""
        return sum(told.begun > begin and told.ended < end for kind in (WRITE, SYNC) for told in self.good[kind])

    async def until(self, condition: Callable[[], bool], seconds: float, what: str) -> float:
        """Wait for it, and note a problem if it does not come; how long it took."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while not condition():
            if loop.time() > begun + seconds:
                self.problems.append(f"not within {seconds:.0f} s: {what}")
                break
            await asyncio.sleep(LOOK_SECONDS)
        return loop.time() - begun

    async def until_serves(self, since: float, seconds: float, what: str) -> float:
        """until(), with serves()."""
        return await self.until(partial(self.serves, since), seconds, what)

    async def _verifier(self, deadline: float) -> Client:
        """A session of its own, as soon as it can be had. Raises SessionLost, OSError after the deadline."""
        while True:
            client = Client(self.port, self.iqn, "iqn.2026-01.trial:verifier")
            try:
                await client.login()
                await client.run(TEST_UNIT_READY)
                return client
            except (SessionLost, OSError):
                client.drop()
                if asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(AGAIN_SECONDS)

    async def verify(self, why: str, seconds: float = 60.0) -> None:
        """Read every slot in a session of its own; what can't be read in this time is a problem."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        client = await self._verifier(deadline)
        for first in range(0, self.slots, READ_SLOTS):
            count = min(READ_SLOTS, self.slots - first)
            while True:
                cdb = read_16(first * SLOT_BLOCKS, count * SLOT_BLOCKS)
                task = await asyncio.wait_for(client.run(cdb, read=count * SLOT_BYTES), HANG_SECONDS)
                if task.status == GOOD or loop.time() > deadline:
                    break
                await asyncio.sleep(AGAIN_SECONDS)
            if task.status != GOOD:
                self.problems.append(f"{why}: slots from {first} on can't be read ({words(task)})")
                continue
            for number in range(count):
                part = task.data[number * SLOT_BYTES : (number + 1) * SLOT_BYTES]
                self.book.check(first + number, part, f" ({why})")
        await client.logout()
