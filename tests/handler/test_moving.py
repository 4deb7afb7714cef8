from __future__ import annotations

import copy
from typing import Any

import pytest

from handler import moving
from handler.configuration import OURS, Configuration
from tcmu_gluster.config.addresses import Portal, parse_access_rule
from tcmu_gluster.errors import OperationError

IQN = "iqn.2013-10.com.redhat"
HOST = "iqn.1994-05.com.redhat:cf75c8d4274d"
SHORTEST = 12
ASKS = {"discovery_enable_auth": True, "discovery_userid": "who", "discovery_password": "twelve-bytes-or-more"}


def target(wwn: str, disks: tuple[str, ...] = (), portals: tuple[tuple[str, int], ...] = ()) -> dict[str, Any]:
    return {"fabric": "iscsi", "wwn": wwn, "tpgs": [{
        "tag": 1, "luns": [{"index": n, "storage_object": f"/backstores/{path}"} for n, path in enumerate(disks)],
        "portals": [{"ip_address": address, "port": port} for address, port in portals], "node_acls": [],
        "attributes": {},
    }]}  # fmt: skip


def test_who_goes_together_is_found_through_luns_and_portals() -> None:
    targets = [
        target("a", ("user/1", "user/2"), (("10.0.0.1", 3260),)),
        target("b", ("user/2", "user/3"), (("10.0.0.2", 3260),)),
        target("c", ("user/4", "fileio/x"), (("10.0.0.2", 3260),)),
        target("d", ("user/5",), (("10.0.0.3", 3260),)),
        target("e", (), (("10.0.0.2", 3261),)),
    ]
    company = moving.company_of("1", targets)
    assert company == moving.Company({"1", "2", "3", "4"}, {"a", "b", "c"}, {"/backstores/fileio/x"})
    assert moving.company_of("5", targets) == moving.Company({"5"}, {"d"})
    assert moving.company_of("unshown", targets) == moving.Company({"unshown"})
    moving.agree("5", moving.company_of("5", targets), together=False)
    with pytest.raises(OperationError, match=r"disks 2, 3, 4 and a, b, c .*--together"):
        moving.agree("1", company, together=False)
    moving.agree("1", company, together=True)


@pytest.mark.parametrize(("one", "other", "both"), [
    (("10.0.0.1", 3260), ("10.0.0.1", 3260), True), (("10.0.0.1", 3260), ("10.0.0.1", 3261), False),
    (("10.0.0.1", 3260), ("10.0.0.2", 3260), False), (("0.0.0.0", 3260), ("10.0.0.2", 3260), True),
    (("::", 3260), ("10.0.0.2", 3260), True), (("::0", 3260), ("::", 3260), True),
    (("::1", 3260), ("0:0::1", 3260), True), (("127.0.0.1", 0), ("127.0.0.1", 0), False),
])  # fmt: skip
def test_two_fronts_on_one_portal_collide(one: tuple[str, int], other: tuple[str, int], both: bool) -> None:
    assert moving.collide(one, other) is moving.collide(other, one) is both


def engine() -> Configuration:
    configuration = Configuration()
    configuration.add_disk("vm1", "gluster/memory/vm1", 1 << 20, "serial-1")
    configuration.add_target(IQN, (Portal("127.0.0.1", 3260),), tid=5)
    configuration.map_lun(IQN, "vm1", 4, None)
    configuration.allow(IQN, parse_access_rule(HOST))
    return configuration


def test_a_target_that_left_and_came_back_is_the_same() -> None:
    configuration = engine()
    configuration.group(IQN).update(chap_userid="all", chap_password="twelve-bytes-or-more")
    configuration.group(IQN)["attributes"]["authentication"] = 1
    before = copy.deepcopy(configuration.root)
    said = moving.for_lio(configuration, IQN, SHORTEST)
    assert said["tpgs"][0]["node_acls"][0]["chap_userid"] == "all"
    assert configuration.root == before, "looking changes nothing"
    entry = copy.deepcopy(configuration.disk("vm1"))
    moving.leave(configuration, moving.Company({"vm1"}, {IQN}))
    assert configuration.root["targets"] == [] and configuration.root["storage_objects"] == []
    moving.disk_entry(configuration, entry["config"], {**entry, "control": "hw_block_size=512"})
    moving.enter(configuration, [moving.for_engine(said)])
    assert configuration.root["targets"] == before["targets"]
    assert configuration.root[OURS]["tids"] == {IQN: 5} and configuration.root[OURS]["moved"] == {}


def test_a_number_that_was_given_away_meanwhile_is_not_taken_back() -> None:
    configuration = engine()
    said = moving.for_lio(configuration, IQN, SHORTEST)
    moving.leave(configuration, moving.Company({"vm1"}, {IQN}))
    configuration.add_target(f"{IQN}:new", (), tid=5)
    moving.enter(configuration, [said])
    assert configuration.number_targets() == {f"{IQN}:new": 5, IQN: 1}


def test_names_that_are_taken_are_refused() -> None:
    configuration = engine()
    with pytest.raises(OperationError, match=r"a target .* already"):
        moving.enter(configuration, [target(IQN)])
    with pytest.raises(OperationError, match="a disk vm1 already"):
        moving.disk_entry(configuration, "gluster/x", {"name": "vm1", "size": 1, "wwn": "s"})


@pytest.mark.parametrize(("here", "there", "alone", "carried", "warned"), [
    ({}, {}, True, {}, False), (ASKS, ASKS, False, {}, False), (ASKS, {}, True, ASKS, False),
    (ASKS, {}, False, {}, True), ({}, ASKS, True, {}, True),
    ({**ASKS, "discovery_enable_auth": 0}, {"discovery_enable_auth": False}, False, {}, False),
])  # fmt: skip
def test_discovery_belongs_to_all_targets(here: Any, there: Any, alone: bool, carried: Any, warned: bool) -> None:
    found, warnings = moving.carry_discovery(here, there, alone)
    assert (found, bool(warnings)) == (carried, warned)
