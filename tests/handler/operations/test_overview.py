from __future__ import annotations

import time
from pathlib import Path

import pytest

from handler.operations.overview import MOST_ADDRESSES
from tests.handler.daemon import Desk, run_desk

IQN = "iqn.2013-10.com.redhat"
HOST = "iqn.1994-05.com.redhat:cf75c8d4274d"


def test_status_counts_and_names_what_waits(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("disk.create", name="a", uri="memory:a", size="64K")
        await desk.do("disk.create", name="l", uri="memory:l", size="64K", front="lio")
        await desk.do("target.create", target=IQN)
        status = await desk.do("status")
        assert status["engine"] == {"disks": 1, "waiting": 0, "targets": 1, "sessions": 0}
        assert status["lio"] == {"disks": 1, "waiting": 0}
        assert status["targetcli"] == "off"
        assert "troubles" not in status
        lost = {"name": "lost", "plugin": "user", "config": f"gluster/file{tmp_path}/lost", "size": 65536, "wwn": "1"}
        wanted = desk.context.configuration.copy()
        wanted.root["storage_objects"].append(lost)
        await desk.context.change(wanted)
        status = await desk.do("status")
        assert status["engine"]["waiting"] == 1 and "disk lost waits" in status["troubles"][0]

    run_desk(tmp_path, scenario)


def test_status_names_the_addresses_with_the_most_failed_logins(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        assert "failed_logins" not in await desk.do("status")
        admission = desk.engine.front.admission
        for number in range(1, MOST_ADDRESSES + 3):
            for _ in range(number):
                assert admission.arrive(f"192.0.2.{number}", 0.0) == ""
                admission.failed(f"192.0.2.{number}", 0.0)
        failed = (await desk.do("status"))["failed_logins"]
        assert list(failed.items())[:2] == [("192.0.2.12", 12), ("192.0.2.11", 11)] and len(failed) == MOST_ADDRESSES

    run_desk(tmp_path, scenario)


def test_a_clock_that_is_set_back_does_not_change_how_long_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(desk: Desk) -> None:
        monkeypatch.setattr(time, "time", lambda: 0.0)
        assert 0 <= (await desk.do("status"))["up_seconds"] < 3600

    run_desk(tmp_path, scenario)


def test_status_without_lio_says_so(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        status = await desk.do("status")
        assert status["lio"] == "off" and "targetcli" not in status

    run_desk(tmp_path, scenario, lio=False)


def test_names_are_there_for_completion(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("disk.create", name="b", uri="memory:b", size="64K")
        await desk.do("disk.create", name="a", uri="memory:a", size="64K", front="lio")
        await desk.do("target.create", target=IQN)
        await desk.do("acl.allow", target=IQN, rule=HOST)
        assert (await desk.do("names", kind="disk"))["items"] == ["a", "b"]
        assert (await desk.do("names", kind="target"))["items"] == [IQN]
        assert (await desk.do("names", kind="initiator"))["items"] == [HOST]

    run_desk(tmp_path, scenario)


def test_nobody_was_turned_away_yet(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        assert (await desk.do("why-denied"))["items"] == []

    run_desk(tmp_path, scenario)
