"""/backstores of the engine's tree: disks on Gluster, on files, on block devices and in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Optional
from urllib.parse import quote

from tcmu_gluster.config.sizes import format_size
from tcmu_gluster.config.uri import parse_backing

from .completion import local_paths, matching
from .configshell import ExecutionError
from .gluster import DiskCommands, GlusterCommands, flag, switch, uri_of_cfgstring
from .node import Node

Facts = Mapping[str, Any]


class Backstores(Node):
    """What disks are made of."""

    def __init__(self, parent: Node) -> None:
        super().__init__("backstores", parent)
        for kind in (Block, Fileio, Gluster, Ramdisk, UserGluster):
            kind(self)

    def summary(self) -> tuple[str, Optional[bool]]:
        """How many disks there are."""
        return f"Disks: {len(self.root.disks)}", None


class Backstore(Node):
    """Disks of one kind."""

    word = ""

    def __init__(self, parent: Node) -> None:
        super().__init__(self.word, parent)
        self.refresh()

    @staticmethod
    def holds(facts: Facts) -> bool:
        """Whether a disk is of this kind."""
        raise NotImplementedError

    def refresh(self) -> None:
        """One node a disk."""
        self.empty()
        for facts in self.root.disks.values():
            if self.holds(facts):
                Disk(facts["name"], self)

    def summary(self) -> tuple[str, Optional[bool]]:
        """As targetcli says it."""
        return f"Storage Objects: {len(self._children)}", None

    def disk_names(self) -> list[str]:
        """Disks below this node."""
        return [child.name for child in self.children]

    def let_go(self, name: str) -> None:
        """Take a disk out of every target."""
        for target in self.root.targets.values():
            for lun in target["luns"]:
                if lun["disk"] == name:
                    self.daemon.do("lun.unmap", target=target["target"], lun=lun["lun"])

    def made(self, name: str) -> Any:
        """The node of a new disk."""
        return self.entered(f"{self.path}/{name}")

    def create(self, name: str, uri: str, **more: Any) -> Any:
        """A disk of this kind."""
        self.daemon.do("disk.create", name=name, uri=uri, front="engine", **more)
        self.look_again()
        return self.made(name)

    def ui_command_delete(self, name: str, save: Optional[str] = None) -> None:
        """
        Deletes a disk, and the LUNs that show it. Its file stays.
        """
        if name not in self.disk_names():
            raise ExecutionError(f"No storage object named {name}.")
        self.let_go(name)
        self.daemon.do("disk.delete", name=name, keep_file=True)
        self.look_again()

    def ui_complete_delete(self, parameters: Facts, text: str, current_param: str) -> list[str]:
        """Disks."""
        return matching(self.disk_names(), text) if current_param == "name" else []


class Gluster(GlusterCommands, Backstore):
    """Files on GlusterFS volumes."""

    word, front = "gluster", "engine"

    @staticmethod
    def holds(facts: Facts) -> bool:
        """Also what nobody knows the backing of: it can be looked at and deleted here."""
        return not str(facts["uri"]).startswith(("file:", "memory:"))

    def hosts(self) -> list[str]:
        """Gluster servers that disks use."""
        uris = [str(facts["uri"]) for facts in self.root.disks.values() if self.holds(facts) and facts["uri"]]
        return [host for uri in uris for host, _ in parse_backing(uri).hosts]


class UserGluster(Backstore):
    """The same disks under plain targetcli's name, for scripts that were written for it."""

    word = "user:gluster"
    holds = staticmethod(Gluster.holds)

    def ui_command_create(
        self, name: str, size: str, cfgstring: str, wwn: Optional[str] = None, hw_max_sectors: Optional[str] = None,
        control: Optional[str] = None,
    ) -> Any:  # fmt: skip
        """
        Makes a disk as plain targetcli does on a host with LIO. cfgstring is
        volume@host[+host...]/path. hw_max_sectors and control are LIO's and
        mean nothing here.

        EXAMPLE
        =======
        create name=vm1 size=20G cfgstring=vol@server/vm1
        """
        if wwn:
            raise ExecutionError("the serial number follows from the file, so wwn can't be chosen here; leave it out")
        return self.create(name, uri_of_cfgstring(cfgstring), size=size)


class Fileio(Backstore):
    """Plain files."""

    word = "fileio"

    @staticmethod
    def holds(facts: Facts) -> bool:
        """file: that is no device."""
        return str(facts["uri"]).startswith("file:") and not Block.holds(facts)

    def ui_command_create(
        self, name: str, file_or_dev: str, size: Optional[str] = None, write_back: Optional[str] = None,
        sparse: Optional[str] = None, wwn: Optional[str] = None,
    ) -> Any:  # fmt: skip
        """
        Makes a disk from a file. A file that isn't there is made with the size
        given; sparse=false allocates it now. A file that is there keeps its
        size. write_back is what initiators choose with MODE SELECT here.
        """
        if wwn:
            raise ExecutionError("the serial number follows from the file, so wwn can't be chosen here; leave it out")
        path = os.path.abspath(os.path.expanduser(file_or_dev))
        if os.path.exists(path) and size is not None:
            self.shell.log.info(f"{path} exists, using its size.")
            size = None
        prealloc = "full" if switch(sparse, "sparse") is False else None
        return self.create(name, f"file://{quote(path)}", size=size, prealloc=prealloc)

    def ui_complete_create(self, parameters: Facts, text: str, current_param: str) -> list[str]:
        """Files of this host."""
        return local_paths(text) if current_param == "file_or_dev" else []


class Block(Backstore):
    """Block devices."""

    word = "block"

    @staticmethod
    def holds(facts: Facts) -> bool:
        """What lies below /dev."""
        return str(facts["uri"]).startswith("file:///dev/")

    def ui_command_create(self, name: str, dev: str, readonly: Optional[str] = None, wwn: Optional[str] = None) -> Any:
        """
        Makes a disk from a block device.
        """
        if wwn:
            raise ExecutionError("the serial number follows from the device, so wwn can't be chosen here; leave it out")
        path = os.path.abspath(dev)
        return self.create(name, f"file://{quote(path)}", read_only=flag(readonly, "readonly"))

    def ui_complete_create(self, parameters: Facts, text: str, current_param: str) -> list[str]:
        """Block devices."""
        return local_paths(text or "/dev/", blocks=True) if current_param == "dev" else []


class Ramdisk(Backstore):
    """Memory, for trials."""

    word = "ramdisk"

    @staticmethod
    def holds(facts: Facts) -> bool:
        """memory:"""
        return str(facts["uri"]).startswith("memory:")

    def ui_command_create(self, name: str, size: str, nullio: Optional[str] = None, wwn: Optional[str] = None) -> Any:
        """
        Makes a disk in the daemon's memory: what is written is gone when the
        daemon ends.
        """
        if wwn or switch(nullio, "nullio"):
            raise ExecutionError("wwn and nullio can't be chosen here; leave them out")
        return self.create(name, f"memory:{name}", size=size)


class Disk(DiskCommands, Node):
    """One disk."""

    def __init__(self, name: str, parent: Node) -> None:
        super().__init__(name, parent)
        for name_, text in (("dev_size", "Size in bytes."), ("unit_serial", "The disk's serial number.")):
            self.define_config_group_param("attribute", name_, "string", text, False)

    @property
    def facts(self) -> Facts:
        """What the daemon says about it."""
        facts: Facts = self.root.disks.get(self.name) or {}
        return facts

    def disk_name(self) -> str:
        """Its name."""
        return str(self.name)

    def ui_getgroup_attribute(self, name: str) -> Any:
        """Read-only ones."""
        return self.facts.get({"dev_size": "size_bytes", "unit_serial": "serial"}[name])

    def summary(self) -> tuple[str, Optional[bool]]:
        """Its backing, size and state."""
        facts = self.facts
        if not facts:
            return "deleted", False
        online = facts["state"] == "online"
        used = "activated" if self.name in self.root.shown else "deactivated"
        said = f"{facts['uri'] or 'unknown'} ({format_size(facts['size_bytes'])}) {used if online else facts['state']}"
        return said, online
