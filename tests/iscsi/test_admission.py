"""Who may connect, and how long a failed login waits for its answer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.iscsi.admission import REMEMBERED_ADDRESSES, Admission, Limits, group_of

GOOD, BAD = "192.0.2.1", "192.0.2.66"


def test_a_flood_from_one_address_is_limited_and_others_come_in() -> None:
    admission = Admission(Limits(logins_per_address=64))
    admitted = sum(not admission.arrive(BAD, 0.0) for _ in range(10_000))
    assert admitted == 64 and admission.turned_away == 10_000 - 64
    assert admission.arrive(GOOD, 0.0) == ""
    assert "192.0.2.66 has 64" in admission.arrive(BAD, 0.0)


def test_who_logs_in_makes_room_for_the_next() -> None:
    admission = Admission(Limits(logins_per_address=1))
    for _ in range(10):
        assert not admission.arrive(GOOD, 0.0)
        assert admission.arrive(GOOD, 0.0)
        admission.logged_in(GOOD)
    assert (admission.connections, admission.logins) == (10, 0)


def test_connections_of_an_address_and_of_all_are_bounded() -> None:
    admission = Admission(Limits(connections=3, connections_per_address=2))
    for address in (GOOD, GOOD, BAD):
        assert not admission.arrive(address, 0.0)
        admission.logged_in(address)
    assert "3 connections are open" in admission.arrive(BAD, 0.0)
    admission.leave(BAD, in_login=False)
    assert "192.0.2.1 has 2 connections open" in admission.arrive(GOOD, 0.0)


def test_logins_of_many_addresses_together_are_bounded() -> None:
    admission = Admission(Limits(logins=5))
    admitted = sum(not admission.arrive(f"192.0.2.{host}", 0.0) for host in range(1, 50))
    assert admitted == 5


def test_each_failure_waits_twice_as_long_up_to_a_bound() -> None:
    admission = Admission(Limits(first_delay_seconds=0.5, longest_delay_seconds=5.0))
    waits = []
    for _ in range(40):
        assert not admission.arrive(BAD, 100.0)
        waits.append(admission.failed(BAD, 100.0))
    assert waits[:5] == [0.5, 1.0, 2.0, 4.0, 5.0] and set(waits[4:]) == {5.0}
    assert admission.failures() == {BAD: 40}
    assert not admission.arrive(GOOD, 100.0)
    assert admission.failed(GOOD, 100.0) == 0.5


def test_failures_are_forgotten_after_a_while() -> None:
    admission = Admission(Limits(forget_seconds=300.0))
    for now, wait in ((0.0, 0.5), (1.0, 1.0), (301.0, 2.0), (602.0, 0.5)):
        assert not admission.arrive(BAD, now)
        assert admission.failed(BAD, now) == wait


def test_hanging_up_early_does_not_let_one_guess_faster() -> None:
    admission = Admission(Limits(logins_per_address=4, first_delay_seconds=1.0, longest_delay_seconds=1.0))
    guesses = 0
    for tick in range(100):  # ten seconds, a connection every tenth, closed as soon as it has guessed
        now = tick / 10
        if not admission.arrive(BAD, now):
            admission.failed(BAD, now)
            admission.leave(BAD, in_login=False)
            guesses += 1
    assert guesses == 40 and admission.connections == admission.logins == 0


def test_an_ipv6_network_counts_as_one() -> None:
    assert group_of("2001:db8::1") == group_of("2001:db8::ffff:1") != group_of("2001:db8:0:1::1")
    assert group_of("::ffff:192.0.2.1") == group_of("192.0.2.1")
    assert group_of("fe80::1%eth0") == group_of("fe80::2%eth0")
    assert group_of("somewhere") == "somewhere"


def test_the_memory_of_failures_is_bounded() -> None:
    admission = Admission()
    for number in range(REMEMBERED_ADDRESSES + 100):
        address = f"10.0.{number >> 8}.{number & 255}"
        assert not admission.arrive(address, 0.0)
        admission.failed(address, 0.0)
        admission.leave(address, in_login=False)
    assert len(admission.failures()) == REMEMBERED_ADDRESSES


@given(st.lists(st.tuples(st.sampled_from(["arrive", "login", "fail", "leave"]), st.sampled_from([GOOD, BAD]))))
def test_the_counts_are_those_of_what_is_open(steps: list[tuple[str, str]]) -> None:
    admission = Admission(Limits(connections=5, connections_per_address=4, logins=3, logins_per_address=2))
    there: list[tuple[str, bool]] = []  # (address, in login)
    for now, (step, address) in enumerate(steps):
        waiting = next((peer for peer in there if peer == (address, True)), None)
        anybody = next((peer for peer in there if peer[0] == address), None)
        if step == "arrive":
            if not admission.arrive(address, float(now)):
                there.append((address, True))
        elif step == "leave" and anybody is not None:
            there.remove(anybody)
            admission.leave(*anybody)
        elif step in ("login", "fail") and waiting is not None:
            there[there.index(waiting)] = (address, False)
            if step == "login":
                admission.logged_in(address)
            else:
                admission.failed(address, float(now))
        assert admission.connections == len(there) <= 5
        assert admission.logins == sum(in_login for _, in_login in there) <= 3
        for one in (GOOD, BAD):
            assert sum(peer == (one, True) for peer in there) <= 2
