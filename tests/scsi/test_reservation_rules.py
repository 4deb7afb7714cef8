"""The rules of persistent reservations, one service action after the other, and what always holds.

Source of every expectation: SPC-4, "Persistent reservations" and PERSISTENT RESERVE OUT.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcmu_gluster.scsi import reservation_rules as rules
from tcmu_gluster.scsi.reservation_rules import Change, Request, ReservationType, State
from tcmu_gluster.scsi.sense import Asc, CheckCondition, ReservationConflict, StatusError
from tcmu_gluster.scsi.transport_id import Registrant

A, B, C = (Registrant(f"iqn.{name}", b"\0\0\0\0\0\1", "iqn.target", 1) for name in "abc")
WE, EA, WE_RO, EA_RO, WE_AR, EA_AR = ReservationType
TYPES = tuple(ReservationType)
PLAIN, REGISTRANTS, ALL = (WE, EA), (WE_RO, EA_RO), (WE_AR, EA_AR)


def state(kind: int = 0, holder: Registrant | None = None, **keys: int) -> State:
    named = {"a": A, "b": B, "c": C}
    return State(7, {named[name]: key for name, key in keys.items()}, kind, holder)


def held(kind: ReservationType, **keys: int) -> State:
    """A holds it (with an all registrants type, everybody)."""
    return state(kind, None if kind in ALL else A, **(keys or {"a": 1, "b": 2, "c": 3}))


def refused(asc: Asc, rule: rules.Rule, before: State, request: Request) -> None:
    with pytest.raises(CheckCondition) as caught:
        rule(before, request)
    assert caught.value.asc == asc


# -- registering -----------------------------------------------------------------------------------------------------


def test_the_first_registration_names_key_0():
    change = rules.register(state(), Request(A, 0, 5))
    assert change.state == State(8, {A: 5})
    with pytest.raises(ReservationConflict):
        rules.register(state(), Request(A, 1, 5))


def test_registering_nothing_while_not_registered_changes_nothing():
    assert rules.register(state(b=2), Request(A)) == Change(state(b=2))
    assert rules.register_and_ignore_existing_key(state(b=2), Request(A, 9)) == Change(state(b=2))


def test_a_registered_nexus_names_its_key_to_change_it():
    with pytest.raises(ReservationConflict):
        rules.register(state(a=1), Request(A, 2, 5))
    assert rules.register(state(a=1), Request(A, 1, 5)).state.keys == {A: 5}


def test_ignoring_the_existing_key_needs_none():
    assert rules.register_and_ignore_existing_key(state(a=1, b=2), Request(A, 77, 5)).state.keys == {A: 5, B: 2}


def test_a_change_of_key_keeps_the_reservation():
    change = rules.register(held(WE), Request(A, 1, 9))
    assert (change.state.type, change.state.holder, change.attentions) == (WE, A, ())


@pytest.mark.parametrize("kind", TYPES)
def test_the_holder_that_unregisters_releases_what_nobody_else_holds(kind):
    change = rules.register(held(kind), Request(A, 1, 0))
    assert change.state.keys == {B: 2, C: 3}
    assert change.state.type == (kind if kind in ALL else 0)
    told = {(B, Asc.RESERVATIONS_RELEASED), (C, Asc.RESERVATIONS_RELEASED)} if kind in REGISTRANTS else set()
    assert set(change.attentions) == told


@pytest.mark.parametrize("kind", ALL)
def test_the_last_registrant_that_unregisters_ends_an_all_registrants_reservation(kind):
    assert rules.register(held(kind, a=1), Request(A, 1, 0)).state == State(8)


def test_another_than_the_holder_unregisters_without_a_word():
    change = rules.register(held(WE_RO), Request(B, 2, 0))
    assert (change.state.holder, change.attentions) == (A, ())


def test_spec_i_pt_registers_all_or_none():
    change = rules.register(state(), Request(A, 0, 5, also=(B, C), spec_i_pt=True))
    assert change.state.keys == {A: 5, B: 5, C: 5}
    request = Request(A, 0, 5, also=(B, C), spec_i_pt=True)  # SPC-4 table 67, note b
    refused(Asc.INVALID_FIELD_IN_PARAMETER_LIST, rules.register, state(c=3), request)


def test_spec_i_pt_is_for_nexuses_that_are_not_registered_and_not_for_ignoring_keys():
    request = Request(A, 1, 5, also=(B,), spec_i_pt=True)
    refused(Asc.INVALID_FIELD_IN_PARAMETER_LIST, rules.register, state(a=1), request)
    refused(Asc.INVALID_FIELD_IN_PARAMETER_LIST, rules.register_and_ignore_existing_key, state(), request)


def test_aptpl_is_what_the_last_registration_said():
    change = rules.register(state(), Request(A, 0, 5, persists=True))
    assert change.state.persists
    assert not rules.register(change.state, Request(B, 0, 6)).state.persists


# -- reserving and releasing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", [rules.reserve, rules.release, rules.clear, rules.preempt])
def test_only_a_registered_nexus_that_knows_its_key_may(action):
    for request in (Request(A, 0, 2, WE), Request(B, 1, 2, WE)):
        with pytest.raises(ReservationConflict):
            action(state(b=2), request)


@pytest.mark.parametrize("kind", TYPES)
def test_reserving(kind):
    change = rules.reserve(state(a=1, b=2), Request(A, 1, 0, kind))
    assert change == Change(State(7, {A: 1, B: 2}, kind, None if kind in ALL else A))
    assert rules.reserve(change.state, Request(A, 1, 0, kind)) == Change(change.state)
    if kind in ALL:
        assert rules.reserve(change.state, Request(B, 2, 0, kind)) == Change(change.state)
    else:
        with pytest.raises(ReservationConflict):
            rules.reserve(change.state, Request(B, 2, 0, kind))
    for other in set(TYPES) - {kind}:
        with pytest.raises(ReservationConflict):
            rules.reserve(change.state, Request(A, 1, 0, other))


@pytest.mark.parametrize("kind", TYPES)
def test_releasing(kind):
    before = held(kind)
    change = rules.release(before, Request(A, 1, 0, kind))
    assert change.state == State(7, before.keys)
    told = set() if kind in PLAIN else {(B, Asc.RESERVATIONS_RELEASED), (C, Asc.RESERVATIONS_RELEASED)}
    assert set(change.attentions) == told
    for other in set(TYPES) - {kind}:
        refused(Asc.INVALID_RELEASE_OF_PERSISTENT_RESERVATION, rules.release, before, Request(A, 1, 0, other))
    if kind not in ALL:
        assert rules.release(before, Request(B, 2, 0, kind)) == Change(before)
    assert rules.release(state(a=1), Request(A, 1, 0, kind)) == Change(state(a=1))


@pytest.mark.parametrize("kind", TYPES)
def test_clearing(kind):
    change = rules.clear(held(kind), Request(B, 2))
    assert change.state == State(8)
    assert set(change.attentions) == {(A, Asc.RESERVATIONS_PREEMPTED), (C, Asc.RESERVATIONS_PREEMPTED)}


# -- preempting ------------------------------------------------------------------------------------------------------


def test_preempting_a_key_that_nobody_has_is_a_conflict_and_key_0_is_refused():
    for before in (state(a=1), held(WE), held(EA_RO)):
        with pytest.raises(ReservationConflict):
            rules.preempt(before, Request(A, 1, 99, WE))
        refused(Asc.INVALID_FIELD_IN_PARAMETER_LIST, rules.preempt, before, Request(A, 1, 0, WE))


def test_preempting_without_a_reservation_removes_registrations_only():
    change = rules.preempt(state(a=1, b=2, c=2), Request(A, 1, 2, WE))
    assert change.state == State(8, {A: 1})
    assert set(change.attentions) == {(B, Asc.REGISTRATIONS_PREEMPTED), (C, Asc.REGISTRATIONS_PREEMPTED)}
    assert len(change.attentions) == 2
    assert change == Change(change.state, change.attentions, frozenset({B, C}))


@pytest.mark.parametrize("kind", [*PLAIN, *REGISTRANTS])
@pytest.mark.parametrize("wanted", TYPES)
def test_preempting_the_holder_takes_its_reservation_over(kind, wanted):
    change = rules.preempt(held(kind), Request(B, 2, 1, wanted))
    assert change.state == State(8, {B: 2, C: 3}, wanted, None if wanted in ALL else B)
    told = {(A, Asc.REGISTRATIONS_PREEMPTED)}
    if wanted != kind:  # SPC-4 5.13.11.2.4.3 f)
        told.add((C, Asc.RESERVATIONS_RELEASED))
    assert set(change.attentions) == told
    assert change.preempted == {A}


def test_the_holder_that_preempts_itself_changes_the_type_and_stays_registered():
    change = rules.preempt(held(WE), Request(A, 1, 1, EA))
    assert change.state == State(8, {A: 1, B: 2, C: 3}, EA, A)
    assert set(change.attentions) == {(B, Asc.RESERVATIONS_RELEASED), (C, Asc.RESERVATIONS_RELEASED)}
    assert change.preempted == {A}
    assert rules.preempt(held(WE), Request(A, 1, 1, WE)).attentions == ()


def test_a_shared_key_goes_with_the_holder_but_for_the_one_that_asks():
    change = rules.preempt(held(WE, a=1, b=1, c=3), Request(B, 1, 1, WE))
    assert change.state == State(8, {B: 1, C: 3}, WE, B)
    assert change.attentions == ((A, Asc.REGISTRATIONS_PREEMPTED),)
    assert change.preempted == {A, B}  # all that are registered with the key: SPC-4 5.13.11.2.6


def test_who_is_no_holder_and_names_its_own_key_goes_without_a_word():  # SPC-4 5.13.11.2.5, its last sentence
    change = rules.preempt(held(WE_RO), Request(B, 2, 2, WE))
    assert change == Change(State(8, {A: 1, C: 3}, WE_RO, A), (), frozenset({B}))


def test_preempting_another_than_the_holder_leaves_the_reservation():
    change = rules.preempt(held(WE_RO), Request(A, 1, 3, EA))
    assert change.state == State(8, {A: 1, B: 2}, WE_RO, A)
    assert change.attentions == ((C, Asc.REGISTRATIONS_PREEMPTED),)


@pytest.mark.parametrize("kind", ALL)
def test_of_an_all_registrants_reservation_key_0_means_everybody_else(kind):
    change = rules.preempt(held(kind), Request(A, 1, 0, WE))
    assert change.state == State(8, {A: 1}, WE, A)
    assert {who for who, asc in change.attentions if asc == Asc.REGISTRATIONS_PREEMPTED} == {B, C}
    assert change.preempted == {A, B, C}


@pytest.mark.parametrize("kind", ALL)
def test_of_an_all_registrants_reservation_another_key_removes_registrations_only(kind):
    change = rules.preempt(held(kind), Request(A, 1, 2, WE))
    assert change.state == State(8, {A: 1, C: 3}, kind, None)
    assert change.attentions == ((B, Asc.REGISTRATIONS_PREEMPTED),)


# -- moving ----------------------------------------------------------------------------------------------------------


def test_the_reservation_moves_to_a_port_that_is_registered_by_that():
    change = rules.register_and_move(held(WE, a=1), Request(A, 1, 9, target=B))
    assert change.state == State(8, {A: 1, B: 9}, WE, B)
    gone = rules.register_and_move(held(WE), Request(A, 1, 9, target=B, unregister=True))
    assert gone.state == State(8, {B: 9, C: 3}, WE, B)


@pytest.mark.parametrize("kind", ALL)
def test_an_all_registrants_reservation_can_not_move(kind):
    with pytest.raises(ReservationConflict):
        rules.register_and_move(held(kind), Request(A, 1, 9, target=B))


def test_moving_is_for_the_holder_that_knows_its_key():
    cases = ((state(b=1), A, 1), (held(WE), B, 2), (held(WE), B, 9), (held(WE), A, 2), (state(), A, 0))
    for before, who, key in cases:
        with pytest.raises(ReservationConflict):
            rules.register_and_move(before, Request(who, key, 9, target=C))


def test_moving_needs_a_key_and_another_port():
    refused(Asc.INVALID_FIELD_IN_PARAMETER_LIST, rules.register_and_move, held(WE), Request(A, 1, 0, target=B))
    for port in (1, 2):  # the same initiator port, through whatever target port: SPC-4 5.13.8
        itself = A._replace(relative_target_port=port)
        refused(Asc.INVALID_FIELD_IN_PARAMETER_LIST, rules.register_and_move, held(WE), Request(A, 1, 9, target=itself))


def test_without_a_reservation_there_is_nothing_to_move():  # SPC-4 5.13.8
    refused(Asc.INVALID_FIELD_IN_CDB, rules.register_and_move, state(a=1), Request(A, 1, 9, target=B))


# -- what always holds -----------------------------------------------------------------------------------------------

ACTIONS = {
    "register": rules.register,
    "ignore": rules.register_and_ignore_existing_key,
    "reserve": rules.reserve,
    "release": rules.release,
    "clear": rules.clear,
    "preempt": rules.preempt,
    "move": rules.register_and_move,
}
WHO, KEYS = st.sampled_from((A, B, C)), st.integers(0, 3)
REQUESTS = st.builds(
    Request, WHO, KEYS, KEYS, st.sampled_from(TYPES), st.booleans(), st.lists(WHO, max_size=2).map(tuple), WHO,
    st.booleans(), st.booleans(),
)  # fmt: skip


@settings(max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(sorted(ACTIONS)), REQUESTS), max_size=25))
def test_whatever_is_asked_the_state_makes_sense(history):
    now = State()
    for action, request in history:
        before = now
        try:
            change = ACTIONS[action](now, request)
        except StatusError:
            continue
        now = change.state
        assert 0 not in now.keys.values()
        if now.type in ALL:
            assert now.holder is None and now.keys
        else:
            assert (now.type == 0) == (now.holder is None)
            assert now.holder is None or now.holder in now.keys
        assert all(who != request.who for who, _ in change.attentions)
        lost = set(before.keys) - set(now.keys) - {request.who}
        told = {who for who, _ in change.attentions}
        assert lost <= told | set(request.also)  # nobody loses a registration and hears nothing of it
        if now.generation != before.generation:
            assert action not in ("reserve", "release")
