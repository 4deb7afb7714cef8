from __future__ import annotations

import pytest

from targetcli_ext.configshell import ExecutionError
from targetcli_ext.node import number
from tests.targetcli_ext.tree import Tree


def test_numbers_may_have_their_prefix() -> None:
    assert (number("lun3", "lun", "lun"), number("7", "lun", "lun"), number(0, "sid")) == (3, 7, 0)
    for bad in ("lun", "-1", "3x", "٣", "1" * 12):
        with pytest.raises(ExecutionError):
            number(bad, "lun", "lun")


def test_every_node_is_helped_listed_and_refreshed(tree: Tree) -> None:
    said = tree.run("/backstores/gluster help create\nhelp sessions\nrefresh\n/iscsi refresh\nls")
    assert "prealloc" in said and "sid" in said


def test_yes_and_no(tree: Tree) -> None:
    node = tree.shell()._current_node
    assert node.ui_type_yesno("Yes") == "Yes" and node.ui_type_yesno() == "Yes|No"
    assert node.ui_type_yesno(enum=True) == ("Yes", "No") and node.ui_type_yesno(reverse=True) == "n/a"
    assert node.ui_type_yesno("No", reverse=True) == "No"
