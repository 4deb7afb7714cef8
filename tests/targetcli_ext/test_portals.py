from __future__ import annotations

from targetcli_ext.portals import portal_text
from tcmu_gluster.config.addresses import Portal
from tests.targetcli_ext.tree import HOST, IQN, Tree

TPG = f"/iscsi/{IQN}/tpg1"


def test_luns(tree: Tree) -> None:
    tree.run(f"/backstores/ramdisk create a 1M\n/backstores/ramdisk create b 1M\n/iscsi create {IQN}\n"
             f"{TPG}/luns create /backstores/ramdisk/a\n"
             f"{TPG}/luns create storage_object=/backstores/ramdisk/b lun=lun7")  # fmt: skip
    assert "lun7" in tree.run("ls /iscsi") and "b (memory:b)" in tree.run("ls /iscsi")
    assert "already exists" in tree.refused(f"{TPG}/luns create /backstores/ramdisk/a")
    assert "is no disk" in tree.refused(f"{TPG}/luns create /backstores/ramdisk")
    assert "is no disk" in tree.refused(f"{TPG}/luns create /backstores/ramdisk/none")
    tree.run(f"{TPG}/luns delete lun7")
    assert "lun7" not in tree.run("ls /iscsi")
    assert "Invalid LUN" in tree.refused(f"{TPG}/luns delete 7")
    assert "whole number" in tree.refused(f"{TPG}/luns delete x")


def test_a_lun_need_not_be_mapped_to_anybody(tree: Tree) -> None:
    tree.run(f"/backstores/ramdisk create a 1M\n/iscsi create {IQN}\n{TPG}/acls create {HOST}\n"
             f"{TPG}/luns create /backstores/ramdisk/a add_mapped_luns=false")  # fmt: skip
    assert tree.desk.engine.visible(IQN, HOST) == {}
    assert "Mapped LUNs: 0" in tree.run("ls /iscsi")


def test_portals(tree: Tree) -> None:
    tree.run(f"/iscsi create {IQN}\n{TPG}/portals delete 127.0.0.1 0")
    assert "Portals: 0" in tree.run("ls /iscsi")
    assert "has no portal" in tree.refused(f"{TPG}/portals delete 127.0.0.1 3260")
    tree.run(f"{TPG}/portals create ip_address=127.0.0.1 ip_port=0")
    assert "127.0.0.1:0" in tree.run(f"ls {TPG}/portals")
    assert "whole number" in tree.refused(f"{TPG}/portals create 127.0.0.1 iscsi")
    assert portal_text("::1", 3260) == "[::1]:3260" and portal_text("10.0.0.1", 1) == "10.0.0.1:1"


def test_a_portal_that_cannot_be_opened_is_refused(tree: Tree) -> None:
    tree.run(f"/iscsi create {IQN}")
    assert "203.0.113.1" in tree.refused(f"{TPG}/portals create 203.0.113.1 3260")
    assert "203.0.113.1" not in tree.run("ls /iscsi")


def test_a_portal_that_waits_for_its_address_says_so(tree: Tree) -> None:
    tree.run(f"/iscsi create {IQN}")
    wanted = tree.desk.context.configuration.copy()
    wanted.add_portal(IQN, Portal("203.0.113.1", 3260))
    tree.in_loop(tree.desk.engine.apply(wanted, strict=False))  # as a start does that finds it in the saved state
    said = tree.run(f"ls {TPG}/portals")
    assert "127.0.0.1:0" in said and "[OK]" in said
    assert "[waits: 203.0.113.1 is not an address of this machine" in said
