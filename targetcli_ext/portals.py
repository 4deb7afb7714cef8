"""luns and portals of a portal group in the engine's tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from .completion import matching
from .configshell import ExecutionError
from .node import Node, number

Facts = Mapping[str, Any]


def disk_of_path(node: Node, text: str) -> str:
    """The disk that a path of the tree names: /backstores/gluster/vm1. Raises ExecutionError."""
    try:
        found = node.get_node(text)
    except ValueError:
        found = None
    name = getattr(found, "disk_name", None)
    if name is None:
        raise ExecutionError(f"{text} is no disk of this tree; create one below /backstores first")
    return str(name())


def disk_paths(node: Node) -> list[str]:
    """Paths of all disks, for completion."""
    return [disk.path for kind in node.get_node("/backstores").children for disk in kind.children]


class Luns(Node):
    """What the target shows."""

    def __init__(self, parent: Any) -> None:
        super().__init__("luns", parent)
        self.refresh()

    def refresh(self) -> None:
        """One node a LUN."""
        self.empty()
        for lun in self.parent.facts.get("luns", ()):
            Lun(lun["lun"], self)

    def summary(self) -> tuple[str, Optional[bool]]:
        """As targetcli says it."""
        return f"LUNs: {len(self._children)}", None

    def ui_command_create(
        self, storage_object: str, lun: Optional[str] = None, add_mapped_luns: Optional[str] = None
    ) -> Any:
        """
        Creates a new LUN that shows a disk, given by its path in the tree as
        in /backstores/gluster/vm1. The first free LUN is taken if none is
        given. add_mapped_luns says whether every ACL sees it; if it is left
        out, the preference auto_add_mapped_luns does.
        """
        add = self.ui_eval_param(add_mapped_luns, "bool", self.shell.prefs["auto_add_mapped_luns"])
        disk, iqn = disk_of_path(self, storage_object), self.parent.iqn
        if disk in [one["disk"] for one in self.parent.facts["luns"]]:
            raise ExecutionError(f"lun for storage object {disk} already exists")
        wanted = None if lun is None else number(lun, "lun", "lun")
        made = self.daemon.do("lun.map", target=iqn, disk=disk, lun=wanted)["lun"]
        if not add:
            for acl in self.parent.facts["acls"]:
                self.daemon.question("lun.unmap", target=iqn, initiator=acl["initiator"], lun=made)
        self.look_again()
        return self.entered(f"{self.path}/lun{made}")

    def ui_complete_create(self, parameters: Facts, text: str, current_param: str) -> list[str]:
        """Disks by their paths."""
        if current_param == "add_mapped_luns":
            return matching(("true", "false"), text)
        return matching(disk_paths(self), text) if current_param == "storage_object" else []

    def ui_command_delete(self, lun: str) -> None:
        """
        Deletes a LUN; its disk stays.
        """
        wanted = number(lun, "lun", "lun")
        if wanted not in [one["lun"] for one in self.parent.facts["luns"]]:
            raise ExecutionError("Invalid LUN")
        self.daemon.do("lun.unmap", target=self.parent.iqn, lun=wanted)
        self.look_again()

    def ui_complete_delete(self, parameters: Facts, text: str, current_param: str) -> list[str]:
        """LUNs."""
        return matching((child.name[3:] for child in self.children), text) if current_param == "lun" else []


class Lun(Node):
    """One LUN."""

    def __init__(self, lun: int, parent: Luns) -> None:
        super().__init__(f"lun{lun}", parent)
        self._lun = lun

    def summary(self) -> tuple[str, Optional[bool]]:
        """The disk that it shows."""
        facts = self.parent.parent.facts
        disk = next((one["disk"] for one in facts.get("luns", ()) if one["lun"] == self._lun), None)
        about = self.root.disks.get(disk)
        if about is None:
            return f"{disk}: missing", False
        online = about["state"] == "online"
        return f"{disk} ({about['uri']})" + ("" if online else f" {about['state']}"), online


class Portals(Node):
    """Where the target listens."""

    def __init__(self, parent: Any) -> None:
        super().__init__("portals", parent)
        self.refresh()

    def refresh(self) -> None:
        """One node a portal."""
        self.empty()
        for address, port in self.parent.facts.get("portals", ()):
            Portal(portal_text(address, port), self)

    def summary(self) -> tuple[str, Optional[bool]]:
        """As targetcli says it."""
        return f"Portals: {len(self._children)}", None

    def ui_command_create(self, ip_address: Optional[str] = None, ip_port: Optional[str] = None) -> Any:
        """
        Creates a network portal. The port is 3260 if it is left out, the
        address all of this host's (0.0.0.0).
        """
        address = str(self.ui_eval_param(ip_address, "string", "0.0.0.0")).strip("[]")
        port = number(ip_port, "ip_port") if ip_port is not None else 3260
        if ip_port is None:
            self.shell.log.info("Using default IP port 3260")
        if address == "0.0.0.0":
            self.shell.log.info("Binding to INADDR_ANY (0.0.0.0)")
        self.daemon.do("portal.add", target=self.parent.iqn, portal=portal_text(address, port))
        self.look_again()
        return self.entered(f"{self.path}/{portal_text(address, port)}")

    def ui_command_delete(self, ip_address: str, ip_port: str) -> None:
        """
        Deletes a network portal; sessions that came through it go on.
        """
        address, port = ip_address.strip("[]"), number(ip_port, "ip_port")
        if [address, port] not in [list(one) for one in self.parent.facts["portals"]]:
            raise ExecutionError(f"{self.parent.iqn} has no portal {portal_text(address, port)}")
        self.daemon.do("portal.remove", target=self.parent.iqn, portal=portal_text(address, port))
        self.look_again()

    def ui_complete_delete(self, parameters: Facts, text: str, current_param: str) -> list[str]:
        """Portals that there are."""
        portals = self.parent.facts.get("portals", ())
        if current_param == "ip_address":
            return matching((address for address, _ in portals), text)
        given = str(parameters.get("ip_address", "")).strip("[]")
        return matching((str(port) for address, port in portals if given in ("", address)), text)


def portal_text(address: str, port: int) -> str:
    """ADDRESS:PORT, IPv6 in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class Portal(Node):
    """One portal."""

    def summary(self) -> tuple[str, Optional[bool]]:
        """OK, or why nobody can come in there now."""
        why = self.root.waiting_portals.get(self.name)
        return ("OK", True) if why is None else (f"waits: {why}", False)
