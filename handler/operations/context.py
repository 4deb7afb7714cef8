"""What operations work on, and how a change of the engine is made all or nothing."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tcmu_gluster.errors import OperationError, TcmuGlusterError

from ..configuration import Configuration
from ..devices import Devices
from ..engine import Engine
from ..state import StateFile
from ..world import World, reason_of

log = logging.getLogger(__name__)

Report = Callable[[dict[str, Any]], None]


@dataclass
class Context:
    """The daemon as its operations see it."""

    world: World
    state: StateFile
    engine: Engine
    devices: Devices
    started: float = field(default_factory=time.monotonic)
    lio: bool = True
    """Whether this daemon serves LIO's devices."""
    starting: bool = False
    """Whether what was saved is still being restored."""
    targetcli: Callable[[], str] = lambda: "off"
    """Where plain targetcli finds us on D-Bus, or why not."""

    @property
    def configuration(self) -> Configuration:
        """The engine's configuration as it is now. Change a copy."""
        return self.engine.configuration

    async def change(self, wanted: Configuration) -> None:
        """Apply and save, or leave everything as it was. Raises ConfigError, OperationError."""
        before = self.engine.configuration
        try:
            await self.engine.apply(wanted)
            self.state.save(wanted.root)
        except BaseException as error:
            try:
                await self.engine.apply(before, strict=False)
            except (OSError, TcmuGlusterError):
                log.exception("what was before could not be restored as a whole")
            if isinstance(error, OSError):
                raise unsaved(error) from error
            raise


def unsaved(error: OSError) -> OperationError:
    """What is said where the daemon can't write down what it should remember."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    what_next = "make room there" if full else "let the daemon write there"
    return OperationError(
        f"nothing was changed: the state can't be saved ({reason_of(error)}); {what_next}, then again"
    )


def counted(number: int, thing: str) -> str:
    """1 disk, 2 disks."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def now(sentence: str, changed: bool = True, **more: Any) -> dict[str, Any]:
    """A result: what is now true. "Already so" is an answer of its own."""
    return {"now": sentence if changed else f"already so: {sentence}", "changed": changed, **more}
