"""POPULATE TOKEN, WRITE USING TOKEN, RECEIVE ROD TOKEN INFORMATION, as Windows uses them."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.command import Status
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.sense import Asc, SenseKey
from tcmu_gluster.scsi.token_copy import pieces, populate_blocks
from tcmu_gluster.scsi.tokens import Token
from tests.doubles.backends import SlowBackend
from tests.doubles.copying import (
    Daemon,
    contents,
    fill,
    is_hole,
    out,
    populate,
    populate_list,
    receive,
    status_of,
    token_of,
    write_list,
    write_using,
)
from tests.doubles.host import Answer, Host, memory

MIB = 1 << 20
ZERO = b"\xff\xff\x00\x01\x00\x00\x01\xf8" + bytes(504)


@pytest.fixture
def daemon() -> Daemon:
    made = Daemon(size_bytes=4 * MIB)
    fill(made.units[0], os.urandom(MIB))
    return made


def illegal(answer: Answer, asc: Asc = Asc.INVALID_FIELD_IN_PARAMETER_LIST) -> bool:
    return (answer.status, answer.key, answer.asc) == (Status.CHECK_CONDITION, SenseKey.ILLEGAL_REQUEST, asc)


def underrun(answer: Answer, blocks: int) -> bool:
    """What a token that is too short ends with, and how much was written.  Source: SBC-4 4.28.2."""
    found = (answer.key, answer.asc, answer.information)
    return found == (SenseKey.COPY_ABORTED, Asc.COPY_TARGET_DEVICE_DATA_UNDERRUN, blocks)


class TestCopy:
    def test_data_named_by_a_token_come_to_another_unit(self, daemon: Daemon):
        one, two = daemon.units
        assert populate(daemon.host, (0, 100), (1000, 24)).good
        assert status_of(daemon.host, 7) == (0x01, 124)
        token = token_of(daemon.host)
        assert write_using(daemon.hosts[1], token, (50, 62), (2000, 62)).good
        whole = contents(one, 0, 51200) + contents(one, 512000, 24 * 512)
        assert contents(two, 50 * 512, 62 * 512) + contents(two, 2000 * 512, 62 * 512) == whole
        assert status_of(daemon.hosts[1], 8) == (0x01, 124)

    def test_and_to_the_same_unit_even_over_their_own_blocks(self, daemon: Daemon):
        one = daemon.units[0]
        before = contents(one, 0, MIB)
        populate(daemon.host, (0, 2048))
        assert write_using(daemon.host, token_of(daemon.host), (7, 2048)).good
        assert contents(one, 7 * 512, MIB) == before

    def test_another_initiator_may_use_it_who_cannot_see_the_source(self, daemon: Daemon):
        populate(daemon.host, (0, 8))
        token = token_of(daemon.host)
        foreign = Host(daemon.units[1], "iqn.2026-11.test:foreign")
        assert write_using(foreign, token, (0, 8)).good
        assert contents(daemon.units[1], 0, 4096) == contents(daemon.units[0], 0, 4096)

    def test_offset_into_rod(self, daemon: Daemon):
        one, two = daemon.units
        populate(daemon.host, (0, 10), (100, 10))
        token = token_of(daemon.host)
        assert write_using(daemon.hosts[1], token, (0, 5), offset=8).good
        assert contents(two, 0, 5 * 512) == contents(one, 8 * 512, 1024) + contents(one, 100 * 512, 3 * 512)

    def test_a_token_shorter_than_the_ranges_is_used_up(self, daemon: Daemon):
        one, two = daemon.units
        fill(two, b"\xee" * 8192)
        populate(daemon.host, (0, 4))
        assert underrun(write_using(daemon.hosts[1], token_of(daemon.host), (0, 3), (8, 8)), 4)
        assert contents(two, 0, 1536) + contents(two, 4096, 512) == contents(one, 0, 2048)
        assert contents(two, 4096 + 512, 512) == b"\xee" * 512
        assert status_of(daemon.hosts[1], 8) == (0x03, 4)

    def test_the_last_block_is_filled_with_zeros(self, daemon: Daemon):
        large = daemon.add(memory(), block_size_bytes=4096)
        host = daemon.see(large)
        fill(large, b"\xee" * 16384)
        populate(daemon.host, (0, 9))
        assert underrun(write_using(host, token_of(daemon.host), (0, 3)), 2)
        assert contents(large, 0, 12288) == contents(daemon.units[0], 0, 4608) + bytes(8192 - 4608) + b"\xee" * 4096
        assert status_of(host, 8) == (0x03, 2)

    def test_of_one_in_the_background_the_status_tells_that_the_token_was_too_short(self, daemon: Daemon):
        populate(daemon.host, (0, 4))
        host = daemon.hosts[1]
        assert write_using(host, token_of(daemon.host), (0, 8), immed=1).good
        data = host.run(receive(0x07, 8)).data
        assert (data[5], data[12], data[16:24]) == (0x03, Status.CHECK_CONDITION, (4).to_bytes(8, "big"))
        sense = data[32 : 32 + data[14]]
        assert sense[2] == SenseKey.COPY_ABORTED and sense[3:7] == b"\0\0\0\4" and sense[12:14] == b"\x0d\x04"

    def test_the_zero_token_makes_holes(self, daemon: Daemon):
        two = daemon.units[1]
        fill(two, b"\xee" * MIB)
        assert write_using(daemon.hosts[1], ZERO, (0, 1024), (1024, 512)).good
        assert contents(two, 0, MIB) == bytes(1536 * 512) + b"\xee" * (512 * 512)
        assert is_hole(two.backend, 0, 1536 * 512)
        assert status_of(daemon.hosts[1], 8) == (0x01, 1536)

    def test_del_tkn(self, daemon: Daemon):
        populate(daemon.host, (0, 8))
        token = token_of(daemon.host)
        assert write_using(daemon.hosts[1], token, (0, 8), delete=1).good
        assert illegal(write_using(daemon.hosts[1], token, (0, 8)), Asc.TOKEN_DELETED)

    def test_the_token_is_told_once(self, daemon: Daemon):
        populate(daemon.host, (0, 8))
        assert len(daemon.host.run(receive(0x07, 7, 100)).data) == 100  # cut: it isn't forgotten by that
        assert len(token_of(daemon.host)) == 512
        data = daemon.host.run(receive(0x07, 7)).data
        assert data[32:36] == bytes(4) and data[4] == 0x10 and data[5] == 0x01
        assert int.from_bytes(data[0:4], "big") == len(data) - 4

    def test_in_the_background_with_progress(self, daemon: Daemon):
        two = daemon.units[1]
        populate(daemon.host, (0, 2048))
        token = token_of(daemon.host)
        fill(two, b"")
        two.backend = slow = SlowBackend(two.backend)
        assert write_using(daemon.hosts[1], token, (0, 2048), immed=1).good
        data = daemon.hosts[1].run(receive(0x07, 8)).data
        assert data[5] == 0x12 and data[15] == 0xF1 and data[32:36] == bytes(4)
        slow.run()
        assert status_of(daemon.hosts[1], 8) == (0x01, 2048)


class TestPointInTime:
    def use(self, daemon: Daemon, token: bytes) -> Answer:
        return write_using(daemon.hosts[1], token, (0, 8))

    @pytest.mark.parametrize(
        ("raw", "data"),
        [
            (cdb.WRITE_10.pack(logical_block_address=7, transfer_length=1), bytes(512)),
            (cdb.WRITE_SAME_16.pack(logical_block_address=4, number_of_logical_blocks=1, ndob=1), b""),
            (cdb.UNMAP.pack(parameter_list_length=24), struct.pack(">HH4xQI4x", 22, 16, 0, 1)),
            (cdb.COMPARE_AND_WRITE.pack(number_of_logical_blocks=1), bytes(1024)),
        ],
    )
    def test_a_write_to_its_blocks_revokes_it(self, daemon: Daemon, raw: bytes, data: bytes):
        populate(daemon.host, (0, 8))
        token = token_of(daemon.host)
        daemon.host.run(raw, data)
        assert illegal(self.use(daemon, token), Asc.TOKEN_REVOKED)

    @pytest.mark.parametrize(
        ("raw", "data"),
        [
            (cdb.WRITE_10.pack(logical_block_address=8, transfer_length=1), bytes(512)),
            (cdb.UNMAP.pack(parameter_list_length=24), struct.pack(">HH4xQI4x", 22, 16, 8, 100)),
            (cdb.READ_10.pack(logical_block_address=0, transfer_length=8), b""),
        ],
    )
    def test_anything_else_does_not(self, daemon: Daemon, raw: bytes, data: bytes):
        populate(daemon.host, (0, 8))
        token = token_of(daemon.host)
        assert daemon.host.run(raw, data).good and self.use(daemon, token).good

    def test_a_write_that_is_under_way_is_waited_for(self, daemon: Daemon):
        one = daemon.units[0]
        one.backend = slow = SlowBackend(one.backend)
        write = daemon.host.send(cdb.WRITE_10.pack(logical_block_address=3, transfer_length=1), b"w" * 512)
        data = populate_list((0, 8))
        token = daemon.host.send(out(0x10, len(data), 7), data)
        assert not token.ended
        slow.run()
        assert write.answer.good and token.answer.good
        one.backend = slow.inner
        assert self.use(daemon, token_of(daemon.host)).good
        assert contents(daemon.units[1], 3 * 512, 512) == b"w" * 512

    def test_a_write_in_the_middle_of_a_copy_ends_the_copy(self, daemon: Daemon):
        one, two = daemon.units
        populate(daemon.host, (0, 2048))
        token = token_of(daemon.host)
        one.backend = slow = SlowBackend(one.backend)
        data = write_list(token, (0, 2048))
        copy = daemon.hosts[1].send(out(0x11, len(data), 8), data)
        write = daemon.host.send(cdb.WRITE_10.pack(logical_block_address=2047, transfer_length=1), b"w" * 512)
        slow.run()
        assert write.answer.good and illegal(copy.answer, Asc.TOKEN_REVOKED)
        assert status_of(daemon.hosts[1], 8)[0] == 0x02
        data = daemon.hosts[1].run(receive(0x05, 8)).data
        assert data[12] == Status.CHECK_CONDITION and data[14] == 18 and data[32 + 12 : 32 + 14] == b"\x23\x06"
        assert contents(two, 2047 * 512, 512) != b"w" * 512

    def test_time_ends_it(self, daemon: Daemon):
        populate(daemon.host, (0, 8), inactivity=5)
        token = token_of(daemon.host)
        daemon.clock.now += 5
        assert illegal(self.use(daemon, token), Asc.TOKEN_EXPIRED)


class TestRefusals:
    @pytest.mark.parametrize("length", range(1, 16))
    def test_populate_lists_without_a_whole_header(self, daemon: Daemon, length: int):
        data = populate_list((0, 8))[:length]
        assert illegal(daemon.host.run(out(0x10, length, 7), data), Asc.PARAMETER_LIST_LENGTH_ERROR)

    def test_empty_lists_do_nothing(self, daemon: Daemon):
        assert daemon.host.run(out(0x10, 0, 7)).good and daemon.host.run(out(0x11, 0, 7)).good
        assert illegal(daemon.host.run(receive(0x07, 7)), Asc.INVALID_FIELD_IN_CDB)

    @pytest.mark.parametrize(("at", "value", "byte"), [(0, b"\0\x1d", 0), (4, b"\0\0\x02\x59", 4), (14, b"\0\x0f", 14)])
    def test_fields_of_populate_token(self, daemon: Daemon, at: int, value: bytes, byte: int):
        data = bytearray(populate_list((0, 8)))
        data[at : at + len(value)] = value
        answer = daemon.host.run(out(0x10, len(data), 7), bytes(data))
        assert illegal(answer) and answer.pointer == (byte, None)

    @pytest.mark.parametrize("rod_type", [0, 0x00010000, 0x00800002, 0xFFFF0001])
    def test_rod_types_that_are_not_made(self, daemon: Daemon, rod_type: int):
        answer = populate(daemon.host, (0, 8), rod_type=rod_type, rtv=1)
        assert illegal(answer) and answer.pointer == (8, None)
        assert populate(daemon.host, (0, 8), rod_type=rod_type).good  # without RTV nobody looks at it

    @pytest.mark.parametrize("rod_type", [0x00800000, 0x00800001, 0x0080FFFF])
    def test_rod_types_that_are(self, daemon: Daemon, rod_type: int):
        assert populate(daemon.host, (0, 8), rod_type=rod_type, rtv=1).good

    @pytest.mark.parametrize(
        ("named", "asc"),
        [
            ([(8192, 1)], Asc.LBA_OUT_OF_RANGE),
            ([(8190, 3)], Asc.LBA_OUT_OF_RANGE),
            ([(2**64 - 1, 2)], Asc.LBA_OUT_OF_RANGE),
            ([(0, 8), (7, 1)], Asc.INVALID_FIELD_IN_PARAMETER_LIST),
            ([(0, 8), (0, 8)], Asc.INVALID_FIELD_IN_PARAMETER_LIST),
            ([(0, 0xFFFFFFFF)], Asc.INVALID_FIELD_IN_PARAMETER_LIST),
            ([(lba, 1) for lba in range(257)], Asc.TOO_MANY_SEGMENT_DESCRIPTORS),
        ],
    )
    def test_ranges(self, daemon: Daemon, named: list, asc: Asc):
        assert illegal(populate(daemon.host, *named), asc)
        assert illegal(write_using(daemon.host, ZERO, *named), asc)

    def test_ranges_without_blocks_count_for_nothing(self, daemon: Daemon):
        assert populate(daemon.host, (5, 0), (0, 8), (5, 0)).good
        assert status_of(daemon.host, 7) == (0x01, 8)

    @pytest.mark.parametrize("length", [1, 15, 16, 535])
    def test_write_lists_without_a_whole_header(self, daemon: Daemon, length: int):
        data = write_list(ZERO, (0, 8))[:length]
        assert illegal(daemon.host.run(out(0x11, length, 8), data), Asc.PARAMETER_LIST_LENGTH_ERROR)

    @pytest.mark.parametrize(("at", "value"), [(0, b"\x02\x25"), (0, b"\x02\x30"), (534, b"\0\x0f")])
    def test_lengths_of_write_using_token(self, daemon: Daemon, at: int, value: bytes):
        data = bytearray(write_list(ZERO, (0, 8)))
        data[at : at + 2] = value
        assert illegal(daemon.host.run(out(0x11, len(data), 8), bytes(data)))

    def test_an_offset_behind_the_end(self, daemon: Daemon):
        populate(daemon.host, (0, 8))
        token = token_of(daemon.host)
        for offset in (8, 9, 2**64 - 1):
            answer = write_using(daemon.host, token, (100, 8), offset=offset)
            assert illegal(answer) and answer.pointer == (8, None)

    def test_a_zero_token_of_another_length(self, daemon: Daemon):
        assert illegal(write_using(daemon.host, ZERO[:7] + b"\0" + ZERO[8:], (0, 8)), Asc.INVALID_TOKEN_LENGTH)

    def test_a_write_protected_unit(self, daemon: Daemon):
        protected = daemon.add(memory(), write_protected=True)
        assert write_using(daemon.see(protected), ZERO, (0, 8)).key == SenseKey.DATA_PROTECT
        assert populate(Host(protected), (0, 8)).good

    def test_a_source_that_fails_is_a_third_party(self, daemon: Daemon):
        populate(daemon.host, (0, 8))
        token = token_of(daemon.host)
        daemon.units[0].set_ready(Asc.BECOMING_READY)
        answer = write_using(daemon.hosts[1], token, (0, 8))
        assert (answer.key, answer.asc) == (SenseKey.COPY_ABORTED, Asc.THIRD_PARTY_DEVICE_FAILURE)

    def test_a_unit_that_does_not_know_its_initiators_has_no_tokens(self):
        daemon = Daemon(1, reservations=False)
        assert illegal(populate(daemon.host, (0, 8)), Asc.INVALID_FIELD_IN_CDB)

    @settings(deadline=None)
    @given(data=st.data())
    def test_hostile_lists(self, data: st.DataObject):
        daemon = Daemon(1)
        for action, good in ((0x10, populate_list((0, 8), (9, 1))), (0x11, write_list(ZERO, (0, 8), (9, 1)))):
            raw = bytearray(good)
            for at in data.draw(st.lists(st.sampled_from([*range(16), *range(530, len(good))]), max_size=3)):
                if at < len(raw):
                    raw[at] = data.draw(st.integers(0, 255))
            raw = raw[: data.draw(st.integers(0, len(raw)))]
            answer = daemon.host.run(out(action, len(raw), 7), bytes(raw))
            assert answer.good or answer.key == SenseKey.ILLEGAL_REQUEST
        assert daemon.manager.running == 0


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.lists(st.integers(1, 9), min_size=1, max_size=5),
       st.integers(0, 30))  # fmt: skip
def test_pieces_are_the_token_s_data_in_order(sources, targets, offset):
    unit = LogicalUnit(memory())
    ranges = tuple((100 * index, blocks) for index, blocks in enumerate(sources))
    wanted = tuple((100 * index, blocks) for index, blocks in enumerate(targets))
    token = Token(unit, None, ranges, bytes(512))
    from_bytes = [at for lba, blocks in ranges for at in range(lba * 512, (lba + blocks) * 512, 512)][offset:]
    to_bytes = [at for lba, blocks in wanted for at in range(lba * 512, (lba + blocks) * 512, 512)]
    moved = [
        (at + step, to + step)
        for at, to, length in pieces(token, offset * 512, wanted, 512)
        for step in range(0, length, 512)
    ]
    assert moved == list(zip(from_bytes, to_bytes))


def test_the_blocks_of_a_list_without_ranges_are_unknown(daemon: Daemon):
    assert populate_blocks(daemon.host.send(out(0x10, 10, 7), bytes(10)).command) is None
    data = populate_list((50, 5), (7, 3))
    assert populate_blocks(daemon.host.send(out(0x10, len(data), 7), data).command) == (7, 55)


class TestDdpt:
    """What Debian's ddpt 0.97 sends: its descriptors begin a byte too early, at 15 (docs/scsi.md).

    Captured from `ddpt --odx` and `ddptctl --pt=LBA,BLOCKS`, CDB and parameter list as they are.
    """

    CDB = bytes.fromhex("83100000000000000101000000200000")

    def test_16384_blocks_read_as_more_than_a_token_may_hold(self, daemon: Daemon):
        """skip=0,16384: bytes 24 to 27 hold 400000h."""
        sent = "001e0000 00000000 00000000 00000010 0000000000000000 00400000 00000000"
        answer = daemon.host.run(self.CDB, bytes.fromhex(sent))
        assert illegal(answer) and answer.pointer == (24, None)

    def test_fewer_read_as_256_times_as_many_at_256_times_the_address(self, daemon: Daemon):
        """skip=3,2: LOGICAL BLOCK ADDRESS in bytes 16 to 23 is 300h, NUMBER OF LOGICAL BLOCKS in 24 to 27 is 200h."""
        sent = "001e0000 00000000 00000000 00000010 0000000000000300 00000200 00000000"
        assert daemon.host.run(self.CDB, bytes.fromhex(sent)).good
        assert status_of(daemon.host, 0x101) == (0x01, 512)
        assert write_using(daemon.hosts[1], token_of(daemon.host, 0x101), (0, 512)).good
        assert contents(daemon.units[1], 0, 512 * 512) == contents(daemon.units[0], 0x300 * 512, 512 * 512)


class TestReportAllRodTokens:
    """SPC-4 6.31, table 278: header and body of each token that lives, and nothing that could be used."""

    def test_the_unit_s_tokens_without_what_makes_them_secret(self, daemon: Daemon):
        assert daemon.host.run(receive(0x08)).data == bytes.fromhex("00000004 00000000")
        populate(daemon.host, (0, 8))
        first = token_of(daemon.host)
        populate(daemon.host, (8, 8), list_id=9)
        second = token_of(daemon.host, 9)
        data = daemon.host.run(receive(0x08)).data
        assert data[:8] == (4 + 2 * 96).to_bytes(4, "big") + bytes(4)
        assert data[8:] == first[:96] + second[:96]
        assert daemon.hosts[1].run(receive(0x08)).data == bytes.fromhex("00000004 00000000")

    def test_dead_ones_are_not_there(self, daemon: Daemon):
        populate(daemon.host, (0, 8))
        daemon.host.run(cdb.WRITE_10.pack(transfer_length=1), bytes(512))
        assert len(daemon.host.run(receive(0x08)).data) == 8
        populate(daemon.host, (0, 8), list_id=9)
        daemon.clock.now += 61
        assert len(daemon.host.run(receive(0x08)).data) == 8

    @pytest.mark.parametrize("length", [0, 1, 4, 8, 103, 104, 0xFFFFFFFF])
    def test_it_is_cut_and_counts_what_there_is(self, daemon: Daemon, length: int):
        populate(daemon.host, (0, 8))
        data = daemon.host.run(receive(0x08, length=length)).data
        assert len(data) == min(length, 104)
        assert data[:4] == b"\0\0\0\x64"[:length]
