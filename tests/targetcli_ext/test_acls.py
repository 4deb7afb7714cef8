from __future__ import annotations

import pytest

from tests.targetcli_ext.tree import HOST, IQN, Tree

TPG = f"/iscsi/{IQN}/tpg1"


@pytest.fixture
def built(tree: Tree) -> Tree:
    tree.run(f"/backstores/ramdisk create a 1M\n/backstores/ramdisk create b 1M\n/iscsi create {IQN}\n"
             f"{TPG}/luns create /backstores/ramdisk/a lun=3")  # fmt: skip
    return tree


def test_a_new_initiator_sees_every_lun(built: Tree) -> None:
    built.run(f"{TPG}/acls create {HOST}")
    assert "lun3 a (rw)" in built.run("ls /iscsi")
    assert f"wwns: {HOST}" in built.run(f"{TPG}/acls/{HOST} info")
    built.run(f"{TPG}/acls delete {HOST}")
    assert "ACLs: 0" in built.run("ls /iscsi")
    assert "there is no ACL" in built.refused(f"{TPG}/acls delete {HOST}")
    assert "iSCSI name" in built.refused(f"{TPG}/acls create iqn.20013-10.com.redhat")


def test_or_none_and_then_some_under_other_numbers(built: Tree) -> None:
    acl = f"{TPG}/acls/{HOST}"
    built.run(f"{TPG}/acls create {HOST} add_mapped_luns=false\n{acl} create 0 lun3 write_protect=1\n"
              f"{acl} create mapped_lun=5 tpg_lun_or_backstore=/backstores/ramdisk/b")  # fmt: skip
    assert built.desk.engine.visible(IQN, HOST) == {0: ("a", True), 5: ("b", False)}
    shown = built.run("ls /iscsi")
    assert "lun3 a (ro)" in shown and "mapped_lun5" in shown
    assert "already" in built.refused(f"{acl} create 0 /backstores/ramdisk/b")
    built.run(f"{acl} delete 5")
    assert set(built.desk.engine.visible(IQN, HOST)) == {0}
    assert "Invalid LUN" in built.refused(f"{acl} delete 5")


def test_networks_are_shown_and_taken_back(built: Tree) -> None:
    built.run(f"{TPG}/acls create 192.0.2.0/24")
    assert "networks: 192.0.2.0/24" in built.run("ls /iscsi")
    built.run(f"{TPG}/acls delete 192.0.2.0/24")
    assert "networks" not in built.run("ls /iscsi")


def test_a_missing_password_is_shown(built: Tree) -> None:
    built.run(f"{TPG}/acls create {HOST}\n{TPG} set attribute authentication=1")
    assert "auth via tpg" in built.run("ls /iscsi")
