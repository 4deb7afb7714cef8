"""EXTENDED COPY within a unit and between units: data, holes, errors and sense, gates of both sides, abortion."""

from __future__ import annotations

import errno
import os
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.command import Function, Status, TaskManagement
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.sense import Asc, SenseKey
from tests.doubles.backends import FaultyBackend, RecordingBackend, SlowBackend
from tests.doubles.copying import (
    HOLD,
    Daemon,
    b2b,
    begin,
    contents,
    cscd,
    fill,
    is_hole,
    lid1,
    lid4,
    out,
    receive,
    status_of,
    with_offset,
    xcopy,
)
from tests.doubles.host import Answer, Host, memory

MIB = 1 << 20
NOBODY = b"\x60\x01\x40\x5f" + bytes(12)


def about(answer: Answer) -> tuple[int, int, int]:
    """COMMAND-SPECIFIC INFORMATION of COPY ABORTED in fixed format: areas of source and destination, segment."""
    source, destination, segment = struct.unpack(">BBH", answer.sense[8:12])
    return source, destination, segment


def segment_pointer(answer: Answer) -> tuple[bool, int]:
    """(SD, FIELD POINTER).  Source: SPC-4 4.5.2.4.5."""
    assert answer.sense[15] & 0x80
    return bool(answer.sense[15] & 0x20), int.from_bytes(answer.sense[16:18], "big")


def aborted(answer: Answer, asc: Asc = Asc.NO_ADDITIONAL_SENSE_INFORMATION) -> bool:
    return (answer.status, answer.key, answer.asc) == (Status.CHECK_CONDITION, SenseKey.COPY_ABORTED, asc)


class TestData:
    def test_blocks_go_to_another_place_of_the_same_unit(self):
        daemon = Daemon(1)
        data = os.urandom(8 * 512)
        fill(daemon.units[0], data)
        assert xcopy(daemon.host, lid1([cscd(daemon.units[0])], [b2b(0, 0, 8, 0, 100)])).good
        assert contents(daemon.units[0], 100 * 512, len(data)) == data
        assert contents(daemon.units[0], 108 * 512, 512) == bytes(512)

    def test_blocks_go_to_another_unit(self):
        daemon = Daemon()
        one, two = daemon.units
        data = os.urandom(3 * MIB // 4)
        fill(one, data)
        answer = xcopy(daemon.host, lid1([cscd(one), cscd(two, block=512)], [b2b(0, 1, len(data) // 512, 0, 3)]))
        assert answer.good
        assert contents(two, 3 * 512, len(data)) == data

    def test_the_unit_that_was_asked_needs_not_take_part(self):
        daemon = Daemon(3)
        fill(daemon.units[1], b"x" * 512)
        assert xcopy(daemon.host, lid1([cscd(unit) for unit in daemon.units], [b2b(1, 2, 1, 0, 0)])).good
        assert contents(daemon.units[2], 0, 512) == b"x" * 512

    def test_ffff_is_the_unit_that_was_asked(self):
        daemon = Daemon(1)
        fill(daemon.units[0], b"y" * 512)
        assert xcopy(daemon.host, lid1([], [b2b(0xFFFF, 0xFFFF, 1, 0, 9)])).good
        assert contents(daemon.units[0], 9 * 512, 512) == b"y" * 512

    def test_segments_are_done_in_order(self):
        daemon = Daemon(1)
        fill(daemon.units[0], b"1" * 512 + b"2" * 512)
        steps = [b2b(0, 0, 1, 0, 5), b2b(0, 0, 1, 1, 0), b2b(0, 0, 1, 5, 1)]
        assert xcopy(daemon.host, lid1([cscd(daemon.units[0])], steps)).good
        assert contents(daemon.units[0], 0, 1024) == b"2" * 512 + b"1" * 512

    @pytest.mark.parametrize("to", [1, 7, 3000, 0, 4095])
    def test_ranges_that_overlap_are_copied_as_they_were(self, to: int):
        daemon = Daemon(1, 4 * MIB)
        data = os.urandom(2 * MIB)
        fill(daemon.units[0], data, 512)
        assert xcopy(daemon.host, lid1([cscd(daemon.units[0])], [b2b(0, 0, 4096, 1, to)])).good
        assert contents(daemon.units[0], to * 512, len(data)) == data

    def test_nothing_to_do_is_good(self):
        daemon = Daemon(1)
        assert daemon.host.run(out(0, 0)).good
        assert xcopy(daemon.host, lid1([cscd(daemon.units[0])], [])).good
        assert xcopy(daemon.host, lid1([cscd(daemon.units[0])], [b2b(0, 0, 0, 0, 0)])).good

    def test_holes_stay_holes(self):
        daemon = Daemon(size_bytes=8 * MIB)
        one, two = daemon.units
        fill(two, b"\xff" * 8 * MIB)
        fill(one, b"a" * 4096, 2 * MIB)
        assert xcopy(daemon.host, lid1([cscd(one), cscd(two)], [b2b(0, 1, 16384, 0, 0)])).good
        assert contents(two, 0, 8 * MIB) == contents(one, 0, 8 * MIB)
        assert is_hole(two.backend, 0, 2 * MIB) and is_hole(two.backend, 2 * MIB + 4096, 6 * MIB - 4096)

    def test_a_thick_destination_gets_zeros(self):
        daemon = Daemon(1)
        thick = daemon.add(memory(), thin=False)
        daemon.see(thick)
        fill(thick, b"\xff" * MIB)
        assert xcopy(daemon.host, lid1([cscd(daemon.units[0]), cscd(thick)], [b2b(0, 1, 2048, 0, 0)])).good
        assert contents(thick, 0, MIB) == bytes(MIB)

    def test_no_more_than_a_chunk_is_in_memory(self):
        daemon = Daemon(1, 8 * MIB)
        backend = RecordingBackend(daemon.units[0].backend)
        daemon.units[0].backend = backend
        fill(daemon.units[0], os.urandom(4 * MIB))
        assert xcopy(daemon.host, lid1([cscd(daemon.units[0])], [b2b(0, 0, 8192, 0, 8192)])).good
        lengths = [call[2] for call in backend.calls if call[0] in ("read", "write")]
        assert len(lengths) == 1 + 8 and max(lengths[1:]) <= MIB

    def test_the_write_cache_switched_off_makes_every_copied_block_durable(self):
        daemon = Daemon(1)
        daemon.units[0].backend = backend = RecordingBackend(daemon.units[0].backend)
        daemon.units[0].set_write_cache(False)
        fill(daemon.units[0], b"d" * 512)
        assert xcopy(daemon.host, lid1([cscd(daemon.units[0])], [b2b(0, 0, 1, 0, 9)])).good
        assert [call[3] for call in backend.calls if call[0] == "write"][-1] is True


class TestBlockSizes:
    @pytest.fixture
    def daemon(self) -> Daemon:
        daemon = Daemon(1)
        daemon.see(daemon.add(memory(), block_size_bytes=4096))
        fill(daemon.units[0], os.urandom(MIB))
        return daemon

    def parties(self, daemon: Daemon, pads: tuple[int, int] = (0, 0)) -> list[bytes]:
        return [cscd(unit, pad=pad) for unit, pad in zip(daemon.units, pads)]

    def test_the_source_counts(self, daemon: Daemon):
        one, two = daemon.units
        assert xcopy(daemon.host, lid1(self.parties(daemon), [b2b(0, 1, 16, 1, 2)])).good
        assert contents(two, 2 * 4096, 16 * 512) == contents(one, 512, 16 * 512)

    def test_dc_makes_the_destination_count(self, daemon: Daemon):
        one, two = daemon.units
        assert xcopy(daemon.host, lid1(self.parties(daemon), [b2b(0, 1, 2, 1, 2, dc=1)])).good
        assert contents(two, 2 * 4096, 2 * 4096) == contents(one, 512, 2 * 4096)

    def test_a_piece_of_a_block_is_an_inexact_segment(self, daemon: Daemon):
        answer = xcopy(daemon.host, lid1(self.parties(daemon), [b2b(0, 1, 9, 0, 0)]))
        assert aborted(answer, Asc.UNEXPECTED_INEXACT_SEGMENT)
        assert contents(daemon.units[1], 0, 8192) == bytes(8192)

    def test_pad_of_the_destination_fills_with_zeros(self, daemon: Daemon):
        one, two = daemon.units
        fill(two, b"\xff" * 8192)
        assert xcopy(daemon.host, lid1(self.parties(daemon, (0, 1)), [b2b(0, 1, 9, 0, 0)])).good
        assert contents(two, 0, 8192) == contents(one, 0, 9 * 512) + bytes(8192 - 9 * 512)

    def test_pad_of_the_source_leaves_the_rest_out(self, daemon: Daemon):
        one, two = daemon.units
        fill(two, b"\xff" * 8192)
        assert xcopy(daemon.host, lid1(self.parties(daemon, (1, 0)), [b2b(0, 1, 9, 0, 0)])).good
        assert contents(two, 0, 8192) == contents(one, 0, 4096) + b"\xff" * 4096

    def test_a_wrong_disk_block_length_is_pointed_at(self, daemon: Daemon):
        one, two = daemon.units
        answer = xcopy(daemon.host, lid1([cscd(one), cscd(two, block=512)], [b2b(0, 1, 8, 0, 0)]))
        assert aborted(answer, Asc.INVALID_FIELD_IN_PARAMETER_LIST)
        assert segment_pointer(answer) == (False, 16 + 32 + 29)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(length=st.integers(0, 20000), at=st.integers(0, 20000), to=st.integers(0, 20000))
    def test_bytes_with_offset(self, daemon: Daemon, length: int, at: int, to: int):
        one, two = daemon.units
        fill(two, b"\xaa" * 65536)
        step = with_offset(0, 1, length, at // 512, at % 512, to // 4096, to % 4096)
        assert xcopy(daemon.host, lid1(self.parties(daemon), [step])).good
        expected = b"\xaa" * to + contents(one, at, length)
        assert contents(two, 0, 65536) == expected.ljust(65536, b"\xaa")


class TestErrors:
    def test_a_unit_that_nobody_knows(self):
        daemon = Daemon(1)
        answer = xcopy(daemon.host, lid1([cscd(daemon.units[0]), cscd(daemon.units[0], naa=NOBODY)],
                                         [b2b(0, 0, 1, 0, 5), b2b(0, 1, 1, 0, 0)]))  # fmt: skip
        assert aborted(answer, Asc.COPY_TARGET_DEVICE_NOT_REACHABLE)
        assert about(answer) == (0, 0, 1) and segment_pointer(answer) == (False, 16 + 32)

    def test_a_unit_that_the_initiator_is_not_logged_in_to(self):
        daemon = Daemon(1)
        secret = daemon.add(memory())
        fill(secret, b"s" * 512)
        answer = xcopy(daemon.host, lid1([cscd(daemon.units[0]), cscd(secret)], [b2b(1, 0, 1, 0, 0)]))
        assert aborted(answer, Asc.COPY_TARGET_DEVICE_NOT_REACHABLE)
        assert contents(daemon.units[0], 0, 512) == bytes(512)

    def test_another_name_of_a_unit_than_its_naa(self):
        daemon = Daemon(1)
        answer = xcopy(daemon.host, lid1([cscd(daemon.units[0], byte4=2)], [b2b(0, 0, 1, 0, 0)]))
        assert aborted(answer, Asc.COPY_TARGET_DEVICE_NOT_REACHABLE)

    def test_a_tape(self):
        daemon = Daemon(1)
        answer = xcopy(daemon.host, lid1([cscd(daemon.units[0], byte1=1)], [b2b(0, 0, 1, 0, 0)]))
        assert aborted(answer, Asc.INCORRECT_COPY_TARGET_DEVICE_TYPE)

    @pytest.mark.parametrize(("source", "destination", "byte"), [(1, 0, 4), (0, 0x7FF, 6), (0xC000, 0, 4)])
    def test_a_cscd_id_that_names_nobody(self, source: int, destination: int, byte: int):
        daemon = Daemon(1)
        answer = xcopy(daemon.host, lid1([cscd(daemon.units[0])], [b2b(source, destination, 1, 0, 0)]))
        assert aborted(answer) and segment_pointer(answer) == (True, byte)

    @pytest.mark.parametrize(
        ("at", "to", "byte"), [(2041, 0, 12), (0, 2041, 20), (2**64 - 1, 0, 12), (0, 2**64 - 4, 20)]
    )
    def test_blocks_that_do_not_exist(self, at: int, to: int, byte: int):
        daemon = Daemon(1)
        fill(daemon.units[0], b"k" * MIB)
        answer = xcopy(daemon.host, lid1([cscd(daemon.units[0])], [b2b(0, 0, 8, at, to)]))
        assert aborted(answer) and segment_pointer(answer) == (True, byte) and answer.information is None
        assert contents(daemon.units[0], 0, MIB) == b"k" * MIB

    @pytest.mark.parametrize(("step", "byte"), [((600, 0), 28), ((0, 512), 30)])
    def test_an_offset_beyond_the_block(self, step: tuple[int, int], byte: int):
        daemon = Daemon(1)
        answer = xcopy(daemon.host, lid1([cscd(daemon.units[0])], [with_offset(0, 0, 1, 0, step[0], 0, step[1])]))
        assert aborted(answer) and segment_pointer(answer) == (True, byte)

    def test_a_segment_of_four_gibibytes(self):
        daemon = Daemon(1)
        answer = xcopy(daemon.host, lid1([cscd(daemon.units[0])], [with_offset(0, 0, 0xFFFFFFFF, 0, 0, 0, 0)]))
        assert aborted(answer) and segment_pointer(answer) == (True, 8)

    @pytest.mark.parametrize(("name", "area"), [("read", (18, 0)), ("write", (0, 18))])
    def test_storage_that_fails_is_told_with_its_sense(self, name: str, area: tuple[int, int]):
        daemon = Daemon()
        one, two = daemon.units
        fill(one, b"f" * 1024)
        failing = one if name == "read" else two
        failing.backend = faulty = FaultyBackend(failing.backend)
        faulty.fail(name, errno.EIO)
        answer = xcopy(daemon.host, lid1([cscd(one), cscd(two)], [b2b(0, 1, 2, 0, 0)]))
        assert aborted(answer, Asc.THIRD_PARTY_DEVICE_FAILURE)
        assert about(answer) == (*area, 0)
        assert answer.sense[7] == len(answer.sense) - 8
        assert answer.sense[18] == Status.CHECK_CONDITION and answer.sense[19 + 2] & 0xF == SenseKey.MEDIUM_ERROR
        assert segment_pointer(answer) == (False, 16 if name == "read" else 48)

    def test_the_residual_counts_blocks_of_the_destination(self):
        daemon = Daemon(size_bytes=4 * MIB)
        one, two = daemon.units
        fill(one, os.urandom(3 * MIB))
        two.backend = slow = SlowBackend(two.backend)
        pending = begin(daemon.host, lid1([cscd(one), cscd(two)], [b2b(0, 1, 6144, 0, 0)]))
        slow.step()
        two.set_ready(Asc.BECOMING_READY)
        slow.run()
        answer = pending.answer
        assert aborted(answer, Asc.THIRD_PARTY_DEVICE_FAILURE) and answer.information == 6144 - 4096
        assert answer.sense[19 + 2] & 0xF == SenseKey.NOT_READY

    def test_in_descriptor_format_the_forwarded_sense_is_a_descriptor(self):
        daemon = Daemon()
        one, two = daemon.units
        one.modes.put(0x0A, "d_sense", 1)
        one.look_again()
        two.set_ready(Asc.BECOMING_READY)
        fill(one, b"f" * 512)
        sense = xcopy(daemon.host, lid1([cscd(one), cscd(two)], [b2b(0, 1, 1, 0, 0)])).sense
        assert sense[0] == 0x72 and sense[7] == len(sense) - 8
        found, at = {}, 8
        while at < len(sense):
            found[sense[at]] = sense[at : at + 2 + sense[at + 1]]
            at += 2 + sense[at + 1]
        assert set(found) == {0x01, 0x02, 0x0C}
        assert found[0x0C][2:4] == bytes((2, Status.CHECK_CONDITION))
        assert found[0x01][4:] == bytes(8)  # segment 0, no areas in this format

    def test_a_duplicate_list_identifier(self):
        daemon = Daemon(1)
        daemon.units[0].backend = slow = SlowBackend(daemon.units[0].backend)
        data = lid1([cscd(daemon.units[0])], [b2b(0, 0, 1, 0, 5)], list_id=3, usage=HOLD)
        first = begin(daemon.host, data)
        second = xcopy(daemon.host, data)
        assert (second.key, second.asc) == (SenseKey.ILLEGAL_REQUEST, Asc.OPERATION_IN_PROGRESS)
        slow.run()
        assert first.answer.good
        assert begin(Host(daemon.units[0], "other"), data).command  # another nexus may use it

    def test_too_many_at_a_time(self):
        daemon = Daemon(1)
        daemon.units[0].backend = slow = SlowBackend(daemon.units[0].backend)
        data = lid1([cscd(daemon.units[0])], [b2b(0, 0, 1, 0, 5)])
        running = [begin(daemon.host, data) for _ in range(32)]
        assert xcopy(daemon.host, data).status == Status.TASK_SET_FULL
        slow.run()
        assert all(one.answer.good for one in running)
        last = begin(daemon.host, data)
        slow.run()
        assert last.answer.good

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(data=st.data())
    def test_hostile_lists_change_only_what_they_name(self, data: st.DataObject):
        daemon = Daemon()
        one, two = daemon.units
        fill(one, b"1" * 65536)
        fill(two, b"2" * 65536)
        raw = bytearray(lid1([cscd(one), cscd(two)], [b2b(0, 1, 4, 0, 8), b2b(1, 1, 4, 8, 16)]))
        for at in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=3)):
            raw[at] = data.draw(st.sampled_from([0, 1, 2, 0x0A, 0x7F, 0x80, 0xE4, 0xFF]))
        answer = xcopy(daemon.host, bytes(raw[: data.draw(st.integers(0, len(raw)))]))
        assert answer.good or answer.key in (SenseKey.ILLEGAL_REQUEST, SenseKey.COPY_ABORTED)
        assert daemon.manager.running == 0 and not one.tasks.running and not two.tasks.running


class TestGates:
    def test_a_write_protected_destination(self):
        daemon = Daemon(1)
        protected = daemon.add(memory(), write_protected=True)
        daemon.see(protected)
        fill(daemon.units[0], b"p" * 512)
        parties = [cscd(daemon.units[0]), cscd(protected)]
        answer = xcopy(daemon.host, lid1(parties, [b2b(0, 1, 1, 0, 0)]))
        assert aborted(answer, Asc.THIRD_PARTY_DEVICE_FAILURE)
        assert answer.sense[19 + 2] & 0xF == SenseKey.DATA_PROTECT
        assert xcopy(daemon.host, lid1(parties, [b2b(1, 0, 1, 0, 0)])).good  # as a source it will do

    @pytest.mark.parametrize(("type_", "reads"), [(1, True), (3, False)])
    def test_a_reservation_of_another_initiator(self, type_: int, reads: bool):
        daemon = Daemon()
        one, two = daemon.units
        fill(one, b"r" * 512)
        fill(two, b"t" * 512)
        other = Host(two, "iqn.2026-11.test:other", attach=True)
        other.run(cdb.TEST_UNIT_READY.pack())
        key = struct.pack(">QQ8x", 0, 1)
        assert other.run(cdb.REGISTER.pack(parameter_list_length=24), key).good
        reserve = cdb.RESERVE.pack(type=type_, parameter_list_length=24)
        assert other.run(reserve, struct.pack(">QQ8x", 1, 0)).good
        answer = xcopy(daemon.host, lid1([cscd(one), cscd(two)], [b2b(0, 1, 1, 0, 0)]))
        assert aborted(answer, Asc.THIRD_PARTY_DEVICE_FAILURE)
        assert answer.sense[18] == Status.RESERVATION_CONFLICT and contents(two, 0, 512) == b"t" * 512
        assert xcopy(daemon.host, lid1([cscd(one), cscd(two)], [b2b(1, 0, 1, 0, 0)])).good is reads

    def test_a_unit_attention_of_the_other_unit_is_told_once(self):
        daemon = Daemon()
        one, two = daemon.units
        two.attentions.establish(daemon.host.nexus, Asc.CAPACITY_DATA_CHANGED)
        two.look_again()
        data = lid1([cscd(one), cscd(two)], [b2b(0, 1, 1, 0, 0)])
        answer = xcopy(daemon.host, data)
        assert aborted(answer, Asc.THIRD_PARTY_DEVICE_FAILURE)
        assert answer.sense[19 + 2] & 0xF == SenseKey.UNIT_ATTENTION
        assert answer.sense[19 + 12 : 19 + 14] == b"\x2a\x09"
        assert xcopy(daemon.host, data).good

    def test_an_attention_that_comes_up_on_the_way_stays_for_the_initiator(self):
        daemon = Daemon()
        one, two = daemon.units
        fill(one, b"u" * 512)
        one.backend = slow = SlowBackend(one.backend)
        pending = begin(daemon.host, lid1([cscd(one), cscd(two)], [b2b(0, 1, 1, 0, 0)]))
        two.attentions.establish_all(Asc.MODE_PARAMETERS_CHANGED)
        two.look_again()
        slow.run()
        assert pending.answer.good and contents(two, 0, 512) == b"u" * 512
        assert daemon.hosts[1].run(cdb.TEST_UNIT_READY.pack()).asc == Asc.MODE_PARAMETERS_CHANGED

    def test_compare_and_write_waits_for_the_copy_s_write_to_its_blocks(self):
        daemon = Daemon()
        one, two = daemon.units
        fill(one, b"n" * 512)
        two.backend = slow = SlowBackend(two.backend)
        copy = begin(daemon.host, lid1([cscd(one), cscd(two)], [b2b(0, 1, 1, 0, 0)]))
        swap = daemon.hosts[1].send(cdb.COMPARE_AND_WRITE.pack(number_of_logical_blocks=1), b"n" * 512 + b"m" * 512)
        assert two.tasks.waiting
        slow.run()
        assert copy.answer.good and swap.answer.good and contents(two, 0, 512) == b"m" * 512

    def test_the_copy_waits_for_a_compare_and_write_on_its_blocks(self):
        daemon = Daemon()
        one, two = daemon.units
        fill(one, b"n" * 512)
        two.backend = slow = SlowBackend(two.backend)
        swap = daemon.hosts[1].send(cdb.COMPARE_AND_WRITE.pack(number_of_logical_blocks=1), bytes(512) + b"m" * 512)
        copy = begin(daemon.host, lid1([cscd(one), cscd(two)], [b2b(0, 1, 1, 0, 0)]))
        slow.run()
        assert swap.answer.good and copy.answer.good and contents(two, 0, 512) == b"n" * 512

    @pytest.mark.parametrize("attribute", [1, 2, 3])
    def test_ordered_commands_and_copies_do_not_wait_for_each_other_in_a_circle(self, attribute: int):
        daemon = Daemon()
        one, two = daemon.units
        fill(one, os.urandom(MIB))
        one.backend, two.backend = slow, other = SlowBackend(one.backend), SlowBackend(two.backend)
        parties = [cscd(one), cscd(two)]
        first = lid1(parties, [b2b(0, 1, 2048, 0, 0)])
        second = lid1(parties, [b2b(1, 0, 2048, 0, 0)])
        there = daemon.host.send(out(0, len(first)), first, attribute=attribute)
        back = daemon.hosts[1].send(out(0, len(second)), second, attribute=attribute)
        ordered = [host.send(cdb.MODE_SELECT_6.pack(pf=1), attribute=2) for host in daemon.hosts]
        for _ in range(50):
            slow.run()
            other.run()
        assert there.ended and back.ended and all(one.ended for one in ordered)


class TestEnd:
    @pytest.fixture
    def slow(self) -> tuple[Daemon, SlowBackend, SlowBackend]:
        daemon = Daemon(size_bytes=8 * MIB)
        one, two = daemon.units
        fill(one, os.urandom(8 * MIB))
        one.backend, two.backend = SlowBackend(one.backend), SlowBackend(two.backend)
        return daemon, one.backend, two.backend

    def start(self, daemon: Daemon, **more: int):
        one, two = daemon.units
        return begin(daemon.host, lid4([cscd(one), cscd(two)], [b2b(0, 1, 16384, 0, 0)], list_id=77, **more), 1)

    def step(self, slow: SlowBackend, *others: SlowBackend, count: int = 3) -> None:
        for _ in range(count):
            for backend in (slow, *others):
                if backend.waiting:
                    backend.step()

    def test_abort_task_stops_it_on_both_units(self, slow):
        daemon, source, destination = slow
        pending = self.start(daemon)
        self.step(source, destination)
        ended = []
        request = TaskManagement(Function.ABORT_TASK, daemon.host.nexus, referenced_tag=pending.command.tag)
        daemon.units[0].manage(request, ended.append)
        assert not ended  # its last step is with the storage
        source.run()
        destination.run()
        assert ended == [0] and pending.responses[0].status == Status.TASK_ABORTED
        assert not source.waiting and not destination.waiting and daemon.manager.running == 0
        assert status_of(daemon.host, 77)[0] == 0x60

    @pytest.mark.parametrize("which", [0, 1])
    def test_a_reset_of_either_unit_ends_it(self, slow, which: int):
        daemon, source, destination = slow
        pending = self.start(daemon)
        self.step(source, destination)
        ended = []
        daemon.units[which].manage(TaskManagement(Function.LOGICAL_UNIT_RESET, daemon.hosts[which].nexus), ended.append)
        for _ in range(3):
            source.run()
            destination.run()
        assert ended == [0] and pending.ended and daemon.manager.running == 0
        if which:
            assert aborted(pending.answer, Asc.THIRD_PARTY_DEVICE_FAILURE)

    def test_copy_operation_abort_of_one_in_the_foreground(self, slow):
        daemon, source, destination = slow
        pending = self.start(daemon)
        self.step(source, destination)
        abort = daemon.host.send(out(0x1C, 0, 77))
        assert not abort.ended
        for _ in range(3):
            source.run()
            destination.run()
        assert abort.answer.good and aborted(pending.answer, Asc.COMMANDS_CLEARED_BY_DEVICE_SERVER)
        assert status_of(daemon.host, 77)[0] == 0x60
        assert daemon.host.run(out(0x1C, 0, 77)).asc == Asc.INVALID_FIELD_IN_CDB

    def test_one_in_the_background_goes_on_alone(self, slow):
        daemon, source, destination = slow
        assert self.start(daemon, immed=1).answer.good
        self.step(source, destination)
        status, moved = status_of(daemon.host, 77)
        assert status == 0x12 and 0 < moved < 8 * MIB
        other = begin(daemon.host, lid4([cscd(daemon.units[0])], [], list_id=77), 1).answer
        assert other.asc == Asc.OPERATION_IN_PROGRESS
        for _ in range(30):
            source.run()
            destination.run()
        assert status_of(daemon.host, 77) == (0x01, 8 * MIB)
        assert contents(destination.inner, 0, 8 * MIB) == contents(source.inner, 0, 8 * MIB)

    def test_the_background_outlives_the_nexus_and_ends_with_a_reset(self, slow):
        daemon, source, destination = slow
        assert self.start(daemon, immed=1).answer.good
        self.step(source, destination)
        daemon.units[0].detach(daemon.host.nexus)
        self.step(source, destination)
        assert daemon.manager.running == 1
        daemon.units[0].reset(Asc.BUS_DEVICE_RESET, None, lambda: None)
        source.run()
        destination.run()
        assert daemon.manager.running == 0

    def test_copy_operation_abort_of_one_in_the_background(self, slow):
        daemon, source, destination = slow
        assert self.start(daemon, immed=1).answer.good
        self.step(source, destination)
        abort = daemon.host.send(out(0x1C, 0, 77))
        source.run()
        destination.run()
        assert abort.answer.good and status_of(daemon.host, 77)[0] == 0x60

    def test_a_lost_nexus_ends_one_in_the_foreground(self, slow):
        daemon, source, destination = slow
        pending = self.start(daemon)
        self.step(source, destination)
        daemon.units[0].detach(daemon.host.nexus)
        source.run()
        destination.run()
        assert pending.ended and daemon.manager.running == 0

    def test_a_unit_that_is_taken_away_fails_it(self, slow):
        daemon, source, destination = slow
        pending = self.start(daemon)
        self.step(source, destination)
        daemon.units[1].copies.leave()
        for _ in range(3):
            source.run()
            destination.run()
        assert aborted(pending.answer, Asc.THIRD_PARTY_DEVICE_FAILURE)


def test_g_sense_says_how_many_segments_were_done():
    daemon = Daemon(1)
    answer = xcopy(daemon.host, lid4([cscd(daemon.units[0])], [b2b(0, 0, 1, 0, 5)] * 3, g_sense=1), 1)
    assert (answer.status, answer.key, answer.asc) == (Status.GOOD, SenseKey.COMPLETED, 0x0020)
    assert answer.sense[8:12] == bytes((0, 0, 0, 3))


def test_without_a_daemon_around_it_a_unit_copies_within_itself_and_makes_no_tokens():
    unit = LogicalUnit(memory())
    host = Host(unit)
    fill(unit, b"z" * 512)
    assert xcopy(host, lid1([cscd(unit)], [b2b(0, 0, 1, 0, 5)])).good
    assert contents(unit, 5 * 512, 512) == b"z" * 512
    assert host.run(out(0x10, 0)).asc == Asc.INVALID_FIELD_IN_CDB
    assert host.run(receive(0x05)).asc == Asc.INVALID_FIELD_IN_CDB
