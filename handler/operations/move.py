"""disk move: the same file, serial, NAA, LUNs, rules and passwords behind the other front.

The order is so that a disk is never served by both: sessions end and files are closed here before the other front opens
them there. What was begun is undone, last thing first, if a later step is refused. The state file says "engine" until
LIO has everything, and again before LIO gives anything up; it also says that a move is under way, for a daemon that
starts after a crash (interrupted.py).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Optional

from tcmu_gluster.backends.base import Backend
from tcmu_gluster.config.cfgstring import to_cfgstring
from tcmu_gluster.config.disk_shape import DiskShape
from tcmu_gluster.config.uri import parse_backing
from tcmu_gluster.errors import OperationError, TcmuGlusterError
from tcmu_gluster.scsi.logical_unit import LogicalUnit

from .. import moving
from ..configuration import Configuration, Object
from ..engine_disk import EngineDisk
from ..lio_targets import portals_of
from ..state import state_id_of
from ..world import reason_of
from . import disk, interrupted
from .context import Context, Report, now

log = logging.getLogger(__name__)

Undo = list[Callable[[], Awaitable[Any]]]


@dataclass
class Mover:
    """A disk on its way: as the engine would have it, and what our file says of it from then on."""

    disk: EngineDisk
    facts: dict[str, Any]
    keeps_memory: Optional[Backend] = None
    """The bytes of memory: live as long as somebody has them open."""


async def move(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Also what can't stay behind: its targets, their other disks, whoever shares their portals (--together)."""
    name, to = args["name"], args["to"]
    facts = disk.find(context, name)
    if facts["front"] == to:
        return now(f"disk {name} is served by {disk.FRONTS[to]}", False, disk=facts)
    if not context.lio:
        raise OperationError("this host has no LIO (or it is turned off in the settings)")
    report({"what": f"moving disk {name}", "done": 0, "total": 1})
    mover = _to_lio if to == "lio" else _to_engine
    company, warnings = await mover(context, name, args["together"])
    others = [*sorted(company.disks - {name}), *sorted(company.targets)]
    more = f"; with it moved {', '.join(others)}" if others else ""
    sentence = f"disk {name} is served by {disk.FRONTS[to]}, with the serial {facts['serial']} as before{more}"
    return now(sentence, disk=disk.describe(context, name), warnings=warnings)


# -- to LIO -----------------------------------------------------------------------------------------------------------


async def _to_lio(context: Context, name: str, together: bool) -> tuple[moving.Company, list[str]]:
    before = context.configuration
    shortest = context.world.settings.chap_shortest_secret_bytes
    company = moving.company_of(name, before.targets())
    moving.agree(name, company, together)
    targets = [moving.for_lio(before, iqn, shortest) for iqn in sorted(company.targets)]
    movers = [_leaving(context, one) for one in sorted(company.disks)]
    survey = await context.world.ask_lio({"do": "survey"}) if targets else {"targets": [], "discovery": {}}
    _refuse_taken(company, {target["wwn"] for target in survey["targets"]})
    discovery: Object = {}
    warnings: list[str] = []
    if targets:
        moving.check_discovery(before, shortest)
        discovery, warnings = moving.carry_discovery(
            before.fabric() or {}, survey["discovery"], alone=not survey["targets"]
        )
    entries = {one: dict(before.disk(one)) for one in company.disks}
    wanted = before.copy()
    moving.leave(wanted, company)
    async with _whole_or_not(context, before, movers) as undo:
        _mark(context, before, company, movers, survey["discovery"] if discovery else {})
        undo.append(lambda: context.engine.apply(before, strict=False))
        await context.engine.apply(wanted)
        for mover in movers:
            await disk.create_on_lio(context, mover.disk, entries[mover.disk.name])
            undo.append(partial(disk.take_away, context, {**mover.facts, "front": "lio"}))
        for number, target in enumerate(targets):
            asked = discovery if number == 0 else {}
            gone = {"do": "take", "wwns": [target["wwn"]], "discovery": survey["discovery"] if asked else {}}
            undo.append(partial(context.world.ask_lio, gone))
            silent = moving.without_portals(target)
            made = await context.world.ask_lio({"do": "put", "targets": [silent], "discovery": asked})
            warnings += made["complaints"]
        if targets:
            await context.world.ask_lio(_listen(targets))
        _record(context, movers, "lio", undo)
        await _remember(context, company, undo)
        _save(context, wanted.root)
    return company, warnings


def _refuse_taken(company: moving.Company, there: set[str]) -> None:
    for iqn in sorted(company.targets & there):
        raise OperationError(f"LIO has a target {iqn} already; delete one of them first")


# -- to the engine ----------------------------------------------------------------------------------------------------


async def _to_engine(context: Context, name: str, together: bool) -> tuple[moving.Company, list[str]]:
    before = context.configuration
    survey = await context.world.ask_lio({"do": "survey"})
    company = moving.company_of(name, survey["targets"])
    _refuse_foreign(company, survey)
    moving.agree(name, company, together)
    movers = [_leaving(context, one) for one in sorted(company.disks)]
    dumps = [target for target in survey["targets"] if target["wwn"] in company.targets]
    described = await context.world.ask_lio({"do": "describe", "names": sorted(company.disks)})
    objects = {one["name"]: one for one in described["objects"]}
    wanted = before.copy()
    for mover in movers:
        dump = objects[mover.disk.name]
        if dump["registered"]:
            raise OperationError(_RESERVED.format(mover.disk.name))
        config = to_cfgstring(mover.disk.backing, state_id_of(mover.disk.serial))
        moving.disk_entry(wanted, config, {**dump, "wwn": mover.disk.serial})
        wanted.set_write_cache(mover.disk.name, mover.disk.write_cache)
    moving.enter(wanted, map(moving.for_engine, dumps))
    warnings = _carry_discovery_home(wanted, survey, company) if dumps else []
    async with _whole_or_not(context, before, movers) as undo:
        _record(context, movers, "engine", undo)
        _mark(context, wanted, company, movers, {})
        if dumps:
            undo.append(lambda: context.world.ask_lio(_listen(dumps)))
            await context.world.ask_lio(_listen(map(moving.without_portals, dumps)))
        for dump in dumps:
            again = {"do": "put", "targets": [moving.without_portals(dump)], "again": True}
            undo.append(partial(context.world.ask_lio, again))
            await context.world.ask_lio({"do": "take", "wwns": [dump["wwn"]]})
        for mover in movers:
            undo.append(partial(_again_on_lio, context, mover, objects[mover.disk.name]))
            await disk.take_away(context, mover.facts)
        undo.append(lambda: context.engine.apply(before, strict=False))
        await _open_on_engine(context, movers, wanted)
        await _remember(context, company, undo)
        _save(context, wanted.root)
    return company, warnings


async def _open_on_engine(context: Context, movers: list[Mover], wanted: Configuration) -> None:
    """All files first: between adopt() and apply() nothing may wait, or a retry would drop what isn't configured."""
    opened: list[Backend] = []
    try:
        for one in (mover.disk for mover in movers):
            size = one.size_bytes if one.backing.scheme == "memory" else None
            opened.append(
                await context.world.open_backing(one.backing, create_size_bytes=size, read_only=one.read_only)
            )
    except BaseException as error:
        for backend in opened:
            await context.world.in_thread(backend.close)
        if isinstance(error, OSError):
            raise OperationError(f"nothing was moved: {one.backing} can't be opened: {reason_of(error)}") from error
        raise
    for mover, backend in zip(movers, opened):
        mover.disk.take(backend)
        context.engine.adopt(mover.disk)
    await context.engine.apply(wanted)


async def _again_on_lio(context: Context, mover: Mover, dump: Object) -> None:
    if context.devices.find(mover.disk.name) is None:
        await disk.create_on_lio(context, mover.disk, dump)


def _refuse_foreign(company: moving.Company, survey: dict[str, Any]) -> None:
    for path in sorted(company.foreign):
        raise OperationError(
            f"{path} would have to move too, and only disks of ours can; take it out of its target first"
        )
    for name in sorted(company.disks):
        where = survey["elsewhere"].get(moving.path_of(name))
        if where is not None:
            raise OperationError(f"disk {name} is also a LUN of {where}, and the engine speaks iSCSI only; "
                                 "take it away there first (targetcli)")  # fmt: skip


def _carry_discovery_home(wanted: Configuration, survey: dict[str, Any], company: moving.Company) -> list[str]:
    alone = {target["wwn"] for target in wanted.targets()} <= company.targets
    discovery, warnings = moving.carry_discovery(survey["discovery"], wanted.fabric() or {}, alone)
    if discovery:
        wanted.make_fabric().update(discovery)
    return warnings


# -- both ways --------------------------------------------------------------------------------------------------------

_RESERVED = (
    "hosts have registered for persistent reservations of disk {}, and these can't move; "
    "end what uses them there first (sg_persist --out --clear)"
)


def _leaving(context: Context, name: str) -> Mover:
    """A disk as it is served now. Raises OperationError for one that can't move."""
    facts = disk.find(context, name)
    served = context.engine.disks.get(name) if facts["front"] == "engine" else context.devices.find(name)
    unit = served.unit if served is not None else None
    if served is None or unit is None or served.backend is None or facts["state"] != "online":
        raise OperationError(f"disk {name} is not online ({facts['state']}); it can move when it is")
    if facts["front"] == "engine" and (unit.reserved.held or unit.reserved.state.keys):
        raise OperationError(_RESERVED.format(name))
    if served.backend.size_bytes != facts["size_bytes"]:
        raise OperationError(
            f"disk {name} is shown with {facts['size_bytes']} bytes, but {facts['uri']} has "
            f"{served.backend.size_bytes}; hosts would see another size: first tcmu-gluster disk resize {name}"
        )
    record = _record_of(context, facts, unit)
    one = EngineDisk(name, parse_backing(facts["uri"]), facts["serial"], facts["size_bytes"],
                     bool(record["read_only"]), DiskShape.chosen(record), record)  # fmt: skip
    return Mover(one, facts)


def _record_of(context: Context, facts: dict[str, Any], unit: LogicalUnit) -> dict[str, Any]:
    """Our file about the disk, with what is so now: LIO has switches of its own for the cache and the block size."""
    record = context.world.disk_files.read(facts["serial"])
    record.update(name=facts["name"], uri=facts["uri"], read_only=bool(record.get("read_only")))
    if DiskShape.chosen(record).logical_block_bytes != unit.block_size_bytes:
        record["block_size"] = str(unit.block_size_bytes)
    record.pop("write_cache", None)
    if not unit.modes.value(0x08, "wce"):
        record["write_cache"] = False
    return record


def _record(context: Context, movers: list[Mover], front: str, undo: Undo) -> None:
    """Our file about each disk; what stood there before comes back with undo."""
    files = context.world.disk_files
    for serial, record in ((mover.disk.serial, mover.disk.record) for mover in movers):
        before = files.read(serial)
        put_back = partial(files.write, serial, before) if before else partial(files.delete, serial)
        undo.append(partial(_as_coroutine, put_back))
        files.write(serial, {**record, "front": front})


def _mark(
    context: Context, engine: Configuration, company: moving.Company, movers: list[Mover], discovery: Object
) -> None:
    """From here on a daemon that starts gives all of it to the engine."""
    serials = {mover.disk.name: mover.disk.serial for mover in movers}
    _save(context, interrupted.marked(engine, company, serials, discovery))


def _listen(targets: Iterable[Object]) -> dict[str, Any]:
    return {"do": "listen", "portals": {target["wwn"]: portals_of(target) for target in targets}}


def _save(context: Context, root: Object) -> None:
    try:
        context.state.save(root)
    except OSError as error:
        raise OperationError(f"nothing was changed: the state can't be saved ({reason_of(error)})") from error


async def _hold_memory(context: Context, movers: list[Mover]) -> None:
    for mover in movers:
        if mover.disk.backing.scheme == "memory":
            mover.keeps_memory = await context.world.open_backing(
                mover.disk.backing, create_size_bytes=mover.disk.size_bytes
            )


async def _let_memory_go(context: Context, movers: list[Mover]) -> None:
    for mover in movers:
        if mover.keeps_memory is not None:
            await context.world.in_thread(mover.keeps_memory.close)


@contextlib.asynccontextmanager
async def _whole_or_not(context: Context, before: Configuration, movers: list[Mover]) -> AsyncIterator[Undo]:
    """What is done within happens as a whole, or is taken back by what has been put on the list."""
    undo: Undo = []
    try:
        await _hold_memory(context, movers)
        undo.append(lambda: _as_coroutine(lambda: context.state.save(before.root)))
        yield undo
    except BaseException:
        await _undo(undo)
        raise
    finally:
        await _let_memory_go(context, movers)


async def _undo(undo: Undo) -> None:
    """The last thing first; what can't be undone is said in the log, and the rest is undone all the same."""
    for step in reversed(undo):
        try:
            await step()
        except (OSError, TcmuGlusterError) as error:
            log.error("a move that failed could not be undone as a whole: %s", reason_of(error))


async def _as_coroutine(function: Callable[[], Any]) -> None:
    function()


async def _remember(context: Context, company: moving.Company, undo: Undo) -> None:
    """LIO's saved configuration says of the moved what is so now; and again when all else has been undone."""
    request = {"do": "remember", "names": sorted(company.disks), "wwns": sorted(company.targets)}
    await context.world.ask_lio(request)
    undo.insert(1, lambda: context.world.ask_lio(request))  # the state file, which is the first, has the last word
