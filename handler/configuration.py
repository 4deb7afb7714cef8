"""The engine's configuration: rtslib's saveconfig schema as a dict, read and changed by names. No I/O.

    storage_objects     {"name", "plugin": "user", "config": "gluster/...", "size", "wwn", ...}
    fabric_modules      {"name": "iscsi", "discovery_enable_auth", "discovery_userid", ...}
    targets             {"fabric": "iscsi", "wwn", "tpgs": [{"tag": 1, "luns", "node_acls", "portals", "attributes"}]}
    tcmu_gluster        {"version": 1, "networks": {IQN: [CIDR, ...]},      ours: LIO has no rules for addresses, and
                         "private_luns": {IQN: [LUN, ...]},                 shows every LUN to those without an ACL,
                         "tids": {IQN: number},                             numbers targets for scripts,
                         "redirects": {IQN: {"portal", "permanent"}},       sends initiators elsewhere,
                         "portals": [...], "accounts": {...},               and tgtadm's words (operations/tgt.py),
                         "moved": {IQN: {...}},                             of targets that LIO has now (moving.py),
                         "moving": {...}}                                   and of a move (operations/interrupted.py)

Keys that nobody here knows stay as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Optional

from tcmu_gluster.config.addresses import AccessRule, Portal, RuleKind, parse_access_rule
from tcmu_gluster.errors import OperationError

OURS = "tcmu_gluster"
VERSION = 1
PLUGIN = "user"
OPEN_ATTRIBUTES = {"generate_node_acls": 1, "demo_mode_write_protect": 0, "cache_dynamic_acls": 1}
CLOSED_ATTRIBUTES = {"generate_node_acls": 0, "demo_mode_write_protect": 1}
OF_TARGETS = ("alua", "networks", "private_luns", "redirects", "tids")
"""What stands under our own key by IQN: it belongs to targets, comes and goes with them."""
LARGEST_LUN = 255
Object = dict[str, Any]


class Configuration:
    """One whole configuration. Change a copy(), apply it, save it: then it is the configuration."""

    def __init__(self, root: Optional[Object] = None) -> None:
        self.root = root if root is not None else {}
        for key in ("storage_objects", "targets"):
            if not isinstance(self.root.setdefault(key, []), list):
                raise OperationError(f"the saved configuration is not in LIO's form: {key} is no list")
        ours = self.root.setdefault(OURS, {})
        if not isinstance(ours, dict):
            raise OperationError(f"the saved configuration is not in our form: {OURS} is no object")
        ours.setdefault("version", VERSION)
        ours.setdefault("networks", {})

    def copy(self) -> Configuration:
        """A configuration of its own, equal to this one."""
        return Configuration(copy.deepcopy(self.root))

    def of_targets(self, key: str) -> Object:
        """What stands under a key of ours by name; nothing if somebody's editor has made no object of it."""
        kept = self.root[OURS].get(key)
        return kept if isinstance(kept, dict) else {}

    def clear(self) -> None:
        """No target, no disk and no password of ours: a later target of that name is a new one."""
        targets, disks = list(self.targets()), list(self.disks())
        self.root["targets"] = [target for target in self.root["targets"] if target not in targets]
        self.root["storage_objects"] = [one for one in self.root["storage_objects"] if one not in disks]
        ours = self.root[OURS]
        ours.pop("moving", None)
        there = [key for key in (*OF_TARGETS, "accounts", "moved", "portals") if key in ours]
        ours.update({key: [] if key == "portals" else {} for key in there})
        self.forget_discovery()

    # -- disks --------------------------------------------------------------------------------------------------------

    def disks(self) -> Iterator[Object]:
        """Storage objects that are ours to serve."""
        for disk in self.root["storage_objects"]:
            if isinstance(disk, dict) and disk.get("plugin") == PLUGIN and isinstance(disk.get("name"), str):
                yield disk

    def find_disk(self, name: str) -> Optional[Object]:
        """The storage object of a disk, or None."""
        return next((disk for disk in self.disks() if disk["name"] == name), None)

    def disk(self, name: str) -> Object:
        """The storage object of a disk. Raises OperationError."""
        disk = self.find_disk(name)
        if disk is None:
            raise OperationError(
                f"there is no disk {name!r} on the engine; `tcmu-gluster disk list` shows what there is"
            )
        return disk

    def add_disk(self, name: str, config: str, size_bytes: int, serial: str, block_bytes: int = 512) -> Object:
        """A new storage object in rtslib's words, so that LIO would make the same disk of it.

        control says what the kernel would not assume: blocks that are not of 512 bytes; and that nobody waits for an
        answer about it, because tcmu-runner would veto it.
        """
        blocks = f",hw_block_size={block_bytes}" if block_bytes != 512 else ""
        disk = {
            "name": name,
            "plugin": PLUGIN,
            "config": config,
            "size": size_bytes,
            "wwn": serial,
            "hw_max_sectors": 128,
            "control": f"nl_reply_supported=-1{blocks}",
            "attributes": {"emulate_write_cache": 1},
            "alua_tpgs": [],
        }
        self.root["storage_objects"].append(disk)
        return disk

    def set_write_cache(self, name: str, on: bool) -> None:
        """Say in LIO's word whether a disk has a write cache. Raises OperationError."""
        self.disk(name).setdefault("attributes", {})["emulate_write_cache"] = int(on)

    def remove_disk(self, name: str) -> None:
        """Forget a disk. Raises OperationError while a target shows it."""
        disk = self.disk(name)
        users = [target["wwn"] for target in self.targets() for _ in self.luns_of_disk(target, name)]
        if users:
            raise OperationError(
                f"disk {name} is a LUN of {users[0]}; take it away first: tcmu-gluster lun unmap {users[0]} LUN"
            )
        self.root["storage_objects"].remove(disk)

    # -- targets ------------------------------------------------------------------------------------------------------

    def targets(self) -> Iterator[Object]:
        """The iSCSI targets."""
        for target in self.root["targets"]:
            if isinstance(target, dict) and target.get("fabric") == "iscsi" and isinstance(target.get("wwn"), str):
                yield target

    def find_target(self, iqn: str) -> Optional[Object]:
        """The target of that name, or None."""
        return next((target for target in self.targets() if target["wwn"] == iqn), None)

    def target(self, iqn: str) -> Object:
        """The target of that name. Raises OperationError."""
        target = self.find_target(iqn)
        if target is None:
            raise OperationError(f"there is no target {iqn}; `tcmu-gluster target list` shows what there is")
        return target

    def add_target(self, iqn: str, portals: tuple[Portal, ...], tid: Optional[int] = None) -> Object:
        """A target with one portal group that nobody may log in to yet. Raises OperationError if tid is taken."""
        numbers = self.number_targets()
        if tid is not None:
            owner = next((name for name, number in numbers.items() if number == tid), None)
            if tid < 1 or owner is not None:
                raise OperationError(f"the tid {tid} is taken by {owner}" if owner else "a tid is 1 or more")
            self.root[OURS]["tids"] = {**numbers, iqn: tid}
        target: Object = {"fabric": "iscsi", "wwn": iqn, "tpgs": [{
            "tag": 1, "enable": True, "attributes": {**CLOSED_ATTRIBUTES, "authentication": 0}, "parameters": {},
            "luns": [], "node_acls": [], "portals": [],
        }]}  # fmt: skip
        self.root["targets"].append(target)
        self.of_targets("moved").pop(iqn, None)  # that was another one, and LIO has it or had it
        for portal in portals:
            self.add_portal(iqn, portal)
        self.number_targets()
        return target

    def number_targets(self) -> dict[str, int]:
        """IQN -> the number (tgt's tid) by which scripts know a target; one without gets the lowest free one.

        LIO has no such number, so it stands among what is ours, and a file of LIO's is numbered in its order.
        """
        kept = self.root[OURS].get("tids")
        names = [target["wwn"] for target in self.targets()]
        numbers: dict[str, int] = {}
        for iqn, number in kept.items() if isinstance(kept, dict) else ():
            if iqn in names and isinstance(number, int) and number > 0 and number not in numbers.values():
                numbers[iqn] = number
        for iqn in names:
            if iqn not in numbers:
                taken = set(numbers.values())
                numbers[iqn] = next(number for number in range(1, len(names) + 2) if number not in taken)
        if numbers or kept:
            self.root[OURS]["tids"] = numbers
        return numbers

    def common_portals(self) -> list[str]:
        """Portals of no target in particular: new targets listen there too (tgtadm's portals)."""
        portals = self.root[OURS].get("portals")
        return [str(portal) for portal in portals] if isinstance(portals, list) else []

    def remove_target(self, iqn: str) -> None:
        """Forget a target with all that is below it. Raises OperationError."""
        self.root["targets"].remove(self.target(iqn))
        for key in OF_TARGETS:
            self.of_targets(key).pop(iqn, None)
        self.number_targets()

    def redirect(self, iqn: str) -> Optional[tuple[str, bool]]:
        """(where a target's initiators are sent, whether for good), or None."""
        found = self.root[OURS].get("redirects", {}).get(iqn)
        return (str(found["portal"]), bool(found.get("permanent"))) if isinstance(found, dict) else None

    def set_redirect(self, iqn: str, portal: Optional[Portal], permanent: bool) -> bool:
        """Send a target's initiators to another portal, or (None) no more. Whether that changed anything."""
        self.target(iqn)
        before, redirects = self.redirect(iqn), self.root[OURS].setdefault("redirects", {})
        redirects.pop(iqn, None)
        if portal is not None:
            redirects[iqn] = {"portal": str(portal), "permanent": permanent}
        return self.redirect(iqn) != before

    def group(self, iqn: str) -> Object:
        """The target's (first) portal group: the engine has one a target. Raises OperationError."""
        groups = self.target(iqn).get("tpgs")
        if not isinstance(groups, list) or not groups or not isinstance(groups[0], dict):
            raise OperationError(f"target {iqn} has no portal group in the saved configuration")
        group: Object = groups[0]
        for key in ("luns", "node_acls", "portals"):
            group.setdefault(key, [])
        group.setdefault("attributes", {})
        return group

    # -- portals ------------------------------------------------------------------------------------------------------

    def portals(self, iqn: str) -> list[Portal]:
        """Where the target listens."""
        return [
            Portal(str(entry["ip_address"]).strip("[]"), int(entry["port"])) for entry in self.group(iqn)["portals"]
        ]

    def add_portal(self, iqn: str, portal: Portal) -> bool:
        """False if it listens there already."""
        if portal in self.portals(iqn):
            return False
        entry = {"ip_address": portal.address, "port": portal.port, "iser": False, "offload": False}
        if ":" in portal.address:
            entry["ip_address"] = f"[{portal.address}]"  # as rtslib writes IPv6
        self.group(iqn)["portals"].append(entry)
        return True

    def remove_portal(self, iqn: str, portal: Portal) -> bool:
        """False if it doesn't listen there."""
        at = self.portals(iqn)
        if portal not in at:
            return False
        del self.group(iqn)["portals"][at.index(portal)]
        return True

    # -- LUNs ---------------------------------------------------------------------------------------------------------

    def luns(self, iqn: str) -> dict[int, str]:
        """LUN -> disk name."""
        return {int(lun["index"]): _disk_of(lun) for lun in self.group(iqn)["luns"]}

    def luns_of_disk(self, target: Object, name: str) -> Iterator[Object]:
        """The LUNs of a target that show a disk."""
        for group in target.get("tpgs", ()):
            for lun in group.get("luns", ()):
                if _disk_of(lun) == name:
                    yield lun

    def private_luns(self, iqn: str) -> set[int]:
        """LUNs that only initiators see for whom they were mapped."""
        return {int(lun) for lun in self.root[OURS].get("private_luns", {}).get(iqn, ())}

    def _set_private(self, iqn: str, luns: set[int]) -> None:
        self.root[OURS].setdefault("private_luns", {})[iqn] = sorted(luns)

    def map_lun(
        self, iqn: str, disk: str, lun: Optional[int], initiator: Optional[str], *, read_only: bool = False
    ) -> tuple[int, bool]:
        """Show a disk, to one initiator or to all who may log in. (LUN, False) if it was shown so already.

        read_only (one initiator only) protects it from writes; without it, one that is mapped stays as it is.
        Raises OperationError.
        """
        self.disk(disk)
        group, luns = self.group(iqn), self.luns(iqn)
        present = next((number for number, name in luns.items() if name == disk), None)
        if lun is None:
            lun = present if present is not None else next(n for n in range(LARGEST_LUN + 2) if n not in luns)
        if lun > LARGEST_LUN:
            raise OperationError(f"LUN {lun} is too large; a target of the engine has LUNs 0 to {LARGEST_LUN}")
        if luns.get(lun, disk) != disk:
            raise OperationError(f"LUN {lun} of {iqn} is disk {luns[lun]}; choose another LUN, or unmap that one first")
        acls = [self._acl(iqn, initiator)] if initiator else group["node_acls"]
        private = self.private_luns(iqn)
        fresh = lun not in luns
        if fresh:
            group["luns"].append({"index": lun, "storage_object": f"/backstores/{PLUGIN}/{disk}", "alias": disk,
                                  "alua_tg_pt_gp_name": "default_tg_pt_gp"})  # fmt: skip
        changed = fresh
        if initiator and fresh:
            self._set_private(iqn, private | {lun})
        elif not initiator and lun in private:
            self._set_private(iqn, private - {lun})
            changed = True
        for acl in acls if initiator or changed else ():
            changed |= _map(acl, lun, disk, read_only)
        return lun, changed

    def unmap_lun(self, iqn: str, lun: int, initiator: Optional[str]) -> Optional[str]:
        """Take a LUN away, from one initiator or from all; the disk it showed, or None if there is no such LUN."""
        group = self.group(iqn)
        entry = next((entry for entry in group["luns"] if int(entry["index"]) == lun), None)
        if entry is None:
            return None
        for acl in [self._acl(iqn, initiator)] if initiator else group["node_acls"]:
            acl["mapped_luns"] = [m for m in acl.get("mapped_luns", ()) if m.get("tpg_lun") != lun]
        if not initiator:
            group["luns"].remove(entry)
            if lun in self.private_luns(iqn):
                self._set_private(iqn, self.private_luns(iqn) - {lun})
        return _disk_of(entry)

    def visible_luns(self, iqn: str, initiator: str) -> dict[int, tuple[str, bool]]:
        """What one initiator sees: LUN -> (disk name, write protected). Its own ACL wins over rules for everybody."""
        luns, group = self.luns(iqn), self.group(iqn)
        acl = next((acl for acl in group["node_acls"] if _same(acl.get("node_wwn"), initiator)), None)
        if acl is None:
            protect = bool(group["attributes"].get("demo_mode_write_protect", 1)) and not self.root[OURS][
                "networks"
            ].get(iqn)
            private = self.private_luns(iqn)
            return {lun: (name, protect) for lun, name in luns.items() if lun not in private}
        return {
            int(mapped["index"]): (luns[int(mapped["tpg_lun"])], bool(mapped.get("write_protect")))
            for mapped in acl.get("mapped_luns", ())
            if int(mapped["tpg_lun"]) in luns
        }

    # -- who may log in -----------------------------------------------------------------------------------------------

    def rules(self, iqn: str) -> list[AccessRule]:
        """Who may log in to a target."""
        group = self.group(iqn)
        rules = [
            AccessRule(RuleKind.INITIATOR, str(acl["node_wwn"])) for acl in group["node_acls"] if "node_wwn" in acl
        ]
        rules += map(parse_access_rule, self.root[OURS]["networks"].get(iqn, ()))
        if group["attributes"].get("generate_node_acls"):
            rules.append(AccessRule(RuleKind.ALL))
        return rules

    def allow(self, iqn: str, rule: AccessRule) -> bool:
        """False if the rule was there already."""
        if rule in self.rules(iqn):
            return False
        group = self.group(iqn)
        if rule.kind is RuleKind.ALL:
            group["attributes"].update(OPEN_ATTRIBUTES)
        elif rule.kind is RuleKind.NETWORK:
            self.root[OURS]["networks"].setdefault(iqn, []).append(str(rule))
        else:
            acl: Object = {"node_wwn": rule.initiator_name, "mapped_luns": [], "attributes": {}}
            for lun, name in self.luns(iqn).items():
                if lun not in self.private_luns(iqn):
                    _map(acl, lun, name, read_only=False)
            group["node_acls"].append(acl)
        return True

    def deny(self, iqn: str, rule: AccessRule) -> bool:
        """False if there was no such rule."""
        if rule not in self.rules(iqn):
            return False
        group = self.group(iqn)
        if rule.kind is RuleKind.ALL:
            group["attributes"].update(CLOSED_ATTRIBUTES)
        elif rule.kind is RuleKind.NETWORK:
            networks = self.root[OURS]["networks"]
            networks[iqn] = [text for text in networks[iqn] if parse_access_rule(text) != rule]
        else:
            group["node_acls"] = [acl for acl in group["node_acls"] if acl.get("node_wwn") != rule.initiator_name]
        return True

    def _acl(self, iqn: str, initiator: str) -> Object:
        for acl in self.group(iqn)["node_acls"]:
            if _same(acl.get("node_wwn"), initiator):
                found: Object = acl
                return found
        raise OperationError(
            f"{initiator} has no rule of its own at {iqn}; first: tcmu-gluster acl allow {iqn} {initiator}"
        )

    def asks_password(self, iqn: str) -> bool:
        """Whether initiators have to prove who they are."""
        return switched_on(self.group(iqn)["attributes"].get("authentication"))

    def credentials(self, iqn: str, initiator: Optional[str]) -> Object:
        """Where CHAP keys stand in rtslib's schema: at the initiator's ACL, or at the portal group for all."""
        return self._acl(iqn, initiator) if initiator else self.group(iqn)

    def fabric(self) -> Optional[Object]:
        """What is said about iSCSI as a whole (discovery's CHAP keys), or None."""
        modules = self.root.get("fabric_modules")
        for module in modules if isinstance(modules, list) else ():
            if isinstance(module, dict) and module.get("name") == "iscsi":
                return module
        return None

    def make_fabric(self) -> Object:
        """The same, made if it isn't there."""
        fabric = self.fabric()
        if fabric is None:
            fabric = {"name": "iscsi", "discovery_enable_auth": False}
            if not isinstance(self.root.get("fabric_modules"), list):
                self.root["fabric_modules"] = []
            self.root["fabric_modules"].append(fabric)
        return fabric

    def forget_discovery(self) -> None:
        """No password for discovery, as targetcli's clearconfig does it: what stands beside it was not said by us."""
        fabric = self.fabric()
        if fabric is not None:
            for key in [key for key in fabric if key.startswith("discovery_")]:
                del fabric[key]
            if set(fabric) == {"name"}:
                self.root["fabric_modules"].remove(fabric)


def _map(acl: Object, lun: int, disk: str, read_only: bool) -> bool:
    """Let an initiator see a LUN; False if it did, as wanted."""
    mapped = acl.setdefault("mapped_luns", [])
    entry = next((entry for entry in mapped if entry.get("tpg_lun") == lun), None)
    if entry is None:
        taken = {int(one.get("index", -1)) for one in mapped}  # it may see another LUN under this number
        index = lun if lun not in taken else next(n for n in range(LARGEST_LUN + 2) if n not in taken)
        mapped.append({"index": index, "tpg_lun": lun, "write_protect": read_only, "alias": disk})
        return True
    if read_only and not entry.get("write_protect"):
        entry["write_protect"] = True
        return True
    return False


def switched_on(value: Any) -> bool:
    """Whether an attribute of the schema is on: rtslib writes 0 and 1 as numbers, words or truth values."""
    return str(value).strip().lower() not in ("", "0", "no", "false", "none")


def _same(name: Any, initiator: str) -> bool:
    """iSCSI names are compared without regard to case (RFC 7143 4.2.7.2: they are stored in lower case)."""
    return str(name).lower() == initiator.lower()


def _disk_of(lun: Object) -> str:
    """vm1 of /backstores/user/vm1."""
    return str(lun.get("storage_object", "")).rsplit("/", 1)[-1]
