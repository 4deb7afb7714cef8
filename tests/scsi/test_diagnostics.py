"""SEND DIAGNOSTIC, RECEIVE DIAGNOSTIC RESULTS, READ BUFFER, WRITE BUFFER."""

from __future__ import annotations

import errno

import pytest

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.sense import Asc, SenseKey
from tests.doubles.backends import FaultyBackend
from tests.doubles.host import Answer, Host, memory

DATA, DESCRIPTOR, ECHO, ECHO_DESCRIPTOR = 0x02, 0x03, 0x0A, 0x0B


@pytest.fixture
def unit() -> LogicalUnit:
    return LogicalUnit(memory())


@pytest.fixture
def host(unit: LogicalUnit) -> Host:
    return Host(unit)


def write_buffer(host: Host, mode: int, data: bytes, **fields: int) -> Answer:
    fields.setdefault("parameter_list_length", len(data))
    return host.run(cdb.WRITE_BUFFER.pack(mode=mode, **fields), data)


def read_buffer(host: Host, mode: int, allocation_length: int = 8192, **fields: int) -> Answer:
    return host.run(cdb.READ_BUFFER.pack(mode=mode, allocation_length=allocation_length, **fields))


def test_self_test_reads_the_first_and_the_last_block() -> None:
    backend = FaultyBackend(memory())
    host = Host(LogicalUnit(backend))
    raw = cdb.SEND_DIAGNOSTIC.pack(selftest=1)
    assert raw.hex() == "1d0400000000"
    assert host.run(raw).good
    backend.fail("read", errno.EIO)
    answer = host.run(raw)
    assert (answer.key, answer.asc) == (SenseKey.HARDWARE_ERROR, Asc.FAILED_SELF_TEST)


def test_the_page_of_pages(host: Host) -> None:
    assert host.run(cdb.SEND_DIAGNOSTIC.pack(pf=1, parameter_list_length=4), bytes(4)).good
    raw = cdb.RECEIVE_DIAGNOSTIC_RESULTS.pack(pcv=1, page_code=0, allocation_length=252)
    assert raw.hex() == "1c010000fc00"
    assert host.run(raw).data.hex() == "0000000100"


@pytest.mark.parametrize(
    ("fields", "data", "asc", "pointer"),
    [
        ({"self_test_code": 1}, b"", Asc.INVALID_FIELD_IN_CDB, (1, 7)),
        ({"selftest": 1, "parameter_list_length": 4}, bytes(4), Asc.INVALID_FIELD_IN_CDB, (3, None)),
        ({"parameter_list_length": 3}, bytes(3), Asc.INVALID_FIELD_IN_CDB, (3, None)),  # SPC-4 table 320: truncated
        ({"parameter_list_length": 7}, bytes.fromhex("40000004000000"), Asc.INVALID_FIELD_IN_CDB, (3, None)),
        ({"parameter_list_length": 8}, bytes(4), Asc.PARAMETER_LIST_LENGTH_ERROR, None),
        ({"parameter_list_length": 4}, b"\x40\0\0\0", Asc.INVALID_FIELD_IN_PARAMETER_LIST, (0, None)),
        ({"parameter_list_length": 5}, b"\0\0\0\1x", Asc.INVALID_FIELD_IN_PARAMETER_LIST, (2, None)),
    ],
)
def test_send_diagnostic_refusals(host: Host, fields: dict[str, int], data: bytes, asc: Asc, pointer: object) -> None:
    answer = host.run(cdb.SEND_DIAGNOSTIC.pack(**fields), data)
    assert (answer.asc, answer.pointer) == (asc, pointer)


def test_other_diagnostic_pages_are_refused(host: Host) -> None:
    answer = host.run(cdb.RECEIVE_DIAGNOSTIC_RESULTS.pack(pcv=1, page_code=0x40, allocation_length=252))
    assert (answer.asc, answer.pointer) == (Asc.INVALID_FIELD_IN_CDB, (2, None))


def test_echo_comes_back(host: Host) -> None:
    assert write_buffer(host, ECHO, b"hello").good
    assert read_buffer(host, ECHO).data == b"hello"
    assert read_buffer(host, ECHO, 2).data == b"he"


def test_echo_of_nothing_is_out_of_sequence(host: Host) -> None:
    answer = read_buffer(host, ECHO)
    assert (answer.key, answer.asc) == (SenseKey.ILLEGAL_REQUEST, Asc.COMMAND_SEQUENCE_ERROR)


def test_every_nexus_has_its_own_echo(unit: LogicalUnit) -> None:
    one, two = Host(unit, "iqn.a"), Host(unit, "iqn.b")
    write_buffer(one, ECHO, b"one")
    write_buffer(two, ECHO, b"two")
    assert read_buffer(one, ECHO).data == b"one"
    unit.detach(one.nexus)
    assert read_buffer(one, ECHO).asc == Asc.COMMAND_SEQUENCE_ERROR


def test_descriptors(host: Host) -> None:
    """SPC-4 6.18: 4096 bytes from any offset; the echo buffer has as many, and is each nexus's own (EBOS)."""
    assert read_buffer(host, DESCRIPTOR).data.hex() == "00001000"
    assert read_buffer(host, DESCRIPTOR, buffer_id=1).data.hex() == "00000000"
    assert read_buffer(host, ECHO_DESCRIPTOR).data.hex() == "01001000"


def test_data_mode_has_offsets(host: Host) -> None:
    assert write_buffer(host, DATA, b"xyz", buffer_offset=4).good
    assert write_buffer(host, DATA, b"Y", buffer_offset=5).good
    assert read_buffer(host, DATA, 8).data == b"\0\0\0\0xYz\0"
    assert read_buffer(host, DATA, buffer_offset=4094).data == b"\0\0"
    assert read_buffer(host, DATA, buffer_offset=4096).good


def test_buffer_refusals(host: Host) -> None:
    assert write_buffer(host, 0x05, b"microcode").pointer == (1, 4)
    assert write_buffer(host, ECHO, bytes(4097)).asc == Asc.INVALID_FIELD_IN_CDB
    assert write_buffer(host, DATA, b"x", buffer_offset=4097).asc == Asc.INVALID_FIELD_IN_CDB
    assert write_buffer(host, DATA, b"x", buffer_id=1).pointer == (2, None)
    assert write_buffer(host, ECHO, b"x", parameter_list_length=2).asc == Asc.PARAMETER_LIST_LENGTH_ERROR
    assert read_buffer(host, 0x1C).pointer == (1, 4)
    assert read_buffer(host, DATA, buffer_offset=4097).asc == Asc.INVALID_FIELD_IN_CDB
