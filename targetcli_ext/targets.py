"""/iscsi of the engine's tree: targets with their portal group, its attributes, parameters and passwords."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from .acls import Acls
from .completion import matching
from .configshell import ExecutionError
from .groups import AUTH, WORDS, Group
from .node import Node
from .portals import Luns, Portals, portal_text

Facts = Mapping[str, Any]


class Iscsi(Node):
    """All targets."""

    def __init__(self, parent: Node) -> None:
        super().__init__("iscsi", parent)
        for name in AUTH:
            self.define_config_group_param("discovery_auth", name, "string", "What is asked before discovery.")
        self.define_config_group_param("discovery_auth", "enable", "number", "Whether anything is asked.")
        self.refresh()

    def refresh(self) -> None:
        """One node a target."""
        self.empty()
        for iqn in self.root.targets:
            Target(iqn, self)

    def summary(self) -> tuple[str, Optional[bool]]:
        """As targetcli says it."""
        facts, said, healthy = self.root.discovery, [], None
        if facts.get("enable"):
            healthy = bool(facts.get("userid") and facts.get("password"))
            said.append("mutual disc auth" if facts.get("mutual_userid") else "1-way disc auth")
        return ", ".join([*said, f"Targets: {len(self._children)}"]), healthy

    def ui_getgroup_discovery_auth(self, name: str) -> Any:
        """Passwords are not shown."""
        value = self.root.discovery.get(name)
        return int(bool(value)) if name == "enable" else value

    def ui_setgroup_discovery_auth(self, name: str, value: Any) -> None:
        """One at a time, as it is typed."""
        if name == "enable":
            self.daemon.question("chap.edit", discovery=True, ask="on" if int(value or 0) else "off")
        else:
            self.daemon.question("chap.edit", discovery=True, **{WORDS[name]: value or ""})
        self.root.picture()

    def ui_command_create(self, wwn: Optional[str] = None) -> Any:
        """
        Creates a new target with its portal group. A name is made up if none
        is given. Nobody may log in until an ACL says so.
        """
        made = self.daemon.do("target.create", target=wwn)
        iqn = str(made.get("target") or wwn)
        if made["changed"]:
            if not self.shell.prefs["auto_add_default_portal"]:
                self.root.picture()
                for address, port in self.root.targets[iqn]["portals"]:
                    self.daemon.do("portal.remove", target=iqn, portal=portal_text(address, port))
            if not self.shell.prefs["auto_enable_tpgt"]:
                self.daemon.do("target.disable", target=iqn)
        self.look_again()
        return self.entered(f"/iscsi/{iqn}/tpg{self.root.targets[iqn]['tag']}")

    def ui_command_delete(self, wwn: str) -> None:
        """
        Deletes a target with its LUNs, ACLs and portals; its disks stay.
        """
        if wwn not in self.root.targets:
            raise ExecutionError(f"there is no target {wwn}")
        self.daemon.do("target.delete", target=wwn)
        self.look_again()

    def ui_complete_delete(self, parameters: Facts, text: str, current_param: str) -> list[str]:
        """Targets."""
        return matching(self.root.targets, text) if current_param == "wwn" else []

    def ui_command_info(self) -> None:
        """
        Displays information about the fabric.
        """
        self.shell.log.info("Fabric module name: iscsi (tcmu-gluster's engine)")
        self.shell.log.info("Allowed WWNs types: iqn, naa, eui")


class Target(Node):
    """One target; the engine has one portal group in each."""

    def __init__(self, iqn: str, parent: Node) -> None:
        super().__init__(iqn, parent)
        self.refresh()

    def refresh(self) -> None:
        """Its portal group."""
        self.empty()
        facts = self.root.targets.get(self.name)
        if facts is not None:
            PortalGroup(facts["tag"], self)

    def summary(self) -> tuple[str, Optional[bool]]:
        """As targetcli says it."""
        return f"TPGs: {len(self._children)}", None

    def ui_command_create(self, tag: Optional[str] = None) -> None:
        """
        The engine has one portal group a target, which is there already.
        """
        raise ExecutionError("the engine has one portal group a target, and it is there; make another target instead")

    def ui_command_delete(self, tag: str) -> None:
        """
        The engine has one portal group a target: delete the target.
        """
        raise ExecutionError(f"the engine has one portal group a target; delete the target: /iscsi delete {self.name}")


class PortalGroup(Group):
    """tpg1."""

    def __init__(self, tag: int, parent: Target) -> None:
        super().__init__(f"tpg{tag}", parent)
        self.define(self.facts)
        Acls(self)
        Luns(self)
        Portals(self)

    @property
    def iqn(self) -> str:
        """The target's name."""
        return str(self.parent.name)

    @property
    def facts(self) -> Facts:
        """What the daemon says about the target."""
        facts: Facts = self.root.targets.get(self.iqn) or {}
        return facts

    @property
    def place(self) -> dict[str, Any]:
        """The target."""
        return {"target": self.iqn}

    def summary(self) -> tuple[str, Optional[bool]]:
        """As targetcli says it."""
        facts = self.facts
        if not facts:
            return "deleted", False
        if not facts["enabled"]:
            return "disabled", False
        attributes, auth = facts["attributes"], facts["auth"]
        open_, asks = bool(int(attributes["generate_node_acls"])), bool(int(attributes["authentication"]))
        said, healthy = ["gen-acls" if open_ else "no-gen-acls"], None
        if not asks:
            said.append("no-auth")
            healthy = True if open_ else None
        elif not open_:
            said.append("auth per-acl")
        else:
            said += ["tpg-auth", "mutual auth" if auth["mutual_userid"] else "1-way auth"]
            healthy = bool(auth["userid"] and auth["password"])
        return ", ".join(said), healthy

    def ui_command_enable(self) -> None:
        """
        Enables the TPG: initiators find it and may log in.
        """
        self.daemon.do("target.enable", **self.place)
        self.look_again()

    def ui_command_disable(self) -> None:
        """
        Disables the TPG: its sessions end and nobody may log in.
        """
        self.daemon.do("target.disable", **self.place)
        self.look_again()

    def ui_command_info(self) -> None:
        """
        Shows all about the target.
        """
        for name, value in (("tag", self.facts["tag"]), ("enable", self.facts["enabled"])):
            self.shell.log.info(f"{name}: {value}")
