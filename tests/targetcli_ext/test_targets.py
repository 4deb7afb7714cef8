from __future__ import annotations

from tests.targetcli_ext.tree import IQN, Tree


def test_targets_are_made_named_and_deleted(tree: Tree) -> None:
    tree.run(f"/iscsi create {IQN}\n/iscsi create")
    shown = tree.run("ls /iscsi")
    assert IQN in shown and "iqn.2003-01.org.linux-iscsi." in shown and "Targets: 2" in shown
    tree.run(f"/iscsi delete {IQN}")
    assert IQN not in tree.run("ls /iscsi")
    assert "there is no target" in tree.refused(f"/iscsi delete {IQN}")


def test_the_malformed_name_of_the_old_page_is_refused_with_what_was_meant(tree: Tree) -> None:
    assert "did you mean 'iqn.2013-10.com.redhat'" in tree.refused("/iscsi create iqn.20013-10.com.redhat")


def test_the_engine_has_one_portal_group_a_target(tree: Tree) -> None:
    tree.run(f"/iscsi create {IQN}")
    assert "one portal group" in tree.refused(f"/iscsi/{IQN} create 2")
    assert "delete the target" in tree.refused(f"/iscsi/{IQN} delete 1")


def test_disable_and_enable(tree: Tree) -> None:
    tree.run(f"/iscsi create {IQN}\n/iscsi/{IQN}/tpg1 disable")
    assert "[disabled]" in tree.run("ls /iscsi")
    assert "enable: False" in tree.run(f"/iscsi/{IQN}/tpg1 info")
    tree.run(f"/iscsi/{IQN}/tpg1 enable")
    assert "[no-gen-acls, no-auth]" in tree.run("ls /iscsi")


def test_preferences_of_targetcli(tree: Tree) -> None:
    tree.run(f"set global auto_add_default_portal=false auto_enable_tpgt=false\n/iscsi create {IQN}\n"
             "set global auto_add_default_portal=true auto_enable_tpgt=true")  # fmt: skip
    shown = tree.run("ls /iscsi")
    assert "disabled" in shown and "Portals: 0" in shown
    said = tree.run(f"set global auto_cd_after_create=true\n/iscsi create {IQN}:2\npwd\n"
                    "set global auto_cd_after_create=false")  # fmt: skip
    assert f"/iscsi/{IQN}:2/tpg1\n" in said


def test_discovery_asks_for_a_password(tree: Tree) -> None:
    tree.run("/iscsi set discovery_auth userid=u password=twelve-or-more enable=1")
    assert tree.desk.directory.discovery is not None
    assert "1-way disc auth" in tree.run("ls /iscsi")
    said = tree.run("/iscsi get discovery_auth userid password enable")
    assert "userid=u" in said and "twelve" not in said
    tree.run("/iscsi set discovery_auth enable=0")
    assert tree.desk.directory.discovery is None
    assert "iscsi" in tree.run("/iscsi info")
