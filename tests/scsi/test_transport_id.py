"""TransportIDs of iSCSI: what is packed is parsed, what is wrong is pointed at."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.iscsi.session import transport_id
from tcmu_gluster.scsi.sense import InvalidFieldInParameterList, parse_sense
from tcmu_gluster.scsi.transport_id import pack_transport_id, parse_transport_id

NAME = "iqn.1994-05.com.example:host"
ISID = bytes.fromhex("00023d000001")


def test_a_port_is_packed_as_the_standard_draws_it():
    made = pack_transport_id(NAME, ISID)  # SPC-4 7.6.4.6: format 01b, protocol 5h, length, name, ",i,0x", ISID, zeros
    assert made[:4] == bytes((0x45, 0, 0, 48))
    assert made[4:] == b"iqn.1994-05.com.example:host,i,0x00023d000001\0\0\0"


def test_the_iscsi_room_and_this_one_say_the_same():
    assert pack_transport_id(NAME, ISID) == transport_id(NAME, ISID)


def test_a_short_name_fills_the_twenty_bytes_that_are_the_least():
    made = pack_transport_id("iqn.a", b"")
    assert made[0] == 0x05 and made[3] == 20 and len(made) == 24
    assert parse_transport_id(made, 0) == ("iqn.a", None, 24)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=0x2FFF), min_size=1, max_size=60), st.binary(
    min_size=6, max_size=6), st.binary(max_size=9))  # fmt: skip
def test_what_is_packed_is_parsed_wherever_it_stands(name, isid, before):
    if ",i,0x" in name:
        return
    data = before + pack_transport_id(name, isid) + b"more"
    assert parse_transport_id(data, len(before)) == (name, isid, len(data) - len(before) - 4)


def test_an_isid_may_be_written_in_either_case_and_without_leading_zeros():
    text = b"iqn.2026-11.test:x,i,0x23D00000A\0"
    data = bytes((0x45, 0, 0, 36)) + text.ljust(36, b"\0")
    assert parse_transport_id(data, 0)[1] == bytes.fromhex("00023d00000a")


GOOD = pack_transport_id(NAME, ISID)


@pytest.mark.parametrize(
    ("data", "byte", "bit"),
    [
        (GOOD[:3], 0, None),
        (b"\x46" + GOOD[1:], 0, 3),  # serial attached SCSI
        (b"\xc5" + GOOD[1:], 0, 7),  # a format that is reserved
        (GOOD[:2] + b"\0\x10" + GOOD[4:], 2, None),  # fewer than 20 bytes
        (GOOD[:2] + b"\0\x2e" + GOOD[4:], 2, None),  # no multiple of 4
        (GOOD[:-4], 2, None),  # cut
        (GOOD[:4] + b"x" * 48, 4, None),  # no zero at its end
        (GOOD[:4] + bytes(48), 4, None),  # no name
        (GOOD[:4] + b"\xff" + GOOD[5:], 4, None),  # no UTF-8
        (b"\x45" + pack_transport_id(NAME, b"")[1:], 4, None),  # a port without ISID
    ],
)
def test_what_is_wrong_is_pointed_at(data, byte, bit):
    with pytest.raises(InvalidFieldInParameterList) as caught:
        parse_transport_id(b"before" + data, 6)
    sense = caught.value.response().sense
    assert parse_sense(sense) == (5, 0x2600)
    assert int.from_bytes(sense[16:18], "big") == 6 + byte
    assert (sense[15] & 7 if sense[15] & 8 else None) == bit


@given(st.binary(max_size=80))
def test_any_bytes_are_parsed_or_refused(data):
    try:
        name, isid, size_bytes = parse_transport_id(data, 0)
    except InvalidFieldInParameterList:
        return
    assert name and (isid is None or len(isid) == 6) and 24 <= size_bytes <= len(data)
