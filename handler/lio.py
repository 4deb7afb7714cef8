"""Asking the child process that writes LIO's configuration (lio_admin.py), from the loop.

The child is short-lived: it answers one request after the other for as long as they come, and ends a few seconds after
the last one, or with us. One that is stuck in the kernel is left to itself, and the next request gets another child.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import Process
from collections.abc import Sequence
from typing import Any, Optional

from tcmu_gluster.errors import OperationError

COMMAND = (sys.executable, "-m", "handler.lio_admin")
BURIAL_SECONDS = 1.0
CHILD_SECONDS = 40.0
"""After this long the answer is given up. The child itself may be stuck in the kernel, where nobody can end it."""
IDLE_SECONDS = 10.0
"""How long a child waits for more work: whoever makes fifty disks starts Python once."""
_LONGEST_ANSWER_BYTES = 16 << 20


class LioAdmin:
    """The child, started when it is needed. Requests at the same time get a child each; one of them stays."""

    def __init__(
        self, command: Sequence[str] = COMMAND, seconds: float = CHILD_SECONDS, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self._command, self._seconds, self._idle_seconds = command, seconds, idle_seconds
        self._idle: Optional[Process] = None
        self._timer: Optional[asyncio.TimerHandle] = None
        self._ending: set[asyncio.Task[None]] = set()

    async def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The child's answer. Raises OperationError with its sentence."""
        child = await self._take()
        try:
            result = json.loads(await asyncio.wait_for(_exchange(child, request), self._seconds))
        except asyncio.TimeoutError:
            await _bury(child)
            raise OperationError(
                f"LIO did not finish to {request['do']} {request.get('name', '')!r} within {self._seconds:g} seconds: "
                "somebody in the kernel waits for an answer that doesn't come; `tcmu-gluster recover` releases it"
            ) from None
        except ValueError:
            last = await _last_words(child)
            raise OperationError(f"the child process that configures LIO failed: {last}") from None
        except BaseException:
            self._end(child)
            raise
        self._keep(child)
        if not isinstance(result, dict) or "error" in result:
            raise OperationError(str(result.get("error") if isinstance(result, dict) else result))
        return result

    async def close(self) -> None:
        """End the child that waits for work."""
        self._retire()
        if self._ending:
            await asyncio.wait(self._ending)

    async def _take(self) -> Process:
        child, self._idle = self._idle, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if child is not None and child.returncode is None:
            return child
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, stderr=pipe, limit=_LONGEST_ANSWER_BYTES
        )

    def _keep(self, child: Process) -> None:
        if self._idle is not None:
            self._end(child)
            return
        self._idle = child
        self._timer = asyncio.get_running_loop().call_later(self._idle_seconds, self._retire)

    def _retire(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        child, self._idle = self._idle, None
        if child is not None:
            self._end(child)

    def _end(self, child: Process) -> None:
        """It ends by itself when nothing more can come."""
        task = asyncio.get_running_loop().create_task(_dismiss(child))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


async def ask_lio(request: dict[str, Any]) -> dict[str, Any]:
    """One request to a child of its own. Raises OperationError with its sentence."""
    admin = LioAdmin()
    try:
        return await admin.ask(request)
    finally:
        await admin.close()


async def _exchange(child: Process, request: dict[str, Any]) -> bytes:
    """A line each way; an empty answer from a child that has ended."""
    assert child.stdin is not None and child.stdout is not None
    with contextlib.suppress(ConnectionError):
        child.stdin.write(json.dumps(request).encode() + b"\n")
        await child.stdin.drain()
    return await child.stdout.readline()


async def _dismiss(child: Process) -> None:
    assert child.stdin is not None
    child.stdin.close()
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(child.wait(), BURIAL_SECONDS)
        return
    await _bury(child)


async def _bury(child: Process) -> None:
    """Kill it; one that is stuck in the kernel stays where it is."""
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(child.wait(), BURIAL_SECONDS)


async def _last_words(child: Process) -> str:
    assert child.stdin is not None and child.stderr is not None
    child.stdin.close()
    err = b""
    with contextlib.suppress(asyncio.TimeoutError):
        err = await asyncio.wait_for(child.stderr.read(), BURIAL_SECONDS)
    await _bury(child)
    return (err.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it said nothing"])[0]
