from __future__ import annotations

from pathlib import Path

from targetcli_ext.devices import Block, Fileio, Gluster, Ramdisk
from tests.targetcli_ext.tree import Tree


def test_plain_targetclis_name_shows_and_makes_the_same_disks(tree: Tree) -> None:
    tree.run("/backstores/user:gluster create name=vm1 size=1M cfgstring=vol@server/vm1 control=nl_reply_supported=-1")
    assert tree.run("ls /backstores").count("o- vm1") == 2
    assert "/vm1" in tree.run("/backstores/user:gluster/vm1 info")
    assert "cfgstring invalid" in tree.refused("/backstores/user:gluster create name=b size=1M cfgstring=vm1")
    assert "leave it out" in tree.refused("/backstores/user:gluster create b 1M vol@server/b wwn=1")
    tree.run("/backstores/user:gluster delete vm1")
    assert tree.run("ls /backstores").count("o- vm1") == 0


def test_files_devices_and_memory(tree: Tree, tmp_path: Path) -> None:
    tree.run(f"/backstores/fileio create f1 {tmp_path}/f1 1M\n/backstores/ramdisk create m1 1M")
    (tmp_path / "there").write_bytes(bytes(4096))
    said = tree.run(f"/backstores/fileio create name=f2 file_or_dev={tmp_path}/there size=9M sparse=false")
    assert "exists, using its size" in said
    shown = tree.run("ls /backstores")
    assert "file:" in shown and "memory:m1" in shown and "deactivated" in shown
    tree.run("/backstores/fileio delete f1")
    assert (tmp_path / "f1").exists()
    assert "No storage object" in tree.refused("/backstores/ramdisk delete f2")
    assert "leave them out" in tree.refused("/backstores/ramdisk create m2 1M nullio=true")


def test_each_disk_is_of_one_kind() -> None:
    kinds = (Gluster, Fileio, Block, Ramdisk)
    for uri, kind in (
        ("gluster://h/v/f", Gluster), ("file:///x/y", Fileio), ("file:///dev/vg/lv", Block), ("memory:m", Ramdisk),
        ("", Gluster),
    ):  # fmt: skip
        assert [one for one in kinds if one.holds({"uri": uri})] == [kind]


def test_a_disk_shows_its_size_and_serial(tree: Tree) -> None:
    said = tree.run("/backstores/ramdisk create m1 1M\n/backstores/ramdisk/m1 get attribute dev_size unit_serial")
    assert "dev_size=1048576" in said
    assert "read-only" in tree.refused("/backstores/ramdisk/m1 set attribute dev_size=5")


def test_a_disk_that_waits_says_why(tree: Tree) -> None:
    tree.run("/backstores/gluster create name=vm1 volume=vol host=server size=1M")
    entry = tree.desk.context.configuration.copy()
    entry.root["storage_objects"].append(
        {"name": "lost", "plugin": "user", "config": "gluster/vol@elsewhere/x", "size": 4096, "wwn": "12345678"}
    )
    tree.in_loop(tree.desk.context.change(entry))
    assert "No route to host" in tree.run("ls /backstores/gluster")
