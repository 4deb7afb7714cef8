"""After a scenario that failed half-way: nothing of it may disturb the next one."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from . import lio, services
from .shell import read, run, wait_for

_LEFT_RUNNING = ("fio", "dd", "tcmu-runner", "tcmu-gluster", "iscsi-test-cu", "multipathd")


def everything() -> None:
    """Disks out of use, sessions closed, programs ended, LIO empty; whatever order they were in."""
    run("nft", "flush", "ruleset", status=None)
    for pid in services.processes("glusterfsd"):
        os.kill(pid, signal.SIGCONT)
    for name in _LEFT_RUNNING:
        for pid in services.processes(name):
            os.kill(pid, signal.SIGKILL)
    lio.release_waiters()
    run("umount", "-l", "/mnt", status=None)
    for name in Path("/sys/block").glob("dm-*/dm/name"):  # what waits there for a path would keep the map
        run("dmsetup", "message", read(name).strip(), "0", "fail_if_no_path", status=None, limit=30)
    run("multipath", "-F", status=None, limit=30)
    run("iscsiadm", "-m", "node", "-u", status=None, limit=30)
    run("iscsiadm", "-m", "node", "-o", "delete", status=None)
    for device in lio.CORE.glob("user_*/*/action"):
        with contextlib.suppress(OSError):  # EINVAL: it was never enabled
            # No handler is left that could complete them: the kernel must.
            lio.write(device / "block_dev", "1")
            lio.write(device / "reset_ring", "2")
            lio.write(device / "block_dev", "0")
    if lio.TARGET.exists():
        lio.clear()
    wait_for("no SCSI disk is left", lambda: not [name for name in os.listdir("/sys/block") if name.startswith("sd")])
