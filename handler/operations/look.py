"""disk check and stats, volume list and files: what is asked before and beside configuring."""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import shutil
import subprocess
from typing import Any

from tcmu_gluster.config.uri import Backing, parse_backing
from tcmu_gluster.errors import OperationError, TcmuGlusterError

from ..config_check import look_at
from ..world import reason_of
from . import disk
from .context import Context, Report

ASK_SECONDS = 10.0
MOST_NAMES = 1000


async def check(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Whether a backing can be reached, what is there, and whether a disk uses it."""
    facts = await look_at(context.world, parse_backing(args["uri"]))
    items = (await disk.list_(context, {}, report))["items"]
    facts["disk"] = next((one["name"] for one in items if one["uri"] == facts["uri"]), None)
    return facts


async def stats(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """What a disk has done since it was opened."""
    name = args["name"]
    facts = await disk.show(context, {"name": name}, report)
    served = context.engine.disks.get(name) or context.devices.find(name)
    unit = served.unit if served is not None else None
    if unit is None:
        raise OperationError(f"disk {name} is not served now ({facts['state']}), so it counts nothing")
    counted, block = unit.statistics, unit.block_size_bytes
    found = {"name": name, "reads": counted.reads, "writes": counted.writes,
             "read_bytes": counted.blocks_read * block, "written_bytes": counted.blocks_written * block,
             "running": len(unit.tasks.running)}  # fmt: skip
    if unit.backend.space is not None:
        space = unit.backend.space
        found.update(used_bytes=space.used_bytes, available_bytes=space.available_bytes)
    return found


async def volumes(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Volumes of a server: those that disks here use, and what Gluster's own command says where it is installed."""
    host = args["host"]
    names = {backing.volume for backing in await _backings(context, report) if host in dict(backing.hosts)}
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        names |= set(await context.world.in_thread(_ask_gluster, host))
    return {"items": sorted(names)[:MOST_NAMES]}


async def _backings(context: Context, report: Report) -> list[Backing]:
    found = []
    for one in (await disk.list_(context, {}, report))["items"]:
        with contextlib.suppress(TcmuGlusterError):
            backing = parse_backing(one["uri"])
            if backing.scheme == "gluster":
                found.append(backing)
    return found


def _ask_gluster(host: str) -> list[str]:
    command = shutil.which("gluster")
    if command is None or host.startswith("-"):
        return []
    ran = subprocess.run(
        [command, "--mode=script", f"--remote-host={host}", "volume", "list"],
        capture_output=True, text=True, timeout=ASK_SECONDS, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return [line.strip() for line in ran.stdout.splitlines() if line.strip()] if ran.returncode == 0 else []


async def files(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Paths of a volume that start with what is given; folders end with a slash."""
    given = "/" + (args["path"] or "").lstrip("/")
    folder = given if given.endswith("/") else posixpath.dirname(given)
    backing = parse_backing(f"gluster://{args['host']}/{args['volume']}/x")
    try:
        names = await asyncio.wait_for(context.world.in_thread(_list_folder, backing, folder), ASK_SECONDS)
    except asyncio.TimeoutError:
        raise OperationError(f"{args['volume']} did not answer within {ASK_SECONDS:g} seconds") from None
    except (OSError, TcmuGlusterError) as error:
        raise OperationError(f"{folder} of {args['volume']} can't be listed: {reason_of(error)}") from error
    return {"items": [name for name in names if name.startswith(given)][:MOST_NAMES]}


def _list_folder(backing: Backing, folder: str) -> list[str]:
    from tcmu_gluster.backends.volumes import mount  # needs the C shim

    volume = mount(backing).volume
    paths = [posixpath.join(folder, name) for name in sorted(volume.listdir(folder)) if not name.startswith(".")]
    return [path + "/" if volume.isdir(path) else path for path in paths[:MOST_NAMES]]
