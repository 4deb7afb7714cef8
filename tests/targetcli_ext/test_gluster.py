from __future__ import annotations

import pytest

from targetcli_ext.configshell import ExecutionError
from targetcli_ext.gluster import flag, gluster_uri, switch, uri_of_cfgstring
from tests.targetcli_ext.tree import IQN, Tree

CREATE = "/backstores/gluster create name=vm1 volume=vol host=server path=/vm1 size=1M"


def test_a_disk_is_made_shown_grown_and_deleted(tree: Tree) -> None:
    said = tree.run(f"{CREATE} prealloc=full\nls /backstores/gluster")
    assert "Disk vm1: 1M on gluster://server/vol/vm1" in said and "o- vm1" in said
    file = tree.volumes / "vol/vm1"
    assert file.stat().st_size == 1 << 20 and file.stat().st_blocks * 512 >= 1 << 20
    tree.run("/backstores/gluster/vm1 resize 2M")
    assert file.stat().st_size == 2 << 20
    assert "force=true" in tree.refused("/backstores/gluster resize name=vm1 size=1M")
    tree.run("/backstores/gluster resize name=vm1 size=1M force=true")
    assert file.stat().st_size == 1 << 20
    info = tree.run("/backstores/gluster/vm1 info\n/backstores/gluster info name=vm1\n/backstores/gluster info")
    assert info.count("uri: gluster://server/vol/vm1") == 2 and "engine: 1" in info
    stats = tree.run("/backstores/gluster/vm1 stats\n/backstores/gluster stats vm1")
    assert stats.count("reads: 0") == 2
    assert "its file stays" in tree.run("/backstores/gluster delete vm1") and file.exists()
    tree.run(CREATE.replace(" size=1M", ""))
    tree.run("/backstores/gluster delete name=vm1 delete_file=true")
    assert not file.exists()


def test_the_path_is_the_name_if_there_is_none(tree: Tree) -> None:
    tree.run("/backstores/gluster create name=vm2 volume=vol host=server size=1M")
    assert (tree.volumes / "vol/vm2").exists()


def test_check_says_what_is_there(tree: Tree) -> None:
    said = tree.run("/backstores/gluster check vol server /vm1")
    assert "create makes it" in said
    tree.run(CREATE)
    assert "disk: vm1" in tree.run("/backstores/gluster check vol server /vm1")
    assert "the disk is online" in tree.run("/backstores/gluster/vm1 check")
    assert "No route to host" in tree.refused("/backstores/gluster check vol elsewhere /vm1")
    (tree.volumes / "vol/vm1").unlink()
    assert "not there any more" in tree.refused("/backstores/gluster/vm1 check")
    (tree.volumes / "vol/vm1").write_bytes(bytes(512))
    assert "has only 512B" in tree.refused("/backstores/gluster/vm1 check")


def test_deleting_a_disk_takes_its_luns_along(tree: Tree) -> None:
    tree.run(f"{CREATE}\n/iscsi create {IQN}\n/iscsi/{IQN}/tpg1/luns create /backstores/gluster/vm1")
    tree.run("/backstores/gluster delete vm1")
    assert "lun0" not in tree.run("ls /") and "vm1" not in tree.run("ls /")
    assert "No storage object named vm1" in tree.refused("/backstores/gluster delete vm1")


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("/backstores/gluster create name=vm1 volume=vol host=server", "add size="),
        ("/backstores/gluster create name=vm1 volume=v,l host=server size=1M", "volume"),
        ("/backstores/gluster create name=a/b volume=vol host=server size=1M", "disk name"),
        ("/backstores/gluster create name=vm1 volume=vol host=server size=big", "size"),
        ("/backstores/gluster create name=vm1 volume=vol host=server size=1M prealloc=some", "full or off"),
        ("/backstores/gluster create name=vm1 volume=vol host=server size=1M read_only=maybe", "true or false"),
        ("/backstores/gluster create name=vm1", "Missing required"),
        ("/backstores/gluster/none info", "No such path"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(tree: Tree, line: str, word: str) -> None:
    assert word in tree.refused(line)


@pytest.mark.parametrize(("word", "on"), [("true", True), ("YES", True), ("1", True), ("off", False), ("0", False)])
def test_switches(word: str, on: bool) -> None:
    assert switch(word, "x") is on
    assert switch(None, "x") is None and flag("no", "x") is None
    with pytest.raises(ExecutionError):
        switch("perhaps", "x")


def test_uris() -> None:
    assert gluster_uri("vol", "[::1]", "/a b") == "gluster://[::1]/vol/a%20b"
    assert uri_of_cfgstring("vol@server/vm1") == "gluster://server/vol/vm1"
    for bad in ("vol", "id/0123456789abcdef"):
        with pytest.raises(ExecutionError, match="cfgstring invalid"):
            uri_of_cfgstring(bad)
