"""The response fence: an answer that must not overtake others that leave over other connections.

The response to a task management function with many victims says that nothing more comes of them. Over several
connections that is true only once the initiator has acknowledged what was sent before on each of them; a ping makes it
say so.  Source: RFC 7143 4.2.2.3.3, 4.2.3.3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tcmu_gluster.iscsi.serial import less

if TYPE_CHECKING:
    from tcmu_gluster.iscsi.connection import Connection
    from tcmu_gluster.iscsi.session import Session


def behind_fence(session: Session, connection: Connection, action: Callable[[], None]) -> None:
    """Run action once all that the session's other connections have sent so far is acknowledged, or they ended."""
    others = [
        other
        for other in session.connections.values()
        if other is not connection and less(other.acknowledged, other.output.stat_sn)
    ]
    left = len(others)
    if not left:
        action()
        return

    def acknowledged() -> None:
        nonlocal left
        left -= 1
        if not left:
            action()
            connection.wake()

    for other in others:
        other.await_acknowledgement(acknowledged)
