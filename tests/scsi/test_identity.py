"""The same data is the same disk; what LIO would call it, we call it too."""

from __future__ import annotations

import pytest

from tcmu_gluster.scsi.identity import identity_as_recorded, identity_from, identity_of_serial, naa_of


def test_naa_as_the_kernel_derives_it() -> None:
    # drivers/target/target_core_spc.c: 6, company id 001405, then the serial's hexadecimal digits, 25 of them
    assert naa_of("a1b2c3d4-e5f6-0718-293a-4b5c6d7e8f90").hex() == "6001405a1b2c3d4e5f60718293a4b5c6"


def test_naa_of_a_short_or_odd_serial() -> None:
    assert naa_of("xyz-12").hex() == "600140512" + 23 * "0"
    assert len(naa_of("")) == 16


def test_one_text_is_one_identity() -> None:
    one, two = identity_from("gluster:volume:gfid"), identity_from("gluster:volume:gfid")
    assert one == two
    assert one.serial != identity_from("gluster:volume:other").serial
    assert one.naa == naa_of(one.serial)
    assert one.naa[0] >> 4 == 6


def test_a_chosen_serial_wins() -> None:
    assert identity_of_serial("1234").serial == "1234"


def test_what_another_target_showed_stays_to_the_blank() -> None:
    record = {"naa": "60000000000000000E00000000010001,3000000100000001", "unit_serial": "   beaf11"}
    identity = identity_as_recorded("beaf11", record)
    assert (identity.serial, identity.unit_serial_number) == ("beaf11", b"   beaf11")
    assert (identity.naa.hex(), [naa.hex() for naa in identity.more_naa]) == (
        "60000000000000000e00000000010001", ["3000000100000001"],
    )  # fmt: skip
    assert identity.naa_text == record["naa"].lower()
    assert identity_as_recorded("1234", {}) == identity_of_serial("1234")


@pytest.mark.parametrize(
    "naa", ["6" * 31, "4" * 16, "3" * 32, "6" * 32 + ",", ",".join(["3" * 16] * 5), "6" + "x" * 31]
)
def test_an_naa_designator_that_is_none_is_refused(naa: str) -> None:
    with pytest.raises(ValueError, match=r"NAA|hexadecimal"):
        identity_as_recorded("1234", {"naa": naa})


def test_a_serial_that_vpd_pages_have_no_room_for_is_refused() -> None:
    for text in ("x" * 253, "a\nb", "ä"):
        with pytest.raises(ValueError, match="unit_serial"):
            identity_as_recorded("1234", {"unit_serial": text})
