"""Identifying information, timestamps, the list of task management functions."""

from __future__ import annotations

import errno

import pytest

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.command import Function, Status, TaskManagement
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.maintenance import Identification
from tcmu_gluster.scsi.persistence import DamagedRecord
from tcmu_gluster.scsi.sense import Asc, SenseKey
from tests.doubles.backends import FaultyBackend
from tests.doubles.host import Answer, Host, memory


class Watch:
    """A clock that stands still until somebody moves it."""

    now = 1_700_000_000.5

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def unit(watch: Watch) -> LogicalUnit:
    return LogicalUnit(memory(), clock=watch)


@pytest.fixture
def host(unit: LogicalUnit) -> Host:
    return Host(unit)


def refused(answer: Answer, asc: Asc, pointer: object = None) -> None:
    assert (answer.status, answer.key, answer.asc) == (Status.CHECK_CONDITION, SenseKey.ILLEGAL_REQUEST, asc)
    assert answer.pointer == pointer


# -- identifying information -------------------------------------------------------------------------------------


def identify(host: Host, value: bytes, kind: int = 0) -> Answer:
    raw = cdb.SET_IDENTIFYING_INFORMATION.pack(information_type=kind, parameter_list_length=len(value))
    return host.run(raw, value, views=2)


def identified(host: Host, kind: int = 0, length: int = 1024) -> bytes:
    raw = cdb.REPORT_IDENTIFYING_INFORMATION.pack(information_type=kind, allocation_length=length)
    return host.run(raw).data


def test_the_cdb_says_the_type_in_bits_7_to_1_of_byte_10() -> None:
    raw = cdb.SET_IDENTIFYING_INFORMATION.pack(information_type=1, parameter_list_length=3)
    assert raw.hex() == "a406" + "00000000" + "00000003" + "02" + "00"  # SPC-4 6.43


def test_information_is_returned_as_it_was_set(host: Host) -> None:
    assert identified(host).hex() == "00000000"
    assert identify(host, b"rack 7").good
    assert identified(host) == b"\0\0\0\x06rack 7"
    assert identified(host, length=7) == b"\0\0\0\x06rac"
    assert identify(host, b"").good
    assert identified(host).hex() == "00000000"


def test_text_is_kept_apart(host: Host) -> None:
    assert identify(host, "Schränke\0".encode(), 2).good
    assert identified(host, 2)[4:].decode() == "Schränke\0"
    assert identified(host, 0).hex() == "00000000"


@pytest.mark.parametrize(("text", "at"), [(b"no zero", 6), (b"ab\xff\0", 2)])
def test_text_that_is_none_is_pointed_at(host: Host, text: bytes, at: int) -> None:
    refused(identify(host, text, 2), Asc.INVALID_FIELD_IN_PARAMETER_LIST, (at, None))


def test_which_types_there_are(host: Host) -> None:
    # SPC-4 table 60: type 0000000b at most 512 bytes, type 0000010b at most 256 (in bits 7 to 1)
    assert identified(host, 0x7F).hex() == "00000008" + "00000200" + "04000100"


@pytest.mark.parametrize("kind", [1, 3, 4, 0x7E])
def test_other_types_are_refused(host: Host, kind: int) -> None:
    refused(identify(host, b"x", kind), Asc.INVALID_FIELD_IN_CDB, (10, 7))
    raw = cdb.REPORT_IDENTIFYING_INFORMATION.pack(information_type=kind, allocation_length=9)
    refused(host.run(raw), Asc.INVALID_FIELD_IN_CDB, (10, 7))


def test_lists_that_are_too_long_or_cut(host: Host) -> None:
    refused(identify(host, bytes(513)), Asc.INVALID_FIELD_IN_CDB, (6, None))
    raw = cdb.SET_IDENTIFYING_INFORMATION.pack(parameter_list_length=9)
    refused(host.run(raw, bytes(8)), Asc.PARAMETER_LIST_LENGTH_ERROR)
    assert identify(host, bytes(512)).good


def test_information_outlasts_the_unit_and_the_others_hear_of_it() -> None:
    backend = memory()
    unit = LogicalUnit(backend)
    one, two = Host(unit, "iqn.a", attach=True), Host(unit, "iqn.b", attach=True)
    for each in (one, two):
        each.run(cdb.TEST_UNIT_READY.pack())
    assert identify(one, b"x").good
    assert one.run(cdb.TEST_UNIT_READY.pack()).good
    assert two.run(cdb.TEST_UNIT_READY.pack()).asc == Asc.DEVICE_IDENTIFIER_CHANGED
    assert identified(Host(LogicalUnit(backend)))[4:] == b"x"


def test_information_that_could_not_be_kept_is_not_there() -> None:
    faulty = FaultyBackend(memory())
    host = Host(LogicalUnit(faulty))
    faulty.fail("store_sidecar", errno.EROFS)
    assert identify(host, b"x").key == SenseKey.DATA_PROTECT
    assert identified(host).hex() == "00000000"


@pytest.mark.parametrize("section", [5, {"text": "xx"}, {"information": 7}])
def test_a_section_that_makes_no_sense_is_damage(section: object) -> None:
    with pytest.raises(DamagedRecord):
        Identification().restore(section)


# -- timestamp -----------------------------------------------------------------------------------------------------


def timestamp(host: Host) -> tuple[int, int]:
    """(origin, milliseconds)."""
    data = host.run(cdb.REPORT_TIMESTAMP.pack(allocation_length=255)).data
    assert len(data) == 12
    assert data[:2].hex() == "000a"
    return data[2], int.from_bytes(data[4:10], "big")


def set_timestamp(host: Host, milliseconds: int) -> Answer:
    data = bytes(4) + milliseconds.to_bytes(6, "big") + bytes(2)
    return host.run(cdb.SET_TIMESTAMP.pack(parameter_list_length=12), data)


def test_the_time_is_the_machines_until_it_is_set(host: Host, unit: LogicalUnit, watch: Watch) -> None:
    assert timestamp(host) == (0b011, 1_700_000_000_500)
    assert set_timestamp(host, 5_000).good
    assert timestamp(host) == (0b010, 5_000)
    watch.now += 2
    assert timestamp(host) == (0b010, 7_000)
    unit.manage(TaskManagement(Function.LOGICAL_UNIT_RESET, host.nexus), lambda response: None)
    assert timestamp(host) == (0b010, 7_000)
    unit.reset(Asc.SCSI_BUS_RESET_OCCURRED, None, lambda: None)  # the target's: a hard reset initializes it
    assert timestamp(host) == (0b011, 1_700_000_002_500)


def test_the_others_hear_that_the_time_was_set(unit: LogicalUnit) -> None:
    one, two = Host(unit, "iqn.a", attach=True), Host(unit, "iqn.b", attach=True)
    for each in (one, two):
        each.run(cdb.TEST_UNIT_READY.pack())
    assert set_timestamp(one, 1).good
    assert one.run(cdb.TEST_UNIT_READY.pack()).good
    assert two.run(cdb.TEST_UNIT_READY.pack()).asc == Asc.TIMESTAMP_CHANGED


@pytest.mark.parametrize("first", [0xF0, 0xF1, 0xFF])
def test_a_time_that_far_ahead_is_refused(unit: LogicalUnit, first: int) -> None:
    """SPC-4 6.46: the high order byte is at most F0h."""
    one, two = Host(unit, "iqn.a", attach=True), Host(unit, "iqn.b", attach=True)
    for each in (one, two):
        each.run(cdb.TEST_UNIT_READY.pack())
    answer = set_timestamp(one, first << 40)
    if first == 0xF0:
        assert answer.good and timestamp(one) == (0b010, first << 40)
        return
    refused(answer, Asc.INVALID_FIELD_IN_PARAMETER_LIST, (4, None))
    assert timestamp(one)[0] == 0b011 and two.run(cdb.TEST_UNIT_READY.pack()).good


def test_lists_of_another_length_are_refused(host: Host) -> None:
    refused(host.run(cdb.SET_TIMESTAMP.pack(parameter_list_length=11), bytes(11)), Asc.INVALID_FIELD_IN_CDB, (6, None))
    refused(host.run(cdb.SET_TIMESTAMP.pack(parameter_list_length=12), bytes(11)), Asc.PARAMETER_LIST_LENGTH_ERROR)
    assert host.run(cdb.SET_TIMESTAMP.pack()).good
    assert timestamp(host)[0] == 0b011


def test_a_unit_without_a_clock_has_no_timestamp() -> None:
    host = Host(LogicalUnit(memory()))
    assert host.run(cdb.REPORT_TIMESTAMP.pack(allocation_length=12)).asc == Asc.INVALID_FIELD_IN_CDB


# -- task management functions -----------------------------------------------------------------------------------


def functions(host: Host, **fields: int) -> Answer:
    return host.run(cdb.REPORT_SUPPORTED_TASK_MANAGEMENT_FUNCTIONS.pack(**fields))


def test_which_functions_there_are(host: Host) -> None:
    # SPC-4 6.36: ATS, ATSS, CTSS, LURS; no CACAS
    assert functions(host, allocation_length=255).data.hex() == "d8000000"
    assert functions(host, allocation_length=255, repd=1).data.hex() == "d800000c" + "00" * 12


@pytest.mark.parametrize("length", [0, 1, 3])
def test_less_room_than_the_list_takes_is_refused(host: Host, length: int) -> None:
    refused(functions(host, allocation_length=length), Asc.INVALID_FIELD_IN_CDB, (6, None))
