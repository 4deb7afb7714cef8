"""What iscsi-test-cu's iSCSI family asks, with CHAP and both digests on: libiscsi 1.19 knows no data digests.

Test by test the same questions (libiscsi's names in brackets), over TCP, by our initiator double. It checks each digest
that comes, sends its own with each PDU, and expects what RFC 7143 says.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tcmu_gluster.iscsi import pdu
from tcmu_gluster.iscsi.pdu import Opcode
from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.command import Function
from tests.system import flood
from tests.system.export import Export

BLOCK = 512
READS = (cdb.READ_10, cdb.READ_12, cdb.READ_16)
WRITES = (
    cdb.WRITE_10, cdb.WRITE_12, cdb.WRITE_16, cdb.WRITE_AND_VERIFY_10, cdb.WRITE_AND_VERIFY_12, cdb.WRITE_AND_VERIFY_16,
)  # fmt: skip
LENGTHS = ((0, True, BLOCK), (200, True, BLOCK - 200), (BLOCK, None, 0), (10_000, False, 10_000 - BLOCK))
"""Expected Data Transfer Length of a command for one block; whether it overflows or underflows, and by how much
(RFC 7143 11.4.5.1)."""
QUIET_SECONDS = 0.3
"""How long nothing comes from somebody who ignores us; whoever answers does so within a few milliseconds."""

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def export() -> Iterator[Export]:
    with flood.protected_export(required_digests="both") as export:
        yield export
        assert "Traceback" not in export.log()


@pytest.fixture
def session(export: Export) -> Iterator[flood.GoodSession]:
    """Logged in with SHA-256, CRC32C on headers and data."""
    good = flood.GoodSession(export.port, export.iqn, keys={"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"})
    assert good.initiator.header_digest and good.initiator.data_digest and good.initiator.agreed["CHAP_A"] == "7"
    yield good
    good.close()


def str_of(value: object) -> str:
    return str(getattr(value, "name", value))


def one_block(layout: object) -> bytes:
    return bytes(layout.pack(transfer_length=1))


@pytest.mark.parametrize("distance", [1, -1])
def test_cmd_sn_outside_the_window_is_ignored(session: flood.GoodSession, distance: int) -> None:
    """[iSCSICmdSnTooHigh, iSCSICmdSnTooLow]  RFC 7143 4.2.2.1."""
    initiator = session.initiator
    number = initiator.max_cmd_sn + 1 if distance > 0 else initiator.cmd_sn - 1
    ignored = initiator.scsi(flood.READ_10, read=4096, cmd_sn=number & 0xFFFFFFFF)
    initiator.cmd_sn -= 1  # it was not taken
    assert session.silent(QUIET_SECONDS) and ignored.status is None
    assert session.read() == 0, "the next in turn is served"
    assert ignored.status is None


@pytest.mark.parametrize("data_sn", [27, 0xFFFFFFFF])
def test_a_wrong_data_sn_is_not_written(session: flood.GoodSession, data_sn: int) -> None:
    """[iSCSIDataSnInvalid]  RFC 7143 11.7.5, 7.8: the command can't end GOOD."""
    initiator = session.initiator
    initiator.answer_r2t = False
    task = initiator.scsi(one_block(cdb.WRITE_10), data_out=b"w" * BLOCK, immediate_data=0)
    while not (r2ts := initiator.answers(Opcode.R2T)):
        session.exchange()
    initiator.data_out(task, 0, BLOCK, r2ts[0].fields.target_transfer_tag, data_sn=data_sn)
    try:
        while task.status is None:
            session.exchange()
    except AssertionError as closed:
        assert "closed the good connection" in str(closed)
    assert task.status != 0


@pytest.mark.parametrize(("length", "overflow", "residual"), LENGTHS)
@pytest.mark.parametrize("layout", READS, ids=str_of)
def test_residuals_of_reads(
    session: flood.GoodSession, layout: object, length: int, overflow: bool | None, residual: int
) -> None:
    """[Read10Invalid, Read10Residuals, Read12Residuals, Read16Residuals]"""
    session.run(one_block(cdb.WRITE_10), data_out=b"abcd" * (BLOCK // 4))
    task = session.run(one_block(layout), read=length)
    assert task.status == 0 and task.data == (b"abcd" * (BLOCK // 4))[:length]
    assert (task.overflow, task.underflow) == (overflow is True, overflow is False)
    assert task.residual == residual


@pytest.mark.parametrize(("length", "overflow", "residual"), LENGTHS)
@pytest.mark.parametrize("layout", WRITES, ids=str_of)
def test_residuals_of_writes(
    session: flood.GoodSession, layout: object, length: int, overflow: bool | None, residual: int
) -> None:
    """[Write10Residuals, Write12Residuals, Write16Residuals, WriteVerify10Residuals and its sisters]"""
    session.run(one_block(cdb.WRITE_10), data_out=bytes(BLOCK))
    task = session.run(one_block(layout), data_out=b"x" * length, length=length)
    assert (task.overflow, task.underflow) == (overflow is True, overflow is False)
    assert task.residual == residual
    written = session.run(one_block(cdb.READ_10), read=BLOCK).data
    assert written == (b"x" * BLOCK if length >= BLOCK else bytes(BLOCK) if task.status else written)
    assert task.status == 0 or length < BLOCK, "only what is not all there may be refused"


@pytest.mark.parametrize("function", [Function.ABORT_TASK, Function.LOGICAL_UNIT_RESET])
def test_task_management(session: flood.GoodSession, function: Function) -> None:
    """[AbortTaskSimpleAsync, LUNResetSimpleAsync]  A WRITE that waits for its data is ended by it."""
    initiator = session.initiator
    initiator.answer_r2t = False
    task = initiator.scsi(one_block(cdb.WRITE_10), data_out=b"w" * BLOCK, immediate_data=0)
    tag = initiator.manage(function, task=task if function is Function.ABORT_TASK else None)
    while not (answers := initiator.answers(Opcode.TASK_MANAGEMENT_RESPONSE)):
        session.exchange()
    assert answers[0].fields.initiator_task_tag == tag and answers[0].fields.response == 0
    assert session.silent(QUIET_SECONDS) and task.status is None
    del initiator.tasks[task.tag]
    session.read()  # a unit attention after the reset
    assert session.read() == 0


def test_damaged_data_is_refused_by_its_digest(session: flood.GoodSession) -> None:
    """RFC 7143 7.8: Reject, reason 2 (data digest error); ErrorRecoveryLevel 0 ends there, and nothing is written."""
    session.run(one_block(cdb.WRITE_10), data_out=bytes(BLOCK))
    initiator = session.initiator
    initiator.scsi(one_block(cdb.WRITE_10), data_out=b"w" * BLOCK)
    stream = bytearray(initiator.take())
    stream[-5] ^= 1
    session.send(bytes(stream))
    while not (answers := initiator.answers(Opcode.REJECT)):
        session.exchange()
    assert answers[0].fields.reason == pdu.RejectReason.DATA_DIGEST_ERROR == 2
