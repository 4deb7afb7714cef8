from __future__ import annotations

import copy
import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from handler.lio_admin import answer
from handler.lio_targets import RtslibTargets, difference
from tests.doubles.fake_lio import FakeLio
from tests.handler.test_lio_admin import CREATE

IQN = "iqn.2013-10.com.redhat"
PORTAL = {"ip_address": "127.0.0.1", "port": 3260, "iser": False, "offload": False}
ACL = {"node_wwn": "iqn.1994-05.com.redhat:cf75c8d4274d", "chap_userid": "u", "chap_password": "twelve-bytes-or-more",
       "mapped_luns": [{"index": 7, "tpg_lun": 0, "write_protect": True}]}  # fmt: skip


def target(wwn: str = IQN, **group: Any) -> dict[str, Any]:
    """In the form of rtslib's dump."""
    return {"fabric": "iscsi", "wwn": wwn, "tpgs": [{
        "tag": 1, "enable": True, "attributes": {"authentication": 1, "generate_node_acls": 0}, "portals": [PORTAL],
        "luns": [{"index": 0, "storage_object": "/backstores/user/vm1"}], "node_acls": [copy.deepcopy(ACL)], **group,
    }]}  # fmt: skip


def with_disk() -> FakeLio:
    lio = FakeLio()
    answer(CREATE, lio)
    return lio


def test_targets_are_made_and_taken_away() -> None:
    lio = with_disk()
    assert answer({"do": "put", "targets": [target()]}, lio) == {"changed": True, "complaints": []}
    assert answer({"do": "survey"}, lio)["targets"] == [target()]
    assert "already" in answer({"do": "put", "targets": [target()]}, lio)["error"]
    assert "still shows" in answer({"do": "delete", "name": "vm1"}, lio)["error"]
    assert answer({"do": "take", "wwns": [IQN]}, lio) == {"changed": True}
    assert answer({"do": "take", "wwns": [IQN]}, lio) == {"changed": False}
    assert lio.targets.made == {}


def test_what_is_half_there_is_made_whole_again() -> None:
    lio = with_disk()
    answer({"do": "put", "targets": [target()]}, lio)
    again = {"do": "put", "targets": [target()], "again": True}
    assert answer(again, lio)["changed"] is False
    lio.targets.made[IQN]["tpgs"][0]["node_acls"].clear()
    assert answer(again, lio)["changed"] is True
    assert lio.targets.made == {IQN: target()}


def test_of_two_targets_of_which_one_fails_none_is_left() -> None:
    lio = with_disk()
    before = lio.targets.discovery()
    lio.targets.faults = {"put": 1}
    asks = {"discovery_userid": "who", "discovery_password": "twelve-bytes-or-more", "discovery_enable_auth": True}
    both = {"do": "put", "targets": [target(), target(f"{IQN}:2")], "discovery": asks}
    assert answer(both, lio)["errno"] == errno.EBUSY
    assert lio.targets.made == {} and lio.targets.discovery() == before
    answer(both, lio)
    assert len(lio.targets.made) == 2 and lio.targets.asked == {"name": "iscsi", **asks}
    lio.targets.faults = {"remove": 1}
    assert answer({"do": "take", "wwns": [IQN, f"{IQN}:2"]}, lio)["errno"] == errno.EBUSY
    assert len(lio.targets.made) == 2


def test_portals_of_all_targets_open_or_none() -> None:
    lio = with_disk()
    answer({"do": "put", "targets": [target(portals=[]), target(f"{IQN}:2", portals=[])]}, lio)
    lio.targets.faults = {"listen": 1}
    wanted = {"do": "listen", "portals": {IQN: [PORTAL], f"{IQN}:2": [PORTAL]}}
    assert "LIO refused" in answer(wanted, lio)["error"]
    assert [one["tpgs"][0]["portals"] for one in lio.targets.made.values()] == [[], []]
    assert answer(wanted, lio)["changed"]
    assert [one["tpgs"][0]["portals"] for one in lio.targets.made.values()] == [[PORTAL], [PORTAL]]


def test_a_target_without_its_lun_is_no_target() -> None:
    said = answer({"do": "put", "targets": [target()]}, FakeLio())["error"]
    assert "LUNs" in said and "Could not find matching StorageObject" in said


@pytest.mark.parametrize(
    ("spoilt", "word"),
    [
        ({"luns": []}, "LUNs"), ({"portals": []}, "portals"), ({"node_acls": []}, "initiators"),
        ({"node_acls": [{**ACL, "chap_password": ""}]}, "initiators"),
        ({"node_acls": [{**ACL, "mapped_luns": [{"index": 7, "tpg_lun": 0, "write_protect": False}]}]}, "initiators"),
        ({"chap_userid": "somebody"}, "passwords"), ({"enable": False}, "switches"),
        ({"attributes": {"authentication": 0, "generate_node_acls": 0}}, "authentication"),
        ({"attributes": {"authentication": 1, "generate_node_acls": 1}}, "generate_node_acls"),
    ],
)  # fmt: skip
def test_what_decides_who_may_do_what_is_compared(spoilt: dict[str, Any], word: str) -> None:
    assert difference(target(), target()) == ""
    assert word in difference(target(), target(**spoilt))
    assert difference(target(), {}) != ""


def test_case_and_brackets_make_no_difference() -> None:
    wanted = target(portals=[{"ip_address": "::1", "port": 3260}])
    found = target(portals=[{"ip_address": "[::1]", "port": 3260}],
                   node_acls=[{**ACL, "node_wwn": ACL["node_wwn"].upper()}])  # fmt: skip
    assert difference(wanted, found) == ""


def test_a_disk_is_described_with_who_has_reserved_it() -> None:
    lio = with_disk()
    lio.targets.registrations = {"vm1"}
    (one,) = answer({"do": "describe", "names": ["vm1"]}, lio)["objects"]
    assert (one["name"], one["size"], one["registered"]) == ("vm1", 1 << 30, True)


class Rtslib:
    """rtslib's module as RtslibTargets uses it, with a log of what was done in which order."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.group = SimpleNamespace(tag=1)
        self.Target = self
        self.NetworkPortal = SimpleNamespace(setup=lambda group, portal, say: self.log.append(f"np {portal['port']}"))

    def FabricModule(self, name: str) -> Any:
        return SimpleNamespace(name=name, exists=False, targets=[])

    def setup(self, fabric: Any, dump: dict[str, Any], say: Any) -> None:
        self.log.append(f"setup, enable {dump['tpgs'][0]['enable']}")
        say("an attribute is unknown here")

    def __call__(self, fabric: Any, wwn: str, mode: str) -> Any:
        outer = self

        class Group:
            tag = 1
            network_portals = (SimpleNamespace(delete=lambda: outer.log.append("np gone")),)

            def __setattr__(self, name: str, value: Any) -> None:
                outer.log.append(f"{name} {value}")

        return SimpleNamespace(tpgs=[Group()], delete=lambda: outer.log.append(f"delete {wwn}"))


def test_rtslib_is_told_to_enable_last() -> None:
    """TPG.setup() enables a group and only then sets its passwords; an initiator that is refused for one gives up."""
    rtslib = Rtslib()
    targets = RtslibTargets(rtslib, SimpleNamespace(fabric_modules=[]))
    wanted = target()
    assert targets.put(wanted) == ["an attribute is unknown here"]
    assert rtslib.log == ["setup, enable False", "enable True"] and wanted == target()
    rtslib.log.clear()
    targets.put(target(enable=False))
    assert rtslib.log == ["setup, enable False"]
    rtslib.log.clear()
    targets.listen(IQN, [PORTAL])
    targets.remove(IQN)
    assert rtslib.log == ["np gone", "np 3260", f"delete {IQN}"]
    assert targets.find(IQN) is None and targets.all() == [] and targets.discovery() == {}


def test_other_fabrics_are_looked_through() -> None:
    disk = SimpleNamespace(plugin="user", name="vm1")
    shown = SimpleNamespace(wwn="naa.5001405aa", tpgs=[SimpleNamespace(luns=[SimpleNamespace(storage_object=disk)])])
    modules = [SimpleNamespace(name=name, exists=exists, targets=[shown])
               for name, exists in (("iscsi", True), ("loopback", True), ("vhost", False))]  # fmt: skip
    found = RtslibTargets(Rtslib(), SimpleNamespace(fabric_modules=modules)).elsewhere()
    assert found == {"/backstores/user/vm1": "loopback naa.5001405aa"}


@pytest.mark.parametrize(("text", "registered"), [
    ("SPC-3 PR Registrations:\nNone\n", False),
    ("SPC-3 PR Registrations:\niSCSI Node: iqn.x,i,0x Key: 0x01 PRgen: 0x00000001\n", True),
])  # fmt: skip
def test_registrations_are_read_where_the_kernel_writes_them(tmp_path: Path, text: str, registered: bool) -> None:
    """linux/drivers/target/target_core_configfs.c, target_pr_res_pr_registered_i_pts_show()."""
    (tmp_path / "pr").mkdir()
    (tmp_path / "pr/res_pr_registered_i_pts").write_text(text)
    rtslib = SimpleNamespace(UserBackedStorageObject=lambda name: SimpleNamespace(path=str(tmp_path)))
    assert RtslibTargets(rtslib, None).registered("vm1") is registered


def test_rtslib_makes_what_was_asked_for(tmp_path: Path) -> None:
    """Its own code, over files in place of the kernel's."""
    rtslib = pytest.importorskip("rtslib_fb", reason="rtslib-fb is not installed")
    from tests.doubles.fake_configfs import configfs

    asks = {"discovery_enable_auth": True, "discovery_userid": "who", "discovery_password": "twelve-bytes-or-more"}
    with configfs(tmp_path / "configfs") as root:
        rtslib.UserBackedStorageObject("vm1", config="gluster/memory/vm1", size=1 << 20, wwn="serial")
        targets = RtslibTargets(rtslib, root)
        assert targets.put(target(chap_userid="all", chap_password="twelve-bytes-or-more", portals=[])) == []
        targets.listen(IQN, [PORTAL])
        targets.set_discovery(asks)
        found = targets.find(IQN)
        wanted = target(chap_userid="all", chap_password="twelve-bytes-or-more")
        assert found is not None and difference(wanted, found) == ""
        assert [one["wwn"] for one in targets.all()] == [IQN] and targets.elsewhere() == {}
        assert targets.discovery() == {"name": "iscsi", **asks}
        assert targets.describe("vm1")["size"] == 1 << 20 and targets.find(f"{IQN}:2") is None
