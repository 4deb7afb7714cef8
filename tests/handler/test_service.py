"""The daemon as a process: started, asked, restarted, stopped. tests/handler/test_state_crashes.py kills it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handler.notify import Notifier
from handler.service import Service, wants_lio
from tcmu_gluster.config.settings import Settings
from tcmu_gluster.control.client import ControlClient
from tcmu_gluster.errors import OperationError
from tests.handler.daemon import make_world, settings, until
from tests.handler.process import Process

IQN = "iqn.2013-10.com.redhat"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Process]:
    with Process(tmp_path) as process:
        yield process


def test_what_was_configured_is_there_after_a_restart_and_after_a_kill(daemon: Process) -> None:
    daemon.start()
    file = daemon.root / "disk"
    daemon.ask("disk.create", name="a", uri=f"file://{file}", size="1M")
    daemon.ask("target.create", target=IQN)
    daemon.ask("lun.map", target=IQN, disk="a", lun=3)
    daemon.ask("acl.allow", target=IQN, rule="10.0.0.0/8")

    def look() -> list[Any]:
        shown = daemon.ask("disk.show", name="a")
        assert shown.pop("lease")["lease_seconds"] == 20.0  # a new one after every start
        return [shown, daemon.ask("acl.list"), daemon.ask("disk.list")]

    before = look()
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
        status = daemon.end(number)
        assert status == (-signal.SIGKILL if number is signal.SIGKILL else 0)
        daemon.start()
        assert look() == before
    shown = daemon.ask("target.show", target=IQN)
    assert shown["luns"] == [{"lun": 3, "disk": "a", "state": "online"}] and shown["listening"]


def test_systemd_hears_ready_signs_of_life_and_the_stop(daemon: Process) -> None:
    daemon.start()
    daemon.wait_for(b"WATCHDOG=1")
    daemon.wait_for(b"WATCHDOG=1")
    assert daemon.end() == 0
    daemon.wait_for(b"STOPPING=1")
    assert not daemon.socket.exists()


def test_a_second_daemon_does_not_start(daemon: Process) -> None:
    daemon.start()
    environ = {
        **os.environ,
        "TCMU_GLUSTER_STATE_FILE": str(daemon.state),
        "TCMU_GLUSTER_CONTROL_SOCKET": str(daemon.socket),
    }
    second = subprocess.run(
        [sys.executable, "-m", "handler", "--lio", "off"], env=environ, capture_output=True, text=True, timeout=60
    )
    assert second.returncode != 0 and "another daemon" in second.stderr and "Traceback" not in second.stderr
    assert daemon.ask("status")["version"]


def test_a_state_file_has_one_daemon_whatever_its_socket(daemon: Process) -> None:
    daemon.start()
    environ = {**os.environ, "TCMU_GLUSTER_STATE_FILE": str(daemon.state), "TCMU_GLUSTER_LIO": "off"}
    words = [sys.executable, "-m", "handler", "--control-socket", str(daemon.root / "other.sock")]
    second = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=60)
    assert second.returncode != 0 and "already keeps" in second.stderr


def test_a_disk_whose_file_comes_late_is_served_late(daemon: Process) -> None:
    daemon.state.parent.mkdir()
    late = daemon.root / "late"
    disk = {"name": "late", "plugin": "user", "config": f"gluster/file{late}", "size": 65536, "wwn": "8e9b7af7"}
    daemon.state.write_text(json.dumps({"storage_objects": [disk], "targets": []}))
    daemon.start()
    assert daemon.ask("disk.show", name="late")["state"].startswith("waiting: ")
    late.write_bytes(bytes(65536))
    deadline = time.monotonic() + 20
    while daemon.ask("disk.show", name="late")["state"] != "online":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_status_is_quick_with_five_hundred_disks(daemon: Process) -> None:
    daemon.state.parent.mkdir()
    disks = [
        {"name": f"d{n}", "plugin": "user", "config": f"gluster/memory/d{n}", "size": 65536, "wwn": f"serial-{n}"}
        for n in range(500)
    ]
    targets = [
        {"fabric": "iscsi", "wwn": f"{IQN}:{t}", "tpgs": [{"tag": 1, "luns": [
            {"index": n, "storage_object": f"/backstores/user/d{10 * t + n}"} for n in range(10)]}]}
        for t in range(50)
    ]  # fmt: skip
    daemon.state.write_text(json.dumps({"storage_objects": disks, "targets": targets}))
    daemon.start()  # within START_SECONDS
    with daemon.client() as client:
        times = []
        for _ in range(5):
            asked = time.monotonic()
            status = client.call("status")
            times.append(time.monotonic() - asked)
        assert status["engine"] == {"disks": 500, "waiting": 0, "targets": 50, "sessions": 0}
        assert min(times) < 1, "a few milliseconds on a machine that is not busy"
        assert len(client.call("disk.list")["items"]) == 500


def saved_with_one_target(root: Path) -> Path:
    """A state file with a disk in memory that a target shows."""
    state = root / "etc" / "saveconfig.json"
    state.parent.mkdir()
    disk = {"name": "d", "plugin": "user", "config": "gluster/memory/d", "size": 65536, "wwn": "serial-d"}
    group = {"tag": 1, "luns": [{"index": 0, "storage_object": "/backstores/user/d"}]}
    target = {"fabric": "iscsi", "wwn": IQN, "tpgs": [group]}
    state.write_text(json.dumps({"storage_objects": [disk], "targets": [target]}))
    return state


def test_who_asks_while_the_daemon_starts_changes_and_sees_what_was_saved(tmp_path: Path) -> None:
    """A volume takes its time; meanwhile nobody may take the empty beginning for the configuration."""
    state = saved_with_one_target(tmp_path)

    async def scenario() -> None:
        world = make_world(tmp_path)
        opens, gate = world.open_backing, asyncio.Event()

        async def slowly(*args: Any, **more: Any) -> Any:
            await gate.wait()
            return await opens(*args, **more)

        world.open_backing = slowly
        service = Service(world, Notifier())

        def ask(op: str, **args: Any) -> dict[str, Any]:
            with ControlClient(tmp_path / "run" / "control.sock") as client:
                return client.call(op, args)

        starting = asyncio.create_task(service.start())
        await until((tmp_path / "run" / "control.sock").exists)
        made = asyncio.create_task(asyncio.to_thread(ask, "target.create", target=f"{IQN}:new"))
        listed = asyncio.create_task(asyncio.to_thread(ask, "target.list"))
        assert (await asyncio.to_thread(ask, "status"))["starting"] is True, "that question is answered"
        assert not (made.done() or listed.done() or starting.done())
        gate.set()
        await starting
        await made
        assert IQN in [one["target"] for one in (await listed)["items"]]
        assert [one["wwn"] for one in json.loads(state.read_text())["targets"]] == [IQN, f"{IQN}:new"]
        assert "starting" not in await asyncio.to_thread(ask, "status")
        await service.stop()

    asyncio.run(scenario())


def test_a_start_that_fails_refuses_who_waits_for_it_and_saves_nothing(tmp_path: Path) -> None:
    state = saved_with_one_target(tmp_path)
    before = state.read_text()

    async def scenario() -> None:
        world = make_world(tmp_path)
        gate = asyncio.Event()

        async def never(*args: Any, **more: Any) -> Any:
            await gate.wait()
            raise RuntimeError("out of order")

        world.open_backing = never
        service = Service(world, Notifier())

        def ask() -> str:
            with ControlClient(tmp_path / "run" / "control.sock") as client:
                try:
                    return str(client.call("target.create", {"target": f"{IQN}:new"}))
                except OperationError as error:
                    return str(error)

        starting = asyncio.create_task(service.start())
        await until((tmp_path / "run" / "control.sock").exists)
        asked = asyncio.create_task(asyncio.to_thread(ask))
        await until(lambda: service.operations.waiting)
        gate.set()
        with pytest.raises(RuntimeError, match="out of order"):
            await starting
        await service.stop()
        assert "the daemon could not start" in await asked
        assert state.read_text() == before

    asyncio.run(scenario())


def test_lio_is_wanted_as_set_or_where_it_is(tmp_path: Path) -> None:
    assert wants_lio(settings(tmp_path, lio="on")) is True
    assert wants_lio(settings(tmp_path, lio="off")) is False
    (tmp_path / "config" / "target").mkdir(parents=True)
    automatic = settings(tmp_path, lio="auto", configfs=tmp_path / "config")
    assert wants_lio(automatic) is (os.geteuid() == 0)


# -- the unit ---------------------------------------------------------------------------------------------------------

UNITS = Path(__file__).resolve().parents[2] / "handler" / "share"


def unit_words(name: str) -> dict[str, list[str]]:
    """Key -> the words of all its lines."""
    words: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            words.setdefault(key, []).extend(value.split())
    return words


def test_the_unit_is_there_before_anybody_restores_lios_configuration_and_never_given_up() -> None:
    unit = unit_words("tcmu-gluster.service")
    assert {"target.service", "rtslib-fb-targetctl.service"} <= set(unit["Before"])
    assert "sys-kernel-config.mount" in unit["After"]
    assert (unit["Type"], unit["Restart"], unit["StartLimitIntervalSec"]) == (["notify"], ["on-failure"], ["0"])
    assert int(unit["WatchdogSec"][0]) > 0
    assert unit["KillMode"] == ["mixed"], "a child that configures LIO is not shot half-way"
    assert "AF_NETLINK" in unit["RestrictAddressFamilies"]


def test_a_stop_has_time_to_drain() -> None:
    drain = settings(Path("/nowhere"), drain_seconds=20).drain_seconds
    assert Settings().drain_seconds == drain
    for name in ("tcmu-gluster.service", "tcmu-gluster-engine.service"):
        assert int(unit_words(name)["TimeoutStopSec"][0]) > 2 * drain


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_the_sandbox_of_the_engine_is_as_tight_as_documented() -> None:
    """The score is printed in docs/security.md; systemd's own limit here is 3.0."""
    words = ["systemd-analyze", "security", "--offline=true", "--threshold=30", "--no-pager"]
    run = subprocess.run(
        [*words, str(UNITS / "tcmu-gluster-engine.service")], capture_output=True, text=True, timeout=60
    )
    if "offline" in run.stderr:
        pytest.skip(f"this systemd has no --offline: {run.stderr.strip()}")
    assert run.returncode == 0, run.stdout
    score = re.search(r"Overall exposure level for .*: ([0-9.]+)", run.stdout)
    documented = re.search(
        r"tcmu-gluster-engine.service: ([0-9.]+) OK", (UNITS.parents[1] / "docs" / "security.md").read_text()
    )
    assert score is not None and documented is not None
    assert float(score[1]) <= float(documented[1]) + 0.2, "other versions of systemd weigh a little differently"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
@pytest.mark.parametrize("name", ["tcmu-gluster.service", "tcmu-gluster-engine.service"])
def test_systemd_understands_the_units(tmp_path: Path, name: str) -> None:
    """The program stands where this machine has it, because systemd-analyze wants to see it."""
    text = (UNITS / name).read_text()
    for program in ("/usr/bin/tcmu-gluster", "/sbin/modprobe"):
        text = text.replace(program, "/bin/true")
    (tmp_path / name).write_text(text)
    run = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)], capture_output=True, text=True, timeout=60
    )
    ours = [line for line in run.stderr.splitlines() if name in line and "Failed to" not in line]
    assert ours == []


def test_a_state_file_that_has_no_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    words = ["--state-file", str(tmp_path / "file" / "saveconfig.json"), "--control-socket", str(tmp_path / "s")]
    ended = subprocess.run([sys.executable, "-m", "handler", *words], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1
    assert "the folder of the state file" in ended.stderr and "--state-file" in ended.stderr
