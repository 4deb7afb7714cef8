"""The daemon dies, is restarted, or has a slow Gluster behind it, while a host is writing."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import daemon, lio, load, services, volume
from ..runner import scenario
from ..shell import PYTHON, expect, read, run, say, start, wait_for, write


def kill_and_start(served: daemon.Daemon, disk: daemon.Disk) -> dict[str, float]:
    """kill -9 and a new start; how long commands had no answer at all, then BUSY, until they were served again."""
    blocked = disk.backstore / "action/block_dev"
    served.kill()
    dead = time.monotonic()
    served.launch()
    wait_for("the kernel answers BUSY", lambda: read(blocked) == "blocked", limit=60)
    busy = time.monotonic()
    wait_for("the disk is served again", lambda: read(blocked) == "unblocked", limit=120)
    again = time.monotonic()
    served.wait_until_ready()
    return {"seconds without answer": round(busy - dead, 1), "seconds of BUSY": round(again - busy, 1)}


def time_outs(disk: daemon.Disk, device: str) -> dict[str, Any]:
    """LIO's and the host's, as the product and Linux set them: nothing is stretched for the test."""
    timer = Path("/sys/block") / Path(device).name / "device/timeout"
    return {"LIO's cmd_time_out": read(disk.backstore / "attrib/cmd_time_out"), "the host's timer": read(timer)}


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
        figures = time_outs(disk, device)
        writer = load.VerifiedLoad(device)
        writer.wait_until_running()
        figures["first"] = kill_and_start(served, disk)
        writer.wait_until_running()
        figures["second"] = kill_and_start(served, disk)
        return {**figures, **writer.finish()}


@scenario(limit=300)
def planned_restart_under_verified_load() -> dict[str, Any]:
    """SIGTERM and start again under fio on a tcm_loop disk."""
    backing = daemon.uri("restarted")
    with (
        daemon.Daemon() as served,
        daemon.Disk("restarted", backing, "64M") as disk,
        lio.LoopDisk(disk.backstore) as local,
    ):
        figures = time_outs(disk, local.device)
        writer = load.VerifiedLoad(local.device, mebibytes=2)
        writer.wait_until_running()
        served.stop()
        served.start()
        return {**figures, **writer.finish()}


@scenario(limit=300)
def reset_and_abort_while_gluster_is_slow() -> dict[str, Any]:
    """The brick stops answering: LUN reset and the host's aborts succeed, and no late write reaches the file."""
    backing = daemon.uri("slow")
    services.start_iscsid()
    iqn = "iqn.2024-01.test.vm:slow"
    run("modprobe", "sg")
    with daemon.Daemon() as served, daemon.Disk("slow", backing, "64M") as disk, lio.Target(iqn, [disk.backstore]):
        with services.Session(iqn) as session:
            device = session.disk()
            block = Path("/sys/block") / Path(device).name
            generic = next((block / "device/scsi_generic").iterdir()).name
            load.copy_and_compare(device, 2)
            write(block / "device/timeout", "90")  # nobody but us resets
            with stopped_brick():
                reset = late_write(device, block)
                began = time.monotonic()
                run("sg_reset", "--device", "--no-esc", f"/dev/{generic}", limit=90)
                figures = {"seconds of the LUN reset": round(time.monotonic() - began, 1)}
            expect(reset.wait(120) == 0, "the write that was reset is tried again, and succeeds")
            before = aborts(disk), asked(session)
            # The host aborts early (it first asks with a NOP-Out whether we live), and is as patient as ever in all:
            # BUSY is tried again for (retries + 1) * timeout, 6 * 30 s by default; -1 is without an end.
            write(next((block / "device/scsi_disk").iterdir()) / "max_retries", "-1")
            write(block / "device/timeout", "3")
            with stopped_brick():
                aborted = late_write(device, block)
                wait_for("the host asks for an abort", lambda: asked(session) > before[1], limit=90)
                write(block / "device/timeout", "30")
            wait_for("LIO has aborted the write", lambda: aborts(disk) > before[0], limit=60)
            expect(aborted.wait(120) == 0, "the write that was aborted is tried again, and succeeds")
            figures["aborts that LIO completed"] = aborts(disk) - before[0]
            expect((block / "device/state").read_text().strip() == "running", "the host has not given up the disk")
            figures["task management that the host asked for"] = asked(session)
            data = load.copy_and_compare(device, 2)
            expect(served.alive, "the daemon lives")
        expect(volume.on_the_brick("slow", len(data)) == data, "the Gluster file holds the last writes alone")
    return figures


@scenario(limit=300)
def recover_frees_a_host_whose_handler_is_gone() -> None:
    """Nobody takes over after kill -9: `tcmu-gluster recover` ends a hanging command and a hanging configfs writer."""
    backing = daemon.uri("lost")
    with daemon.Daemon() as served, daemon.Disk("lost", backing, "8M") as disk, lio.LoopDisk(disk.backstore) as local:
        load.read_directly(local.device)  # once Linux has looked for partitions: that would hang too, elsewhere
        served.kill()
        hanging = start(
            "dd", f"if={local.device}", "of=/dev/null", "bs=4k", "count=1", "iflag=direct", log="/run/dd.log"
        )
        waiting = start(PYTHON, "-c", _ENABLE, log="/run/enable.log")  # and so does somebody who makes a disk
        inflight = Path("/sys/block") / Path(local.device).name / "inflight"
        wait_for("the read hangs", lambda: int(read(inflight).split()[0]) > 0)
        stack = f"/proc/{waiting.pid}/stack"
        wait_for("the writer of configfs hangs", lambda: "target_core_user" in read(stack), limit=60)
        say(daemon.ours("recover"))
        expect(waiting.wait(30) != 0, "whoever waited for an answer is told that none comes")
        expect(hanging.wait(60) != 0, "the command ends with an error")
        (lio.CORE / "user_0/waiting").rmdir()
        served.start()
        load.read_directly(local.device)
        say("and the disk is served again")


_ENABLE = f"""
import os
folder = "{lio.CORE}/user_0/waiting"
os.makedirs(folder)
for name, text in ("control", "dev_config=gluster/memory/waiting,dev_size=1048576"), ("enable", "1"):
    with open(os.path.join(folder, name), "w") as file:  # as rtslib does it: what EINTR ended is written again
        file.write(text)
"""
"""A device made by hand: enable waits for a handler's answer."""


@contextlib.contextmanager
def stopped_brick() -> Iterator[None]:
    """A storage that takes requests and does not answer, for as long as the block runs."""
    bricks = services.processes("glusterfsd")
    for pid in bricks:
        os.kill(pid, signal.SIGSTOP)
    say("the brick is stopped")
    try:
        yield
    finally:
        for pid in bricks:
            os.kill(pid, signal.SIGCONT)
        say("the brick goes on")


def aborts(disk: daemon.Disk) -> int:
    """ABORT TASKs that LIO has answered with FUNCTION COMPLETE, since our handler let go of the command."""
    return int(read(disk.backstore / "statistics/scsi_tgt_dev/aborts_complete"))


def asked(session: services.Session) -> int:
    """Task management requests that the initiator has sent in its session."""
    told = run("iscsiadm", "-m", "session", "-s")
    return sum(int(count) for count in re.findall(r"tmfcmd_pdus: (\d+)", told.partition(session.iqn)[2]))


def late_write(device: str, block: Path) -> subprocess.Popen[bytes]:
    """A direct write of zeros that is under way and will be late."""
    writer = start("dd", "if=/dev/zero", f"of={device}", "bs=256k", "count=1", "oflag=direct", log="/run/dd.log")
    wait_for("the write is under way", lambda: int((block / "inflight").read_text().split()[1]) > 0)
    return writer
