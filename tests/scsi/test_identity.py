"""The same data is the same disk; what LIO would call it, we call it too."""

from __future__ import annotations

from tcmu_gluster.scsi.identity import identity_from, identity_of_serial, naa_of


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
