"""Gates in their order, errors as answers, nexuses."""

from __future__ import annotations

from typing import Any

import pytest

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.command import (
    ABORTED,
    ANY,
    Command,
    Nexus,
    Status,
)
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.sense import Asc, SenseKey
from tests.doubles.backends import FaultyBackend, SlowBackend
from tests.doubles.host import Host, memory


class Told(list[Any]):
    """Keeps what was reported."""

    def __call__(self, command: Command, error: BaseException) -> None:
        self.append(error)


WRITE = bytes(cdb.WRITE_10.pack(transfer_length=1))


# -- gates -------------------------------------------------------------------------------------------------------


def test_gates_in_their_order() -> None:
    unit = LogicalUnit(memory(), UnitOptions(write_protected=True))
    host = Host(unit, attach=True)
    unit.reserved.reserve(Nexus("iqn.2026-11.test:another"))
    unit.set_ready(Asc.BECOMING_READY)
    wrong = bytes(cdb.WRITE_10.pack(transfer_length=1, naca=1, wrprotect=1))
    assert host.run(b"\xc1" + wrong[1:]).asc == Asc.INVALID_COMMAND_OPERATION_CODE
    assert host.run(wrong).asc == Asc.POWER_ON_OCCURRED
    assert host.run(wrong).status == Status.RESERVATION_CONFLICT
    unit.reserved.reset()
    answer = host.run(wrong)
    assert (answer.key, answer.asc) == (SenseKey.NOT_READY, Asc.BECOMING_READY)
    unit.set_ready()
    assert host.run(wrong).asc == Asc.WRITE_PROTECTED
    answer = Host(LogicalUnit(memory())).run(wrong)
    assert (answer.asc, answer.pointer) == (Asc.INVALID_FIELD_IN_CDB, (9, 2))


def test_a_read_of_a_write_protected_disk() -> None:
    host = Host(LogicalUnit(memory(read_only=True)))
    assert host.run(cdb.READ_10.pack(transfer_length=1)).good
    assert host.run(WRITE, bytes(512)).asc == Asc.WRITE_PROTECTED


def test_one_nexus_may_be_write_protected_alone() -> None:
    unit = LogicalUnit(memory())
    one, two = Host(unit, "iqn.a"), Host(unit, "iqn.b")
    unit.attach(one.nexus, write_protected=True, attention=None)
    unit.attach(two.nexus, attention=None)
    assert one.run(WRITE, bytes(512)).asc == Asc.WRITE_PROTECTED
    assert one.run(cdb.MODE_SENSE_6.pack(page_code=8, allocation_length=4)).data[2] & 0x80
    assert two.run(WRITE, bytes(512)).good
    unit.detach(one.nexus)
    assert unit.quiet


def test_what_needs_no_medium_works_without_it() -> None:
    unit = LogicalUnit(memory())
    unit.set_ready(Asc.MEDIUM_NOT_PRESENT)
    host = Host(unit)
    assert host.run(cdb.INQUIRY.pack(allocation_length=96)).good
    assert host.run(cdb.MODE_SENSE_6.pack(page_code=0x3F, allocation_length=96)).good
    assert host.run(cdb.TEST_UNIT_READY.pack()).asc == Asc.MEDIUM_NOT_PRESENT
    assert host.run(cdb.READ_CAPACITY_10.pack()).asc == Asc.MEDIUM_NOT_PRESENT


# -- operation codes and CDBs ------------------------------------------------------------------------------------


def test_an_unknown_operation_code() -> None:
    answer = Host(LogicalUnit(memory())).run(b"\xff" + bytes(15))
    assert (answer.key, answer.asc) == (SenseKey.ILLEGAL_REQUEST, Asc.INVALID_COMMAND_OPERATION_CODE)


def test_an_unknown_service_action_is_a_wrong_field() -> None:
    answer = Host(LogicalUnit(memory())).run(b"\x9e\x1f" + bytes(14))
    assert (answer.asc, answer.pointer) == (Asc.INVALID_FIELD_IN_CDB, (1, 4))


@pytest.mark.parametrize("raw", [b"", b"\x28", b"\x28" + bytes(8), b"\x9e", b"\x9e\x10\0"])
def test_a_cdb_that_is_too_short(raw: bytes) -> None:
    told = Told()
    answer = Host(LogicalUnit(memory(), report=told)).run(raw)
    assert answer.asc == Asc.INVALID_FIELD_IN_CDB
    assert told == []


def test_a_cdb_padded_to_16_bytes_is_as_good() -> None:
    assert Host(LogicalUnit(memory())).run(WRITE.ljust(16, b"\0"), bytes(512)).good


# -- errors nobody foresaw ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("later", [False, True])
def test_an_unexpected_error_is_reported_and_answered(later: bool) -> None:
    told, backend = Told(), FaultyBackend(memory())
    host = Host(LogicalUnit(backend, report=told))
    backend.fail("read", KeyError("bug"), later=later)
    pending = host.send(cdb.READ_10.pack(transfer_length=1))
    backend.run()
    assert (pending.answer.key, pending.answer.asc) == (SenseKey.HARDWARE_ERROR, Asc.INTERNAL_TARGET_FAILURE)
    assert [type(error) for error in told] == [KeyError]
    assert host.run(cdb.READ_10.pack(transfer_length=1)).good


def test_an_errno_without_meaning_is_reported_too() -> None:
    told, backend = Told(), FaultyBackend(memory())
    host = Host(LogicalUnit(backend, report=told))
    backend.fail("read", 95000)
    assert host.run(cdb.READ_10.pack(transfer_length=1)).asc == Asc.INTERNAL_TARGET_FAILURE
    assert [error.errno for error in told] == [95000]


def test_no_memory_is_busy() -> None:
    class Poor(Command):
        def data_in(self, length: int) -> Any:
            raise MemoryError

    response = LogicalUnit(memory()).execute(Poor(bytes(cdb.READ_10.pack(transfer_length=1))))
    assert response is not None
    assert response.status == Status.BUSY


def test_data_in_is_asked_of_the_front() -> None:
    mine = memoryview(bytearray(b"\xaa" * 512))

    class Ours(Command):
        def data_in(self, length: int) -> Any:
            return (mine[:200], mine[200:length])

    response = LogicalUnit(memory()).execute(Ours(bytes(cdb.READ_10.pack(transfer_length=1))))
    assert response is not None
    assert bytes(mine) == bytes(512)
    assert [len(view) for view in response.data_in] == [200, 312]


# -- nexuses and unit attentions ---------------------------------------------------------------------------------


def test_a_new_nexus_hears_power_on_once() -> None:
    host = Host(LogicalUnit(memory()), attach=True)
    assert host.run(cdb.INQUIRY.pack(allocation_length=36)).good
    answer = host.run(cdb.TEST_UNIT_READY.pack())
    assert (answer.key, answer.asc) == (SenseKey.UNIT_ATTENTION, Asc.POWER_ON_OCCURRED)
    assert host.run(cdb.TEST_UNIT_READY.pack()).good


def test_inquiry_and_report_luns_leave_what_there_is_to_hear_and_one_answer_tells_it_once() -> None:
    unit = LogicalUnit(memory())  # SPC-4 6.6.1, 6.33
    host, other = Host(unit, "iqn.a", attach=True), Host(unit, "iqn.b", attach=True)
    unit.capacity_changed()
    for raw in (cdb.INQUIRY.pack(allocation_length=96), cdb.REPORT_LUNS.pack(allocation_length=64)):
        assert host.run(raw).good
    assert host.run(cdb.READ_10.pack(transfer_length=1)).asc == Asc.POWER_ON_OCCURRED
    data = host.run(cdb.REQUEST_SENSE.pack(allocation_length=18)).data
    assert (data[2], data[12:14].hex()) == (SenseKey.UNIT_ATTENTION, "2a09")
    assert host.run(cdb.READ_10.pack(transfer_length=1)).good
    assert other.run(cdb.TEST_UNIT_READY.pack()).asc == Asc.POWER_ON_OCCURRED  # each nexus has its own


def test_a_ring_hears_no_unit_attentions() -> None:
    unit = LogicalUnit(memory())
    unit.capacity_changed()
    command = Command(bytes(cdb.TEST_UNIT_READY.pack()), ANY)
    response = unit.execute(command)
    assert response is not None
    assert response.status == Status.GOOD


def test_a_changed_capacity_is_heard_and_seen() -> None:
    backend = memory()
    unit = LogicalUnit(backend)
    host = Host(unit, attach=True)
    host.run(cdb.TEST_UNIT_READY.pack())
    backend.size_bytes //= 2
    unit.capacity_changed()
    assert host.run(cdb.TEST_UNIT_READY.pack()).asc == Asc.CAPACITY_DATA_CHANGED
    assert host.run(cdb.READ_CAPACITY_10.pack()).data[:4].hex() == "000003ff"


def test_the_fronts_switch_for_the_write_cache_is_heard() -> None:
    unit = LogicalUnit(memory())
    host = Host(unit, attach=True)
    host.run(cdb.TEST_UNIT_READY.pack())
    unit.set_write_cache(True)
    assert host.run(cdb.TEST_UNIT_READY.pack()).good
    unit.set_write_cache(False)
    assert unit.durable_writes
    assert host.run(cdb.TEST_UNIT_READY.pack()).asc == Asc.MODE_PARAMETERS_CHANGED
    assert host.run(cdb.MODE_SENSE_6.pack(dbd=1, page_code=8, allocation_length=24)).data[6] == 0


def test_a_lost_nexus_takes_its_tasks_with_it() -> None:
    backend = SlowBackend(memory())
    unit = LogicalUnit(backend)
    one, two = Host(unit, "iqn.a", attach=True), Host(unit, "iqn.b", attach=True)
    for host in (one, two):
        host.run(cdb.TEST_UNIT_READY.pack())
    lost, kept = one.send(WRITE, bytes(512)), two.send(WRITE, bytes(512))
    gone: list[str] = []
    unit.detach(one.nexus, lambda: gone.append("gone"))
    assert gone == []
    backend.run()
    assert gone == ["gone"]
    assert lost.responses == [ABORTED]
    assert kept.answer.good
