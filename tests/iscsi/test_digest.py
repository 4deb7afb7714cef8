"""CRC32C: the examples of RFC 3720 appendix B.4."""

from __future__ import annotations

import pytest

from tcmu_gluster.iscsi.digest import digest, matches
from tests.iscsi.test_pdu import READ_10

EXAMPLES = [
    (bytes(32), "aa36918a"),
    (b"\xff" * 32, "43aba862"),
    (bytes(range(32)), "4e79dd46"),
    (bytes(range(31, -1, -1)), "5cdb3f11"),
    (READ_10, "563a96d9"),
]


@pytest.mark.parametrize(("data", "crc"), EXAMPLES)
def test_digest_of_the_standards_examples(data: bytes, crc: str) -> None:
    assert digest((data,)).hex() == crc


@pytest.mark.parametrize(("data", "crc"), EXAMPLES)
def test_digest_over_parts_is_that_of_the_whole(data: bytes, crc: str) -> None:
    assert digest((data[:5], memoryview(data)[5:17], b"", data[17:])).hex() == crc


def test_matches_tells_right_from_wrong() -> None:
    assert matches(READ_10, bytes.fromhex("563a96d9"))
    assert not matches(READ_10, bytes.fromhex("563a96d8"))
