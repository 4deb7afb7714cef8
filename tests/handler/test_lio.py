"""The child process that configures LIO, played by small scripts."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from handler.lio import LioAdmin
from tcmu_gluster.errors import OperationError

ECHO = """
import json, os, sys
for line in sys.stdin:
    print(json.dumps({'changed': True, 'got': json.loads(line), 'pid': os.getpid()}), flush=True)
"""
REQUEST = {"do": "create", "name": "vm1"}


def admin(script: str, **more: float) -> LioAdmin:
    return LioAdmin((sys.executable, "-c", script), **{"seconds": 20.0, **more})


def ask(script: str, **more: float) -> dict[str, Any]:
    async def whole() -> dict[str, Any]:
        asked = admin(script, **more)
        try:
            return await asked.ask(REQUEST)
        finally:
            await asked.close()

    return asyncio.run(whole())


def test_the_childs_answer_comes_back() -> None:
    assert ask(ECHO)["got"] == REQUEST


def test_its_sentence_is_the_refusal() -> None:
    with pytest.raises(OperationError, match="LIO refused"):
        ask('print(\'{"error": "LIO refused: no"}\')')


def test_a_child_that_breaks_says_its_last_words() -> None:
    with pytest.raises(OperationError, match="ValueError: broken"):
        ask("raise ValueError('broken')")
    with pytest.raises(OperationError, match="it said nothing"):
        ask("pass")


def test_a_child_that_is_stuck_is_given_up_and_the_next_request_gets_another() -> None:
    script = "import sys, time; line = sys.stdin.readline(); time.sleep(60) if 'stuck' in line else print('{}')"

    async def whole() -> None:
        asked = admin(script, seconds=5.0)
        with pytest.raises(OperationError, match="recover"):
            await asked.ask({"do": "create", "name": "stuck"})
        assert await asked.ask({"do": "create", "name": "free"}) == {}
        await asked.close()

    asyncio.run(whole())


def test_one_child_answers_requests_that_follow_each_other_and_ends_with_us() -> None:
    async def whole() -> None:
        asked = admin(ECHO)
        first = await asked.ask(REQUEST)
        second = await asked.ask(REQUEST)
        assert first["pid"] == second["pid"]
        child = asked._idle
        assert child is not None
        await asked.close()
        assert child.returncode == 0, "it saw the end of its input"

    asyncio.run(whole())


def test_two_at_the_same_time_have_a_child_each() -> None:
    async def whole() -> None:
        asked = admin(ECHO)
        one, other = await asyncio.gather(asked.ask(REQUEST), asked.ask(REQUEST))
        assert one["pid"] != other["pid"]
        await asked.close()

    asyncio.run(whole())


def test_a_child_without_work_ends() -> None:
    async def whole() -> None:
        asked = admin(ECHO, idle_seconds=0.0)
        first = await asked.ask(REQUEST)
        while asked._idle is not None or asked._ending:
            await asyncio.sleep(0.005)
        second = await asked.ask(REQUEST)
        assert first["pid"] != second["pid"]
        await asked.close()

    asyncio.run(whole())


def test_a_child_that_ended_meanwhile_is_replaced() -> None:
    async def whole() -> None:
        asked = admin(ECHO)
        first = await asked.ask(REQUEST)
        child = asked._idle
        assert child is not None
        child.kill()
        await child.wait()
        assert (await asked.ask(REQUEST))["pid"] != first["pid"]
        await asked.close()

    asyncio.run(whole())
