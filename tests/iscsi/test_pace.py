"""Who owes something has to move: too little in a span of time is too slow."""

from __future__ import annotations

from tcmu_gluster.iscsi.pace import Pace


def test_who_owes_nothing_is_never_too_slow() -> None:
    pace = Pace(30.0, 1000)
    assert not any(pace.too_slow(now, False) for now in (0.0, 100.0, 1000.0))


def test_the_span_begins_when_something_is_owed() -> None:
    pace = Pace(30.0, 1000)
    assert not pace.too_slow(100.0, False)
    assert not pace.too_slow(200.0, True) and not pace.too_slow(229.9, True)
    assert pace.too_slow(230.0, True)


def test_who_has_finished_meanwhile_begins_anew() -> None:
    pace = Pace(30.0, 1000)
    pace.too_slow(0.0, True)
    pace.too_slow(29.0, False)
    assert not pace.too_slow(31.0, True) and not pace.too_slow(60.9, True)
    assert pace.too_slow(61.0, True)


def test_enough_begins_a_new_span_and_a_trickle_does_not() -> None:
    pace = Pace(30.0, 1000)
    pace.too_slow(0.0, True)
    pace.moved += 1000
    assert not pace.too_slow(29.0, True)
    pace.moved += 999
    assert not pace.too_slow(58.9, True) and pace.too_slow(59.0, True)
