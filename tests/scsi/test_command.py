"""LUN fields, nexuses, responses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.scsi.command import GOOD, NO_LUN, Command, Nexus, Response, lun_field, lun_number


@given(st.integers(0, (1 << 24) - 1))
def test_a_lun_survives_its_field(lun: int) -> None:
    assert lun_number(lun_field(lun)) == lun


@pytest.mark.parametrize(
    ("field", "number"),
    [
        ("0000000000000000", 0),
        ("0005000000000000", 5),  # SAM-5 table 12: peripheral device addressing, bus 0
        ("0105000000000000", NO_LUN),  # bus 1
        ("4005000000000000", 5),  # flat space addressing of a small number
        ("4123000000000000", 0x123),
        ("D200012300000000", 0x123),  # extended flat space addressing, 24 bits
        ("C101000000000000", NO_LUN),  # REPORT LUNS well known logical unit
        ("0005000100000000", NO_LUN),  # a second level
        ("FFFFFFFFFFFFFFFF", NO_LUN),
    ],
)
def test_lun_fields_of_sam(field: str, number: int) -> None:
    assert lun_number(int(field, 16)) == number


def test_two_sessions_of_one_initiator_are_two_nexuses() -> None:
    one, two = Nexus("iqn.a", b"\1"), Nexus("iqn.a", b"\2")
    assert one != two
    assert one == Nexus("iqn.a", b"\1", transport_id=b"")
    assert hash(one) == hash(Nexus("iqn.a", b"\1"))
    assert str(one) == "iqn.a,i,0x01"


def test_a_response_prints_what_counts() -> None:
    assert repr(GOOD) == "Response(GOOD, 0 bytes in)"
    assert "CHECK_CONDITION" in repr(Response(2, (), b"\x70"))
    assert "operation code A0h" in str(Command(bytes.fromhex("a0" + 11 * "00")))
