"""Asking the child process that writes LIO's configuration (lio_admin.py), from the loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from typing import Any

from tcmu_gluster.errors import OperationError

COMMAND = (sys.executable, "-m", "handler.lio_admin")
BURIAL_SECONDS = 1.0
CHILD_SECONDS = 40.0
"""After this long the answer is given up. The child itself may be stuck in the kernel, where nobody can end it."""


async def ask_lio(
    request: dict[str, Any], *, seconds: float = CHILD_SECONDS, command: Sequence[str] = COMMAND
) -> dict[str, Any]:
    """The child's answer. Raises OperationError with its sentence."""
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        out, err = await asyncio.wait_for(child.communicate(json.dumps(request).encode()), seconds)
    except asyncio.TimeoutError:
        child.kill()
        with contextlib.suppress(asyncio.TimeoutError):  # one that is stuck in the kernel stays where it is
            await asyncio.wait_for(child.wait(), BURIAL_SECONDS)
        raise OperationError(
            f"LIO did not finish to {request['do']} {request.get('name', '')!r} within {seconds:g} seconds: "
            "somebody in the kernel waits for an answer that doesn't come; `tcmu-gluster recover` releases it"
        ) from None
    try:
        result = json.loads(out)
    except ValueError:
        last = err.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise OperationError(f"the child process that configures LIO failed: {last[0]}") from None
    if not isinstance(result, dict) or "error" in result:
        raise OperationError(str(result.get("error") if isinstance(result, dict) else result))
    return result
