"""acls of a portal group in the engine's tree: who may log in, with which password, and what each one sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from .completion import initiators, matching
from .configshell import ExecutionError
from .gluster import flag
from .groups import Group
from .node import Node, number
from .portals import disk_of_path, disk_paths

Facts = Mapping[str, Any]


class Acls(Node):
    """Initiators with a rule of their own, and the networks that may log in."""

    def __init__(self, parent: Any) -> None:
        super().__init__("acls", parent)
        self.refresh()

    def refresh(self) -> None:
        """One node an initiator."""
        self.empty()
        for acl in self.parent.facts.get("acls", ()):
            Acl(acl["initiator"], self)

    def summary(self) -> tuple[str, Optional[bool]]:
        """As targetcli says it, and the networks, which LIO does not know."""
        networks = self.parent.facts.get("networks", ())
        return f"ACLs: {len(self._children)}" + (f", networks: {', '.join(networks)}" if networks else ""), None

    def ui_command_create(self, wwn: str, add_mapped_luns: Optional[str] = None) -> Any:
        """
        Lets an initiator log in. It sees every LUN of the target, unless
        add_mapped_luns=false (or the preference auto_add_mapped_luns) says
        otherwise.
        """
        add = self.ui_eval_param(add_mapped_luns, "bool", self.shell.prefs["auto_add_mapped_luns"])
        place = {"target": self.parent.iqn}
        self.daemon.do("acl.allow", rule=wwn, **place)
        self.root.picture()
        acl = next((one for one in self.parent.facts["acls"] if one["initiator"].lower() == wwn.lower()), None)
        if acl is None:  # a network, which has no ACL
            self.look_again()
            return None
        if not add:
            for lun in acl["luns"]:
                self.daemon.question("acl.unmap", initiator=acl["initiator"], lun=lun["lun"], **place)
        self.look_again()
        return self.entered(f"{self.path}/{acl['initiator']}")

    def ui_complete_create(self, parameters: Facts, text: str, current_param: str) -> list[str]:
        """Initiators that are known, also those that were turned away lately."""
        if current_param == "add_mapped_luns":
            return matching(("true", "false"), text)
        return initiators(self.daemon, text) if current_param == "wwn" else []

    def ui_command_delete(self, wwn: str) -> None:
        """
        Takes the permission of an initiator (or a network) back; its session
        ends.
        """
        known = [*(child.name for child in self.children), *self.parent.facts.get("networks", ())]
        if wwn not in known:
            raise ExecutionError(f"there is no ACL for {wwn}")
        self.daemon.do("acl.deny", target=self.parent.iqn, rule=wwn)
        self.look_again()

    def ui_complete_delete(self, parameters: Facts, text: str, current_param: str) -> list[str]:
        """Those that there are."""
        return matching((child.name for child in self.children), text) if current_param == "wwn" else []


class Acl(Group):
    """One initiator."""

    def __init__(self, initiator: str, parent: Acls) -> None:
        super().__init__(initiator, parent)
        self.define(self.facts)
        self.refresh()

    @property
    def facts(self) -> Facts:
        """What the daemon says about it."""
        acls = self.parent.parent.facts.get("acls", ())
        facts: Facts = next((one for one in acls if one["initiator"] == self.name), {})
        return facts

    @property
    def place(self) -> dict[str, Any]:
        """The target and the initiator."""
        return {"target": self.parent.parent.iqn, "initiator": str(self.name)}

    def refresh(self) -> None:
        """One node a LUN that it sees."""
        self.empty()
        for lun in self.facts.get("luns", ()):
            MappedLun(lun["lun"], self)

    def summary(self) -> tuple[str, Optional[bool]]:
        """As targetcli says it."""
        group, auth = self.parent.parent.facts, self.facts.get("auth", {})
        said, healthy = [], None
        if group and int(group["attributes"]["authentication"]):
            own = bool(auth.get("userid") and auth.get("password"))
            everybody = bool(group["auth"]["userid"] and group["auth"]["password"])
            said.append(("mutual auth" if auth.get("mutual_userid") else "1-way auth") if own else "auth via tpg")
            healthy = own or everybody
        if self.name in group.get("initiators", ()):
            said.append("logged in")
        return ", ".join([*said, f"Mapped LUNs: {len(self._children)}"]), healthy

    def ui_command_create(self, mapped_lun: str, tpg_lun_or_backstore: str, write_protect: Optional[str] = None) -> Any:
        """
        Shows one of the target's LUNs to this initiator as LUN "mapped_lun". A
        disk's path may be given too; it becomes a LUN of the target first if
        it is none. With write_protect=1 the initiator may only read.
        """
        place = self.place
        try:
            lun = number(tpg_lun_or_backstore, "tpg_lun", "lun")
        except ExecutionError:
            lun = self._lun_of(disk_of_path(self, tpg_lun_or_backstore))
        shown_as = number(mapped_lun, "mapped_lun")
        self.daemon.do("acl.map", lun=lun, shown_as=shown_as, read_only=flag(write_protect, "write_protect"), **place)
        self.look_again()
        return self.entered(f"{self.path}/mapped_lun{shown_as}")

    def _lun_of(self, disk: str) -> int:
        """The LUN that shows a disk: one that is there, or a new one that only this initiator sees."""
        for one in self.parent.parent.facts["luns"]:
            if one["disk"] == disk:
                return int(one["lun"])
        made = int(self.daemon.do("lun.map", target=self.place["target"], disk=disk)["lun"])
        for acl in self.parent.parent.facts["acls"]:
            self.daemon.question("lun.unmap", target=self.place["target"], initiator=acl["initiator"], lun=made)
        return made

    def ui_complete_create(self, parameters: Facts, text: str, current_param: str) -> list[str]:
        """LUNs of the target and disks."""
        if current_param == "write_protect":
            return matching(("0", "1"), text)
        luns = [str(one["lun"]) for one in self.parent.parent.facts.get("luns", ())]
        if current_param == "mapped_lun":
            return matching(luns, text)
        return matching([*luns, *disk_paths(self)], text) if current_param == "tpg_lun_or_backstore" else []

    def ui_command_delete(self, mapped_lun: str) -> None:
        """
        Takes a LUN away from this initiator.
        """
        wanted = number(mapped_lun, "mapped_lun", "mapped_lun")
        if wanted not in [one["lun"] for one in self.facts.get("luns", ())]:
            raise ExecutionError("Invalid LUN")
        self.daemon.do("acl.unmap", lun=wanted, **self.place)
        self.look_again()

    def ui_complete_delete(self, parameters: Facts, text: str, current_param: str) -> list[str]:
        """Those that it sees."""
        return matching((str(one["lun"]) for one in self.facts.get("luns", ())), text)

    def ui_command_info(self) -> None:
        """
        Shows all about the ACL.
        """
        self.shell.log.info(f"wwns: {self.name}")


class MappedLun(Node):
    """One LUN as an initiator sees it."""

    def __init__(self, lun: int, parent: Acl) -> None:
        super().__init__(f"mapped_lun{lun}", parent)
        self._lun = lun

    def summary(self) -> tuple[str, Optional[bool]]:
        """Which LUN of the target it is."""
        one = next((one for one in self.parent.facts.get("luns", ()) if one["lun"] == self._lun), None)
        if one is None or one["disk"] is None:
            return "BROKEN LUN LINK", False
        return f"lun{one['tpg_lun']} {one['disk']} ({'ro' if one['read_only'] else 'rw'})", True
