"""RECEIVE COPY ...: how copies are told of, by the tables of SPC-4 6.21 to 6.25, and when that is forgotten."""

from __future__ import annotations

import errno
import os
import struct

import pytest

from tcmu_gluster.scsi.command import Status
from tcmu_gluster.scsi.sense import Asc
from tests.doubles.backends import FaultyBackend, SlowBackend
from tests.doubles.copying import HOLD, Daemon, b2b, begin, cscd, fill, lid1, lid4, receive, xcopy
from tests.doubles.host import Answer, Host


def unknown(answer: Answer) -> bool:
    return answer.asc == Asc.INVALID_FIELD_IN_CDB


@pytest.fixture
def daemon() -> Daemon:
    made = Daemon(1)
    fill(made.units[0], os.urandom(4096))
    return made


def copied(daemon: Daemon, list_id: int = 5, blocks: int = 8) -> None:
    data = lid1([cscd(daemon.units[0])], [b2b(0, 0, blocks, 0, 100)], list_id=list_id, usage=HOLD)
    assert xcopy(daemon.host, data).good


def failed(daemon: Daemon, list_id: int = 5) -> Answer:
    daemon.units[0].backend = faulty = FaultyBackend(daemon.units[0].backend)
    faulty.fail("write", errno.EIO)
    steps = [b2b(0, 0, 0, 0, 0), b2b(0, 0, 8, 0, 100)]
    return xcopy(daemon.host, lid1([cscd(daemon.units[0])], steps, list_id=list_id, usage=HOLD))


def test_status_lid1_of_one_that_ended_well_is_told_once(daemon: Daemon):
    copied(daemon)
    assert daemon.host.run(receive(0x00, 5)).data == bytes.fromhex("00000008 01 0001 00 00001000")
    assert unknown(daemon.host.run(receive(0x00, 5)))


def test_status_lid1_of_one_that_runs(daemon: Daemon):
    daemon.units[0].backend = slow = SlowBackend(daemon.units[0].backend)
    pending = begin(daemon.host, lid1([cscd(daemon.units[0])], [b2b(0, 0, 8, 0, 9)], list_id=5, usage=HOLD))
    for _ in range(2):
        assert daemon.host.run(receive(0x00, 5)).data == bytes.fromhex("00000008 00 0001 00 00000000")
    assert unknown(daemon.host.run(receive(0x01, 5))) and unknown(daemon.host.run(receive(0x04, 5)))
    slow.run()
    assert pending.answer.good


def test_failure_details_are_the_command_s_status_and_sense(daemon: Daemon):
    sense = failed(daemon).sense
    assert daemon.host.run(receive(0x00, 5)).data == bytes.fromhex("00000008 02 0002 00 00000000")
    data = daemon.host.run(receive(0x04, 5)).data
    assert data == struct.pack(">I52xBxH", 56 + len(sense), Status.CHECK_CONDITION, len(sense)) + sense
    assert unknown(daemon.host.run(receive(0x04, 5)))


def test_failure_details_that_were_cut_are_kept_and_with_length_0_they_go(daemon: Daemon):
    failed(daemon)
    assert len(daemon.host.run(receive(0x04, 5, 60)).data) == 60
    assert len(daemon.host.run(receive(0x04, 5, 61)).data) == 61
    assert daemon.host.run(receive(0x04, 5, 0)).good
    assert unknown(daemon.host.run(receive(0x04, 5)))


def test_without_a_failure_there_are_no_details_and_no_held_data(daemon: Daemon):
    copied(daemon)
    assert daemon.host.run(receive(0x04, 5)).data == bytes(4)
    assert daemon.host.run(receive(0x01, 5)).data == bytes(4)


def test_status_lid4(daemon: Daemon):
    assert xcopy(daemon.host, lid4([cscd(daemon.units[0])], [b2b(0, 0, 8, 0, 100)], list_id=0x10005), 1).good
    data = daemon.host.run(receive(0x05, 0x10005)).data
    assert data[:4] == b"\0\0\0\x1c" and data[4:6] == b"\x01\x01" and data[8:16] == b"\xff\xff\xff\xfe\0\0\0\0"
    assert int.from_bytes(data[6:8], "big") == 3  # GET LBA STATUS, READ, WRITE
    assert data[16:26] == struct.pack(">QH", 4096, 1) and data[26:] == bytes(6)
    assert daemon.host.run(receive(0x05, 0x10005)).data == data  # it stays


def test_status_lid4_of_a_failure_has_its_sense_padded(daemon: Daemon):
    sense = failed(daemon).sense
    data = daemon.host.run(receive(0x05, 5)).data
    assert data[4:6] == b"\x00\x02" and data[12:15] == bytes((2, len(sense) + -len(sense) % 4, len(sense)))
    assert data[32 : 32 + len(sense)] == sense and len(data) % 4 == 0


@pytest.mark.parametrize("action", [0x00, 0x01, 0x04, 0x05, 0x07])
def test_list_identifiers_belong_to_a_nexus(daemon: Daemon, action: int):
    copied(daemon)
    assert unknown(Host(daemon.units[0], "iqn.2026-11.test:other").run(receive(action, 5)))
    assert unknown(daemon.host.run(receive(action, 6)))


def test_no_list_identifier_leaves_nothing(daemon: Daemon):
    assert xcopy(daemon.host, lid1([cscd(daemon.units[0])], [b2b(0, 0, 8, 0, 100)])).good
    assert unknown(daemon.host.run(receive(0x00, 0)))


def test_used_again_it_means_the_newer_copy(daemon: Daemon):
    copied(daemon, blocks=8)
    copied(daemon, blocks=2)
    assert daemon.host.run(receive(0x00, 5)).data[8:] == (1024).to_bytes(4, "big")


def test_a_reset_and_the_loss_of_the_nexus_forget(daemon: Daemon):
    copied(daemon)
    daemon.units[0].reset(Asc.BUS_DEVICE_RESET, None, lambda: None)
    assert unknown(daemon.host.run(receive(0x05, 5)))
    copied(daemon)
    daemon.units[0].detach(daemon.host.nexus)
    assert unknown(daemon.host.run(receive(0x05, 5)))


def test_data_lid4_is_the_status_and_no_held_data(daemon: Daemon):  # SPC-4 table 240
    copied(daemon)
    status = daemon.host.run(receive(0x05, 5)).data
    data = daemon.host.run(receive(0x06, 5)).data
    assert data[:4] == (len(data) - 4).to_bytes(4, "big")
    assert data[4:] == status[4:] + bytes(4)
    assert unknown(daemon.host.run(receive(0x06, 6)))
    sense = failed(daemon).sense
    assert daemon.host.run(receive(0x06, 5)).data[32:] == sense + bytes(-len(sense) % 4) + bytes(4)


def test_data_lid4_of_one_that_runs(daemon: Daemon):
    daemon.units[0].backend = slow = SlowBackend(daemon.units[0].backend)
    begin(daemon.host, lid4([cscd(daemon.units[0])], [b2b(0, 0, 8, 0, 9)], list_id=5, immed=1), 0x01)
    assert daemon.host.run(receive(0x06, 5)).data[5:6] + daemon.host.run(receive(0x06, 5)).data[32:] == b"\x12" + bytes(
        4
    )
    slow.run()


def test_operating_parameters():
    data = Daemon(1).host.run(receive(0x03)).data
    assert data[:5] == b"\0\0\0\x2b\x01" and len(data) == 47
    assert struct.unpack_from(">HHIIIII", data, 8) == (16, 64, 16 * 32 + 64 * 28, 256 << 20, 0, 0, 0)
    assert data[34:44] == bytes((0, 32, 32, 0, 0, 0, 0, 0, 0, 3)) and data[44:] == b"\x02\x0a\xe4"


@pytest.mark.parametrize("length", [0, 1, 0xFFFFFFFF])
def test_allocation_lengths(daemon: Daemon, length: int):
    copied(daemon)
    for action in (0x03, 0x05, 0x00):
        answer = daemon.host.run(receive(action, 5, length))
        assert answer.good and len(answer.data) <= min(length, 64)
