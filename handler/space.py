"""Looks, from time to time and outside the loop, at what the disks use of their storage and what is left there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from tcmu_gluster.scsi.logical_unit import LogicalUnit

log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0
"""Between two looks; each is one call to the storage for every thin disk."""

InThread = Callable[..., Awaitable[Any]]


class SpaceWatch:
    """Asks the backend of every thin unit, one after the other, and tells the unit what it found.

    units() are the ones of the moment; in_thread(function) runs what may block. A storage that does not answer holds up
    the looks, not the disks.
    """

    def __init__(self, units: Callable[[], Iterable[LogicalUnit]], in_thread: InThread) -> None:
        self._units, self._in_thread = units, in_thread
        self._in_trouble: set[str] = set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Once, at all of them. What goes wrong is said once for each backing."""
        for unit in list(self._units()):
            if not unit.thin:
                continue
            uri = unit.backend.uri
            try:
                await self._in_thread(unit.backend.refresh_space)
            except OSError as error:
                if uri not in self._in_trouble:
                    log.warning(
                        "%s: what is used and what is left can't be found out: %s", uri, error.strerror or error
                    )
                self._in_trouble.add(uri)
                continue
            self._in_trouble.discard(uri)
            unit.space_changed()
