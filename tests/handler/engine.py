"""The engine on a loopback port inside the test's own loop, and a real socket for the sans-IO initiator."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Optional

from handler.accounts import Accounts
from handler.iscsi_front import IscsiFront, Peer
from handler.targets import EngineTarget, TargetDirectory
from tcmu_gluster.backends.base import Backend
from tcmu_gluster.backends.memory import MemoryBackend
from tcmu_gluster.config.addresses import Portal, parse_access_rule
from tcmu_gluster.iscsi.admission import Admission
from tcmu_gluster.iscsi.buffers import BufferPool
from tcmu_gluster.iscsi.chap import Account
from tcmu_gluster.iscsi.settings import DEFAULTS, Settings
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.target import Target
from tests.doubles.initiator import Initiator

NAME = "iqn.2026-01.example:target"
LIMIT_SECONDS = 60.0
"""No test waits longer than this for anything."""


class Client:
    """An Initiator with a socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, **options: Any) -> None:
        self.reader, self.writer = reader, writer
        self.initiator = Initiator(NAME, **options)
        self.ended = False

    async def until(self, condition: Callable[[], bool]) -> None:
        """Exchange bytes until the condition holds or the target closes the connection."""

        async def exchange() -> None:
            while not condition():
                self.writer.write(self.initiator.take())
                await self.writer.drain()
                data = await self.reader.read(1 << 20)
                if not data:
                    self.ended = True
                    return
                self.initiator.feed(data)

        await asyncio.wait_for(exchange(), LIMIT_SECONDS)

    async def login(self) -> None:
        self.initiator.login()
        await self.until(lambda: self.initiator.full_feature or self.initiator.login_status not in (None, 0))

    async def scsi(self, cdb: bytes, **options: Any) -> Any:
        """Run one command to its end; the unit attention of a new nexus is taken first by ready()."""
        task = self.initiator.scsi(cdb, **options)
        await self.until(lambda: task.status is not None)
        return task

    async def ready(self) -> None:
        """Log in and hear what there is to hear."""
        await self.login()
        while (await self.scsi(bytes(6))).status != 0:
            pass

    async def closed(self) -> None:
        """Wait until the target closes."""
        await self.until(lambda: False)

    def close(self) -> None:
        self.writer.close()


class Engine:
    """A front with one target and one unit."""

    def __init__(self, front: IscsiFront, unit: LogicalUnit, portal: Portal) -> None:
        self.front, self.unit, self.portal = front, unit, portal
        self.clients: list[Client] = []

    async def connect(self, source: Optional[str] = None, **options: Any) -> Client:
        local = (source, 0) if source else None
        reader, writer = await asyncio.open_connection(self.portal.address, self.portal.port, local_addr=local)
        client = Client(reader, writer, **options)
        self.clients.append(client)
        return client


@contextlib.asynccontextmanager
async def engine(
    backend: Optional[Backend] = None,
    *,
    rules: tuple[str, ...] = ("all",),
    settings: Settings = DEFAULTS,
    pool: Optional[BufferPool] = None,
    address: str = "127.0.0.1",
    admission: Optional[Admission] = None,
    account: Optional[Account] = None,
) -> AsyncIterator[Engine]:
    """A running engine; everything of it is gone afterwards."""
    loop = asyncio.get_running_loop()
    unit = LogicalUnit(backend or MemoryBackend("engine-test", 64 << 20))
    front = IscsiFront(loop, TargetDirectory(), settings, pool, admission)
    target = EngineTarget(NAME, Target(NAME, {0: unit}), map(parse_access_rule, rules))
    target.accounts = Accounts(account)
    portal = front.listen(Portal(address, 0))
    target.listening = [portal]
    front.directory.add(target)
    running = Engine(front, unit, portal)
    try:
        yield running
    finally:
        for client in running.clients:
            client.close()
        await front.stop(0)
        unit.backend.close()


@contextlib.asynccontextmanager
async def one_initiator(**options: Any) -> AsyncIterator[tuple[Engine, Client, Peer]]:
    """The same with an initiator that is logged in, and its side of the front."""
    async with engine(**options) as running:
        client = await running.connect()
        await client.ready()
        (peer,) = running.front.peers
        yield running, client, peer
