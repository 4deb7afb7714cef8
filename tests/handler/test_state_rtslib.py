"""rtslib's own restore code, read and run: it chokes on nothing that we save, and loses nothing that matters.

rtslib calls a storage object's constructor with every key that it finds, so an unknown one loses that disk; other keys
become attributes by setattr, and an unknown one is a complaint or is lost without a word. What may stand where is read
from the installed rtslib's source, so that another release's answer is another test result.
"""

from __future__ import annotations

import ast
import copy
import inspect
import json
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from handler.portal_group import ACL_ATTRIBUTES, ATTRIBUTES, PARAMETERS
from tests.handler.daemon import Desk, run_desk

rtslib = pytest.importorskip("rtslib_fb", reason="rtslib-fb is not installed")
from rtslib_fb import fabric, target, tcm  # noqa: E402

from tests.doubles.fake_configfs import configfs  # noqa: E402

IQN = "iqn.2013-10.com.redhat"
HOST, OTHER = "iqn.1994-05.com.redhat:cf75c8d4274d", "iqn.1994-05.com.redhat:0123456789ab"
PASSWORDS = ("twelve-bytes-or-more", "another-twelve-bytes")
CHAP = {"user": "u", "password": PASSWORDS[0], "mutual_user": "m", "mutual_password": PASSWORDS[1]}


# -- what rtslib reads ------------------------------------------------------------------------------------------------


def body(function: Callable[..., Any]) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(function)))


def read_from(function: Callable[..., Any], name: str) -> set[str]:
    """Keys that a function reads of a dictionary by name: x["key"], x.get("key"), "key" in x."""
    found = set()
    for one in ast.walk(body(function)):
        if isinstance(one, ast.Subscript) and isinstance(one.value, ast.Name) and one.value.id == name:
            found |= {key.value for key in ast.walk(one.slice) if isinstance(key, ast.Constant)}
        elif isinstance(one, ast.Call) and ast.unparse(one.func) == f"{name}.get":
            found |= {key.value for key in one.args[:1] if isinstance(key, ast.Constant)}
        elif isinstance(one, ast.Compare) and isinstance(one.left, ast.Constant):
            found |= {one.left.value} if ast.unparse(one.comparators[0]) == name else set()
    return {str(key) for key in found}


def removed_by(function: Callable[..., Any]) -> set[str]:
    """Keys that a function takes out (dict_remove) before it makes use of all that are left."""
    calls = [one for one in ast.walk(body(function)) if isinstance(one, ast.Call)
             and isinstance(one.func, ast.Name) and one.func.id == "dict_remove"]  # fmt: skip
    return {key.value for one in calls for key in ast.walk(one.args[1]) if isinstance(key, ast.Constant)}


def settable(kind: type) -> set[str]:
    """Names that setattr() does something with."""
    return {name for name, value in inspect.getmembers(kind) if isinstance(value, property) and value.fset is not None}


def constructor(kind: type) -> set[str]:
    return set(inspect.signature(kind.__init__).parameters) - {"self"}


def known() -> dict[str, set[str]]:
    """Where what may stand, by rtslib's restore. index is no key of a saved disk: the HBA's number."""
    disk = constructor(tcm.UserBackedStorageObject) - {"index"}
    return {
        "storage object": disk | removed_by(rtslib.RTSRoot.restore),
        "fabric": settable(fabric.ISCSIFabricModule) | {"name"},
        "target": read_from(rtslib.RTSRoot.restore, "t") | read_from(target.Target.setup, "t"),
        "group": removed_by(target.TPG.setup) | settable(target.TPG),
        "lun": read_from(target.LUN.setup, "lun"),
        "portal": read_from(target.NetworkPortal.setup, "p"),
        "acl": removed_by(target.NodeACL.setup) | settable(target.NodeACL),
        "mapped lun": read_from(target.MappedLUN.setup, "mlun"),
    }


def written(saved: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of a saved configuration, with what it is."""
    yield from (("storage object", one) for one in saved["storage_objects"])
    yield from (("fabric", one) for one in saved.get("fabric_modules", ()))
    for one in saved["targets"]:
        yield "target", one
        for group in one["tpgs"]:
            yield "group", group
            yield from (("lun", lun) for lun in group["luns"])
            yield from (("portal", portal) for portal in group["portals"])
            for acl in group["node_acls"]:
                yield "acl", acl
                yield from (("mapped lun", mapped) for mapped in acl["mapped_luns"])


# -- what we write ----------------------------------------------------------------------------------------------------


async def everything(desk: Desk) -> None:
    """Something of each kind that an operation writes into the state."""
    deep = desk.root / ("d" * 200)
    deep.mkdir()
    await desk.do("disk.create", name="plain", uri=f"file://{desk.root}/plain", size="1M")
    await desk.do("disk.create", name="big", uri=f"file://{desk.root}/big", size="1M", block_size="4096",
                  write_cache="off", provisioning="thick", removable=True, background_rate="1M",
                  serial="serial-of-another", naa="6001405123456789abcdef0123456789", vendor="VENDOR",
                  product="PRODUCT", revision="1", scsi_id="T10")  # fmt: skip
    await desk.do("disk.create", name="deep", uri=f"file://{deep}/{'f' * 60}", size="64K")
    await desk.do("disk.create", name="guest", uri=f"file://{desk.root}/guest", size="1M", front="lio")
    await desk.do("disk.move", name="guest", to="engine")
    await desk.do("target.create", target=IQN)
    await desk.do("portal.remove", target=IQN, portal="127.0.0.1:0")
    await desk.do("acl.allow", target=IQN, rule=HOST)
    await desk.do("acl.allow", target=IQN, rule=OTHER)
    await desk.do("acl.allow", target=IQN, rule="10.0.0.0/8")
    for lun, name in enumerate(("plain", "big", "deep", "guest")):
        await desk.do("lun.map", target=IQN, disk=name, lun=lun * 5)
    await desk.do("lun.map", target=IQN, disk="plain", lun=7, initiator=HOST, read_only=True)
    await desk.do("acl.map", target=IQN, initiator=OTHER, lun=5, shown_as=99)
    await desk.do("chap.set", target=IQN, **CHAP)
    await desk.do("chap.set", target=IQN, initiator=HOST, **CHAP)
    await desk.do("chap.set", discovery=True, **CHAP)
    for name, number in ATTRIBUTES.items():
        await desk.do("target.set", target=IQN, group="attribute", name=name, value=str(number))
    for name, text in PARAMETERS.items():
        await desk.do("target.set", target=IQN, group="parameter", name=name, value=text)
    for name, number in ACL_ATTRIBUTES.items():
        await desk.do("target.set", target=IQN, group="attribute", name=name, value=str(number + 1), initiator=HOST)
    await desk.do("target.set", target=IQN, group="attribute", name="authentication", value="1")
    await desk.do("target.redirect", target=IQN, portal="127.0.0.9:3260")
    await desk.do("tgt.account", user="u", password=PASSWORDS[0])
    await desk.do("tgt.portal", portal="127.0.0.1:0")
    await desk.do("target.create", target=f"{IQN}:off")
    await desk.do("target.disable", target=f"{IQN}:off")


def saved_by(root: Path) -> dict[str, Any]:
    """The state file as it stands on the disk, after everything()."""
    found: list[dict[str, Any]] = []

    async def scenario(desk: Desk) -> None:
        await everything(desk)
        found.append(json.loads(desk.state.path.read_text()))

    run_desk(root, scenario)
    return found[0]


def test_rtslibs_source_is_read_right() -> None:
    """The keys that rtslib's own dump() writes are among those that its restore was found to read."""
    here = known()
    assert {"name", "plugin", "config", "size", "wwn", "hw_max_sectors", "control", "attributes",
            "alua_tpgs"} <= here["storage object"]  # fmt: skip
    assert {"wwn", "fabric", "tpgs"} <= here["target"]
    assert {"tag", "enable", "luns", "portals", "node_acls", "attributes", "parameters", "chap_userid",
            "chap_mutual_password"} <= here["group"]  # fmt: skip
    assert {"storage_object", "index", "alias", "alua_tg_pt_gp_name"} <= here["lun"]
    assert {"ip_address", "port", "iser", "offload"} <= here["portal"]
    assert {"node_wwn", "mapped_luns", "attributes", "chap_password", "tag"} <= here["acl"]
    assert {"index", "tpg_lun", "write_protect", "alias"} <= here["mapped lun"]
    assert {"name", "discovery_enable_auth", "discovery_mutual_userid"} <= here["fabric"]
    assert all("tcmu_gluster" not in keys for keys in here.values())


def test_no_key_of_ours_is_one_that_rtslib_does_not_know(tmp_path: Path) -> None:
    here, seen = known(), set()
    for kind, one in written(saved_by(tmp_path)):
        assert set(one) <= here[kind], f"{kind}: {set(one) - here[kind]}"
        seen.add(kind)
    assert seen == set(here), "each kind was written"


def test_rtslib_restores_and_dumps_all_that_matters(tmp_path: Path) -> None:
    """Its real code, over files in place of the kernel's: no complaint, and what is dumped is what was saved."""
    saved = saved_by(tmp_path)
    with configfs(tmp_path / "configfs") as root:
        assert root.restore(copy.deepcopy(saved)) == []
        dump = root.dump()
    disks = {one["name"]: one for one in dump["storage_objects"]}
    assert len(disks) == len(saved["storage_objects"]) == 4
    for one in saved["storage_objects"]:
        there = disks[one["name"]]
        for key in ("config", "size", "wwn", "plugin"):
            assert there[key] == one[key]
        assert there["attributes"]["emulate_write_cache"] == one["attributes"]["emulate_write_cache"]
    assert "hw_block_size=4096" in disks["big"]["control"] and "hw_block_size=512" in disks["plain"]["control"]
    assert disks["big"]["attributes"]["emulate_write_cache"] == 0
    targets = {one["wwn"]: one for one in dump["targets"]}
    for one in saved["targets"]:
        ((group,), (there,)) = one["tpgs"], targets[one["wwn"]]["tpgs"]
        for key in ("tag", "enable", "chap_userid", "chap_password", "chap_mutual_userid", "chap_mutual_password"):
            assert there.get(key) == group.get(key), key
        for key in ("attributes", "parameters"):
            assert {**there[key], **group[key]} == there[key], key
        for key, name in (("luns", "index"), ("portals", "ip_address"), ("node_acls", "node_wwn")):
            same(there[key], group[key], name)
    (module,) = dump["fabric_modules"]
    assert module == next(one for one in saved["fabric_modules"] if one["name"] == "iscsi")


def same(there: list[dict[str, Any]], ours: list[dict[str, Any]], name: str) -> None:
    """Two lists of objects: all that we say is said there too, whatever more there is."""
    found = {one[name]: one for one in there}
    assert set(found) == {one[name] for one in ours}
    for one in ours:
        for key, value in one.items():
            if key == "mapped_luns":
                same(found[one[name]][key], value, "index")
            elif key == "attributes":
                assert {**found[one[name]][key], **value} == found[one[name]][key]
            elif key != "alua_tg_pt_gp_name":  # the kernel's business; TCMU's default group is called so
                assert found[one[name]][key] == value, key


def test_what_rtslib_dumps_the_engine_serves_as_it_was(tmp_path: Path) -> None:
    """And back: the dump is a saveconfig.json that restores into an engine, with every map, rule and password."""
    saved = saved_by(tmp_path)
    with configfs(tmp_path / "configfs") as root:
        root.restore(copy.deepcopy(saved))
        file = tmp_path / "dump.json"
        file.write_text(json.dumps(root.dump()))

    async def scenario(desk: Desk) -> None:
        result = await desk.do("restore", file=str(file), source="lio", clear_existing=True)
        assert result["warnings"] == []
        for disk in desk.engine.disks.values():
            assert disk.state == "online"
        big = desk.engine.disks["big"].unit
        assert big is not None and big.block_size_bytes == 4096 and not big.modes.value(0x08, "wce")
        configuration = desk.context.configuration
        assert configuration.luns(IQN) == {0: "plain", 5: "big", 7: "plain", 10: "deep", 15: "guest"}
        assert configuration.visible_luns(IQN, HOST)[7] == ("plain", True)
        assert configuration.visible_luns(IQN, OTHER)[99] == ("big", False)
        accounts = desk.directory.targets[IQN].accounts
        assert accounts.problems == [] and accounts.of(HOST) == accounts.of("iqn.1994-05.com.redhat:guest")
        assert desk.directory.discovery is not None

    run_desk(tmp_path, scenario)
