"""A disk with a volatile cache, and the engine in front of it: kill -9 is its power cut.

What is written lies in memory, sector by sector, and goes to the file when a flush asks for it, when the write itself
is durable, or at any time and in any order, as a real cache does it. The file is what the disk surface is: killing the
process loses all the rest.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from handler.bounds import make_front
from handler.targets import EngineTarget
from tcmu_gluster.backends.base import PENDING, Backend, Buffers, Capabilities, Done, Outcome
from tcmu_gluster.config.addresses import AccessRule, Portal, RuleKind
from tcmu_gluster.config.settings import load_settings
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.target import Target

SECTOR_BYTES = 512
IQN = "iqn.2026-01.trial:volatile"
SLOWEST_SECONDS = 0.004


class VolatileBackend(Backend):
    """The cache and the file under it."""

    read_only = False
    capabilities = Capabilities(can_discard=False, can_zero=False, can_map=False)

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop, seed: int, *, lies: bool) -> None:
        self.uri, self.identity = str(path), "volatile"
        self.size_bytes = path.stat().st_size
        self._fd, self._loop, self._dice = os.open(path, os.O_RDWR), loop, random.Random(seed)
        self._cache: dict[int, bytes] = {}
        self._lies = lies

    def read(self, offset: int, buffers: Buffers, done: Done) -> Outcome:
        """Cache first."""
        length = sum(map(len, buffers))
        data = bytearray(os.pread(self._fd, length, offset))
        for at in range(0, length, SECTOR_BYTES):
            sector = self._cache.get((offset + at) // SECTOR_BYTES)
            if sector is not None:
                data[at : at + SECTOR_BYTES] = sector
        position = 0
        for buffer in buffers:
            buffer[:] = data[position : position + len(buffer)]
            position += len(buffer)
        return self._later(length, done)

    def write(self, offset: int, buffers: Buffers, done: Done, durable: bool = False) -> Outcome:
        """Into the cache; durable: from there to the file."""
        data = b"".join(buffers)
        first = offset // SECTOR_BYTES
        for number in range(len(data) // SECTOR_BYTES):
            self._cache[first + number] = data[number * SECTOR_BYTES : (number + 1) * SECTOR_BYTES]
        if durable:
            self._store(range(first, first + len(data) // SECTOR_BYTES))
        elif self._dice.random() < 0.2:
            self._store(self._dice.sample(sorted(self._cache), len(self._cache) // 3))
        return self._later(len(data), done)

    def flush(self, done: Done) -> Outcome:
        """All of the cache to the file."""
        if not self._lies:
            self._store(sorted(self._cache, key=lambda _: self._dice.random()))
        return self._later(0, done)

    def _store(self, sectors: Iterable[int]) -> None:
        for number in sectors:
            if number in self._cache:
                os.pwrite(self._fd, self._cache.pop(number), number * SECTOR_BYTES)

    def _later(self, result: int, done: Done) -> Outcome:
        self._loop.call_later(self._dice.random() * SLOWEST_SECONDS, done, result)
        return PENDING

    def discard(self, offset: int, length: int, done: Done) -> Outcome:
        """It has none."""
        raise NotImplementedError

    zero = map = discard

    def refresh_size(self) -> int:
        """It stays."""
        return self.size_bytes

    def close(self) -> None:
        """It never ends in peace."""


def serve(path: Path, seed: int, lies: bool, ready: Connection) -> None:
    """The engine in this process, until it is killed; tells its port."""
    asyncio.run(_serve(path, seed, lies, ready))


async def _serve(path: Path, seed: int, lies: bool, ready: Connection) -> None:
    loop: Any = asyncio.get_running_loop()
    unit = LogicalUnit(VolatileBackend(path, loop, seed, lies=lies), UnitOptions())
    front = make_front(loop, load_settings().settings)
    target = EngineTarget(IQN, Target(IQN, {0: unit}), [AccessRule(RuleKind.ALL)])
    portal = front.listen(Portal("127.0.0.1", 0))
    target.listening = [portal]
    front.directory.add(target)
    ready.send(portal.port)
    await asyncio.Event().wait()
