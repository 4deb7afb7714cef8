"""What the daemon does for each row of the operations table: one function a row, in a module a noun."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Optional

from tcmu_gluster.control.operations import OPERATIONS, Shape, find
from tcmu_gluster.errors import OperationError

from . import access, disk, look, move, overview, session, target, tgt, tree, whole
from .context import Context, Report

Handler = Callable[[Context, dict[str, Any], Report], Awaitable[dict[str, Any]]]

HANDLERS: dict[str, Handler] = {
    "disk.create": disk.create,
    "disk.list": disk.list_,
    "disk.show": disk.show,
    "disk.resize": disk.resize,
    "disk.reset-record": disk.reset_record,
    "disk.delete": disk.delete,
    "disk.move": move.move,
    "disk.check": look.check,
    "disk.stats": look.stats,
    "target.create": target.create,
    "target.list": target.list_,
    "target.show": target.show,
    "target.delete": target.delete,
    "target.redirect": target.redirect,
    "target.alua": target.alua,
    "target.set": tree.set_,
    "target.enable": tree.enable,
    "target.disable": tree.disable,
    "lun.map": target.map_lun,
    "lun.unmap": target.unmap_lun,
    "portal.add": target.add_portal,
    "portal.remove": target.remove_portal,
    "acl.allow": access.allow,
    "acl.deny": access.deny,
    "acl.list": access.list_,
    "acl.map": tree.map_for_initiator,
    "acl.unmap": tree.unmap_for_initiator,
    "chap.set": access.set_chap,
    "chap.clear": access.clear_chap,
    "chap.edit": tree.edit_passwords,
    "session.list": session.list_,
    "session.show": session.show,
    "session.close": session.close,
    "volume.list": look.volumes,
    "volume.files": look.files,
    "configuration": tree.configuration,
    "tgt.show": tgt.show,
    "tgt.add": tgt.add,
    "tgt.remove": tgt.remove,
    "tgt.update": tgt.update,
    "tgt.account": tgt.account,
    "tgt.bind": tgt.bind,
    "tgt.portal": tgt.portal,
    "save": whole.save,
    "restore": whole.restore,
    "clear": whole.clear,
    "why-denied": overview.why_denied,
    "status": overview.status,
    "names": overview.names,
}
assert set(HANDLERS) == set(OPERATIONS), "every row has its function"


class Operations:
    """The control server's handle(). What changes something happens one after the other; questions wait for nobody."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = asyncio.Lock()
        self._begun: Optional[asyncio.Event] = None
        self._given_up = False
        self.waiting = 0
        """How many wait for the start."""

    def hold(self) -> None:
        """From now on everybody but who asks for the status waits, until begin() or give_up().

        Before it was restored, the configuration is empty: a change of that would be saved over what there was.
        """
        self._begun = asyncio.Event()
        self._context.starting = True

    def begin(self) -> None:
        """What was saved is there."""
        self._context.starting = False
        if self._begun is not None:
            self._begun.set()

    def give_up(self) -> None:
        """It never will be: who waits is refused."""
        self._given_up = True
        self.begin()

    async def _start_has_ended(self) -> None:
        if self._begun is not None:
            self.waiting += 1
            try:
                await self._begun.wait()
            finally:
                self.waiting -= 1
        if self._given_up:
            raise OperationError("the daemon could not start; its log says why")

    async def __call__(self, op: str, args: dict[str, Any], report: Report) -> dict[str, Any]:
        """Do one operation. Raises UsageError, OperationError, ConfigError, OSError."""
        row = find(op)
        checked = row.check(args)
        handler = HANDLERS[op]
        if op != "status":
            await self._start_has_ended()
        if row.shape is not Shape.NOW:
            return await handler(self._context, checked, report)
        async with self._lock:
            return await handler(self._context, checked, report)

    async def alone(self, work: Callable[[], Awaitable[None]]) -> None:
        """Some work of the daemon's own, while no operation changes anything."""
        async with self._lock:
            await work()
