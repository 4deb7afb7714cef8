"""Turns: first come, first served, one at a time, and nobody is forgotten."""

from __future__ import annotations

from tcmu_gluster.backends.base import PENDING
from tcmu_gluster.backends.memory import MemoryBackend
from tcmu_gluster.scsi.turns import Turns

BACKEND = MemoryBackend("turns", 4096)


def test_the_first_goes_at_once_and_the_others_in_the_order_they_came():
    turns, heard = Turns(), []
    first, second, third = turns.join(), turns.join(), turns.join()
    assert first.start(BACKEND, heard.append) == 0
    assert second.start(BACKEND, lambda outcome: heard.append(("second", outcome))) is PENDING
    assert third.start(BACKEND, lambda outcome: heard.append(("third", outcome))) is PENDING
    assert heard == []
    first.leave()
    assert heard == [("second", 0)]
    second.leave()
    assert heard == [("second", 0), ("third", 0)]


def test_one_that_leaves_while_it_waits_is_passed_over_and_leaving_twice_does_nothing():
    turns, heard = Turns(), []
    first, second, third = turns.join(), turns.join(), turns.join()
    second.start(BACKEND, lambda outcome: heard.append("second"))
    third.start(BACKEND, lambda outcome: heard.append("third"))
    second.leave()
    second.leave()
    assert heard == []
    first.leave()
    first.leave()
    assert heard == ["third"]


def test_one_whose_turn_came_before_it_asked_starts_at_once():
    turns = Turns()
    first, second = turns.join(), turns.join()
    first.leave()
    assert second.start(BACKEND, lambda outcome: None) == 0
