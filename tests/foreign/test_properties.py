"""For any file: it is read or refused with a sentence, and a URI names the volume and the path that were meant."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.config.uri import parse_backing
from tcmu_gluster.control.operations import OPERATIONS, UsageError
from tcmu_gluster.errors import ConfigError
from tcmu_gluster.foreign import gluster_block, saveconfig, tgt_conf
from tcmu_gluster.foreign.plan import Plan
from tcmu_gluster.foreign.volumes import gluster_uri

IQN = "iqn.2013-10.com.redhat"
GBID = "6b60c53c-8ce0-4d8d-a42c-5b546bca3d09"
PARTS = st.text(st.sampled_from("ab1/.%@:?#&=+, \\\"'<>[]é\udcff"), max_size=12) | st.text(max_size=8)
WORDS = st.sampled_from([
    "backing-store", "direct-store", "initiator-address", "initiator-name", "incominguser", "lun", "driver", "bs-type",
    "glfs", "include", "target", IQN, "/srv/a", "vol@host:a", "ALL", "192.0.2.0/24", "joe secretsecret1", "1", "off",
    "controller_tid", "scsi_sn", "=", '"', "#", "\\", "/*", "*/", "<<EOF", "EOF", "state",
])  # fmt: skip
LINES = st.lists(WORDS, max_size=4).map(" ".join) | st.sampled_from(
    [f"<target {IQN}>", "</target>", "<backing-store /srv/a>", "</backing-store>", "<target x>", "<", ">"]
)
CONFIGURATIONS = st.lists(LINES, max_size=14).map("\n".join) | st.text(max_size=80)


def is_whole(plan: Plan) -> None:
    """Every step is one of the table's, or is refused by it with a sentence; a target is made before it is used."""
    for group in plan.groups:
        made: set[Any] = set()
        for step in group.steps:
            try:
                OPERATIONS[step.op].check(step.args)
            except UsageError as error:
                assert "\n" not in str(error)
            if step.op == "target.create":
                made.add(step.args["target"])
            elif "target" in step.args:
                assert step.args["target"] in made


@given(PARTS, st.lists(PARTS, min_size=1, max_size=2), PARTS)
def test_a_uri_names_what_was_meant_or_is_refused(volume: str, hosts: list[str], path: str) -> None:
    try:
        found = parse_backing(gluster_uri(volume, hosts, path))
    except ConfigError:
        return
    assert (found.scheme, found.volume, [host for host, _ in found.hosts]) == ("gluster", volume, hosts)
    assert [p for p in found.path.split("/") if p] == [p for p in path.split("/") if p not in ("", ".")]


@given(CONFIGURATIONS, st.booleans())
def test_any_targets_conf(text: str, there: bool) -> None:
    try:
        plan = tgt_conf.plan("t.conf", text, lambda pattern: [("i.conf", "lun 3\n")], lambda path: there)
    except ConfigError:
        return
    is_whole(plan)


@given(st.lists(st.sampled_from(["192.0.2.1", "x", "ALL", "192.0.2.0/24"]), min_size=1), st.booleans())
def test_a_rule_that_is_not_understood_never_becomes_all(addresses: list[str], named: bool) -> None:
    lines = [f"initiator-address {address}" for address in addresses] + [
        "initiator-name iqn.1994-05.com.redhat:x"
    ] * named
    text = "\n".join([f"<target {IQN}>", *lines, "</target>"])
    (group,) = tgt_conf.plan("t.conf", text, lambda pattern: (), lambda path: True).groups
    rules = [step.args["rule"] for step in group.steps if step.op == "acl.allow"]
    assert "all" not in rules or ("ALL" in addresses and not named)


KEYS = st.sampled_from(
    ["VOLUME", "GBID", "HA", "SIZE", "ENTRYCREATE", "ENTRYDELETE", "PASSWORD", "BLKSIZE", "192.0.2.1"]
)
VALUES = st.sampled_from(["vol", GBID, "SUCCESS", "CONFIGSUCCESS", "CONFIGFAIL", "0", "4096", ""]) | PARTS


@given(st.lists(st.tuples(KEYS, VALUES).map(": ".join), max_size=10).map("\n".join) | st.text(max_size=60))
def test_any_metadata_of_gluster_block(text: str) -> None:
    plan = gluster_block.plan({"block": text})
    is_whole(plan)
    assert len(plan.groups) + len(plan.notes) == 1, "taken over, or said why not"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | PARTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "plugin", "config", "wwn", "control", "attributes"]), inner, max_size=5
        )
    ),
    max_leaves=8,
)
DISKS = st.fixed_dictionaries(
    {"plugin": st.just("user"), "config": PARTS.map(lambda text: "glfs/" + text)},
    optional={"name": JSON, "wwn": JSON, "control": JSON, "attributes": JSON},
)


@given(st.lists(DISKS | JSON, max_size=4))
def test_any_saved_configuration(objects: list[Any]) -> None:
    is_whole(saveconfig.plan("x.json", json.dumps({"storage_objects": objects})))
