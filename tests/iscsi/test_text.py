"""key=value text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.iscsi.text import (
    MAX_KEY_BYTES,
    MAX_NEGOTIATION_BYTES,
    MAX_VALUE_BYTES,
    Collector,
    TextError,
    cut,
    decode,
    encode,
)

KEYS = st.from_regex(r"[A-Za-z0-9.+@_-]{1,63}", fullmatch=True)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200)


def test_pairs_in_order() -> None:
    data = b"InitiatorName=iqn.2026-01.example:a\0SessionType=Normal\0"  # RFC 7143 6.1: each pair ends with NUL
    pairs = [("InitiatorName", "iqn.2026-01.example:a"), ("SessionType", "Normal")]
    assert decode(data) == pairs
    assert encode(pairs) == data


def test_nothing_is_no_pairs() -> None:
    assert decode(b"") == [] and encode([]) == b""


def test_a_value_may_hold_equals_signs_and_be_empty() -> None:
    assert decode(b"X-a=b=c\0SendTargets=\0") == [("X-a", "b=c"), ("SendTargets", "")]


@pytest.mark.parametrize("data", [
    b"A=1", b"A\0", b"=1\0", b"A=1\0A=2\0", b"A B=1\0", b"A=\xff\xfe\0", b"A=1\n\0",
    b"K" * (MAX_KEY_BYTES + 1) + b"=1\0", b"A=" + b"1" * (MAX_VALUE_BYTES + 1) + b"\0",
])  # fmt: skip
def test_what_breaks_the_rules_is_refused(data: bytes) -> None:
    with pytest.raises(TextError):
        decode(data)


@given(st.dictionaries(KEYS, VALUES, max_size=20))
def test_round_trip(pairs: dict[str, str]) -> None:
    assert decode(encode(pairs.items())) == list(pairs.items())


@given(st.binary(max_size=400))
def test_any_bytes_are_pairs_or_a_text_error(data: bytes) -> None:
    try:
        pairs = decode(data)
    except TextError:
        return
    assert len({key for key, _ in pairs}) == len(pairs)


@given(st.dictionaries(KEYS, VALUES, max_size=10), st.integers(1, 30))
def test_collector_joins_what_was_cut_anywhere(pairs: dict[str, str], size: int) -> None:
    collector = Collector()
    for piece in cut(encode(pairs.items()), size):
        collector.add(piece)
    assert collector.finish() == list(pairs.items())
    assert not collector.collecting


def test_collector_refuses_more_than_its_limit_and_forgets_it() -> None:
    collector = Collector()
    collector.add(b"a" * MAX_NEGOTIATION_BYTES)
    with pytest.raises(TextError):
        collector.add(b"b")
    assert not collector.collecting


def test_cut_of_nothing_is_one_empty_piece() -> None:
    assert cut(b"", 8) == [b""]
