"""VPD page 8Fh: its descriptors are those of SPC-4 7.8.17, and say what the command table and the limits say."""

from __future__ import annotations

import struct

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tests.doubles.copying import Daemon, receive
from tests.doubles.host import Host, memory


def page_of(host: Host) -> dict[int, bytes]:
    data = host.run(cdb.INQUIRY.pack(evpd=1, page_code=0x8F, allocation_length=4096)).data
    assert data[1] == 0x8F and int.from_bytes(data[2:4], "big") == len(data) - 4
    found, at = {}, 4
    while at < len(data):
        type_, length = struct.unpack_from(">HH", data, at)
        assert length and length % 4 == 0 and type_ not in found
        found[type_] = data[at + 4 : at + 4 + length]
        at += 4 + length
    return found


def test_all_descriptors_are_there_in_order():
    assert list(page_of(Daemon(1).host)) == [0x0000, 0x0001, 0x0004, 0x0008, 0x000C, 0x0106, 0x0108, 0x8001, 0xC001]


def test_a_unit_without_tokens_says_nothing_of_them():
    found = page_of(Host(LogicalUnit(memory())))
    assert list(found) == [0x0001, 0x0004, 0x0008, 0x000C, 0x8001, 0xC001]
    assert found[0x0001] == bytes((9, 0x83, 1, 0, 0x84, 4, 0, 1, 3, 4, 0, 0))


def test_the_commands_are_those_of_the_table():
    assert page_of(Daemon(1).host)[0x0001] == bytes(
        (17, 0x83, 5, 0x00, 0x01, 0x10, 0x11, 0x1C, 0x84, 8, 0x00, 0x01, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0, 0)
    )


def test_rod_limits_count_blocks():
    for block in (512, 4096):
        body = page_of(Daemon(1, block_size_bytes=block).host)[0x0000]
        assert struct.unpack(">6xHIIQQ", body) == (256, 600, 60, (256 << 20) // block, (64 << 20) // block)


def test_with_tokens_that_are_taken_their_csc_descriptor_id_is_listed():  # SPC-4 7.8.17.7
    assert page_of(Daemon(1).host)[0x000C].hex() == "0004" + "f800" + "ffff" + "0000"
    assert page_of(Host(LogicalUnit(memory())))[0x000C].hex() == "0002" + "ffff"


def test_rod_types():
    body = page_of(Daemon(1).host)[0x0108]
    assert int.from_bytes(body[2:4], "big") == 4 * 64 == len(body) - 4
    types = [struct.unpack_from(">IB", body, at) for at in range(4, len(body), 64)]
    assert types == [(0x00800000, 3), (0x00800001, 3), (0x0080FFFF, 3), (0xFFFF0001, 2)]


def test_token_features():
    body = page_of(Daemon(1).host)[0x0106]
    assert struct.unpack_from(">III", body, 12) == (3600, 3600, 600)
    assert struct.unpack_from(">H", body, 42) == (48,) and struct.unpack_from(">BxH", body, 44) == (0, 0x2C)
    assert struct.unpack_from(">QQ", body, 52) == (256 << 20, 64 << 20)


def test_it_agrees_with_the_operating_parameters():
    host = Daemon(1).host
    found, told = page_of(host), host.run(receive(0x03)).data
    assert found[0x0004][4:12] == told[8:16]  # counts and list length
    assert found[0x8001][8:12] == told[16:20] and found[0x8001][0:4] == told[34:36].rjust(4, b"\0")
    assert found[0x0008][1 : 1 + found[0x0008][0]] == told[44:] == b"\x02\x0a\xe4"


def test_inquiry_says_that_there_is_a_copy_manager():
    assert Daemon(1).host.run(cdb.INQUIRY.pack(allocation_length=96)).data[5] & 0x08
    assert 0x8F in Daemon(1).host.run(cdb.INQUIRY.pack(evpd=1, allocation_length=96)).data[4:]
