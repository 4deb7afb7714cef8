from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.alua import AccessState
from tcmu_gluster.scsi.sense import Asc
from tests.doubles.host import Host
from tests.handler.daemon import Desk, run_desk

IQN = "iqn.2013-10.com.redhat"
HOST = "iqn.1994-05.com.redhat:cf75c8d4274d"


async def with_disks(desk: Desk) -> None:
    for name in ("a", "b"):
        await desk.do("disk.create", name=name, uri=f"memory:{name}", size="1M")
    await desk.do("target.create", target=IQN)


def test_a_target_is_made_listed_and_deleted(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        made = await desk.do("target.create", target=IQN)
        assert made["changed"] and "nobody may log in" in made["now"]
        assert not (await desk.do("target.create", target=IQN))["changed"]
        (listed,) = (await desk.do("target.list"))["items"]
        assert listed["target"] == IQN and listed["allowed"] == [] and listed["sessions"] == 0
        shown = await desk.do("target.show", target=IQN)
        (portal,) = shown["listening"]
        with socket.create_connection(("127.0.0.1", int(portal.rpartition(":")[2])), 5):
            pass
        assert (await desk.do("target.delete", target=IQN))["changed"]
        assert not (await desk.do("target.delete", target=IQN))["changed"]
        assert desk.saved()["targets"] == []
        try:
            socket.create_connection(("127.0.0.1", int(portal.rpartition(":")[2])), 5).close()
        except ConnectionRefusedError:
            return
        raise AssertionError("nobody listens any more")

    run_desk(tmp_path, scenario)


def test_a_name_is_made_up_if_there_is_none(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        first, second = [(await desk.do("target.create"))["target"] for _ in range(2)]
        assert first != second and first.startswith("iqn.2003-01.org.linux-iscsi.")

    run_desk(tmp_path, scenario)


def test_luns_are_mapped_and_unmapped_at_run_time(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await with_disks(desk)
        assert (await desk.do("lun.map", target=IQN, disk="a"))["lun"] == 0
        assert (await desk.do("lun.map", target=IQN, disk="b", lun=5))["changed"]
        again = await desk.do("lun.map", target=IQN, disk="b", lun=5)
        assert not again["changed"] and again["now"].startswith("already so")
        target = desk.directory.targets[IQN].target
        assert {lun: unit.backend.uri for lun, unit in target.luns.items()} == {0: "memory:a", 5: "memory:b"}
        shown = (await desk.do("target.show", target=IQN))["luns"]
        assert shown == [{"lun": 0, "disk": "a", "state": "online"}, {"lun": 5, "disk": "b", "state": "online"}]
        assert (await desk.do("lun.unmap", target=IQN, lun=0))["changed"]
        assert not (await desk.do("lun.unmap", target=IQN, lun=0))["changed"]
        assert set(target.luns) == {5}

    run_desk(tmp_path, scenario)


def test_a_lun_for_one_initiator(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await with_disks(desk)
        assert "acl allow" in await desk.refused("lun.map", target=IQN, disk="a", initiator=HOST)
        await desk.do("acl.allow", target=IQN, rule=HOST)
        await desk.do("lun.map", target=IQN, disk="a", initiator=HOST)
        view, protected = desk.engine.view_of(IQN, HOST)
        assert view is None and protected == []
        other = "iqn.2001-04.com.example"
        await desk.do("acl.allow", target=IQN, rule=other)
        await desk.do("lun.unmap", target=IQN, lun=0, initiator=other)
        assert desk.engine.view_of(IQN, other) == ({}, [])

    run_desk(tmp_path, scenario)


def test_a_lun_that_an_initiator_does_not_see_is_gone_already(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("disk.create", name="a", uri="memory:a", size="1M")
        await desk.do("target.create", target=IQN)
        await desk.do("acl.allow", target=IQN, rule=HOST)
        await desk.do("lun.map", target=IQN, disk="a")
        assert (await desk.do("lun.unmap", target=IQN, lun=0, initiator=HOST))["changed"]
        again = await desk.do("lun.unmap", target=IQN, lun=0, initiator=HOST)
        assert not again["changed"] and HOST in again["now"]

    run_desk(tmp_path, scenario)


def test_lios_disks_are_mapped_by_targetcli(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await with_disks(desk)
        await desk.do("disk.create", name="l", uri="memory:l", size="1M", front="lio")
        assert "targetcli" in await desk.refused("lun.map", target=IQN, disk="l")
        assert "no disk 'x'" in await desk.refused("lun.map", target=IQN, disk="x")
        assert "no target" in await desk.refused("lun.map", target="iqn.2001-04.com.example", disk="a")

    run_desk(tmp_path, scenario)


def test_portals_are_opened_and_closed(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("target.create", target=IQN)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            said = await desk.refused("portal.add", target=IQN, portal=f"127.0.0.1:{port}")
            assert "in use" in said
            assert len((await desk.do("target.show", target=IQN))["portals"]) == 1, "nothing was changed"
        assert (await desk.do("portal.add", target=IQN, portal=f"127.0.0.1:{port}"))["changed"]
        assert not (await desk.do("portal.add", target=IQN, portal=f"127.0.0.1:{port}"))["changed"]
        socket.create_connection(("127.0.0.1", port), 5).close()
        assert (await desk.do("portal.remove", target=IQN, portal=f"127.0.0.1:{port}"))["changed"]
        assert not (await desk.do("portal.remove", target=IQN, portal=f"127.0.0.1:{port}"))["changed"]
        assert f"127.0.0.1:{port}" not in (await desk.do("target.show", target=IQN))["listening"]
        (last,) = (await desk.do("target.show", target=IQN))["portals"]
        assert "nobody reaches it" in (await desk.do("portal.remove", target=IQN, portal=last))["warnings"][0]

    run_desk(tmp_path, scenario)


@pytest.mark.parametrize("transport, word", [("iser", "iSER"), ("fcoe", "FCoE")])
def test_fabrics_that_need_the_kernel_are_refused_in_one_sentence(tmp_path: Path, transport: str, word: str) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("target.create", target=IQN)
        said = await desk.refused("portal.add", target=IQN, portal="127.0.0.1:0", transport=transport)
        assert said.startswith(f"{word} needs LIO") and "disk move" in said
        assert len((await desk.do("target.show", target=IQN))["portals"]) == 1
        assert (await desk.do("portal.add", target=IQN, portal="127.0.0.1:0", transport="tcp"))["now"]

    run_desk(tmp_path, scenario)


def test_initiators_are_sent_elsewhere_and_back(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("target.create", target=IQN)
        assert (await desk.do("target.redirect", target=IQN, portal="192.0.2.9"))["changed"]
        shown = desk.engine.directory.targets[IQN]
        assert shown.redirect == ("192.0.2.9:3260", False)
        assert not (await desk.do("target.redirect", target=IQN, portal="192.0.2.9:3260"))["changed"]
        assert (await desk.do("target.redirect", target=IQN, portal="192.0.2.9", permanent=True))["changed"]
        facts = (await desk.do("target.show", target=IQN))["redirect"]
        assert facts == {"portal": "192.0.2.9:3260", "permanent": True}
        assert "portal" in await desk.refused("target.redirect", target=IQN, permanent=True)
        assert (await desk.do("target.redirect", target=IQN))["changed"] and shown.redirect is None
        assert "redirect" not in await desk.do("target.show", target=IQN)

    run_desk(tmp_path, scenario)


def test_how_good_a_target_s_paths_are_is_said_to_hosts_kept_and_taken_back(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await with_disks(desk)
        await desk.do("lun.map", target=IQN, disk="a")
        host = Host(desk.directory.targets[IQN].target, HOST, attach=True)
        assert host.run(cdb.TEST_UNIT_READY.pack()).asc == Asc.POWER_ON_OCCURRED
        assert "optimized" in await desk.refused("target.alua", target=IQN, state="good")
        assert (await desk.do("target.alua", target=IQN, state="standby"))["changed"]
        assert host.run(cdb.TEST_UNIT_READY.pack()).asc == Asc.ASYMMETRIC_ACCESS_STATE_CHANGED
        assert host.run(cdb.READ_10.pack(transfer_length=1)).asc == Asc.TARGET_PORT_IN_STANDBY_STATE
        assert (await desk.do("target.show", target=IQN))["alua"] == "standby"
        assert desk.saved()["tcmu_gluster"]["alua"] == {IQN: "standby"}
        again = await desk.do("target.alua", target=IQN, state="standby")
        assert not again["changed"] and again["now"].startswith("already so")
        await desk.do("lun.map", target=IQN, disk="b", lun=1)
        assert host.run(cdb.TEST_UNIT_READY.pack()).asc == Asc.REPORTED_LUNS_DATA_CHANGED
        assert host.run(cdb.TEST_UNIT_READY.pack(), lun=1).asc == Asc.POWER_ON_OCCURRED  # the rest it knows (LUICLR)
        late = host.run(cdb.READ_10.pack(transfer_length=1), lun=1)
        assert late.asc == Asc.TARGET_PORT_IN_STANDBY_STATE
        assert (await desk.do("target.alua", target=IQN, state="optimized"))["changed"]
        assert desk.saved()["tcmu_gluster"]["alua"] == {}

    run_desk(tmp_path, scenario)


def test_what_a_host_set_since_stays_until_the_command_says_it_again(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await with_disks(desk)
        await desk.do("lun.map", target=IQN, disk="a")
        host = Host(desk.directory.targets[IQN].target, HOST, attach=True)
        host.run(cdb.TEST_UNIT_READY.pack())
        offline = bytes(4) + b"\3\0\0\1"  # group 1 is unavailable
        assert host.run(cdb.SET_TARGET_PORT_GROUPS.pack(parameter_list_length=8), offline).good
        await desk.do("lun.map", target=IQN, disk="b", lun=1)
        (a, b) = (await desk.do("target.show", target=IQN))["luns"]
        assert a["alua"] == "unavailable" and "alua" not in b
        assert (await desk.do("target.alua", target=IQN, state="optimized"))["changed"]
        assert "alua" not in (await desk.do("target.show", target=IQN))["luns"][0]

    run_desk(tmp_path, scenario)


def test_a_target_s_alua_state_outlives_a_restart(tmp_path: Path) -> None:
    async def first(desk: Desk) -> None:
        await desk.do("target.create", target=IQN)
        await desk.do("target.alua", target=IQN, state="non-optimized")

    async def second(desk: Desk) -> None:
        await desk.do("restore")
        assert desk.directory.targets[IQN].target.access is AccessState.ACTIVE_NON_OPTIMIZED

    run_desk(tmp_path, first)
    run_desk(tmp_path, second)
