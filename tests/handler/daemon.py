"""A World for tests: settings, memory backings, and what the test says about LIO."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from handler.devices import Devices
from handler.engine import Engine
from handler.iscsi_front import IscsiFront
from handler.lio_admin import answer
from handler.operations import Operations
from handler.operations.context import Context
from handler.state import DiskFiles, StateFile
from handler.targets import TargetDirectory
from handler.world import World
from tcmu_gluster.config.addresses import Portal
from tcmu_gluster.config.settings import Settings
from tcmu_gluster.errors import ConfigError, OperationError
from tests.doubles.fake_lio import FakeLio
from tests.doubles.lio_host import LioHost

LIMIT_SECONDS = 60.0
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


class Desk:
    """Operations on an engine and on a LIO without a kernel, in the test's own loop."""

    def __init__(self, root: Path, *, lio: bool = True, before: Desk | None = None, **more: Any) -> None:
        """before: a desk that is gone now, on the same host."""
        self.root = root
        self.host = before.host if before else LioHost(root)
        self.lio = before.lio if before else FakeLio()
        self.lio.targets.saved = root / "etc-target" / "saveconfig.json"
        self.world = make_world(root, self.host, ask_lio=self.ask_lio, **more)
        self.directory = TargetDirectory()
        self.engine = Engine(self.world, IscsiFront(self.world.loop, self.directory), self.directory)
        self.devices = Devices(self.world, self.host.listen)
        self.state = StateFile(self.world.settings.state_file)
        self.context = Context(self.world, self.state, self.engine, self.devices, lio=lio)
        self.operations = Operations(self.context)
        self.progress: list[dict[str, Any]] = []

    async def ask_lio(self, request: dict[str, Any]) -> dict[str, Any]:
        """The child process, without the process; the fake kernel does what configfs would make it do."""
        result = answer(request, self.lio)
        if "error" in result:
            raise OperationError(result["error"])
        name = request.get("name", "")
        if result["changed"] and request["do"] == "create":
            device = self.host.add(
                name, request["config"], request["size_bytes"], minor=result["hba"], serial=request["serial"]
            )
            device.write("attrib/hw_block_size", str(request.get("block_bytes") or 512))
            device.write("attrib/emulate_write_cache", self.lio.objects[name].attributes["emulate_write_cache"])
        elif result["changed"] and request["do"] == "delete":
            self.host.remove(name)
        elif result["changed"] and request["do"] == "resize":
            self.host.reconfigure(name, size_bytes=request["size_bytes"])
        return result

    async def do(self, op: str, **args: Any) -> dict[str, Any]:
        """One operation."""
        return await asyncio.wait_for(self.operations(op, args, self.progress.append), LIMIT_SECONDS)

    async def refused(self, op: str, **args: Any) -> str:
        """One operation that must be refused; its sentence."""
        try:
            result = await self.do(op, **args)
        except (OperationError, ConfigError) as error:
            assert "\n" not in str(error)
            return str(error)
        raise AssertionError(f"{op} was not refused: {result}")

    def saved(self) -> dict[str, Any]:
        """What the state file holds."""
        return self.state.load()


def run_desk(root: Path, scenario: Callable[[Desk], Awaitable[None]], **options: Any) -> None:
    """The scenario, and the orderly end of everything it used."""

    async def whole() -> None:
        desk = Desk(root, **options)
        await desk.devices.start()
        try:
            await scenario(desk)
        finally:
            await asyncio.gather(desk.devices.stop(), desk.engine.stop(0.05))
            desk.world.threads.shutdown()

    asyncio.run(whole())
