"""acl and chap: who may log in to a target."""

from __future__ import annotations

from typing import Any

from tcmu_gluster.config.addresses import RuleKind, parse_access_rule
from tcmu_gluster.control.operations import UsageError
from tcmu_gluster.errors import ConfigError
from tcmu_gluster.iscsi.chap import Account, credentials

from ..accounts import CHAP_KEYS, DISCOVERY_KEYS
from ..configuration import switched_on
from .context import Context, Report, now


async def allow(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Add a rule; `all` is warned about."""
    iqn, rule = args["target"], parse_access_rule(args["rule"])
    wanted = context.configuration.copy()
    changed = wanted.allow(iqn, rule)
    if changed:
        await context.change(wanted)
    who = "every initiator" if rule.kind is RuleKind.ALL else str(rule)
    return now(f"{who} may log in to {iqn}", changed, warnings=context.engine.warnings(iqn))


async def deny(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Take a rule back; sessions that only it admitted end."""
    iqn, rule = args["target"], parse_access_rule(args["rule"])
    wanted = context.configuration.copy()
    changed = wanted.deny(iqn, rule)
    if changed:
        await context.change(wanted)
    left = ", ".join(map(str, wanted.rules(iqn))) or "nobody"
    return now(f"{iqn} admits {left}", changed)


async def list_(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Rules of one target or of all."""
    configuration = context.configuration
    names = [args["target"]] if args["target"] else [target["wwn"] for target in configuration.targets()]
    items = []
    for iqn in names:
        for rule in configuration.rules(iqn):
            place = configuration.credentials(iqn, rule.initiator_name or None)
            user = place.get("chap_userid") or configuration.credentials(iqn, None).get("chap_userid")
            items.append({"target": iqn, "rule": str(rule), "chap": user or None})
    return {"items": items}


async def set_chap(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Passwords for one initiator, for all without one of their own, or for discovery."""
    iqn, initiator = args["target"], args["initiator"]
    _check_place(args)
    _check_passwords(args, context.world.settings.chap_shortest_secret_bytes)
    wanted = context.configuration.copy()
    values = (args["user"], args["password"], args["mutual_user"] or "", args["mutual_password"] or "")
    if args["discovery"]:
        switches = place = wanted.make_fabric()
        keys, switch = DISCOVERY_KEYS, "discovery_enable_auth"
    else:
        place, keys, switch = wanted.credentials(iqn, initiator), CHAP_KEYS, "authentication"
        switches = wanted.group(iqn)["attributes"]
    place.update(zip(keys, values))
    if not switched_on(switches.get(switch)):
        switches[switch] = True if args["discovery"] else 1
    changed = wanted.root != context.configuration.root
    if changed:
        await context.change(wanted)
    who = "every initiator that asks what there is" if args["discovery"] else initiator or "every initiator"
    said = f"{who} proves to {iqn or 'the engine'} to be {args['user']} with a password"
    return now(said, changed, warnings=context.engine.warnings(iqn) if iqn else [])


def _check_place(args: dict[str, Any]) -> None:
    if args["discovery"] and (args["target"] or args["initiator"]):
        raise UsageError("--discovery is for the engine as a whole: leave target and --initiator away")
    if not args["discovery"] and not args["target"]:
        raise UsageError("name the target, or say --discovery")


def _check_passwords(args: dict[str, Any], shortest_bytes: int) -> None:
    """Raises UsageError for what the engine would not admit anybody with."""
    if bool(args["mutual_user"]) != bool(args["mutual_password"]):
        raise UsageError("--mutual-user and --mutual-password-file belong together")
    try:
        incoming = credentials(args["user"], args["password"], shortest_bytes)
        if args["mutual_user"]:
            Account(incoming, credentials(args["mutual_user"], args["mutual_password"], shortest_bytes))
    except ConfigError as error:
        raise UsageError(str(error)) from None


async def clear_chap(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Take passwords back."""
    iqn, initiator = args["target"], args["initiator"]
    _check_place(args)
    wanted = context.configuration.copy()
    if args["discovery"]:
        changed = any((wanted.fabric() or {}).get(key) for key in DISCOVERY_KEYS)
        wanted.forget_discovery()
    else:
        place, group = wanted.credentials(iqn, initiator), wanted.group(iqn)
        changed = any(place.get(key) for key in CHAP_KEYS)
        for key in CHAP_KEYS:
            place.pop(key, None)
        alone = not any(acl.get("chap_userid") for acl in (group, *group["node_acls"]))
        if alone and (changed or not initiator):  # else it asks for what nobody can have
            changed |= switched_on(group["attributes"].get("authentication"))
            group["attributes"]["authentication"] = 0
    if changed:
        await context.change(wanted)
    if args["discovery"]:
        return now("who asks what there is needs no password", changed)
    whose = f"{initiator} for no password of its own" if initiator else "initiators for no password of their own"
    return now(f"{iqn} asks {whose}", changed, warnings=context.engine.warnings(iqn))
