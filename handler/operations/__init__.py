"""What the daemon does for each row of the operations table: one function a row, in a module a noun."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tcmu_gluster.control.operations import OPERATIONS, Shape, find

from . import access, disk, look, overview, session, target, tgt, tree, whole
from .context import Context, Report

Handler = Callable[[Context, dict[str, Any], Report], Awaitable[dict[str, Any]]]

HANDLERS: dict[str, Handler] = {
    "disk.create": disk.create,
    "disk.list": disk.list_,
    "disk.show": disk.show,
    "disk.resize": disk.resize,
    "disk.delete": disk.delete,
    "disk.move": disk.move,
    "disk.check": look.check,
    "disk.stats": look.stats,
    "target.create": target.create,
    "target.list": target.list_,
    "target.show": target.show,
    "target.delete": target.delete,
    "target.redirect": target.redirect,
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

    async def __call__(self, op: str, args: dict[str, Any], report: Report) -> dict[str, Any]:
        """Do one operation. Raises UsageError, OperationError, ConfigError, OSError."""
        row = find(op)
        checked = row.check(args)
        handler = HANDLERS[op]
        if row.shape is not Shape.NOW:
            return await handler(self._context, checked, report)
        async with self._lock:
            return await handler(self._context, checked, report)
