"""Whether a config string or a backing could be a disk here: asked by targetcli over D-Bus, and by `disk check`."""

from __future__ import annotations

import asyncio
from typing import Any

from tcmu_gluster.config.cfgstring import StateId
from tcmu_gluster.config.sizes import format_size
from tcmu_gluster.config.uri import Backing, parse_backing
from tcmu_gluster.errors import ConfigError, OperationError, TcmuGlusterError
from tcmu_gluster.tcmu.cfgstring import parse_config

from . import backing_files
from .world import World, reason_of

PATIENCE_SECONDS = 15.0
"""How long a volume may take to answer: targetcli's own call gives up after 25 seconds."""


def named_by(world: World, config: str) -> Backing:
    """The backing that a config string (subtype in front) names. Raises ConfigError."""
    named = parse_config(config)
    if isinstance(named, StateId):
        record = world.disk_files.find_id(named.id)
        if "uri" not in record:
            raise ConfigError(f"no disk of this host has the id {named.id}; write volume@host/path")
        return parse_backing(str(record["uri"]))
    return named


async def look_at(world: World, backing: Backing) -> dict[str, Any]:
    """What is there: uri, exists, size_bytes (None if it has to be made). Raises OperationError with the reason."""
    try:
        size_bytes = await asyncio.wait_for(world.in_thread(backing_files.size_of, backing), PATIENCE_SECONDS)
    except asyncio.TimeoutError:
        raise OperationError(f"{backing} can't be reached: no answer within {PATIENCE_SECONDS:g} seconds") from None
    except (OSError, TcmuGlusterError) as error:
        raise OperationError(f"{backing} can't be used: {reason_of(error)}") from error
    found = (
        f"it has {format_size(size_bytes)}" if size_bytes is not None else "there is no such file yet; create makes it"
    )
    return {"uri": str(backing), "exists": size_bytes is not None, "size_bytes": size_bytes,
            "found": found if backing.scheme != "memory" else "memory"}  # fmt: skip


async def check_config(world: World, config: str) -> tuple[bool, str]:
    """CheckConfig: (True, "") or (False, one sentence). Never raises."""
    try:
        await look_at(world, named_by(world, config))
    except (OSError, TcmuGlusterError) as error:
        return False, reason_of(error)
    return True, ""
