"""Several views used as one behave like their concatenation."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.scsi import buffers

CHUNKS = st.lists(st.binary(max_size=20), max_size=5)


def views(chunks: list[bytes]) -> list[memoryview]:
    return [memoryview(bytearray(chunk)) for chunk in chunks]


@given(CHUNKS, st.integers(0, 120), st.integers(0, 120))
def test_cut_is_a_slice_of_the_concatenation(chunks: list[bytes], start: int, length: int) -> None:
    whole = b"".join(chunks)
    assert b"".join(buffers.cut(views(chunks), start, length)) == whole[start : start + length]


@given(CHUNKS, st.integers(0, 120))
def test_gather_is_the_concatenation_up_to_a_limit(chunks: list[bytes], limit: int) -> None:
    assert buffers.gather(views(chunks)) == b"".join(chunks)
    assert buffers.gather(views(chunks), limit) == b"".join(chunks)[:limit]
    assert buffers.length_of(views(chunks)) == len(b"".join(chunks))


@given(CHUNKS, st.binary(max_size=60), st.integers(0, 60))
def test_scatter_overwrites_only_what_it_covers(chunks: list[bytes], data: bytes, start: int) -> None:
    whole = b"".join(chunks)
    target = views(chunks)
    copied = buffers.scatter(target, data, start)
    expected = bytearray(whole)
    expected[start : start + copied] = data[:copied]
    assert copied == max(min(len(whole) - start, len(data)), 0)
    assert b"".join(target) == expected


@given(CHUNKS, CHUNKS)
def test_first_difference_of_random_views(left: list[bytes], right: list[bytes]) -> None:
    a, b = b"".join(left), b"".join(right)
    expected = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), None)
    assert buffers.first_difference(views(left), views(right)) == expected


@given(st.binary(min_size=1, max_size=300), st.data())
def test_first_difference_finds_one_changed_byte_across_cuts(data: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data) - 1))
    cut = draw.draw(st.integers(0, len(data)))
    changed = bytearray(data)
    changed[at] ^= 0x40
    halves = views([bytes(changed[:cut]), bytes(changed[cut:])])
    assert buffers.first_difference(views([data]), halves) == at
    assert buffers.first_difference(views([data]), views([data[:cut], data[cut:]])) is None


def test_is_zero_and_zero() -> None:
    some = views([b"\0\0", b"\0\1"])
    assert not buffers.is_zero(some)
    buffers.zero(some)
    assert buffers.is_zero(some)
    assert buffers.is_zero([])


def test_repeated() -> None:
    assert bytes(buffers.repeated(b"ab", 6)) == b"ababab"
