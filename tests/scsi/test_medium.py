"""Media that go and stay: START STOP UNIT, PREVENT ALLOW MEDIUM REMOVAL, READ DEFECT DATA."""

from __future__ import annotations

import pytest

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.command import Function, TaskManagement
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.sense import Asc, SenseKey
from tests.doubles.backends import RecordingBackend
from tests.doubles.host import Answer, Host, memory

EJECT, LOAD = {"loej": 1, "start": 0}, {"loej": 1, "start": 1}


@pytest.fixture
def unit() -> LogicalUnit:
    return LogicalUnit(memory(), UnitOptions(removable=True))


@pytest.fixture
def host(unit: LogicalUnit) -> Host:
    return attached(unit, "iqn.a")


def attached(unit: LogicalUnit, name: str) -> Host:
    host = Host(unit, name, attach=True)
    host.run(cdb.REQUEST_SENSE.pack(allocation_length=18))  # what it hears first
    return host


def start_stop(host: Host, **fields: int) -> Answer:
    return host.run(cdb.START_STOP_UNIT.pack(**fields))


def prevent(host: Host, value: int) -> Answer:
    return host.run(cdb.PREVENT_ALLOW_MEDIUM_REMOVAL.pack(prevent=value))


def test_ejected_medium_is_not_present_until_it_is_loaded(host: Host) -> None:
    assert start_stop(host, **EJECT).good
    for raw in (cdb.TEST_UNIT_READY.pack(), cdb.READ_10.pack(transfer_length=1), cdb.READ_CAPACITY_10.pack()):
        answer = host.run(raw)
        assert (answer.key, answer.asc) == (SenseKey.NOT_READY, Asc.MEDIUM_NOT_PRESENT)
    assert host.run(cdb.INQUIRY.pack(allocation_length=96)).good
    assert start_stop(host, **LOAD).good
    assert host.run(cdb.TEST_UNIT_READY.pack()).good


def test_the_others_hear_of_a_medium_that_was_loaded(unit: LogicalUnit, host: Host) -> None:
    other = attached(unit, "iqn.b")
    start_stop(host, **EJECT)
    start_stop(host, **LOAD)
    assert other.run(cdb.TEST_UNIT_READY.pack()).asc == Asc.MEDIUM_MAY_HAVE_CHANGED
    assert other.run(cdb.TEST_UNIT_READY.pack()).good
    assert start_stop(host, **LOAD).good  # is loaded already
    assert other.run(cdb.TEST_UNIT_READY.pack()).good


def test_ejecting_flushes_unless_told_not_to() -> None:
    backend = RecordingBackend(memory())
    host = Host(LogicalUnit(backend, UnitOptions(removable=True)))
    start_stop(host, **EJECT)
    assert backend.names() == ["flush"]
    start_stop(host, **LOAD)
    start_stop(host, **EJECT, no_flush=1)
    assert backend.names() == ["flush"]


@pytest.mark.parametrize("move", [EJECT, LOAD])
def test_prevented_removal(unit: LogicalUnit, host: Host, move: dict[str, int]) -> None:
    other = attached(unit, "iqn.b")
    assert prevent(host, 1).good
    for one in (host, other):
        answer = start_stop(one, **move)
        assert (answer.key, answer.asc) == (SenseKey.ILLEGAL_REQUEST, Asc.MEDIUM_REMOVAL_PREVENTED)
    assert prevent(other, 0).good  # speaks for itself alone
    assert start_stop(other, **move).asc == Asc.MEDIUM_REMOVAL_PREVENTED
    assert prevent(host, 0).good
    assert start_stop(other, **move).good


def test_a_lost_nexus_prevents_nothing_any_more(unit: LogicalUnit, host: Host) -> None:
    prevent(host, 1)
    unit.detach(host.nexus)
    assert start_stop(attached(unit, "iqn.b"), **EJECT).good


def test_a_reset_ends_prevention(unit: LogicalUnit, host: Host) -> None:
    prevent(host, 1)
    unit.manage(TaskManagement(Function.LOGICAL_UNIT_RESET, host.nexus), lambda response: None)
    host.run(cdb.REQUEST_SENSE.pack(allocation_length=18))
    assert start_stop(host, **EJECT).good


@pytest.mark.parametrize("value", [2, 3])
def test_obsolete_values_of_prevent(host: Host, value: int) -> None:
    answer = prevent(host, value)
    assert (answer.asc, answer.pointer) == (Asc.INVALID_FIELD_IN_CDB, (4, 1))


def test_a_fixed_disk_has_neither() -> None:
    host = Host(LogicalUnit(memory()))
    assert prevent(host, 1).asc == Asc.INVALID_COMMAND_OPERATION_CODE
    assert start_stop(host, **EJECT).pointer == (4, 1)


def test_defect_lists_are_empty(host: Host) -> None:
    """SBC-3 5.17 and 5.18: a header that repeats what was asked for, and no list."""
    raw = cdb.READ_DEFECT_DATA_10.pack(req_plist=1, defect_list_format=5, allocation_length=252)
    assert raw.hex() == "37001500000000" + "00fc" + "00"
    assert host.run(raw).data.hex() == "00150000"
    raw = cdb.READ_DEFECT_DATA_12.pack(req_glist=1, defect_list_format=3, allocation_length=252)
    assert raw.hex() == "b70b" + "00000000" + "000000fc" + "0000"
    assert host.run(raw).data.hex() == "000b000000000000"


@pytest.mark.parametrize("power_condition", range(1, 16))
@pytest.mark.parametrize("modifier", range(16))
def test_power_conditions_of_a_fixed_disk(power_condition: int, modifier: int) -> None:
    """SBC-4 table 114; the timers that FORCE_IDLE_0 and FORCE_STANDBY_0 want are not supported (note e)."""
    known = {0x1: {0}, 0x2: {0, 1, 2}, 0x3: {0, 1}, 0x7: {0}}
    host = Host(LogicalUnit(memory()))
    answer = start_stop(host, power_condition=power_condition, power_condition_modifier=modifier, start=1)
    if modifier in known.get(power_condition, ()):
        assert answer.good
    else:
        assert answer.asc == Asc.INVALID_FIELD_IN_CDB
        assert answer.pointer == ((3, 3) if power_condition in known else (4, 7))


@pytest.mark.parametrize("power_condition", range(1, 16))
def test_beside_a_power_condition_loej_is_ignored(host: Host, power_condition: int) -> None:
    """SBC-3 5.25: START and LOEJ are ignored if POWER CONDITION is not 0."""
    assert start_stop(host, power_condition=power_condition, **EJECT).good
    assert host.run(cdb.TEST_UNIT_READY.pack()).good
