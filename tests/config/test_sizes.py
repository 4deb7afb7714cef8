from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.config.sizes import LARGEST, UNITS, format_size, out_of_reach, parse_size, why_no_disk
from tcmu_gluster.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2G", 2 * 1024**3),
        ("512MiB", 512 * 1024**2),
        ("512MB", 512 * 1024**2),
        ("4096", 4096),
        ("4096b", 4096),
        (" 1.5 T ", 3 * 1024**4 // 2),
        ("0", 0),
        ("20g", 20 * 1024**3),
        (4096, 4096),
    ],
)
def test_sizes_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "G", "-1", "1.5", "0.3K", "2GG", "2 G B", "1e9", "8E", "0x10", "٣G", "1" * 21, True, None, "1_0"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_size(text)


@given(st.text(max_size=30))
def test_any_text_is_a_size_or_refused(text: str) -> None:
    try:
        size = parse_size(text)
    except ConfigError:
        return
    assert 0 <= size <= LARGEST


@given(st.integers(1, 999), st.sampled_from(list("KMGTP")))
def test_exact_sizes_survive_the_round_trip(number: int, unit: str) -> None:
    assert parse_size(format_size(number * UNITS[unit])) == number * UNITS[unit]


@given(st.integers(0, LARGEST))
def test_other_sizes_are_rounded_by_less_than_a_twentieth(size: int) -> None:
    text = format_size(size)
    number, unit = float(text[:-1]), text[-1]
    assert abs(number * UNITS[unit] - size) <= size / 20


@pytest.mark.parametrize("size_bytes", [0, 511, 513, -512])
def test_a_disk_needs_whole_blocks_and_one_at_least(size_bytes):
    words = why_no_disk(size_bytes, 512)
    assert f"blocks of 512 bytes, at least one, and {size_bytes} bytes are not that" in words
    assert why_no_disk(1024, 512) == ""


def test_what_lies_behind_the_last_whole_block_is_said():
    assert out_of_reach(1024, 512) == out_of_reach(0, 512) == ""
    words = out_of_reach(700, 512)
    assert "700 bytes" in words and "last 188" in words and "1024 bytes" in words
