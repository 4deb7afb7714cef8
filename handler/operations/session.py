"""session list, show, close."""

from __future__ import annotations

from typing import Any

from tcmu_gluster.errors import OperationError

from ..engine import peer_of
from .context import Context, Report, now


def _facts(session: Any) -> dict[str, Any]:
    return {
        "id": session.tsih,
        "target": session.target_name,
        "initiator": session.initiator_name,
        "address": peer_of(session),
    }


def _find(context: Context, number: int) -> Any:
    found = next((session for session in context.engine.sessions() if session.tsih == number), None)
    if found is None:
        raise OperationError(f"there is no session {number}; `tcmu-gluster session list` shows what there is")
    return found


async def list_(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Who is logged in."""
    if args["target"]:
        context.configuration.target(args["target"])
    sessions = [_facts(session) for session in context.engine.sessions()]
    return {"items": [one for one in sessions if args["target"] in (None, one["target"])]}


async def show(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """All about one session."""
    session = _find(context, args["id"])
    return {
        **_facts(session),
        "alias": session.initiator_alias or None,
        "isid": session.isid.hex(),
        "connections": sorted(session.connections),
    }


async def close(context: Context, args: dict[str, Any], report: Report) -> dict[str, Any]:
    """End it; its initiator may log in again."""
    session = _find(context, args["id"])
    context.engine.front.end_session(session, "an administrator ended it")
    return now(f"session {args['id']} of {session.initiator_name} has ended")
