"""ErrorRecoveryLevel 1: what is lost or damaged is sent again.  Source: RFC 7143 7, 11.16."""

from __future__ import annotations

from typing import Any

import pytest

from tcmu_gluster.iscsi import pdu
from tcmu_gluster.iscsi.pdu import NO_TAG, Opcode, RejectReason
from tcmu_gluster.iscsi.settings import Settings
from tests.doubles.iscsi_wire import Wire, cdb_10
from tests.doubles.recovering import DATA, DATA_ACK, R_DATA, STATUS, Recovering

DIGESTS = {"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"}
SMALL = {"MaxRecvDataSegmentLength": "8192", "MaxBurstLength": "16384", "FirstBurstLength": "16384"}


def recovering(keys: dict[str, str] | None = None, **more: Any) -> tuple[Wire, Recovering]:
    """A wire at ErrorRecoveryLevel 1 and its initiator; the disk has contents."""
    initiator = Recovering({**DIGESTS, **SMALL, **(keys or {})})
    wire = Wire(initiator=initiator, **more)
    wire.disk.bytes[:] = bytes(range(256)) * (len(wire.disk.bytes) // 256)
    assert initiator.agreed["ErrorRecoveryLevel"] == "1" and initiator.agreed["MaxOutstandingR2T"] == "1"
    return wire, initiator


def settle(wire: Wire) -> None:
    """All is acknowledged, and so nothing is kept any more."""
    wire.initiator.nop(immediate=True)
    wire.pump()
    wire.initiator.nop(immediate=True)
    wire.pump()
    wire.fetch()
    assert wire.pool.handed_out_bytes == 0
    keeper = wire.connection.output.keeper
    assert keeper is not None and keeper.data_bytes == 0


def rejects(wire: Wire) -> list[int]:
    return [answer.fields.reason for answer in wire.initiator.every if answer.opcode == Opcode.REJECT]


# -- levels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("offered", "ours", "agreed"), [(0, 2, 0), (1, 2, 1), (2, 2, 2), (2, 1, 1), (2, 0, 0)])
def test_the_lower_level_is_agreed(offered: int, ours: int, agreed: int) -> None:
    wire = Wire({"ErrorRecoveryLevel": str(offered)}, settings=Settings(error_recovery_level=ours))
    assert wire.initiator.agreed["ErrorRecoveryLevel"] == str(agreed)  # RFC 7143 13.20: minimum
    assert (wire.connection.output.keeper is None) == (agreed == 0)


def test_level_0_keeps_nothing_and_refuses_snack() -> None:
    wire = Wire()
    wire.initiator.queue(pdu.SNACK_REQUEST, type=STATUS, initiator_task_tag=NO_TAG)
    wire.initiator.queue(pdu.SNACK_REQUEST, type=DATA_ACK, initiator_task_tag=NO_TAG)
    wire.pump()
    assert rejects(wire) == [RejectReason.SNACK_REJECT, RejectReason.INVALID_DATA_ACK]


# -- what we sent is lost --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(8))
def test_a_lost_data_in_is_sent_again(index: int) -> None:
    wire, initiator = recovering()
    initiator.lose(Opcode.DATA_IN, index)
    task = wire.read(8, 65536)
    wire.pump()
    assert task.status == 0 and task.data == bytes(wire.disk.bytes[4096 : 4096 + 65536])
    assert [snack for snack in initiator.snacks if snack[0] == DATA] == [(DATA, task.tag, index, 1)]
    (lost,) = initiator.lost
    again = [answer for answer in initiator.every if answer.opcode == Opcode.DATA_IN and answer.fields.data_sn == index]
    # RFC 7143 11.16: an exact replica but for ExpCmdSN and MaxCmdSN
    assert len(again) == 1 and again[0].data == lost.data
    assert again[0].header[:28] + again[0].header[36:] == lost.header[:28] + lost.header[36:]
    settle(wire)


@pytest.mark.parametrize("length", [512, 65536])
def test_a_lost_status_is_sent_again_with_its_number(length: int) -> None:
    wire, initiator = recovering()
    initiator.lose(Opcode.SCSI_RESPONSE)
    task = wire.read(0, length)
    wire.pump()
    assert task.status is None
    initiator.nop()  # its answer shows that a StatSN is missing
    wire.pump()
    assert task.status == 0 and task.data == bytes(wire.disk.bytes[:length])
    assert initiator.snacks[-1] == (STATUS, NO_TAG, initiator.lost[0].fields.stat_sn, 1)
    settle(wire)


def test_every_numbered_response_can_be_sent_again() -> None:
    wire, initiator = recovering()
    for opcode in (Opcode.NOP_IN, Opcode.TEXT_RESPONSE, Opcode.TASK_MANAGEMENT_RESPONSE, Opcode.SCSI_RESPONSE):
        initiator.lose(opcode)
    initiator.nop(b"echo")
    initiator.text({"SendTargets": ""})
    initiator.manage(5)
    write = wire.write(0, b"w" * 512)
    wire.pump()
    assert write.status is None
    initiator.nop(b"last")
    wire.pump()
    assert write.status == 0 and initiator.snacks == [(STATUS, NO_TAG, initiator.lost[0].fields.stat_sn, 4)]
    assert [bytes(answer.data) for answer in initiator.answers(Opcode.NOP_IN)] == [b"echo", b"last"]
    assert len(initiator.answers(Opcode.TEXT_RESPONSE)) == len(initiator.answers(Opcode.TASK_MANAGEMENT_RESPONSE)) == 1


def test_begin_run_0_and_run_length_0_ask_for_all_that_is_not_acknowledged() -> None:
    wire, initiator = recovering()
    initiator.asks = False
    for _ in range(3):
        initiator.lose(Opcode.SCSI_RESPONSE, _)
    tasks = [wire.read(0, 512) for _ in range(3)]
    wire.pump()
    initiator.queue(pdu.SNACK_REQUEST, type=STATUS, initiator_task_tag=NO_TAG)  # 11.16.7: 0, 0
    wire.pump()
    assert [task.status for task in tasks] == [0, 0, 0]


def test_a_lost_r2t_is_sent_again() -> None:
    wire, initiator = recovering()
    initiator.lose(Opcode.R2T)
    data = bytes(range(256)) * 64
    task = wire.write(0, data, immediate_data=0)
    wire.pump()
    assert task.status is None
    initiator.ask(DATA, task.tag, 0, 0)
    wire.pump()
    assert task.status == 0 and wire.disk.bytes[: len(data)] == data
    (again,) = (answer for answer in initiator.every if answer.opcode == Opcode.R2T)
    assert again.header[:24] + again.header[36:] == initiator.lost[0].header[:24] + initiator.lost[0].header[36:]


def test_both_digests_and_a_lost_sequence_of_everything() -> None:
    wire, initiator = recovering()
    for index in (1, 2, 3, 7):
        initiator.lose(Opcode.DATA_IN, index)
    initiator.lose(Opcode.SCSI_RESPONSE)
    tasks = [wire.read(0, 65536), wire.read(64, 65536)]
    wire.pump()
    assert [task.status for task in tasks] == [0, 0]
    assert tasks[1].data == bytes(wire.disk.bytes[64 * 512 : 64 * 512 + 65536])
    settle(wire)


# -- acknowledgements ------------------------------------------------------------------------------------------------


def test_large_data_is_acknowledged_when_asked_and_its_memory_is_free_before_the_status_is() -> None:
    wire, initiator = recovering()
    initiator.lose(Opcode.SCSI_RESPONSE)
    wire.read(0, 65536)
    wire.pump()
    wire.fetch()
    assert [snack[0] for snack in initiator.snacks] == [DATA_ACK] * 4  # 11.7.2: once every MaxBurstLength
    assert wire.pool.handed_out_bytes == 0


def test_data_that_was_acknowledged_is_not_sent_again() -> None:
    wire, initiator = recovering()
    task = wire.read(0, 65536)
    wire.pump()
    initiator.queue(pdu.SNACK_REQUEST, type=DATA, initiator_task_tag=task.tag)
    wire.pump()
    assert task.status == 0 and rejects(wire) == [RejectReason.SNACK_REJECT]


@pytest.mark.parametrize("begin", [9, 0xFFFFFFFF])
def test_an_acknowledgement_of_what_was_not_sent_is_rejected(begin: int) -> None:
    wire, initiator = recovering()
    initiator.asks = False
    initiator.acknowledge_data = lambda answer, number: None
    initiator.lose(Opcode.SCSI_RESPONSE)
    wire.read(0, 65536)
    wire.pump()
    (*_, last) = (answer for answer in initiator.every if answer.opcode == Opcode.DATA_IN)
    Recovering.acknowledge_data(initiator, last, begin)
    wire.pump()
    assert rejects(wire) == [RejectReason.INVALID_DATA_ACK]  # 11.17.1
    assert wire.pool.handed_out_bytes


def test_an_exp_stat_sn_from_the_future_frees_nothing() -> None:
    wire, initiator = recovering()
    initiator.asks = False
    initiator.acknowledge_data = lambda answer, number: None
    initiator.lose(Opcode.SCSI_RESPONSE)
    task = wire.read(0, 65536)
    wire.pump()
    initiator.queue(
        pdu.NOP_OUT, immediate=1, initiator_task_tag=NO_TAG, target_transfer_tag=NO_TAG, cmd_sn=initiator.cmd_sn,
        exp_stat_sn=(initiator.exp_stat_sn + 1000) & 0xFFFFFFFF,
    )  # fmt: skip
    initiator.asks = True
    initiator.nop()
    wire.pump()
    assert task.status == 0


def test_what_is_kept_is_bounded() -> None:
    wire, initiator = recovering(settings=Settings(kept_bytes=100_000, window=4))
    initiator.asks = False
    initiator.acknowledge_data = lambda answer, number: None
    initiator.lose(Opcode.SCSI_RESPONSE)
    for _ in range(20):
        wire.read(0, 65536)
        wire.pump()
    keeper = wire.connection.output.keeper
    assert keeper is not None and keeper.data_bytes <= 100_000 and wire.pool.handed_out_bytes <= 100_000
    assert len(keeper._kept) == 8  # two windows
    initiator.asks = True
    initiator.nop()
    wire.pump()
    assert RejectReason.SNACK_REJECT in rejects(wire), "the first status is too old"


def test_what_is_kept_ends_with_the_connection() -> None:
    wire, initiator = recovering()
    initiator.acknowledge_data = lambda answer, number: None
    initiator.lose(Opcode.SCSI_RESPONSE)
    wire.read(0, 65536)
    wire.pump()
    assert wire.pool.handed_out_bytes
    wire.connection.closed(1.0)
    wire.run()
    assert wire.pool.handed_out_bytes == 0


# -- resegmentation --------------------------------------------------------------------------------------------------


def test_data_in_new_segments_comes_with_the_snack_tag() -> None:
    wire, initiator = recovering()
    initiator.acknowledge_data = lambda answer, number: None
    initiator.lose(Opcode.DATA_IN, 1)
    initiator.asks = False
    task = wire.read(0, 16384)
    wire.pump()
    initiator.text({"MaxRecvDataSegmentLength": "4096"})
    wire.pump()
    first = len(initiator.every)
    initiator.ask(DATA, task.tag, 1, 1)
    initiator._snack(DATA, task.tag, 1, 1)  # 11.16.3: after a change of the segment's length only R-Data will do
    initiator.r_data(task, 77)
    wire.pump()
    again = [answer for answer in initiator.every[first:] if answer.opcode == Opcode.DATA_IN]
    assert [len(answer.data) for answer in again] == [4096] * 4 and [a.fields.data_sn for a in again] == [0, 1, 2, 3]
    responses = [answer for answer in initiator.every if answer.opcode == Opcode.SCSI_RESPONSE]
    assert [answer.fields.snack_tag for answer in responses] == [0, 77]
    assert responses[0].fields.stat_sn == responses[1].fields.stat_sn  # 11.16.3
    assert (
        task.status == 0 and task.data == bytes(wire.disk.bytes[:16384]) and R_DATA in [s[0] for s in initiator.snacks]
    )
    assert rejects(wire) == [RejectReason.SNACK_REJECT]


# -- what it sent is damaged -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("landing", [512, 1 << 20])
@pytest.mark.parametrize("index", range(8))
def test_a_damaged_data_out_is_rejected_and_asked_for_again(index: int, landing: int) -> None:
    wire, initiator = recovering({"MaxBurstLength": "65536"}, settings=Settings(
        max_recv_data_segment_bytes=8192, landing_bytes=landing, receive_buffer_bytes=16384))  # fmt: skip
    initiator.damage(Opcode.DATA_OUT, index)
    data = bytes(range(256)) * 256
    task = wire.write(0, data, immediate_data=0)
    wire.pump()
    assert task.status == 0 and wire.disk.bytes[: len(data)] == data
    assert rejects(wire) == [RejectReason.DATA_DIGEST_ERROR]  # 7.8
    r2ts = [answer.fields for answer in initiator.every if answer.opcode == Opcode.R2T]
    # 7.1.4.1: a recovery R2T has the next R2TSN and asks for what is missing alone
    assert [(r2t.r2t_sn, r2t.buffer_offset, r2t.desired_data_transfer_length) for r2t in r2ts] == [
        (0, 0, 65536), (1, index * 8192, 8192),
    ]  # fmt: skip
    settle(wire)


@pytest.mark.parametrize("index", range(4))
def test_a_data_out_whose_header_is_damaged_is_dropped_and_asked_for_again(index: int) -> None:
    wire, initiator = recovering({"MaxBurstLength": "32768"}, settings=Settings(max_recv_data_segment_bytes=8192))
    initiator.damage(Opcode.DATA_OUT, index, header=True)
    data = bytes(range(256)) * 128
    task = wire.write(0, data, immediate_data=0)
    wire.pump()
    initiator.nop(immediate=True)  # only the next header proves where the damaged PDU ended
    wire.pump()
    assert wire.connection.framing.dropped == 1 and rejects(wire) == []
    if index == 3:  # the one with the F bit: nothing shows the loss but the time that goes by
        assert task.status is None
        deadline = wire.connection.next_deadline()
        assert deadline == wire.connection.settings.recovery_seconds
        wire.connection.handle_timeout(deadline)
        wire.pump()
    assert task.status == 0 and wire.disk.bytes[: len(data)] == data


@pytest.mark.parametrize("index", [0, 1])
def test_damaged_unsolicited_data_is_asked_for_again(index: int) -> None:
    keys = {"FirstBurstLength": "32768", "MaxBurstLength": "32768", "ImmediateData": "No"}
    wire, initiator = recovering(keys, settings=Settings(max_recv_data_segment_bytes=8192))
    initiator.damage(Opcode.DATA_OUT, index)
    data = bytes(range(256)) * 128
    task = wire.write(0, data, immediate_data=0, unsolicited=True)
    wire.pump()
    assert task.status == 0 and wire.disk.bytes[: len(data)] == data and rejects(wire) == [2]


def test_unsolicited_data_that_never_comes_is_asked_for_after_a_while() -> None:
    wire, _initiator = recovering()
    data = b"u" * 8192
    task = wire.write(0, data, immediate_data=0, unsolicited=False, final=False)
    wire.pump()
    assert task.status is None
    wire.connection.handle_timeout(2.9)
    wire.pump()
    assert task.status is None
    wire.connection.handle_timeout(3.0)
    wire.pump()
    assert task.status == 0 and wire.disk.bytes[:8192] == data


def test_data_that_is_damaged_time_and_again_ends_the_task() -> None:
    wire, initiator = recovering(settings=Settings(max_recv_data_segment_bytes=8192))
    for index in range(20):
        initiator.damage(Opcode.DATA_OUT, index)
    task = wire.write(0, b"w" * 8192, immediate_data=0)
    wire.pump()
    assert task.status == 2 and task.sense[2] & 0xF == 0xB and task.sense[12:14] == b"\x47\x05"  # 11.4.7.2
    assert len(rejects(wire)) == 9  # the first R2T and eight more
    settle(wire)


def test_an_initiator_that_owes_data_for_ever_gets_an_end() -> None:
    wire, initiator = recovering()
    initiator.answer_r2t = False
    task = wire.write(0, b"w" * 8192, immediate_data=0)
    wire.pump()
    for turn in range(1, 12):
        wire.connection.handle_timeout(3.0 * turn)
        initiator.nop(immediate=True)
        wire.now = 3.0 * turn
        wire.pump()
    assert task.status == 2 and task.sense[12:14] == b"\x47\x05" and wire.connection.intake.open_bursts == 0


@pytest.mark.parametrize("header", [False, True])
def test_a_damaged_command_is_sent_again_by_the_initiator(header: bool) -> None:
    wire, initiator = recovering()
    initiator.damage(Opcode.SCSI_COMMAND, header=header)
    task = wire.write(0, b"w" * 512)
    later = wire.write(1, b"x" * 512)
    wire.pump()
    assert task.status is None and later.status is None, "it waits for its predecessor"
    assert rejects(wire) == ([] if header else [RejectReason.DATA_DIGEST_ERROR])
    fields = {"initiator_task_tag": task.tag, "cmd_sn": task.cmd_sn, "final": 1, "write": 1, "attribute": 1}
    initiator.queue(  # 7.2.1: retry with the same CmdSN and task tag
        pdu.SCSI_COMMAND, b"w" * 512, expected_data_transfer_length=512, cdb=cdb_10(0x2A, 0, 1) + bytes(6), **fields,
    )  # fmt: skip
    wire.pump()
    assert task.status == 0 and later.status == 0 and wire.disk.bytes[:1024] == b"w" * 512 + b"x" * 512


def test_a_damaged_header_whose_lengths_lie_ends_the_connection() -> None:
    wire, initiator = recovering()
    initiator.nop(b"x" * 100)
    stream = bytearray(initiator.take())
    stream[7] -= 8
    initiator.nop()
    wire.give(bytes(stream) + initiator.take())
    assert wire.connection.wants_close and wire.connection.why == "header digest error"


def test_a_wrong_snack_is_rejected() -> None:
    wire, initiator = recovering()
    for kind, fields in (
        (STATUS, {"begin_run": initiator.exp_stat_sn + 5, "run_length": 1}),
        (DATA, {"initiator_task_tag": 4711}),
        (R_DATA, {"initiator_task_tag": 4711, "target_transfer_tag": 1}),
        (7, {}),
    ):
        initiator.queue(pdu.SNACK_REQUEST, type=kind, **{"initiator_task_tag": NO_TAG, **fields})
    wire.pump()
    assert rejects(wire) == [RejectReason.SNACK_REJECT] * 3 + [RejectReason.INVALID_PDU_FIELD]
