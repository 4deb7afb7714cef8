"""What the daemon's two fronts know of each other."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Optional

from handler.device import Device
from handler.engine_disk import EngineDisk
from handler.notify import Notifier
from handler.service import Service
from tcmu_gluster.config.uri import parse_backing
from tcmu_gluster.tcmu.uio import UioDevice
from tests.handler.daemon import make_world


def test_the_engine_is_told_which_disks_lio_has(tmp_path: Path) -> None:
    """A device that was found at the start has no serial yet, but its config string names its file."""

    async def scenario() -> None:
        service = Service(make_world(tmp_path), Notifier())
        for number, (config, serial) in enumerate((("gluster/memory/a", ""), ("gluster/memory/b", "serial-b"))):
            device = Device(UioDevice(number, number, f"lio{number}", config), service.world)
            device.serial = serial
            service.devices.devices[device.uio.key] = device

        def told(name: str, serial: str) -> Optional[str]:
            return service.engine.served_elsewhere(EngineDisk(name, parse_backing(f"memory:{name}"), serial, 0, False))

        assert told("a", "serial-a") == "LIO (backstore lio0)"
        assert told("other", "serial-b") == "LIO (backstore lio1)"
        assert told("other", "serial-c") is None and told("other", "") is None
        service.world.threads.shutdown()

    asyncio.run(scenario())
