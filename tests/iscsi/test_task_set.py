"""The command object of the hot path, and the set of a session's commands."""

from __future__ import annotations

from tcmu_gluster.iscsi.task_set import EXECUTING, HELD, PREPARING, IscsiCommand, TaskSet
from tcmu_gluster.scsi.command import ANY, Command
from tests.doubles.iscsi_wire import Wire


def make(tag: int = 1, lun: int = 0) -> IscsiCommand:
    connection = Wire().connection
    return IscsiCommand(connection, bytes(16), ANY, lun, lun << 48, tag, 1, 0, 0, True, None)


def test_every_slot_of_a_plain_command_is_set_with_its_default() -> None:
    ours, plain = make(tag=0), Command(bytes(16))
    for name in Command.__slots__:
        assert getattr(ours, name) == getattr(plain, name), name


def test_commands_before_execution_by_lun() -> None:
    tasks = TaskSet()
    for tag, (lun, phase) in enumerate([(0, HELD), (0, EXECUTING), (1, PREPARING), (1, EXECUTING), (0, PREPARING)]):
        tasks[tag] = make(tag, lun)
        tasks[tag].phase = phase
    assert [task.tag for task in tasks.before_execution(0)] == [0, 4]
    assert [task.tag for task in tasks.before_execution(1)] == [2]
    assert [task.tag for task in tasks.before_execution()] == [0, 2, 4]


def test_allegiance() -> None:
    tasks = TaskSet()
    tasks[1], tasks[2] = make(1), make(2)
    assert tasks.allegiant_to(tasks[2].connection) == [tasks[2]]
