"""Layouts: packing, unpacking, usage data, field pointers, and what a layout refuses when it is made."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.wire.layout import Bit, Bits, Blob, Const, Int, Layout

READ_16 = Layout(
    "READ(16)",
    16,
    (
        Const("operation_code", 0, 1, 0x88),
        Bits("rdprotect", 1, high=7, low=5),
        Bit("dpo", 1, 4),
        Bit("fua", 1, 3),
        Int("logical_block_address", 2, 8),
        Int("transfer_length", 10, 4),
    ),
)
READ_6 = Layout(
    "READ(6)",
    6,
    (
        Const("operation_code", 0, 1, 0x08),
        Bits("logical_block_address", 1, high=20, low=0, size_bytes=3),
        Int("transfer_length", 4, 1),
    ),
)
MIXED = Layout(
    "MIXED",
    24,
    (
        Int("eight", 0, 8),
        Int("six", 8, 6),
        Bits("top", 14, high=31, low=24, size_bytes=4),
        Bits("rest", 14, high=23, low=0, size_bytes=4),
        Blob("text", 18, 5, fill=b" "),
    ),
)


def test_a_cdb_is_packed_as_the_standard_draws_it():
    # SBC-3 table 72: byte 0 88h, FUA is bit 3 of byte 1, LBA in bytes 2-9, transfer length in bytes 10-13.
    packed = READ_16.pack(fua=1, logical_block_address=0x0102030405060708, transfer_length=0x11223344)
    assert packed == bytes.fromhex("88 08 0102030405060708 11223344 00 00")


def test_a_bit_field_may_span_bytes():
    # SBC-3 READ(6): the LBA is bits 4-0 of byte 1, then bytes 2 and 3.
    assert READ_6.pack(logical_block_address=0x1ABCDE, transfer_length=9) == bytes.fromhex("08 1ABCDE 09 00")
    assert READ_6.unpack(bytes.fromhex("08 FABCDE 09 00")).logical_block_address == 0x1ABCDE


def test_little_endian_layouts_read_host_structures():
    layout = Layout("le", 12, (Int("a", 0, 4), Int("b", 4, 8)), little_endian=True)
    assert layout.pack(a=1, b=2) == struct.pack("<IQ", 1, 2)
    assert layout.unpack(struct.pack("<IQ", 5, 6)).as_dict() == {"a": 5, "b": 6}


UNSIGNED = [st.integers(0, 2**bits - 1) for bits in (64, 48, 8, 24)]


@given(*UNSIGNED, st.binary(max_size=5))
def test_what_is_packed_is_unpacked(eight, six, top, rest, text):
    record = MIXED.unpack(MIXED.pack(eight=eight, six=six, top=top, rest=rest, text=text))
    assert record.as_dict() == {"eight": eight, "six": six, "top": top, "rest": rest, "text": text.ljust(5)}


@given(st.binary(min_size=24, max_size=24))
def test_any_bytes_unpack_and_pack_back_to_the_bits_that_fields_name(raw):
    again = MIXED.pack(**MIXED.unpack(raw).as_dict())
    assert again == raw[:23] + b"\0"  # byte 23 is reserved


def test_unpack_reads_at_an_offset():
    assert READ_16.unpack(b"xx" + bytes(READ_16.pack(transfer_length=3)), 2).transfer_length == 3


def test_a_short_buffer_is_refused():
    with pytest.raises(struct.error):
        READ_16.unpack(bytes(15))


@pytest.mark.parametrize(
    "values, error",
    [
        ({"no_such_field": 1}, TypeError),
        ({"rdprotect": 8}, ValueError),
        ({"transfer_length": 1 << 32}, ValueError),
        ({"transfer_length": -1}, ValueError),
    ],
)
def test_pack_refuses_what_does_not_fit(values, error):
    with pytest.raises(error):
        READ_16.pack(**values)


def test_a_blob_is_padded_with_its_fill_and_never_cut():
    assert MIXED.pack(text=b"ab")[18:23] == b"ab   "
    with pytest.raises(ValueError):
        MIXED.pack(text=b"abcdef")


def test_usage_data_marks_evaluated_bits_and_names_the_operation_code():
    # SPC-4 6.35.3: byte 0 holds the operation code, then a one for every bit that the device server evaluates.
    assert READ_16.usage() == bytes.fromhex("88 F8 FFFFFFFFFFFFFFFF FFFFFFFF 00 00")


def test_field_pointers_name_byte_and_highest_bit():
    assert READ_16.field_pointer("transfer_length") == (10, None)
    assert READ_16.field_pointer("rdprotect") == (1, 7)
    assert READ_6.field_pointer("logical_block_address") == (1, 4)


def test_reserved_bits_are_the_ones_that_no_field_names():
    cdb = READ_16.pack(transfer_length=1)
    cdb[1] |= 0x05
    cdb[14] = 0x80
    assert list(READ_16.reserved_bits(cdb)) == [(1, 2), (1, 0), (14, 7)]
    assert list(READ_16.reserved_bits(READ_16.pack(rdprotect=7, dpo=1, fua=1))) == []


@pytest.mark.parametrize(
    "fields",
    [
        (Int("a", 0, 4), Int("b", 3, 1)),
        (Int("a", 14, 4),),
        (Bits("a", 0, high=8, low=0),),
        (Bits("a", 0, high=3, low=0), Bit("b", 0, 3)),
        (Bits("a", 0, high=3, low=0), Bits("b", 0, high=15, low=12, size_bytes=2)),
        (Int("a", 0, 1), Int("a", 1, 1)),
    ],
)
def test_a_layout_that_contradicts_itself_is_refused_when_it_is_made(fields):
    with pytest.raises(ValueError):
        Layout("bad", 16, fields)


def test_a_record_prints_for_logs_and_knows_no_other_fields():
    record = READ_16.unpack(READ_16.pack(fua=1, transfer_length=16))
    assert str(record) == "READ(16)(operation_code=0x88 fua=1 transfer_length=0x10)"
    with pytest.raises(AttributeError):
        _ = record.flux_capacitor
