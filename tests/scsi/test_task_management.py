"""Task management functions of one unit: which tasks end, who is told, and when it is complete."""

from __future__ import annotations

import pytest

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.command import ABORTED, Function, ManagementResponse, Nexus, Status, TaskManagement
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.sense import Asc
from tests.doubles.backends import SlowBackend
from tests.doubles.host import Host, memory

WRITE = bytes(cdb.WRITE_10.pack(transfer_length=1))


class Managed:
    """Two hosts on a slow disk."""

    def __init__(self) -> None:
        self.backend = SlowBackend(memory())
        self.unit = LogicalUnit(self.backend)
        self.one, self.two = Host(self.unit, "iqn.a", attach=True), Host(self.unit, "iqn.b", attach=True)
        for host in (self.one, self.two):
            host.run(cdb.TEST_UNIT_READY.pack())
        self.answers: list[int] = []

    def manage(self, function: int, tag: int = 0, nexus: Nexus | None = None) -> None:
        request = TaskManagement(Function(function), nexus or self.one.nexus, referenced_tag=tag)
        self.unit.manage(request, self.answers.append)


@pytest.fixture
def managed() -> Managed:
    return Managed()


def test_abort_task(managed: Managed) -> None:
    task, other = managed.one.send(WRITE, bytes(512)), managed.one.send(WRITE, bytes(512))
    managed.manage(Function.ABORT_TASK, task.command.tag)
    assert managed.answers == []
    managed.backend.run()
    assert managed.answers == [ManagementResponse.FUNCTION_COMPLETE]
    assert task.responses == [ABORTED]
    assert other.answer.good


def test_abort_task_of_another_nexus_or_of_none(managed: Managed) -> None:
    task = managed.two.send(WRITE, bytes(512))
    managed.manage(Function.ABORT_TASK, task.command.tag)
    managed.manage(Function.ABORT_TASK, 999)
    assert managed.answers == [ManagementResponse.TASK_DOES_NOT_EXIST] * 2
    managed.backend.run()
    assert task.answer.good


def test_abort_task_set_is_of_one_nexus(managed: Managed) -> None:
    mine, other = managed.one.send(WRITE, bytes(512)), managed.two.send(WRITE, bytes(512))
    managed.manage(Function.ABORT_TASK_SET)
    managed.backend.run()
    assert mine.responses == [ABORTED]
    assert other.answer.good
    assert managed.answers == [ManagementResponse.FUNCTION_COMPLETE]


def test_clear_task_set_tells_the_others_by_a_unit_attention(managed: Managed) -> None:
    mine, other = managed.one.send(WRITE, bytes(512)), managed.two.send(WRITE, bytes(512))
    managed.manage(Function.CLEAR_TASK_SET)
    managed.backend.run()
    assert mine.responses == [ABORTED]
    assert other.responses == [ABORTED]
    assert managed.one.run(cdb.TEST_UNIT_READY.pack()).good
    assert managed.two.run(cdb.TEST_UNIT_READY.pack()).asc == Asc.COMMANDS_CLEARED_BY_ANOTHER_INITIATOR


def test_with_tas_the_others_are_told_by_task_aborted(managed: Managed) -> None:
    page = bytes.fromhex("0a0a021000400000000000 00".replace(" ", ""))
    assert managed.one.run(cdb.MODE_SELECT_6.pack(pf=1, parameter_list_length=16), bytes(4) + page).good
    assert managed.two.run(cdb.TEST_UNIT_READY.pack()).asc == Asc.MODE_PARAMETERS_CHANGED
    mine, other = managed.one.send(WRITE, bytes(512)), managed.two.send(WRITE, bytes(512))
    managed.manage(Function.CLEAR_TASK_SET)
    managed.backend.run()
    assert mine.responses == [ABORTED]
    assert other.answer.status == Status.TASK_ABORTED
    assert other.responses[0] is not ABORTED
    assert managed.two.run(cdb.TEST_UNIT_READY.pack()).good


def test_logical_unit_reset(managed: Managed) -> None:
    page = bytes.fromhex("0812000000000000ffffffff") + bytes(8)
    assert managed.one.run(cdb.MODE_SELECT_6.pack(pf=1, parameter_list_length=24), bytes(4) + page).good
    tasks = [host.send(WRITE, bytes(512)) for host in (managed.one, managed.two) if host.run(b"\0" * 6) or True]
    managed.manage(Function.LOGICAL_UNIT_RESET)
    assert managed.answers == []
    managed.backend.run()
    assert [task.responses for task in tasks] == [[ABORTED], [ABORTED]]
    assert managed.answers == [ManagementResponse.FUNCTION_COMPLETE]
    assert not managed.unit.durable_writes
    for host in (managed.one, managed.two):
        assert host.run(cdb.TEST_UNIT_READY.pack()).asc == Asc.BUS_DEVICE_RESET
        assert host.run(cdb.TEST_UNIT_READY.pack()).good


@pytest.mark.parametrize("function", [Function.CLEAR_ACA, Function.TASK_REASSIGN])
def test_functions_that_are_not_supported(managed: Managed, function: int) -> None:
    managed.manage(function)
    assert managed.answers == [ManagementResponse.FUNCTION_NOT_SUPPORTED]
