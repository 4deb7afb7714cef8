"""Gaps in sequences of Data-Out."""

from __future__ import annotations

from tcmu_gluster.iscsi.burst import MOST_RECOVERIES, PROTOCOL_SERVICE_CRC_ERROR, Burst, Transfer
from tcmu_gluster.iscsi.pdu import NO_TAG


def test_a_skip_forward_leaves_a_gap() -> None:
    burst = Burst(1000, 5000)
    assert burst.skip(2, 3000)
    assert (burst.at, burst.data_sn, burst.gaps) == (3000, 2, [(1000, 3000)])


def test_what_does_not_go_forward_is_no_skip() -> None:
    burst = Burst(1000, 5000)
    burst.at, burst.data_sn = 3000, 2
    for data_sn, offset in ((2, 4000), (1, 2000), (3, 3000), (3, 2000), (3, 5000), (3, 6000)):
        assert not burst.skip(data_sn, offset)
    assert burst.gaps == []


def test_neighbouring_gaps_are_one() -> None:
    burst = Burst(0, 5000)
    burst.lose(1000)
    burst.lose(2000)
    burst.at = 3000
    burst.lose(3000)
    burst.lose(4000)
    assert burst.gaps == [(0, 2000), (3000, 4000)]


def test_giving_up_bursts_makes_their_rest_missing() -> None:
    transfer = Transfer(10_000)
    solicited, unsolicited = Burst(4000, 8000, 0), Burst(0, 4000)
    solicited.at, unsolicited.at = 5000, 1000
    unsolicited.lose(2000)
    transfer.bursts = {NO_TAG: unsolicited, 7: solicited}
    assert transfer.give_up_bursts() == 2
    assert transfer.requested == 2000, "what an initiator may send unasked is not owed: R2Ts go on from there"
    assert transfer.missing == [(1000, 2000), (5000, 8000)] and not transfer.bursts


def test_asking_again_has_an_end() -> None:
    transfer = Transfer(10_000)
    transfer.missing = [(index, index + 1) for index in range(MOST_RECOVERIES + 1)]
    assert [transfer.next_missing() for _ in range(MOST_RECOVERIES)] == [(n, n + 1) for n in range(MOST_RECOVERIES)]
    assert not transfer.failed
    assert transfer.next_missing() is None and transfer.failed == PROTOCOL_SERVICE_CRC_ERROR
    transfer.missing = []
    assert transfer.next_missing() is None
