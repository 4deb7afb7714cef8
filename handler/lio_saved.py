"""LIO's saved configuration, in the child process that writes LIO's configuration (lio_admin.py): kept in step with it.

    {"do": "remember", "names", "wwns"}     it says of these disks and targets what is so now

What a reboot brings back is this file, and targetcli writes it when a person ends it. So what is made, resized, deleted
or moved without targetcli is put into it here, in the words of rtslib's dump, and nothing else of it is touched.
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from tcmu_gluster.errors import ConfigError

from .state import as_text, read_object, write_whole

Object = dict[str, Any]
NAME = "saveconfig.json"
UPSTREAM = Path("/etc/target")
DEBIAN = Path("/etc/rtslib-fb-target")
"""Debian's targetcli and targetctl read and write here, and their package makes the directory."""


def saved_file(debian: Path = DEBIAN, upstream: Path = UPSTREAM) -> Path:
    """The file that this host's targetctl restores from when the host boots."""
    return (debian if debian.is_dir() else upstream) / NAME


def remember(lio: Any, request: Mapping[str, Any]) -> Object:
    """Put what is so now of these disks and targets into it. Raises OSError or ConfigError, then nothing changed."""
    names, wwns = list(request["names"]), list(request["wwns"])
    targets = lio.targets
    saved = _read(targets.saved)
    wanted = _without_disks(saved, names)
    wanted["storage_objects"] += [targets.describe(name) for name in names if lio.find(name) is not None]
    others = [one for one in wanted["targets"] if one.get("wwn") not in wwns]
    wanted["targets"] = others + [found for wwn in wwns for found in [targets.find(wwn)] if found is not None]
    if wwns:
        discovery = targets.discovery()
        if discovery.get("discovery_enable_auth"):
            modules = [one for one in wanted.get("fabric_modules", ()) if one.get("name") != "iscsi"]
            wanted["fabric_modules"] = [*modules, discovery]
    return {"changed": _write(targets.saved, saved, wanted)}


@contextlib.contextmanager
def forgotten(lio: Any, name: str) -> Iterator[None]:
    """A disk is taken out of it before LIO lets it go, and put back if LIO does not."""
    path = lio.targets.saved
    saved = _read(path)
    changed = _write(path, saved, _without_disks(saved, [name]))
    try:
        yield
    except BaseException:
        if changed:
            write_whole(path, as_text(saved))
        raise


def _read(path: Path) -> Object:
    try:
        saved = read_object(path)
    except FileNotFoundError:
        saved = {}
    for key in ("storage_objects", "targets"):
        entries = saved.setdefault(key, [])
        if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
            raise ConfigError(f"{path}, LIO's saved configuration, holds no list of objects under {key!r}")
    return saved


def _without_disks(saved: Object, names: Collection[str]) -> Object:
    wanted = copy.deepcopy(saved)
    wanted["storage_objects"] = [
        one for one in wanted["storage_objects"] if one.get("plugin") != "user" or one.get("name") not in names
    ]
    return wanted


def _write(path: Path, saved: Object, wanted: Object) -> bool:
    """Whether there was something to write."""
    if wanted == saved:
        return False
    os.makedirs(path.parent, exist_ok=True)
    write_whole(path, as_text(wanted))
    return True


VERBS = {"remember": remember}
