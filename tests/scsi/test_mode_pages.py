"""Mode pages: bytes, what may be changed, all or nothing."""

from __future__ import annotations

import pytest

from tcmu_gluster.scsi.mode_pages import MODE_PAGES, ModePages, PageControl
from tcmu_gluster.scsi.sense import InvalidFieldInParameterList, ParameterListLengthError


def page(pages: ModePages, code: int, control: int = PageControl.CURRENT) -> bytes:
    (row,) = pages.select(code, 0)
    return pages.bytes_of(row, control)


def test_caching_page_starts_with_write_cache_on() -> None:
    pages = ModePages()
    raw = page(pages, 0x08)
    assert raw[:3] == bytes.fromhex("081204")  # SBC-3 table 170: page 08h, 18 bytes follow, WCE is bit 2 of byte 2
    assert len(raw) == 20
    assert pages.value(0x08, "wce") == 1


def test_only_wce_of_the_caching_page_may_be_changed() -> None:
    changeable = page(ModePages(), 0x08, PageControl.CHANGEABLE)
    assert changeable[:3] == bytes.fromhex("081204")
    assert changeable[3:] == bytes(17)


@pytest.mark.parametrize("row", MODE_PAGES, ids=lambda row: row.layout.name)
def test_page_length_is_what_follows(row: object) -> None:
    raw = row.default_bytes()  # type: ignore[attr-defined]
    assert raw[1] == len(raw) - 2
    assert raw[0] & 0x3F == row.page_code  # type: ignore[attr-defined]


def test_all_pages_come_in_ascending_order() -> None:
    assert [row.page_code for row in ModePages().select(0x3F, 0)] == [0x08, 0x0A, 0x1C]
    assert [row.page_code for row in ModePages().select(0x3F, 0xFF)] == [0x08, 0x0A, 0x1C]
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
    assert page(pages, 0x08)[0] == 0x08


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
