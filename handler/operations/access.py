"""acl and chap: who may log in to a target."""

from __future__ import annotations

from typing import Any

from tcmu_gluster.config.addresses import RuleKind, parse_access_rule
from tcmu_gluster.control.operations import UsageError

from .context import Context, Report, now

CHAP_KEYS = ("chap_userid", "chap_password", "chap_mutual_userid", "chap_mutual_password")
"""rtslib's names, at an ACL or at the portal group."""


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
    """Passwords for one initiator, or for all without one of their own."""
    iqn, initiator = args["target"], args["initiator"]
    if bool(args["mutual_user"]) != bool(args["mutual_password"]):
        raise UsageError("--mutual-user and --mutual-password-file belong together")
    for password in (args["password"], args["mutual_password"]):
        if password is not None and not 12 <= len(password.encode()) <= 255:
            raise UsageError(
                "a CHAP password has at least 12 characters (RFC 7143 12.1.3); most initiators take up to 16"
            )
    if args["mutual_password"] is not None and args["mutual_password"] == args["password"]:
        raise UsageError("the two passwords must differ (RFC 7143 12.1.3)")
    wanted = context.configuration.copy()
    values = (args["user"], args["password"], args["mutual_user"] or "", args["mutual_password"] or "")
    place = wanted.credentials(iqn, initiator)
    changed = tuple(place.get(key, "") for key in CHAP_KEYS) != values
    place.update(zip(CHAP_KEYS, values))
    wanted.group(iqn)["attributes"]["authentication"] = 1
    if changed:
        await context.change(wanted)
    said = f"{initiator or 'every initiator'} proves to {iqn} to be {args['user']} with a password"
    return now(said, changed, warnings=context.engine.warnings(iqn))


async def clear_chap(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Take passwords back."""
    iqn, initiator = args["target"], args["initiator"]
    wanted = context.configuration.copy()
    place = wanted.credentials(iqn, initiator)
    changed = any(place.get(key) for key in CHAP_KEYS)
    for key in CHAP_KEYS:
        place.pop(key, None)
    group = wanted.group(iqn)
    if not any(acl.get("chap_userid") for acl in (group, *group["node_acls"])):
        group["attributes"]["authentication"] = 0
    if changed:
        await context.change(wanted)
    return now(
        f"{iqn} asks {initiator or 'initiators'} for no password of {'its' if initiator else 'their'} own", changed
    )
