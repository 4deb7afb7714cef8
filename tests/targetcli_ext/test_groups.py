from __future__ import annotations

from tests.targetcli_ext.tree import HOST, IQN, Tree

TPG = f"/iscsi/{IQN}/tpg1"


def test_attributes_are_set_one_and_several_at_a_time(tree: Tree) -> None:
    said = tree.run(f"/iscsi create {IQN}\n{TPG} set attribute generate_node_acls=1 demo_mode_write_protect=0")
    assert "Parameter generate_node_acls is now '1'" in said and "every initiator" in said
    assert "generate_node_acls=1" in tree.run(f"{TPG} get attribute generate_node_acls")
    assert "gen-acls, no-auth" in tree.run("ls /iscsi")
    assert "engine does not act on it" in tree.run(f"{TPG} set attribute login_timeout=30")
    assert "Unknown parameter" in tree.refused(f"{TPG} set attribute colour=1")
    assert "not a NUMBER" in tree.refused(f"{TPG} set attribute authentication=maybe")


def test_parameters(tree: Tree) -> None:
    tree.run(f"/iscsi create {IQN}\n{TPG} set parameter MaxConnections=4 InitialR2T=No")
    said = tree.run(f"{TPG} get parameter MaxConnections InitialR2T")
    assert "MaxConnections=4" in said and "InitialR2T=No" in said
    assert "neither Yes nor No" in tree.refused(f"{TPG} set parameter InitialR2T=perhaps")


def test_passwords_line_by_line_as_scripts_have_them(tree: Tree) -> None:
    tree.run(f"/iscsi create {IQN}\n{TPG} set auth userid=u\n{TPG} set auth password=twelve-or-more\n"
             f"{TPG} set attribute authentication=1 generate_node_acls=1")  # fmt: skip
    account = tree.desk.directory.targets[IQN].accounts.everybody
    assert account is not None and account.incoming.user == "u"
    assert "tpg-auth, 1-way auth" in tree.run("ls /iscsi")
    assert "twelve" not in tree.run(f"{TPG} get auth")
    assert "needs 12 to 255" in tree.run(f"{TPG} set auth password=short")
    assert "needs 12" not in tree.run(f"{TPG} set auth userid=v"), "its password comes next"


def test_an_initiators_own_attributes_and_passwords(tree: Tree) -> None:
    acl = f"{TPG}/acls/{HOST}"
    tree.run(f"/iscsi create {IQN}\n{TPG}/acls create {HOST}\n{acl} set attribute nopin_timeout=5\n"
             f"{acl} set auth userid=u password=twelve-or-more mutual_userid=m mutual_password=another-secret\n"
             f"{TPG} set attribute authentication=1")  # fmt: skip
    assert "nopin_timeout=5" in tree.run(f"{acl} get attribute nopin_timeout")
    assert "mutual auth" in tree.run("ls /iscsi")
    own = tree.desk.directory.targets[IQN].accounts.of(HOST)
    assert own is not None and own.outgoing is not None and own.outgoing.user == "m"
