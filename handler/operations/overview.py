"""status, names, why-denied."""

from __future__ import annotations

import os
import time
from operator import itemgetter
from typing import Any

from tcmu_gluster import __version__
from tcmu_gluster.tcmu.device_life import DeviceState

from ..units import trouble_of
from .context import Context, Report

MOST_ADDRESSES = 10
"""How many addresses `status` names that failed to log in, those with the most failures first."""


async def status(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """How the daemon is, in numbers."""
    engine, devices = context.engine, context.devices.devices.values()
    online = sum(disk.unit is not None for disk in engine.disks.values())
    serving = sum(device.state is DeviceState.SERVING for device in devices)
    facts: dict[str, Any] = {
        "version": __version__,
        "process": os.getpid(),
        "up_seconds": int(time.monotonic() - context.started),
        "state_file": str(context.state.path),
        "engine": {
            "disks": len(engine.disks),
            "waiting": len(engine.disks) - online,
            "targets": len(engine.directory.targets),
            "sessions": len(list(engine.sessions())),
        },
        "lio": {"disks": len(devices), "waiting": len(devices) - serving} if context.lio else "off",
    }
    failures = sorted(engine.front.admission.failures().items(), key=itemgetter(1), reverse=True)
    if failures:
        facts["failed_logins"] = dict(failures[:MOST_ADDRESSES])
    if context.starting:
        facts["starting"] = True
    if context.lio:
        facts["targetcli"] = context.targetcli()
    troubles = list(engine.troubles.values())
    troubles += [f"disk {disk.name} waits: {disk.reason}" for disk in engine.disks.values() if disk.unit is None]
    troubles += [f"disk {d.name} waits: {d.reason}" for d in devices if d.state is DeviceState.FAILED]
    disks: list[Any] = [*engine.disks.values(), *devices]
    for served in disks:
        if served.unit is not None and served.unit.trouble:
            troubles.append(f"disk {served.name}: {trouble_of(served.unit, served.name)}")
    if troubles:
        facts["troubles"] = troubles
    return facts


async def names(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Names for completion."""
    configuration = context.configuration
    if args["kind"] == "disk":
        found = {*context.engine.disks, *(device.name for device in context.devices.devices.values())}
    elif args["kind"] == "target":
        found = {target["wwn"] for target in configuration.targets()}
    else:
        found = {session.initiator_name for session in context.engine.sessions()}
        for target in configuration.targets():
            found |= {rule.initiator_name for rule in configuration.rules(target["wwn"]) if rule.initiator_name}
    return {"items": sorted(found)}


async def why_denied(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Initiators that were turned away lately, newest first, with what would let them in."""
    return {"items": [
        {
            "when": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(denial.when)),
            "times": denial.times, "target": denial.target, "initiator": denial.initiator, "address": denial.address,
            "reason": denial.reason,
        }
        for denial in context.engine.denials()
    ]}  # fmt: skip
