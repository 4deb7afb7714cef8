"""Expected values were read with INQUIRY from tgtd 1.0.85; tests/system/test_import.py reads them again."""

from __future__ import annotations

from tcmu_gluster.foreign.tgt_identity import identity, naa_3, naa_6, scsi_id, serial
from tcmu_gluster.scsi.identity import identity_as_recorded


def test_a_disk_of_which_nothing_is_said() -> None:
    assert scsi_id(1, 1) == "IET     00010001"
    assert serial(1, 1) == "beaf11"
    assert naa_3(1, 1) == "3000000100000001"
    assert naa_6("IET     00010001") == "60000000000000000e00000000010001"


def test_a_disk_that_was_given_names() -> None:
    given = {"scsi_id": "MYID", "serial": "SN01", "vendor": "ACME", "product": "PROD", "revision": "1.23"}
    shown = identity(1, 5, given, set())
    assert shown == {**given, "unit_serial": "SN01".rjust(36),
                     "naa": "6000000000000000000000000000000d,3000000100000005"}  # fmt: skip
    record = identity_as_recorded(shown["serial"], shown)
    assert record.unit_serial_number == b" " * 32 + b"SN01"
    assert [record.naa.hex(), *(naa.hex() for naa in record.more_naa)] == shown["naa"].split(",")


def test_what_is_longer_than_its_field_is_cut() -> None:
    shown = identity(1, 1, {"scsi_id": "a" * 40, "serial": "s" * 40, "vendor": "v" * 9, "product": "p" * 17}, set())
    assert (shown["scsi_id"], shown["serial"]) == ("a" * 36, "s" * 36)
    assert (shown["vendor"], shown["product"]) == ("v" * 8, "p" * 16)
    assert shown["naa"].startswith("6" + "a" * 31)


def test_serials_that_collide_are_told_apart_here_and_shown_the_same() -> None:
    taken: set[str] = set()
    one, two = identity(1, 11, {}, taken), identity(11, 1, {}, taken)
    assert one["unit_serial"] == two["unit_serial"] == "beaf111".rjust(36)
    assert one["serial"] != two["serial"]
    odd = identity(1, 2, {"serial": " a b/c"}, taken)
    assert (odd["serial"], odd["unit_serial"].strip()) == ("abc", "a b/c")
    assert identity(1, 3, {"serial": "/"}, taken)["serial"] == "tgt-1-3"
