"""libgfapi's double under `tcmu-gluster export`, as somebody else would use it: each fault, as an initiator sees it.

No Gluster is needed: the double keeps files in memory and fails as LIBGFAPI_DOUBLE_FAULTS says. What a host must
hear of an errno is from SBC-3 (additional sense codes) and SAM-5 (status), not from our own tables.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tcmu_gluster.iscsi.pdu import Opcode
from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.command import Function
from tcmu_gluster.testing import libgfapi_double as double
from tests.doubles import unavailable
from tests.system import flood
from tests.system.export import Export
from tests.system.served import Served

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.timeout(120),
    pytest.mark.skipif(bool(unavailable.LIBGFAPI), reason=unavailable.LIBGFAPI or "-"),
]

GOOD, CHECK_CONDITION, BUSY = 0x00, 0x02, 0x08
WRITE_ERROR, UNRECOVERED_READ_ERROR = (3, 0x0C, 0x00), (3, 0x11, 0x00)  # MEDIUM ERROR
SPACE_ALLOCATION_FAILED = (7, 0x27, 0x07)  # DATA PROTECT: SPACE ALLOCATION FAILED WRITE PROTECT
BLOCKS = 8
DATA = bytes(range(256)) * 16  # 4 KiB
READ, WRITE = cdb.READ_10.pack(transfer_length=BLOCKS), cdb.WRITE_10.pack(transfer_length=BLOCKS)
WRITE_THROUGH = cdb.WRITE_10.pack(transfer_length=BLOCKS, fua=1)
FLUSH = cdb.SYNCHRONIZE_CACHE_10.pack()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return double.build_into(tmp_path_factory.mktemp("double"))


@contextlib.contextmanager
def served(library: Path, faults: str) -> Iterator[Export]:
    """A disk on the double that fails as ordered."""
    with socket.create_server(("127.0.0.1", 0)) as glusterd:
        uri = f"gluster://127.0.0.1:{glusterd.getsockname()[1]}/volume/disk"
        export = Export(uri, "--size", "16M")
        export.environment = {"TCMU_GLUSTER_LIBGFAPI": str(library), "LIBGFAPI_DOUBLE_FAULTS": faults}
        with export:
            yield export
            assert "Traceback" not in export.log()


def log_in(export: Export, name: str = "iqn.2026-01.example:one") -> flood.GoodSession:
    return flood.GoodSession(export.port, export.iqn, name, chap=None)


def outcome(task: Any) -> Any:
    """The status, or (sense key, ASC, ASCQ) of a CHECK CONDITION, whichever form of sense data it has (SPC-4 4.5)."""
    if task.status != CHECK_CONDITION:
        return task.status
    sense = task.sense
    return (sense[1] & 15, sense[2], sense[3]) if sense[0] & 0x7F >= 0x72 else (sense[2] & 15, sense[12], sense[13])


@pytest.mark.parametrize(("fault", "expected"), [
    ("ENOTCONN", BUSY), ("refuse:ENOTCONN", BUSY), ("ENOSPC", SPACE_ALLOCATION_FAILED), ("EIO", WRITE_ERROR),
    ("EDQUOT", SPACE_ALLOCATION_FAILED), ("short:512", WRITE_ERROR), ("short:0", WRITE_ERROR), ("late:300", GOOD),
    ("twice", GOOD),
])  # fmt: skip
def test_what_a_host_hears_of_a_write(library: Path, fault: str, expected: Any) -> None:
    """The second write has the fault; those before and after it have not, and never is GOOD said for what failed."""
    with served(library, f"write@2={fault}") as export:
        session = log_in(export)
        assert [outcome(session.run(WRITE, data_out=DATA)) for _ in range(3)] == [GOOD, expected, GOOD]
        assert session.run(READ, read=len(DATA)).data == DATA


@pytest.mark.parametrize(("fault", "expected"), [
    ("ENOTCONN", BUSY), ("EIO", UNRECOVERED_READ_ERROR), ("late:300", GOOD), ("twice", GOOD),
])  # fmt: skip
def test_what_a_host_hears_of_a_read(library: Path, fault: str, expected: Any) -> None:
    with served(library, f"read@1={fault}") as export:
        session = log_in(export)
        task = session.run(READ, read=len(DATA))
        assert outcome(task) == expected
        assert session.run(READ, read=len(DATA)).data == bytes(len(DATA))


@pytest.mark.parametrize("fault", ["EIO", "ENOSPC", "EDQUOT"])
def test_a_flush_that_fails_is_never_good_again(library: Path, fault: str) -> None:
    """What a failed fsync has dropped no second one can bring back."""
    with served(library, f"sync@1={fault}") as export:
        session = log_in(export)
        assert outcome(session.run(WRITE, data_out=DATA)) == GOOD
        assert all(outcome(session.run(FLUSH)) != GOOD for _ in range(3))


def test_a_flush_that_reached_nobody_is_tried_again(library: Path) -> None:
    """Nothing is dropped by it: our side of a volume holds no write back (XLATOR_OPTIONS in native/connect.py)."""
    with served(library, "sync@1x2=ENOTCONN") as export:
        session = log_in(export)
        assert outcome(session.run(WRITE, data_out=DATA)) == GOOD
        assert [outcome(session.run(FLUSH)) for _ in range(3)] == [BUSY, BUSY, GOOD]


def test_a_durable_write_that_fails_is_not_good(library: Path) -> None:
    with served(library, "write@1=EIO") as export:
        assert outcome(log_in(export).run(WRITE_THROUGH, data_out=DATA)) == WRITE_ERROR


def abort_of_a_late_write(session: flood.GoodSession) -> Any:
    """ABORT TASK for a WRITE that the storage holds; the task, once the abort was answered."""
    initiator = session.initiator
    task = initiator.scsi(WRITE, data_out=b"old!" * 1024)
    tag = initiator.manage(Function.ABORT_TASK, task=task)
    while not (answers := initiator.answers(Opcode.TASK_MANAGEMENT_RESPONSE)):
        session.exchange()
    assert (answers[0].fields.initiator_task_tag, answers[0].fields.response) == (tag, 0)
    return task


@pytest.mark.parametrize("fault", ["late:1500", "late:1500,write@2x2=late:100"])
def test_a_completion_after_the_abort_is_for_nobody_and_never_undoes_a_later_write(library: Path, fault: str) -> None:
    """RFC 7143 11.5.1: no response for the aborted task. Its blocks are closed to others until the storage lets go."""
    with served(library, f"write@1={fault}") as export:
        session, other = log_in(export), log_in(export, "iqn.2026-01.example:two")
        aborted = abort_of_a_late_write(session)
        assert outcome(other.run(WRITE, data_out=DATA)) == GOOD
        assert session.run(READ, read=len(DATA)).data == DATA == other.run(READ, read=len(DATA)).data
        assert aborted.status is None, "an aborted command is not answered"
        assert outcome(session.run(WRITE, data_out=DATA[::-1])) == GOOD
        assert other.run(READ, read=len(DATA)).data == DATA[::-1]


def test_a_session_may_be_gone_when_its_write_completes(library: Path) -> None:
    with served(library, "write@1=late:1000") as export:
        session, other = log_in(export), log_in(export, "iqn.2026-01.example:two")
        session.initiator.scsi(WRITE, data_out=b"old!" * 1024)
        session.initiator.nop(immediate=True)
        while not session.initiator.answers(Opcode.NOP_IN):  # so the write before it has been taken, too
            session.exchange()
        session.close()
        assert outcome(other.run(WRITE, data_out=DATA)) == GOOD
        assert other.run(READ, read=len(DATA)).data == DATA


def test_a_daemon_makes_disks_on_it_and_keeps_their_records_there(library: Path, tmp_path: Path) -> None:
    """What `disk create` asks of a volume beside reading and writing: names, sizes, free space, renaming."""
    with socket.create_server(("127.0.0.1", 0)) as glusterd, Served(tmp_path, libgfapi=str(library)) as daemon:
        uri = f"gluster://127.0.0.1:{glusterd.getsockname()[1]}/volume/vm1"
        assert "16M" in daemon.do("disk", "create", "vm1", uri, "--size", "16M")["now"]
        daemon.do("disk", "resize", "vm1", "32M")
        shown = daemon.do("disk", "show", "vm1")
        assert (shown["size_bytes"], shown["state"]) == (32 << 20, "online")
        daemon.do("disk", "delete", "vm1")
        assert "Traceback" not in daemon.log()
