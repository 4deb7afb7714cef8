"""A host that is really rebooted: three boots of one machine, with its Gluster volume and LIO's saved configuration."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from .. import daemon, lio, load, reboot, services
from ..runner import scenario
from ..shell import expect, run, say, wait_for

_BYTES = Path("/io/written-before")
_NAME = "rebooted"


@scenario(job="reboot", limit=300)
def a_host_with_a_disk_of_ours_is_shut_down() -> None:
    """The disk is made with one operation, written, and left as it is: nobody saves anything."""
    backing = daemon.uri(_NAME)
    with daemon.Daemon() as served:
        disk = daemon.Disk(_NAME, backing, "32M")
        with lio.LoopDisk(disk.backstore) as local:
            _BYTES.write_bytes(load.copy_and_compare(local.device, 1))
        shut_down(served)


@scenario(job="reboot", limit=300)
def the_rebooted_host_has_its_disk_again() -> None:
    """Our daemon first, then targetctl, as the units are ordered."""
    come_up()
    with daemon.Daemon() as served:
        restore()
        shut_down(served)


@scenario(job="reboot", limit=300)
def so_has_one_on_which_tcmu_runner_runs_too() -> None:
    """rtslib's restore forgets nl_reply_supported=-1: here tcmu-runner's veto would strike."""
    come_up()
    with daemon.Daemon(), services.TcmuRunner():
        # With the name on the bus its unit counts as started, and targetctl begins.
        wait_for("tcmu-runner has the name", lambda: "registered" in daemon.ask("status")["targetcli"])
        restore()
        daemon.ask("disk.delete", name=_NAME)


def come_up() -> None:
    """What a boot brings: the files of the last one, and the volume."""
    reboot.bring_back()
    expect(not list(Path("/sys/kernel/config").glob("target/core/user_*/*/enable")), "LIO is empty")
    services.start_gluster()
    services.wait_for_brick()


def restore() -> None:
    """targetctl's part of the boot, and the proof that the disk is the old one."""
    say(run("targetctl", "restore", limit=120))
    with lio.LoopDisk(lio.backstore(_NAME)) as local:
        run("dd", f"if={local.device}", "of=/run/back", "bs=1M", "count=1", "iflag=direct", "status=none")
    expect(Path("/run/back").read_bytes() == _BYTES.read_bytes(), "it holds what was written before the reboot")
    expect([one["name"] for one in daemon.ask("disk.list")["items"]] == [_NAME], "and the daemon serves it")


def shut_down(served: daemon.Daemon) -> None:
    """Everything ends in a shutdown's order, and what a host has on its disk is kept."""
    served.stop()
    lio.clear()
    for name in ("glusterd", "glusterfsd"):
        for pid in services.processes(name):
            os.kill(pid, signal.SIGTERM)
    wait_for("Gluster has ended", lambda: not services.processes("glusterd") + services.processes("glusterfsd"))
    run("umount", f"/bricks/{services.VOLUME}")
    reboot.keep_and_ask()
