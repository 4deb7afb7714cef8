"""Every state with every input. Written out once more, as a matrix, so that a slip in the table shows."""

from __future__ import annotations

import pytest

from tcmu_gluster.tcmu.device_life import (
    HOLDS_MEMORY,
    MAY_BE_IN_FLIGHT,
    TRANSITIONS,
    DeviceInput,
    DeviceLifeError,
    DeviceState,
    following,
)

INPUTS = ("FOUND", "OPENED_FRESH", "OPENED_USED", "QUIET", "RESET", "STARTED", "STOP", "CORRUPTION", "FAILURE",
          "RETRY", "GONE")  # fmt: skip

# rows in the order of INPUTS; . is refused
MATRIX = """
ABSENT     OPENING   .      .       .         .      .       .        .        .        .       REMOVED
OPENING    OPENING   MAPPED BLOCKED .         .      .       REMOVED  .        FAILED   .       REMOVED
BLOCKED    BLOCKED   .      .       RESETTING .      .       REMOVED  .        FAILED   .       REMOVED
RESETTING  RESETTING .      .       .         MAPPED .       REMOVED  .        FAILED   .       REMOVED
MAPPED     MAPPED    .      .       .         .      SERVING REMOVED  DEAD     FAILED   .       REMOVED
SERVING    SERVING   .      .       .         .      .       DRAINING DEAD     DEAD     .       REMOVING
DRAINING   DRAINING  .      .       REMOVED   .      .       DRAINING DEAD     DEAD     .       REMOVING
DEAD       DEAD      .      .       .         .      .       REMOVING DEAD     DEAD     OPENING REMOVING
REMOVING   REMOVING  .      .       REMOVED   .      .       REMOVING REMOVING REMOVING .       REMOVING
FAILED     OPENING   .      .       .         .      .       REMOVED  .        FAILED   OPENING REMOVED
REMOVED    .         .      .       .         .      .       REMOVED  .        .        .       REMOVED
"""

CASES = [
    (DeviceState[state], DeviceInput[event], None if word == "." else DeviceState[word])
    for state, *row in (line.split() for line in MATRIX.strip().splitlines())
    for event, word in zip(INPUTS, row)
]


def test_the_matrix_is_whole() -> None:
    assert {(state, event) for state, event, _ in CASES} == {(s, e) for s in DeviceState for e in DeviceInput}


@pytest.mark.parametrize(("state", "event", "expected"), CASES)
def test_every_state_and_input(state: DeviceState, event: DeviceInput, expected: DeviceState | None) -> None:
    if expected is None:
        with pytest.raises(DeviceLifeError) as caught:
            following(state, event)
        assert state.value in str(caught.value)
    else:
        assert following(state, event) is expected


def test_removal_is_possible_from_everywhere() -> None:
    for state in DeviceState:
        reached = following(state, DeviceInput.GONE)
        assert reached in (DeviceState.REMOVING, DeviceState.REMOVED)
        assert (reached is DeviceState.REMOVING) == (state in MAY_BE_IN_FLIGHT)


def test_a_ring_is_never_reset_with_commands_in_flight() -> None:
    assert DeviceState.BLOCKED not in MAY_BE_IN_FLIGHT and DeviceState.RESETTING not in MAY_BE_IN_FLIGHT
    into_reset = {state for (state, _), target in TRANSITIONS.items() if target is DeviceState.RESETTING}
    assert into_reset - {DeviceState.RESETTING} == {DeviceState.BLOCKED}
    assert MAY_BE_IN_FLIGHT <= HOLDS_MEMORY


def test_every_state_can_be_reached() -> None:
    reached, frontier = {DeviceState.ABSENT}, [DeviceState.ABSENT]
    while frontier:
        state = frontier.pop()
        for (from_, _), target in TRANSITIONS.items():
            if from_ is state and target not in reached:
                reached.add(target)
                frontier.append(target)
    assert reached == set(DeviceState)
