"""A World for tests: settings, memory backings, and what the test says about LIO."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from handler.state import DiskFiles
from handler.world import World
from tcmu_gluster.config.addresses import Portal
from tcmu_gluster.config.settings import Settings
from tests.doubles.lio_host import LioHost

LIMIT_SECONDS = 10.0
"""No test waits longer than this for anything."""


def settings(root: Path, **more: Any) -> Settings:
    """Everything below one directory; ports are whichever are free."""
    return Settings(
        state_file=root / "etc" / "saveconfig.json",
        control_socket=root / "run" / "control.sock",
        portals=(Portal("127.0.0.1", 0),),
        **{"lio": "off", "retry_seconds": 1, "drain_seconds": 1, **more},
    )


def make_world(root: Path, host: LioHost | None = None, **more: Any) -> World:
    """A world around the running loop."""
    given = settings(root, **({"configfs": host.configfs} if host else {}))
    trees: dict[str, Any] = {}
    if host is not None:
        trees = {"sysfs": host.sysfs, "open_device": host.open_device, "map_device": host.map_device,
                 "parameters": host.parameters}  # fmt: skip
    given.state_file.parent.mkdir(parents=True, exist_ok=True)
    return World(asyncio.get_running_loop(), given, DiskFiles(given.state_file.parent / "disks"), **{**trees, **more})


async def until(condition: Callable[[], object], what: str = "") -> None:
    """Let the loop turn until the condition holds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LIMIT_SECONDS
    while not condition():
        assert loop.time() < deadline, f"it did not happen in time: {what or condition}"
        await asyncio.sleep(0.002)
