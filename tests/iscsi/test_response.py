"""How commands end: Data-In sequences, residuals, status."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.iscsi import pdu
from tcmu_gluster.scsi.command import ABORTED, GOOD, Response, Status
from tests.doubles.iscsi_wire import READ_10, WRITE_10, Wire, cdb_10

PAGE = bytes(range(256)) * 16


def views(*parts: bytes) -> Sequence[memoryview]:
    return tuple(memoryview(part) for part in parts)


def answer(wire: Wire, response: Response, *, wanted: int = -1) -> None:
    """End the one command that is held."""
    (command,) = wire.held
    if wanted >= 0:
        command.data_out_wanted = wanted
    wire.finish(response)
    wire.pump()


def test_status_travels_with_the_last_data() -> None:
    wire = Wire(hold=True)
    task = wire.read(0, 4096)
    wire.pump()
    answer(wire, Response(0, views(PAGE)))
    assert task.data == PAGE and task.status == 0 and task.status_in_data
    assert (task.overflow, task.underflow, task.residual) == (False, False, 0)


@pytest.mark.parametrize(("sent", "expected", "overflow", "underflow", "residual"), [
    (4096, 4096, False, False, 0), (512, 10_000, False, True, 9488), (512, 200, True, False, 312),
    (4096, 0, True, False, 4096),
    (0, 512, False, True, 512), (3, 3, False, False, 0), (1, 5, False, True, 4),
])  # fmt: skip
def test_residuals_of_a_read(sent: int, expected: int, overflow: bool, underflow: bool, residual: int) -> None:
    wire = Wire(hold=True)
    task = wire.initiator.scsi(cdb_10(READ_10, 0, 1), read=expected)
    wire.pump()
    answer(wire, Response(0, views(PAGE[:sent]) if sent else ()))
    assert task.status == 0 and task.data == PAGE[: min(sent, expected)]
    assert (task.overflow, task.underflow, task.residual) == (overflow, underflow, residual)


@pytest.mark.parametrize(("expected", "wanted", "overflow", "underflow", "residual"), [
    (512, 512, False, False, 0), (10_000, 512, False, True, 9488), (200, 512, True, False, 312),
    (0, 512, True, False, 512),
    (512, -1, False, False, 0),
])  # fmt: skip
@pytest.mark.parametrize("status", [Status.GOOD, Status.CHECK_CONDITION])
def test_residuals_of_a_write(
    expected: int, wanted: int, overflow: bool, underflow: bool, residual: int, status: Status
) -> None:
    wire = Wire(hold=True)
    task = wire.initiator.scsi(cdb_10(WRITE_10, 0, 1), data_out=bytes(expected), length=expected)
    wire.pump()
    answer(wire, Response(status), wanted=wanted)
    assert task.status == status
    assert (task.overflow, task.underflow, task.residual) == (overflow, underflow, residual)


def test_sense_goes_with_its_length_and_a_failed_read_has_all_its_residual() -> None:
    wire = Wire(hold=True)
    task = wire.read(0, 4096)
    wire.pump()
    sense = bytes.fromhex("70000300000000 0a 00000000 1100 00 000000")
    answer(wire, Response(Status.CHECK_CONDITION, sense=sense))
    assert (task.status, task.response, task.sense) == (2, 0, sense)
    assert task.underflow and task.residual == 4096


def test_data_before_a_bad_status_is_sent_and_the_status_apart() -> None:
    wire = Wire(hold=True)
    task = wire.read(0, 4096)
    wire.pump()
    answer(wire, Response(Status.CHECK_CONDITION, views(PAGE), b"s" * 18))
    assert task.data == PAGE and task.status == 2 and not task.status_in_data


@pytest.mark.parametrize(
    "status", [Status.BUSY, Status.RESERVATION_CONFLICT, Status.TASK_SET_FULL, Status.TASK_ABORTED]
)
def test_any_status_goes_as_it_is(status: Status) -> None:
    wire = Wire(hold=True)
    task = wire.initiator.scsi(bytes(16))
    wire.pump()
    answer(wire, Response(status))
    assert task.status == status


def test_aborted_is_not_sent_and_opens_the_window() -> None:
    wire = Wire(hold=True)
    task = wire.read(0, 65536)
    wire.pump()
    answer(wire, ABORTED)
    assert task.status is None and wire.pool.handed_out_bytes == 0
    assert not wire.connection.session.tasks
    before = wire.initiator.max_cmd_sn
    wire.initiator.nop()
    wire.pump()
    assert wire.initiator.max_cmd_sn == before + 2


@pytest.mark.parametrize("digest", ["None", "CRC32C"])
@pytest.mark.parametrize(("burst", "segment"), [(262144, 262144), (4096, 512), (5000, 700), (512, 4096)])
def test_long_data_goes_in_bursts_of_segments(burst: int, segment: int, digest: str) -> None:
    keys = {"MaxBurstLength": str(burst), "MaxRecvDataSegmentLength": str(segment), "FirstBurstLength": "512"}
    wire = Wire({**keys, "HeaderDigest": digest, "DataDigest": digest}, hold=True)
    task = wire.read(0, 20_000)
    wire.pump()
    answer(wire, Response(0, views(PAGE, b"", PAGE[:1000], PAGE * 3 + PAGE[: 20_000 - 5096 - 3 * 4096])))
    assert task.data == (PAGE + PAGE[:1000] + PAGE * 4)[:20_000]
    assert task.status == 0
    data_in = [item for item in wire.initiator.every if item.opcode == pdu.Opcode.DATA_IN]
    finals = [item.fields.buffer_offset + len(item.data) for item in data_in if item.fields.final]
    assert finals == [min(end, 20_000) for end in range(burst, 20_000 + burst, burst)]


@given(st.lists(st.binary(max_size=3000), max_size=5), st.integers(0, 9000), st.integers(512, 2000), st.booleans())
def test_whatever_a_response_holds_arrives_cut_to_what_is_expected(
    parts: list[bytes], expected: int, segment: int, digests: bool
) -> None:
    keys = {"MaxRecvDataSegmentLength": str(segment), "DataDigest": "CRC32C" if digests else "None"}
    wire = Wire(keys, hold=True)
    task = wire.initiator.scsi(cdb_10(READ_10, 0, 1), read=expected)
    wire.pump()
    answer(wire, Response(0, views(*parts)))
    whole = b"".join(parts)
    assert task.data == whole[:expected] and task.status == 0
    assert task.residual == abs(len(whole) - expected)


def test_buffers_of_the_response_are_sent_themselves() -> None:
    wire = Wire(hold=True)
    wire.read(0, 4096)
    wire.pump()
    view = memoryview(bytearray(PAGE))
    wire.finish(Response(0, (view,)))
    header, data = wire.connection.data_to_send()
    assert data is view and len(header) == 48


def test_data_in_of_a_command_that_only_writes_is_dropped() -> None:
    wire = Wire(hold=True)
    task = wire.initiator.scsi(cdb_10(READ_10, 0, 1), data_out=bytes(512))
    wire.pump()
    answer(wire, Response(0, views(PAGE[:512])))
    assert task.status == 0 and task.data == b"" and not task.overflow


def test_bidirectional_commands_have_two_residuals() -> None:
    wire = Wire(hold=True)
    ahs = bytes((0, 5, 2, 0)) + (100).to_bytes(4, "big")
    task = wire.initiator.scsi(bytes(16), read=100, data_out=bytes(512), length=512, ahs=ahs)
    wire.pump()
    answer(wire, Response(0, views(PAGE[:60])), wanted=500)
    fields = wire.initiator.every[-1].fields
    assert task.data == PAGE[:60] and task.underflow and task.residual == 12
    assert fields.bidirectional_underflow and fields.bidirectional_read_residual_count == 40


def test_memory_for_data_in_is_clean_when_small_and_fits_when_pooled() -> None:
    wire = Wire(hold=True)
    wire.read(0, 65536)
    wire.pump()
    (command,) = wire.held
    assert command.data_in(100)[0] == bytes(100)
    assert len(command.data_in(65536)[0]) == 65536
    assert len(command.data_in(20_000)[0]) == 20_000
    assert len(command.data_in(1 << 20)[0]) == 1 << 20, "more than the initiator takes"


def test_responses_of_a_dead_connection_go_nowhere() -> None:
    wire = Wire(hold=True)
    wire.read(0, 65536)
    wire.pump()
    wire.connection.closed(0.0)
    wire.finish(GOOD)
    assert wire.connection.data_to_send() == [] and wire.pool.handed_out_bytes == 0


def test_numbers_in_answers_follow_the_window() -> None:
    wire = Wire(hold=True)
    wire.read(0, 512)
    wire.pump()
    answer(wire, Response(0, views(PAGE[:512])))
    last = wire.initiator.every[-1].fields
    assert last.exp_cmd_sn == wire.initiator.cmd_sn
    assert last.max_cmd_sn == wire.initiator.cmd_sn + 127
    assert wire.initiator.every[-1].opcode == pdu.Opcode.DATA_IN
