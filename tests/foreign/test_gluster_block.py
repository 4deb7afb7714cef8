"""Metadata by gluster-block's own rules: VOLUME, GBID, HA, ENTRYCREATE; sizes; then a line for each host and event."""

from __future__ import annotations

import pytest

from tcmu_gluster.control.operations import OPERATIONS
from tcmu_gluster.foreign import gluster_block
from tcmu_gluster.foreign.plan import Plan

GBID = "6b60c53c-8ce0-4d8d-a42c-5b546bca3d09"
IQN = f"iqn.2016-12.org.gluster-block:{GBID}"
BLOCK = f"""VOLUME: block-test
GBID: {GBID}
HA: 2
ENTRYCREATE: INPROGRESS
PRIOPATH: 192.0.2.1
SIZE: 1073741824
RINGBUFFER: 0
BLKSIZE: 0
ENTRYCREATE: SUCCESS
192.0.2.1: CONFIGINPROGRESS
192.0.2.2: CONFIGINPROGRESS
192.0.2.1: CONFIGSUCCESS
192.0.2.2: CONFIGSUCCESS
"""


def plan(text: str, name: str = "sample") -> Plan:
    made = gluster_block.plan({name: text})
    for group in made.groups:
        for step in group.steps:
            OPERATIONS[step.op].check(step.args)
    return made


def lun(text: str) -> dict[str, object]:
    (group,) = plan(text).groups
    return dict(next(step.args for step in group.steps if step.op == "tgt.add"))


def reason(text: str) -> str:
    made = plan(text)
    assert made.groups == ()
    (note,) = made.notes
    assert note.startswith("skipped sample: ")
    return note


def test_a_block_keeps_its_name_its_lun_and_its_serial() -> None:
    (group,) = plan(BLOCK).groups
    assert [step.op for step in group.steps] == ["target.create", "tgt.add", "acl.allow"]
    assert group.name == group.steps[0].args["target"] == IQN
    shown = lun(BLOCK)
    assert shown["uri"] == f"gluster://192.0.2.1,192.0.2.2/block-test/block-store/{GBID}"
    assert (shown["lun"], shown["serial"], shown["vendor"], shown["product"], shown["revision"]) == (
        0, GBID, "LIO-ORG", "TCMU device", "0002",
    )  # fmt: skip


def test_the_password_is_asked_for_before_anybody_may_log_in() -> None:
    (group,) = plan(BLOCK + "PASSWORD: 0c2b5a2e-7a3b-4a63-9a63-0d6b5e4a1f00\n192.0.2.1: AUTHENFORCED\n").groups
    assert [step.op for step in group.steps] == ["target.create", "tgt.add", "chap.set", "acl.allow"]
    assert group.steps[2].args["user"] == GBID
    assert len(plan(BLOCK + "PASSWORD: secretsecret1\nPASSWORD: \n").groups[0].steps) == 3, "the last line counts"


def test_blocks_of_4096() -> None:
    assert lun(BLOCK)["block_size"] is None
    assert lun(BLOCK.replace("BLKSIZE: 0", "BLKSIZE: 4096"))["block_size"] == "4096"
    assert "neither 512 nor 4096" in reason(BLOCK.replace("BLKSIZE: 0", "BLKSIZE: 1024"))


@pytest.mark.parametrize("state", ["CONFIGFAIL", "CONFIGINPROGRESS", "CLEANUPSUCCESS", "CLEANUPFAIL", "INVALID"])
def test_a_host_that_does_not_serve_it_is_not_asked_for_the_volume(state: str) -> None:
    text = BLOCK + f"192.0.2.1: {state}\n"
    assert lun(text)["uri"] == f"gluster://192.0.2.2/block-test/block-store/{GBID}"
    assert "no host serves it" in reason(text + f"192.0.2.2: {state}\n")


@pytest.mark.parametrize("state", ["AUTHENFORCED", "AUTHCLEARENFORCED", "RPSUCCESS", "RSSUCCESS-2147483648"])
def test_a_host_that_serves_it_in_any_state_is(state: str) -> None:
    assert "192.0.2.1,192.0.2.2" in str(lun(BLOCK + f"192.0.2.1: {state}\n")["uri"])


def test_hosts_by_ipv6_and_by_name() -> None:
    text = BLOCK.replace("192.0.2.1", "2001:db8::1").replace("192.0.2.2", "node2.example.com")
    assert str(lun(text)["uri"]).startswith("gluster://[2001:db8::1],node2.example.com/block-test/")


@pytest.mark.parametrize("volume", ["a/b", "a%2Fb", "%61", "a?debug=9", "a#b", "a b"])
def test_a_volume_that_a_uri_would_take_for_another_is_refused(volume: str) -> None:
    reason(BLOCK.replace("VOLUME: block-test", f"VOLUME: {volume}"))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("ENTRYCREATE: SUCCESS", "ENTRYCREATE: FAIL", "not finished making it"),
        ("ENTRYCREATE: SUCCESS", "ENTRYDELETE: INPROGRESS\nENTRYCREATE: SUCCESS", "is deleting it"),
        ("VOLUME: block-test", "", "no VOLUME"),
        (f"GBID: {GBID}", "", "no GBID"),
        (f"GBID: {GBID}", "GBID: ../other", "not a UUID"),
    ],
)
def test_what_is_not_whole_is_left_out(old: str, new: str, sentence: str) -> None:
    assert sentence in reason(BLOCK.replace(old, new))


def test_its_own_files_beside_the_blocks_are_no_blocks() -> None:
    assert gluster_block.plan({"meta.lock": "", "prio.info": ""}) == Plan()
