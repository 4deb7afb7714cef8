"""The life of a connection: every (state, input) pair."""

from __future__ import annotations

import itertools

import pytest

from tcmu_gluster.iscsi.life import TRANSITIONS, Input, State, follow

L, H, F, A, C, D = State.LOGIN, State.HOLDING, State.FULL_FEATURE, State.ASKED_TO_LOG_OUT, State.CLOSING, State.DEAD

# state: what follows LOGGED_IN, REFUSED, HELD, LOGOUT_WANTED, LOGGED_OUT, PROTOCOL_ERROR, TIMED_OUT, DROPPED, LOST
EXPECTED = {
    L: (F, C, H, D, L, C, D, D, D),
    H: (H, C, H, D, H, H, H, D, D),
    F: (F, F, F, A, C, C, D, C, D),
    A: (A, A, A, A, C, C, D, C, D),
    C: (C, C, C, C, C, C, D, C, D),
    D: (D, D, D, D, D, D, D, D, D),
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Input)))
def test_every_pair(state: State, event: Input) -> None:
    assert follow(state, event) is EXPECTED[state][list(Input).index(event)]


def test_nothing_leaves_dead_and_only_death_leaves_closing() -> None:
    for (state, _), after in TRANSITIONS.items():
        assert state is not D or after is D
        assert state is not C or after in (C, D)
