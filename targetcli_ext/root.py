"""The engine's tree from its root: the whole configuration, its saving and restoring, sessions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Optional

from tcmu_gluster import __version__
from tcmu_gluster.control.terminal import printable

from .completion import SAVED, local_paths, matching
from .configshell import ExecutionError
from .daemon import Daemon, facts_text
from .devices import Backstores
from .gluster import flag, switch
from .node import Node, number
from .targets import Iscsi


class Root(Node):
    """The daemon's picture (disks, targets, discovery), and the nodes that show it."""

    def __init__(self, shell: Any, daemon: Daemon) -> None:
        self._daemon = daemon
        self.disks: dict[str, Mapping[str, Any]] = {}
        self.targets: dict[str, Mapping[str, Any]] = {}
        self.discovery: Mapping[str, Any] = {}
        self.waiting_portals: Mapping[str, str] = {}
        """Portals where nobody can come in now, and why."""
        self.state_file = ""
        self.shown: frozenset[str] = frozenset()
        """Disks that some target shows."""
        super().__init__("/", None, shell)

    @property
    def daemon(self) -> Daemon:
        """Who is asked."""
        return self._daemon

    def refresh(self) -> None:
        """Ask, and build every node anew; whoever was in one stays in the nearest that is still there."""
        self.picture()
        self.empty()
        Backstores(self)
        Iscsi(self)
        self.shell.stay()

    def picture(self) -> None:
        """Ask for all there is, in one question."""
        whole = self.daemon.question("configuration")
        self.disks = {one["name"]: one for one in whole["disks"]}
        self.targets = {one["target"]: one for one in whole["targets"]}
        self.discovery, self.state_file = whole["discovery"], whole["state_file"]
        self.waiting_portals = whole["waiting_portals"]
        self.shown = frozenset(lun["disk"] for target in self.targets.values() for lun in target["luns"])

    def summary(self) -> tuple[str, Optional[bool]]:
        """Who serves what is below."""
        return "served by the engine", None

    # -- the whole ----------------------------------------------------------------------------------------------------

    def ui_command_saveconfig(self, savefile: Optional[str] = None) -> None:
        """
        Saves the current configuration to a file, in LIO's own format. Without
        a file it is the daemon's own, which every change saves by itself.
        """
        self.daemon.do("save", file=_path(savefile))

    def ui_command_restoreconfig(
        self, savefile: Optional[str] = None, clear_existing: Optional[str] = None, target: Optional[str] = None,
        storage_object: Optional[str] = None,
    ) -> None:  # fmt: skip
        """
        Restores configuration from a file: the engine's own or one that
        targetcli saved on a host with LIO. What the engine can't serve is
        reported and left out.
        """
        if target or storage_object:
            raise ExecutionError("the engine restores a whole file; leave target and storage_object out")
        self.daemon.do("restore", file=_path(savefile), clear_existing=flag(clear_existing, "clear_existing"))
        self.refresh()

    def ui_complete_saveconfig(self, parameters: Mapping[str, Any], text: str, current_param: str) -> list[str]:
        """Files of this host."""
        if current_param == "clear_existing":
            return matching(("true", "false"), text)
        return local_paths(text) if current_param in SAVED else []

    ui_complete_restoreconfig = ui_complete_saveconfig

    def ui_command_clearconfig(self, confirm: Optional[str] = None) -> None:
        """
        Removes every disk, target and password of the engine; files stay. Needs
        confirm=True.
        """
        if not switch(confirm, "confirm"):
            raise ExecutionError("As a precaution, confirm=True needs to be set")
        self.daemon.do("clear", confirm=True)
        self.refresh()

    def ui_complete_clearconfig(self, parameters: Mapping[str, Any], text: str, current_param: str) -> list[str]:
        """The precaution."""
        return matching(("True",), text) if current_param == "confirm" else []

    def ui_command_version(self) -> None:
        """
        Displays the version.
        """
        self.shell.log.info(f"tcmu-gluster version {__version__}")

    def ui_command_info(self) -> None:
        """
        Shows how the daemon is.
        """
        for line in facts_text(self.daemon.question("status")):
            self.shell.log.info(line)

    # -- sessions -----------------------------------------------------------------------------------------------------

    def ui_command_sessions(self, action: str = "list", sid: Optional[str] = None) -> None:
        """
        Displays a list of all open sessions.

        PARAMETERS
        ==========

        action
        ------
        The action is one of:
            - list gives a short session list
            - detail gives a detailed list

        sid
        ---
        Only the session of that number.
        """
        if action not in ("list", "detail"):
            raise ExecutionError("action must be one of: list, detail")
        wanted = None if sid is None else number(sid, "sid")
        found = [one for one in self.daemon.question("session.list")["items"] if wanted in (None, one["id"])]
        if not found:
            if wanted is not None:
                raise ExecutionError(f"no session found with sid {wanted}")
            self.shell.con.display("(no open sessions)")
        for one in found:
            self._show_session(one["id"], action == "detail")

    def _show_session(self, number_: int, detail: bool) -> None:
        facts = self.daemon.question("session.show", id=number_)
        lines = [f"alias: {facts['alias'] or ''}\tsid: {facts['id']} type: Normal session-state: LOGGED_IN"]
        if detail:
            target = self.targets.get(facts["target"], {})
            asked = target.get("attributes", {}).get("authentication")
            lines.append(f"    name: {facts['initiator']} ({'authenticated' if asked else 'NOT AUTHENTICATED'})")
            for lun, disk, mode in _luns_of(target, facts["initiator"]):
                lines.append(f"    mapped-lun: {lun} backstore: {disk} mode: {mode}")
            for cid in facts["connections"]:
                lines.append(f"    address: {facts['address']} (TCP)  cid: {cid} connection-state: LOGGED_IN")
        for line in lines:
            self.shell.con.display("\t".join(map(printable, line.split("\t"))))

    def ui_complete_sessions(self, parameters: Mapping[str, Any], text: str, current_param: str) -> list[str]:
        """The actions, and the sessions there are."""
        if current_param == "action":
            return matching(("list", "detail"), text)
        items = self.daemon.question("session.list")["items"] if current_param == "sid" else ()
        return matching((str(one["id"]) for one in items), text)


def _luns_of(target: Mapping[str, Any], initiator: str) -> list[tuple[int, str, str]]:
    for acl in target.get("acls", ()):
        if acl["initiator"].lower() == initiator.lower():
            return [(one["lun"], str(one["disk"]), "r" if one["read_only"] else "rw") for one in acl["luns"]]
    protect = target.get("attributes", {}).get("demo_mode_write_protect") and not target.get("networks")
    return [(one["lun"], one["disk"], "r" if protect else "rw") for one in target.get("luns", ())]


def _path(savefile: Optional[str]) -> Optional[str]:
    """The daemon's working directory is not ours."""
    return os.path.abspath(os.path.expanduser(savefile)) if savefile else None
