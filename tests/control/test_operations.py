from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.control.operations import OPERATIONS, Kind, Shape, UsageError, find


def test_arguments_come_out_in_normal_form() -> None:
    args = find("disk.create").check({"name": "vm1", "uri": "vol@host:vm1", "size": "2G", "front": "lio"})
    assert args == {
        "name": "vm1",
        "uri": "gluster://host/vol/vm1",
        "size": 2 << 30,
        "front": "lio",
        "prealloc": None,
        "read_only": False,
        "block_size": None,
        "provisioning": None,
        "removable": False,
        "background_rate": None,
        **dict.fromkeys(("serial", "naa", "vendor", "product", "revision", "scsi_id", "unit_serial", "write_cache")),
    }
    allowed = find("acl.allow").check({"target": "IQN.2013-10.com.redhat", "rule": "ALL"})
    assert allowed == {"target": "iqn.2013-10.com.redhat", "rule": "all"}
    assert find("portal.add").check({"target": "iqn.2013-10.com.redhat", "portal": "::1"})["portal"] == "[::1]:3260"


@pytest.mark.parametrize(
    ("name", "args", "words"),
    [
        ("disk.create", {"name": "vm1"}, "needs uri"),
        ("disk.create", {"name": "../x", "uri": "memory:x"}, "disk name"),
        ("disk.create", {"name": "x", "uri": "memory:x", "front": "tgt"}, "lio or engine"),
        ("disk.create", {"name": "x", "uri": "memory:x", "colour": 1}, "no argument 'colour'"),
        ("disk.create", {"name": 5, "uri": "memory:x"}, "text"),
        ("disk.delete", {"name": "x", "keep_file": "yes"}, "true or false"),
        ("disk.resize", {"name": "x", "size": []}, "not a size"),
        ("target.create", {"target": "iqn.20013-10.com.redhat"}, "did you mean"),
        ("lun.map", {"target": "iqn.2013-10.com.redhat", "disk": "x", "lun": -1}, "whole number"),
        ("lun.map", {"target": "iqn.2013-10.com.redhat", "disk": "x", "lun": True}, "whole number"),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(name: str, args: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        find(name).check(args)


def test_an_unknown_operation_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no operation 'disk\.frobnicate'"):
        find("disk.frobnicate")


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.lists(st.integers(), max_size=2)


@given(st.sampled_from(sorted(OPERATIONS)), st.data())
def test_any_arguments_are_checked_or_refused(name: str, data: st.DataObject) -> None:
    operation = find(name)
    names = [argument.name for argument in operation.arguments] + ["other"]
    args = data.draw(st.dictionaries(st.sampled_from(names), VALUES))
    try:
        checked = operation.check(args)
    except UsageError as error:
        assert "\n" not in str(error)
        return
    assert set(checked) == set(names) - {"other"}
    assert operation.check(checked) == checked


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=str)
def test_rows_keep_the_tables_own_rules(operation: object) -> None:
    row = OPERATIONS[operation.name]
    assert row.help.endswith(".") and 1 <= len(row.words) <= 2
    assert (row.shape is Shape.LIST) == bool(row.columns)
    positional = [argument for argument in row.arguments if argument.positional]
    required = [argument.required for argument in positional]
    assert required == sorted(required, reverse=True), "a word that may be missing comes last"
    for argument in row.arguments:
        assert argument.help and argument.kind in Kind
        assert not (argument.positional and argument.kind in (Kind.FLAG, Kind.SECRET))


def test_a_flag_may_be_typed_otherwise_than_it_is_named() -> None:
    (argument,) = (argument for argument in OPERATIONS["lun.map"].arguments if argument.name == "initiator")
    assert argument.flag == "--for"
