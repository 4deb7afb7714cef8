"""LUN maps, views, and what is answered where there is no unit."""

from __future__ import annotations

import pytest

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.command import ABORTED, Function, ManagementResponse, Status, TaskManagement
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.sense import Asc, SenseKey
from tcmu_gluster.scsi.target import Target
from tests.doubles.backends import SlowBackend
from tests.doubles.host import Host, memory

NAME = "iqn.2026-11.test:t"


def luns(host: Host, lun: int = 0, **fields: int) -> list[str]:
    data = host.run(cdb.REPORT_LUNS.pack(allocation_length=4096, **fields), lun=lun).data
    assert int.from_bytes(data[:4], "big") == len(data) - 8
    return [data[at : at + 8].hex() for at in range(8, len(data), 8)]


def heard(host: Host, lun: int) -> object:
    """The next unit attention at a LUN, None if there is none."""
    return host.run(cdb.TEST_UNIT_READY.pack(), lun=lun).asc


def test_commands_go_to_their_unit() -> None:
    one, two = LogicalUnit(memory(1 << 20)), LogicalUnit(memory(2 << 20))
    host = Host(Target(NAME, {0: one, 7: two}))
    assert host.run(cdb.READ_CAPACITY_10.pack()).data[:4].hex() == "000007ff"
    assert host.run(cdb.READ_CAPACITY_10.pack(), lun=7).data[:4].hex() == "00000fff"


def test_report_luns() -> None:
    unit = LogicalUnit(memory())
    host = Host(Target(NAME, {300: unit, 0: unit, 5: unit}), attach=True)
    assert luns(host) == ["0000000000000000", "0005000000000000", "412c000000000000"]
    assert luns(host, lun=5) == luns(host)
    assert luns(host, select_report=1) == []
    assert luns(host, select_report=2) == luns(host)


# -- no unit -----------------------------------------------------------------------------------------------------


def test_lun_0_without_unit_lets_a_host_find_lun_1() -> None:
    host = Host(Target(NAME, {1: LogicalUnit(memory())}), attach=True)
    data = host.run(cdb.INQUIRY.pack(allocation_length=36)).data
    assert data[0] == 0x7F  # qualifier 011b, type 1Fh
    assert len(data) == 36
    assert luns(host) == ["0001000000000000"]
    answer = host.run(cdb.REQUEST_SENSE.pack(allocation_length=18))
    assert answer.good
    assert (answer.data[2], answer.data[12:14].hex()) == (SenseKey.ILLEGAL_REQUEST, "2500")


def test_an_empty_target_reports_no_luns() -> None:
    assert luns(Host(Target(NAME))) == []


@pytest.mark.parametrize("lun", [0, 3, -1])
@pytest.mark.parametrize("layout", [cdb.TEST_UNIT_READY, cdb.READ_10, cdb.READ_CAPACITY_16, cdb.MODE_SENSE_6],
                         ids=lambda layout: layout.name)  # fmt: skip
def test_everything_else_is_not_supported_there(lun: int, layout: object) -> None:
    host = Host(Target(NAME, {1: LogicalUnit(memory())}))
    answer = host.run(layout.pack(), lun=lun)
    assert (answer.key, answer.asc) == (SenseKey.ILLEGAL_REQUEST, Asc.LOGICAL_UNIT_NOT_SUPPORTED)


def test_report_luns_at_another_missing_lun_is_not_supported() -> None:
    answer = Host(Target(NAME)).run(cdb.REPORT_LUNS.pack(allocation_length=16), lun=4)
    assert answer.asc == Asc.LOGICAL_UNIT_NOT_SUPPORTED


@pytest.mark.parametrize(
    ("raw", "pointer"),
    [
        (cdb.INQUIRY.pack(evpd=1, page_code=0x80, allocation_length=96), (2, None)),
        (cdb.REPORT_LUNS.pack(select_report=3, allocation_length=16), (2, None)),
        (b"", None),
        (b"\x12\0", None),
    ],
)
def test_bad_fields_without_a_unit(raw: bytes, pointer: object) -> None:
    answer = Host(Target(NAME)).run(raw)
    expected = Asc.INVALID_FIELD_IN_CDB if raw else Asc.LOGICAL_UNIT_NOT_SUPPORTED
    assert (answer.status, answer.asc, answer.pointer) == (Status.CHECK_CONDITION, expected, pointer)


# -- the map changes ---------------------------------------------------------------------------------------------


def test_a_new_lun_is_heard_and_reported() -> None:
    target = Target(NAME, {0: LogicalUnit(memory())})
    host = Host(target, attach=True)
    assert heard(host, 0) == Asc.POWER_ON_OCCURRED
    target.map(1, LogicalUnit(memory()))
    assert heard(host, 0) == Asc.REPORTED_LUNS_DATA_CHANGED
    assert heard(host, 1) == Asc.POWER_ON_OCCURRED
    assert luns(host) == ["0000000000000000", "0001000000000000"]
    with pytest.raises(ValueError, match="taken"):
        target.map(1, LogicalUnit(memory()))


def test_report_luns_clears_what_it_answers() -> None:
    target = Target(NAME, {0: LogicalUnit(memory())})
    host = Host(target, attach=True)
    heard(host, 0)
    target.map(1, LogicalUnit(memory()))
    luns(host)
    assert heard(host, 0) is None


def three_luns() -> tuple[Target, Host]:
    """A target that got a third LUN, and a host that has heard all but that."""
    target = Target(NAME, {lun: LogicalUnit(memory()) for lun in (1, 2)})
    host = Host(target, attach=True)
    assert [heard(host, lun) for lun in (1, 2)] == [Asc.POWER_ON_OCCURRED] * 2
    target.map(3, LogicalUnit(memory()))
    return target, host


@pytest.mark.parametrize("raw", [cdb.TEST_UNIT_READY.pack(), cdb.REQUEST_SENSE.pack(allocation_length=18)])
def test_changed_luns_are_heard_at_one_of_them_and_then_known_for_all(raw: bytearray) -> None:
    _, host = three_luns()  # LUICLR: SPC-4 7.8.7
    answer = host.run(raw, lun=2)
    assert Asc.REPORTED_LUNS_DATA_CHANGED.to_bytes(2, "big") in (answer.sense or answer.data)
    assert [heard(host, lun) for lun in (1, 2)] == [None, None]
    assert heard(host, 3) == Asc.POWER_ON_OCCURRED


@pytest.mark.parametrize("lun", [0, 1])
def test_report_luns_clears_it_at_every_lun_and_nothing_else(lun: int) -> None:
    target, host = three_luns()
    target.luns[2].capacity_changed()
    other = Host(target, "iqn.2026-11.test:other", attach=True)
    heard(other, 1)
    target.map(4, LogicalUnit(memory()))
    luns(host, lun=lun)
    assert [heard(host, one) for one in (1, 2)] == [None, Asc.CAPACITY_DATA_CHANGED]
    assert heard(other, 1) == Asc.REPORTED_LUNS_DATA_CHANGED  # that is for another nexus


def test_an_unmapped_lun_is_gone_when_its_tasks_are() -> None:
    backend = SlowBackend(memory())
    unit = LogicalUnit(backend)
    target = Target(NAME, {0: LogicalUnit(memory()), 1: unit})
    host = Host(target, attach=True)
    heard(host, 1)
    task = host.send(cdb.WRITE_10.pack(transfer_length=1), bytes(512), lun=1)
    gone: list[str] = []
    assert target.unmap(1, lambda: gone.append("gone")) is unit
    assert gone == []
    backend.run()
    assert gone == ["gone"]
    assert task.responses == [ABORTED]
    assert heard(host, 1) == Asc.LOGICAL_UNIT_NOT_SUPPORTED
    with pytest.raises(KeyError):
        target.unmap(1)


def test_a_nexus_may_have_a_view_of_its_own() -> None:
    shared, own = LogicalUnit(memory()), LogicalUnit(memory())
    target = Target(NAME, {0: shared, 1: own})
    limited, full = Host(target, "iqn.a"), Host(target, "iqn.b", attach=True)
    target.attach(limited.nexus, {0: own, 9: shared}, write_protected=[9], attention=None)
    assert luns(limited) == ["0000000000000000", "0009000000000000"]
    assert luns(full) == ["0000000000000000", "0001000000000000"]
    assert limited.run(cdb.WRITE_10.pack(transfer_length=1), bytes(512), lun=9).asc == Asc.WRITE_PROTECTED
    assert limited.run(cdb.WRITE_10.pack(transfer_length=1), bytes(512), lun=0).good
    target.map(2, LogicalUnit(memory()))
    assert heard(limited, 0) is None


def test_detaching_a_nexus_with_nothing_running_is_done_at_once() -> None:
    target = Target(NAME, {0: LogicalUnit(memory())})
    host = Host(target, attach=True)
    gone: list[str] = []
    target.detach(host.nexus, lambda: gone.append("gone"))
    target.detach(host.nexus, lambda: gone.append("again"))
    assert gone == ["gone", "again"]


# -- task management ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "asc"),
    [
        (Function.TARGET_WARM_RESET, Asc.SCSI_BUS_RESET_OCCURRED),
        (Function.TARGET_COLD_RESET, Asc.POWER_ON_OCCURRED),
    ],
)
def test_target_resets_end_every_task_of_every_unit(function: Function, asc: Asc) -> None:
    backends = [SlowBackend(memory()), SlowBackend(memory())]
    target = Target(NAME, {lun: LogicalUnit(backend) for lun, backend in enumerate(backends)})
    host = Host(target, attach=True)
    assert [heard(host, lun) for lun in (0, 1)] == [Asc.POWER_ON_OCCURRED] * 2
    tasks = [host.send(cdb.WRITE_10.pack(transfer_length=1), bytes(512), lun=lun) for lun in (0, 1)]
    answers: list[int] = []
    target.manage(TaskManagement(function, host.nexus), answers.append)
    backends[1].run()
    assert answers == []
    backends[0].run()
    assert answers == [ManagementResponse.FUNCTION_COMPLETE]
    assert [task.responses for task in tasks] == [[ABORTED]] * 2
    assert [heard(host, lun) for lun in (0, 1)] == [asc] * 2


def test_task_management_of_a_lun_that_is_not_there() -> None:
    target = Target(NAME)
    host = Host(target, attach=True)
    answers: list[int] = []
    target.manage(TaskManagement(Function.LOGICAL_UNIT_RESET, host.nexus, lun=3), answers.append)
    target.manage(TaskManagement(Function.TARGET_WARM_RESET, host.nexus), answers.append)
    assert answers == [ManagementResponse.LUN_DOES_NOT_EXIST, ManagementResponse.FUNCTION_COMPLETE]


def test_task_management_reaches_the_unit() -> None:
    target = Target(NAME, {2: LogicalUnit(memory())})
    host = Host(target, attach=True)
    answers: list[int] = []
    target.manage(TaskManagement(Function.ABORT_TASK, host.nexus, lun=2, referenced_tag=77), answers.append)
    assert answers == [ManagementResponse.TASK_DOES_NOT_EXIST]
