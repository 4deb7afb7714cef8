"""LIO's iSCSI targets, in the child process that writes LIO's configuration (lio_admin.py): look, make, take away.

    {"do": "survey"}                      -> "targets" (rtslib's dumps), "elsewhere", "discovery"
    {"do": "describe", "names"}           -> "objects": rtslib's dump of each user backstore, with "registered"
    {"do": "put", "targets", "discovery", "again"} -> "complaints"    one is enabled when all of it is there
    {"do": "take", "wwns", "discovery"}                      sessions end, disks stay
    {"do": "listen", "portals": {wwn: [...]}}                these targets listen there, and nowhere else

All in the words of rtslib's saveconfig schema. put and take are all or nothing.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Optional, Protocol

from tcmu_gluster.errors import ConfigError

from .lio_saved import saved_file

Object = dict[str, Any]
CHAP = ("chap_userid", "chap_password", "chap_mutual_userid", "chap_mutual_password")
DECIDING = ("authentication", "generate_node_acls", "demo_mode_write_protect")
"""Attributes of a portal group that say who may do what; a target without them as they were asked for is not ours."""


class Targets(Protocol):
    """LIO's targets as this module needs them: rtslib, or a double."""

    def all(self) -> Iterable[Object]:
        """Every iSCSI target, as rtslib dumps it."""

    def find(self, wwn: str) -> Optional[Object]:
        """One of them, or None."""

    def elsewhere(self) -> Mapping[str, str]:
        """/backstores/... -> the target of another fabric that shows it."""

    def discovery(self) -> Object:
        """What discovery asks for; {} where iSCSI isn't loaded."""

    def set_discovery(self, wanted: Object) -> None:
        """Make discovery ask for that."""

    def describe(self, name: str) -> Object:
        """The dump of a user backstore."""

    def registered(self, name: str) -> bool:
        """Whether an initiator holds a persistent reservation of it, or a registration for one."""

    def put(self, target: Object) -> list[str]:
        """Make a target; what could not be done. Raises whatever rtslib raises."""

    def listen(self, wwn: str, portals: list[Object]) -> None:
        """Its portals are these from now on. Raises whatever rtslib raises."""

    def remove(self, wwn: str) -> None:
        """Take it away with all that is below."""

    saved: Path
    """LIO's saved configuration (lio_saved.py)."""


class RtslibTargets:
    """The real ones."""

    def __init__(self, rtslib: Any, root: Any) -> None:
        self._rtslib, self._root = rtslib, root
        self.saved = saved_file()

    def _fabric(self) -> Any:
        return self._rtslib.FabricModule("iscsi")

    def all(self) -> Iterable[Object]:
        return [target.dump() for target in self._fabric().targets]

    def find(self, wwn: str) -> Optional[Object]:
        return next((target.dump() for target in self._fabric().targets if target.wwn == wwn), None)

    def elsewhere(self) -> Mapping[str, str]:
        shown = {}
        for fabric in self._root.fabric_modules:
            if fabric.name != "iscsi" and fabric.exists:
                for target in fabric.targets:
                    for lun in (lun for group in target.tpgs for lun in group.luns):
                        disk = lun.storage_object
                        shown[f"/backstores/{disk.plugin}/{disk.name}"] = f"{fabric.name} {target.wwn}"
        return shown

    def discovery(self) -> Object:
        fabric = self._fabric()
        return dict(fabric.dump()) if fabric.exists else {}

    def set_discovery(self, wanted: Object) -> None:
        fabric = self._fabric()
        complaints: list[str] = []
        fabric.clear_discovery_auth_settings()
        fabric.setup(wanted, complaints.append)
        if complaints:
            raise ConfigError(complaints[0])

    def describe(self, name: str) -> Object:
        return dict(self._rtslib.UserBackedStorageObject(name).dump())

    def registered(self, name: str) -> bool:
        """linux/drivers/target/target_core_configfs.c: target_pr_res_pr_registered_i_pts_show() ends with None."""
        file = Path(self._rtslib.UserBackedStorageObject(name).path) / "pr/res_pr_registered_i_pts"
        with contextlib.suppress(OSError):
            return "None" not in file.read_text("utf-8", "replace").split()
        return False

    def put(self, target: Object) -> list[str]:
        """rtslib enables a group before its passwords are there: so it is switched on here, at the very end."""
        wanted = copy.deepcopy(target)
        complaints: list[str] = []
        for group in wanted["tpgs"]:
            group["enable"] = False
        self._rtslib.Target.setup(self._fabric(), wanted, complaints.append)
        made = self._rtslib.Target(self._fabric(), target["wwn"], "lookup")
        on = {group["tag"] for group in target["tpgs"] if group.get("enable", True)}
        for group in made.tpgs:
            if group.tag in on:
                group.enable = True
        return complaints

    def listen(self, wwn: str, portals: list[Object]) -> None:
        complaints: list[str] = []
        for group in self._rtslib.Target(self._fabric(), wwn, "lookup").tpgs:
            for portal in list(group.network_portals):
                portal.delete()
            for wanted in portals:
                self._rtslib.NetworkPortal.setup(group, wanted, complaints.append)
        if complaints:
            raise ConfigError(complaints[0])

    def remove(self, wwn: str) -> None:
        self._rtslib.Target(self._fabric(), wwn, "lookup").delete()


# -- what can be asked ------------------------------------------------------------------------------------------------


def survey(lio: Any, request: Mapping[str, Any]) -> Object:
    """Every target that LIO has."""
    targets: Targets = lio.targets
    return {
        "changed": False,
        "targets": list(targets.all()),
        "elsewhere": dict(targets.elsewhere()),
        "discovery": targets.discovery(),
    }


def describe(lio: Any, request: Mapping[str, Any]) -> Object:
    """All about some user backstores."""
    targets: Targets = lio.targets
    names = [str(name) for name in request["names"]]
    return {
        "changed": False,
        "objects": [{**targets.describe(name), "registered": targets.registered(name)} for name in names],
    }


def put(lio: Any, request: Mapping[str, Any]) -> Object:
    """Make targets, and let discovery ask what it asked before; or leave nothing of them.

    again: they have been there, and what is still there of them is good enough or in the way.
    """
    targets: Targets = lio.targets
    complaints: list[str] = []
    discovery, begun = request.get("discovery"), []
    before = targets.discovery() if discovery else {}
    try:
        if discovery:
            targets.set_discovery(discovery)
        for target in request["targets"]:
            wwn, present = target["wwn"], targets.find(target["wwn"])
            if present is not None and not request.get("again"):
                raise ConfigError(f"LIO has a target {wwn} already")
            if present is not None and not difference(target, present):
                continue
            if present is not None:
                targets.remove(wwn)
            begun.append(wwn)
            complaints += _make(targets, target)
    except BaseException:
        for wwn in reversed(begun):
            with contextlib.suppress(Exception):  # what was not even begun can't be removed
                targets.remove(wwn)
        if discovery:
            with contextlib.suppress(Exception):
                targets.set_discovery(before)
        raise
    return {"changed": bool(begun), "complaints": complaints}


def _make(targets: Targets, target: Object) -> list[str]:
    said = targets.put(target)
    wrong = difference(target, targets.find(target["wwn"]) or {})
    if wrong:
        raise ConfigError(f"LIO's target {target['wwn']} would have {wrong}{f' ({said[0]})' if said else ''}")
    return said


def take(lio: Any, request: Mapping[str, Any]) -> Object:
    """Take targets away, and let discovery ask what is said; if one target stays, all stay."""
    targets: Targets = lio.targets
    before = {wwn: found for wwn in request["wwns"] for found in [targets.find(wwn)] if found is not None}
    try:
        for wwn in before:
            targets.remove(wwn)
    except BaseException:
        for wwn, target in before.items():
            with contextlib.suppress(Exception):  # one that is half there makes room for the whole
                targets.remove(wwn)
            with contextlib.suppress(Exception):
                targets.put(target)
        raise
    if request.get("discovery"):
        targets.set_discovery(request["discovery"])
    return {"changed": bool(before)}


def listen(lio: Any, request: Mapping[str, Any]) -> Object:
    """Open or close portals, of several targets at once: who finds a portal but not its target gives up for good."""
    targets: Targets = lio.targets
    before = {wwn: portals_of(targets.find(wwn) or {}) for wwn in request["portals"]}
    try:
        for wwn, portals in request["portals"].items():
            targets.listen(wwn, list(portals))
    except BaseException:
        for wwn, portals in before.items():
            with contextlib.suppress(Exception):
                targets.listen(wwn, portals)
        raise
    return {"changed": True}


VERBS = {"survey": survey, "describe": describe, "put": put, "take": take, "listen": listen}


# -- whether a target is what it should be ----------------------------------------------------------------------------


def portals_of(target: Mapping[str, Any]) -> list[Object]:
    """The portals of a target that has one portal group, or none."""
    return [portal for group in target.get("tpgs", ()) for portal in group.get("portals", ())]


def difference(wanted: Object, present: Object) -> str:
    """What of a target is not as it was asked for, in words; "" if everything that matters is."""
    theirs = {group.get("tag"): group for group in present.get("tpgs", ())}
    for group in wanted["tpgs"]:
        facts, found = _facts(group), _facts(theirs.get(group.get("tag"), {}))
        for what, value in facts.items():
            if found[what] != value:
                return f"not its {what} as they are"
        for name in DECIDING:
            value = group.get("attributes", {}).get(name)
            if value is not None and int(theirs[group["tag"]].get("attributes", {}).get(name, -1)) != int(value):
                return f"another {name}"
    return ""


def _facts(group: Mapping[str, Any]) -> Object:
    return {
        "LUNs": {int(lun["index"]): lun["storage_object"] for lun in group.get("luns", ())},
        "portals": {(str(one["ip_address"]).strip("[]"), int(one["port"])) for one in group.get("portals", ())},
        "initiators": {
            str(acl["node_wwn"]).lower(): (
                {int(one["index"]): (int(one["tpg_lun"]), bool(one.get("write_protect")))
                 for one in acl.get("mapped_luns", ())},
                _passwords(acl),
            )
            for acl in group.get("node_acls", ())
        },
        "passwords": _passwords(group),
        "switches": bool(group.get("enable", True)) if group else None,
    }  # fmt: skip


def _passwords(place: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(place.get(key) or "") for key in CHAP)
