"""target, lun and portal: what the engine shows, and where."""

from __future__ import annotations

import os
import secrets
from typing import Any, Optional

from tcmu_gluster.config.addresses import parse_portal
from tcmu_gluster.config.names import default_iqn
from tcmu_gluster.control.operations import UsageError
from tcmu_gluster.errors import OperationError

from ..engine_disk import EngineDisk
from ..portal_group import ALUA, alua_of, is_enabled, set_alua, shown_to
from ..targets import EngineTarget
from .context import Context, Report, now

_MOVE = "move the disk there: tcmu-gluster disk move NAME --to lio (docs/fabrics.md)"
NEEDS_LIO = {
    "iser": f"iSER needs LIO: the engine speaks iSCSI over TCP only; {_MOVE}, then enable_iser at a portal",
    "fcoe": f"FCoE needs LIO: the engine speaks iSCSI over TCP only; {_MOVE}, then make its target under /tcm_fc",
}
"""Fabrics that the kernel has and the engine hasn't, each with the sentence that says what to do."""


async def create(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """A target on the portals of the settings; nobody may log in yet."""
    iqn = args["target"] or default_iqn(os.uname().nodename, secrets.token_hex(6))
    if context.configuration.find_target(iqn) is not None:
        tid = context.configuration.number_targets()[iqn]
        if args["tid"] not in (None, tid):
            raise OperationError(f"there is a target {iqn} already, with the tid {tid}")
        return now(f"target {iqn} is there", False, target=iqn, tid=tid)
    wanted = context.configuration.copy()
    portals = dict.fromkeys((*context.world.settings.portals, *map(parse_portal, wanted.common_portals())))
    wanted.add_target(iqn, tuple(portals), args["tid"])
    await context.change(wanted)
    where = ", ".join(map(str, portals)) or "nowhere: add a portal"
    return now(f"target {iqn} listens on {where}; nobody may log in until tcmu-gluster acl allow {iqn} ...", target=iqn)


def _facts(context: Context, iqn: str) -> dict[str, Any]:
    configuration = context.configuration
    sessions = sum(session.target_name == iqn for session in context.engine.sessions())
    return {
        "target": iqn,
        "portals": [str(portal) for portal in configuration.portals(iqn)],
        "luns": len(configuration.luns(iqn)),
        "tid": configuration.number_targets()[iqn],
        "enabled": is_enabled(configuration.group(iqn)),
        "alua": alua_of(configuration, iqn),
        "allowed": [str(rule) for rule in configuration.rules(iqn)],
        "sessions": sessions,
    }


async def list_(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Every target."""
    return {"items": [_facts(context, target["wwn"]) for target in context.configuration.targets()]}


async def show(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """All about one target."""
    iqn = args["target"]
    context.configuration.target(iqn)
    facts = _facts(context, iqn)
    shown = context.engine.directory.targets.get(iqn)
    facts["listening"] = [str(portal) for portal in shown.listening] if shown is not None else []
    facts["luns"] = [
        _lun_facts(context.engine.disks.get(name), lun, name, shown)
        for lun, name in sorted(context.configuration.luns(iqn).items())
    ]
    maps = [
        {"initiator": rule.initiator_name, "lun": lun, "disk": name, "read_only": protected}
        for rule in context.configuration.rules(iqn) if rule.initiator_name
        for lun, (name, protected) in sorted(context.configuration.visible_luns(iqn, rule.initiator_name).items())
    ]  # fmt: skip
    if maps:
        facts["maps"] = maps
    troubles = [why for portal, why in context.engine.troubles.items() if portal in context.configuration.portals(iqn)]
    moved = context.configuration.redirect(iqn)
    if moved is not None:
        facts["redirect"] = {"portal": moved[0], "permanent": moved[1]}
    if troubles:
        facts["troubles"] = troubles
    return facts


def _lun_facts(disk: Optional[EngineDisk], lun: int, name: str, shown: Optional[EngineTarget]) -> dict[str, Any]:
    facts = {"lun": lun, "disk": name, "state": disk.state if disk is not None else "missing"}
    if disk is not None and disk.unit is not None and shown is not None:
        by_host = [word for word, state in ALUA.items() if state in disk.unit.ports.states(shown.name)]
        if by_host and ALUA[by_host[0]] is not shown.target.access:
            facts["alua"] = by_host[0]
    return facts


async def delete(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Its sessions end; its disks stay."""
    iqn = args["target"]
    if context.configuration.find_target(iqn) is None:
        return now(f"there is no target {iqn}", False)
    wanted = context.configuration.copy()
    wanted.remove_target(iqn)
    await context.change(wanted)
    return now(f"target {iqn} is gone; its disks stay")


async def redirect(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Sessions are asked to log out; whoever logs in is told where the target is."""
    iqn, portal = args["target"], parse_portal(args["portal"]) if args["portal"] else None
    if args["permanent"] and portal is None:
        raise UsageError("--permanent goes with a portal")
    wanted = context.configuration.copy()
    changed = wanted.set_redirect(iqn, portal, args["permanent"])
    if changed:
        await context.change(wanted)
    if portal is None:
        return now(f"target {iqn} serves its initiators itself", changed)
    return now(f"initiators of {iqn} are sent to {portal}{' for good' if args['permanent'] else ''}", changed)


async def alua(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """All LUNs that the target shows, those too that a host has set to another state meanwhile."""
    iqn, state = args["target"], args["state"]
    wanted = context.configuration.copy()
    changed = set_alua(wanted, iqn, state)
    if changed:
        await context.change(wanted)
    shown = context.engine.directory.targets.get(iqn)
    if shown is not None:
        changed |= shown.target.set_access(ALUA[state])
    return now(f"paths through {iqn} are {state}", changed)


async def map_lun(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Show a disk, to everybody who may log in or to one initiator."""
    iqn, name = args["target"], args["disk"]
    device = context.devices.find(name)
    if device is not None:
        raise OperationError(f"disk {name} is served by LIO; map it with targetcli, or move it: "
                             f"tcmu-gluster disk move {name} --to engine")  # fmt: skip
    if args["read_only"] and not args["initiator"]:
        raise UsageError("--read-only goes with --for; what nobody may write is made with disk create --read-only")
    wanted = context.configuration.copy()
    lun, changed = wanted.map_lun(iqn, name, args["lun"], args["initiator"], read_only=args["read_only"])
    whom = ""
    if args["initiator"]:
        shown_as, protected = shown_to(wanted, iqn, args["initiator"], lun)
        otherwise = "" if shown_as == lun else f", which sees it as LUN {shown_as}"
        whom = f" for {args['initiator']}{otherwise}{', read-only' if protected else ''}"
    if changed:
        await context.change(wanted)
    return now(f"disk {name} is LUN {lun} of {iqn}{whom}", changed, lun=lun)


async def unmap_lun(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Take a LUN away."""
    iqn, lun = args["target"], args["lun"]
    wanted = context.configuration.copy()
    name = wanted.unmap_lun(iqn, lun, args["initiator"])
    whom = f" for {args['initiator']}" if args["initiator"] else ""
    if name is None or wanted.root == context.configuration.root:
        return now(f"{iqn} has no LUN {lun}{whom}", False)
    await context.change(wanted)
    return now(f"{iqn} has no LUN {lun} any more{whom}; disk {name} stays")


async def add_portal(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Listen there too."""
    iqn, portal = args["target"], parse_portal(args["portal"])
    if args["transport"] not in (None, "tcp"):
        raise OperationError(NEEDS_LIO[args["transport"]])
    wanted = context.configuration.copy()
    changed = wanted.add_portal(iqn, portal)
    if changed:
        await context.change(wanted)
    return now(f"target {iqn} listens on {portal}", changed)


async def remove_portal(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Listen there no more; initiators that came through it are asked to log out."""
    iqn, portal = args["target"], parse_portal(args["portal"])
    wanted = context.configuration.copy()
    changed = wanted.remove_portal(iqn, portal)
    if changed:
        await context.change(wanted)
    nowhere = f"{iqn} listens nowhere, so nobody reaches it until tcmu-gluster portal add {iqn} ADDRESS"
    said = f"target {iqn} does not listen on {portal}"
    return now(said, changed, warnings=[] if wanted.portals(iqn) else [nowhere])
