"""`tcmu-gluster recover`: free a host that hangs because a handler died and nobody took over.

Whoever waits for a netlink answer gets EINTR, or EAGAIN if he tries again at once; the commands in the rings of our
devices end with an error, and new ones with BUSY. It needs no daemon, and it works in a process of its own, since it
writes to the kernel.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

from tcmu_gluster.config.cfgstring import SUBTYPE
from tcmu_gluster.config.settings import Settings
from tcmu_gluster.control.client import ControlClient, DaemonUnreachable
from tcmu_gluster.errors import OperationError
from tcmu_gluster.tcmu import actions
from tcmu_gluster.tcmu.configfs import MODULE_PARAMETERS
from tcmu_gluster.tcmu.uio import SYSFS, UioDevice, find_devices, open_uio

from .world import reason_of

RETRY_SECONDS = 1.0
"""Who was released may write again at once (rtslib does); as long as nobody may wait, that ends with EAGAIN."""


def run(settings: Settings, *, name: Optional[str], force: bool) -> dict[str, Any]:
    """`tcmu-gluster recover`. Raises OperationError if the daemon is alive (unless force)."""
    if not force:
        _refuse_beside_daemon(settings)
    return recover(settings, name=name, force=force)


def recover(
    settings: Settings,
    *,
    name: Optional[str] = None,
    force: bool = False,
    sysfs: Path = SYSFS,
    parameters: Path = MODULE_PARAMETERS,
    open_device: Callable[[UioDevice], int] = open_uio,
    sleep: Callable[[float], object] = time.sleep,
) -> dict[str, Any]:
    """Release waiters, end commands; what was done. Raises OperationError if nothing could be done."""
    troubles: list[str] = []
    try:
        actions.release_waiters(parameters, lambda: sleep(RETRY_SECONDS))
        released = True
    except OSError as error:
        released = False
        troubles.append(f"whoever waits for a handler could not be released: {reason_of(error)}")
    devices = [device for device in find_devices(SUBTYPE, sysfs) if name in (None, device.name)]
    if name is not None and not devices:
        raise OperationError(f"LIO has no disk {name!r} of ours")
    core = settings.configfs / "target" / "core"
    ended = [device.name for device in devices if _end_commands(device, core, force, troubles, open_device)]
    if not released and not ended:
        raise OperationError("; ".join(troubles))
    sentence = "waiters are released" if released else "no waiters were released"
    sentence += f"; commands of {len(ended)} disks were ended with an error: {', '.join(ended)}" if ended else ""
    return {"now": sentence, "released": released, "disks": ended, "troubles": troubles}


def _refuse_beside_daemon(settings: Settings) -> None:
    try:
        with ControlClient(settings.control_socket) as client:
            client.call("status")
    except DaemonUnreachable:
        return
    raise OperationError(
        "the daemon is running and looks after its disks itself; if they hang nevertheless, stop it or add --force"
    )


def _end_commands(
    device: UioDevice, core: Path, force: bool, troubles: list[str], open_device: Callable[[UioDevice], int]
) -> bool:
    """Block the device and empty its ring, unless somebody still owns its buffers."""
    descriptor = -1
    try:
        try:
            descriptor = open_device(device)  # while we hold it nobody else can write into buffers that the reset frees
        except OSError as error:
            if not force:
                raise OSError(error.errno, f"a process still has it open ({reason_of(error)})") from error
        actions.block_device(device.hba, device.name, core)
        actions.reset_ring(device.hba, device.name, actions.ResetAnswer.NOT_READY, core)
    except OSError as error:
        troubles.append(f"disk {device.name}: {reason_of(error)}")
        return False
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    return True
