"""FORMAT UNIT and SANITIZE in the background: who hears what meanwhile, and that nobody ends it."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.background import State
from tcmu_gluster.scsi.command import ABORTED, Function, ManagementResponse, Status, TaskManagement
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.sense import Asc, SenseKey
from tcmu_gluster.wire.layout import Layout
from tests.doubles.backends import FaultyBackend, SlowBackend
from tests.doubles.host import Answer, Host, Pending, memory

MIB = 1 << 20
SIZE = 8 * MIB


class Paced:
    """A unit of 8 MiB that may write a MiB a second in the background, and the loop's timers."""

    def __init__(self) -> None:
        self.backend = FaultyBackend(memory(SIZE))
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.reported: list[BaseException] = []
        self.unit = LogicalUnit(
            self.backend,
            UnitOptions(background_bytes_per_second=MIB),
            report=lambda command, error: self.reported.append(error),
            later=lambda seconds, function: self.timers.append((seconds, function)),
        )
        self.host = Host(self.unit, attach=True)
        self.host.run(cdb.REQUEST_SENSE.pack(allocation_length=18))

    def overwrite(self, **fields: int) -> Pending:
        return self.host.send(cdb.SANITIZE_OVERWRITE.pack(parameter_list_length=5, **fields), b"\1\0\0\1a")

    def format(self, immed: bool = True) -> Pending:
        return self.host.send(cdb.FORMAT_UNIT.pack(fmtdata=1), bytes((0, 0x80 | 2 * immed, 0, 0)))

    def tick(self) -> float:
        seconds, function = self.timers.pop(0)
        function()
        return seconds

    def finish(self) -> None:
        while self.timers:
            self.tick()

    def ready(self) -> Answer:
        return self.host.run(cdb.TEST_UNIT_READY.pack())


@pytest.fixture
def paced() -> Paced:
    return Paced()


def progress(answer: Answer) -> int:
    assert answer.sense[15] == 0x80  # SKSV
    return int.from_bytes(answer.sense[16:18], "big")


def test_immed_is_good_at_once_and_the_unit_is_not_ready_until_the_end(paced: Paced) -> None:
    assert paced.overwrite(immed=1).answer.good
    answer = paced.ready()
    assert (answer.key, answer.asc) == (SenseKey.NOT_READY, Asc.SANITIZE_IN_PROGRESS)
    assert progress(answer) == 65536 // 8
    assert paced.tick() == 1.0
    assert progress(paced.ready()) == 2 * 65536 // 8
    paced.finish()
    assert paced.ready().good
    assert paced.host.run(cdb.READ_10.pack(transfer_length=1)).data == b"a" * 512


def test_without_immed_it_is_good_at_the_end(paced: Paced) -> None:
    pending = paced.overwrite()
    assert not pending.ended
    paced.finish()
    assert pending.answer.good
    assert not paced.unit.tasks.running


def test_format_says_that_it_is_one(paced: Paced) -> None:
    paced.format()
    answer = paced.ready()
    assert (answer.key, answer.asc) == (SenseKey.NOT_READY, Asc.FORMAT_IN_PROGRESS)
    paced.finish()
    assert paced.ready().good


def test_request_sense_tells_the_progress(paced: Paced) -> None:
    paced.overwrite(immed=1)
    data = paced.host.run(cdb.REQUEST_SENSE.pack(allocation_length=18)).data
    assert data.hex() == "700002" + "00" * 4 + "0a" + "00" * 4 + "041b" + "00" + "802000"
    data = paced.host.run(cdb.REQUEST_SENSE.pack(desc=1, allocation_length=252)).data
    assert data.hex() == "7202041b00000008" + "0206000080200000"


ALWAYS = {"INQUIRY", "REPORT LUNS", "REQUEST SENSE"}  # SBC-4 4.33.2: all that is allowed during a format
DURING_SANITIZE = ALWAYS | {  # SBC-4 4.11.2; and of LOG SENSE and MODE SENSE what is tested below
    "READ CAPACITY(10)", "READ CAPACITY(16)", "REPORT SUPPORTED OPERATION CODES",
    "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS",
}  # fmt: skip
SANITIZES = {"SANITIZE, OVERWRITE", "SANITIZE, BLOCK ERASE", "SANITIZE, EXIT FAILURE MODE"}


def served(unit: LogicalUnit, host: Host, trouble: Asc) -> set[str]:
    """The rows of the unit's table that don't end with the trouble. With AUSE no SANITIZE begins after a failed one."""
    ause = {row: {"ause": 1} if row.name in SANITIZES else {} for row in unit.commands}
    return {row.name for row in unit.commands if host.run(row.layout.pack(**ause[row])).asc != trouble}


def test_who_is_served_while_the_medium_is_sanitized_or_formatted(paced: Paced) -> None:
    paced.overwrite(immed=1)
    assert served(paced.unit, paced.host, Asc.SANITIZE_IN_PROGRESS) == DURING_SANITIZE
    paced.finish()
    assert paced.ready().good
    paced.format()
    assert served(paced.unit, paced.host, Asc.FORMAT_IN_PROGRESS) == ALWAYS


@pytest.mark.parametrize(("page", "subpage", "good"), [(0x0D, 0, True), (0x0D, 0xFF, False), (0x2F, 0, False)])
def test_of_the_log_pages_the_temperature_is_told_meanwhile(paced: Paced, page: int, subpage: int, good: bool) -> None:
    paced.overwrite(immed=1)
    raw = cdb.LOG_SENSE.pack(page_code=page, subpage_code=subpage, pc=1, allocation_length=252)
    answer = paced.host.run(raw)
    assert answer.good is good and (good or answer.asc == Asc.SANITIZE_IN_PROGRESS)


@pytest.mark.parametrize("layout", [cdb.MODE_SENSE_6, cdb.MODE_SENSE_10])
@pytest.mark.parametrize(
    ("page", "subpage", "good"),
    [(0x08, 0, True), (0x0A, 0, True), (0x1C, 0, True), (0x0A, 1, False), (0x1C, 2, False), (0x01, 0, False),
     (0x3F, 0, False), (0x08, 0xFF, False)],
)  # fmt: skip
def test_of_the_mode_pages_three_are_told_meanwhile(
    paced: Paced, layout: Layout, page: int, subpage: int, good: bool
) -> None:
    paced.overwrite(immed=1)
    answer = paced.host.run(layout.pack(page_code=page, subpage_code=subpage, allocation_length=252))
    assert answer.good is good and (good or answer.asc == Asc.SANITIZE_IN_PROGRESS)


def test_after_a_failed_sanitize_the_same_are_served_and_another_sanitize(paced: Paced) -> None:
    paced.overwrite(immed=1)
    paced.backend.fail("write", errno.EIO)
    paced.finish()
    assert paced.ready().key == SenseKey.MEDIUM_ERROR
    assert served(paced.unit, paced.host, Asc.SANITIZE_COMMAND_FAILED) == DURING_SANITIZE | SANITIZES
    paced.overwrite(immed=1)
    paced.finish()
    assert paced.ready().good


def test_after_a_failed_format_whoever_needs_no_blocks_is_served(paced: Paced) -> None:
    """SBC-4 4.33.3.1: logical block access commands end with MEDIUM ERROR, MEDIUM FORMAT CORRUPTED."""
    pending = paced.host.send(cdb.FORMAT_UNIT.pack(fmtdata=1), bytes.fromhex("0088000000010001a5"))
    paced.backend.fail("write", errno.ENOTCONN)
    paced.finish()
    answer = pending.answer
    assert (answer.key, answer.asc) == (SenseKey.MEDIUM_ERROR, Asc.FORMAT_COMMAND_FAILED)
    for raw in (cdb.TEST_UNIT_READY.pack(), cdb.READ_10.pack(transfer_length=1), cdb.VERIFY_16.pack(), cdb.UNMAP.pack(),
                cdb.SYNCHRONIZE_CACHE_10.pack(), cdb.SANITIZE_BLOCK_ERASE.pack()):  # fmt: skip
        answer = paced.host.run(raw)
        assert (answer.key, answer.asc) == (SenseKey.MEDIUM_ERROR, Asc.MEDIUM_FORMAT_CORRUPTED)
    for raw in (cdb.MODE_SENSE_10.pack(page_code=0x3F, allocation_length=252), cdb.LOG_SENSE.pack(pc=1),
                cdb.READ_CAPACITY_16.pack(allocation_length=32), cdb.READ_KEYS.pack(allocation_length=8)):  # fmt: skip
        assert paced.host.run(raw).good
    paced.format()
    paced.finish()
    assert paced.ready().good


@pytest.mark.parametrize("immed", [0, 1])
@pytest.mark.parametrize(
    "function", [Function.ABORT_TASK, Function.ABORT_TASK_SET, Function.CLEAR_TASK_SET, Function.LOGICAL_UNIT_RESET]
)
def test_task_management_ends_the_command_and_not_the_operation(paced: Paced, immed: int, function: Function) -> None:
    pending = paced.overwrite(immed=immed)
    ended: list[ManagementResponse] = []
    tag = pending.command.tag
    paced.unit.manage(TaskManagement(function, paced.host.nexus, referenced_tag=tag), ended.append)
    assert len(ended) == 1
    if not immed:
        assert pending.responses == [ABORTED]
    if function is Function.LOGICAL_UNIT_RESET:
        assert paced.ready().asc == Asc.BUS_DEVICE_RESET
    assert paced.ready().asc == Asc.SANITIZE_IN_PROGRESS
    paced.finish()
    assert paced.ready().good


def test_a_lost_nexus_does_not_end_it(paced: Paced) -> None:
    pending = paced.overwrite()
    paced.unit.detach(paced.host.nexus)
    assert pending.responses == [ABORTED]
    assert Host(paced.unit).run(cdb.TEST_UNIT_READY.pack()).asc == Asc.SANITIZE_IN_PROGRESS
    paced.finish()
    assert Host(paced.unit).run(cdb.TEST_UNIT_READY.pack()).good


def test_it_begins_when_what_ran_before_has_ended_and_what_came_after_is_refused() -> None:
    backend = SlowBackend(memory(SIZE))
    unit = LogicalUnit(backend)
    host = Host(unit)
    before = host.send(cdb.WRITE_10.pack(transfer_length=1), b"b" * 512)
    sanitize = host.send(cdb.SANITIZE_OVERWRITE.pack(parameter_list_length=5), b"\1\0\0\1a")
    behind = host.send(cdb.WRITE_10.pack(transfer_length=1), b"c" * 512)
    assert unit.background.state is State.IDLE
    backend.step(0)
    assert before.answer.good
    assert behind.answer.asc == Asc.SANITIZE_IN_PROGRESS
    backend.run()
    assert sanitize.answer.good
    assert not unit.tasks.restless
    reading = host.send(cdb.READ_10.pack(transfer_length=1))
    backend.run()
    assert reading.answer.data == b"a" * 512


def test_an_error_is_told_and_the_unit_stays_failed(paced: Paced) -> None:
    pending = paced.overwrite()
    paced.backend.fail("write", errno.ENOSPC)
    paced.finish()
    answer = pending.answer
    assert (answer.key, answer.asc) == (SenseKey.MEDIUM_ERROR, Asc.SANITIZE_COMMAND_FAILED)  # SBC-4 4.11.4
    assert (paced.ready().key, paced.ready().asc) == (SenseKey.MEDIUM_ERROR, Asc.SANITIZE_COMMAND_FAILED)
    assert [type(error) for error in paced.reported] == [OSError]
    paced.overwrite(immed=1)
    paced.finish()
    assert paced.ready().good


def test_what_a_restart_interrupted_has_failed(paced: Paced) -> None:
    paced.overwrite(immed=1, ause=1)
    stopped: list[int] = []
    paced.unit.background.stop(lambda: stopped.append(1))
    assert stopped == [1]
    paced.finish()
    again = LogicalUnit(paced.backend)
    host = Host(again)
    assert host.run(cdb.TEST_UNIT_READY.pack()).asc == Asc.SANITIZE_COMMAND_FAILED
    assert host.run(cdb.SANITIZE_EXIT_FAILURE_MODE.pack()).good
    assert host.run(cdb.TEST_UNIT_READY.pack()).good
    assert Host(LogicalUnit(paced.backend)).run(cdb.TEST_UNIT_READY.pack()).good


def test_stop_waits_for_the_backend() -> None:
    backend = SlowBackend(memory(SIZE))
    unit = LogicalUnit(backend)
    Host(unit).send(cdb.SANITIZE_OVERWRITE.pack(immed=1, parameter_list_length=5), b"\1\0\0\1a")
    stopped: list[int] = []
    unit.background.stop(lambda: stopped.append(1))
    assert stopped == []
    backend.run()
    assert stopped == [1]


def test_stop_of_nothing_is_at_once() -> None:
    stopped: list[int] = []
    LogicalUnit(memory()).background.stop(lambda: stopped.append(1))
    assert stopped == [1]


def test_reservations_come_first(paced: Paced) -> None:
    other = Host(paced.unit, "iqn.b", attach=True)
    other.run(cdb.REQUEST_SENSE.pack(allocation_length=18))
    assert other.run(cdb.RESERVE_6.pack()).good
    assert paced.overwrite().answer.status == Status.RESERVATION_CONFLICT
    assert paced.unit.background.state is State.IDLE
