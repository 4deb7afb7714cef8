"""What the kernel tells about TCMU devices, as the daemon's parts pass it on (netlink.py reads it from the wire)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Union

from .uapi import GenlCommand
from .uio import UioDevice


@dataclass(frozen=True, eq=False)
class DeviceEvent:
    """What the kernel says of one of our devices. The object itself is what Conversation.reply() wants back."""

    kind: GenlCommand
    device: UioDevice
    device_id: Optional[int]

    def __str__(self) -> str:
        return f"{self.kind.name} {self.device}"


@dataclass(frozen=True, eq=False)
class Added(DeviceEvent):
    """The uio device is there; enable waits for us."""


@dataclass(frozen=True, eq=False)
class Removed(DeviceEvent):
    """rmdir waits for us, with the locks of the device's directory in its hand: nothing below it may be opened."""


@dataclass(frozen=True, eq=False)
class Reconfigured(DeviceEvent):
    """One of the three has a new value; configfs still shows the old one. None in all: something we don't know."""

    config: Optional[str] = None
    size_bytes: Optional[int] = None
    write_cache: Optional[bool] = None


@dataclass(frozen=True)
class Resync:
    """Events were lost: look at sysfs again, and release waiters whose event nobody saw."""

    reason: str


Event = Union[DeviceEvent, Resync]
