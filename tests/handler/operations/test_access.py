from __future__ import annotations

from pathlib import Path

from tests.handler.daemon import Desk, run_desk

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
        assert not desk.directory.targets[IQN].allows(HOST, "127.0.0.1"), "a password that is not checked admits nobody"
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
        assert "12 characters" in await desk.refused("chap.set", target=IQN, user="u", password="short")
        half = {"target": IQN, "user": "u", "password": "twelve-chars"}
        assert "belong together" in await desk.refused("chap.set", **half, mutual_user="t")
        same = {**half, "mutual_user": "t", "mutual_password": "twelve-chars"}
        assert "differ" in await desk.refused("chap.set", **same)

    run_desk(tmp_path, scenario)
