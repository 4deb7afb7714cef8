from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from targetcli_ext.completion import gluster_create, initiators, local_paths, matching
from targetcli_ext.configshell import ExecutionError
from targetcli_ext.daemon import Daemon
from tcmu_gluster.errors import OperationError
from tests.targetcli_ext.tree import HOST, IQN, Tree


class Recorded:
    """A daemon that knows three questions."""

    ANSWERS: Mapping[str, Any] = {
        "volume.list": {"items": ["vol", "other"]},
        "volume.files": {"items": ["/images/", "/index"]},
        "names": {"items": [HOST]},
        "why-denied": {"items": [{"initiator": "iqn.2020-01.com.new"}, {"initiator": ""}]},
    }

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, name: str, args: Mapping[str, Any], on_progress: Any = None) -> dict[str, Any]:
        self.asked.append((name, dict(args)))
        if name not in self.ANSWERS:
            raise OperationError("no")
        return dict(self.ANSWERS[name])


@pytest.mark.parametrize(
    ("text", "found"),
    [("", ["a1", "a2", "b"]), ("a", ["a1", "a2"]), ("b", ["b "]), ("c", [])],
)
def test_a_single_match_is_finished(text: str, found: list[str]) -> None:
    assert matching(["b", "a2", "a1"], text) == found


def test_create_completes_hosts_volumes_and_paths() -> None:
    recorded = Recorded()
    daemon = Daemon(recorded, None)
    given = {"host": "server", "volume": "vol"}
    assert gluster_create(daemon, ["server"], {}, "", "host") == ["localhost", "server"]
    assert gluster_create(daemon, [], given, "v", "volume") == ["vol "]
    assert gluster_create(daemon, [], given, "/im", "path") == ["/images/"]
    assert gluster_create(daemon, [], {"volume": "vol"}, "/im", "path") == []
    assert gluster_create(daemon, [], {}, "f", "prealloc") == ["full "]
    assert gluster_create(daemon, [], {}, "", "name") == []
    assert recorded.asked == [
        ("volume.list", {"host": "server"}),
        ("volume.files", {"host": "server", "volume": "vol", "path": "/im"}),
    ]


def test_initiators_that_were_turned_away_are_offered() -> None:
    daemon = Daemon(Recorded(), None)
    assert initiators(daemon, "iqn.") == sorted([HOST, "iqn.2020-01.com.new"])


def test_local_paths(tmp_path: Path) -> None:
    (tmp_path / "disk1").touch()
    (tmp_path / "directory").mkdir()
    assert local_paths(f"{tmp_path}/di") == [f"{tmp_path}/directory/", f"{tmp_path}/disk1"]
    assert local_paths(f"{tmp_path}/dir") == [f"{tmp_path}/directory/"]
    assert local_paths(f"{tmp_path}/disk") == [f"{tmp_path}/disk1 "]
    assert local_paths(f"{tmp_path}/none/x") == [] and local_paths(f"{tmp_path}/disk", blocks=True) == []


def test_every_parameter_of_the_tree_completes(tree: Tree) -> None:
    tree.run(f"/backstores/ramdisk create m 1M\n/iscsi create {IQN}\n/iscsi/{IQN}/tpg1/acls create {HOST}\n"
             f"/iscsi/{IQN}/tpg1/luns create /backstores/ramdisk/m")  # fmt: skip
    shell = tree.shell()

    def complete(path: str, command: str, current: str, text: str = "", **parameters: str) -> list[str]:
        method = shell._root_node.get_node(path).get_completion_method(command)
        found: list[str] = method(parameters, text, current)
        return found

    tpg = f"/iscsi/{IQN}/tpg1"
    assert complete("/iscsi", "delete", "wwn") == [f"{IQN} "]
    assert complete(f"{tpg}/luns", "create", "storage_object", "/backstores/r") == ["/backstores/ramdisk/m "]
    assert complete(f"{tpg}/luns", "create", "add_mapped_luns") == ["false", "true"]
    assert complete(f"{tpg}/luns", "delete", "lun") == ["0 "]
    assert complete(f"{tpg}/acls", "create", "wwn") == [f"{HOST} "]
    assert complete(f"{tpg}/acls", "create", "add_mapped_luns", "t") == ["true "]
    assert complete(f"{tpg}/acls", "delete", "wwn") == [f"{HOST} "]
    assert complete(f"{tpg}/acls/{HOST}", "create", "tpg_lun_or_backstore") == ["/backstores/ramdisk/m", "0"]
    assert complete(f"{tpg}/acls/{HOST}", "create", "mapped_lun") == ["0 "]
    assert complete(f"{tpg}/acls/{HOST}", "create", "write_protect") == ["0", "1"]
    assert complete(f"{tpg}/acls/{HOST}", "delete", "mapped_lun") == ["0 "]
    assert complete(f"{tpg}/portals", "delete", "ip_address") == ["127.0.0.1 "]
    assert complete(f"{tpg}/portals", "delete", "ip_port", ip_address="127.0.0.1") == ["0 "]
    assert complete("/backstores/ramdisk", "delete", "name") == ["m "]
    assert complete("/backstores/gluster", "delete", "name") == []
    assert complete("/backstores/gluster", "create", "host", "l") == ["localhost "]
    assert complete("/", "clearconfig", "confirm") == ["True "]
    assert complete("/", "sessions", "action", "d") == ["detail "]
    assert complete("/", "sessions", "sid") == []
    assert complete("/", "restoreconfig", "clear_existing", "t") == ["true "]
    assert complete("/", "saveconfig", "savefile", str(tree.volumes.parent / "vol")) == [f"{tree.volumes}/"]
    assert complete("/backstores/fileio", "create", "file_or_dev", str(tree.volumes)) == [f"{tree.volumes}/"]
    assert complete("/backstores/block", "create", "dev", "/dev/nul") == []


def test_completion_never_complains() -> None:
    def away(name: str, args: Mapping[str, Any], on_progress: Any = None) -> dict[str, Any]:
        raise OperationError("away")

    daemon = Daemon(away, None)
    assert initiators(daemon, "") == [] and daemon.words("names", kind="disk") == []
    with pytest.raises(ExecutionError, match="away"):
        daemon.question("status")
