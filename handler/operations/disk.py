"""disk create, list, show, resize, delete: on both fronts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Optional

from tcmu_gluster.config.cfgstring import to_cfgstring
from tcmu_gluster.config.disk_shape import DiskShape
from tcmu_gluster.config.sizes import format_size, out_of_reach, why_no_disk
from tcmu_gluster.config.uri import Backing, parse_backing, size_to_make
from tcmu_gluster.control.operations import UsageError
from tcmu_gluster.errors import OperationError, TcmuGlusterError
from tcmu_gluster.scsi.identity import IDENTITY_KEYS, identity_as_recorded, identity_from
from tcmu_gluster.tcmu.device_life import DeviceState

from .. import backing_files
from ..device import Device
from ..engine_disk import EngineDisk
from ..moving import KEPT
from ..state import SERIAL, state_id_of
from ..units import trouble_of
from ..world import give_up_record, identity_of, reason_of
from .context import Context, Report, now, unsaved

log = logging.getLogger(__name__)

SETTLE_SECONDS = 60.0
"""How long a device that LIO has made may take until it serves."""
BLOCK_BYTES = 512


async def create(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Make the file if need be, find out who the data is, and let a front serve it; or leave nothing behind."""
    name, backing = args["name"], parse_backing(args["uri"])
    front = args["front"] or "engine"
    check_identity(args)
    present = describe(context, name)
    if present is not None:
        return _already(present, backing, front, args["size"])
    if front == "lio" and not context.lio:
        raise OperationError("this host has no LIO (or it is turned off in the settings); use --front engine")
    _refuse_twin(context, name, uri=str(backing))
    shape = DiskShape.chosen(args)
    size_bytes, made_file = await _make_file(context, backing, args, shape.logical_block_bytes, report)
    try:
        new = EngineDisk(name, backing, "", size_bytes or 0, args["read_only"], shape)
        disk = await _serve_new(context, new, front, args)
    except BaseException:
        if made_file:
            await _remove_quietly(context, backing)
        raise
    made = describe(context, name) or {}
    behind = out_of_reach(disk.size_bytes, shape.logical_block_bytes)
    said = f"disk {name}: {format_size(disk.size_bytes)} on {backing}, served by {FRONTS[front]}"
    return now(said, disk=made, warnings=[f"{backing}: {behind}"] if behind else [])


def check_identity(args: dict[str, Any]) -> None:
    """Raises UsageError for an identity that SCSI has no room for."""
    serial = args["serial"]
    if serial is not None and not SERIAL.fullmatch(serial):
        raise UsageError(f"{serial[:60]!r} is not a serial number: use letters, digits, '.', '_' and '-'")
    try:
        identity_as_recorded(serial or "", {key: args[key] for key in IDENTITY_KEYS})
    except ValueError as error:
        raise UsageError(str(error)) from None


async def _serve_new(context: Context, disk: EngineDisk, front: str, args: dict[str, Any]) -> EngineDisk:
    """Find out who the data is, keep a file about it, and let the front serve it."""
    backend = await context.world.open_backing(
        disk.backing,
        create_size_bytes=disk.size_bytes or None,
        read_only=disk.read_only,
        block_bytes=disk.shape.logical_block_bytes,
    )
    disk.serial = args["serial"] or identity_from(backend.identity).serial
    disk.size_bytes = backend.size_bytes
    record = {"name": disk.name, "uri": str(disk.backing), "front": front, "read_only": disk.read_only,
              "prealloc": args["prealloc"] or "off", **disk.shape.as_record()}  # fmt: skip
    identity = {key: args[key] for key in IDENTITY_KEYS if args[key]}
    record.update({"identity": identity} if identity else {}, **args.get("more", {}))
    if args["write_cache"] == "off":
        record["write_cache"] = False
    disk.record = record
    try:
        _refuse_twin(context, disk.name, serial=disk.serial)
        kept = context.world.disk_files.read(disk.serial)  # of a disk that `clear` forgot and a saved file still names
        try:
            context.world.disk_files.write(disk.serial, record)
        except OSError as error:
            raise unsaved(error) from error
        try:
            if front == "lio":
                await context.world.in_thread(backend.close)
                await create_on_lio(context, disk, save=True)
            else:
                disk.take(backend)
                await _create_on_engine(context, disk)
        except BaseException:
            if kept:
                context.world.disk_files.write(disk.serial, kept)
            else:
                context.world.disk_files.delete(disk.serial)
            raise
    except BaseException:
        if disk.name not in context.engine.disks:
            await context.world.in_thread(backend.close)
        raise
    return disk


async def _make_file(
    context: Context, backing: Backing, args: dict[str, Any], block_bytes: int, report: Report
) -> tuple[Optional[int], bool]:
    """(size to create with, whether the file is new). An existing file keeps its size."""
    wanted = args["size"]
    if backing.scheme == "memory":
        wanted = size_to_make(backing, wanted)
        if not wanted:
            raise OperationError(f"how large? Add --size, or write {backing}?size=64M")
    else:
        try:
            present = await context.world.in_thread(backing_files.size_of, backing)
        except PermissionError:
            raise OperationError(f"{backing} can't be looked at: permission denied; see the owner and mode of its "
                                 "folders, and the user this runs as") from None  # fmt: skip
        if present is not None:
            if wanted not in (None, present):
                raise OperationError(
                    f"{backing} is there already and has {format_size(present)} ({present} bytes), not "
                    f"{format_size(wanted)}; leave --size out to use it as it is"
                )
            return None, False
        if wanted is None:
            how = "add --size to make it, as in --size 20G" if args.get("can_make", True) else "make it first"
            raise OperationError(f"{backing} does not exist; {how}")
    if why_not := why_no_disk(wanted, block_bytes):
        raise OperationError(why_not)
    if args["read_only"] and backing.scheme != "memory":
        raise OperationError(f"{backing} does not exist, and a new file that is read-only would be of no use")
    if args["prealloc"] == "full" and backing.scheme != "memory":
        await _allocate(context, backing, wanted, report)
    return wanted, backing.scheme != "memory"


async def _allocate(context: Context, backing: Backing, size_bytes: int, report: Report) -> None:
    backend = await context.world.open_backing(backing, create_size_bytes=size_bytes)
    await context.world.in_thread(backend.close)

    def tell(done_bytes: int, total_bytes: int) -> None:
        progress = {"what": "allocating", "done_bytes": done_bytes, "total_bytes": total_bytes}
        context.world.loop.call_soon_threadsafe(report, progress)

    try:
        await context.world.in_thread(backing_files.allocate, backing, size_bytes, tell)
    except OSError as error:
        await _remove_quietly(context, backing)
        raise OperationError(
            f"{format_size(size_bytes)} can't be allocated on {backing}: {reason_of(error)}"
        ) from error


async def _remove_quietly(context: Context, backing: Backing) -> None:
    try:
        await context.world.in_thread(backing_files.remove, backing)
    except (OSError, TcmuGlusterError) as error:
        log.error("%s was made and could not be removed again: %s", backing, reason_of(error))


def _refuse_twin(context: Context, name: str, *, uri: str = "", serial: str = "") -> None:
    """Two disks on one file would overwrite each other's data."""
    for other in _all(context):
        if other["name"] != name and (other["uri"] == uri or (serial and other["serial"] == serial)):
            raise OperationError(f"that file is disk {other['name']} already; map that one, or choose another file")


async def _create_on_engine(context: Context, disk: EngineDisk) -> None:
    wanted = context.configuration.copy()
    config = to_cfgstring(disk.backing, state_id_of(disk.serial))
    wanted.add_disk(disk.name, config, disk.size_bytes, disk.serial, disk.shape.logical_block_bytes)
    wanted.set_write_cache(disk.name, disk.record.get("write_cache") is not False)
    context.engine.adopt(disk)
    try:
        await context.change(wanted)
    except BaseException:
        if disk.name in context.engine.disks:
            await context.engine.close_disk(disk.name)
        raise


async def create_on_lio(
    context: Context, disk: EngineDisk, kept: Optional[Mapping[str, Any]] = None, *, save: bool = False
) -> None:
    """Let LIO make its device and wait until we serve it; or leave nothing.

    kept: what LIO had for it before. save: in LIO's saved configuration too.
    """
    settings, block_bytes = context.world.settings, disk.shape.logical_block_bytes
    request = {
        "do": "create",
        "name": disk.name,
        "config": to_cfgstring(disk.backing, state_id_of(disk.serial)),
        "size_bytes": disk.size_bytes - disk.size_bytes % block_bytes,
        "serial": disk.serial,
        "block_bytes": block_bytes,
        "write_cache": disk.record.get("write_cache"),
        "cmd_time_out_seconds": settings.lio_cmd_time_out_seconds,
        "kept": {key: kept[key] for key in KEPT if key in kept} if kept else {},
        "save": save,
    }
    context.devices.listen()
    await context.world.ask_lio(request)
    device = await context.devices.wait_for(disk.name, SETTLE_SECONDS)
    if device is not None and device.state is DeviceState.SERVING:
        return
    reason = "the kernel did not announce it" if device is None else device.reason or device.state.value
    await context.world.ask_lio({"do": "delete", "name": disk.name, "save": save})
    raise OperationError(f"disk {disk.name} was taken away again, because it can't be served: {reason}")


def _already(present: dict[str, Any], backing: Backing, front: str, size_bytes: Optional[int]) -> dict[str, Any]:
    same = present["uri"] == str(backing) and present["front"] == front
    if same and size_bytes in (None, present["size_bytes"]):
        return now(f"disk {present['name']} is {backing}, served by {FRONTS[front]}", False, disk=present)
    size = format_size(present["size_bytes"])
    raise OperationError(
        f"there is a disk {present['name']} already ({present['uri']}, {size}, {FRONTS[present['front']]}); "
        "choose another name"
    )


FRONTS = {"lio": "LIO", "engine": "the engine"}
"""How sentences name them."""


# -- looking ----------------------------------------------------------------------------------------------------------


def _engine_facts(context: Context, disk: EngineDisk) -> dict[str, Any]:
    unknown = disk.backing.name == "unknown" and disk.unit is None
    return {"name": disk.name, "front": "engine", "size_bytes": disk.size_bytes, "state": disk.state,
            "uri": "" if unknown else str(disk.backing), "serial": disk.serial}  # fmt: skip


def _lio_facts(device: Device) -> dict[str, Any]:
    state = {DeviceState.SERVING: "online", DeviceState.FAILED: f"waiting: {device.reason}"}
    return {"name": device.name, "front": "lio", "size_bytes": device.size_bytes,
            "state": state.get(device.state, device.state.value),
            "uri": str(device.backing) if device.backing else device.uio.config, "serial": device.serial}  # fmt: skip


def _all(context: Context) -> list[dict[str, Any]]:
    facts = [_engine_facts(context, disk) for disk in context.engine.disks.values()]
    facts += map(_lio_facts, context.devices.devices.values())
    return sorted(facts, key=lambda one: str(one["name"]))


def describe(context: Context, name: str) -> Optional[dict[str, Any]]:
    """What `disk list` shows of a disk, or None."""
    return next((one for one in _all(context) if one["name"] == name), None)


def find(context: Context, name: str) -> dict[str, Any]:
    """The same. Raises OperationError if there is no such disk."""
    found = describe(context, name)
    if found is None:
        raise OperationError(f"there is no disk {name!r}; `tcmu-gluster disk list` shows what there is")
    return found


async def list_(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Every disk of both fronts."""
    return {"items": _all(context)}


async def show(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """All about one disk."""
    facts = find(context, args["name"])
    if facts["serial"]:
        identity = identity_of(facts["serial"], context.world.disk_files.read(facts["serial"]))
        facts["naa"] = identity.naa_text
        facts.update(vendor=identity.vendor, product=identity.product, revision=identity.revision)
    device = context.devices.find(args["name"]) if facts["front"] == "lio" else None
    served = device if device is not None else context.engine.disks.get(args["name"])
    backend = served.backend if served is not None else None
    if backend is not None and backend.lease is not None:
        facts["lease"] = backend.lease.describe()
    if served is not None and served.unit is not None and served.unit.trouble:
        facts["trouble"] = trouble_of(served.unit, args["name"])
    if device is not None:
        facts["device"] = str(device.uio)
        facts["config"] = device.uio.config
        if device.front is not None:
            facts["commands"] = device.front.ring.fetched
            facts["outstanding"] = device.front.outstanding
    else:
        facts["shown_by"] = [
            f"{target['wwn']} LUN {lun}"
            for target in context.configuration.targets()
            for lun, disk in context.configuration.luns(target["wwn"]).items()
            if disk == args["name"]
        ]
    return facts


# -- changing ---------------------------------------------------------------------------------------------------------


async def resize(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """The file first when it grows, the fronts first when it shrinks."""
    name, size_bytes = args["name"], args["size"]
    facts = find(context, name)
    before = facts["size_bytes"]
    if size_bytes == before:
        return now(f"disk {name} has {format_size(before)}", False, disk=facts)
    served = context.engine.disks.get(name) or context.devices.find(name)
    block_bytes = served.unit.block_size_bytes if served is not None and served.unit is not None else BLOCK_BYTES
    if why_not := why_no_disk(size_bytes, block_bytes):
        raise OperationError(why_not)
    if size_bytes < before and not args["force"]:
        raise OperationError(
            f"disk {name} has {format_size(before)}; making it {format_size(size_bytes)} would lose what lies beyond; "
            "if that is meant, add --force"
        )
    if facts["state"] != "online":
        raise OperationError(f"disk {name} is not online ({facts['state']}); its size can't be changed now")
    backing = parse_backing(facts["uri"])
    set_front = _resize_lio if facts["front"] == "lio" else _resize_engine
    if size_bytes > before:
        real = await context.world.in_thread(backing_files.size_of, backing)
        if real is None or real < size_bytes:
            await _resize_file(context, backing, size_bytes)
        await set_front(context, name, size_bytes)
    else:
        await set_front(context, name, size_bytes)
        await _resize_file(context, backing, size_bytes)
        if served is not None and served.backend is not None:
            await context.world.in_thread(served.backend.refresh_size)
    return now(
        f"disk {name} has {format_size(size_bytes)} now, {format_size(before)} before", disk=describe(context, name)
    )


async def _resize_file(context: Context, backing: Backing, size_bytes: int) -> None:
    try:
        await context.world.in_thread(backing_files.resize, backing, size_bytes)
    except OSError as error:
        raise OperationError(f"{backing} can't have {format_size(size_bytes)}: {reason_of(error)}") from error


async def _resize_lio(context: Context, name: str, size_bytes: int) -> None:
    device = context.devices.find(name)
    await context.world.ask_lio({"do": "resize", "name": name, "size_bytes": size_bytes, "save": True})
    if device is not None:  # the kernel has announced it too; whoever comes first, the second finds it done
        await device.resize(size_bytes)


async def _resize_engine(context: Context, name: str, size_bytes: int) -> None:
    disk = context.engine.disks[name]
    unit, backend = disk.unit, disk.backend
    assert unit is not None and backend is not None
    wanted = context.configuration.copy()
    wanted.disk(name)["size"] = size_bytes
    await context.world.in_thread(backend.refresh_size)
    await context.change(wanted)
    disk.size_bytes = size_bytes
    unit.capacity_changed()
    unit.blocks = size_bytes // unit.block_size_bytes


async def reset_record(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Give up what a damaged record beside a disk kept: an empty one takes its place."""
    name = args["name"]
    facts = find(context, name)
    served = context.engine.disks.get(name) or context.devices.find(name)
    unit = served.unit if served is not None else None
    if unit is None:
        raise OperationError(f"disk {name} is not served now ({facts['state']}), so its record is not known")
    if not unit.trouble:
        return now(f"nothing is wrong with the record beside disk {name}", False)
    if not args["confirm"]:
        raise OperationError(
            f"{unit.trouble}; giving them up lets hosts write that others had fenced; add --confirm if that is meant"
        )
    try:
        await give_up_record(context.world, unit)
    except OSError as error:
        raise OperationError(f"the record beside disk {name} can't be replaced: {reason_of(error)}") from error
    log.warning("disk %s: its damaged record was given up", name)
    return now(f"disk {name} has no reservations and no saved pages, and hosts may use it")


async def delete(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Take it from its front, then delete the file."""
    name = args["name"]
    facts = describe(context, name)
    if facts is None:
        return now(f"there is no disk {name}", False)
    await take_away(context, facts, save=True)
    if facts["serial"]:
        context.world.disk_files.delete(facts["serial"])
    if facts["uri"].startswith("memory:"):
        return now(f"disk {name} is gone")
    if args["keep_file"] or not facts["uri"]:
        return now(f"disk {name} is gone; its file stays: {facts['uri']}")
    try:
        await context.world.in_thread(backing_files.remove, parse_backing(facts["uri"]))
    except (OSError, TcmuGlusterError) as error:
        raise OperationError(
            f"disk {name} is gone, but its file {facts['uri']} could not be deleted: {reason_of(error)}"
        ) from error
    return now(f"disk {name} is gone, and its file {facts['uri']} too")


async def take_away(context: Context, facts: dict[str, Any], *, save: bool = False) -> None:
    """From its front, with its file left alone; from LIO's saved configuration if save says so.

    Raises OperationError while a target shows it.
    """
    name = facts["name"]
    if facts["front"] == "lio":
        await context.world.ask_lio({"do": "delete", "name": name, "save": save})
        context.devices.rescan()
        if not await context.devices.wait_until_gone(name, SETTLE_SECONDS):
            raise OperationError(f"LIO has let disk {name} go, but storage still holds commands of it; try again later")
        return
    wanted = context.configuration.copy()
    wanted.remove_disk(name)
    await context.change(wanted)
