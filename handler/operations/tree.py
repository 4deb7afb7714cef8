"""What the shell's tree needs beside the other nouns: the whole at once, and a portal group's own switches."""

from __future__ import annotations

from typing import Any

from tcmu_gluster.control.operations import UsageError

from ..portal_group import (
    AUTH,
    discovery_facts,
    edit_chap,
    is_enabled,
    map_for,
    set_value,
    target_facts,
    unmap_for,
)
from . import disk
from .context import Context, Report, now


async def configuration(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Disks and targets of the engine in one answer: a tree of thousands of nodes asks once."""
    present = context.configuration
    sessions: dict[str, list[str]] = {}
    for session in context.engine.sessions():
        sessions.setdefault(session.target_name, []).append(session.initiator_name)
    targets = [target_facts(present, target["wwn"]) for target in present.targets()]
    for facts in targets:
        facts["initiators"] = sorted(sessions.get(facts["target"], ()))
    disks = (await disk.list_(context, {}, report))["items"]
    return {
        "disks": [one for one in disks if one["front"] == "engine"],
        "targets": targets,
        "discovery": discovery_facts(present),
        "waiting_portals": {str(portal): why for portal, why in context.engine.troubles.items()},
        "state_file": str(context.state.path),
    }


async def set_(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """An attribute or parameter by LIO's name."""
    iqn, initiator, name = args["target"], args["initiator"], args["name"]
    wanted = context.configuration.copy()
    acts = set_value(wanted, iqn, initiator, args["group"], name, args["value"])
    changed = wanted.root != context.configuration.root
    if changed:
        await context.change(wanted)
    warnings = context.engine.warnings(iqn) if acts else [f"{name} is kept for LIO; the engine does not act on it"]
    return now(f"{args['group']} {name} of {initiator or iqn} is {args['value']}", changed, warnings=warnings)


async def enable(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Initiators may log in."""
    return await _switch(context, args["target"], True)


async def disable(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Its sessions end and nobody finds it, but it stays as it is configured."""
    return await _switch(context, args["target"], False)


async def _switch(context: Context, iqn: str, on: bool) -> dict[str, Any]:
    wanted = context.configuration.copy()
    group = wanted.group(iqn)
    changed = is_enabled(group) is not on
    if changed:
        group["enable"] = on
        await context.change(wanted)
    return now(f"target {iqn} is {'enabled' if on else 'disabled: nobody may log in'}", changed)


async def map_for_initiator(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Show a LUN to one initiator, also under another number."""
    iqn, initiator, lun = args["target"], args["initiator"], args["lun"]
    shown_as = lun if args["shown_as"] is None else args["shown_as"]
    wanted = context.configuration.copy()
    name, changed = map_for(wanted, iqn, initiator, lun, shown_as, read_only=args["read_only"])
    if changed:
        await context.change(wanted)
    protected = ", read-only" if args["read_only"] else ""
    return now(f"{initiator} sees disk {name} as LUN {shown_as} of {iqn}{protected}", changed, lun=shown_as)


async def unmap_for_initiator(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Take a LUN away from one initiator."""
    wanted = context.configuration.copy()
    changed = unmap_for(wanted, args["target"], args["initiator"], args["lun"])
    if changed:
        await context.change(wanted)
    return now(f"{args['initiator']} sees no LUN {args['lun']} of {args['target']}", changed)


async def edit_passwords(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Change one part of what initiators have to prove and leave the others: targetcli sets them one by one."""
    iqn, discovery = args["target"], args["discovery"]
    if discovery == bool(iqn):
        raise UsageError("name the target, or say --discovery")
    wanted = context.configuration.copy()
    place = wanted.make_fabric() if discovery else wanted.credentials(iqn, args["initiator"])
    names = dict(zip(AUTH, ("user", "password", "mutual_user", "mutual_password")))
    edit_chap(place, discovery, {name: args[given] for name, given in names.items()})
    if args["ask"] is not None:
        if discovery:
            place["discovery_enable_auth"] = args["ask"] == "on"
        else:
            wanted.group(iqn)["attributes"]["authentication"] = int(args["ask"] == "on")
    changed = wanted.root != context.configuration.root
    if changed:
        await context.change(wanted)
    whose = args["initiator"] or ("discovery" if discovery else iqn)
    return now(f"the passwords of {whose} are as asked", changed, warnings=context.engine.warnings(iqn) if iqn else [])
