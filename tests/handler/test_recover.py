from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from handler.recover import recover
from tcmu_gluster.errors import OperationError
from tests.doubles.lio_host import LioHost
from tests.handler.daemon import settings


@pytest.fixture
def host(tmp_path: Path) -> LioHost:
    host = LioHost(tmp_path)
    host.parameters.mkdir()
    for name in ("block_netlink", "reset_netlink"):
        (host.parameters / name).write_text("0")
    return host


def run(host: LioHost, name: str | None = None, force: bool = False) -> dict[str, Any]:
    given = settings(host.root, configfs=host.configfs)
    blocked = host.parameters / "block_netlink"
    return recover(
        given, name=name, force=force, sysfs=host.sysfs, parameters=host.parameters, open_device=host.open_device,
        sleep=lambda seconds: host.log.append(f"block_netlink {blocked.read_text()} for {seconds:g} s"),
    )  # fmt: skip


def test_waiters_are_released_and_commands_end_with_an_error(host: LioHost) -> None:
    one = host.add("one", "gluster/memory/one", announce=False)
    other = host.add("theirs", "glfs/vol@host/x", minor=1, announce=False)
    report = run(host)
    assert report["released"] and report["disks"] == ["one"] and report["troubles"] == []
    assert (host.parameters / "reset_netlink").read_text() == "1"
    assert host.log[0] == "block_netlink 1 for 1 s", "who tries again at once must not wait again"
    assert (host.parameters / "block_netlink").read_text() == "0"
    assert one.read("action/block_dev") == "1" and one.read("action/reset_ring") == "2"
    assert other.read("action/block_dev") == "0", "other handlers' devices are left alone"


def test_one_disk_alone(host: LioHost) -> None:
    for minor, name in enumerate(("a", "b")):
        host.add(name, f"gluster/memory/{name}", minor=minor, announce=False)
    assert run(host, "b")["disks"] == ["b"]
    assert host.devices["a"].read("action/block_dev") == "0"
    with pytest.raises(OperationError, match="no disk 'c'"):
        run(host, "c")


def test_a_device_that_somebody_holds_is_left_to_him_unless_forced(host: LioHost) -> None:
    device = host.add("held", "gluster/memory/held", announce=False)
    device.opened = 1
    report = run(host)
    assert report["disks"] == [] and "still has it open" in report["troubles"][0]
    assert device.read("action/reset_ring") == ""
    assert run(host, force=True)["disks"] == ["held"]


def test_without_the_module_there_is_nothing_to_do(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="could not be released"):
        run(LioHost(tmp_path))
