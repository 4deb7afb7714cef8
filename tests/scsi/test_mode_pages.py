"""Mode pages: bytes, what may be changed, all or nothing."""

from __future__ import annotations

import pytest

from tcmu_gluster.scsi.mode_pages import MODE_PAGES, ModePage, ModePages, PageControl, rows_for
from tcmu_gluster.scsi.persistence import DamagedRecord
from tcmu_gluster.scsi.sense import InvalidFieldInParameterList, ParameterListLengthError


def page(pages: ModePages, code: int, control: int = PageControl.CURRENT) -> bytes:
    (row,) = pages.select(code, 0)
    return pages.bytes_of(row, control)


def test_caching_page_starts_with_write_cache_on() -> None:
    pages = ModePages()
    raw = page(pages, 0x08)
    assert raw[:3] == bytes.fromhex("881204")  # PS, page 08h, 18 bytes follow, WCE is bit 2 of byte 2 (SBC-3 6.4)
    assert len(raw) == 20
    assert pages.value(0x08, "wce") == 1


def test_only_wce_of_the_caching_page_may_be_changed() -> None:
    changeable = page(ModePages(), 0x08, PageControl.CHANGEABLE)
    assert changeable[:3] == bytes.fromhex("881204")
    assert changeable[3:] == bytes(17)


@pytest.mark.parametrize("row", MODE_PAGES, ids=lambda row: row.layout.name)
def test_page_length_is_what_follows(row: ModePage) -> None:
    raw = row.default_bytes()
    assert raw[0] & 0x3F == row.page_code
    if raw[0] & 0x40:  # SPF
        assert raw[1] == row.subpage_code
        assert int.from_bytes(raw[2:4], "big") == len(raw) - 4
    else:
        assert raw[1] == len(raw) - 2


def test_all_pages_come_in_ascending_order() -> None:
    thin, thick = ModePages(rows_for(True)), ModePages(rows_for(False))
    assert [row.page_code for row in thin.select(0x3F, 0)] == [0x01, 0x02, 0x08, 0x0A, 0x1A, 0x1C]
    assert [row.name for row in thin.select(0x3F, 0xFF)] == [
        "01", "02", "08", "0a", "0a.01", "1a", "1c", "1c.02",
    ]  # fmt: skip
    assert [row.name for row in thick.select(0x3F, 0xFF)] == ["01", "02", "08", "0a", "0a.01", "1a", "1c"]
    assert [row.name for row in thin.select(0x0A, 0xFF)] == ["0a", "0a.01"]
    assert not list(ModePages().select(0x0A, 0x05))


def test_a_change_and_its_undoing_by_a_reset() -> None:
    pages = ModePages()
    raw = bytearray(page(pages, 0x08))
    raw[2] = 0
    assert pages.change(bytes(raw), 4)
    assert pages.value(0x08, "wce") == 0
    assert page(pages, 0x08, PageControl.DEFAULT)[2] == 4
    assert not pages.change(bytes(raw), 4)
    pages.reset()
    assert pages.value(0x08, "wce") == 1


def test_ps_is_reserved_in_mode_select_and_not_kept() -> None:
    pages = ModePages()
    raw = bytearray(page(pages, 0x08))
    raw[0] |= 0x80
    pages.change(bytes(raw), 4)
    assert page(pages, 0x08) == bytes([0x88]) + bytes(raw[1:])


def test_a_bit_that_may_not_change_is_pointed_at() -> None:
    pages = ModePages()
    raw = bytearray(page(pages, 0x0A))
    raw[5] |= 0x80  # ATO
    with pytest.raises(InvalidFieldInParameterList) as refused:
        pages.change(bytes(raw), 4)
    assert refused.value.key_specific == bytes.fromhex("8f0009")  # bit 7 of byte 4 + 5


def test_all_or_nothing() -> None:
    pages = ModePages()
    caching, control = bytearray(page(pages, 0x08)), bytearray(page(pages, 0x0A))
    caching[2] = 0
    control[2] ^= 0x80  # TST
    with pytest.raises(InvalidFieldInParameterList):
        pages.change(bytes(caching + control), 4)
    assert pages.value(0x08, "wce") == 1


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"\x08", ParameterListLengthError),
        (b"\x08\x12\x04", ParameterListLengthError),
        (b"\x08\x11" + bytes(17), InvalidFieldInParameterList),
        (b"\x3e\x00", InvalidFieldInParameterList),
        (b"\x48\x01\x00\x10" + bytes(16), InvalidFieldInParameterList),
        (b"\x48\x00\x00\x10" + bytes(16), InvalidFieldInParameterList),
        (b"\x48\x01", ParameterListLengthError),
    ],
)
def test_pages_that_lie(raw: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        ModePages().change(raw, 4)


@pytest.mark.parametrize("row", MODE_PAGES, ids=lambda row: row.name)
def test_only_what_can_be_changed_can_be_saved(row: ModePage) -> None:
    assert bool(row.default_bytes()[0] & 0x80) == bool(row.changeable)


def test_the_threshold_descriptors_of_a_thin_disk() -> None:
    pages = ModePages(rows_for(True))
    (row,) = pages.select(0x1C, 0x02)
    raw = pages.bytes_of(row, PageControl.CURRENT)
    assert raw[:4].hex() == "dc02001c"  # PS and SPF, subpage 02h, 28 bytes follow (SBC-3 6.4, byte 4: SITUA)
    assert raw[16:].hex() == "0001000000000000" + "0102000000000000"  # available falls; used grows; both disabled
    assert pages.bytes_of(row, PageControl.CHANGEABLE)[16:].hex() == "80000000ffffffff" * 2


# -- saved values ------------------------------------------------------------------------------------------------


def without_cache(pages: ModePages) -> bytes:
    raw = bytearray(page(pages, 0x08))
    raw[2] = 0
    return bytes(raw)


def test_saved_values_outlast_a_reset_and_a_start() -> None:
    pages = ModePages()
    judged = pages.judge(without_cache(pages), 4)
    section = pages.to_save(judged)
    assert pages.value(0x08, "wce") == 1  # nothing is taken before it is stable
    pages.take(judged, saved=True)
    pages.reset()
    assert pages.value(0x08, "wce") == 0
    assert page(pages, 0x08, PageControl.SAVED)[2] == 0
    assert page(pages, 0x08, PageControl.DEFAULT)[2] == 4
    again = ModePages()
    again.restore(section)
    assert again.value(0x08, "wce") == 0


def test_a_value_that_was_not_saved_goes_with_a_reset() -> None:
    pages = ModePages()
    pages.take(pages.judge(without_cache(pages), 4))
    assert page(pages, 0x08, PageControl.SAVED)[2] == 4
    pages.reset()
    assert pages.value(0x08, "wce") == 1


def test_all_changeable_pages_are_saved_with_the_one_that_was_sent() -> None:
    pages = ModePages()
    assert sorted(pages.to_save({})) == ["01", "08", "0a", "1c.02"]


def test_restoring_takes_nothing_but_what_can_be_changed() -> None:
    pages = ModePages()
    pages.restore({"0a": "0a0a" + "ff" * 10})
    assert page(pages, 0x0A).hex() == "8a0a0610084000000000" + "0000"  # D_SENSE, SWP and TAS beside the defaults


def test_pages_that_a_unit_does_not_know_are_kept() -> None:
    thick = ModePages(rows_for(False))
    thick.restore({"1c.02": "dc02001c", "3e": "3e00"})
    assert thick.to_save({})["1c.02"] == "dc02001c"
    assert thick.to_save({})["3e"] == "3e00"


@pytest.mark.parametrize("section", [[], "x", {"08": 5}, {"08": "xx"}, {"08": "0812"}, {"0a": None}])
def test_a_section_that_makes_no_sense_is_damage(section: object) -> None:
    with pytest.raises(DamagedRecord):
        ModePages().restore(section)


def test_the_fronts_value_is_the_default_from_then_on() -> None:
    pages = ModePages()
    pages.put(0x08, "wce", 0)
    assert page(pages, 0x08, PageControl.DEFAULT)[2] == 0
    pages.reset()
    assert pages.value(0x08, "wce") == 0


def test_a_unit_that_is_no_longer_thin_keeps_its_other_pages() -> None:
    pages = ModePages(rows_for(True))
    pages.take(pages.judge(without_cache(pages), 4), saved=True)
    pages.use(rows_for(False))
    assert not pages.has(0x1C, 0x02)
    assert pages.value(0x01, "lbpere") == 0
    pages.reset()
    assert pages.value(0x08, "wce") == 0
