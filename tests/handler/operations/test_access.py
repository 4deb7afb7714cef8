from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tcmu_gluster.iscsi.admission import Limits
from tcmu_gluster.iscsi.chap import NOBODY
from tests.doubles.initiator import decode
from tests.handler.daemon import Desk, run_desk
from tests.handler.engine import Client

IQN = "iqn.2013-10.com.redhat"
HOST = "iqn.1994-05.com.redhat:cf75c8d4274d"


def test_nobody_may_log_in_until_somebody_is_allowed(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("target.create", target=IQN)
        target = desk.directory.targets[IQN]
        assert not target.allows(HOST, "127.0.0.1")
        allowed = await desk.do("acl.allow", target=IQN, rule=HOST)
        assert allowed["changed"] and allowed["warnings"] == [] and target.allows(HOST, "127.0.0.1")
        assert not target.allows("iqn.2001-04.com.example", "127.0.0.1")
        assert not (await desk.do("acl.allow", target=IQN, rule=HOST))["changed"]
        await desk.do("acl.allow", target=IQN, rule="10.0.0.0/8")
        assert target.allows("iqn.2001-04.com.example", "10.1.2.3")
        denied = await desk.do("acl.deny", target=IQN, rule=HOST)
        assert denied["changed"] and "10.0.0.0/8" in denied["now"]
        assert not target.allows(HOST, "127.0.0.1")
        assert not (await desk.do("acl.deny", target=IQN, rule=HOST))["changed"]

    run_desk(tmp_path, scenario)


def test_all_is_explicit_and_warned_about(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("target.create", target=IQN)
        allowed = await desk.do("acl.allow", target=IQN, rule="ALL")
        assert "every initiator" in allowed["now"] and allowed["warnings"]
        assert desk.saved()["targets"][0]["tpgs"][0]["attributes"]["generate_node_acls"] == 1
        assert desk.directory.targets[IQN].allows(HOST, "192.0.2.1")

    run_desk(tmp_path, scenario)


def test_rules_that_all_makes_needless_are_named(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("target.create", target=IQN)
        await desk.do("acl.allow", target=IQN, rule="all")
        said = (await desk.do("acl.allow", target=IQN, rule="10.0.0.1/24"))["warnings"]
        assert any("10.0.0.0/24" in one and f"tcmu-gluster acl deny {IQN} all" in one for one in said)
        await desk.do("chap.set", target=IQN, user="joe", password="twelve-bytes")
        said = (await desk.do("acl.allow", target=IQN, rule=HOST))["warnings"]
        assert len(said) == 1 and f"{HOST}, 10.0.0.0/24" in said[0]
        for number in range(20):
            await desk.do("acl.allow", target=IQN, rule=f"10.1.{number}.0/24")
        said = (await desk.do("acl.allow", target=IQN, rule="10.2.0.0/24"))["warnings"]
        assert len(said[0]) < 300 and "20 more" in said[0]
        await desk.do("acl.deny", target=IQN, rule="all")
        assert (await desk.do("acl.allow", target=IQN, rule="10.9.0.0/24"))["warnings"] == []

    run_desk(tmp_path, scenario)


def test_rules_are_listed(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("target.create", target=IQN)
        for rule in (HOST, "10.0.0.0/8", "all"):
            await desk.do("acl.allow", target=IQN, rule=rule)
        items = (await desk.do("acl.list"))["items"]
        assert [item["rule"] for item in items] == [HOST, "10.0.0.0/8", "all"]
        assert (await desk.do("acl.list", target=IQN))["items"] == items
        assert "no target" in await desk.refused("acl.list", target="iqn.2001-04.com.example")

    run_desk(tmp_path, scenario)


def test_passwords_stand_where_lio_keeps_them(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("target.create", target=IQN)
        await desk.do("acl.allow", target=IQN, rule=HOST)
        words = {"target": IQN, "user": "u", "password": "twelve-chars"}
        assert (await desk.do("chap.set", **words))["changed"]
        everybody = desk.directory.targets[IQN].accounts.of(HOST)
        assert everybody is not None and everybody.incoming is not None and everybody.incoming.user == "u"
        assert not (await desk.do("chap.set", **words))["changed"]
        assert (await desk.do("chap.set", initiator=HOST, **{**words, "user": "own"}))["changed"]
        group = desk.saved()["targets"][0]["tpgs"][0]
        assert (group["chap_userid"], group["chap_password"], group["attributes"]["authentication"]) == (
            "u",
            "twelve-chars",
            1,
        )
        assert group["node_acls"][0]["chap_userid"] == "own"
        assert [item["chap"] for item in (await desk.do("acl.list"))["items"]] == ["own"]
        await desk.do("chap.clear", target=IQN, initiator=HOST)
        assert desk.saved()["targets"][0]["tpgs"][0]["attributes"]["authentication"] == 1
        await desk.do("chap.clear", target=IQN)
        group = desk.saved()["targets"][0]["tpgs"][0]
        assert group["attributes"]["authentication"] == 0 and "chap_password" not in group
        assert desk.directory.targets[IQN].allows(HOST, "127.0.0.1")
        assert not (await desk.do("chap.clear", target=IQN))["changed"]

    run_desk(tmp_path, scenario)


def test_weak_or_half_given_passwords_are_refused(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("target.create", target=IQN)
        assert "needs 12 to 255" in await desk.refused("chap.set", target=IQN, user="u", password="short")
        half = {"target": IQN, "user": "u", "password": "twelve-chars"}
        assert "belong together" in await desk.refused("chap.set", **half, mutual_user="t")
        same = {**half, "mutual_user": "t", "mutual_password": "twelve-chars"}
        assert "differ" in await desk.refused("chap.set", **same)

    run_desk(tmp_path, scenario)


async def log_in(desk: Desk, **options: Any) -> Client:
    (portal,) = desk.directory.targets[IQN].listening
    client = Client(*await asyncio.open_connection(portal.address, portal.port), **options)
    client.initiator.target_name = IQN
    await client.login()
    return client


def test_a_password_that_was_set_is_asked_for(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        desk.engine.front.admission.limits = Limits(first_delay_seconds=0.0)
        await desk.do("target.create", target=IQN)
        await desk.do("acl.allow", target=IQN, rule="all")
        set_ = await desk.do("chap.set", target=IQN, user="u", password="twelve-chars")
        assert set_["warnings"] == [] and "twelve" not in str(set_)
        assert (await log_in(desk, chap=("u", "twelve-chars"), algorithms="5,7,8")).initiator.full_feature
        for wrong in (None, ("u", "twelve-charz"), ("v", "twelve-chars")):
            assert (await log_in(desk, chap=wrong)).initiator.login_status == 0x0201
        assert (await desk.do("status"))["failed_logins"] == {"127.0.0.1": 3}
        denials = (await desk.do("why-denied"))["items"]
        assert all(f"chap set {IQN}" in denial["reason"] for denial in denials) and len(denials) == 3
        assert "twelve" not in str(denials)
        await desk.do("chap.clear", target=IQN)
        assert (await log_in(desk)).initiator.full_feature

    run_desk(tmp_path, scenario)


def test_discovery_can_have_a_password_of_its_own(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        desk.engine.front.admission.limits = Limits(first_delay_seconds=0.0)
        await desk.do("target.create", target=IQN)
        await desk.do("acl.allow", target=IQN, rule="all")
        words = {"discovery": True, "user": "d", "password": "twelve-chars"}
        assert (await desk.do("chap.set", **words))["changed"] and not (await desk.do("chap.set", **words))["changed"]
        (module,) = desk.saved()["fabric_modules"]
        assert module == {"name": "iscsi", "discovery_enable_auth": True, "discovery_userid": "d",
                          "discovery_password": "twelve-chars", "discovery_mutual_userid": "",
                          "discovery_mutual_password": ""}  # fmt: skip
        assert (await log_in(desk, discovery=True)).initiator.login_status == 0x0201
        assert (await log_in(desk, discovery=True, chap=("d", "twelve-chars"))).initiator.full_feature
        assert (await log_in(desk)).initiator.full_feature, "targets have passwords of their own"
        assert (await desk.do("chap.clear", discovery=True))["changed"]
        assert not (await desk.do("chap.clear", discovery=True))["changed"]
        assert (await log_in(desk, discovery=True)).initiator.full_feature

    run_desk(tmp_path, scenario)


def test_discovery_and_a_target_are_two_things(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("target.create", target=IQN)
        words = {"user": "u", "password": "twelve-chars"}
        assert "leave target" in await desk.refused("chap.set", target=IQN, discovery=True, **words)
        assert "name the target" in await desk.refused("chap.set", **words)
        assert "name the target" in await desk.refused("chap.clear")

    run_desk(tmp_path, scenario)


def test_an_initiator_in_upper_case_gets_no_more_than_in_lower_case(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("target.create", target=IQN)
        await desk.do("disk.create", name="open", uri="memory:open", size="1M")
        await desk.do("disk.create", name="secret", uri="memory:secret", size="1M")
        await desk.do("lun.map", target=IQN, disk="secret")
        await desk.do("acl.allow", target=IQN, rule=HOST)
        await desk.do("lun.unmap", target=IQN, lun=0, initiator=HOST)
        await desk.do("lun.map", target=IQN, disk="open", initiator=HOST)
        seen = [desk.engine.view_of(IQN, name)[0] for name in (HOST, HOST.upper())]
        assert seen[0] == seen[1] and seen[0] is not None and len(seen[0]) == 1

    run_desk(tmp_path, scenario)


WRITE = bytes([0x2A, 0, 0, 0, 0, 1, 0, 0, 1, 0])
READ = bytes([0x28, 0, 0, 0, 0, 1, 0, 0, 1, 0])


async def ready(desk: Desk, name: str) -> Client:
    """Logged in, and its unit attention heard."""
    client = await log_in(desk, name=name)
    assert client.initiator.full_feature
    for lun in (0, 1):
        await client.scsi(bytes(6), lun=lun)
    return client


def test_an_initiator_sees_and_writes_what_is_mapped_for_it(tmp_path: Path) -> None:
    other = "iqn.2001-04.com.example:other"

    async def scenario(desk: Desk) -> None:
        for name in ("a", "b"):
            await desk.do("disk.create", name=name, uri=f"memory:{name}", size="1M")
        await desk.do("target.create", target=IQN)
        await desk.do("acl.allow", target=IQN, rule=HOST)
        await desk.do("acl.allow", target=IQN, rule="127.0.0.0/8")
        await desk.do("lun.map", target=IQN, disk="a")
        said = await desk.do("lun.map", target=IQN, disk="b", initiator=HOST, read_only=True)
        assert said["now"] == f"disk b is LUN 1 of {IQN} for {HOST}, read-only"
        own, guest = await ready(desk, HOST), await ready(desk, other)
        for client, lun, read, write in ((own, 0, 0, 0), (own, 1, 0, 2), (guest, 0, 0, 0), (guest, 1, 2, 2)):
            assert (await client.scsi(READ, read=512, lun=lun)).status == read
            assert (await client.scsi(WRITE, data_out=b"x" * 512, lun=lun)).status == write
        maps = (await desk.do("target.show", target=IQN))["maps"]
        assert maps == [
            {"initiator": HOST, "lun": 0, "disk": "a", "read_only": False},
            {"initiator": HOST, "lun": 1, "disk": "b", "read_only": True},
        ]
        assert "--for" in await desk.refused("lun.map", target=IQN, disk="a", read_only=True)

    run_desk(tmp_path, scenario)


def test_a_disk_that_an_initiator_sees_under_another_number_is_mapped_already(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("disk.create", name="a", uri="memory:a", size="1M")
        await desk.do("target.create", target=IQN)
        await desk.do("lun.map", target=IQN, disk="a")
        await desk.do("acl.allow", target=IQN, rule=HOST)
        await desk.do("lun.unmap", target=IQN, lun=0, initiator=HOST)
        await desk.do("acl.map", target=IQN, initiator=HOST, lun=0, shown_as=2, read_only=True)
        said = await desk.do("lun.map", target=IQN, disk="a", initiator=HOST)
        assert (said["changed"], said["lun"]) == (False, 0)
        assert said["now"].endswith(f"disk a is LUN 0 of {IQN} for {HOST}, which sees it as LUN 2, read-only")

    run_desk(tmp_path, scenario)


def test_a_map_that_changes_reaches_who_is_logged_in(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        for name in ("a", "b"):
            await desk.do("disk.create", name=name, uri=f"memory:{name}", size="1M")
        await desk.do("target.create", target=IQN)
        await desk.do("acl.allow", target=IQN, rule=HOST)
        await desk.do("acl.allow", target=IQN, rule="127.0.0.0/8")
        await desk.do("lun.map", target=IQN, disk="a")
        own, guest = await ready(desk, HOST), await ready(desk, "iqn.2001-04.com.example:other")
        await desk.do("lun.map", target=IQN, disk="a", initiator=HOST, read_only=True)
        await own.closed()
        assert own.ended, "it must not go on writing"
        assert (await guest.scsi(WRITE, data_out=b"x" * 512)).status == 0, "this one is not concerned"
        own = await ready(desk, HOST)
        assert (await own.scsi(WRITE, data_out=b"x" * 512)).status == 2
        await desk.do("lun.map", target=IQN, disk="b", initiator=HOST)
        guest = await ready(desk, "iqn.2001-04.com.example:other")
        assert (await guest.scsi(READ, read=512, lun=1)).status == 2
        await desk.do("lun.map", target=IQN, disk="b")
        guest = await ready(desk, "iqn.2001-04.com.example:other")
        assert (await guest.scsi(READ, read=512, lun=1)).status == 0

    run_desk(tmp_path, scenario)


def test_discovery_shows_an_initiator_only_what_it_may_use(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        for iqn, rule in ((IQN, HOST), ("iqn.2013-10.com.redhat:two", "192.0.2.0/24")):
            await desk.do("target.create", target=iqn)
            await desk.do("acl.allow", target=iqn, rule=rule)
        for name, shown in ((HOST, [IQN]), ("iqn.2001-04.com.example", [])):
            client = await log_in(desk, discovery=True, name=name)
            client.initiator.text({"SendTargets": "All"})
            await client.until(lambda client=client: bool(client.initiator.answers(0x24)))
            (answer,) = client.initiator.answers(0x24)
            assert [value for key, value in decode(answer.data) if key == "TargetName"] == shown

    run_desk(tmp_path, scenario)


def test_a_target_that_asks_for_what_nobody_has_asks_no_more(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("target.create", target=IQN)
        await desk.do("acl.allow", target=IQN, rule=HOST)
        await desk.do("chap.edit", target=IQN, ask="on")
        assert not (await desk.do("chap.clear", target=IQN, initiator=HOST))["changed"]
        assert desk.directory.targets[IQN].accounts.of(HOST) is NOBODY, "that took nothing away, and opens no door"
        assert (await desk.do("chap.clear", target=IQN))["changed"]
        assert desk.directory.targets[IQN].accounts.of(HOST) is None
        assert not (await desk.do("chap.clear", target=IQN))["changed"]

    run_desk(tmp_path, scenario)
