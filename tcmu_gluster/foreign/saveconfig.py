"""LIO's saveconfig.json with disks of tcmu-runner's glfs handler ("config": "glfs/volume@host/path[;options]").

The disks are made one by one, so that each keeps what it calls itself; the rest (targets, LUNs, ACLs, CHAP) is restored
from the same file by the daemon, which knows LIO's schema.
"""

from __future__ import annotations

import json
import re
from typing import Any, Optional

from ..config.disk_shape import BLOCK_SIZES
from ..config.names import validate_disk_name
from ..errors import ConfigError
from .plan import TCMU_RUNNER, Group, Plan, Step
from .volumes import gluster_uri, short_name

SUBTYPE = "glfs/"
_BLOCK_SIZE = re.compile(r"(?:^|,)\s*hw_block_size=([0-9]{1,9})\s*(?:,|$)", re.ASCII)
"""In the device's control string."""


def backing_of(config: str) -> str:
    """The URI of a config string of tcmu-runner's glfs handler; its options after ';' are tcmu-runner's own matter.

    Raises ConfigError.
    """
    volume, host, path = short_name(config[len(SUBTYPE) :].partition(";")[0], "/")
    return gluster_uri(volume, [host], path)


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
    args: dict[str, Any] = {"name": name, "uri": uri, "front": "engine", **TCMU_RUNNER}
    words = [f"make the disk {name} of {uri}"]
    if serial:
        args["serial"] = serial
        words.append(f"serial {serial}")
    attributes = entry.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    block_size = _block_size(entry, attributes)
    if block_size:
        args["block_size"] = block_size
        words.append(f"blocks of {block_size}")
    if str(attributes.get("emulate_write_cache", 1)) == "0":
        args["write_cache"] = "off"
        words.append("write cache off")
    return Step("disk.create", ", ".join(words), args)


def _block_size(entry: dict[str, Any], attributes: dict[str, Any]) -> Optional[str]:
    """What the device was told in its control string, or has as attribute; None for the usual 512."""
    told = _BLOCK_SIZE.search(str(entry.get("control") or ""))
    text = told[1] if told else str(attributes.get("hw_block_size") or attributes.get("block_size") or "512")
    if text == "512":
        return None
    if text not in BLOCK_SIZES:
        raise ConfigError(f"its block size is {text[:20]}, neither 512 nor 4096")
    return text
