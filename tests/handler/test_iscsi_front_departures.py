"""Sessions that are replaced, recovered, sent away and sent elsewhere, over real sockets and under load."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from tcmu_gluster.backends.memory import MemoryBackend
from tcmu_gluster.config.addresses import Portal, parse_access_rule
from tcmu_gluster.iscsi.pdu import Opcode
from tcmu_gluster.scsi.command import Function
from tests.doubles.backends import SlowBackend
from tests.doubles.initiator import Initiator
from tests.doubles.recovering import Recovering
from tests.handler.daemon import until
from tests.handler.engine import Client, engine
from tests.handler.test_engine import FREE, IQN, end, make_engine, two_disks
from tests.handler.test_iscsi_front import read_10, write_10


def test_a_session_is_replaced_again_and_again_under_load() -> None:
    async def story() -> None:
        backend = SlowBackend(MemoryBackend("replaced", 8 << 20))
        async with engine(backend) as running:
            for _ in range(20):
                client = await running.connect()
                await client.login()
                assert client.initiator.full_feature
                for number in range(60):
                    if number % 2:
                        client.initiator.scsi(read_10(number * 128, 128), read=65536)
                    else:
                        client.initiator.scsi(write_10(number, 1), data_out=os.urandom(512))
                client.writer.write(client.initiator.take())
                await client.writer.drain()
                await asyncio.sleep(0)
                backend.run()
            last = await running.connect()
            await last.login()
            assert last.initiator.full_feature and len(list(running.front.sessions())) == 1
            assert all([await _ended(client) for client in running.clients[:-1]])
            backend.run()
            task = last.initiator.scsi(bytes(6))
            await last.until(lambda: task.status is not None)
            await until(lambda: not running.unit.tasks.running, "the replaced sessions' tasks end")
            assert running.front.pool.handed_out_bytes == 0

    asyncio.run(story())


async def _ended(client: Client) -> bool:
    """Whether the target has closed the connection; what it still said is of no interest."""
    while await asyncio.wait_for(client.reader.read(1 << 20), 10):
        pass
    return True


def test_a_task_outlives_its_connection() -> None:
    async def story() -> None:
        backend = SlowBackend(MemoryBackend("outlives", 1 << 20))
        async with engine(backend) as running:
            first = await running.connect()
            first.initiator = Recovering({"MaxConnections": "2"}, level=2)
            await first.ready()
            task = first.initiator.scsi(read_10(0, 128), read=65536)
            first.writer.write(first.initiator.take())
            await until(lambda: running.unit.tasks.running, "the READ runs")
            first.writer.transport.abort()
            await until(lambda: not running.front.peers, "the connection is lost")
            backend.run()
            again = await running.connect()
            known = first.initiator
            again.initiator = Recovering(level=2, tsih=known.tsih, cmd_sn=known.cmd_sn)
            again.initiator.keys = {"MaxRecvDataSegmentLength": "262144"}
            await again.login()
            again.initiator.agreed = {**known.agreed, **again.initiator.agreed}
            again.initiator.tasks[task.tag] = task
            again.initiator._tag = 100
            again.initiator.manage(Function.TASK_REASSIGN, task=task)
            await again.until(lambda: task.status is not None)
            assert task.status == 0 and task.data == bytes(65536)
            assert len(list(running.front.sessions())) == 1

    asyncio.run(story())


def test_initiators_are_asked_to_leave_a_portal_that_is_removed_and_a_target_that_moved(tmp_path: Path) -> None:
    async def story() -> None:
        running = make_engine(tmp_path)
        wanted = two_disks()
        other = Portal("127.0.0.2", 0)
        wanted.add_portal(IQN, other)
        wanted.allow(IQN, parse_access_rule("all"))
        await running.apply(wanted)
        clients = []
        for number, portal in enumerate(running.directory.targets[IQN].listening):
            reader, writer = await asyncio.open_connection(portal.address, portal.port)
            client = Client(reader, writer)
            client.initiator = Initiator(IQN, isid=bytes((0x80, 0, 0, 0, 0, number)))
            await client.login()
            assert client.initiator.full_feature
            clients.append(client)
        addresses = [portal.address for portal in running.directory.targets[IQN].listening]
        stays, goes = (clients[addresses.index(address)] for address in ("127.0.0.1", "127.0.0.2"))
        fewer = wanted.copy()
        fewer.remove_portal(IQN, other)
        await running.apply(fewer)
        await goes.until(lambda: bool(goes.initiator.answers(Opcode.ASYNC_MESSAGE)))
        goes.initiator.logout()
        await goes.closed()
        assert goes.ended and not stays.initiator.answers(Opcode.ASYNC_MESSAGE)
        moved = fewer.copy()
        moved.set_redirect(IQN, Portal("192.0.2.9"), False)
        await running.apply(moved)
        await stays.until(lambda: bool(stays.initiator.answers(Opcode.ASYNC_MESSAGE)))
        (message,) = stays.initiator.answers(Opcode.ASYNC_MESSAGE)
        assert message.fields.async_event == 1 and FREE in wanted.portals(IQN)  # RFC 7143 11.9.1: logout
        for client in clients:
            client.close()
        await end(running)

    asyncio.run(story())
