"""What a saved file may hold: the forms, and the place of what is wrong."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from handler.operations.whole import convert
from handler.schema import ACCESS, GROUP, TARGET, wrong_in
from tcmu_gluster.errors import OperationError
from tests.fuzz.words import EXAMPLE, IQN, ask_everything


def target() -> dict[str, Any]:
    found: dict[str, Any] = copy.deepcopy(EXAMPLE["targets"][0])
    return found


def test_what_we_write_ourselves_has_the_form() -> None:
    assert wrong_in(target(), TARGET, "target") is None
    assert wrong_in(EXAMPLE["tcmu_gluster"], ACCESS, "tcmu_gluster") is None
    assert wrong_in({}, GROUP, "group") is None, "rtslib leaves out what is empty"


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (("tpgs",), {}, "x.tpgs is no list"),
        (("tpgs", 0), 7, "x.tpgs[0] is no object"),
        (("tpgs", 0, "luns"), None, "x.tpgs[0].luns is no list"),
        (("tpgs", 0, "luns", 0, "index"), "0", "x.tpgs[0].luns[0].index is not a whole number from 0 to 65535"),
        (("tpgs", 0, "luns", 0), {}, "x.tpgs[0].luns[0] has no index"),
        (("tpgs", 0, "node_acls", 0, "node_wwn"), [], "x.tpgs[0].node_acls[0].node_wwn is not text"),
        (("tpgs", 0, "node_acls", 0, "mapped_luns", 0, "tpg_lun"), True, "tpg_lun is not a whole number"),
        (("tpgs", 0, "portals", 0, "ip_address"), "here", "ip_address is not an ip address"),
        (("tpgs", 0, "portals", 0, "port"), 1 << 16, "port is not a whole number"),
        (("tpgs", 0, "attributes"), [], "x.tpgs[0].attributes is no object"),
        (("tpgs", 0, "node_acls", 0, "attributes"), 1, "x.tpgs[0].node_acls[0].attributes is no object"),
        (
            ("tpgs", 0, "node_acls", 0, "attributes"),
            {"authentication": "on"},
            "x.tpgs[0].node_acls[0].attributes.authentication is not a whole number, as such or as text, or nothing",
        ),
    ],
)
def test_the_place_of_what_is_wrong_is_said(path: tuple[Any, ...], value: Any, sentence: str) -> None:
    whole = target()
    inner: Any = whole
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    assert sentence in str(wrong_in(whole, TARGET, "x"))


@pytest.mark.parametrize("value", [-1, 0, 1, True, None, "", "-1", "0", " 1 "])
def test_what_a_kernel_says_of_one_initiators_authentication(value: Any) -> None:
    whole = target()
    whole["tpgs"][0]["node_acls"][0]["attributes"] = {"authentication": value}
    assert wrong_in(whole, TARGET, "x") is None
    root = copy.deepcopy(EXAMPLE)
    root["targets"] = [whole]
    convert(root)  # whether it is served depends on the value; that it is understood does not


@pytest.mark.parametrize("value", ["-", "--1", "1-", "\u0661", "9" * 11, 1.5, [], {}])
def test_what_no_kernel_says(value: Any) -> None:
    whole = target()
    whole["tpgs"][0]["node_acls"][0]["attributes"] = {"authentication": value}
    assert "authentication is not" in str(wrong_in(whole, TARGET, "x"))


def test_a_target_of_the_wrong_form_is_left_out_and_the_others_are_served() -> None:
    root = copy.deepcopy(EXAMPLE)
    broken = copy.deepcopy(root["targets"][0])
    broken["wwn"], broken["tpgs"][0]["luns"] = "iqn.2013-10.com.broken", "none"
    root["targets"].insert(0, broken)
    found, skipped = convert(root)
    assert [one["wwn"] for one in found.targets()] == [IQN]
    assert skipped == ["target iqn.2013-10.com.broken: tpgs[0].luns is no list"]
    ask_everything(found)


@pytest.mark.parametrize("ours", [{"networks": []}, {"networks": {IQN: ["nonsense/77"]}}, {"private_luns": {IQN: 0}}])
def test_rules_that_cannot_be_read_open_no_door(ours: dict[str, Any]) -> None:
    """Without its rules and private LUNs a target would show more than was said, so the whole file is refused."""
    root = {**copy.deepcopy(EXAMPLE), "tcmu_gluster": ours}
    with pytest.raises(OperationError, match="tcmu_gluster"):
        convert(root)


@pytest.mark.parametrize("name", [[], {}, 7, None])
def test_a_disk_whose_name_is_no_text_is_left_out(name: Any) -> None:
    root = copy.deepcopy(EXAMPLE)
    root["storage_objects"].append({"name": name, "plugin": "user", "config": "gluster/memory/a"})
    found, skipped = convert(root)
    assert len(list(found.disks())) == 2 and skipped == [f"storage object {name!r}: it is malformed"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"attributes": "none"},
        {"attributes": [1]},
        {"attributes": {"block_size": float("inf")}},
        {"size": float("inf")},
        {"attributes": {"block_size": "big"}},
    ],
)
def test_a_disk_with_values_of_another_kind_is_left_out(wrong: dict[str, Any]) -> None:
    root = copy.deepcopy(EXAMPLE)
    root["storage_objects"].append({"name": "odd", "plugin": "fileio", "dev": "/srv/odd", "size": 1 << 20, **wrong})
    found, skipped = convert(root)
    assert len(list(found.disks())) == 2 and skipped == ["storage object 'odd': it is malformed"]
