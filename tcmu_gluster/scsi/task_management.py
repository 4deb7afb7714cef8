"""Task management of one unit, and what a reset of it does.  Source: SAM-5 clause 7, 6.3 (resets).

An aborted task ends when storage has let go of it, and a function is complete when its last task has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Optional

from tcmu_gluster.scsi.command import (
    ABORTED,
    Command,
    Function,
    ManagementResponse,
    Nexus,
    Response,
    Status,
    TaskManagement,
)
from tcmu_gluster.scsi.sense import Asc

if TYPE_CHECKING:
    from tcmu_gluster.scsi.logical_unit import LogicalUnit

ManagementDone = Callable[[ManagementResponse], None]

NOT_SUPPORTED = ManagementResponse.FUNCTION_NOT_SUPPORTED
COMPLETE = ManagementResponse.FUNCTION_COMPLETE


def manage(unit: LogicalUnit, request: TaskManagement, done: ManagementDone) -> None:
    """Do what a request asks; done(response) when its effect is complete, at once if nothing runs."""
    function = FUNCTIONS.get(request.function)
    if function is None:
        done(NOT_SUPPORTED)
        return
    function(unit, request, done)


def _abort_task(unit: LogicalUnit, request: TaskManagement, done: ManagementDone) -> None:
    def is_it(command: Command) -> bool:
        return command.tag == request.referenced_tag and command.belongs_to(request.nexus)

    if unit.tasks.find(is_it) is None:
        done(ManagementResponse.TASK_DOES_NOT_EXIST)
        return
    unit.tasks.abort(is_it, lambda command: ABORTED, lambda: done(COMPLETE))


def _abort_task_set(unit: LogicalUnit, request: TaskManagement, done: ManagementDone) -> None:
    unit.tasks.abort(lambda command: command.belongs_to(request.nexus), lambda command: ABORTED, lambda: done(COMPLETE))


def _clear_task_set(unit: LogicalUnit, request: TaskManagement, done: ManagementDone) -> None:
    asc = Asc.COMMANDS_CLEARED_BY_ANOTHER_INITIATOR
    _abort_all(unit, request.nexus, lambda: done(COMPLETE), asc, _tells(unit))


def _logical_unit_reset(unit: LogicalUnit, request: TaskManagement, done: ManagementDone) -> None:
    reset(unit, Asc.BUS_DEVICE_RESET, request.nexus, lambda: done(COMPLETE))


def reset(unit: LogicalUnit, asc: Asc, by: Optional[Nexus], done: Callable[[], None]) -> None:
    """A reset: every task ends, mode parameters go back to the saved ones, every nexus hears asc."""
    tas = _tells(unit)  # as it was when the tasks were sent
    unit.modes.reset()
    unit.reserved.reset()
    unit.medium.allow_all()
    unit.echo.clear()
    unit.copies.forget_results()
    if unit.timestamp is not None and asc != Asc.BUS_DEVICE_RESET:  # by a hard reset, not by that of a logical unit
        unit.timestamp.reset()
    unit.attentions.establish_all(asc)
    unit.thresholds.reset(unit)
    unit.look_again()
    _abort_all(unit, by, done, None, tas)


def _tells(unit: LogicalUnit) -> bool:
    """TAS of the Control mode page: a nexus whose task another one ends is told by TASK ABORTED."""
    return bool(unit.modes.value(0x0A, "tas"))


def _abort_all(unit: LogicalUnit, by: Optional[Nexus], done: Callable[[], None], asc: Optional[Asc], tas: bool) -> None:
    """End every task. With TAS the other nexuses are told by TASK ABORTED, else by a unit attention (asc)."""

    def response_for(command: Command) -> Response:
        return Response(Status.TASK_ABORTED) if tas and command.nexus != by else ABORTED

    commands = unit.tasks.abort(lambda command: True, response_for, done)
    if asc is not None and not tas:
        for nexus in {command.nexus for command in commands if command.nexus != by}:
            unit.attentions.establish(nexus, asc)
        unit.look_again()


FUNCTIONS: dict[Function, Callable[[LogicalUnit, TaskManagement, ManagementDone], None]] = {
    Function.ABORT_TASK: _abort_task,
    Function.ABORT_TASK_SET: _abort_task_set,
    Function.CLEAR_TASK_SET: _clear_task_set,
    Function.LOGICAL_UNIT_RESET: _logical_unit_reset,
}
"""What a unit answers; the target's own functions are in target.py, the others are not supported."""
