from __future__ import annotations

import json

import pytest

from handler.configuration import Configuration
from handler.portal_group import (
    AUTH,
    HIDDEN,
    discovery_facts,
    edit_chap,
    is_enabled,
    map_for,
    set_value,
    target_facts,
    unmap_for,
)
from tcmu_gluster.config.addresses import Portal, parse_access_rule
from tcmu_gluster.errors import OperationError

IQN = "iqn.2013-10.com.redhat"
HOST = "iqn.1994-05.com.redhat:cf75c8d4274d"


def configured() -> Configuration:
    made = Configuration()
    made.add_disk("a", "gluster/memory/a", 4096, "s")
    made.add_target(IQN, (Portal("127.0.0.1", 3260),))
    made.map_lun(IQN, "a", 3, None)
    made.allow(IQN, parse_access_rule(HOST))
    return made


def test_attributes_and_parameters_stand_where_rtslib_reads_them() -> None:
    made = configured()
    assert set_value(made, IQN, None, "attribute", "generate_node_acls", "1")
    assert not set_value(made, IQN, None, "attribute", "login_timeout", "30")
    assert not set_value(made, IQN, None, "parameter", "MaxConnections", "4")
    assert not set_value(made, IQN, HOST, "attribute", "nopin_timeout", "5")
    group = made.group(IQN)
    assert group["attributes"]["generate_node_acls"] == 1 and group["attributes"]["login_timeout"] == 30
    assert group["parameters"] == {"MaxConnections": "4"}
    assert group["node_acls"][0]["attributes"] == {"nopin_timeout": 5}
    facts = target_facts(made, IQN)
    assert facts["attributes"]["login_timeout"] == 30 and facts["attributes"]["default_cmdsn_depth"] == 64
    assert facts["parameters"]["MaxConnections"] == "4" and facts["acls"][0]["attributes"]["nopin_timeout"] == 5


@pytest.mark.parametrize(
    ("initiator", "group", "name", "value", "word"),
    [
        (None, "attribute", "colour", "1", "there is no attribute 'colour'"),
        (None, "attribute", "authentication", "yes", "whole number"),
        (None, "parameter", "authentication", "1", "there is no parameter"),
        (None, "parameter", "TargetAlias", "x" * 300, "too long"),
        (HOST, "attribute", "generate_node_acls", "1", "there is no attribute"),
        (HOST, "parameter", "MaxConnections", "4", "belong to the whole target"),
        ("iqn.2020-01.com.other", "attribute", "nopin_timeout", "1", "no rule of its own"),
    ],
)
def test_what_is_not_known_is_refused(initiator: str | None, group: str, name: str, value: str, word: str) -> None:
    made = configured()
    before = json.dumps(made.root)
    with pytest.raises(OperationError, match=word):
        set_value(made, IQN, initiator, group, name, value)
    assert json.dumps(made.root) == before


def test_an_initiator_sees_a_lun_under_another_number() -> None:
    made = configured()
    assert map_for(made, IQN, HOST, 3, 7, read_only=True) == ("a", True)
    assert map_for(made, IQN, HOST, 3, 7, read_only=True) == ("a", False)
    assert made.visible_luns(IQN, HOST)[7] == ("a", True)
    assert {"lun": 7, "tpg_lun": 3, "disk": "a", "read_only": True} in target_facts(made, IQN)["acls"][0]["luns"]
    with pytest.raises(OperationError, match="has a LUN 7 already"):
        map_for(made, IQN, HOST, 3, 7, read_only=False)
    with pytest.raises(OperationError, match="has no LUN 9"):
        map_for(made, IQN, HOST, 9, 9, read_only=False)
    assert unmap_for(made, IQN, HOST, 7)
    assert not unmap_for(made, IQN, HOST, 7)
    assert 7 not in made.visible_luns(IQN, HOST)


def test_passwords_are_edited_one_by_one_and_never_shown() -> None:
    made = configured()
    acl = made.credentials(IQN, HOST)
    edit_chap(acl, False, {"userid": "u"})
    edit_chap(acl, False, {"password": "twelve-or-more"})
    assert (acl["chap_userid"], acl["chap_password"]) == ("u", "twelve-or-more")
    edit_chap(acl, False, {"userid": ""})
    assert target_facts(made, IQN)["acls"][0]["auth"] == {
        "userid": "", "password": HIDDEN, "mutual_userid": "", "mutual_password": ""}  # fmt: skip
    assert discovery_facts(made) == {"enable": False, **dict.fromkeys(AUTH, "")}
    edit_chap(made.make_fabric(), True, {"userid": "d", "password": "twelve-or-more"})
    assert discovery_facts(made)["userid"] == "d" and "twelve" not in json.dumps(discovery_facts(made))


@pytest.mark.parametrize(("group", "on"), [({}, True), ({"enable": False}, False), ({"enable": 0}, False)])
def test_a_group_is_enabled_unless_it_says_otherwise(group: dict[str, object], on: bool) -> None:
    assert is_enabled(group) is on
