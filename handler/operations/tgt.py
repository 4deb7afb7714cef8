"""What tgtadm has words for and the rest of us has not: accounts apart from targets, portals of all, LUNs of files.

Kept in the state under what is ours: {"portals": ["ADDRESS:PORT", ...], "accounts": {user: password}}.
"""

from __future__ import annotations

import re
from typing import Any, Optional

from tcmu_gluster.config.addresses import parse_portal
from tcmu_gluster.config.uri import Backing, parse_backing
from tcmu_gluster.control.operations import UsageError
from tcmu_gluster.errors import ConfigError, OperationError
from tcmu_gluster.iscsi.chap import credentials
from tcmu_gluster.iscsi.settings import Settings
from tcmu_gluster.scsi.identity import IDENTITY_KEYS

from ..accounts import CHAP_KEYS
from ..configuration import OURS, Configuration
from ..engine import peer_of
from ..engine_disk import EngineDisk
from ..portal_group import is_enabled
from ..world import identity_of
from . import disk, target
from .context import Context, Report, now

MADE_BY = "tgtadm"
HOW_MADE = ("serial", *IDENTITY_KEYS, "write_cache", "block_size", "read_only")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")


# -- looking ----------------------------------------------------------------------------------------------------------


async def show(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Targets in the order of their tids, accounts, portals: at one instant."""
    configuration = context.configuration
    numbers = sorted(configuration.number_targets().items(), key=lambda entry: entry[1])
    listening = {str(portal) for iqn, _ in numbers for portal in configuration.portals(iqn)}
    return {
        "targets": [_target_facts(context, iqn, tid) for iqn, tid in numbers],
        "accounts": sorted(accounts(configuration)),
        "portals": sorted(listening | set(configuration.common_portals())),
    }


def _target_facts(context: Context, iqn: str, tid: int) -> dict[str, Any]:
    configuration = context.configuration
    group = configuration.group(iqn)
    users = {entry.get("chap_userid") for entry in (group, *group["node_acls"])} - {None, ""}
    outgoing = {entry.get("chap_mutual_userid") for entry in (group, *group["node_acls"])} - {None, ""}
    return {
        "tid": tid,
        "target": iqn,
        "enabled": is_enabled(group),
        "luns": [_lun_facts(context, lun, name) for lun, name in sorted(configuration.luns(iqn).items())],
        "users": sorted(users),
        "outgoing": sorted(outgoing),
        "rules": [str(rule) for rule in configuration.rules(iqn)],
        "sessions": [
            {"id": session.tsih, "initiator": session.initiator_name, "alias": session.initiator_alias or "",
             "connections": sorted(session.connections), "address": peer_of(session)}
            for session in context.engine.sessions() if session.target_name == iqn
        ],
        "parameters": _parameters(context.engine.front.settings),
    }  # fmt: skip


def _parameters(settings: Settings) -> dict[str, Any]:
    """What the engine offers at login, in tgt's words and order; it is the same for all targets."""
    return {
        "nop_interval": int(settings.ping_seconds),
        "nop_count": 1,
        "MaxRecvDataSegmentLength": settings.max_recv_data_segment_bytes,
        "HeaderDigest": ",".join(settings.header_digests),
        "DataDigest": ",".join(settings.data_digests),
        "InitialR2T": "Yes" if settings.initial_r2t else "No",
        "MaxOutstandingR2T": settings.max_outstanding_r2t,
        "ImmediateData": "Yes" if settings.immediate_data else "No",
        "FirstBurstLength": settings.first_burst_bytes,
        "MaxBurstLength": settings.max_burst_bytes,
        "DataPDUInOrder": "Yes",
        "DataSequenceInOrder": "Yes",
        "ErrorRecoveryLevel": settings.error_recovery_level,
        "IFMarker": "No",
        "OFMarker": "No",
        "DefaultTime2Wait": settings.default_time2wait,
        "DefaultTime2Retain": settings.default_time2retain,
        "OFMarkInt": "Reject",
        "IFMarkInt": "Reject",
        "MaxConnections": settings.max_connections,
        "MaxQueueCmd": settings.window,
    }


def _lun_facts(context: Context, lun: int, name: str) -> dict[str, Any]:
    disk_ = context.engine.disks.get(name)
    if disk_ is None:
        return {"lun": lun, "disk": name, "online": False}
    unit = disk_.unit
    identity = unit.identity if unit is not None else identity_of(disk_.serial, disk_.record)
    return {
        "lun": lun,
        "disk": name,
        "uri": str(disk_.backing),
        "online": unit is not None,
        "reason": disk_.reason,
        "size_bytes": disk_.size_bytes,
        "block_bytes": unit.block_size_bytes if unit is not None else 512,
        "read_only": disk_.read_only,
        "thin": unit is not None and unit.thin,
        "serial": (identity.unit_serial or disk_.serial).strip(),
        "unit_serial": identity.unit_serial,
        "vendor": identity.vendor,
        "naa": identity.naa_text,
        "scsi_id": identity.t10_designator.decode("ascii"),
    }


# -- LUNs -------------------------------------------------------------------------------------------------------------


async def add(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """A disk of the file, if none is there, and the disk as that LUN; or nothing."""
    iqn, lun, backing = args["target"], args["lun"], parse_backing(args["uri"])
    present = context.configuration.luns(iqn).get(lun)
    found = _disk_of(context, backing)
    if present is not None:
        same = found is not None and found.name == present
        if not same:
            raise OperationError(f"LUN {lun} of {iqn} is disk {present} already")
        return now(f"{backing} is LUN {lun} of {iqn}", False, disk=present)
    name = found.name if found is not None else free_name(context, backing)
    if found is None:
        made = {"name": name, "uri": str(backing), "size": None, "prealloc": None, "front": "engine",
                "provisioning": None, "removable": False, "background_rate": None, "can_make": False,
                "more": {"made_by": MADE_BY}}  # fmt: skip
        await disk.create(context, {**{key: args[key] for key in HOW_MADE}, **made}, report)
    try:
        wanted = {"target": iqn, "disk": name, "lun": lun, "initiator": None, "read_only": False}
        await target.map_lun(context, wanted, report)
    except BaseException:
        if found is None:
            await disk.delete(context, {"name": name, "keep_file": True}, report)
        raise
    return now(f"{backing} is LUN {lun} of {iqn}", disk=name)


def _disk_of(context: Context, backing: Backing) -> Optional[EngineDisk]:
    return next((one for one in context.engine.disks.values() if str(one.backing) == str(backing)), None)


def free_name(context: Context, backing: Backing) -> str:
    """disk3 of /mnt/disk3; disk3-2 if there is another disk3."""
    stem = _NOT_IN_A_NAME.sub("-", backing.short_name).strip("-._")[:56] or "disk"
    taken = {*context.engine.disks, *(device.name for device in context.devices.devices.values())}
    names = [stem, *(f"{stem}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)


async def update(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """The disk is opened again under its new name; so nobody may be logged in."""
    iqn, lun = args["target"], args["lun"]
    name = context.configuration.luns(iqn).get(lun)
    found = context.engine.disks.get(name or "")
    if found is None or not found.serial:
        raise OperationError(f"{iqn} has no LUN {lun} whose disk can be changed")
    disk.check_identity(args)
    showing = {one["wwn"] for one in context.configuration.targets()
               if any(context.configuration.luns_of_disk(one, found.name))}  # fmt: skip
    if any(session.target_name in showing for session in context.engine.sessions()):
        raise OperationError(f"this target is still active: log out of {', '.join(sorted(showing))} first")
    files, before = context.world.disk_files, found.serial
    record = files.read(before)
    if args["write_cache"] == "off":
        record["write_cache"] = False
    identity = {**(record.get("identity") or {}), **{key: args[key] for key in IDENTITY_KEYS if args[key]}}
    if args["serial"] and not args["unit_serial"]:  # what was shown before would hide it
        identity.pop("unit_serial", None)
    record.update({"identity": identity} if identity or record.get("identity") else {})
    if args["write_cache"] == "on":
        record.pop("write_cache", None)
    if args["read_only"]:
        record["read_only"] = args["read_only"] == "yes"
    serial = args["serial"] or before
    kept = files.read(before)
    cache_is_so = args["write_cache"] is None or found.write_cache is (args["write_cache"] == "on")
    if serial == before and record == kept and cache_is_so:
        return now(f"LUN {lun} of {iqn} is so", False, disk=name)
    if serial != before and files.read(serial):
        raise OperationError(f"another disk has the serial {serial}")
    wanted = context.configuration.copy()
    wanted.disk(found.name)["wwn"] = serial
    if args["write_cache"]:
        wanted.set_write_cache(found.name, args["write_cache"] == "on")
    files.write(serial, record)
    try:
        await context.engine.close_disk(found.name)
        await context.change(wanted)
    except BaseException:
        if serial != before:
            files.delete(serial)
        files.write(before, kept)
        await context.engine.close_disk(found.name) if found.name in context.engine.disks else None
        await context.engine.apply(context.configuration, strict=False)
        raise
    if serial != before:
        files.delete(before)
    return now(f"LUN {lun} of {iqn} is shown as asked", disk=name)


async def remove(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """The LUN goes; so does a disk that only it showed and add() made. The file stays."""
    iqn, lun = args["target"], args["lun"]
    name = context.configuration.luns(iqn).get(lun)
    if name is None:
        return now(f"{iqn} has no LUN {lun}", False)
    wanted = context.configuration.copy()
    wanted.unmap_lun(iqn, lun, None)
    found = context.engine.disks.get(name)
    shown = any(True for one in wanted.targets() for _ in wanted.luns_of_disk(one, name))
    forget = found is not None and found.record.get("made_by") == MADE_BY and not shown
    if forget:
        wanted.remove_disk(name)
    await context.change(wanted)
    if forget and found is not None and found.serial:
        context.world.disk_files.delete(found.serial)
    return now(f"{iqn} has no LUN {lun} any more; its file stays", disk=name)


# -- accounts ---------------------------------------------------------------------------------------------------------


def accounts(configuration: Configuration) -> dict[str, str]:
    """user -> password of the accounts that tgtadm's users have made."""
    kept = configuration.root[OURS].setdefault("accounts", {})
    return kept if isinstance(kept, dict) else {}


async def account(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Remember one, or forget it everywhere."""
    user, password = args["user"], args["password"]
    wanted = context.configuration.copy()
    kept = accounts(wanted)
    if args["forget"]:
        if user not in kept:
            return now(f"there is no account {user}", False)
        del kept[user]
        for one in wanted.targets():
            _unbind(wanted, one["wwn"], user, outgoing=False)
            _unbind(wanted, one["wwn"], user, outgoing=True)
        await context.change(wanted)
        return now(f"the account {user} is forgotten")
    if not password:
        raise UsageError("an account has a password")
    try:
        credentials(user, password, context.world.settings.chap_shortest_secret_bytes)
    except ConfigError as error:
        raise UsageError(str(error)) from None
    if user in kept:
        if kept[user] != password:
            raise OperationError(f"there is an account {user} already, with another password")
        return now(f"there is an account {user}", False)
    kept[user] = password
    await context.change(wanted)
    return now(f"there is an account {user}; no target asks for it yet")


async def bind(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """The target asks for it (or proves itself with it: outgoing)."""
    iqn, user, outgoing = args["target"], args["user"], args["outgoing"]
    wanted = context.configuration.copy()
    kept, group = accounts(wanted), wanted.group(iqn)
    user_key, password_key = CHAP_KEYS[2:] if outgoing else CHAP_KEYS[:2]
    if args["undo"]:
        if not _unbind(wanted, iqn, user, outgoing=outgoing):
            return now(f"{iqn} does not ask for {user}", False)
        await context.change(wanted)
        return now(f"{iqn} does not ask for {user} any more", warnings=context.engine.warnings(iqn))
    if user not in kept:
        raise OperationError(f"there is no account {user}")
    present = group.get(user_key)
    if present == user:
        return now(f"{iqn} asks for {user}", False)
    if present:
        raise OperationError(f"{iqn} asks for {present} already; it takes one account a direction for all initiators "
                             "(one initiator can have its own: tcmu-gluster chap set --initiator)")  # fmt: skip
    group.update({user_key: user, password_key: kept[user]})
    if not outgoing:
        group["attributes"]["authentication"] = 1
    await context.change(wanted)
    return now(f"{iqn} {'proves itself as' if outgoing else 'asks for'} {user}", warnings=context.engine.warnings(iqn))


def _unbind(wanted: Configuration, iqn: str, user: str, *, outgoing: bool) -> bool:
    group = wanted.group(iqn)
    user_key, password_key = CHAP_KEYS[2:] if outgoing else CHAP_KEYS[:2]
    if group.get(user_key) != user:
        return False
    for key in (user_key, password_key):
        group.pop(key, None)
    if not any(place.get("chap_userid") for place in (group, *group["node_acls"])):
        group["attributes"]["authentication"] = 0
    return True


# -- portals ----------------------------------------------------------------------------------------------------------


async def portal(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Every target listens there, and those that come later too; or no target does."""
    where = parse_portal(args["portal"])
    wanted = context.configuration.copy()
    common = wanted.common_portals()
    names = [one["wwn"] for one in wanted.targets()]
    if args["undo"]:
        changed = str(where) in common
        wanted.root[OURS]["portals"] = [text for text in common if text != str(where)]
        changed |= [wanted.remove_portal(iqn, where) for iqn in names].count(True) > 0
    else:
        changed = str(where) not in common
        wanted.root[OURS]["portals"] = list(dict.fromkeys([*common, str(where)]))
        changed |= [wanted.add_portal(iqn, where) for iqn in names].count(True) > 0
    if changed:
        await context.change(wanted)
    return now(f"{'no' if args['undo'] else 'every'} target listens on {where}", changed)
