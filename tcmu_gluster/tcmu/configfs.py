"""Reading a device's attributes in configfs.

Safe while the device is being added and while it serves. Never to be used for a device that is being removed: rmdir
holds the locks of its directory until we answered REMOVED, so a read would wait for ourselves. What writes is in
actions.py, and called from elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

CORE = Path("/sys/kernel/config/target/core")
MODULE_PARAMETERS = Path("/sys/module/target_core_user/parameters")

_SERIAL = re.compile(r"T10 VPD Unit Serial Number: (.*)")
_MAX_ATTRIBUTE_BYTES = 4096


@dataclass(frozen=True)
class DeviceInfo:
    """What LIO knows of a device. block_bytes is 0 while it is being added; serial is empty until rtslib wrote it."""

    size_bytes: int
    block_bytes: int
    serial: str
    write_cache: bool
    command_timeout_seconds: int
    max_sectors: int
    """hw_max_sectors, in blocks: advice, not enforced by anybody."""
    exported: bool
    """Whether a LUN shows it, so that some initiator may know it."""


class DeviceDirectory:
    """One device's directory, user_<hba>/<name> below core."""

    def __init__(self, hba: int, name: str, core: Path = CORE) -> None:
        self.path = core / f"user_{hba}" / name

    def read(self, name: str) -> Optional[str]:
        """The text of one file, stripped; None where this kernel has no such file (or the device is gone)."""
        try:
            with open(self.path / name, "rb") as file:
                raw = file.read(_MAX_ATTRIBUTE_BYTES)
        except OSError:
            return None
        return raw.decode("utf-8", "surrogateescape").strip()

    def read_number(self, name: str, default: int = 0) -> int:
        """The same as an integer; default where there is none."""
        text = self.read(name)
        try:
            return default if text is None else int(text, 0)
        except ValueError:
            return default

    def has(self, name: str) -> bool:
        """Whether this kernel has that file."""
        return (self.path / name).exists()

    @property
    def can_reset(self) -> bool:
        """Without action/reset_ring a ring must be completed in order, so that a successor can read it."""
        return self.has("action/reset_ring")

    def serial(self) -> str:
        """wwn/vpd_unit_serial. Usually still empty during ADDED: read it at first use."""
        found = _SERIAL.search(self.read("wwn/vpd_unit_serial") or "")
        return found[1].strip() if found else ""

    def write_cache(self) -> bool:
        """attrib/emulate_write_cache; kernels without it have no way to turn it off."""
        return self.read_number("attrib/emulate_write_cache", 1) != 0

    def info(self) -> DeviceInfo:
        """Everything the daemon wants at ADDED, by attributes; `info` only for what an old kernel has nowhere else."""
        text = self.read("info") or ""
        return DeviceInfo(
            size_bytes=self.read_number("attrib/dev_size") or _field(text, "Size"),
            block_bytes=self.read_number("attrib/hw_block_size") or _field(text, "SectorSize"),
            serial=self.serial(),
            write_cache=self.write_cache(),
            command_timeout_seconds=self.read_number("attrib/cmd_time_out", 30),
            max_sectors=self.read_number("attrib/hw_max_sectors") or _field(text, "HwMaxSectors"),
            exported=text.startswith("Status: ACTIVATED"),
        )


def _field(info: str, name: str) -> int:
    """A number of the info file: `Status: ... SectorSize: N HwMaxSectors: N`, `Config: <anything> Size: N ...`."""
    status, _, config = info.partition("Config:")
    found = re.findall(rf"\s{name}: (\d+)", config if name == "Size" else status)
    return int(found[-1]) if found else 0
