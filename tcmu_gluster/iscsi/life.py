"""The life of a connection as a table.  Source: RFC 7143 8.1 (the target's side), without the states of lost CIDs.

LOGIN             until the final Login Response; ends with the connection when the login fails or takes too long
HOLDING           the login has failed, and the response that says so waits for its time; nothing is taken in any more
FULL_FEATURE      commands flow
ASKED_TO_LOG_OUT  the same, but the initiator was told to log out (asynchronous message) and has limited time to do so
CLOSING           the last PDUs leave (Logout Response, failed Login Response, Reject); nothing is taken in any more
DEAD              the transport is gone, or is to be closed at once
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where a connection is."""

    LOGIN = "login"
    HOLDING = "holding back a refusal"
    FULL_FEATURE = "full feature"
    ASKED_TO_LOG_OUT = "asked to log out"
    CLOSING = "closing"
    DEAD = "dead"


class Input(Enum):
    """What happens to it."""

    LOGGED_IN = "login finished"
    REFUSED = "login refused"
    HELD = "login refused, the response waits"
    LOGOUT_WANTED = "we ask for a logout"
    LOGGED_OUT = "logout answered"
    PROTOCOL_ERROR = "the peer broke the protocol"
    TIMED_OUT = "a time limit passed"
    DROPPED = "we end it: reinstatement, reset, shutdown"
    LOST = "the transport ended"


_RUNNING = (State.FULL_FEATURE, State.ASKED_TO_LOG_OUT)

TRANSITIONS: dict[tuple[State, Input], State] = {
    (State.LOGIN, Input.LOGGED_IN): State.FULL_FEATURE,
    (State.LOGIN, Input.REFUSED): State.CLOSING,
    (State.LOGIN, Input.HELD): State.HOLDING,
    (State.HOLDING, Input.REFUSED): State.CLOSING,
    **{(state, Input.LOGOUT_WANTED): State.DEAD for state in (State.LOGIN, State.HOLDING)},
    (State.FULL_FEATURE, Input.LOGOUT_WANTED): State.ASKED_TO_LOG_OUT,
    (State.ASKED_TO_LOG_OUT, Input.LOGOUT_WANTED): State.ASKED_TO_LOG_OUT,
    (State.CLOSING, Input.LOGOUT_WANTED): State.CLOSING,
    **{(state, Input.LOGGED_OUT): State.CLOSING for state in _RUNNING},
    **{(state, Input.PROTOCOL_ERROR): State.CLOSING for state in (State.LOGIN, *_RUNNING)},
    **{(state, Input.TIMED_OUT): State.DEAD for state in (State.LOGIN, *_RUNNING, State.CLOSING)},
    **{(state, Input.DROPPED): State.CLOSING for state in _RUNNING},
    **{(state, Input.DROPPED): State.DEAD for state in (State.LOGIN, State.HOLDING)},
    (State.CLOSING, Input.DROPPED): State.CLOSING,
    **{(state, Input.LOST): State.DEAD for state in State},
}
"""A pair that is not here changes nothing: DEAD stays DEAD, and CLOSING takes no more from the peer."""


def follow(state: State, event: Input) -> State:
    """The state after event."""
    return TRANSITIONS.get((state, event), state)
