"""The watch over the storage's space: thin disks are looked at, trouble is said once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Optional

import pytest

from handler.space import SpaceWatch
from tcmu_gluster.backends.base import Space
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tests.doubles.backends import Wrapper
from tests.doubles.host import memory


class Told(Wrapper):
    """A backend whose space is what the test says: a Space, or an OSError."""

    answer: Space | OSError = Space(1, 2)
    looks = 0

    def refresh_space(self) -> Optional[Space]:
        self.looks += 1
        if isinstance(self.answer, OSError):
            raise self.answer
        self.space = self.answer
        return self.space


async def at_once(function: Callable[[], Any]) -> Any:
    return function()


def test_thin_disks_are_looked_at_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    thin, thick = Told(memory()), Told(memory())
    units = [LogicalUnit(thin), LogicalUnit(thick, UnitOptions(thin=False))]
    told: list[LogicalUnit] = []
    for unit in units:
        monkeypatch.setattr(unit, "space_changed", lambda unit=unit: told.append(unit))
    asyncio.run(SpaceWatch(lambda: units, at_once).look())
    assert (thin.looks, thick.looks) == (1, 0)
    assert thin.space == Space(1, 2)
    assert told == [units[0]]


def test_trouble_is_said_once_and_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    broken, other = Told(memory()), Told(memory())
    broken.answer = OSError(107, "Transport endpoint is not connected")
    units = [LogicalUnit(broken), LogicalUnit(other)]
    watch = SpaceWatch(lambda: units, at_once)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            asyncio.run(watch.look())
        assert len(caplog.records) == 1
        assert other.looks == 3
        broken.answer = Space(0, 0)
        asyncio.run(watch.look())
        broken.answer = OSError(107, "Transport endpoint is not connected")
        asyncio.run(watch.look())
    assert len(caplog.records) == 2


def test_it_runs_until_it_is_cancelled() -> None:
    backend = Told(memory())
    unit = LogicalUnit(backend)

    async def main() -> None:
        task = asyncio.ensure_future(SpaceWatch(lambda: [unit], at_once).run())
        while not backend.looks:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
