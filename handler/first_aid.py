"""The first thing a starting daemon does, before its own code is loaded: end the commands of a predecessor that died.

They wait in the rings for answers that nobody will give, and after cmd_time_out LIO tells their initiators of an
error. The kernel itself can answer them BUSY at once (block the device, reset its ring), and an initiator tries a BUSY
command again for a long time: Linux for six times its command timer, three minutes unless set. So everything that takes
longer comes afterwards: loading the code, finding the volumes, opening the disks. handler/device.py takes the devices
over as they are.

A short-lived child does it, since a write into the directory of a device that somebody is removing could wait for ever.
It imports little on purpose.  Source: linux/drivers/target/target_core_user.c (block_dev, reset_ring);
linux/drivers/scsi/scsi_error.c (scsi_decide_disposition: BUSY), scsi_lib.c (scsi_cmd_runtime_exceeced).
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tcmu_gluster.config.cfgstring import SUBTYPE
from tcmu_gluster.config.settings import Settings
from tcmu_gluster.errors import ConfigError
from tcmu_gluster.tcmu import actions
from tcmu_gluster.tcmu.configfs import MODULE_PARAMETERS
from tcmu_gluster.tcmu.uio import SYSFS, UioDevice, find_devices, open_uio

from .lock import lock_state

PATIENCE_SECONDS = 5.0
"""How long the daemon waits for its child; one that hangs in the kernel is left alone."""


def begin(settings: Settings) -> int:
    """Start the child; its process id, or 0 where the LIO front is not ours."""
    if settings.user or settings.lio == "off" or os.geteuid() != 0:
        return 0
    child = os.fork()
    if child == 0:
        try:
            if is_alone(settings.state_file):
                tell(end_commands(settings.configfs / "target" / "core"))
        finally:
            os._exit(0)  # nothing of the parent's may run twice
    return child


def tell(disks: list[str]) -> None:
    """A line for the log, which is not set up yet."""
    if disks:
        print(f"INFO: until they are served again, the kernel answers BUSY for {', '.join(disks)}", file=sys.stderr)
        sys.stderr.flush()


def finish(child: int, seconds: float = PATIENCE_SECONDS) -> bool:
    """Wait for the child of begin(). False if it is stuck."""
    until = time.monotonic() + seconds
    while child:
        try:
            if os.waitpid(child, os.WNOHANG)[0]:
                break
        except ChildProcessError:
            break
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


def is_alone(state_file: Path) -> bool:
    """Whether no other daemon keeps this state file: what a living one waits for is its own business."""
    try:
        os.close(lock_state(state_file))
    except FileNotFoundError:  # its directory isn't made yet
        return True
    except (ConfigError, OSError):
        return False
    return True


def end_commands(
    core: Path,
    *,
    sysfs: Path = SYSFS,
    parameters: Path = MODULE_PARAMETERS,
    open_device: Callable[[UioDevice], int] = open_uio,
) -> list[str]:
    """Release whoever waits for the predecessor, block and empty every ring that nobody holds; the disks' names."""
    ended = []
    with contextlib.suppress(OSError):  # no such module, or an old one
        actions.release_waiters(parameters)
    for device in find_devices(SUBTYPE, sysfs):
        with contextlib.suppress(OSError):  # held by somebody, just being added, or a kernel that can't reset a ring
            descriptor = open_device(device)  # as long as we have it, nobody else writes into buffers that become free
            try:
                actions.block_device(device.hba, device.name, core)
                actions.reset_ring(device.hba, device.name, actions.ResetAnswer.BUSY, core)
                ended.append(device.name)
            finally:
                os.close(descriptor)
    return ended
