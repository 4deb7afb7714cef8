"""A ring command's buffers as views of the mapping, and the sense a ring entry takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.scsi.command import ANY
from tcmu_gluster.tcmu.ring_command import (
    BIDIRECTIONAL_REFUSED,
    LENGTH_REFUSED,
    NO_SENSE_GIVEN,
    RingCommand,
    sense_for_ring,
)

INQUIRY = bytes.fromhex("12 00 00 00ff 00")


def command(*runs: tuple[int, int], memory: bytearray | None = None) -> tuple[RingCommand, bytearray]:
    memory = bytearray(b"\xee" * 256) if memory is None else memory
    flat = tuple(number for run in runs for number in run)
    return RingCommand(memoryview(memory), 7, INQUIRY, flat, sum(length for _, length in runs), 1, None), memory


def test_the_ring_tells_no_nexus_and_no_lun() -> None:
    made, _ = command((0, 8))
    assert (made.nexus, made.lun, made.done) == (ANY, 0, None)
    assert "ring id 7" in str(made)


def test_data_out_is_all_iovecs_in_order() -> None:
    made, memory = command((100, 3), (10, 2), (50, 0))
    memory[100:103], memory[10:12] = b"abc", b"de"
    assert b"".join(made.data_out) == b"abcde"
    assert made.data_out_bytes == made.data_in_bytes == 5


@pytest.mark.parametrize(("length", "lengths"), [(0, []), (2, [2]), (3, [3]), (4, [3, 1]), (5, [3, 2]), (9, [3, 2, 4])])
def test_data_in_is_cut_to_length_and_spills_into_private_memory(length: int, lengths: list[int]) -> None:
    made, memory = command((100, 3), (10, 2))
    views = made.data_in(length)
    assert [len(view) for view in views] == lengths
    for view in views:
        view[:] = b"v" * len(view)
    assert memory.count(b"v") == min(length, 5)


def test_the_whole_buffer_is_remembered_so_that_nothing_is_copied() -> None:
    made, _ = command((100, 3), (10, 2))
    assert made.whole is None
    assert made.data_in(5) is made.whole


def test_no_buffer_at_all() -> None:
    made, memory = command()
    assert (list(made.data_out), list(made.data_in(0)), made.put_data_in([b"x"])) == ([], [], 0)
    assert memory == b"\xee" * 256


@given(
    st.lists(st.integers(0, 12), max_size=5),
    st.lists(st.binary(max_size=20), max_size=5),
    st.booleans(),
)
def test_put_data_in_writes_every_byte_and_none_besides(
    lengths: list[int], chunks: list[bytes], as_views: bool
) -> None:
    runs = [(16 * (5 - index), length) for index, length in enumerate(lengths)]
    made, memory = command(*runs)
    total, data = sum(lengths), b"".join(chunks)
    moved = made.put_data_in([memoryview(chunk) for chunk in chunks] if as_views else chunks)
    assert moved == min(total, len(data))
    assert b"".join(made.data_out) == (data + bytes(total))[:total]
    owned = {at for base, length in runs for at in range(base, base + length)}
    assert all(byte == 0xEE for at, byte in enumerate(memory) if at not in owned)


@given(st.permutations(range(4)))
def test_views_of_the_mapping_may_come_back_in_any_order(order: list[int]) -> None:
    made, memory = command((100, 3), (10, 5))
    memory[100:103], memory[10:15] = b"abc", b"defgh"
    first, second = made.data_in(8)
    pieces = [first[:1], first[1:], second[:4], second[4:]]
    expected = b"".join([b"a", b"bc", b"defg", b"h"][index] for index in order)
    assert made.put_data_in([pieces[index] for index in order]) == 8
    assert b"".join(made.data_out) == expected


@pytest.mark.parametrize("response_code", [0x70, 0x71, 0x72, 0x73, 0xF0])
def test_sense_fills_exactly_96_bytes(response_code: int) -> None:
    sense = bytes([response_code]) + b"s" * 17
    assert sense_for_ring(sense) == sense + bytes(78)
    assert len(sense_for_ring(sense * 20)) == 96


@pytest.mark.parametrize("sense", [b"", bytes(18), b"\x6f" + bytes(17)])
def test_what_is_no_sense_becomes_an_internal_failure(sense: bytes) -> None:
    """SPC-4 table 27 (sense keys) and 4.5.3: fixed format, HARDWARE ERROR, INTERNAL TARGET FAILURE."""
    assert sense_for_ring(sense) is NO_SENSE_GIVEN
    assert (NO_SENSE_GIVEN[0], NO_SENSE_GIVEN[2], NO_SENSE_GIVEN[7]) == (0x70, 0x04, 10)
    assert NO_SENSE_GIVEN[12:14] == b"\x44\x00" and len(NO_SENSE_GIVEN) == 96


def test_the_rings_own_refusals_are_illegal_requests() -> None:
    for refusal, asc in ((BIDIRECTIONAL_REFUSED, b"\x24\x00"), (LENGTH_REFUSED, b"\x0e\x03")):
        assert (refusal.status, refusal.sense[2], refusal.sense[12:14]) == (2, 5, asc)
