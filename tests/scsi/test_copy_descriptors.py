"""Parameter lists of EXTENDED COPY: what is wrong in them is told before anything is copied."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.scsi.copy_descriptors import (
    BLOCK_TO_BLOCK,
    LID1_HEADER,
    LID4_HEADER,
    OFFSET_TO_OFFSET,
    read_list,
)
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.sense import Asc, IllegalRequest, InvalidFieldInParameterList, ParameterListLengthError
from tests.doubles.copying import DISCARD, HOLD, NO_ID, b2b, cscd, lid1, lid4, with_offset
from tests.doubles.host import memory

UNIT = LogicalUnit(memory())
CSCD = cscd(UNIT)


def refused(data: bytes, asc: Asc, layout=LID1_HEADER) -> IllegalRequest:
    with pytest.raises(IllegalRequest) as caught:
        read_list(data, layout)
    assert caught.value.asc == asc
    return caught.value


def test_a_list_with_one_of_each_is_read():
    read = read_list(lid1([CSCD, CSCD], [b2b(0, 1, 7, 8, 9), with_offset(1, 0, 10, 11, 12, 13, 14)], list_id=5,
                          usage=HOLD), LID1_HEADER)  # fmt: skip
    assert read.list_id == 5 and [at for at, _ in read.cscds] == [16, 48]
    first, second = (segment.fields for segment in read.segments)
    assert first.layout is BLOCK_TO_BLOCK and second.layout is OFFSET_TO_OFFSET
    assert (first.block_device_number_of_blocks, first.source_block_device_logical_block_address,
            first.destination_block_device_logical_block_address) == (7, 8, 9)  # fmt: skip
    assert (second.number_of_bytes, second.source_block_device_byte_offset,
            second.destination_block_device_byte_offset) == (10, 12, 14)  # fmt: skip


def test_the_long_header_has_immed_and_g_sense():
    read = read_list(lid4([CSCD], [b2b(0, 0, 1, 2, 3)], list_id=0xFEDCBA98, immed=1, g_sense=1), LID4_HEADER)
    assert (read.list_id, read.immed, read.g_sense) == (0xFEDCBA98, True, True)
    assert read.cscds[0][0] == 48


@pytest.mark.parametrize(("usage", "list_id", "expected"), [(HOLD, 9, 9), (DISCARD, 9, 9), (NO_ID, 0, None)])
def test_list_id_usage(usage: int, list_id: int, expected):
    assert read_list(lid1([CSCD], [], list_id=list_id, usage=usage), LID1_HEADER).list_id == expected


@pytest.mark.parametrize(("usage", "list_id", "byte"), [(0b01, 0, 1), (NO_ID, 3, 0)])
def test_list_id_usage_that_makes_no_sense(usage: int, list_id: int, byte: int):
    error = refused(lid1([CSCD], [], list_id=list_id, usage=usage), Asc.INVALID_FIELD_IN_PARAMETER_LIST)
    assert int.from_bytes(error.key_specific[1:], "big") == byte


@pytest.mark.parametrize("cut", range(1, 32 + 28 + 16))
def test_a_truncated_list_is_a_length_error(cut: int):
    whole = lid1([CSCD], [b2b(0, 0, 1, 2, 3)])
    with pytest.raises(ParameterListLengthError):
        read_list(whole[:-cut], LID1_HEADER)


def test_too_many_of_each():
    refused(lid1([CSCD] * 17, []), Asc.TOO_MANY_TARGET_DESCRIPTORS)
    refused(lid1([CSCD], [b2b(0, 0, 1, 2, 3)] * 65), Asc.TOO_MANY_SEGMENT_DESCRIPTORS)
    refused(lid1([CSCD] * 16, [with_offset(0, 0, 1, 0, 0, 0, 0)] * 64), Asc.PARAMETER_LIST_LENGTH_ERROR)
    assert len(read_list(lid1([CSCD] * 16, [b2b(0, 0, 1, 2, 3)] * 64), LID1_HEADER).segments) == 64


@pytest.mark.parametrize("type_", [0xE0, 0xE1, 0xEB, 0xFE, 0xFF, 0x00])
def test_other_kinds_of_cscd(type_: int):
    refused(lid1([cscd(UNIT, byte0=type_)], []), Asc.UNSUPPORTED_TARGET_DESCRIPTOR_TYPE_CODE)


@pytest.mark.parametrize("type_", [0x00, 0x01, 0x03, 0x04, 0x0B, 0xBE, 0xFF])
def test_other_kinds_of_segment(type_: int):
    segment = bytes((type_,)) + b2b(0, 0, 1, 2, 3)[1:]
    refused(lid1([CSCD], [segment]), Asc.UNSUPPORTED_SEGMENT_DESCRIPTOR_TYPE_CODE)


@pytest.mark.parametrize(("change", "byte"), [({"byte5": 0x13}, 5), ({"byte7": 21}, 7), ({"byte7": 0}, 7)])
def test_a_cscd_field_that_makes_no_sense_is_pointed_at(change: dict, byte: int):
    error = refused(lid1([CSCD, cscd(UNIT, **change)], []), Asc.INVALID_FIELD_IN_PARAMETER_LIST)
    assert int.from_bytes(error.key_specific[1:], "big") == 16 + 32 + byte


def test_lu_id_type_is_ignored():  # SPC-4 6.4.5.6
    assert read_list(lid1([cscd(UNIT, byte1=0xC0)], []), LID1_HEADER).cscds


def test_a_segment_of_another_length_than_its_kind_has():
    segment = b2b(0, 0, 1, 2, 3)
    error = refused(lid1([CSCD], [segment[:3] + b"\x1c" + segment[4:]]), Asc.INVALID_FIELD_IN_PARAMETER_LIST)
    assert int.from_bytes(error.key_specific[1:], "big") == 16 + 32 + 2


def test_inline_data_has_no_use():
    data = bytearray(lid1([CSCD], []) + bytes(8))
    data[15] = 8
    refused(bytes(data), Asc.INLINE_DATA_LENGTH_EXCEEDED)


@pytest.mark.parametrize(("at", "value"), [(0, 2), (3, 0x40), (16, 0xE4)])
def test_the_long_header_says_what_it_must(at: int, value: int):
    data = bytearray(lid4([CSCD], []))
    data[at] = value
    error = refused(bytes(data), Asc.INVALID_FIELD_IN_PARAMETER_LIST, LID4_HEADER)
    assert isinstance(error, InvalidFieldInParameterList)


@given(st.binary(max_size=300), st.sampled_from([LID1_HEADER, LID4_HEADER]))
def test_any_bytes_are_read_or_refused(data, layout):
    try:
        read_list(data, layout)
    except IllegalRequest as error:
        assert error.sense()[0] == 0x70


@given(st.data())
def test_a_good_list_with_bytes_changed_is_read_or_refused(data):
    raw = bytearray(lid1([CSCD, CSCD], [b2b(0, 1, 7, 8, 9)] * 3, list_id=5, usage=HOLD))
    for at in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=4)):
        raw[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(IllegalRequest):
        read_list(bytes(raw), LID1_HEADER)
