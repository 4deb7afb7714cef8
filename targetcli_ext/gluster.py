"""/backstores/gluster: the commands of the node and of its disks, the same on LIO's tree and on the engine's.

Mixed into a configshell node that has `daemon`, `front` ("lio" or "engine"), `look_again()` and `let_go(name)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Optional
from urllib.parse import quote

from tcmu_gluster.config.sizes import format_size
from tcmu_gluster.config.uri import parse_backing
from tcmu_gluster.errors import ConfigError

from .completion import gluster_create, matching
from .configshell import ExecutionError
from .daemon import Daemon, facts_text


def gluster_uri(volume: str, host: str, path: str) -> str:
    """gluster://host/volume/path, checked. Raises ExecutionError."""
    text = f"gluster://{host}/{volume}/{quote(path.lstrip('/'))}"
    try:
        return str(parse_backing(text))
    except ConfigError as error:
        raise ExecutionError(str(error)) from None


def uri_of_cfgstring(text: str) -> str:
    """The URI of plain targetcli's cfgstring. Raises ExecutionError."""
    from tcmu_gluster.config.cfgstring import StateId, parse_cfgstring

    try:
        named = parse_cfgstring(text)
    except ConfigError as error:
        raise ExecutionError(f"cfgstring invalid: {error}") from None
    if isinstance(named, StateId):
        raise ExecutionError("cfgstring invalid: an id names a disk that is there already; write volume@host/path")
    return str(named)


def switch(value: Optional[str], name: str) -> Optional[bool]:
    """A yes or no as targetcli takes it; None if it was not given. Raises ExecutionError."""
    if value is None:
        return value
    word = str(value).strip().lower()
    if word in ("true", "yes", "1", "on"):
        return True
    if word in ("false", "no", "0", "off", ""):
        return False
    raise ExecutionError(f"{name} is true or false, not {value!r}")


def flag(value: Optional[str], name: str) -> Optional[bool]:
    """The same for an operation's flag, which is given or not."""
    return switch(value, name) or None


class GlusterCommands:
    """Of the node."""

    daemon: Daemon
    front: str
    shell: Any

    look_again: Callable[[], None]
    """Build the tree as it is now."""
    let_go: Callable[[str], None]
    """Take a disk out of every target."""
    disk_names: Callable[[], list[str]]
    """Disks below this node."""
    hosts: Callable[[], list[str]]
    """Gluster servers that disks use."""
    made: Callable[[str], Any]
    """What create returns: the node of a new disk, for auto_cd_after_create."""

    def ui_command_create(
        self, name: str, volume: str, host: str, path: Optional[str] = None, size: Optional[str] = None,
        prealloc: Optional[str] = None, read_only: Optional[str] = None,
    ) -> Any:  # fmt: skip
        """
        Makes a disk from a file on a GlusterFS volume.

        The file is made if it isn't there; then "size" is needed, as in 20G
        (K, M, G, T are powers of 1024). A file that is there keeps its data
        and its size. "path" is the disk's name if it is left out.
        prealloc=full allocates all of the file now, so that it can't run out
        of space later.

        EXAMPLE
        =======
        create name=vm1 volume=vol host=server path=/vm1 size=20G prealloc=full
        """
        uri = gluster_uri(volume, host, path or name)
        self.daemon.do(
            "disk.create", name=name, uri=uri, size=size, prealloc=prealloc, front=self.front,
            read_only=flag(read_only, "read_only"),
        )  # fmt: skip
        self.look_again()
        return self.made(name)

    def ui_complete_create(self, parameters: Mapping[str, Any], text: str, current_param: str) -> list[str]:
        """Hosts, volumes, paths."""
        return gluster_create(self.daemon, self.hosts(), parameters, text, current_param)

    def ui_command_delete(self, name: str, delete_file: Optional[str] = None) -> None:
        """
        Deletes a disk, and the LUNs that show it. Its file stays on the
        volume, unless delete_file=true says otherwise.
        """
        if name not in self.disk_names():
            raise ExecutionError(f"No storage object named {name}.")
        self.let_go(name)
        self.daemon.do("disk.delete", name=name, keep_file=not switch(delete_file, "delete_file"))
        self.look_again()

    def ui_complete_delete(self, parameters: Mapping[str, Any], text: str, current_param: str) -> list[str]:
        """Disks."""
        if current_param == "name":
            return matching(self.disk_names(), text)
        return gluster_create(self.daemon, (), parameters, text, current_param)

    def ui_command_resize(self, name: str, size: str, force: Optional[str] = None) -> None:
        """
        Changes the size of a disk and of its file. Making it smaller needs
        force=true, because what lies beyond the new end is lost.
        """
        self.daemon.do("disk.resize", name=name, size=size, force=flag(force, "force"))
        self.look_again()

    def ui_command_info(self, name: Optional[str] = None) -> None:
        """
        Shows all about one disk, or what there is to know about these disks.
        """
        if name is None:
            count = len(self.disk_names())
            self.shell.log.info(f"Files on GlusterFS volumes as disks, served by {self.front}: {count}.")
            return
        for line in facts_text(self.daemon.question("disk.show", name=name)):
            self.shell.log.info(line)

    def ui_command_stats(self, name: str) -> None:
        """
        Shows what a disk has done since it was opened.
        """
        for line in facts_text(self.daemon.question("disk.stats", name=name)):
            self.shell.log.info(line)

    ui_complete_resize = ui_complete_info = ui_complete_stats = ui_complete_delete

    def ui_command_check(self, volume: str, host: str, path: str) -> None:
        """
        Says whether a file could be a disk: whether its volume can be reached,
        whether the file is there, how large it is and whether a disk uses it.
        """
        for line in facts_text(self.daemon.question("disk.check", uri=gluster_uri(volume, host, path))):
            self.shell.log.info(line)

    ui_complete_check = ui_complete_create


class DiskCommands:
    """Of one disk, whatever its backing."""

    daemon: Daemon
    shell: Any

    look_again: Callable[[], None]
    """Build the tree as it is now."""
    disk_name: Callable[[], str]

    def ui_command_resize(self, size: str, force: Optional[str] = None) -> None:
        """
        Changes the size of the disk and of its file. Making it smaller needs
        force=true, because what lies beyond the new end is lost.
        """
        self.daemon.do("disk.resize", name=self.disk_name(), size=size, force=flag(force, "force"))
        self.look_again()

    def ui_command_info(self) -> None:
        """
        Shows all about the disk.
        """
        for line in facts_text(self.daemon.question("disk.show", name=self.disk_name())):
            self.shell.log.info(line)

    def ui_command_stats(self) -> None:
        """
        Shows what the disk has done since it was opened.
        """
        for line in facts_text(self.daemon.question("disk.stats", name=self.disk_name())):
            self.shell.log.info(line)

    def ui_command_check(self) -> None:
        """
        Says whether the disk's file can be reached and has the size that
        initiators were told.
        """
        disk = self.daemon.question("disk.show", name=self.disk_name())
        if not disk["uri"]:
            raise ExecutionError(f"nobody knows what {disk['name']} is made of: {disk['state']}")
        found = self.daemon.question("disk.check", uri=disk["uri"])
        present, told = found["size_bytes"], disk["size_bytes"]
        if present is not None and present < told:
            raise ExecutionError(f"{disk['uri']} has only {format_size(present)}, the disk {format_size(told)}")
        if not found["exists"] and not str(disk["uri"]).startswith("memory:"):
            raise ExecutionError(f"{disk['uri']} is not there any more")
        self.shell.log.info(f"{disk['uri']}: {found['found']}; the disk is {disk['state']}.")
