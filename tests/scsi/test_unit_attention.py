"""Unit attentions: one queue a nexus, resets first."""

from __future__ import annotations

from tcmu_gluster.scsi.command import Nexus
from tcmu_gluster.scsi.sense import Asc
from tcmu_gluster.scsi.unit_attention import MAXIMUM_LOST, MAXIMUM_QUEUED, UnitAttentions

A, B = Nexus("a"), Nexus("b")


def heard(attentions: UnitAttentions, nexus: Nexus) -> Asc | None:
    """The code of what a nexus hears next."""
    attention = attentions.take(nexus)
    return None if attention is None else attention.asc


def attached() -> UnitAttentions:
    attentions = UnitAttentions()
    attentions.attach(A)
    attentions.attach(B)
    return attentions


def test_each_nexus_hears_once() -> None:
    attentions = attached()
    attentions.establish_all(Asc.CAPACITY_DATA_CHANGED)
    assert attentions.pending == 2
    assert heard(attentions, A) == Asc.CAPACITY_DATA_CHANGED
    assert heard(attentions, A) is None
    assert attentions.pending == 1
    assert heard(attentions, B) == Asc.CAPACITY_DATA_CHANGED
    assert attentions.pending == 0


def test_the_one_who_did_it_does_not_hear() -> None:
    attentions = attached()
    attentions.establish_all(Asc.MODE_PARAMETERS_CHANGED, besides=A)
    assert heard(attentions, A) is None
    assert heard(attentions, B) == Asc.MODE_PARAMETERS_CHANGED


def test_the_same_condition_twice_is_one() -> None:
    attentions = attached()
    attentions.establish(A, Asc.CAPACITY_DATA_CHANGED)
    attentions.establish(A, Asc.CAPACITY_DATA_CHANGED)
    heard(attentions, A)
    assert heard(attentions, A) is None


def test_what_stands_in_information_tells_conditions_of_one_code_apart() -> None:
    attentions = attached()
    for information in (16, 24, 16):
        attentions.establish(A, Asc.THIN_PROVISIONING_SOFT_THRESHOLD_REACHED, information)
    told = [attentions.take(A), attentions.take(A)]
    assert [one and one.information for one in told] == [16, 24]
    assert attentions.take(A) is None and attentions.pending == 0


def test_what_is_for_the_first_is_heard_by_one_nexus_alone() -> None:
    attentions = attached()
    attentions.establish(B, Asc.CAPACITY_DATA_CHANGED)
    for _ in range(2):
        attentions.establish_for_the_first(Asc.THIN_PROVISIONING_SOFT_THRESHOLD_REACHED, 16)
    assert attentions.pending == 2
    assert heard(attentions, Nexus("nobody")) is None
    assert heard(attentions, B) == Asc.CAPACITY_DATA_CHANGED
    assert [heard(attentions, A), heard(attentions, A)] == [None, None]
    assert [heard(attentions, B), heard(attentions, B)] == [Asc.THIN_PROVISIONING_SOFT_THRESHOLD_REACHED, None]
    assert attentions.pending == 0


def test_a_reset_makes_the_rest_superfluous() -> None:
    attentions = attached()
    attentions.establish(A, Asc.CAPACITY_DATA_CHANGED)
    attentions.establish(A, Asc.BUS_DEVICE_RESET)
    assert heard(attentions, A) == Asc.BUS_DEVICE_RESET
    assert heard(attentions, A) is None


def test_a_lesser_reset_does_not_hide_power_on() -> None:
    attentions = attached()
    attentions.establish(A, Asc.POWER_ON_OCCURRED)
    attentions.establish(A, Asc.NEXUS_LOSS)
    assert heard(attentions, A) == Asc.POWER_ON_OCCURRED
    assert heard(attentions, A) is None


def test_what_happens_after_a_reset_is_heard_after_it() -> None:
    attentions = attached()
    attentions.establish(A, Asc.POWER_ON_OCCURRED)
    attentions.establish(A, Asc.CAPACITY_DATA_CHANGED)
    assert [heard(attentions, A), heard(attentions, A)] == [Asc.POWER_ON_OCCURRED, Asc.CAPACITY_DATA_CHANGED]


def test_unknown_nexuses_hear_nothing_and_cost_nothing() -> None:
    attentions = UnitAttentions()
    attentions.establish(A, Asc.POWER_ON)
    assert attentions.pending == 0
    assert heard(attentions, A) is None


def test_detaching_forgets() -> None:
    attentions = attached()
    attentions.establish(A, Asc.POWER_ON)
    attentions.detach(A)
    assert attentions.pending == 0
    attentions.detach(A)
    assert attentions.nexuses() == (B,)


def test_a_nexus_that_was_lost_and_comes_back_hears_that() -> None:
    attentions = UnitAttentions()
    attentions.attach(A, Asc.POWER_ON_OCCURRED)
    assert heard(attentions, A) == Asc.POWER_ON_OCCURRED
    attentions.establish(A, Asc.CAPACITY_DATA_CHANGED)
    attentions.detach(A)
    attentions.attach(A, Asc.POWER_ON_OCCURRED)
    assert [heard(attentions, A), heard(attentions, A)] == [Asc.NEXUS_LOSS, None]
    attentions.attach(A, Asc.POWER_ON_OCCURRED)  # a session that replaces one which nobody saw end
    assert heard(attentions, A) == Asc.NEXUS_LOSS


def test_a_reset_that_was_not_heard_of_is_heard_after_the_loss() -> None:
    attentions = UnitAttentions()
    attentions.attach(A, Asc.POWER_ON_OCCURRED)
    attentions.detach(A)
    attentions.attach(A, Asc.POWER_ON_OCCURRED)
    assert [heard(attentions, A), heard(attentions, A)] == [Asc.POWER_ON_OCCURRED, None]


def test_lost_nexuses_do_not_make_us_grow() -> None:
    attentions = UnitAttentions()
    names = [Nexus(f"iqn.2026-11.test:{number}") for number in range(MAXIMUM_LOST + 1)]
    for nexus in names:
        attentions.attach(nexus)
        attentions.detach(nexus)
    for nexus in names[:2]:
        attentions.attach(nexus, Asc.POWER_ON_OCCURRED)
    assert [heard(attentions, nexus) for nexus in names[:2]] == [Asc.POWER_ON_OCCURRED, Asc.NEXUS_LOSS]


def test_a_nexus_that_never_asks_does_not_make_us_grow() -> None:
    attentions = attached()
    lesser = [asc for asc in Asc if asc >> 8 not in (0x29,)]
    for asc in lesser:
        attentions.establish(A, asc)
    all_heard = []
    while (asc := heard(attentions, A)) is not None:
        all_heard.append(asc)
    assert len(all_heard) == min(MAXIMUM_QUEUED, len(lesser))
    assert all_heard[-1] == lesser[-1]


def test_a_reset_is_not_what_goes_when_the_queue_is_full() -> None:
    attentions = attached()
    attentions.establish(A, Asc.BUS_DEVICE_RESET)
    for asc in (asc for asc in Asc if asc >> 8 != 0x29):
        attentions.establish(A, asc)
    assert heard(attentions, A) == Asc.BUS_DEVICE_RESET
    rest = 0
    while heard(attentions, A) is not None:
        rest += 1
    assert rest == MAXIMUM_QUEUED - 1


def test_clearing_one_condition() -> None:
    attentions = attached()
    attentions.establish(A, Asc.REPORTED_LUNS_DATA_CHANGED)
    attentions.clear(A, Asc.REPORTED_LUNS_DATA_CHANGED)
    assert attentions.pending == 0
