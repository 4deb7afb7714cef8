"""Designation descriptors, byte by byte (SPC-4 7.8.6)."""

from __future__ import annotations

import pytest

from tcmu_gluster.scsi import designation


def test_of_a_unit_and_of_a_port() -> None:
    unit = designation.designator(designation.BINARY, designation.NAA, b"\x60" + bytes(15))
    assert unit.hex() == "01030010" + "60" + "00" * 15
    port = designation.designator(1, designation.RELATIVE_TARGET_PORT, b"\0\0\0\2", designation.TARGET_PORT, 5)
    assert port.hex() == "51940004" + "00000002"


@pytest.mark.parametrize("name", ["a", "abc", "abcd", "iqn.2026-11.test:x"])
def test_name_strings_are_padded_and_ended(name: str) -> None:
    raw = designation.name_string(name)
    assert len(raw) % 4 == 0
    assert raw.rstrip(b"\0") == name.encode()
    assert raw.endswith(b"\0")
