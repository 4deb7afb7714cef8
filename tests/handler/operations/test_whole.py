from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest

from handler.configuration import Configuration
from handler.operations.whole import convert, convert_disk, taken_over
from tcmu_gluster.control.operations import UsageError
from tcmu_gluster.errors import ConfigError
from tcmu_gluster.scsi.alua import AccessState
from tests.handler.daemon import Desk, run_desk

IQN = "iqn.2013-10.com.redhat"
HOST = "iqn.1994-05.com.redhat:cf75c8d4274d"

# In the form of rtslib's dump() (rtslib_fb tcm.py, target.py), shortened.
LIOS = {
    "fabric_modules": [],
    "storage_objects": [
        {"attributes": {}, "config": "gluster/memory/vm1?size=1M", "control": "hw_block_size=512", "name": "vm1",
         "hw_max_sectors": 128, "plugin": "user", "size": 1048576, "wwn": "8e9b7af7-8786-f09b-0fd5-8deb53848a26"},
        {"aio": False, "attributes": {}, "dev": "@DEV@", "name": "file1", "plugin": "fileio", "size": 65536,
         "write_back": True, "wwn": "0a3aa6ae-4b0a-4f8c-9f63-7c0f0a1d2c3b"},
        {"attributes": {}, "name": "ram1", "plugin": "ramdisk", "size": 65536, "nullio": False,
         "wwn": "1b3aa6ae-4b0a-4f8c-9f63-7c0f0a1d2c3b"},
        {"attributes": {}, "config": "glfs/vol@host/x", "name": "theirs", "plugin": "user", "size": 65536, "wwn": "2"},
        {"attributes": {}, "dev": "/dev/sg0", "name": "tape", "plugin": "pscsi", "wwn": "3"},
    ],
    "targets": [
        {"fabric": "iscsi", "wwn": IQN, "parameters": {}, "tpgs": [{
            "attributes": {"authentication": 0, "generate_node_acls": 0, "demo_mode_write_protect": 1},
            "enable": True, "tag": 1, "parameters": {"MaxConnections": "1"},
            "luns": [
                {"alias": "a1", "alua_tg_pt_gp_name": "default_tg_pt_gp", "index": 0,
                 "storage_object": "/backstores/user/vm1"},
                {"alias": "a2", "alua_tg_pt_gp_name": "default_tg_pt_gp", "index": 1,
                 "storage_object": "/backstores/fileio/file1"},
                {"alias": "a3", "alua_tg_pt_gp_name": "default_tg_pt_gp", "index": 2,
                 "storage_object": "/backstores/pscsi/tape"},
            ],
            "node_acls": [{"attributes": {}, "node_wwn": HOST, "mapped_luns": [
                {"alias": "m1", "index": 0, "tpg_lun": 0, "write_protect": False},
                {"alias": "m2", "index": 3, "tpg_lun": 1, "write_protect": True}]}],
            "portals": [{"ip_address": "127.0.0.1", "iser": False, "offload": False, "port": 0}],
        }]},
        {"fabric": "loopback", "wwn": "naa.5001405aa", "tpgs": []},
    ],
}  # fmt: skip


OF_TARGETS = ("alua", "networks", "private_luns", "redirects", "tids", "portals", "accounts")
"""What stands under our own key about targets, and tgtadm's words (handler/configuration.py)."""


async def fill(desk: Desk) -> None:
    """Something under each key of ours: LUN 4 is for HOST alone."""
    await desk.do("disk.create", name="a", uri="memory:a", size="64K")
    await desk.do("target.create", target=IQN)
    await desk.do("acl.allow", target=IQN, rule=HOST)
    await desk.do("acl.allow", target=IQN, rule="10.0.0.0/8")
    await desk.do("lun.map", target=IQN, disk="a", lun=4, initiator=HOST)
    await desk.do("target.redirect", target=IQN, portal="127.0.0.9:3260")
    await desk.do("target.alua", target=IQN, state="standby")
    await desk.do("tgt.account", user="u", password="twelve-bytes-or-more")
    await desk.do("tgt.portal", portal="127.0.0.1:0")


def lios(tmp_path: Path) -> Any:
    (tmp_path / "file1").write_bytes(bytes(65536))
    return json.loads(json.dumps(LIOS).replace("@DEV@", str(tmp_path / "file1")))


def test_lios_file_is_restored_into_the_engine(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        file = tmp_path / "lio.json"
        file.write_text(json.dumps(lios(tmp_path)))
        result = await desk.do("restore", file=str(file), source="lio")
        assert result["changed"]
        sentences = "\n".join(result["warnings"])
        assert "theirs" in sentences and "tape" in sentences and "loopback" in sentences and "LUN 2" in sentences
        disks = {one["name"]: (one["state"], one["size_bytes"]) for one in (await desk.do("disk.list"))["items"]}
        assert disks == {"vm1": ("online", 1 << 20), "file1": ("online", 65536), "ram1": ("online", 65536)}
        shown = await desk.do("disk.show", name="vm1")
        assert shown["serial"] == "8e9b7af7-8786-f09b-0fd5-8deb53848a26"
        assert shown["naa"] == "60014058e9b7af78786f09b0fd58deb5", "the NAA that LIO derives from that serial"
        view, protected = desk.engine.view_of(IQN, HOST)
        assert view is not None and {lun: unit.backend.uri for lun, unit in view.items()} == {
            0: "memory:vm1", 3: f"file://{tmp_path}/file1",
        }  # fmt: skip
        assert protected == [3]
        again = await desk.do("restore", file=str(file), source="lio")
        assert not again["changed"]

    run_desk(tmp_path, scenario)


def test_a_copy_takes_the_place_of_a_regular_file_alone(tmp_path: Path) -> None:
    """By its name a device, too, can be renamed over: `save /dev/null` would leave the host without one."""

    async def scenario(desk: Desk) -> None:
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "link").symlink_to(tmp_path / "pipe")
        for name in ("pipe", "link"):
            assert "is no regular file" in await desk.refused("save", file=str(tmp_path / name))
        assert (tmp_path / "pipe").is_fifo() and (tmp_path / "link").is_symlink()
        assert "is no regular file" in await desk.refused("save", file=str(tmp_path))
        (tmp_path / "copy").write_text("an older one")
        await desk.do("save", file=str(tmp_path / "copy"))
        assert json.loads((tmp_path / "copy").read_text())["targets"] == []

    run_desk(tmp_path, scenario)


def test_who_wrote_a_file_is_seen_from_it(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        (tmp_path / "theirs.json").write_text('{"storage_objects": [], "targets": []}')
        said = await desk.refused("restore", file=str(tmp_path / "theirs.json"), source="engine")
        assert "was not written by the engine" in said and "--from" in said
        await desk.do("save", file=str(tmp_path / "ours.json"))
        await desk.do("restore", file=str(tmp_path / "ours.json"), source="engine")

    run_desk(tmp_path, scenario)


def test_our_own_save_is_restored_as_it_was(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("disk.create", name="a", uri=f"file://{tmp_path}/a", size="1M")
        await desk.do("target.create", target=IQN)
        await desk.do("lun.map", target=IQN, disk="a", lun=4)
        await desk.do("acl.allow", target=IQN, rule="10.0.0.0/8")
        file = tmp_path / "copy.json"
        await desk.do("save", file=str(file))
        before = copy.deepcopy(desk.context.configuration.root)
        said = await desk.do("clear", confirm=True)
        assert said["changed"] and desk.engine.disks == {} and desk.directory.targets == {}
        assert (tmp_path / "a").exists()
        assert not (await desk.do("clear", confirm=True))["changed"]
        await desk.do("restore", file=str(file))
        assert desk.context.configuration.root == before == desk.saved()
        assert desk.engine.disks["a"].state == "online"

    run_desk(tmp_path, scenario)


def test_clear_forgets_everything_that_spoke_of_targets(tmp_path: Path) -> None:
    """A target of the same name that is made later is a new one: nobody's LUN, address, redirect or password waits."""

    async def scenario(desk: Desk) -> None:
        await fill(desk)
        ours = desk.context.configuration.root["tcmu_gluster"]
        ours["of_a_later_version"] = {"kept": True}
        assert all(ours[key] for key in OF_TARGETS), "each of them holds something before"
        await desk.do("clear", confirm=True)
        assert desk.saved()["tcmu_gluster"] == {
            "version": 1, "of_a_later_version": {"kept": True}, **{key: type(ours[key])() for key in OF_TARGETS}
        }  # fmt: skip
        await desk.do("target.create", target=IQN)
        await desk.do("disk.create", name="b", uri="memory:b", size="64K")
        await desk.do("lun.map", target=IQN, disk="b", lun=4)
        assert desk.context.configuration.redirect(IQN) is None
        assert desk.directory.targets[IQN].target.access is AccessState.ACTIVE_OPTIMIZED
        assert desk.context.configuration.visible_luns(IQN, "iqn.2000-01.org:else") == {4: ("b", True)}
        assert (await desk.do("tgt.show"))["accounts"] == []

    run_desk(tmp_path, scenario)


def test_clear_of_accounts_and_portals_alone_is_a_change(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("tgt.account", user="u", password="twelve-bytes-or-more")
        assert (await desk.do("clear", confirm=True))["changed"]
        assert desk.saved()["tcmu_gluster"]["accounts"] == {}
        assert not (await desk.do("clear", confirm=True))["changed"]

    run_desk(tmp_path, scenario)


def test_a_restore_beside_others_brings_all_that_belongs_to_its_targets(tmp_path: Path) -> None:
    """A LUN that one initiator alone may see must not come back as everybody's."""

    async def scenario(desk: Desk) -> None:
        await fill(desk)
        before = copy.deepcopy(desk.context.configuration.root)
        file = tmp_path / "copy.json"
        await desk.do("save", file=str(file))
        await desk.do("clear", confirm=True)
        await desk.do("target.create", target="iqn.2020-01.org.example:other")
        await desk.do("restore", file=str(file))
        ours = desk.context.configuration.root["tcmu_gluster"]
        for key in ("networks", "private_luns", "redirects", "accounts", "portals"):
            assert ours[key] == before["tcmu_gluster"][key], key
        assert ours["tids"] == {"iqn.2020-01.org.example:other": 1, IQN: 2}, "the number 1 is taken by now"
        assert desk.context.configuration.visible_luns(IQN, "iqn.2000-01.org:else") == {}

    run_desk(tmp_path, scenario)


def test_a_restore_does_not_touch_the_rules_of_a_target_that_is_there(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await fill(desk)
        file = tmp_path / "copy.json"
        await desk.do("save", file=str(file))
        await desk.do("acl.deny", target=IQN, rule="10.0.0.0/8")
        await desk.do("target.redirect", target=IQN)
        await desk.do("restore", file=str(file))
        assert "10.0.0.0/8" not in map(str, desk.context.configuration.rules(IQN))
        assert desk.context.configuration.redirect(IQN) is None

    run_desk(tmp_path, scenario)


def test_what_an_editor_spoiled_among_ours_is_no_trouble(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        target = {"fabric": "iscsi", "wwn": IQN, "tpgs": [{"tag": 1}]}
        file = tmp_path / "odd.json"
        file.write_text(json.dumps({"targets": [target], "tcmu_gluster": dict.fromkeys(("tids", "accounts"), 7)}))
        await desk.do("restore", file=str(file))
        await desk.do("target.delete", target=IQN)
        assert (await desk.do("target.list"))["items"] == []

    run_desk(tmp_path, scenario)


def test_clear_wants_to_be_sure(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        with pytest.raises(UsageError, match="--confirm"):
            await desk.do("clear")

    run_desk(tmp_path, scenario)


def test_two_files_that_disagree_are_not_mixed(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("disk.create", name="vm1", uri="memory:other", size="64K")
        file = tmp_path / "lio.json"
        file.write_text(json.dumps(lios(tmp_path)))
        assert "--clear-existing" in await desk.refused("restore", file=str(file))
        assert set(desk.engine.disks) == {"vm1"}
        await desk.do("restore", file=str(file), clear_existing=True)
        assert str(desk.engine.disks["vm1"].backing) == "memory:vm1?size=1M"

    run_desk(tmp_path, scenario)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        assert "there is no" in await desk.refused("restore", file=str(tmp_path / "none"))
        (tmp_path / "bad").write_text("[]")
        assert "no JSON object" in await desk.refused("restore", file=str(tmp_path / "bad"))
        (tmp_path / "odd").write_text('{"targets": 5}')
        assert "no list" in await desk.refused("restore", file=str(tmp_path / "odd"))

    run_desk(tmp_path, scenario)


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"plugin": "user", "name": "x"},
        {"plugin": "user", "name": "x", "config": "glfs/x"},
        {"plugin": "alien", "name": "x"},
    ],
)
def test_what_cannot_be_served_is_skipped_with_a_reason(entry: dict[str, Any]) -> None:
    with pytest.raises((ConfigError, KeyError)):
        convert_disk(entry)
    bare = {"fabric": "iscsi", "wwn": IQN}
    configuration, skipped = convert({"storage_objects": [entry, 5], "targets": [7, {"fabric": "iscsi"}, bare]})
    assert list(configuration.disks()) == [] and list(configuration.targets()) == []
    assert skipped.pop() == f"target {IQN}: it has no portal group"
    assert len(skipped) == 4 and all("\n" not in sentence for sentence in skipped)


def test_of_several_portal_groups_the_enabled_one_is_taken() -> None:
    """gluster-block makes one for each of its hosts, and enables this host's."""
    group = LIOS["targets"][0]["tpgs"][0]
    other = {**group, "enable": False, "portals": [{"ip_address": "192.0.2.1", "port": 3260}]}
    for groups in ([other, group], [group, other]):
        root = copy.deepcopy({**LIOS, "targets": [{**LIOS["targets"][0], "tpgs": groups}]})
        found, skipped = convert(root)
        (kept,) = found.target(IQN)["tpgs"]
        assert kept["portals"][0]["ip_address"] == "127.0.0.1"
        assert any("the first that is enabled" in sentence for sentence in skipped)


def test_tcmu_runners_disk_that_import_has_made_is_ours() -> None:
    theirs = {"plugin": "user", "name": "vm1", "config": "glfs/vol@host/dir/x;tcmur_cmd_time_out=43", "wwn": "77",
              "size": 65536}  # fmt: skip
    present = Configuration({})
    ours = present.add_disk("vm1", "gluster/vol@host/dir/x", 65536, "77")
    other = {**theirs, "name": "vm2"}
    elsewhere = {**theirs, "config": "glfs/vol@host/dir/y"}
    root = {"storage_objects": [theirs, other, elsewhere, None]}
    assert taken_over(root, present)["storage_objects"] == [ours, other, elsewhere, None]
    assert taken_over({"storage_objects": 7}, present) == {"storage_objects": 7}


def test_a_place_that_can_not_be_written_is_named_as_it_was_typed(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        file = tmp_path / "no" / "x.json"
        assert await desk.refused("save", file=str(file)) == f"{file} can't be written: No such file or directory"


def test_clear_forgets_discoverys_password_as_targetcli_does(tmp_path: Path) -> None:
    """rtslib_fb root.py: clear_existing() calls clear_discovery_auth_settings(). What is not ours to know stays."""

    async def scenario(desk: Desk) -> None:
        await desk.do("chap.set", discovery=True, user="who", password="twelve-bytes-or-more")
        assert desk.directory.discovery is not None
        assert (await desk.do("clear", confirm=True))["changed"]
        assert desk.directory.discovery is None and desk.saved()["fabric_modules"] == []
        assert not (await desk.do("clear", confirm=True))["changed"]
        fabric = desk.context.configuration.make_fabric()
        fabric["cpus_allowed_list"] = "0-1"
        await desk.do("clear", confirm=True)
        assert desk.saved()["fabric_modules"] == [{"name": "iscsi", "cpus_allowed_list": "0-1"}]

    run_desk(tmp_path, scenario)


def test_a_restore_of_nothing_to_an_engine_that_was_cleared_changes_nothing(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("save", file=str(tmp_path / "empty.json"))
        await desk.do("chap.set", discovery=True, user="who", password="twelve-bytes-or-more")
        await desk.do("clear", confirm=True)
        again = await desk.do("restore", file=str(tmp_path / "empty.json"), clear_existing=True)
        assert not again["changed"]
        await desk.do("chap.set", discovery=True, user="who", password="twelve-bytes-or-more")
        await desk.do("chap.clear", discovery=True)
        again = await desk.do("restore", file=str(tmp_path / "empty.json"), clear_existing=True)
        assert not again["changed"]
        assert not (await desk.do("clear", confirm=True))["changed"]

    run_desk(tmp_path, scenario)


def test_a_restore_of_what_is_there_in_another_order_changes_nothing(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        for iqn in (IQN, f"{IQN}:2"):
            await desk.do("target.create", target=iqn)
        await desk.do("save", file=str(tmp_path / "both.json"))
        await desk.do("target.delete", target=IQN)
        await desk.do("target.create", target=IQN)
        again = await desk.do("restore", file=str(tmp_path / "both.json"), clear_existing=True)
        assert not again["changed"]

    run_desk(tmp_path, scenario)


def test_a_disk_that_is_open_keeps_the_size_of_its_data(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("disk.create", name="a", uri="memory:sized", size="64K")
        await desk.do("save", file=str(tmp_path / "large.json"))
        await desk.do("disk.delete", name="a")
        await desk.do("disk.create", name="a", uri="memory:sized", size="32K")
        again = await desk.do("restore", file=str(tmp_path / "large.json"), clear_existing=True)
        assert not again["changed"]
        (disk,) = desk.saved()["storage_objects"]
        assert disk["size"] == (await desk.do("disk.show", name="a"))["size_bytes"] == 32 << 10

    run_desk(tmp_path, scenario)


def test_a_restore_brings_discoverys_password_unless_there_is_one(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        file = str(tmp_path / "kept.json")
        await desk.do("chap.set", discovery=True, user="file", password="twelve-bytes-or-more")
        await desk.do("save", file=file)
        await desk.do("chap.clear", discovery=True)
        assert (await desk.do("restore", file=file))["changed"]
        asked = desk.directory.discovery
        assert asked is not None and asked.incoming is not None and asked.incoming.user == "file"
        await desk.do("chap.set", discovery=True, user="here", password="twelve-bytes-or-more")
        assert not (await desk.do("restore", file=file))["changed"]

    run_desk(tmp_path, scenario)


def test_a_restore_does_not_make_a_second_disk_of_a_file(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        file = str(tmp_path / "kept.json")
        await desk.do("disk.create", name="a", uri="memory:same", size="64K")
        await desk.do("save", file=file)
        await desk.do("disk.delete", name="a")
        await desk.do("disk.create", name="b", uri="memory:same", size="64K")
        assert "is disk b already" in await desk.refused("restore", file=file)
        assert sorted(desk.engine.disks) == ["b"]

    run_desk(tmp_path, scenario)


def test_a_restore_of_nothing_into_nothing_is_already_so(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        file = str(tmp_path / "kept.json")
        await desk.do("save", file=file)
        assert not (await desk.do("restore", file=file))["changed"]

    run_desk(tmp_path, scenario)


def test_two_disks_of_one_name_are_not_taken_for_each_other() -> None:
    """LIO has a name once for each plugin: /backstores/fileio/x and /backstores/ramdisk/x are two disks."""
    group = {"tag": 1, "portals": [], "node_acls": [], "attributes": {}, "luns": [
        {"index": 0, "storage_object": "/backstores/ramdisk/x"}, {"index": 1, "storage_object": "/backstores/fileio/x"},
    ]}  # fmt: skip
    root = {"storage_objects": [{"plugin": "fileio", "name": "x", "dev": "/x", "size": 65536, "wwn": "1"},
                                {"plugin": "ramdisk", "name": "x", "size": 65536, "wwn": "2"}],
            "targets": [{"fabric": "iscsi", "wwn": IQN, "tpgs": [group]}]}  # fmt: skip
    found, skipped = convert(root)
    assert found.luns(IQN) == {1: "x"} and found.disk("x")["wwn"] == "1"
    assert any("another disk has this name" in one for one in skipped) and any("LUN 0" in one for one in skipped)


def test_what_is_read_only_there_does_not_become_writable() -> None:
    with pytest.raises(ConfigError, match="--read-only"):
        convert_disk({"plugin": "block", "name": "x", "dev": "/dev/x", "readonly": True, "wwn": "1"})


def test_lios_own_disks_keep_their_block_size() -> None:
    entry = {
        "plugin": "fileio",
        "name": "x",
        "dev": "/x",
        "size": 65536,
        "wwn": "1",
        "attributes": {"block_size": 4096},
    }
    assert convert_disk(entry)["control"] == "hw_block_size=4096"
    assert "control" not in convert_disk({**entry, "attributes": {"block_size": 512}})


@pytest.mark.parametrize(("one", "all_", "left_out"), [(1, 0, True), (0, 1, False), (-1, 0, False), (1, 1, False)])
def test_a_password_for_one_initiator_alone_leaves_no_door_open(one: int, all_: int, left_out: bool) -> None:
    """linux/drivers/target/iscsi/iscsi_target_nego.c: an ACL's attribute wins over its group's; -1 inherits."""
    acl = {"node_wwn": HOST, "mapped_luns": [], "attributes": {"authentication": one}}
    group = {"tag": 1, "portals": [], "luns": [], "node_acls": [acl], "attributes": {"authentication": all_}}
    found, skipped = convert({"storage_objects": [], "targets": [{"fabric": "iscsi", "wwn": IQN, "tpgs": [group]}]})
    assert (found.find_target(IQN) is None) is left_out is any("alone is asked" in sentence for sentence in skipped)
