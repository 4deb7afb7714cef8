from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.handler.daemon import Desk, run_desk, until
from tests.handler.engine import Client

IQN = "iqn.2026-01.example:target"
HOST = "iqn.1994-05.com.redhat:cf75c8d4274d"


async def log_in(desk: Desk) -> Client:
    import asyncio

    (portal,) = desk.directory.targets[IQN].listening
    client = Client(*await asyncio.open_connection(portal.address, portal.port))
    await client.login()
    return client


async def prepared(desk: Desk) -> None:
    await desk.do("disk.create", name="a", uri="memory:a", size="1M")
    await desk.do("target.create", target=IQN)
    await desk.do("lun.map", target=IQN, disk="a")


def test_sessions_are_listed_shown_and_closed(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await prepared(desk)
        await desk.do("acl.allow", target=IQN, rule="all")
        assert (await desk.do("session.list"))["items"] == []
        client = await log_in(desk)
        (session,) = (await desk.do("session.list", target=IQN))["items"]
        assert session["target"] == IQN and session["address"] == "127.0.0.1"
        shown = await desk.do("session.show", id=session["id"])
        assert shown["initiator"] == session["initiator"] and len(shown["connections"]) == 1
        assert (await desk.do("status"))["engine"]["sessions"] == 1
        await desk.do("session.close", id=session["id"])
        await client.until(lambda: False)
        assert client.ended
        await until(lambda: not list(desk.engine.sessions()))
        assert "no session 99" in await desk.refused("session.show", id=99)

    run_desk(tmp_path, scenario)


def test_whoever_is_turned_away_is_remembered_with_the_way_in(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await prepared(desk)
        client = await log_in(desk)
        assert client.initiator.login_status not in (None, 0)
        (denial,) = (await desk.do("why-denied"))["items"]
        assert denial["target"] == IQN and denial["address"] == "127.0.0.1"
        assert f"acl allow {IQN}" in denial["reason"]

    run_desk(tmp_path, scenario)


def test_a_session_ends_when_its_permission_is_taken_back(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await prepared(desk)
        await desk.do("acl.allow", target=IQN, rule="127.0.0.0/8")
        client = await log_in(desk)
        assert client.initiator.full_feature
        await desk.do("acl.deny", target=IQN, rule="127.0.0.0/8")
        await client.until(lambda: False)
        assert client.ended

    run_desk(tmp_path, scenario)


def test_a_written_block_is_read_back_over_tcp(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await prepared(desk)
        await desk.do("acl.allow", target=IQN, rule="all")
        client = await log_in(desk)
        await client.scsi(bytes(6))  # POWER ON OCCURRED is taken
        written: Any = await client.scsi(bytes([0x2A, 0, 0, 0, 0, 1, 0, 0, 1, 0]), data_out=b"x" * 512)
        assert written.status == 0
        read: Any = await client.scsi(bytes([0x28, 0, 0, 0, 0, 1, 0, 0, 1, 0]), read=512)
        assert read.status == 0

    run_desk(tmp_path, scenario)
