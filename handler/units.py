"""From what people choose about a disk to the options of its unit, and the end of what a unit does by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from tcmu_gluster.backends.sidecar import sidecar_path
from tcmu_gluster.config.disk_shape import DiskShape
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.logical_unit import LogicalUnit

log = logging.getLogger(__name__)

STOP_SECONDS = 30.0
"""How long the storage may still hold what a background operation gave it last."""


def options_of(shape: DiskShape, **others: Any) -> UnitOptions:
    """UnitOptions for a shape; others are options that the front decides."""
    return UnitOptions(**{
        "block_size_bytes": shape.logical_block_bytes,
        "physical_block_bytes": shape.physical_block_bytes,
        "thin": None if shape.provisioning is None else shape.provisioning == "thin",
        "removable": shape.removable,
        "background_bytes_per_second": shape.background_rate,
        **others,
    })  # fmt: skip


def later(seconds: float, function: Callable[[], None]) -> None:
    """A unit's timer: the running loop's."""
    asyncio.get_running_loop().call_later(seconds, function)


def trouble_of(unit: LogicalUnit, disk: str = "") -> str:
    """Why no host may use a unit until somebody decides, and what can be decided; '' if there is nothing.

    disk is its name, where there is a daemon that can be told.
    """
    if not unit.trouble:
        return ""
    record = sidecar_path(unit.backend.uri.partition("?")[0]).rpartition("/")[2]
    if disk:
        give_up = f"give them up: tcmu-gluster disk reset-record {disk} --confirm"
        return f"{unit.trouble}; put a good copy of {record} back and open the disk anew, or {give_up}"
    return (
        f"{unit.trouble}; put a good copy of {record} back, or remove it (that gives them up), and open the disk anew"
    )


def tell_trouble(name: str, why: str) -> None:
    """What trouble_of() found at a unit that was made, in the log."""
    if why:
        log.error("disk %s can't be used: %s", name, why)


async def stop_background(unit: LogicalUnit) -> None:
    """No step of a FORMAT UNIT or SANITIZE is begun any more, and none is with the storage. It counts as failed."""
    ended = asyncio.get_running_loop().create_future()
    unit.background.stop(lambda: None if ended.done() else ended.set_result(None))
    try:
        await asyncio.wait_for(ended, STOP_SECONDS)
    except asyncio.TimeoutError:
        log.error("%s: storage still holds a step of a background operation", unit.backend.uri)
