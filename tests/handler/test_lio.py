from __future__ import annotations

import asyncio
import sys

import pytest

from handler.lio import ask_lio
from tcmu_gluster.errors import OperationError


def child(script: str) -> tuple[str, ...]:
    return (sys.executable, "-c", script)


def ask(script: str, seconds: float = 20.0) -> dict[str, object]:
    return asyncio.run(ask_lio({"do": "create", "name": "vm1"}, seconds=seconds, command=child(script)))


def test_the_childs_answer_comes_back() -> None:
    echo = "import json,sys; print(json.dumps({'changed': True, 'got': json.load(sys.stdin)}))"
    assert ask(echo) == {"changed": True, "got": {"do": "create", "name": "vm1"}}


def test_its_sentence_is_the_refusal() -> None:
    with pytest.raises(OperationError, match="LIO refused"):
        ask('print(\'{"error": "LIO refused: no"}\')')


def test_a_child_that_breaks_says_its_last_words() -> None:
    with pytest.raises(OperationError, match="ValueError: broken"):
        ask("raise ValueError('broken')")
    with pytest.raises(OperationError, match="it said nothing"):
        ask("pass")


def test_a_child_that_is_stuck_is_given_up() -> None:
    with pytest.raises(OperationError, match="recover"):
        ask("import time; time.sleep(60)", seconds=0.2)
