"""CDB layouts, in operation code order. A field that no layout lists is reserved (or obsolete) and is not looked at.

Source: SBC-4 clause 5 and SPC-4 clause 6, under the command's name.
"""

from __future__ import annotations

from collections.abc import Sequence

from tcmu_gluster.wire.layout import Bit, Bits, Const, Field, Int, Layout

_CDB_BYTES = ((0x20, 6), (0x60, 10), (0x80, 0), (0xA0, 16), (0xC0, 12), (0x100, 0))  # by group code, SPC-4 4.2.5.1

SECTIONS = {
    "TEST UNIT READY": "SPC-4 6.47", "REQUEST SENSE": "SPC-4 6.39", "INQUIRY": "SPC-4 6.6",
    "MODE SELECT(6)": "SPC-4 6.11", "MODE SELECT(10)": "SPC-4 6.12",
    "MODE SENSE(6)": "SPC-4 6.13", "MODE SENSE(10)": "SPC-4 6.14",
    "RESERVE(6)": "SPC-2 7.22", "RESERVE(10)": "SPC-2 7.21", "RELEASE(6)": "SPC-2 7.17", "RELEASE(10)": "SPC-2 7.16",
    "LOG SELECT": "SPC-4 6.7", "LOG SENSE": "SPC-4 6.8",
    "PERSISTENT RESERVE IN": "SPC-4 6.15", "PERSISTENT RESERVE OUT": "SPC-4 6.16",
    "READ BUFFER(10)": "SPC-4 6.18", "WRITE BUFFER": "SPC-4 6.49",
    "RECEIVE DIAGNOSTIC RESULTS": "SPC-4 6.28", "SEND DIAGNOSTIC": "SPC-4 6.42",
    "COPY OPERATION ABORT": "SPC-4 6.3", "EXTENDED COPY(LID4)": "SPC-4 6.4", "EXTENDED COPY(LID1)": "SPC-4 6.5",
    "RECEIVE COPY DATA(LID4)": "SPC-4 6.20", "RECEIVE COPY DATA(LID1)": "SPC-4 6.21",
    "RECEIVE COPY OPERATING PARAMETERS": "SPC-4 6.22", "RECEIVE COPY FAILURE DETAILS(LID1)": "SPC-4 6.23",
    "RECEIVE COPY STATUS(LID4)": "SPC-4 6.24", "RECEIVE COPY STATUS(LID1)": "SPC-4 6.25",
    "RECEIVE ROD TOKEN INFORMATION": "SPC-4 6.26", "REPORT ALL ROD TOKENS": "SPC-4 6.31",
    "POPULATE TOKEN": "SBC-4 5.12", "WRITE USING TOKEN": "SBC-4 5.59",
    "REPORT LUNS": "SPC-4 6.33",
    "REPORT IDENTIFYING INFORMATION": "SPC-4 6.32", "SET IDENTIFYING INFORMATION": "SPC-4 6.43",
    "REPORT SUPPORTED OPERATION CODES": "SPC-4 6.35", "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS": "SPC-4 6.36",
    "REPORT TARGET PORT GROUPS": "SPC-4 6.37", "SET TARGET PORT GROUPS": "SPC-4 6.45",
    "REPORT TIMESTAMP": "SPC-4 6.38", "SET TIMESTAMP": "SPC-4 6.46",
    "COMPARE AND WRITE": "SBC-4 5.3", "FORMAT UNIT": "SBC-4 5.4", "GET LBA STATUS": "SBC-4 5.6",
    "ORWRITE(16)": "SBC-4 5.10", "PRE-FETCH(10)": "SBC-4 5.13", "PRE-FETCH(16)": "SBC-4 5.14",
    "PREVENT ALLOW MEDIUM REMOVAL": "SBC-4 5.15",
    "READ(6)": "SBC-2 5.5", "READ(10)": "SBC-4 5.16", "READ(12)": "SBC-4 5.17", "READ(16)": "SBC-4 5.18",
    "READ CAPACITY(10)": "SBC-4 5.20", "READ CAPACITY(16)": "SBC-4 5.21",
    "READ DEFECT DATA(10)": "SBC-4 5.22", "READ DEFECT DATA(12)": "SBC-4 5.23",
    "SANITIZE": "SBC-4 5.30", "START STOP UNIT": "SBC-4 5.31",
    "SYNCHRONIZE CACHE(10)": "SBC-4 5.33", "SYNCHRONIZE CACHE(16)": "SBC-4 5.34", "UNMAP": "SBC-4 5.35",
    "VERIFY(10)": "SBC-4 5.36", "VERIFY(12)": "SBC-4 5.37", "VERIFY(16)": "SBC-4 5.38",
    "WRITE(6)": "SBC-2 5.24", "WRITE(10)": "SBC-4 5.40", "WRITE(12)": "SBC-4 5.41", "WRITE(16)": "SBC-4 5.42",
    "WRITE AND VERIFY(10)": "SBC-4 5.44", "WRITE AND VERIFY(12)": "SBC-4 5.45", "WRITE AND VERIFY(16)": "SBC-4 5.46",
    "WRITE SAME(10)": "SBC-4 5.52", "WRITE SAME(16)": "SBC-4 5.53", "WRITE ATOMIC(16)": "SBC-4 5.48",
}  # fmt: skip
"""Where a command stands: in SPC-4 and SBC-4 (compared with the texts of revisions 36f and 22). READ(6), WRITE(6),
RESERVE and RELEASE are obsolete there; the sections of the last two in SPC-2 were not compared."""


def cdb_bytes(operation_code: int) -> int:
    """The length that the group code (bits 7..5) gives; 0 for variable length, reserved and vendor specific groups."""
    for limit, size_bytes in _CDB_BYTES:
        if operation_code < limit:
            return size_bytes
    return 0


def cdb(name: str, operation_code: int, fields: Sequence[Field], service_action: int = -1) -> Layout:
    """A CDB's layout: operation code, SERVICE ACTION in byte 1 if there is one, fields, NACA of the CONTROL byte."""
    size_bytes = cdb_bytes(operation_code)
    head: list[Field] = [Const("operation_code", 0, 1, operation_code)]
    if service_action >= 0:
        head.append(Bits("service_action", 1, high=4, low=0, value=service_action))
    source = SECTIONS.get(name.partition(",")[0], "")
    return Layout(name, size_bytes, (*head, *fields, Bit("naca", size_bytes - 1, 2)), source=source)


def _lba(size_bytes: int) -> Int:
    return Int("logical_block_address", 2, size_bytes)


_READ_BITS = (Bits("rdprotect", 1, high=7, low=5), Bit("dpo", 1, 4), Bit("fua", 1, 3))
_WRITE_BITS = (Bits("wrprotect", 1, high=7, low=5), Bit("dpo", 1, 4), Bit("fua", 1, 3))
_VERIFY_BITS = (Bits("vrprotect", 1, high=7, low=5), Bit("dpo", 1, 4), Bits("bytchk", 1, high=2, low=1))
_WRITE_VERIFY_BITS = (Bits("wrprotect", 1, high=7, low=5), Bit("dpo", 1, 4), Bits("bytchk", 1, high=2, low=1))
_WRITE_SAME_BITS = (Bits("wrprotect", 1, high=7, low=5), Bit("anchor", 1, 4), Bit("unmap", 1, 3))
_LBA_6 = (Bits("logical_block_address", 1, high=20, low=0, size_bytes=3), Int("transfer_length", 4, 1))
_MODE_SENSE = (Bits("pc", 2, high=7, low=6), Bits("page_code", 2, high=5, low=0), Int("subpage_code", 3, 1))

# SPC-4 clause 6
TEST_UNIT_READY = cdb("TEST UNIT READY", 0x00, ())
REQUEST_SENSE = cdb("REQUEST SENSE", 0x03, (Bit("desc", 1, 0), Int("allocation_length", 4, 1)))
RECEIVE_DIAGNOSTIC_RESULTS = cdb("RECEIVE DIAGNOSTIC RESULTS", 0x1C, (
    Bit("pcv", 1, 0),
    Int("page_code", 2, 1), Int("allocation_length", 3, 2),
))  # fmt: skip
SEND_DIAGNOSTIC = cdb("SEND DIAGNOSTIC", 0x1D, (
    Bits("self_test_code", 1, high=7, low=5), Bit("pf", 1, 4), Bit("selftest", 1, 2), Bit("devoffl", 1, 1),
    Bit("unitoffl", 1, 0),
    Int("parameter_list_length", 3, 2),
))  # fmt: skip
_BUFFER = (
    Bits("mode", 1, high=4, low=0), Int("buffer_id", 2, 1),
    Bits("buffer_offset", 3, high=23, low=0, size_bytes=3),
)  # fmt: skip
WRITE_BUFFER = cdb("WRITE BUFFER", 0x3B, (
    *_BUFFER, Bits("parameter_list_length", 6, high=23, low=0, size_bytes=3),
))  # fmt: skip
READ_BUFFER = cdb("READ BUFFER(10)", 0x3C, (
    *_BUFFER, Bits("allocation_length", 6, high=23, low=0, size_bytes=3),
))  # fmt: skip
INQUIRY = cdb("INQUIRY", 0x12, (Bit("evpd", 1, 0), Int("page_code", 2, 1), Int("allocation_length", 3, 2)))
MODE_SELECT_6 = cdb("MODE SELECT(6)", 0x15, (Bit("pf", 1, 4), Bit("sp", 1, 0), Int("parameter_list_length", 4, 1)))
MODE_SENSE_6 = cdb("MODE SENSE(6)", 0x1A, (Bit("dbd", 1, 3), *_MODE_SENSE, Int("allocation_length", 4, 1)))
_THIRD_PARTY = (Bit("third_party", 1, 4), Bit("extent", 1, 0))  # obsolete, and refused rather than not looked at
RESERVE_6 = cdb("RESERVE(6)", 0x16, _THIRD_PARTY)
RELEASE_6 = cdb("RELEASE(6)", 0x17, _THIRD_PARTY)
RESERVE_10 = cdb("RESERVE(10)", 0x56, _THIRD_PARTY)
RELEASE_10 = cdb("RELEASE(10)", 0x57, _THIRD_PARTY)
LOG_SELECT = cdb("LOG SELECT", 0x4C, (
    Bit("pcr", 1, 1), Bit("sp", 1, 0),
    Bits("pc", 2, high=7, low=6), Bits("page_code", 2, high=5, low=0), Int("subpage_code", 3, 1),
    Int("parameter_list_length", 7, 2),
))  # fmt: skip
LOG_SENSE = cdb("LOG SENSE", 0x4D, (
    Bit("ppc", 1, 1), Bit("sp", 1, 0),
    Bits("pc", 2, high=7, low=6), Bits("page_code", 2, high=5, low=0), Int("subpage_code", 3, 1),
    Int("parameter_pointer", 5, 2),
    Int("allocation_length", 7, 2),
))  # fmt: skip
MODE_SELECT_10 = cdb("MODE SELECT(10)", 0x55, (Bit("pf", 1, 4), Bit("sp", 1, 0), Int("parameter_list_length", 7, 2)))
MODE_SENSE_10 = cdb("MODE SENSE(10)", 0x5A, (
    Bit("llbaa", 1, 4), Bit("dbd", 1, 3), *_MODE_SENSE,
    Int("allocation_length", 7, 2),
))  # fmt: skip


def _reserve_in(name: str, service_action: int) -> Layout:
    return cdb(f"PERSISTENT RESERVE IN, {name}", 0x5E, (Int("allocation_length", 7, 2),), service_action)


def _reserve_out(name: str, service_action: int) -> Layout:
    fields = (Bits("scope", 2, high=7, low=4), Bits("type", 2, high=3, low=0), Int("parameter_list_length", 5, 4))
    return cdb(f"PERSISTENT RESERVE OUT, {name}", 0x5F, fields, service_action)


READ_KEYS = _reserve_in("READ KEYS", 0x00)
READ_RESERVATION = _reserve_in("READ RESERVATION", 0x01)
REPORT_CAPABILITIES = _reserve_in("REPORT CAPABILITIES", 0x02)
READ_FULL_STATUS = _reserve_in("READ FULL STATUS", 0x03)
REGISTER = _reserve_out("REGISTER", 0x00)
RESERVE = _reserve_out("RESERVE", 0x01)
RELEASE = _reserve_out("RELEASE", 0x02)
CLEAR = _reserve_out("CLEAR", 0x03)
PREEMPT = _reserve_out("PREEMPT", 0x04)
PREEMPT_AND_ABORT = _reserve_out("PREEMPT AND ABORT", 0x05)
REGISTER_AND_IGNORE_EXISTING_KEY = _reserve_out("REGISTER AND IGNORE EXISTING KEY", 0x06)
REGISTER_AND_MOVE = _reserve_out("REGISTER AND MOVE", 0x07)
REPORT_LUNS = cdb("REPORT LUNS", 0xA0, (Int("select_report", 2, 1), Int("allocation_length", 6, 4)))
REPORT_IDENTIFYING_INFORMATION = cdb("REPORT IDENTIFYING INFORMATION", 0xA3, (
    Int("allocation_length", 6, 4),
    Bits("information_type", 10, high=7, low=1),
), 0x05)  # fmt: skip
REPORT_SUPPORTED_OPERATION_CODES = cdb("REPORT SUPPORTED OPERATION CODES", 0xA3, (
    Bit("rctd", 2, 7), Bits("reporting_options", 2, high=2, low=0),
    Int("requested_operation_code", 3, 1),
    Int("requested_service_action", 4, 2),
    Int("allocation_length", 6, 4),
), 0x0C)  # fmt: skip
REPORT_TARGET_PORT_GROUPS = cdb("REPORT TARGET PORT GROUPS", 0xA3, (
    Bits("parameter_data_format", 1, high=7, low=5),
    Int("allocation_length", 6, 4),
), 0x0A)  # fmt: skip
SET_TARGET_PORT_GROUPS = cdb("SET TARGET PORT GROUPS", 0xA4, (Int("parameter_list_length", 6, 4),), 0x0A)
REPORT_SUPPORTED_TASK_MANAGEMENT_FUNCTIONS = cdb("REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", 0xA3, (
    Bit("repd", 2, 7),
    Int("allocation_length", 6, 4),
), 0x0D)  # fmt: skip
REPORT_TIMESTAMP = cdb("REPORT TIMESTAMP", 0xA3, (Int("allocation_length", 6, 4),), 0x0F)
SET_IDENTIFYING_INFORMATION = cdb("SET IDENTIFYING INFORMATION", 0xA4, (
    Int("parameter_list_length", 6, 4),
    Bits("information_type", 10, high=7, low=1),
), 0x06)  # fmt: skip
SET_TIMESTAMP = cdb("SET TIMESTAMP", 0xA4, (Int("parameter_list_length", 6, 4),), 0x0F)

# SBC-4 clause 5
FORMAT_UNIT = cdb("FORMAT UNIT", 0x04, (
    Bits("fmtpinfo", 1, high=7, low=6), Bit("longlist", 1, 5), Bit("fmtdata", 1, 4), Bit("cmplst", 1, 3),
    Bits("defect_list_format", 1, high=2, low=0),
    Bits("ffmt", 4, high=1, low=0),
))  # fmt: skip
PREVENT_ALLOW_MEDIUM_REMOVAL = cdb("PREVENT ALLOW MEDIUM REMOVAL", 0x1E, (Bits("prevent", 4, high=1, low=0),))
READ_DEFECT_DATA_10 = cdb("READ DEFECT DATA(10)", 0x37, (
    Bit("req_plist", 2, 4), Bit("req_glist", 2, 3), Bits("defect_list_format", 2, high=2, low=0),
    Int("allocation_length", 7, 2),
))  # fmt: skip
READ_DEFECT_DATA_12 = cdb("READ DEFECT DATA(12)", 0xB7, (
    Bit("req_plist", 1, 4), Bit("req_glist", 1, 3), Bits("defect_list_format", 1, high=2, low=0),
    Int("address_descriptor_index", 2, 4), Int("allocation_length", 6, 4),
))  # fmt: skip


def _sanitize(name: str, service_action: int) -> Layout:
    fields = (Bit("immed", 1, 7), Bit("ause", 1, 5), Int("parameter_list_length", 7, 2))
    return cdb(f"SANITIZE, {name}", 0x48, fields, service_action)


SANITIZE_OVERWRITE = _sanitize("OVERWRITE", 0x01)
SANITIZE_BLOCK_ERASE = _sanitize("BLOCK ERASE", 0x02)
SANITIZE_EXIT_FAILURE_MODE = _sanitize("EXIT FAILURE MODE", 0x1F)
ORWRITE_16 = cdb("ORWRITE(16)", 0x8B, (
    Bits("orprotect", 1, high=7, low=5), Bit("dpo", 1, 4), Bit("fua", 1, 3),
    _lba(8),
    Int("transfer_length", 10, 4),
))  # fmt: skip
WRITE_ATOMIC_16 = cdb("WRITE ATOMIC(16)", 0x9C, (
    *_WRITE_BITS, _lba(8),
    Int("atomic_boundary", 10, 2), Int("transfer_length", 12, 2),
))  # fmt: skip
READ_6 = cdb("READ(6)", 0x08, _LBA_6)
WRITE_6 = cdb("WRITE(6)", 0x0A, _LBA_6)
START_STOP_UNIT = cdb("START STOP UNIT", 0x1B, (
    Bit("immed", 1, 0),
    Bits("power_condition_modifier", 3, high=3, low=0),
    Bits("power_condition", 4, high=7, low=4), Bit("no_flush", 4, 2), Bit("loej", 4, 1), Bit("start", 4, 0),
))  # fmt: skip
READ_CAPACITY_10 = cdb("READ CAPACITY(10)", 0x25, ())
READ_10 = cdb("READ(10)", 0x28, (*_READ_BITS, _lba(4), Int("transfer_length", 7, 2)))
WRITE_10 = cdb("WRITE(10)", 0x2A, (*_WRITE_BITS, _lba(4), Int("transfer_length", 7, 2)))
WRITE_AND_VERIFY_10 = cdb("WRITE AND VERIFY(10)", 0x2E, (*_WRITE_VERIFY_BITS, _lba(4), Int("transfer_length", 7, 2)))
VERIFY_10 = cdb("VERIFY(10)", 0x2F, (*_VERIFY_BITS, _lba(4), Int("verification_length", 7, 2)))
PRE_FETCH_10 = cdb("PRE-FETCH(10)", 0x34, (Bit("immed", 1, 1), _lba(4), Int("prefetch_length", 7, 2)))
SYNCHRONIZE_CACHE_10 = cdb("SYNCHRONIZE CACHE(10)", 0x35, (
    Bit("immed", 1, 1),
    _lba(4),
    Int("number_of_logical_blocks", 7, 2),
))  # fmt: skip
WRITE_SAME_10 = cdb("WRITE SAME(10)", 0x41, (*_WRITE_SAME_BITS, _lba(4), Int("number_of_logical_blocks", 7, 2)))
UNMAP = cdb("UNMAP", 0x42, (Bit("anchor", 1, 0), Int("parameter_list_length", 7, 2)))
READ_16 = cdb("READ(16)", 0x88, (*_READ_BITS, _lba(8), Int("transfer_length", 10, 4)))
COMPARE_AND_WRITE = cdb("COMPARE AND WRITE", 0x89, (*_WRITE_BITS, _lba(8), Int("number_of_logical_blocks", 13, 1)))
WRITE_16 = cdb("WRITE(16)", 0x8A, (*_WRITE_BITS, _lba(8), Int("transfer_length", 10, 4)))
WRITE_AND_VERIFY_16 = cdb("WRITE AND VERIFY(16)", 0x8E, (*_WRITE_VERIFY_BITS, _lba(8), Int("transfer_length", 10, 4)))
VERIFY_16 = cdb("VERIFY(16)", 0x8F, (*_VERIFY_BITS, _lba(8), Int("verification_length", 10, 4)))
PRE_FETCH_16 = cdb("PRE-FETCH(16)", 0x90, (Bit("immed", 1, 1), _lba(8), Int("prefetch_length", 10, 4)))
SYNCHRONIZE_CACHE_16 = cdb("SYNCHRONIZE CACHE(16)", 0x91, (
    Bit("immed", 1, 1),
    _lba(8),
    Int("number_of_logical_blocks", 10, 4),
))  # fmt: skip
WRITE_SAME_16 = cdb("WRITE SAME(16)", 0x93, (
    *_WRITE_SAME_BITS, Bit("ndob", 1, 0),
    _lba(8),
    Int("number_of_logical_blocks", 10, 4),
))  # fmt: skip
READ_CAPACITY_16 = cdb("READ CAPACITY(16)", 0x9E, (Int("allocation_length", 10, 4),), 0x10)
GET_LBA_STATUS = cdb("GET LBA STATUS", 0x9E, (_lba(8), Int("allocation_length", 10, 4)), 0x12)
READ_12 = cdb("READ(12)", 0xA8, (*_READ_BITS, _lba(4), Int("transfer_length", 6, 4)))
WRITE_12 = cdb("WRITE(12)", 0xAA, (*_WRITE_BITS, _lba(4), Int("transfer_length", 6, 4)))
WRITE_AND_VERIFY_12 = cdb("WRITE AND VERIFY(12)", 0xAE, (*_WRITE_VERIFY_BITS, _lba(4), Int("transfer_length", 6, 4)))
VERIFY_12 = cdb("VERIFY(12)", 0xAF, (*_VERIFY_BITS, _lba(4), Int("verification_length", 6, 4)))

# SPC-4 6.3 to 6.5, 6.20 to 6.26, 6.31: third-party copies, of which SBC-4 adds two
_COPY_LIST = Int("parameter_list_length", 10, 4)
_LIST_ID_1, _LIST_ID_4 = Int("list_identifier", 2, 1), Int("list_identifier", 2, 4)
_COPY_RESULTS = Int("allocation_length", 10, 4)
EXTENDED_COPY_LID1 = cdb("EXTENDED COPY(LID1)", 0x83, (_COPY_LIST,), 0x00)
EXTENDED_COPY_LID4 = cdb("EXTENDED COPY(LID4)", 0x83, (_COPY_LIST,), 0x01)
POPULATE_TOKEN = cdb("POPULATE TOKEN", 0x83, (Int("list_identifier", 6, 4), _COPY_LIST), 0x10)
WRITE_USING_TOKEN = cdb("WRITE USING TOKEN", 0x83, (Int("list_identifier", 6, 4), _COPY_LIST), 0x11)
COPY_OPERATION_ABORT = cdb("COPY OPERATION ABORT", 0x83, (_LIST_ID_4,), 0x1C)
RECEIVE_COPY_STATUS_LID1 = cdb("RECEIVE COPY STATUS(LID1)", 0x84, (_LIST_ID_1, _COPY_RESULTS), 0x00)
RECEIVE_COPY_DATA_LID1 = cdb("RECEIVE COPY DATA(LID1)", 0x84, (_LIST_ID_1, _COPY_RESULTS), 0x01)
RECEIVE_COPY_OPERATING_PARAMETERS = cdb("RECEIVE COPY OPERATING PARAMETERS", 0x84, (_COPY_RESULTS,), 0x03)
RECEIVE_COPY_FAILURE_DETAILS_LID1 = cdb("RECEIVE COPY FAILURE DETAILS(LID1)", 0x84, (_LIST_ID_1, _COPY_RESULTS), 0x04)
RECEIVE_COPY_STATUS_LID4 = cdb("RECEIVE COPY STATUS(LID4)", 0x84, (_LIST_ID_4, _COPY_RESULTS), 0x05)
RECEIVE_COPY_DATA_LID4 = cdb("RECEIVE COPY DATA(LID4)", 0x84, (_LIST_ID_4, _COPY_RESULTS), 0x06)
RECEIVE_ROD_TOKEN_INFORMATION = cdb("RECEIVE ROD TOKEN INFORMATION", 0x84, (_LIST_ID_4, _COPY_RESULTS), 0x07)
REPORT_ALL_ROD_TOKENS = cdb("REPORT ALL ROD TOKENS", 0x84, (_COPY_RESULTS,), 0x08)

LENGTH_FIELDS = ("transfer_length", "number_of_logical_blocks", "verification_length", "prefetch_length")
"""How the commands that name a range of blocks call its length."""

ZERO_IS_TO_THE_END = (WRITE_SAME_10, WRITE_SAME_16)
"""Where NUMBER OF LOGICAL BLOCKS 0 means all from the first one on (or is refused: WSNZ).  Source: SBC-4 5.52, 5.53."""

LENGTH_0_OF_6_BYTES = 256
"""What TRANSFER LENGTH 0 means in READ(6) and WRITE(6), in blocks.  Source: SBC-2 5.5."""
