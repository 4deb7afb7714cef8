"""targets.conf as targets.conf(5) describes it; tests/system/test_import.py holds it against the real tgt-admin."""

from __future__ import annotations

from typing import Any

import pytest

from tcmu_gluster.control.operations import OPERATIONS
from tcmu_gluster.errors import ConfigError
from tcmu_gluster.foreign import tgt_conf
from tcmu_gluster.foreign.plan import Plan

IQN = "iqn.2013-10.com.redhat"


def plan(text: str, missing: tuple[str, ...] = ()) -> Plan:
    made = tgt_conf.plan("t.conf", text, lambda pattern: (), lambda path: path not in missing)
    for group in made.groups:
        for step in group.steps:
            OPERATIONS[step.op].check(step.args)
    return made


def steps(text: str, missing: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    """The one group's operations, each with the argument that tells them apart."""
    (group,) = plan(text, missing).groups
    told = {
        "target.create": "tid",
        "tgt.add": "lun",
        "acl.allow": "rule",
        "chap.set": "user",
        "target.disable": "target",
    }
    return [(step.op, step.args[told[step.op]]) for step in group.steps]


def target(body: str, name: str = IQN) -> str:
    return f"<target {name}>\n{body}\n</target>\n"


def store(path: str, body: str = "") -> str:
    return f"<backing-store {path}>\n{body}\n</backing-store>\n"


def test_everybody_may_log_in_unless_an_address_is_given() -> None:
    assert steps(target("backing-store /srv/a")) == [("target.create", 1), ("tgt.add", 1), ("acl.allow", "all")]
    assert steps(target("initiator-address 192.0.2.0/24\ninitiator-address 198.51.100.7\nbacking-store /a"))[2:] == [
        ("acl.allow", "192.0.2.0/24"), ("acl.allow", "198.51.100.7"),
    ]  # fmt: skip
    assert steps(target("initiator-address ALL"))[1:] == [("acl.allow", "all")]
    assert steps(target("initiator-name iqn.1994-05.com.redhat:x"))[1:] == [("acl.allow", "iqn.1994-05.com.redhat:x")]


@pytest.mark.parametrize(
    "body",
    [
        "initiator-address nonsense",
        "initiator-name nonsense",
        "initiator-name iqn.1994-05.com.redhat:x\ninitiator-address 192.0.2.7",  # tgt wants both; ours is either
        "incominguser joe",
        "incominguser joe a b",
    ],
)
def test_what_would_have_kept_somebody_out_lets_nobody_in(body: str) -> None:
    made = plan(target(body))
    assert "acl.allow" not in [step.op for step in made.groups[0].steps]
    assert any("nobody may log in" in note for note in made.notes)
    assert all(note.startswith("t.conf:") for note in made.notes)


def test_a_target_is_never_open_before_its_password_is_asked_for() -> None:
    got = steps(target("incominguser joe secretsecret1\noutgoinguser out secretsecret2\nbacking-store /a"))
    assert [op for op, _ in got] == ["target.create", "tgt.add", "chap.set", "acl.allow"]


def test_one_account_a_direction_is_taken() -> None:
    made = plan(target("incominguser joe secretsecret1\nincominguser jim secretsecret2"))
    assert any("one account a direction" in note for note in made.notes)
    assert not any("secretsecret" in note for note in made.notes)
    assert "proves itself only" in plan(target("outgoinguser out secretsecret2")).notes[0]


def test_luns_are_numbered_by_path_around_those_that_are_given() -> None:
    body = store("/c") + store("/a") + store("/b", "lun 1")
    (group,) = plan(target(body)).groups
    assert {s.args["lun"]: s.args["uri"] for s in group.steps if s.op == "tgt.add"} == {
        1: "file:///b", 2: "file:///a", 3: "file:///c",
    }  # fmt: skip


def test_a_file_that_is_missing_takes_no_number() -> None:
    made = plan(target("backing-store /a\nbacking-store /b"), missing=("/a",))
    assert [(s.args["lun"], s.args["uri"]) for s in made.groups[0].steps if s.op == "tgt.add"] == [(1, "file:///b")]
    assert any("skipped /a: there is no such file" in note for note in made.notes)


def test_two_disks_never_get_one_lun() -> None:
    made = plan(target(store("/a", "lun 4") + store("/b", "lun 4") + store("/a", "lun 5")))
    assert [s.args["uri"] for s in made.groups[0].steps if s.op == "tgt.add"] == ["file:///a"]
    assert len([note for note in made.notes if "already" in note]) == 2


def test_lines_and_blocks_in_one_target_are_refused_as_by_tgt_admin() -> None:
    with pytest.raises(ConfigError, match=r"t\.conf:3: a target has <backing-store> either as lines or as blocks"):
        plan(target("backing-store /a\n" + store("/b")))
    assert plan(target("direct-store /a\n" + store("/b"))).groups


def test_tids_count_in_the_order_of_names() -> None:
    text = target("", f"{IQN}:b") + target("controller_tid 7", f"{IQN}:a") + target("", f"{IQN}:c")
    assert [(g.name, g.steps[0].args["tid"]) for g in plan(text).groups] == [
        (f"{IQN}:a", 7), (f"{IQN}:b", 8), (f"{IQN}:c", 9),
    ]  # fmt: skip


def test_a_target_that_is_not_ours_is_left_out_and_the_next_is_made() -> None:
    text = target("driver iser") + target("", "iqn.20013-10.com.redhat:z") + target("", f"{IQN}:z")
    made = plan(text)
    assert [group.name for group in made.groups] == [f"{IQN}:z"]
    assert "did you mean 'iqn.2013-10.com.redhat:z'?" in made.notes[0]
    assert "the engine speaks iSCSI only" in made.notes[1]
    assert plan("default-driver iser\n" + target("driver iscsi")).groups


def test_a_name_that_comes_twice_is_one_target() -> None:
    (group,) = plan(target("backing-store /a") + target("backing-store /b\ncontroller_tid 3")).groups
    assert [step.args["lun"] for step in group.steps if step.op == "tgt.add"] == [1, 2]
    assert group.steps[0].args["tid"] == 3


def test_a_target_that_is_offline_stays_so() -> None:
    assert steps(target("state offline"))[-1] == ("target.disable", IQN)


def test_discovery_has_a_password_of_its_own() -> None:
    made = plan("incomingdiscoveryuser joe secretsecret1\noutgoingdiscoveryuser out secretsecret2\n" + target(""))
    assert [group.name for group in made.groups] == ["discovery", IQN]
    assert made.groups[0].steps[0].args["discovery"] is True


def test_what_is_not_understood_is_said_with_file_and_line() -> None:
    made = plan("iSNSServerIP 192.0.2.1\nfoo bar\n<bar x>\n</bar>\n" + target("MaxConnections 4\nfoo 1\n<x y>\n</x>"))
    assert [note.partition(" ")[0] for note in made.notes] == [
        "t.conf:1:", "t.conf:2:", "t.conf:3:", "t.conf:8:", "t.conf:6:", "t.conf:7:",
    ]  # fmt: skip


def test_a_form_that_tgt_admin_could_not_read_either_is_refused() -> None:
    with pytest.raises(ConfigError, match="never closed"):
        plan("<target x>\n")
