"""Sense formats byte by byte, field pointers, and the errno table."""

from __future__ import annotations

import errno

import pytest

from tcmu_gluster.errors import ScsiError
from tcmu_gluster.scsi import cdb, sense
from tcmu_gluster.scsi.command import Status
from tcmu_gluster.scsi.sense import (
    PROGRESS,
    READING,
    WRITING,
    Asc,
    InvalidFieldInCdb,
    InvalidFieldInParameterList,
    LbaOutOfRange,
    Miscompare,
    NotReady,
    SenseKey,
    error_of,
    pack_sense,
    parse_sense,
)


def test_fixed_format() -> None:
    # SPC-4 table 53
    assert pack_sense(5, 0x2400).hex() == "70000500000000 0a 00000000 2400 00 000000".replace(" ", "")


def test_fixed_format_with_information() -> None:
    raw = LbaOutOfRange(0x1234).sense()
    assert raw.hex() == "f0000500001234 0a 00000000 2100 00 000000".replace(" ", "")


def test_fixed_format_has_no_room_for_a_64_bit_lba() -> None:
    raw = LbaOutOfRange(1 << 32).sense()
    assert raw[0] == 0x70
    assert raw[3:7] == bytes(4)


def test_descriptor_format_with_a_64_bit_lba() -> None:
    # SPC-4 tables 48 and 40
    raw = LbaOutOfRange(1 << 32).sense(descriptor=True)
    assert raw.hex() == "72 05 21 00 000000 0c  00 0a 80 00 0000000100000000".replace(" ", "")


def test_descriptor_format_with_field_pointer_and_command_specific() -> None:
    pointer = b"\xc8\0\2"
    raw = pack_sense(5, 0x2400, command_specific=7, key_specific=pointer, descriptor=True)
    assert raw.hex() == ("72 05 24 00 000000 14  01 0a 00 00 0000000000000007  02 06 00 00 c80002 00".replace(" ", ""))


def test_field_pointer_of_a_byte_and_of_a_bit() -> None:
    error = InvalidFieldInCdb("allocation_length")
    error.locate(cdb.INQUIRY)
    assert error.sense()[15:18] == bytes.fromhex("c00003")  # SKSV, C/D, no bit; byte 3
    error = InvalidFieldInCdb("rdprotect")
    error.locate(cdb.READ_10)
    assert error.sense()[15:18] == bytes.fromhex("cf0001")  # bit 7 of byte 1


def test_field_pointer_into_a_parameter_list() -> None:
    error = InvalidFieldInParameterList((3, 6), base=12)
    assert error.sense()[15:18] == bytes.fromhex("8e000f")  # SKSV, not C/D, bit 6; byte 15


def test_an_unknown_field_name_gives_no_pointer() -> None:
    error = InvalidFieldInCdb("no_such_field")
    error.locate(cdb.INQUIRY)
    assert error.sense()[15:18] == bytes(3)


def test_progress_indication() -> None:
    raw = NotReady(Asc.OPERATION_IN_PROGRESS, key_specific=bytes(PROGRESS.pack(progress_indication=0x8000))).sense()
    assert raw[15:18] == bytes.fromhex("808000")


@pytest.mark.parametrize("descriptor", [False, True])
def test_parse_sense_reads_both_formats(descriptor: bool) -> None:
    assert parse_sense(Miscompare(5).sense(descriptor)) == (SenseKey.MISCOMPARE, Asc.MISCOMPARE_DURING_VERIFY)


def test_errors_say_what_they_are() -> None:
    assert str(LbaOutOfRange(16)) == "ILLEGAL REQUEST, LBA OUT OF RANGE (information 0x10)"
    assert str(InvalidFieldInCdb("fua")).endswith(": fua")
    assert str(sense.Busy()) == "BUSY"
    assert issubclass(sense.Busy, ScsiError)


@pytest.mark.parametrize(
    ("number", "direction", "key", "asc"),
    [
        (errno.EIO, READING, 0x3, 0x1100),
        (errno.EIO, WRITING, 0x3, 0x0C00),
        (errno.ENOSPC, WRITING, 0x7, 0x2707),
        (errno.EDQUOT, WRITING, 0x7, 0x2707),
        (errno.EROFS, WRITING, 0x7, 0x2700),
        (errno.EACCES, WRITING, 0x7, 0x2700),
        (errno.EACCES, READING, 0x2, 0x0403),
        (errno.ESTALE, READING, 0x2, 0x0403),
        (errno.ENOENT, WRITING, 0x2, 0x0403),
        (errno.ENOTTY, WRITING, 0x4, 0x4400),
    ],
)
def test_errno_as_sense(number: int, direction: str, key: int, asc: int) -> None:
    response = error_of(OSError(number, "x"), direction).response()
    assert response.status == Status.CHECK_CONDITION
    assert parse_sense(response.sense) == (key, asc)


@pytest.mark.parametrize("direction", [READING, WRITING])
@pytest.mark.parametrize("number", [errno.ENOTCONN, errno.ETIMEDOUT, errno.ESHUTDOWN, errno.EAGAIN, errno.ENOMEM])
def test_what_passes_by_itself_is_busy_so_that_hosts_try_again(number: int, direction: str) -> None:
    assert error_of(OSError(number, "x"), direction).response().status == Status.BUSY


@pytest.mark.parametrize("direction", [READING, WRITING])
def test_no_errno_is_good(direction: str) -> None:
    for number in [0, *errno.errorcode]:
        assert error_of(OSError(number, "x"), direction).response().status != Status.GOOD
    assert error_of(OSError("short transfer"), direction).response().status != Status.GOOD
