"""LIO's saveconfig.json with disks of tcmu-runner's glfs handler ("config": "glfs/volume@host/path[;options]").

The disks are made one by one, so that each keeps what it calls itself; the rest (targets, LUNs, ACLs, CHAP) is restored
from the same file by the daemon, which knows LIO's schema.
"""

from __future__ import annotations

import json
from typing import Any

from ..config.names import validate_disk_name
from ..config.uri import parse_backing
from ..errors import ConfigError
from .plan import TCMU_RUNNER, Group, Plan, Step

SUBTYPE = "glfs/"


def backing_of(config: str) -> str:
    """The URI of a config string of tcmu-runner's glfs handler; its options after ';' are tcmu-runner's own matter.

    Raises ConfigError.
    """
    return str(parse_backing(config[len(SUBTYPE) :].partition(";")[0]))


def plan(file: str, text: str) -> Plan:
    """One group: the disks of the glfs handler, then the file itself. Raises ConfigError."""
    try:
        root = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file} is no JSON, as saveconfig.json is: {str(error)[:80]}") from None
    objects = root.get("storage_objects") if isinstance(root, dict) else None
    if not isinstance(objects, list):
        raise ConfigError(f"{file} is not in LIO's form: storage_objects is no list")
    steps, notes = [], []
    for entry in objects:
        config = entry.get("config") if isinstance(entry, dict) else None
        if not isinstance(config, str) or not config.startswith(SUBTYPE) or entry.get("plugin") != "user":
            continue
        try:
            steps.append(_disk(entry, config))
        except ConfigError as error:
            notes.append(f"skipped storage object {str(entry.get('name'))[:64]!r}: {error}")
    steps.append(Step("restore", "restore targets, LUNs, ACLs and CHAP of the file", {"file": file, "source": "lio"}))
    return Plan((Group(file, tuple(steps)),), tuple(notes))


def _disk(entry: dict[str, Any], config: str) -> Step:
    name, uri, serial = validate_disk_name(str(entry.get("name"))), backing_of(config), str(entry.get("wwn") or "")
    args = {"name": name, "uri": uri, "front": "engine", **({"serial": serial} if serial else {}), **TCMU_RUNNER}
    return Step("disk.create", f"make the disk {name} of {uri}" + (f", serial {serial}" if serial else ""), args)
