"""How Data-In is cut; what a SNACK does with what is kept is test_snack.py's."""

from __future__ import annotations

from typing import Any

from tcmu_gluster.iscsi.keeper import Answer


def pieces(
    length: int, segment: int, burst: int, *, first: int = 0, skipped: int = 0
) -> list[tuple[int, int, int, bool]]:
    nobody: Any = None
    answer = Answer(nobody, nobody, length, first, segment=segment, skipped=skipped)
    return list(answer.pieces(burst))


def test_the_final_bit_ends_each_sequence_and_the_whole() -> None:
    assert pieces(10_000, 2048, 4096) == [
        (0, 0, 2048, False), (1, 2048, 2048, True), (2, 4096, 2048, False), (3, 6144, 2048, True),
        (4, 8192, 1808, True),
    ]  # fmt: skip


def test_no_piece_is_longer_than_its_burst() -> None:
    assert pieces(3000, 8192, 1024) == [(0, 0, 1024, True), (1, 1024, 1024, True), (2, 2048, 952, True)]


def test_numbers_go_on_after_r2ts_and_bytes_after_what_is_acknowledged() -> None:
    assert pieces(8192, 2048, 4096, first=3, skipped=2048) == [
        (3, 2048, 2048, True), (4, 4096, 2048, False), (5, 6144, 2048, True),
    ]  # fmt: skip


def test_nothing_is_cut_into_nothing() -> None:
    assert pieces(0, 2048, 4096) == []
