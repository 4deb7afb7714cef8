"""A move that a crash cut off is settled when the daemon starts again, without a person.

While a disk moves, whichever way, the saved configuration of the engine has it and its targets whole, and names under
`moving` what LIO may have of them. So what LIO has of these is taken away from it, its saved configuration says so, and
the engine serves them. A move to LIO is over with the one write that takes the disk out of the engine's configuration,
after LIO has everything and its saved configuration says so.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ..configuration import OURS, Configuration, Object
from ..moving import Company
from . import disk
from .context import Context

log = logging.getLogger(__name__)

MOVING = "moving"
"""Under our own key: {"disks": {name: serial}, "targets": [IQN], "discovery": what LIO's discovery asked before}."""


def marked(configuration: Configuration, company: Company, serials: Mapping[str, str], discovery: Object) -> Object:
    """The configuration to save while company moves. discovery: {} if LIO's is not touched."""
    root: Object = configuration.copy().root
    before = of(configuration)
    root[OURS][MOVING] = {
        "disks": {**before["disks"], **serials},
        "targets": sorted({*before["targets"], *company.targets}),
        "discovery": before["discovery"] or discovery,
    }
    return root


def of(configuration: Configuration) -> Object:
    """What a move left behind that was cut off; empty objects if none was, or if somebody's editor spoilt it."""
    record = configuration.root[OURS].get(MOVING)
    record = record if isinstance(record, dict) else {}
    kinds: dict[str, Any] = {"disks": dict, "targets": list, "discovery": dict}
    return {key: record[key] if isinstance(record.get(key), kind) else kind() for key, kind in kinds.items()}


def is_cut_off(configuration: Configuration) -> bool:
    """Whether there is something to settle."""
    return MOVING in configuration.root[OURS]


async def settle(context: Context, configuration: Configuration) -> Configuration:
    """Take from LIO what the engine has; the configuration without the mark. Raises OperationError, OSError.

    Only what the engine really has, and what is the same disk there: meanwhile a person may have helped.
    """
    record = of(configuration)
    serials = {name: serial for name, serial in record["disks"].items() if configuration.find_disk(name)}
    wwns = [wwn for wwn in record["targets"] if isinstance(wwn, str) and configuration.find_target(wwn)]
    log.warning("a move was cut off; LIO gives back %s", ", ".join([*serials, *wwns]) or "nothing")
    await context.world.ask_lio({"do": "take", "wwns": wwns, "discovery": record["discovery"]})
    for one in (await context.world.ask_lio({"do": "list"}))["items"]:
        if serials.get(one["name"]) == one["serial"] != "":
            await disk.take_away(context, {"name": one["name"], "front": "lio"})
    await context.world.ask_lio({"do": "remember", "names": list(serials), "wwns": wwns})
    saved = context.state.load()  # as it is: what the engine can't use of it stays for whoever can
    saved.get(OURS, {}).pop(MOVING, None)
    context.state.save(saved)
    settled = configuration.copy()
    settled.root[OURS].pop(MOVING, None)
    return settled
