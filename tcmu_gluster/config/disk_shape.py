"""How a disk looks to initiators, as far as people choose it: block sizes, provisioning, a medium that comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ..errors import ConfigError

BLOCK_SIZES = {"512": (512, 512), "512e": (512, 4096), "4096": (4096, 4096)}
"""What is typed, and the logical and physical block that it means, in bytes."""
PROVISIONINGS = ("thin", "thick")


@dataclass(frozen=True)
class DiskShape:
    """The choices. provisioning None: thin where the storage can give space back.

    background_rate bounds what FORMAT UNIT and SANITIZE write, in bytes a second; 0 leaves it to the storage.
    """

    block_size: str = "512"
    provisioning: Optional[str] = None
    removable: bool = False
    background_rate: int = 0

    def __post_init__(self) -> None:
        if self.block_size not in BLOCK_SIZES:
            raise ConfigError(f"a block size is {', '.join(BLOCK_SIZES)}, not {self.block_size!r}")
        if self.provisioning not in (None, *PROVISIONINGS):
            raise ConfigError(f"provisioning is {' or '.join(PROVISIONINGS)}, not {self.provisioning!r}")
        if self.background_rate < 0:
            raise ConfigError(f"a background rate is a number of bytes a second, not {self.background_rate}")

    @property
    def logical_block_bytes(self) -> int:
        """The block that commands count in."""
        return BLOCK_SIZES[self.block_size][0]

    @property
    def physical_block_bytes(self) -> int:
        """The block that hosts should align to."""
        return BLOCK_SIZES[self.block_size][1]

    @classmethod
    def chosen(cls, values: Mapping[str, Any]) -> DiskShape:
        """From what was typed or kept; what is missing or None has its default. Raises ConfigError."""
        names = ("block_size", "provisioning", "removable", "background_rate")
        return cls(**{name: values[name] for name in names if values.get(name) is not None})

    def as_record(self) -> dict[str, Any]:
        """What a disk's file keeps: the choices that differ from the default."""
        return {name: value for name, value in vars(self).items() if value != getattr(PLAIN, name)}


PLAIN = DiskShape()
"""What a disk is if nobody chose anything."""
