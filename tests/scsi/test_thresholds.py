"""Soft thresholds: told once when they are reached, and again after they were left."""

from __future__ import annotations

import errno

import pytest

from tcmu_gluster.backends.base import Space
from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.command import Function, TaskManagement
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.sense import Asc, SenseKey
from tcmu_gluster.scsi.thresholds import resource_counts, threshold_exponent
from tests.doubles.backends import FaultyBackend
from tests.doubles.host import Answer, Host, memory

MIB = 1 << 20
GIB = 1 << 30


class Room:
    """A thin disk on storage that has so much left, and two hosts that have heard everything."""

    def __init__(self) -> None:
        self.backend = memory()
        self.unit = LogicalUnit(self.backend)
        self.one, self.two = (Host(self.unit, name, attach=True) for name in ("iqn.a", "iqn.b"))
        self.heard()

    def heard(self) -> list[int]:
        """What the two hosts hear next, 0 for nothing."""
        return [host.run(cdb.TEST_UNIT_READY.pack()).asc or 0 for host in (self.one, self.two)]

    def left(self, available_bytes: int, used_bytes: int = 0) -> list[int]:
        """The storage has so much left now; what is heard."""
        self.backend.space = Space(used_bytes, available_bytes)
        self.unit.space_changed()
        return self.heard()

    def select(self, page_code: int, subpage_code: int = 0, **values: int) -> Answer:
        fields = {"page_code": page_code, "subpage_code": subpage_code, "dbd": 1, "allocation_length": 255}
        raw = self.one.run(cdb.MODE_SENSE_6.pack(**fields)).data[4:]
        layout = next(iter(self.unit.modes.select(page_code, subpage_code))).layout
        data = bytes(4) + bytes(layout.pack(**{**layout.unpack(raw).as_dict(), **values}))
        answer = self.one.run(cdb.MODE_SELECT_6.pack(pf=1, parameter_list_length=len(data)), data)
        assert answer.good, answer
        while any(self.heard()):
            pass
        return answer


REACHED = int(Asc.THIN_PROVISIONING_SOFT_THRESHOLD_REACHED)


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.mark.parametrize(("block", "exponent"), [(512, 11), (4096, 8)])
def test_a_threshold_set_is_a_mebibyte(block: int, exponent: int) -> None:
    assert threshold_exponent(block) == exponent
    assert block << exponent == MIB


def test_what_is_left_is_rounded_down_and_what_is_used_up(room: Room) -> None:
    assert resource_counts(room.unit) is None
    room.backend.space = Space(MIB + 1, 2 * MIB - 1)
    assert resource_counts(room.unit) == (1, 2)
    room.backend.space = Space(0, 1 << 60)
    assert resource_counts(room.unit) == (0xFFFFFFFF, 0)


def test_nothing_is_told_unless_somebody_set_a_threshold(room: Room) -> None:
    assert room.left(0, 1 << 40) == [0, 0]


def test_a_falling_threshold_is_told_once_and_again_after_it_was_left(room: Room) -> None:
    room.select(0x1C, 0x02, available_enabled=1, available_threshold_count=1024)
    assert room.left(2 * GIB) == [0, 0]
    assert room.left(GIB) == [REACHED, REACHED]
    assert room.left(GIB - MIB) == [0, 0]
    assert room.left(2 * GIB) == [0, 0]
    assert room.left(0) == [REACHED, REACHED]


def test_a_rising_threshold(room: Room) -> None:
    room.select(0x1C, 0x02, used_enabled=1, used_threshold_count=10)
    assert room.left(0, 9 * MIB) == [0, 0]
    assert room.left(0, 10 * MIB) == [REACHED, REACHED]


def test_the_second_threshold_is_told_although_the_first_is_reached(room: Room) -> None:
    room.select(0x1C, 0x02, available_enabled=1, available_threshold_count=10, used_enabled=1, used_threshold_count=10)
    assert room.left(0, 0) == [REACHED, REACHED]
    assert room.left(0, 10 * MIB) == [REACHED, REACHED]
    assert room.left(0, 11 * MIB) == [0, 0]


def test_with_situa_the_nexus_hears_it_that_asks_first(room: Room) -> None:  # SBC-4 4.7.3.7.6 a)
    room.select(0x1C, 0x02, situa=1, used_enabled=1, used_threshold_count=1)
    room.backend.space = Space(MIB, 0)
    room.unit.space_changed()
    assert room.two.run(cdb.INQUIRY.pack(allocation_length=36)).good  # which can't report it
    assert room.two.run(cdb.TEST_UNIT_READY.pack()).asc == REACHED
    assert room.heard() == [0, 0]
    assert room.unit.quiet


@pytest.mark.parametrize(("resource", "offset"), [("available", 16), ("used", 24)])
@pytest.mark.parametrize("descriptor", [0, 1])
def test_information_says_where_the_threshold_stands_in_the_page(
    room: Room, resource: str, offset: int, descriptor: int
) -> None:  # SBC-4 4.7.3.7.6: the byte offset of the threshold descriptor
    room.select(0x0A, d_sense=descriptor)
    room.select(0x1C, 0x02, **{f"{resource}_enabled": 1, f"{resource}_threshold_count": 5})
    room.backend.space = Space(5 * MIB, 5 * MIB)
    room.unit.space_changed()
    answer = room.one.run(cdb.TEST_UNIT_READY.pack())
    if descriptor:
        assert answer.sense.hex() == "720638070000000c" + "000a8000" + f"{offset:016x}"
    else:
        assert answer.sense.hex() == "f00006" + f"{offset:08x}" + "0a" + "00000000" + "3807" + "00000000"
    data = room.two.run(cdb.REQUEST_SENSE.pack(allocation_length=18)).data
    assert data[:7].hex() == "f00006" + f"{offset:08x}"


def test_after_a_reset_what_is_reached_is_told_once_more(room: Room) -> None:  # ... since the last logical unit reset
    room.select(0x1C, 0x02, used_enabled=1, used_threshold_count=1)
    page = room.one.run(cdb.MODE_SENSE_6.pack(page_code=0x1C, subpage_code=2, dbd=1, allocation_length=255)).data[4:]
    save = cdb.MODE_SELECT_6.pack(pf=1, sp=1, parameter_list_length=4 + len(page))
    assert room.one.run(save, bytes(4) + bytes([page[0] & 0x7F]) + page[1:]).good
    assert room.left(0, MIB) == [REACHED, REACHED]
    room.unit.manage(TaskManagement(Function.LOGICAL_UNIT_RESET, room.one.nexus), lambda response: None)
    assert room.heard() == [int(Asc.BUS_DEVICE_RESET)] * 2
    assert room.heard() == [REACHED, REACHED]
    assert room.left(0, MIB) == [0, 0]


def test_without_lbpere_nobody_hears_it(room: Room) -> None:
    room.select(0x1C, 0x02, used_enabled=1, used_threshold_count=1)
    room.select(0x01, lbpere=0)
    assert room.left(0, MIB) == [0, 0]


def test_a_threshold_that_is_reached_already_is_told_when_it_is_set(room: Room) -> None:
    assert room.left(0) == [0, 0]
    layout = next(iter(room.unit.modes.select(0x1C, 0x02)))
    values = layout.layout.unpack(layout.default_bytes()).as_dict()
    data = bytes(4) + bytes(layout.layout.pack(**{**values, "available_enabled": 1, "available_threshold_count": 9}))
    assert room.one.run(cdb.MODE_SELECT_6.pack(pf=1, parameter_list_length=len(data)), data).good
    assert room.heard() == [REACHED, int(Asc.MODE_PARAMETERS_CHANGED)]
    assert room.heard() == [0, REACHED]


def test_a_full_volume_is_no_broken_disk_and_recovers_by_itself() -> None:
    faulty = FaultyBackend(memory())
    host = Host(LogicalUnit(faulty))
    faulty.fail("write", errno.ENOSPC, later=True)
    pending = host.send(cdb.WRITE_10.pack(transfer_length=1), bytes(512))
    faulty.run()
    answer = pending.answer
    assert (answer.key, answer.asc) == (SenseKey.DATA_PROTECT, Asc.SPACE_ALLOCATION_FAILED)
    head = host.run(cdb.MODE_SENSE_6.pack(page_code=0x08, allocation_length=255)).data
    assert not head[2] & 0x80  # WP: SBC-4 4.7.3.6.1
    assert host.run(cdb.READ_10.pack(transfer_length=1)).good
    assert host.run(cdb.WRITE_10.pack(transfer_length=1), bytes(512)).good
