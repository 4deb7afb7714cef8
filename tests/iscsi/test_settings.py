"""The defaults must be values that may be negotiated."""

from __future__ import annotations

import pytest

from tcmu_gluster.iscsi.keys import TABLE
from tcmu_gluster.iscsi.settings import DEFAULTS


@pytest.mark.parametrize("key", [key for key in TABLE.values() if key.ours and key.highest])
def test_defaults_lie_in_the_range_of_their_key(key: object) -> None:
    assert key.lowest <= getattr(DEFAULTS, key.ours) <= key.highest


def test_declared_segment_is_legal_and_first_burst_is_no_longer_than_a_burst() -> None:
    declared = TABLE["MaxRecvDataSegmentLength"]
    assert declared.lowest <= DEFAULTS.max_recv_data_segment_bytes <= declared.highest
    assert DEFAULTS.first_burst_bytes <= DEFAULTS.max_burst_bytes


def test_a_landing_starts_long_before_the_buffer_is_full() -> None:
    assert DEFAULTS.landing_bytes * 2 <= DEFAULTS.receive_buffer_bytes
