"""A disk that targets show moves with them; an initiator finds what it had when it logs in again."""

from __future__ import annotations

import asyncio
import copy
import errno
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from handler.configuration import OURS
from tests.doubles.lio_host import LioDevice
from tests.handler.daemon import Desk, run_desk, until

IQN = "iqn.2013-10.com.redhat"
HOST = "iqn.1994-05.com.redhat:cf75c8d4274d"
OTHER = "iqn.1994-05.com.redhat:0123456789ab"
PASSWORD, BACK = "twelve-bytes-or-more", "another-twelve-bytes"
MIB = 1 << 20


def free_port() -> int:
    """A port that nobody has now: LIO has no port 0."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def show(desk: Desk, iqn: str = IQN, disk: str = "vm1", *, port: int = 0, make: bool = True) -> int:
    """A target with one LUN, number 4, that HOST sees as 7, with two kinds of passwords."""
    port = port or free_port()
    if make:
        await desk.do("disk.create", name=disk, uri=f"file://{desk.root}/{disk}", size="1M")
    await desk.do("target.create", target=iqn)
    await desk.do("portal.remove", target=iqn, portal="127.0.0.1:0")
    await desk.do("portal.add", target=iqn, portal=f"127.0.0.1:{port}")
    await desk.do("lun.map", target=iqn, disk=disk, lun=4)
    await desk.do("acl.allow", target=iqn, rule=OTHER)
    await desk.do("acl.allow", target=iqn, rule=HOST)
    await desk.do("acl.unmap", target=iqn, initiator=HOST, lun=4)
    await desk.do("acl.map", target=iqn, initiator=HOST, lun=4, shown_as=7, read_only=True)
    await desk.do("chap.set", target=iqn, user="all", password=PASSWORD)
    await desk.do("chap.set", target=iqn, initiator=HOST, user="own", password=BACK, mutual_user="tgt",
                  mutual_password=PASSWORD)  # fmt: skip
    return port


def whole(desk: Desk) -> Any:
    """Everything that a refused move must leave as it was."""
    return copy.deepcopy((
        desk.context.configuration.root, desk.saved(), sorted(desk.engine.disks), sorted(desk.lio.objects),
        desk.lio.targets.made, desk.lio.targets.asked, list(desk.world.disk_files.all()),
        {iqn: [str(portal) for portal in one.listening] for iqn, one in desk.directory.targets.items()},
        {name: disk.state for name, disk in desk.engine.disks.items()},
    ))  # fmt: skip


def saved_by_lio(desk: Desk) -> tuple[list[str], list[str]]:
    """What a reboot would bring back: (disks, targets)."""
    saved = json.loads(desk.lio.targets.saved.read_text())
    return sorted(one["name"] for one in saved["storage_objects"]), sorted(one["wwn"] for one in saved["targets"])


def test_a_shown_disk_moves_to_lio_and_back_with_all_that_initiators_see(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        port = await show(desk)
        before, root = await desk.do("disk.show", name="vm1"), copy.deepcopy(desk.context.configuration.root)
        said = await desk.do("disk.move", name="vm1", to="lio")
        assert IQN in said["now"] and said["warnings"] == []
        shown = await desk.do("disk.show", name="vm1")
        assert (shown["front"], shown["state"]) == ("lio", "online")
        assert (shown["serial"], shown["naa"]) == (before["serial"], before["naa"])
        assert desk.lio.objects["vm1"].serial == before["serial"]
        assert desk.engine.disks == {} and desk.directory.targets == {}
        assert desk.saved()["targets"] == [] and desk.saved()["storage_objects"] == []
        (group,) = desk.lio.targets.made[IQN]["tpgs"]
        assert group["portals"][0]["port"] == port and group["attributes"]["authentication"] == 1
        assert {lun["index"]: lun["storage_object"] for lun in group["luns"]} == {4: "/backstores/user/vm1"}
        acls = {acl["node_wwn"]: acl for acl in group["node_acls"]}
        assert [(m["index"], m["tpg_lun"], m["write_protect"]) for m in acls[HOST]["mapped_luns"]] == [(7, 4, True)]
        assert (acls[HOST]["chap_password"], acls[HOST]["chap_mutual_password"]) == (BACK, PASSWORD)
        assert (acls[OTHER]["chap_userid"], acls[OTHER]["chap_password"]) == ("all", PASSWORD), "LIO asks the ACL alone"
        saved = json.loads(desk.lio.targets.saved.read_text())
        assert [one["name"] for one in saved["storage_objects"]] == ["vm1"] and saved["targets"][0]["wwn"] == IQN

        await desk.do("disk.move", name="vm1", to="engine")
        assert desk.lio.objects == {} and desk.lio.targets.made == {}
        again = await desk.do("disk.show", name="vm1")
        assert (again["front"], again["state"]) == ("engine", "online")
        assert (again["serial"], again["naa"]) == (before["serial"], before["naa"])
        assert again["shown_by"] == [f"{IQN} LUN 4"]
        after = desk.context.configuration.root
        assert after["targets"] == root["targets"], "the target's password is the ACL's again by the target's alone"
        assert desk.saved() == after
        (target,) = desk.directory.targets.values()
        assert [portal.port for portal in target.listening] == [port]
        saved = json.loads(desk.lio.targets.saved.read_text())
        assert saved["storage_objects"] == [] and saved["targets"] == []

    run_desk(tmp_path, scenario)


def test_bytes_stay_also_those_in_memory(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("disk.create", name="m", uri="memory:moved", size="64K")
        backend = desk.engine.disks["m"].backend
        assert backend is not None
        backend.write(0, [memoryview(b"here" * 128)], False, lambda outcome: None)
        for to in ("lio", "engine"):
            await desk.do("disk.move", name="m", to=to)
            served = desk.devices.find("m") if to == "lio" else desk.engine.disks["m"]
            assert served is not None and served.backend is not None
            data = bytearray(4)
            served.backend.read(0, [memoryview(data)], lambda outcome: None)
            assert data == b"here"

    run_desk(tmp_path, scenario)


@pytest.mark.parametrize("how", ["attribute", "command"])
def test_a_cache_that_was_switched_off_stays_off(tmp_path: Path, how: str) -> None:
    """By LIO's emulate_write_cache, or by a host's MODE SELECT; back on LIO it is the kernel's attribute again."""

    async def scenario(desk: Desk) -> None:
        await desk.do("disk.create", name="c", uri=f"file://{tmp_path}/c", size="1M", front="lio")
        device = desk.devices.find("c")
        assert device is not None and device.unit is not None
        if how == "attribute":
            desk.host.reconfigure("c", write_cache=False)
            await until(lambda: device.unit is not None and not device.unit.modes.value(0x08, "wce"))
        else:
            device.unit.modes.put(0x08, "wce", 0)
        await desk.do("disk.move", name="c", to="engine")
        unit = desk.engine.disks["c"].unit
        assert unit is not None and not unit.modes.value(0x08, "wce") and unit.durable_writes
        assert desk.saved()["storage_objects"][0]["attributes"]["emulate_write_cache"] == 0
        await desk.do("disk.move", name="c", to="lio")
        assert desk.lio.objects["c"].attributes["emulate_write_cache"] == "0"
        desk.devices.find("c").unit.set_write_cache(True)
        await desk.do("disk.move", name="c", to="engine")
        unit = desk.engine.disks["c"].unit
        assert unit is not None and unit.modes.value(0x08, "wce") == 1
        assert desk.saved()["storage_objects"][0]["attributes"]["emulate_write_cache"] == 1

    run_desk(tmp_path, scenario)


def test_blocks_of_4096_bytes_stay_so_also_without_our_file(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("disk.create", name="big", uri=f"file://{tmp_path}/big", size="1M", front="lio",
                      block_size="4096")  # fmt: skip
        desk.world.disk_files.delete((await desk.do("disk.show", name="big"))["serial"])
        await desk.do("disk.move", name="big", to="engine")
        unit = desk.engine.disks["big"].unit
        assert unit is not None and unit.block_size_bytes == 4096
        assert "hw_block_size=4096" in desk.saved()["storage_objects"][0]["control"]
        await desk.do("disk.move", name="big", to="lio")
        assert "hw_block_size=4096" in desk.lio.objects["big"].control.split(",")

    run_desk(tmp_path, scenario)


def test_what_lio_had_for_a_disk_comes_back_with_it(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("disk.create", name="a", uri=f"file://{tmp_path}/a", size="1M", front="lio")
        made = desk.lio.objects["a"]
        made.control += ",max_data_area_mb=32"
        made.max_sectors, made.alua_groups = 2048, ["standby"]
        made.attributes["emulate_tpu"] = "0"
        await desk.do("disk.move", name="a", to="engine")
        await desk.do("disk.move", name="a", to="lio")
        again = desk.lio.objects["a"]
        assert "max_data_area_mb=32" in again.control and again.control.count("nl_reply_supported") == 1
        assert again.max_sectors == 2048 and again.attributes["emulate_tpu"] == "0"
        assert "standby" in again.alua_groups

    run_desk(tmp_path, scenario)


def test_what_shares_a_target_or_a_portal_moves_only_if_that_is_said(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        port = await show(desk)
        await desk.do("disk.create", name="vm2", uri=f"file://{tmp_path}/vm2", size="1M")
        await desk.do("lun.map", target=IQN, disk="vm2")
        await show(desk, f"{IQN}:third", "vm3", port=port)
        await show(desk, f"{IQN}:apart", "vm4")
        before = whole(desk)
        said = await desk.refused("disk.move", name="vm1", to="lio")
        assert "vm2, vm3" in said and f"{IQN}:third" in said and "--together" in said and "apart" not in said
        assert whole(desk) == before
        await desk.do("disk.move", name="vm1", to="lio", together=True)
        assert sorted(desk.lio.objects) == ["vm1", "vm2", "vm3"] and sorted(desk.engine.disks) == ["vm4"]
        steps = [line.split()[0] for line in desk.lio.targets.log]
        assert steps == ["put", "put", "listen", "listen"], "nobody finds a portal whose target is yet to come"
        assert "vm2, vm3" in await desk.refused("disk.move", name="vm1", to="engine")
        await desk.do("disk.move", name="vm3", to="engine", together=True)
        assert desk.lio.objects == {} and len(desk.directory.targets) == 3
        steps = [line.split()[0] for line in desk.lio.targets.log[4:]]
        assert steps == ["close", "close", "remove", "remove"]

    run_desk(tmp_path, scenario)


def _refuse_serving(desk: Desk) -> None:
    """The device appears, but its file can't be opened by then."""
    real, calls = desk.world.open, [0]

    def open_(*args: Any, **more: Any) -> Any:
        calls[0] += 1
        if calls[0] == 1:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
        return real(*args, **more)

    desk.world.open = open_


TO_LIO = {
    "a backstore can't be made": lambda desk: desk.lio.faults.update(create=errno.EINVAL),
    "its file can't be opened there": _refuse_serving,
    "a target can't be made": lambda desk: desk.lio.targets.faults.update(put=0),
    "the second target can't be made": lambda desk: desk.lio.targets.faults.update(put=1),
    "a portal can't be opened": lambda desk: desk.lio.targets.faults.update(listen=0),
    "the second portal can't be opened": lambda desk: desk.lio.targets.faults.update(listen=1),
    "a LUN is not there afterwards": lambda desk: setattr(
        desk.lio.targets, "lose", lambda made: made["tpgs"][0]["luns"].clear()
    ),
    "a password is not there afterwards": lambda desk: setattr(
        desk.lio.targets, "lose", lambda made: made["tpgs"][0]["node_acls"][0].pop("chap_password")
    ),
    "LIO's saved configuration is spoilt": lambda desk: _spoil(desk),
    "the state can't be saved": lambda desk: setattr(desk.state, "save", _fail),
    "the state can't be saved at the end": lambda desk: _save_once(desk),
}


def _spoil(desk: Desk) -> None:
    desk.lio.targets.saved.parent.mkdir(exist_ok=True)
    desk.lio.targets.saved.write_text("spoilt")


def _save_once(desk: Desk) -> None:
    """The second time the disk is full, and the third time it isn't."""
    real, calls = desk.state.save, [0]

    def save(root: dict[str, Any]) -> None:
        calls[0] += 1
        if calls[0] == 2:
            _fail()
        real(root)

    desk.state.save = save


def _fail(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("fault", TO_LIO)
def test_a_move_to_lio_that_fails_leaves_everything_as_it_was(tmp_path: Path, fault: str) -> None:
    async def scenario(desk: Desk) -> None:
        port = await show(desk)
        await show(desk, f"{IQN}:second", "vm2", port=port)
        await desk.do("chap.set", discovery=True, user="who", password=PASSWORD)
        before = whole(desk)
        TO_LIO[fault](desk)
        await desk.refused("disk.move", name="vm1", to="lio", together=True)
        desk.world.open = type(desk.world).open
        assert whole(desk) == before
        if desk.lio.targets.saved.exists() and "spoilt" not in fault:
            assert saved_by_lio(desk) == ([], [])
        await until(lambda: not desk.devices.devices)

    run_desk(tmp_path, scenario)


TO_ENGINE = {
    "a portal can't be closed": lambda desk: desk.lio.targets.faults.update(close=1),
    "a target can't be taken away": lambda desk: desk.lio.targets.faults.update(remove=0),
    "the second target can't be taken away": lambda desk: desk.lio.targets.faults.update(remove=1),
    "the file can't be opened here": _refuse_serving,
    "LIO's saved configuration is spoilt": lambda desk: _spoil(desk),
    "the state can't be saved": lambda desk: setattr(desk.state, "save", _fail),
    "the state can't be saved at the end": lambda desk: _save_once(desk),
}


@pytest.mark.parametrize("fault", TO_ENGINE)
def test_a_move_to_the_engine_that_fails_leaves_everything_as_it_was(tmp_path: Path, fault: str) -> None:
    async def scenario(desk: Desk) -> None:
        port = await show(desk)
        await show(desk, f"{IQN}:second", "vm2", port=port)
        await desk.do("disk.move", name="vm1", to="lio", together=True)
        before = whole(desk)
        TO_ENGINE[fault](desk)
        await desk.refused("disk.move", name="vm1", to="engine", together=True)
        desk.world.open = type(desk.world).open
        assert whole(desk) == before
        if "spoilt" not in fault:
            assert saved_by_lio(desk) == (["vm1", "vm2"], [IQN, f"{IQN}:second"])
        for name in ("vm1", "vm2"):
            assert (await desk.do("disk.show", name=name))["state"] == "online"

    run_desk(tmp_path, scenario)


def test_a_portal_that_somebody_else_has_by_then_brings_the_disk_back_to_lio(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        port = await show(desk)
        await desk.do("disk.move", name="vm1", to="lio")
        before = whole(desk)
        with socket.socket() as somebody:
            somebody.bind(("127.0.0.1", port))
            somebody.listen()
            said = await desk.refused("disk.move", name="vm1", to="engine")
        assert str(port) in said
        assert whole(desk) == before
        assert (await desk.do("disk.show", name="vm1"))["state"] == "online"

    run_desk(tmp_path, scenario)


def test_what_can_not_be_said_to_lio_is_refused_before_anything_happens(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await show(desk)

        async def refusal(undo: tuple[str, dict[str, Any]], op: str, **args: Any) -> str:
            await desk.do(op, **args)
            before = whole(desk)
            said = await desk.refused("disk.move", name="vm1", to="lio")
            assert whole(desk) == before
            await desk.do(undo[0], **undo[1])
            return said

        net = {"target": IQN, "rule": "10.0.0.0/8"}
        assert "by address" in await refusal(("acl.deny", net), "acl.allow", **net)
        away = ("target.redirect", {"target": IQN})
        assert "elsewhere" in await refusal(away, "target.redirect", target=IQN, portal="127.0.0.9:3260")
        best = ("target.alua", {"target": IQN, "state": "optimized"})
        assert "ALUA" in await refusal(best, "target.alua", target=IQN, state="standby")
        free = {"target": IQN, "portal": "127.0.0.1:0"}
        assert "needs its number" in await refusal(("portal.remove", free), "portal.add", **free)
        await desk.do("disk.create", name="p", uri="memory:p", size="64K")
        await desk.do("lun.map", target=IQN, disk="p", lun=9, initiator=HOST)
        await desk.do("acl.allow", target=IQN, rule="all")
        assert "LUN 9" in await desk.refused("disk.move", name="p", to="lio", together=True)
        short = {"target": IQN, "user": "all", "password": "short"}
        await desk.do("lun.unmap", target=IQN, lun=9)
        assert "a password that the engine does not" in await refusal(
            ("chap.set", {**short, "password": PASSWORD}), "chap.edit", **short
        )
        desk.lio.targets.made[IQN] = {"wwn": IQN, "tpgs": []}
        assert "already" in await desk.refused("disk.move", name="vm1", to="lio")

    run_desk(tmp_path, scenario)


def test_what_the_engine_can_not_serve_stays_on_lio(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await show(desk)
        await desk.do("disk.move", name="vm1", to="lio")
        lio = desk.lio.targets
        good = copy.deepcopy(lio.made[IQN])

        async def refusal(**spoilt: Any) -> str:
            lio.made[IQN]["tpgs"][0].update(copy.deepcopy(spoilt))
            before = whole(desk)
            said = await desk.refused("disk.move", name="vm1", to="engine")
            assert whole(desk) == before
            lio.made[IQN] = copy.deepcopy(good)
            return said

        group = good["tpgs"][0]
        assert "iSER" in await refusal(portals=[{**group["portals"][0], "iser": True}])
        assert "LUN 300" in await refusal(luns=[{**group["luns"][0], "index": 300}])
        foreign = {"index": 1, "storage_object": "/backstores/fileio/theirs"}
        assert "/backstores/fileio/theirs" in await refusal(luns=[*group["luns"], foreign])
        odd = {**group["node_acls"][0], "attributes": {"authentication": 0}}
        assert "unlike the others" in await refusal(node_acls=[odd])
        lio.others = {"/backstores/user/vm1": "loopback naa.5001405aa"}
        assert "loopback" in await refusal()
        lio.others, lio.registrations = {}, {"vm1"}
        assert "persistent reservations" in await refusal()
        lio.registrations = set()
        lio.made[IQN]["tpgs"].append(copy.deepcopy(group))
        assert "2 portal groups" in await desk.refused("disk.move", name="vm1", to="engine")

    run_desk(tmp_path, scenario)


def test_a_disk_that_is_reserved_or_waits_does_not_move(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("disk.create", name="r", uri=f"file://{tmp_path}/r", size="1M")
        disk = desk.engine.disks["r"]
        assert disk.unit is not None
        disk.unit.reserved.state = copy.copy(disk.unit.reserved.state)
        object.__setattr__(disk.unit.reserved.state, "keys", {("somebody", 1): 7})
        assert "persistent reservations" in await desk.refused("disk.move", name="r", to="lio")
        unit, disk.unit, disk.reason = disk.unit, None, "the volume is gone"
        assert "the volume is gone" in await desk.refused("disk.move", name="r", to="lio")
        disk.unit = unit

    run_desk(tmp_path, scenario)


def test_a_file_longer_than_lio_shows_would_make_another_disk(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("disk.create", name="s", uri=f"file://{tmp_path}/s", size="1M", front="lio")
        device = desk.devices.find("s")
        assert device is not None and device.backend is not None
        device.backend.size_bytes = 2 * MIB
        assert "disk resize s" in await desk.refused("disk.move", name="s", to="engine")

    run_desk(tmp_path, scenario)


def test_discoverys_password_goes_along_if_nobody_else_is_there(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await show(desk)
        await desk.do("chap.set", discovery=True, user="who", password=PASSWORD)
        await desk.do("disk.move", name="vm1", to="lio")
        assert desk.lio.targets.asked["discovery_password"] == PASSWORD
        assert desk.lio.targets.asked["discovery_enable_auth"] is True
        await desk.do("chap.clear", discovery=True)
        await desk.do("disk.move", name="vm1", to="engine")
        assert desk.directory.discovery is not None, "the engine had no target, so it asks what LIO asked"
        desk.lio.targets.made["iqn.2013-10.com.redhat:theirs"] = {"wwn": "iqn.2013-10.com.redhat:theirs", "tpgs": []}
        desk.lio.targets.asked = {"name": "iscsi", "discovery_enable_auth": False}
        said = await desk.do("disk.move", name="vm1", to="lio")
        assert any("discovery" in sentence for sentence in said["warnings"])
        assert desk.lio.targets.asked["discovery_enable_auth"] is False, "it is not ours alone to change"

    run_desk(tmp_path, scenario)


def test_luns_for_some_and_the_number_of_a_target_come_back(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("target.create", target=f"{IQN}:first")
        port = await show(desk)
        await desk.do("target.delete", target=f"{IQN}:first")
        await desk.do("disk.create", name="p", uri=f"file://{tmp_path}/p", size="64K")
        await desk.do("lun.map", target=IQN, disk="p", lun=9, initiator=HOST)
        ours = copy.deepcopy(desk.context.configuration.root[OURS])
        assert ours["private_luns"] == {IQN: [9]} and ours["tids"] == {IQN: 2}
        await desk.do("disk.move", name="p", to="lio", together=True)
        await desk.do("target.create", target=f"{IQN}:meanwhile", tid=1)
        await desk.do("disk.move", name="p", to="engine", together=True)
        after = desk.context.configuration.root[OURS]
        assert after["private_luns"] == {IQN: [9]} and after["tids"][IQN] == 2 and port

    run_desk(tmp_path, scenario)


def test_progress_and_who_is_asked(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("disk.create", name="a", uri=f"file://{tmp_path}/a", size="1M")
        assert not (await desk.do("disk.move", name="a", to="engine"))["changed"]
        await desk.do("disk.move", name="a", to="lio")
        assert desk.progress[-1]["what"] == "moving disk a"
        assert "no disk 'b'" in await desk.refused("disk.move", name="b", to="lio")

    run_desk(tmp_path, scenario)


def test_without_lio_there_is_nowhere_to_move_to(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("disk.create", name="a", uri="memory:a", size="64K")
        assert "no LIO" in await desk.refused("disk.move", name="a", to="lio")

    run_desk(tmp_path, scenario, lio=False)


def test_nobody_is_served_by_both_fronts(tmp_path: Path) -> None:
    """While LIO opens the file it is closed here, and the other way round."""

    async def scenario(desk: Desk) -> None:
        await show(desk)
        real, held = desk.world.open, list[Any]()

        def open_(*args: Any, **more: Any) -> Any:
            assert all(one.closed for one in held), "two at a time"
            backend, close = real(*args, **more), None
            backend.closed = False
            close = backend.close

            def closed() -> None:
                backend.closed = True
                close()

            backend.close = closed
            held.append(backend)
            return backend

        first = desk.engine.disks["vm1"].backend
        assert first is not None
        first.closed = False
        close = first.close

        def closed() -> None:
            first.closed = True
            close()

        first.close = closed
        held.append(first)
        desk.world.open = open_
        for to in ("lio", "engine", "lio"):
            await desk.do("disk.move", name="vm1", to=to)
        assert len(held) == 4
        await asyncio.sleep(0)

    run_desk(tmp_path, scenario)


def test_the_double_of_a_device_is_what_lio_would_show(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("disk.create", name="a", uri=f"file://{tmp_path}/a", size="1M", front="lio", write_cache="off")
        device: LioDevice = desk.host.devices["a"]
        assert device.read("attrib/emulate_write_cache") == "0"

    run_desk(tmp_path, scenario)
