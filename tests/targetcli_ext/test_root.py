from __future__ import annotations

import json
from pathlib import Path

from tests.targetcli_ext.tree import IQN, Tree

BUILD = f"/backstores/ramdisk create m 1M\n/iscsi create {IQN}\n/iscsi/{IQN}/tpg1/luns create /backstores/ramdisk/m"


def test_save_clear_restore(tree: Tree, tmp_path: Path) -> None:
    tree.run(f"{BUILD}\nsaveconfig {tmp_path}/saved.json\nsaveconfig")
    assert json.loads((tmp_path / "saved.json").read_text())["targets"][0]["wwn"] == IQN
    assert "confirm=True" in tree.refused("clearconfig") and "lun0" in tree.run("ls /")
    tree.run("clearconfig confirm=True")
    assert "lun0" not in tree.run("ls /")
    tree.run(f"restoreconfig {tmp_path}/saved.json clear_existing=true")
    assert "lun0" in tree.run("ls /")
    assert "there is no" in tree.refused(f"restoreconfig {tmp_path}/none.json")
    assert "whole file" in tree.refused(f"restoreconfig {tmp_path}/saved.json target={IQN}")


def test_sessions(tree: Tree) -> None:
    assert "(no open sessions)" in tree.run("sessions") and "(no open sessions)" in tree.run("sessions detail")
    assert "no session found with sid 7" in tree.refused("sessions list 7")
    assert "list, detail" in tree.refused("sessions all")
    assert "whole number" in tree.refused("sessions list x")


def test_info_version_status(tree: Tree) -> None:
    assert "tcmu-gluster version" in tree.run("version")
    assert "lio: off" in tree.run("info")
    assert "Status for /iscsi: Targets: 0" in tree.run("/iscsi status")


def test_the_shell_stays_where_it_is_when_the_tree_is_built_anew(tree: Tree) -> None:
    said = tree.run(f"{BUILD}\ncd /iscsi/{IQN}/tpg1/luns\ndelete 0\npwd\nrefresh\n/iscsi delete {IQN}\npwd")
    assert f"/iscsi/{IQN}/tpg1/luns\n" in said and said.strip().endswith("/iscsi")


def test_ls_asks_nothing_and_a_start_asks_one_question(tree: Tree) -> None:
    tree.run(BUILD)
    tree.asked.clear()
    tree.run("ls /\nls /")
    assert tree.asked == ["configuration"]


def test_five_hundred_disks_on_fifty_targets_are_asked_for_in_one_question(tree: Tree) -> None:
    wanted = tree.desk.context.configuration.copy()
    for number in range(500):
        wanted.add_disk(f"d{number}", f"gluster/memory/d{number}", 512, f"{number:08x}")
    for number in range(50):
        iqn = f"{IQN}:{number}"
        wanted.add_target(iqn, ())
        for lun in range(10):
            wanted.map_lun(iqn, f"d{number * 10 + lun}", lun, None)
    tree.in_loop(tree.desk.context.change(wanted))
    said = tree.run("ls /")
    assert said.count("lun") >= 500 and said.count("o- d") == 500
    assert tree.asked == ["configuration"]
