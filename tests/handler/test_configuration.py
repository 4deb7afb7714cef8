from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.configuration import Configuration
from tcmu_gluster.config.addresses import Portal, parse_access_rule
from tcmu_gluster.errors import OperationError

IQN = "iqn.2013-10.com.redhat"
HOST = "iqn.1994-05.com.redhat:cf75c8d4274d"
PORTAL = Portal("0.0.0.0")


def made() -> Configuration:
    configuration = Configuration()
    for name in ("a", "b"):
        configuration.add_disk(name, f"gluster/memory/{name}", 1 << 20, f"serial-{name}")
    configuration.add_target(IQN, (PORTAL,))
    return configuration


def test_a_new_target_admits_nobody() -> None:
    configuration = made()
    assert configuration.rules(IQN) == [] and configuration.luns(IQN) == {}
    assert configuration.portals(IQN) == [PORTAL]


def test_luns_are_given_in_order_and_stay_unless_taken_away() -> None:
    configuration = made()
    assert configuration.map_lun(IQN, "a", None, None) == (0, True)
    assert configuration.map_lun(IQN, "a", None, None) == (0, False)
    assert configuration.map_lun(IQN, "b", 7, None) == (7, True)
    with pytest.raises(OperationError, match=r"LUN 7 .* is disk b"):
        configuration.map_lun(IQN, "a", 7, None)
    with pytest.raises(OperationError, match="too large"):
        configuration.map_lun(IQN, "a", 256, None)
    with pytest.raises(OperationError, match="no disk 'c'"):
        configuration.map_lun(IQN, "c", None, None)
    assert configuration.unmap_lun(IQN, 0, None) == "a"
    assert configuration.unmap_lun(IQN, 0, None) is None
    assert configuration.luns(IQN) == {7: "b"}


def test_a_disk_that_is_shown_cannot_be_removed() -> None:
    configuration = made()
    configuration.map_lun(IQN, "a", None, None)
    with pytest.raises(OperationError, match="lun unmap"):
        configuration.remove_disk("a")
    configuration.remove_disk("b")
    assert [disk["name"] for disk in configuration.disks()] == ["a"]


def test_an_initiator_of_its_own_sees_its_own_map() -> None:
    configuration = made()
    configuration.map_lun(IQN, "a", None, None)
    assert configuration.allow(IQN, parse_access_rule(HOST)) and not configuration.allow(IQN, parse_access_rule(HOST))
    assert configuration.visible_luns(IQN, HOST) == {0: ("a", False)}
    configuration.map_lun(IQN, "b", None, HOST)
    assert configuration.visible_luns(IQN, HOST) == {0: ("a", False), 1: ("b", False)}
    configuration.unmap_lun(IQN, 0, HOST)
    assert configuration.visible_luns(IQN, HOST) == {1: ("b", False)}
    assert configuration.luns(IQN) == {0: "a", 1: "b"}
    with pytest.raises(OperationError, match="acl allow"):
        configuration.map_lun(IQN, "b", None, "iqn.2001-04.com.example")


def test_a_lun_mapped_later_reaches_everybody_who_is_there() -> None:
    configuration = made()
    configuration.allow(IQN, parse_access_rule(HOST))
    configuration.map_lun(IQN, "a", None, None)
    assert configuration.visible_luns(IQN, HOST) == {0: ("a", False)}


@pytest.mark.parametrize("text", ["all", "10.0.0.0/8", HOST])
def test_rules_come_and_go(text: str) -> None:
    configuration = made()
    rule = parse_access_rule(text)
    assert configuration.allow(IQN, rule)
    assert configuration.rules(IQN) == [rule]
    assert configuration.visible_luns(IQN, "iqn.2001-04.com.example") == {}
    assert configuration.deny(IQN, rule) and not configuration.deny(IQN, rule)
    assert configuration.rules(IQN) == []


def test_all_may_write_but_lios_demo_mode_may_not() -> None:
    configuration = made()
    configuration.map_lun(IQN, "a", None, None)
    configuration.allow(IQN, parse_access_rule("all"))
    assert configuration.visible_luns(IQN, "iqn.2001-04.com.example") == {0: ("a", False)}
    configuration.group(IQN)["attributes"]["demo_mode_write_protect"] = 1
    assert configuration.visible_luns(IQN, "iqn.2001-04.com.example") == {0: ("a", True)}


def test_portals_come_and_go_also_ipv6_as_rtslib_writes_it() -> None:
    configuration = made()
    v6 = Portal("::1", 3261)
    assert configuration.add_portal(IQN, v6) and not configuration.add_portal(IQN, v6)
    assert configuration.group(IQN)["portals"][1] == {
        "ip_address": "[::1]",
        "port": 3261,
        "iser": False,
        "offload": False,
    }
    assert configuration.portals(IQN) == [PORTAL, v6]
    assert configuration.remove_portal(IQN, v6) and not configuration.remove_portal(IQN, v6)


def test_deleting_a_target_takes_its_rules_along() -> None:
    configuration = made()
    configuration.allow(IQN, parse_access_rule("10.0.0.0/8"))
    configuration.remove_target(IQN)
    assert configuration.root["tcmu_gluster"]["networks"] == {}
    with pytest.raises(OperationError, match="no target"):
        configuration.target(IQN)


def test_what_nobody_here_knows_stays() -> None:
    root = {
        "storage_objects": [
            {"name": "x", "plugin": "pscsi", "odd": 1},
            {"name": "a", "plugin": "user", "config": "gluster/memory/a", "new": 2},
        ],
        "targets": [
            {
                "fabric": "iscsi",
                "wwn": IQN,
                "colour": "red",
                "tpgs": [{"tag": 1, "luns": [], "node_acls": [], "portals": [], "more": 3}],
            }
        ],
        "fabric_modules": [{"name": "iscsi"}],
        "later": {"version": 9},
        "tcmu_gluster": {"ours": "too"},
    }  # fmt: skip
    before = copy.deepcopy(root)
    configuration = Configuration(root).copy()
    configuration.map_lun(IQN, "a", None, None)
    configuration.unmap_lun(IQN, 0, None)
    after: dict[str, Any] = configuration.root
    assert after["tcmu_gluster"].pop("networks") == {} and after["tcmu_gluster"].pop("version") == 1
    after["targets"][0]["tpgs"][0].pop("attributes")
    assert after == before


@pytest.mark.parametrize("root", [{"storage_objects": {}}, {"targets": "x"}, {"tcmu_gluster": []}])
def test_what_is_no_configuration_is_refused(root: dict[str, Any]) -> None:
    with pytest.raises(OperationError, match="form"):
        Configuration(root)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("map"), st.sampled_from("ab"), st.none() | st.integers(0, 3)),
        st.tuples(st.just("unmap"), st.integers(0, 3), st.none()),
        st.tuples(st.just("allow"), st.sampled_from(["all", "10.0.0.0/8", HOST]), st.none()),
        st.tuples(st.just("deny"), st.sampled_from(["all", "10.0.0.0/8", HOST]), st.none()),
    ),
    max_size=15,
)


@given(STEPS)
def test_operations_against_a_model(steps: list[tuple[Any, Any, Any]]) -> None:
    configuration = made()
    luns: dict[int, str] = {}
    rules: set[str] = set()
    for what, first, second in steps:
        if what == "map":
            present = [lun for lun, name in luns.items() if name == first]
            wanted = second if second is not None else present[0] if present else min(set(range(9)) - set(luns))
            try:
                lun, changed = configuration.map_lun(IQN, first, second, None)
            except OperationError:
                assert luns.get(wanted, first) != first
                continue
            assert changed is (wanted not in luns)
            luns[lun] = first
            assert second is None or lun == second
        elif what == "unmap":
            assert configuration.unmap_lun(IQN, first, None) == luns.pop(first, None)
        elif what == "allow":
            assert configuration.allow(IQN, parse_access_rule(first)) is (first not in rules)
            rules.add(first)
        else:
            assert configuration.deny(IQN, parse_access_rule(first)) is (first in rules)
            rules.discard(first)
        assert configuration.luns(IQN) == luns
        assert {str(rule) for rule in configuration.rules(IQN)} == rules


OTHER = "iqn.2001-04.com.example"


def test_a_lun_for_one_initiator_is_seen_by_nobody_else() -> None:
    configuration = made()
    for rule in (HOST, "10.0.0.0/8", "all"):
        configuration.allow(IQN, parse_access_rule(rule))
    assert configuration.map_lun(IQN, "a", None, None) == (0, True)
    assert configuration.map_lun(IQN, "b", None, HOST) == (1, True)
    assert configuration.map_lun(IQN, "b", None, HOST) == (1, False)
    assert configuration.visible_luns(IQN, HOST) == {0: ("a", False), 1: ("b", False)}
    assert configuration.visible_luns(IQN, OTHER) == {0: ("a", False)}
    configuration.allow(IQN, parse_access_rule(OTHER))
    assert configuration.visible_luns(IQN, OTHER) == {0: ("a", False)}, "a rule that comes later shows it neither"
    assert configuration.map_lun(IQN, "b", None, None) == (1, True)
    assert configuration.map_lun(IQN, "b", None, None) == (1, False)
    assert set(configuration.visible_luns(IQN, OTHER)) == set(configuration.visible_luns(IQN, "iqn.x")) == {0, 1}
    configuration.unmap_lun(IQN, 1, None)
    assert configuration.map_lun(IQN, "b", None, None) == (1, True)
    assert set(configuration.visible_luns(IQN, "iqn.x")) == {0, 1}


def test_a_private_lun_that_is_taken_away_leaves_nothing_behind() -> None:
    configuration = made()
    configuration.allow(IQN, parse_access_rule(HOST))
    configuration.map_lun(IQN, "a", 3, HOST)
    assert configuration.private_luns(IQN) == {3}
    configuration.unmap_lun(IQN, 3, None)
    assert configuration.private_luns(IQN) == set()
    configuration.map_lun(IQN, "a", 3, HOST)
    configuration.remove_target(IQN)
    configuration.add_target(IQN, (PORTAL,))
    assert configuration.private_luns(IQN) == set()


def test_read_only_is_for_one_initiator_and_stays() -> None:
    configuration = made()
    for rule in (HOST, OTHER):
        configuration.allow(IQN, parse_access_rule(rule))
    configuration.map_lun(IQN, "a", None, None)
    assert configuration.map_lun(IQN, "a", None, HOST, read_only=True) == (0, True)
    assert configuration.map_lun(IQN, "a", None, HOST, read_only=True) == (0, False)
    assert configuration.map_lun(IQN, "a", None, HOST) == (0, False)
    assert configuration.visible_luns(IQN, HOST) == {0: ("a", True)}
    assert configuration.visible_luns(IQN, OTHER) == {0: ("a", False)}
    configuration.unmap_lun(IQN, 0, HOST)
    assert configuration.map_lun(IQN, "a", None, HOST) == (0, True)
    assert configuration.visible_luns(IQN, HOST) == {0: ("a", False)}


def test_a_new_lun_does_not_take_a_number_under_which_an_initiator_sees_another() -> None:
    made = Configuration()
    for name in ("a", "b"):
        made.add_disk(name, f"gluster/memory/{name}", 4096, name)
    made.add_target(IQN, ())
    made.map_lun(IQN, "a", 3, None)
    made.allow(IQN, parse_access_rule(HOST))
    made.credentials(IQN, HOST)["mapped_luns"][0]["index"] = 0
    made.map_lun(IQN, "b", 0, None)
    assert made.visible_luns(IQN, HOST) == {0: ("a", False), 1: ("b", False)}


def test_a_storage_object_says_what_the_kernel_would_not_assume() -> None:
    """rtslib hands `control` to the kernel, whose default is blocks of 512 bytes and no write cache (da_emulate_*)."""
    configuration = Configuration()
    assert configuration.add_disk("a", "gluster/x", 1, "s")["control"] == "nl_reply_supported=-1"
    big = configuration.add_disk("b", "gluster/y", 1, "t", 4096)
    assert big["control"] == "nl_reply_supported=-1,hw_block_size=4096"
    assert big["attributes"] == {"emulate_write_cache": 1}
    configuration.set_write_cache("b", False)
    assert configuration.disk("b")["attributes"] == {"emulate_write_cache": 0}
