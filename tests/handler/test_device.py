"""What one device does that its siblings have no part in; its life among others is in test_devices.py."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from handler.device import Device
from tcmu_gluster.errors import ConfigError
from tcmu_gluster.tcmu.device_life import DeviceInput, DeviceState
from tcmu_gluster.tcmu.uio import UioDevice
from tests.doubles.lio_host import LioHost
from tests.handler.daemon import make_world

UIO = UioDevice(0, 0, "vm1", "gluster/memory/vm1")


def test_what_is_not_served_cannot_be_changed(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = make_world(tmp_path, LioHost(tmp_path))
        object.__setattr__(world.settings, "command_limit_seconds", 0)  # nobody may choose that: nothing is waited for
        device = Device(UIO, world)
        with pytest.raises(ConfigError, match="not served"):
            await device.resize(4096)
        with pytest.raises(ConfigError, match="not served"):
            await device.set_write_cache(True)
        device.check_limit(0.0)

    asyncio.run(scenario())


def test_waiting_for_it_to_settle_has_an_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        device = Device(UIO, make_world(tmp_path, LioHost(tmp_path)))
        assert await device.settled(0.01) is False
        assert device.state is DeviceState.ABSENT

    asyncio.run(scenario())


@pytest.mark.parametrize("wish", [DeviceInput.GONE, DeviceInput.STOP])
def test_a_wish_that_comes_first_is_granted_without_serving(tmp_path: Path, wish: DeviceInput) -> None:
    async def scenario() -> None:
        host = LioHost(tmp_path)
        lio = host.add("vm1", UIO.config, announce=False)
        device = Device(UIO, make_world(tmp_path, host))
        device.wish(wish)
        assert device.leaving
        await asyncio.wait_for(device.live(fresh=True), 5)
        assert device.state is DeviceState.REMOVED and lio.mapped == 0 and device.front is None

    asyncio.run(scenario())


def test_the_backing_is_known_before_anything_is_open(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = make_world(tmp_path, LioHost(tmp_path))
        assert str(Device(UIO, world).backing) == "memory:vm1"
        assert Device(UioDevice(0, 0, "x", "gluster/nonsense"), world).backing is None

    asyncio.run(scenario())
