from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Optional

from tests.handler.daemon import Desk, run_desk
from tests.handler.engine import Client

IQN, OTHER = "iqn.2013-10.com.redhat", "iqn.2013-10.com.redhat:other"
HOST = "iqn.1994-05.com.redhat:cf75c8d4274d"


async def filled(desk: Desk) -> None:
    await desk.do("disk.create", name="a", uri="memory:a", size="1M")
    await desk.do("disk.create", name="l", uri="memory:l", size="64K", front="lio")
    await desk.do("target.create", target=IQN)
    await desk.do("lun.map", target=IQN, disk="a", lun=2)
    await desk.do("acl.allow", target=IQN, rule=HOST)


def test_the_whole_tree_in_one_answer_without_passwords(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await filled(desk)
        await desk.do("chap.set", target=IQN, user="u", password="twelve-or-more")
        whole = await desk.do("configuration")
        assert [one["name"] for one in whole["disks"]] == ["a"]
        (target,) = whole["targets"]
        assert target["target"] == IQN and target["enabled"] and target["initiators"] == []
        assert target["luns"] == [{"lun": 2, "disk": "a"}] and target["portals"] == [["127.0.0.1", 0]]
        assert target["acls"][0]["luns"] == [{"lun": 2, "tpg_lun": 2, "disk": "a", "read_only": False}]
        assert "twelve-or-more" not in json.dumps(whole) and target["auth"]["userid"] == "u"

    run_desk(tmp_path, scenario)


def test_attributes_are_set_saved_and_warned_about(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await filled(desk)
        args = {"target": IQN, "group": "attribute", "name": "generate_node_acls", "value": "1"}
        done = await desk.do("target.set", **args)
        assert done["changed"] and "every initiator" in done["warnings"][0]
        assert not (await desk.do("target.set", **args))["changed"]
        assert [str(rule) for rule in desk.directory.targets[IQN].rules] == [HOST, "all"]
        assert desk.saved()["targets"][0]["tpgs"][0]["attributes"]["generate_node_acls"] == 1
        kept = await desk.do("target.set", target=IQN, group="parameter", name="MaxConnections", value="4")
        assert "the engine does not act on it" in kept["warnings"][0]
        assert "no attribute" in await desk.refused("target.set", **{**args, "name": "x"})

    run_desk(tmp_path, scenario)


def test_a_disabled_target_is_found_by_nobody(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await filled(desk)
        target = desk.directory.targets[IQN]
        assert target.allows(HOST, "127.0.0.1") and target.listening
        assert (await desk.do("target.disable", target=IQN))["changed"]
        assert not (await desk.do("target.disable", target=IQN))["changed"]
        assert not target.allows(HOST, "127.0.0.1") and not target.listening
        assert desk.saved()["targets"][0]["tpgs"][0]["enable"] is False
        await desk.do("restore")
        assert not desk.directory.targets[IQN].allows(HOST, "127.0.0.1")
        assert (await desk.do("target.enable", target=IQN))["changed"]
        assert target.allows(HOST, "127.0.0.1") and target.listening

    run_desk(tmp_path, scenario)


def test_who_comes_to_a_target_that_is_not_served_hears_why(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await filled(desk)
        await desk.do("target.create", target=OTHER)
        (portal,) = desk.directory.targets[OTHER].listening

        async def status() -> Optional[int]:
            client = Client(*await asyncio.open_connection(portal.address, portal.port), name=HOST)
            client.initiator.target_name = IQN
            await client.login()
            client.close()
            return client.initiator.login_status

        assert await status() == 0  # the numbers: RFC 7143 11.13.5
        await desk.do("target.disable", target=IQN)
        assert await status() == 0x0301
        await desk.do("target.enable", target=IQN)
        assert await status() == 0
        await desk.do("target.delete", target=IQN)
        assert await status() == 0x0204
        reasons = [denial["reason"] for denial in (await desk.do("why-denied"))["items"]]
        assert "target list" in reasons[0] and f"target enable {IQN}" in reasons[1] and len(reasons) == 2

    run_desk(tmp_path, scenario)


def test_luns_of_one_initiator(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await filled(desk)
        done = await desk.do("acl.map", target=IQN, initiator=HOST, lun=2, shown_as=9, read_only=True)
        assert done["lun"] == 9 and "read-only" in done["now"]
        assert desk.engine.visible(IQN, HOST)[9] == ("a", True)
        assert (await desk.do("acl.unmap", target=IQN, initiator=HOST, lun=9))["changed"]
        assert not (await desk.do("acl.unmap", target=IQN, initiator=HOST, lun=9))["changed"]
        assert 9 not in desk.engine.visible(IQN, HOST)

    run_desk(tmp_path, scenario)


def test_passwords_come_in_parts(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await filled(desk)
        await desk.do("chap.edit", target=IQN, user="u")
        await desk.do("chap.edit", target=IQN, password="twelve-or-more", ask="on")
        account = desk.directory.targets[IQN].accounts.everybody
        assert account is not None and account.incoming.user == "u"
        await desk.do("chap.edit", target=IQN, ask="off")
        assert desk.directory.targets[IQN].accounts.everybody is None
        await desk.do("chap.edit", discovery=True, user="d", password="twelve-or-more", ask="on")
        assert desk.directory.discovery is not None
        assert "name the target" in await desk.refused("chap.edit", user="u")
        assert "name the target" in await desk.refused("chap.edit", target=IQN, discovery=True, user="u")

    run_desk(tmp_path, scenario)
