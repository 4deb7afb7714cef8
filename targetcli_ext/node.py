"""The engine's tree: what all of its nodes share. Pure configshell: neither targetcli, rtslib nor gi are imported."""

from __future__ import annotations

from typing import Any, Optional

from .configshell import ConfigNode, ExecutionError
from .daemon import Daemon

SWITCHES = {
    "auto_enable_tpgt": "If true, new targets are enabled.",
    "auto_add_mapped_luns": "If true, new LUNs are mapped to every ACL, and to new ACLs all LUNs.",
    "auto_cd_after_create": "If true, changes current path to newly created objects.",
    "auto_add_default_portal": "If true, new targets get the portals of the daemon's settings.",
}
"""targetcli's preferences that mean something here."""


class Node(ConfigNode):
    """A node. What it shows is looked up in the root's picture of the daemon, never kept."""

    def __init__(self, name: str, parent: Optional[Any] = None, shell: Optional[Any] = None) -> None:
        ConfigNode.__init__(self, name, parent, shell)
        for switch, text in SWITCHES.items():
            self.define_config_group_param("global", switch, "bool", text)

    @property
    def root(self) -> Any:
        """The root node (root.py)."""
        return self.get_root()

    @property
    def daemon(self) -> Daemon:
        """Who is asked."""
        daemon: Daemon = self.root.daemon
        return daemon

    def look_again(self) -> None:
        """Ask the daemon and build the tree anew."""
        self.root.refresh()

    def refresh(self) -> None:
        """Build what is below from the picture that the root has."""
        for child in self.children:
            child.refresh()

    def empty(self) -> None:
        """Have no children."""
        self._children: set[Any] = set()

    def entered(self, path: str) -> Any:
        """What a create returns: the new node to go to, if the preferences say so."""
        self.shell.prefs["bookmarks"]["last"] = path
        if self.shell.prefs["auto_cd_after_create"]:
            self.shell.log.info(f"Entering new node {path}.")
            return self.root.ui_command_cd(path)
        return None

    def ui_command_refresh(self) -> None:
        """
        Asks the daemon again and builds the tree from its answer.
        """
        self.look_again()

    def ui_command_status(self) -> None:
        """
        Displays the current node's status summary.

        SEE ALSO
        ========
        ls
        """
        self.shell.log.info(f"Status for {self.path}: {self.summary()[0]}")

    def ui_type_yesno(self, value: Any = None, enum: bool = False, reverse: bool = False) -> Any:
        """Yes and No, as iSCSI's parameters are written."""
        words = ("Yes", "No")
        if reverse:
            return "n/a" if value is None else value
        if value is None:
            return words if enum else "|".join(words)
        if value not in words:
            raise ValueError(f"{value!r} is neither Yes nor No")
        return value


def number(text: Any, name: str, prefix: str = "") -> int:
    """A whole number, also with its prefix in front ("lun3", "tpg1"). Raises ExecutionError."""
    word = str(text).lower()
    word = word[len(prefix) :] if prefix and word.startswith(prefix) else word
    if not (word.isascii() and word.isdigit() and len(word) < 10):
        raise ExecutionError(f"{name} is a whole number, not {str(text)!r}")
    return int(word)
