"""Data-Out: immediate, unsolicited, R2T; what breaks the rules; memory."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.iscsi import pdu
from tcmu_gluster.iscsi.buffers import BufferPool
from tcmu_gluster.iscsi.settings import Settings
from tests.doubles.initiator import Task
from tests.doubles.iscsi_wire import WRITE_10, Wire, cdb_10

# RFC 7143 11.4.7.2: sense key, ASC, ASCQ
UNEXPECTED_UNSOLICITED = (0x0B, 0x0C, 0x0C)
INCORRECT_AMOUNT = (0x0B, 0x0C, 0x0D)
CRC_ERROR = (0x0B, 0x47, 0x05)
INVALID_FIELD_IN_CDB = (0x05, 0x24, 0x00)

DATA = bytes(range(256)) * 256  # 64 KiB


def sense_of(task: Task) -> tuple[int, int, int]:
    assert task.status == 2 and task.response == 0
    assert task.sense[0] == 0x70 and task.sense[7] == len(task.sense) - 8
    return task.sense[2], task.sense[12], task.sense[13]


@given(
    length=st.integers(1, 128).map(lambda blocks: blocks * 512), first_burst=st.integers(512, 40_000),
    burst=st.integers(512, 40_000), segment=st.integers(512, 20_000), initial_r2t=st.booleans(),
    immediate=st.booleans(), outstanding=st.integers(1, 5), unsolicited=st.booleans(),
)  # fmt: skip
def test_any_negotiated_numbers_move_the_data(
    length: int, first_burst: int, burst: int, segment: int, initial_r2t: bool, immediate: bool, outstanding: int,
    unsolicited: bool,
) -> None:  # fmt: skip
    keys = {
        "InitialR2T": "Yes" if initial_r2t else "No", "ImmediateData": "Yes" if immediate else "No",
        "FirstBurstLength": str(min(first_burst, burst)), "MaxBurstLength": str(burst),
        "MaxOutstandingR2T": str(outstanding), "MaxRecvDataSegmentLength": str(segment),
    }  # fmt: skip
    config = Settings(max_recv_data_segment_bytes=4096, receive_buffer_bytes=8192, landing_bytes=1024)
    wire = Wire(keys, settings=config)
    task = wire.write(0, DATA[:length], unsolicited=unsolicited and not initial_r2t)
    wire.pump()
    assert task.status == 0 and wire.disk.bytes[:length] == DATA[:length]
    back = wire.read(0, length)
    wire.pump()
    assert back.data == DATA[:length]
    assert wire.pool.handed_out_bytes == 0


def test_r2ts_are_sent_at_once_up_to_the_limit() -> None:
    wire = Wire({"MaxBurstLength": "4096", "MaxOutstandingR2T": "3", "FirstBurstLength": "4096"})
    wire.initiator.answer_r2t = False
    task = wire.write(0, DATA[: 5 * 4096], immediate_data=0)
    wire.pump()
    r2ts = [item.fields for item in wire.initiator.answers(pdu.Opcode.R2T)]
    assert [(r2t.r2t_sn, r2t.buffer_offset) for r2t in r2ts] == [(0, 0), (1, 4096), (2, 8192)]
    assert len({r2t.target_transfer_tag for r2t in r2ts}) == 3
    wire.initiator.data_out(task, 4096, 4096, r2ts[1].target_transfer_tag)  # any open one may be answered first
    wire.pump()
    assert wire.initiator.answers(pdu.Opcode.R2T)[3].fields.buffer_offset == 3 * 4096


@pytest.mark.parametrize(("keys", "how", "sense"), [
    ({"ImmediateData": "No"}, {"immediate_data": 512}, UNEXPECTED_UNSOLICITED),
    ({"FirstBurstLength": "1024"}, {"immediate_data": 2048}, UNEXPECTED_UNSOLICITED),
    ({"InitialR2T": "Yes"}, {"unsolicited": True, "immediate_data": 512}, UNEXPECTED_UNSOLICITED),
    ({}, {"length": 512, "immediate_data": 1024}, INCORRECT_AMOUNT),
])  # fmt: skip
def test_a_command_with_data_that_was_not_agreed(keys: dict[str, str], how: dict[str, Any], sense: object) -> None:
    wire = Wire(keys)
    task = wire.write(0, DATA[:4096], **how)
    wire.pump()
    assert sense_of(task) == sense
    assert not wire.executed
    again = wire.read(0, 512)
    wire.pump()
    assert again.status == 0 and wire.connection.wants_input


def test_data_with_a_command_that_writes_nothing() -> None:
    wire = Wire()
    task = wire.initiator.scsi(bytes(16), read=512, data_out=DATA[:512], write=False)
    wire.pump()
    assert sense_of(task) == UNEXPECTED_UNSOLICITED


def open_r2t(wire: Wire, length: int = 4096) -> tuple[Task, int]:
    """A write of length bytes that waits for the answer to its R2T: (task, target transfer tag)."""
    wire.initiator.answer_r2t = False
    task = wire.write(0, DATA[:length], immediate_data=0)
    wire.pump()
    return task, wire.initiator.answers(pdu.Opcode.R2T)[-1].fields.target_transfer_tag


def send(wire: Wire, task: Task, tag: int, data: bytes, *, final: bool, data_sn: int = 0, offset: int = 0) -> None:
    wire.initiator.queue(
        pdu.DATA_OUT, data, final=final, initiator_task_tag=task.tag, target_transfer_tag=tag, data_sn=data_sn,
        buffer_offset=offset, lun=task.lun_field,
    )  # fmt: skip
    wire.pump()


@pytest.mark.parametrize(("data_sn", "offset", "length", "sense"), [
    (1, 0, 4096, CRC_ERROR), (0xFFFFFFFF, 0, 4096, CRC_ERROR), (0, 512, 3584, CRC_ERROR),
    (0, 0, 4097, INCORRECT_AMOUNT), (0, 0, 4095, INCORRECT_AMOUNT),
])  # fmt: skip
def test_data_out_that_does_not_fit_its_r2t(data_sn: int, offset: int, length: int, sense: object) -> None:
    wire = Wire()
    task, tag = open_r2t(wire)
    send(wire, task, tag, DATA[:length], final=True, data_sn=data_sn, offset=offset)
    assert sense_of(task) == sense
    assert not wire.executed and wire.connection.intake.open_bursts == 0


def test_the_task_fails_only_when_the_rest_of_its_data_is_here() -> None:
    wire = Wire()
    task, tag = open_r2t(wire)
    send(wire, task, tag, DATA[:1024], final=False, data_sn=7)
    send(wire, task, tag, DATA[1024:2048], final=False, data_sn=1, offset=1024)
    assert task.status is None
    send(wire, task, tag, DATA[2048:4096], final=True, data_sn=2, offset=2048)
    assert sense_of(task) == CRC_ERROR


def test_all_data_without_the_f_bit_fails_the_task() -> None:
    wire = Wire()
    task, tag = open_r2t(wire)
    send(wire, task, tag, DATA[:4096], final=False)
    assert sense_of(task) == INCORRECT_AMOUNT


def test_data_out_for_no_open_r2t_is_rejected_and_the_task_goes_on() -> None:
    wire = Wire()
    task, tag = open_r2t(wire)
    send(wire, task, tag + 1, DATA[:4096], final=True)
    assert wire.initiator.answers(pdu.Opcode.REJECT)[0].fields.reason == pdu.RejectReason.INVALID_PDU_FIELD
    send(wire, task, tag, DATA[:4096], final=True)
    assert task.status == 0


def test_unsolicited_data_that_was_not_announced() -> None:
    wire = Wire()
    task, tag = open_r2t(wire)
    send(wire, task, pdu.NO_TAG, DATA[:512], final=True)
    send(wire, task, tag, DATA[:4096], final=True)
    assert sense_of(task) == UNEXPECTED_UNSOLICITED


def test_an_unsolicited_burst_may_be_short_and_r2ts_ask_for_the_rest() -> None:
    wire = Wire()
    task = wire.initiator.scsi(
        cdb_10(WRITE_10, 0, 16), data_out=DATA[:8192], length=8192, immediate_data=512, final=False
    )
    wire.initiator.data_out(task, 512, 1024)
    wire.pump()
    assert task.status == 0 and task.r2t_sn == 1 and wire.disk.bytes[:8192] == DATA[:8192]


def test_a_write_larger_than_the_limit_is_refused_without_memory() -> None:
    wire = Wire(settings=Settings(max_transfer_bytes=4096))
    task = wire.write(0, DATA[:8192], immediate_data=512)
    wire.pump()
    assert sense_of(task) == INVALID_FIELD_IN_CDB
    assert wire.pool.handed_out_bytes == wire.pool.retained_bytes == 0


def test_an_expected_length_of_four_gigabytes_takes_no_memory() -> None:
    wire = Wire()
    task = wire.initiator.scsi(cdb_10(WRITE_10, 0, 1), length=0xFFFFFFFF, immediate_data=0)
    wire.pump()
    assert sense_of(task) == INVALID_FIELD_IN_CDB
    assert wire.pool.retained_bytes == 0


# -- memory ------------------------------------------------------------------------------------------------------------


def test_writes_and_reads_wait_for_memory_and_all_end() -> None:
    wire = Wire(hold=True, pool=BufferPool(limit_bytes=64 << 10))
    writes = [wire.write(128 * index, DATA, immediate_data=1000) for index in range(3)]
    reads = [wire.read(0, 65536) for _ in range(3)]
    wire.pump()
    assert len(wire.held) == 1, "memory for one"
    assert wire.pool.handed_out_bytes <= 64 << 10
    for _ in range(8):
        wire.finish()
        wire.pump()
        assert wire.pool.handed_out_bytes <= 64 << 10
    assert [task.status for task in (*writes, *reads)] == [0] * 6
    assert wire.disk.bytes[: 3 * 65536] == DATA * 3
    assert wire.pool.handed_out_bytes == 0 and wire.woken


def test_the_rest_of_a_burst_that_came_before_its_memory_lands_behind_it() -> None:
    wire = Wire({"FirstBurstLength": "20000"}, hold=True, pool=BufferPool(limit_bytes=64 << 10))
    wire.read(0, 65536)
    wire.pump()
    task = wire.write(0, DATA, immediate_data=1000, final=False)
    wire.pump()
    wire.finish()
    wire.fetch_into_initiator()
    wire.initiator.data_out(task, 1000, 9000)
    wire.pump()
    wire.finish()
    wire.pump()
    assert task.status == 0 and wire.disk.bytes[:65536] == DATA


def test_data_that_is_allowed_to_come_unasked_is_taken_over_the_limit_and_others_wait() -> None:
    wire = Wire(hold=True, pool=BufferPool(limit_bytes=64 << 10))
    for index in range(2):
        wire.write(128 * index, DATA)
    wire.read(0, 65536)
    wire.pump()
    assert len(wire.held) == 2 and wire.pool.handed_out_bytes == 128 << 10 and wire.pool.waiting == 1
    wire.finish()
    wire.pump()
    assert len(wire.held) == 1 and wire.pool.handed_out_bytes == 64 << 10


def test_a_dead_connection_leaves_the_line_for_memory() -> None:
    pool = BufferPool(limit_bytes=64 << 10)
    first = Wire(hold=True, pool=pool)
    first.read(0, 65536)
    first.pump()
    second = Wire(pool=pool)
    second.write(0, DATA, immediate_data=0)
    second.pump()
    assert pool.waiting == 1
    second.connection.closed(0.0)
    assert pool.waiting == 0
    first.finish()
    first.pump()
    assert pool.handed_out_bytes == 0


def test_pooled_data_in_is_given_back_only_after_it_was_sent() -> None:
    wire = Wire()
    task = wire.read(0, 65536)
    wire.give(wire.initiator.take())
    buffers = wire.connection.data_to_send()
    assert wire.pool.handed_out_bytes == 65536
    wire.initiator.feed(b"".join(buffers))
    wire.connection.release()
    assert wire.pool.handed_out_bytes == 0 and task.status == 0


def test_a_connection_that_ends_gives_back_what_it_had_not_sent() -> None:
    wire = Wire()
    wire.read(0, 65536)
    wire.give(wire.initiator.take())
    wire.connection.closed(0.0)
    assert wire.pool.handed_out_bytes == 0


# -- task tags, numbers, additional headers ---------------------------------------------------------------------------


def test_a_task_tag_in_use_is_rejected() -> None:
    wire = Wire(hold=True)
    task = wire.read(0, 512)
    wire.initiator.scsi(bytes(16), initiator_task_tag=task.tag)
    wire.pump()
    assert wire.initiator.answers(pdu.Opcode.REJECT)[0].fields.reason == pdu.RejectReason.TASK_IN_PROGRESS
    assert len(wire.held) == 1
    wire.finish()
    after = wire.read(0, 512)
    wire.pump()
    wire.finish()
    wire.pump()
    assert task.status == after.status == 0


def test_commands_beyond_the_window_and_old_ones_are_ignored() -> None:
    wire = Wire(settings=Settings(window=4))
    early, late = wire.initiator.max_cmd_sn + 1, wire.initiator.cmd_sn - 1
    tasks = [wire.initiator.scsi(bytes(16), cmd_sn=number) for number in (early, late)]
    write = wire.write(0, DATA[:512], cmd_sn=early, unsolicited=True, immediate_data=0)
    wire.pump()
    assert not wire.executed and [task.status for task in tasks] == [None, None] and write.status is None
    wire.initiator.cmd_sn -= 3
    task = wire.read(0, 512)
    wire.pump()
    assert task.status == 0


def test_no_more_commands_run_than_the_window_holds() -> None:
    wire = Wire(hold=True, settings=Settings(window=4))
    for _ in range(6):
        wire.read(0, 512)
    wire.pump()
    assert len(wire.held) == 4
    wire.finish()
    wire.initiator.cmd_sn -= 2
    wire.read(0, 512)
    wire.pump()
    assert len(wire.held) == 1


def test_commands_out_of_order_inside_the_window_run_in_order() -> None:
    wire = Wire()
    first = wire.initiator.cmd_sn
    write = wire.write(0, DATA[:4096], cmd_sn=first + 1, immediate_data=0)
    read = wire.read(0, 4096, cmd_sn=first + 2)
    wire.initiator.cmd_sn = first
    wire.pump()
    assert not wire.executed
    missing = wire.initiator.scsi(bytes(16))
    wire.pump()
    # the read's turn comes at once; the write has to wait for its data
    assert [command.tag for command in wire.executed] == [missing.tag, read.tag, write.tag]
    assert write.status == read.status == missing.status == 0


def test_immediate_commands_run_at_once_and_are_bounded() -> None:
    wire = Wire(hold=True, settings=Settings(immediate_commands=2, window=1))
    wire.read(0, 512)
    tasks = [wire.read(0, 512, immediate=True) for _ in range(3)]
    wire.pump()
    assert len(wire.held) == 3
    assert wire.initiator.answers(pdu.Opcode.REJECT)[0].fields.reason == pdu.RejectReason.IMMEDIATE_COMMAND_REJECT
    wire.finish()
    again = wire.read(0, 512, immediate=True)
    wire.pump()
    wire.finish()
    wire.pump()
    assert [task.status for task in tasks] == [0, 0, None] and again.status == 0


def test_extended_cdb_and_bidirectional_length_come_from_additional_headers() -> None:
    wire = Wire(hold=True)
    ahs = bytes((0, 17, 1, 0)) + b"E" * 16 + bytes((0, 5, 2, 0)) + (4096).to_bytes(4, "big")  # RFC 7143 11.2.2
    wire.initiator.scsi(b"\x7f" + bytes(15), read=512, data_out=DATA[:512], length=512, ahs=ahs)
    wire.pump()
    (command,) = wire.held
    assert command.cdb == b"\x7f" + bytes(15) + b"E" * 16
    assert (command.data_in_bytes, command.data_out_bytes) == (4096, 512)
    assert b"".join(command.data_out) == DATA[:512]


@pytest.mark.parametrize(
    "ahs", [bytes((0, 0, 1, 0)), bytes((0, 90, 1, 0)), bytes((0, 1, 9, 0)), bytes((0, 4, 2, 0)) * 2]
)
def test_bad_additional_headers_are_rejected(ahs: bytes) -> None:
    wire = Wire()
    wire.initiator.scsi(bytes(16), ahs=ahs)
    wire.pump()
    assert wire.initiator.answers(pdu.Opcode.REJECT)[0].fields.reason == pdu.RejectReason.INVALID_PDU_FIELD
    assert not wire.executed
