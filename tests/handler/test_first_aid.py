"""What a starting daemon does about its predecessor's rings before it is loaded."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from handler import first_aid
from handler.lock import lock_state
from tcmu_gluster.tcmu.uio import UioDevice
from tests.doubles.lio_host import LioHost
from tests.handler.daemon import settings

READ = bytes([0x88]) + bytes(12) + b"\1" + bytes(2)
DISK = "gluster/memory/"


@pytest.fixture
def host(tmp_path: Path) -> LioHost:
    host = LioHost(tmp_path)
    host.parameters.mkdir()
    for name in ("block_netlink", "reset_netlink"):
        (host.parameters / name).write_text("")
    return host


def end_commands(host: LioHost, **more: object) -> list[str]:
    given = {"sysfs": host.sysfs, "parameters": host.parameters, "open_device": host.open_device, **more}
    return first_aid.end_commands(host.core, **given)


def test_rings_are_blocked_and_reset_with_busy_and_left_for_the_daemon(host: LioHost) -> None:
    device = host.add("old", DISK + "old", announce=False)
    device.kernel.submit(READ, data_in_bytes=512)
    assert end_commands(host) == ["old"]
    assert device.read("action/block_dev") == "1", "it stays blocked until the daemon serves it"
    assert device.read("action/reset_ring") == "1", "1: the kernel answers BUSY"
    assert host.log == ["open old"], "opened first: so nobody else holds the buffers that become free"


def test_waiters_are_released_before_a_devices_directory_is_touched(host: LioHost) -> None:
    host.add("old", DISK + "old", announce=False)
    seen = []

    def open_device(uio: UioDevice) -> int:
        seen.append((host.parameters / "reset_netlink").read_text())
        return host.open_device(uio)

    assert end_commands(host, open_device=open_device) == ["old"]
    assert seen == ["1"]
    assert (host.parameters / "block_netlink").read_text() == "0"


def test_what_somebody_still_holds_is_not_touched(host: LioHost) -> None:
    held, free = host.add("held", DISK + "h", announce=False), host.add("free", DISK + "f", minor=1, announce=False)
    held.opened = 1
    assert end_commands(host) == ["free"]
    assert held.read("action/block_dev") == "0"
    assert free.read("action/block_dev") == "1"


def test_others_devices_and_kernels_that_cannot_reset_are_left_alone(host: LioHost) -> None:
    host.add("theirs", "glfs/vol@host/x", announce=False)
    host.add("ancient", DISK + "a", minor=1, announce=False, can_reset=False)
    assert end_commands(host) == []


def test_the_log_hears_of_it_if_there_was_something_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    first_aid.tell([])
    assert capsys.readouterr().err == ""
    first_aid.tell(["vm1", "vm2"])
    assert capsys.readouterr().err == "INFO: until they are served again, the kernel answers BUSY for vm1, vm2\n"


def test_a_host_without_the_module_is_no_error(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    assert first_aid.end_commands(nothing, sysfs=nothing, parameters=nothing) == []


def test_no_child_where_lio_is_off(tmp_path: Path) -> None:
    assert first_aid.begin(settings(tmp_path)) == 0
    assert first_aid.finish(0)


def test_a_child_that_ends_is_waited_for_and_one_that_hangs_is_left(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    assert first_aid.finish(child)
    child = os.fork()
    if child == 0:
        os.execvp("sleep", ["sleep", "60"])
    assert not first_aid.finish(child, seconds=0.01)
    os.kill(child, 9)
    assert first_aid.finish(child)
    assert first_aid.finish(child), "one that is gone already is no error"


def test_beside_a_living_daemon_nothing_is_done(tmp_path: Path) -> None:
    state = tmp_path / "saveconfig.json"
    assert first_aid.is_alone(state)
    held = lock_state(state)
    assert not first_aid.is_alone(state)
    os.close(held)
    assert first_aid.is_alone(state)
    assert first_aid.is_alone(tmp_path / "not" / "made" / "yet.json")


def test_the_open_refuses_a_number_that_belongs_to_another_device_by_now(host: LioHost) -> None:
    host.add("old", DISK + "old", announce=False)

    def gone(uio: UioDevice) -> int:
        raise OSError(errno.ENODEV, "gone")

    assert end_commands(host, open_device=gone) == []


def test_it_loads_little() -> None:
    """Each library here is time that a dead daemon's initiators wait."""
    code = (
        "import sys, handler.first_aid; heavy = ('asyncio', 'cffi', 'pyroute2', 'rtslib_fb', 'tcmu_gluster.scsi'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert loaded.strip() == "[]"
