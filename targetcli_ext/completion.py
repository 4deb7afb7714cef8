"""What completes: names that begin with what was typed, in configshell's form."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from typing import Any

from .daemon import Daemon

SAVED = frozenset({"savefile"})


def matching(names: Iterable[str], text: str, *, goes_on: bool = False) -> list[str]:
    """Those that begin with text. A single one gets a blank behind it, unless there is more to type (a folder)."""
    found = sorted({name for name in names if name.startswith(text)})
    if len(found) == 1 and not (goes_on and found[0].endswith("/")):
        return [found[0] + " "]
    return found


def local_paths(text: str, *, blocks: bool = False) -> list[str]:
    """Files (or block devices) of this host, and folders on the way."""
    folder, _, begin = text.rpartition("/")
    found = []
    try:
        with os.scandir(folder + "/" if folder or text.startswith("/") else ".") as entries:
            for entry in entries:
                if not entry.name.startswith(begin):
                    continue
                mode = entry.stat().st_mode if entry.is_symlink() or blocks else 0
                path = f"{folder}/{entry.name}" if "/" in text else entry.name
                if entry.is_dir():
                    found.append(path + "/")
                elif not blocks or stat.S_ISBLK(mode):
                    found.append(path)
    except OSError:
        return []
    return matching(found, text, goes_on=True)


def gluster_create(
    daemon: Daemon, hosts: Iterable[str], parameters: Mapping[str, Any], text: str, current: str
) -> list[str]:
    """Parameters of /backstores/gluster create: hosts that disks use, the host's volumes, the volume's paths."""
    host, volume = str(parameters.get("host") or ""), str(parameters.get("volume") or "")
    if current == "host":
        return matching({*hosts, "localhost"}, text)
    if current == "volume":
        return matching(daemon.words("volume.list", host=host or "localhost"), text)
    if current == "path" and host and volume:
        return matching(daemon.words("volume.files", host=host, volume=volume, path=text or "/"), text, goes_on=True)
    if current == "prealloc":
        return matching(("full", "off"), text)
    if current in ("read_only", "force", "delete_file"):
        return matching(("true", "false"), text)
    return []


def initiators(daemon: Daemon, text: str) -> list[str]:
    """Initiators that are known here: those with a rule or a session, and those that were turned away lately."""
    names = set(daemon.words("names", kind="initiator"))
    try:
        items = daemon.question("why-denied").get("items", ())
    except Exception:  # completion never complains
        items = ()
    return matching(names | {str(one["initiator"]) for one in items if one.get("initiator")}, text)
