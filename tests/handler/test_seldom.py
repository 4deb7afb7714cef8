"""What others cause is logged up to a number of lines; the rest is counted."""

from __future__ import annotations

import logging

import pytest

from handler.seldom import MOST_LINES, SECONDS, Seldom


def test_a_flood_of_lines_becomes_a_number(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = 100.0
    seldom = Seldom(logging.getLogger("seldom").info, lambda: now)
    for number in range(MOST_LINES + 7):
        seldom("line %d", number)
    assert len(caplog.records) == MOST_LINES and caplog.messages[-1] == f"line {MOST_LINES - 1}"
    now += SECONDS
    seldom("once more")
    assert caplog.messages[MOST_LINES:] == ["7 lines about other connections were left out", "once more"]
    now += SECONDS
    seldom("and again")
    assert caplog.messages[MOST_LINES + 2 :] == ["and again"]
