"""The daemon's part on a bus of the test's own, with a double of tcmu-runner."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from handler.dbus_service import POLICY_FILE, DbusService
from tests.doubles.bus import MANAGER, NAME, ROOT, BusClient, TcmuRunnerOnBus, bus_daemon
from tests.handler.daemon import until

pytestmark = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="dbus-daemon is not installed")


async def check(config: str) -> tuple[bool, str]:
    """A check that knows one good string."""
    if config == "gluster/unforeseen":
        raise RuntimeError("no")
    return (True, "") if config == "gluster/vol@server/vm1" else (False, f"bad: {config}")


@contextlib.asynccontextmanager
async def service(address: str, retry_seconds: float = 0.02) -> AsyncIterator[DbusService]:
    """Running as the daemon runs it."""
    ours = DbusService(check, address=address, look_seconds=0.02, retry_seconds=retry_seconds)
    task = asyncio.get_running_loop().create_task(ours.run())
    try:
        yield ours
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def at(ours: DbusService, word: str) -> None:
    await until(lambda: word in ours.place, f"{word!r} in the place")


def test_alone_the_name_is_ours_and_targetcli_is_answered(tmp_path: Path) -> None:
    async def scenario() -> None:
        with bus_daemon(tmp_path) as bus:
            async with service(bus.address) as ours:
                await at(ours, "is ours")
                client = await BusClient.connect(bus.address)
                assert list(await client.managed()) == [f"{ROOT}/gluster"]
                assert await client.check("gluster/vol@server/vm1") == [True, ""]
                assert await client.check("gluster/nonsense") == [False, "bad: gluster/nonsense"]
                client.close()

    asyncio.run(scenario())


def test_check_config_never_raises(tmp_path: Path) -> None:
    async def scenario() -> None:
        with bus_daemon(tmp_path) as bus:
            async with service(bus.address) as ours:
                await at(ours, "is ours")
                client = await BusClient.connect(bus.address)
                ok, sentence = await client.check("gluster/unforeseen")
                assert ok is False and "log" in sentence
                client.close()

    asyncio.run(scenario())


async def registered_and_forwarded(bus: str, ours: DbusService, runner: TcmuRunnerOnBus) -> None:
    """With tcmu-runner in possession of the name, targetcli finds both kinds, and ours answers through it."""
    await at(ours, "registered with tcmu-runner")
    client = await BusClient.connect(bus)
    assert await client.owner() == runner.bus.unique_name
    assert sorted(await client.managed()) == [f"{ROOT}/gluster", f"{ROOT}/qcow"]
    assert "nl_reply_supported=-1" in runner.handlers["gluster"]
    assert await client.check("gluster/vol@server/vm1") == [True, ""]
    assert await client.check("gluster/x") == [False, "bad: gluster/x"]
    client.close()


def test_tcmu_runner_first_we_register(tmp_path: Path) -> None:
    async def scenario() -> None:
        with bus_daemon(tmp_path) as bus:
            runner = await TcmuRunnerOnBus.start(bus.address)
            async with service(bus.address) as ours:
                await registered_and_forwarded(bus.address, ours, runner)
            runner.close()

    asyncio.run(scenario())


def test_tcmu_runner_second_gets_the_name_that_it_queues_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        with bus_daemon(tmp_path) as bus:
            async with service(bus.address) as ours:
                await at(ours, "is ours")
                runner = await TcmuRunnerOnBus.start(bus.address)
                await registered_and_forwarded(bus.address, ours, runner)
                runner.close()
                await at(ours, "is ours")

    asyncio.run(scenario())


def test_before_tcmu_runner_has_the_name_we_act_on_its_coming(tmp_path: Path) -> None:
    """With the name its unit is started, and targetctl restores at once: by then nobody may wait for its veto."""
    places: list[str] = []

    async def scenario() -> None:
        with bus_daemon(tmp_path) as bus:
            async with service(bus.address) as ours:
                await at(ours, "is ours")
                ours.on_neighbour = lambda: places.append(ours.place)
                runner = await TcmuRunnerOnBus.start(bus.address)
                await at(ours, "registered with tcmu-runner")
                assert "is ours" in places[0]
                runner.close()

    asyncio.run(scenario())


def test_tcmu_runner_is_restarted_and_we_register_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        with bus_daemon(tmp_path) as bus:
            runner = await TcmuRunnerOnBus.start(bus.address)
            async with service(bus.address) as ours:
                await at(ours, "registered")
                again = await TcmuRunnerOnBus.start(bus.address)  # queues, and has the name when the first one ends
                runner.close()
                await until(lambda: "gluster" in again.handlers, "the second one knows us")
                await registered_and_forwarded(bus.address, ours, again)
                again.close()

    asyncio.run(scenario())


def test_a_refused_registration_is_told_and_tried_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        with bus_daemon(tmp_path) as bus:
            runner = await TcmuRunnerOnBus.start(bus.address)
            runner.refuse = "not today"
            async with service(bus.address) as ours:
                await at(ours, "not shown")
                assert "not today" in ours.place
                runner.refuse = ""
                await at(ours, "registered")
            runner.close()

    asyncio.run(scenario())


def test_a_stranger_with_the_name_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        with bus_daemon(tmp_path) as bus:
            stranger = await BusClient.connect(bus.address)
            await stranger.bus.request_name(NAME)
            async with service(bus.address) as ours:
                await at(ours, "not shown")
                assert "belongs to another process" in ours.place
                stranger.close()
                await at(ours, "is ours")

    asyncio.run(scenario())


def test_without_a_bus_we_wait_and_come_when_it_comes_and_goes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with service(f"unix:path={tmp_path / 'bus'}") as ours:
            await at(ours, "not on the bus")
            with bus_daemon(tmp_path) as bus:
                await at(ours, "is ours")
                bus.stop()
                await at(ours, "not on the bus")
                bus.start()
                await at(ours, "is ours")

    asyncio.run(scenario())


def test_the_bus_starts_no_tcmu_runner_because_of_us(tmp_path: Path) -> None:
    """Debian's tcmu-runner can be started by the bus for whoever asks for its name (system-services/NAME.service).

    The daemon that we mean to register with has just gone: asking for its name must not bring another.
    """
    started, services = tmp_path / "started", tmp_path / "services"
    services.mkdir()
    program = tmp_path / "program"
    program.write_text(f"touch {started}\nexit 1\n")
    (services / f"{NAME}.service").write_text(f"[D-BUS Service]\nName={NAME}\nExec=/bin/sh {program}\n")
    include = tmp_path / "activation.conf"
    include.write_text(
        f'<busconfig><servicedir>{services}</servicedir><policy context="default"><allow own="*"/></policy></busconfig>'
    )

    async def scenario() -> None:
        with bus_daemon(tmp_path, include) as bus:
            ours = DbusService(check, address=bus.address)
            await ours._connect()
            await ours._register(":1.99")
            assert not started.exists() and "did not register us" in ours.place
            ours._leave()
            client = await BusClient.connect(bus.address)
            await client.ask(NAME, ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
            assert started.exists(), "plain targetcli's question does start it, or this test sees nothing"
            client.close()

    asyncio.run(scenario())


def test_the_shipped_policy_is_what_allows_the_names(tmp_path: Path) -> None:
    async def scenario() -> None:
        with bus_daemon(tmp_path, POLICY_FILE) as bus:
            async with service(bus.address) as ours:
                await at(ours, "is ours")
                client = await BusClient.connect(bus.address)
                assert await client.owner(f"{MANAGER}.gluster") == await client.owner()
                client.close()

    asyncio.run(scenario())


def test_a_policy_that_refuses_us_is_named(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.conf"
    nothing.write_text("<busconfig></busconfig>")

    async def scenario() -> None:
        with bus_daemon(tmp_path, nothing) as bus:
            async with service(bus.address) as ours:
                await at(ours, "system.d")
                assert f"cp {POLICY_FILE} /etc/dbus-1/system.d/" in ours.place

    asyncio.run(scenario())


def test_the_line_that_is_told_helps_without_a_restart(tmp_path: Path) -> None:
    """dbus-daemon watches the folders that its configuration names; the daemon tries again by itself."""
    folder = tmp_path / "system.d"
    folder.mkdir()

    async def scenario() -> None:
        with bus_daemon(tmp_path, folder) as bus:
            async with service(bus.address) as ours:
                await at(ours, "system.d")
                shutil.copy(POLICY_FILE, folder)
                await at(ours, "is ours")

    asyncio.run(scenario())


TARGETCLI = """
from targetcli.ui_backstore import UIBackstores
for name, iface, properties in UIBackstores._user_backstores(None):
    print(name, *iface.CheckConfig("(s)", "gluster/vol@server/vm1"), *iface.CheckConfig("(s)", "gluster/x"), sep="|")
    print(properties["org.kernel.TCMUService1"]["ConfigDesc"])
"""


@pytest.mark.skipif(
    importlib.util.find_spec("targetcli") is None or importlib.util.find_spec("gi") is None,
    reason="targetcli is not installed",
)
def test_targetcli_itself_finds_us(tmp_path: Path) -> None:
    async def scenario() -> str:
        with bus_daemon(tmp_path) as bus:
            async with service(bus.address) as ours:
                await at(ours, "is ours")
                ran = await asyncio.get_running_loop().run_in_executor(None, lambda: subprocess.run(
                    ["/usr/bin/python3", "-c", TARGETCLI], env={"DBUS_SYSTEM_BUS_ADDRESS": bus.address}, timeout=60,
                    capture_output=True, text=True, check=False,
                ))  # fmt: skip
                assert ran.returncode == 0, ran.stderr
                return ran.stdout

    said = asyncio.run(scenario())
    assert said.splitlines()[0] == "gluster|True||False|bad: gluster/x"
    assert "control=nl_reply_supported=-1" in said
