"""The nodes among targetcli's own, with doubles of targetcli and rtslib: those need configfs (see the kernel tier)."""

from __future__ import annotations

import fcntl
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from targetcli_ext.configshell import ConfigNode
from targetcli_ext.daemon import Daemon
from targetcli_ext.shell import Shell


class StorageObject(SimpleNamespace):
    """rtslib's, of which three things are used."""


class Rtslib:
    """What there is in LIO."""

    objects: list[Any] = []

    @property
    def storage_objects(self) -> list[Any]:
        return list(self.objects)


class UIBackstore(ConfigNode):
    def __init__(self, name: str, parent: Any) -> None:
        super().__init__(name, parent)
        self.refresh()

    def assert_root(self) -> None:
        return None

    def new_node(self, node: Any) -> None:
        assert node.path.startswith("/backstores/gluster/")


class UIBackstores(ConfigNode):
    def __init__(self, parent: Any) -> None:
        super().__init__("backstores", parent)
        self.refresh()

    def refresh(self) -> None:
        self._children = set()
        ConfigNode("fileio", self)


class UIRoot(ConfigNode):
    def __init__(self, shell: Any, as_root: bool) -> None:
        super().__init__("/", shell=shell)

    def refresh(self) -> None:
        self._children = set()
        UIBackstores(self)
        ConfigNode("iscsi", self).refresh = lambda: None


class UIUserBackedStorageObject(ConfigNode):
    def __init__(self, storage_object: Any, parent: Any) -> None:
        super().__init__(storage_object.name, parent)
        self.rtsnode = storage_object


@pytest.fixture
def lio(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """targetcli_ext.lio over the doubles."""
    Rtslib.objects = []
    names = {
        "targetcli": {},
        "targetcli.ui_backstore": {"RTSRoot": Rtslib, "UIBackstore": UIBackstore, "UIBackstores": UIBackstores,
                                   "UIUserBackedStorageObject": UIUserBackedStorageObject},
        "targetcli.ui_root": {"UIRoot": UIRoot},
    }  # fmt: skip
    for name, content in names.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "targetcli_ext.lio", raising=False)
    module = importlib.import_module("targetcli_ext.lio")
    yield module
    sys.modules.pop("targetcli_ext.lio", None)


def add(name: str, config: str = "gluster/vol@server/x", plugin: str = "user") -> Any:
    made = StorageObject(name=name, config=config, plugin=plugin, attached_luns=[])
    Rtslib.objects.append(made)
    return made


def test_two_shells_wait_for_each_other_as_targetcli_does(lio: Any, tmp_path: Path) -> None:
    assert lio.LOCK == "/var/run/targetcli.lock"
    lio.wait_for_others(str(tmp_path / "lock"))
    with open(tmp_path / "lock") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def make(lio: Any, asked: list[tuple[str, dict[str, Any]]]) -> Any:
    def ask(name: str, args: Any, on_progress: Any = None) -> dict[str, Any]:
        asked.append((name, dict(args)))
        if name == "disk.create":
            add(args["name"])
        if name == "disk.delete":
            Rtslib.objects = [one for one in Rtslib.objects if one.name != args["name"]]
        return {"now": "done"}

    lio.wait_for_others = lambda: None
    shell = Shell(None)
    return lio.make_root(shell, Daemon(ask, shell.log))


def test_our_node_stands_among_targetclis_and_shows_our_disks_only(lio: Any) -> None:
    add("ours")
    add("theirs", "qcow//x")
    add("longer", "glusterx/vol@server/x")
    add("file", "", "fileio")
    root = make(lio, [])
    assert {child.name for child in root.get_node("/backstores").children} == {"fileio", "gluster"}
    assert {child.name for child in root.get_node("/backstores/gluster").children} == {"ours"}
    assert root.get_node("/iscsi").name == "iscsi"
    root.get_node("/backstores").refresh()
    assert root.get_node("/backstores/gluster/ours").rtsnode.name == "ours"
    assert root.get_node("/backstores/gluster").hosts() == ["server"]


def test_create_and_delete_ask_the_daemon_for_lios_front(lio: Any) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []
    root = make(lio, asked)
    node = root.get_node("/backstores/gluster")
    node.ui_command_create("vm1", "vol", "server", size="1G")
    assert asked[0] == ("disk.create", {"name": "vm1", "uri": "gluster://server/vol/vm1", "size": "1G", "front": "lio"})
    deleted: list[str] = []
    lun = SimpleNamespace(delete=lambda: deleted.append("lun"))
    Rtslib.objects[0].attached_luns = [lun]
    node = root.get_node("/backstores/gluster")
    assert node.ui_complete_delete({}, "v", "name") == ["vm1 "]
    node.get_child("vm1").ui_command_resize("2G")
    assert asked[-1] == ("disk.resize", {"name": "vm1", "size": "2G"})
    root.get_node("/backstores/gluster").ui_command_delete("vm1")
    assert deleted == ["lun"] and asked[-1] == ("disk.delete", {"name": "vm1", "keep_file": True})
    assert root.get_node("/backstores/gluster").disk_names() == []
