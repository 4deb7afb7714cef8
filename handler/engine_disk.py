"""A disk of the engine: open, or waiting with a reason. From `disk create`, and by the engine from what was saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from tcmu_gluster.backends.base import Backend
from tcmu_gluster.config.cfgstring import StateId, parse_cfgstring
from tcmu_gluster.config.disk_shape import PLAIN, DiskShape
from tcmu_gluster.config.uri import Backing, parse_backing
from tcmu_gluster.errors import ConfigError
from tcmu_gluster.scsi.logical_unit import LogicalUnit

from .configuration import Object, switched_on
from .state import DiskFiles
from .units import options_of
from .world import make_unit


class EngineDisk:
    """backend and unit are None while it waits; reason says why."""

    def __init__(
        self,
        name: str,
        backing: Backing,
        serial: str,
        size_bytes: int,
        read_only: bool,
        shape: DiskShape = PLAIN,
        record: Optional[Mapping[str, Any]] = None,
    ) -> None:
        self.name, self.backing, self.serial, self.read_only = name, backing, serial, read_only
        self.size_bytes, self.shape, self.record = size_bytes, shape, record or {}
        self.write_cache = self.record.get("write_cache") is not False
        self.reason = "it was not opened yet"
        self.backend: Optional[Backend] = None
        self.unit: Optional[LogicalUnit] = None

    @property
    def state(self) -> str:
        """What `disk list` shows."""
        return "online" if self.unit is not None else f"waiting: {self.reason}"

    def take(self, backend: Backend) -> None:
        """It is open now."""
        self.backend, self.reason = backend, ""
        options = options_of(self.shape, write_protected=self.read_only)
        self.unit = make_unit(self.name, backend, self.serial, options, self.record)
        if not self.write_cache:
            self.unit.set_write_cache(False)
        self.serial, self.size_bytes = self.unit.identity.serial, backend.size_bytes


def disk_of(entry: Object, files: DiskFiles) -> EngineDisk:
    """What a storage object of the configuration says, with the file about it. Raises ConfigError."""
    serial = str(entry.get("wwn") or "")
    record = files.read(serial) if serial else {}
    named = parse_cfgstring(str(entry.get("config", "")))
    if "uri" in record:
        backing = parse_backing(str(record["uri"]))
    elif isinstance(named, StateId):
        raise ConfigError(f"no disk file of ours has the serial {serial!r}, so its URI isn't known")
    else:
        backing = named
    size_bytes, read_only = int(entry.get("size") or 0), bool(record.get("read_only"))
    shape = DiskShape.chosen({**_block_size(entry), **record})
    disk = EngineDisk(entry["name"], backing, serial, size_bytes, read_only, shape, record)
    attributes = entry.get("attributes")
    if "write_cache" not in record and isinstance(attributes, dict):
        disk.write_cache = switched_on(attributes.get("emulate_write_cache", 1))
    return disk


def _block_size(entry: Object) -> dict[str, str]:
    """LIO's word for blocks that are not of 512 bytes. Raises ConfigError if they can't be served."""
    words = dict(word.partition("=")[::2] for word in str(entry.get("control") or "").split(","))
    block_bytes = words.get("hw_block_size") or "512"
    return {"block_size": block_bytes} if block_bytes != "512" else {}
