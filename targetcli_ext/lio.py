"""targetcli's own tree with our nodes in it. Only on hosts with LIO: imports targetcli, and with it rtslib and gi.

targetcli has no plug-in hook, so its root and its backstores are subclassed here; nothing of it is changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import Any

from targetcli.ui_backstore import RTSRoot, UIBackstore, UIBackstores, UIUserBackedStorageObject
from targetcli.ui_root import UIRoot

from tcmu_gluster.config.cfgstring import SUBTYPE, StateId, parse_cfgstring
from tcmu_gluster.errors import ConfigError

from .daemon import Daemon
from .gluster import DiskCommands, GlusterCommands

LOCK = "/var/run/targetcli.lock"


class Root(UIRoot):
    """targetcli's root, with our backstores in place of its own."""

    def __init__(self, shell: Any, daemon: Daemon) -> None:
        self.daemon = daemon
        super().__init__(shell, as_root=os.geteuid() == 0)

    def refresh(self) -> None:
        """As targetcli does it; then the backstores once more, as ours."""
        super().refresh()
        for child in list(self._children):
            if child.name == "backstores":
                self._children.remove(child)
        Backstores(self)


class Backstores(UIBackstores):
    """targetcli's backstores and ours."""

    def refresh(self) -> None:
        """Rebuilt whenever targetcli made or lost one."""
        super().refresh()
        Gluster(self)


class Gluster(GlusterCommands, UIBackstore):
    """Files on GlusterFS volumes, as TCMU devices."""

    front = "lio"

    def __init__(self, parent: Any) -> None:
        self.so_cls = GlusterDisk
        UIBackstore.__init__(self, SUBTYPE, parent)

    def refresh(self) -> None:
        """User backstores whose handler is ours."""
        self._children: set[Any] = set()
        for storage_object in RTSRoot().storage_objects:
            if storage_object.plugin == "user" and (storage_object.config or "").startswith(f"{SUBTYPE}/"):
                GlusterDisk(storage_object, self)

    @property
    def daemon(self) -> Daemon:  # type: ignore[override]
        """Who is asked."""
        daemon: Daemon = self.get_root().daemon
        return daemon

    def look_again(self) -> None:
        """targetcli's user:gluster shows the same disks, so all backstores are built anew."""
        self.parent.refresh()

    def made(self, name: str) -> Any:
        """The node of a new disk; this node itself has been replaced meanwhile."""
        return self.new_node(self.get_root().get_node(f"/backstores/{SUBTYPE}/{name}"))

    def disk_names(self) -> list[str]:
        """Disks below this node."""
        return [child.name for child in self.children]

    def let_go(self, name: str) -> None:
        """Delete the LUNs that show a disk."""
        self.assert_root()
        for lun in list(self.get_child(name).rtsnode.attached_luns):
            lun.delete()
        for child in self.get_root().children:
            if child.name != "backstores":
                child.refresh()

    def hosts(self) -> list[str]:
        """Gluster servers that disks use."""
        found = []
        for child in self.children:
            try:
                named = parse_cfgstring(child.rtsnode.config)
            except ConfigError:
                continue
            if not isinstance(named, StateId):
                found += [host for host, _ in named.hosts]
        return found


class GlusterDisk(DiskCommands, UIUserBackedStorageObject):
    """One disk: targetcli's node with our commands."""

    @property
    def daemon(self) -> Daemon:  # type: ignore[override]
        """Who is asked."""
        daemon: Daemon = self.get_root().daemon
        return daemon

    def look_again(self) -> None:
        """The size is read anew."""
        self.parent.parent.refresh()

    def disk_name(self) -> str:
        """Its name."""
        return str(self.rtsnode.name)


def wait_for_others(path: str = LOCK) -> None:
    """Take targetcli's own lock, until this process ends: two of them would trip over each other's changes."""
    with contextlib.suppress(PermissionError):  # who is not root may look
        fcntl.flock(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), fcntl.LOCK_EX)


def make_root(shell: Any, daemon: Daemon) -> Root:
    """The tree, once no other targetcli changes it. Raises what rtslib raises."""
    wait_for_others()
    root = Root(shell, daemon)
    root.refresh()
    return root
