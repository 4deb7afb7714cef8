"""The daemon dies, is restarted, or has a slow Gluster behind it, while a host is writing."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from .. import daemon, lio, load, services, volume
from ..runner import scenario
from ..shell import expect, run, say, start, wait_for, write


def be_patient(device: str) -> None:
    """The host's command timer, longer than LIO's (see daemon.Disk): a start takes many seconds here."""
    write(Path("/sys/block") / Path(device).name / "device/timeout", "240")


@scenario(limit=420)
def kill_9_under_verified_load() -> dict[str, Any]:
    """kill -9 twice under fio over iSCSI: the initiator sees a pause, no error, no lost and no stale block."""
    backing = daemon.uri("killed")
    services.start_iscsid()
    iqn = "iqn.2024-01.test.vm:killed"
    with (
        daemon.Daemon() as served,
        daemon.Disk("killed", backing, "64M") as disk,
        lio.Target(iqn, [disk.backstore]),
        services.Session(iqn) as session,
    ):
        device = session.disk()
        be_patient(device)
        writer = load.VerifiedLoad(device)
        writer.wait_until_running()
        served.kill()
        served.start()
        writer.wait_until_running()
        served.kill()
        served.start()
        return writer.finish()


@scenario(limit=300)
def planned_restart_under_verified_load() -> dict[str, Any]:
    """SIGTERM and start again under fio on a tcm_loop disk."""
    backing = daemon.uri("restarted")
    with (
        daemon.Daemon() as served,
        daemon.Disk("restarted", backing, "64M") as disk,
        lio.LoopDisk(disk.backstore) as local,
    ):
        be_patient(local.device)
        writer = load.VerifiedLoad(local.device, mebibytes=2)
        writer.wait_until_running()
        served.stop()
        served.start()
        return writer.finish()


@scenario(limit=300)
def reset_and_abort_while_gluster_is_slow() -> None:
    """The brick stops answering: LUN reset and the host's aborts end cleanly, and no late write reaches the file."""
    backing = daemon.uri("slow")
    services.start_iscsid()
    iqn = "iqn.2024-01.test.vm:slow"
    run("modprobe", "sg")
    with daemon.Daemon() as served, daemon.Disk("slow", backing, "64M") as disk, lio.Target(iqn, [disk.backstore]):
        with services.Session(iqn) as session:
            device = session.disk()
            block = Path("/sys/block") / Path(device).name
            load.copy_and_compare(device, 4)
            write(block / "device/timeout", "4")  # the host aborts early
            bricks = services.processes("glusterfsd")
            for pid in bricks:
                os.kill(pid, signal.SIGSTOP)
            say("the brick is stopped")
            try:
                old = run_in_background(device)
                wait_for("the write is under way", lambda: int((block / "inflight").read_text().split()[1]) > 0)
                generic = next((block / "device/scsi_generic").iterdir()).name
                say(run("sg_reset", "--device", "--no-esc", "-v", f"/dev/{generic}", status=None, limit=90))
            finally:
                for pid in bricks:
                    os.kill(pid, signal.SIGCONT)
                say("the brick goes on")
            say(f"the delayed dd ended with {old.wait(120)}")
            write(block / "device/timeout", "30")
            wait_for("the disk is running", lambda: (block / "device/state").read_text().strip() == "running")
            wait_for(
                "the disk answers",
                lambda: (
                    run(
                        "dd", f"if={device}", "of=/dev/null", "bs=4k", "count=1", "iflag=direct", status=None, limit=60
                    ).count("error")
                    == 0
                ),
                limit=90,
            )
            data = load.copy_and_compare(device, 4)
            expect(served.alive, "the daemon lives")
        expect(volume.on_the_brick("slow", len(data)) == data, "the Gluster file holds the last writes alone")


def run_in_background(device: str) -> subprocess.Popen[bytes]:
    """A direct write of zeros that will be late."""
    return start("dd", "if=/dev/zero", f"of={device}", "bs=1M", "count=4", "oflag=direct", log="/run/dd.log")
