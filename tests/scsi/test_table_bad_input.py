"""What every command of the table does with input that is wrong: reserved bits, lengths, lists that are cut, counts.

The tables here say what is right for each command; a command that is new and not in them fails.
"""

from __future__ import annotations

import struct
from typing import Any

import pytest

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.alua import Port
from tcmu_gluster.scsi.command import Nexus, Status
from tcmu_gluster.scsi.copies import CopyManager
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.sense import Asc, SenseKey
from tcmu_gluster.scsi.table import COMMANDS, Data, Entry
from tests.doubles.copying import HOLD, b2b, cscd, lid1, populate, populate_list, write_list
from tests.doubles.host import Answer, Host, memory
from tests.doubles.parameter_lists import PR_LIST, ZERO_TOKEN, list_of

SIZE = 1 << 20
NAMES = [row.name for row in COMMANDS]
ROWS = {row.name: row for row in COMMANDS}


def made() -> tuple[LogicalUnit, Host]:
    """A unit that has every command, with something on it, and a host that is logged in and has heard all."""
    numbers = iter(range(1, 1 << 20))
    copies = CopyManager(lambda: 0.0, lambda length: next(numbers).to_bytes(length, "big"))
    unit = LogicalUnit(
        memory(SIZE), UnitOptions(removable=True), clock=lambda: 1e9, copies=copies, report=lambda command, error: None
    )
    host = Host(unit)
    host.nexus = Nexus("iqn.2026-11.test:host", b"\x80\0\0\0\0\1", "iqn.2026-11.test:t")
    unit.ports.put(host.nexus.target_name, [Port(host.nexus.target_name)])
    unit.attach(host.nexus, attention=None)
    unit.backend.write(0, (memoryview(b"\xa5" * 8192),), print)
    return unit, host


def content(unit: LogicalUnit) -> bytes:
    room = bytearray(SIZE)
    unit.backend.read(0, (memoryview(room),), print)
    return bytes(room)


def cdb_of(row: Entry, **fields: int) -> bytearray:
    return row.layout.pack(**fields)


def pointed(answer: Answer) -> bool:
    """ILLEGAL REQUEST, and the field is pointed at where the code says that a field is wrong."""
    fields = (Asc.INVALID_FIELD_IN_CDB, Asc.INVALID_FIELD_IN_PARAMETER_LIST)
    return answer.key == SenseKey.ILLEGAL_REQUEST and (answer.asc not in fields or answer.pointer is not None)


# -- reserved bits -----------------------------------------------------------------------------------------------------

# Where a reserved bit is refused, because so much is lost at once. Elsewhere it isn't looked at: SPC-4 3.4.
LOOKED_AT = ("SANITIZE, OVERWRITE", "SANITIZE, BLOCK ERASE", "SANITIZE, EXIT FAILURE MODE")


@pytest.mark.parametrize("name", NAMES)
def test_every_reserved_bit_is_ignored_or_pointed_at(name: str) -> None:
    row = ROWS[name]
    _, host = made()
    populate(host, (0, 8), list_id=0)
    plain = host.run(cdb_of(row))
    for byte in range(1, row.layout.size_bytes):
        for bit in range(8):
            raw = cdb_of(row)
            raw[byte] ^= 1 << bit
            if (byte, bit) not in set(row.layout.reserved_bits(raw)):
                continue
            populate(host, (0, 8), list_id=0)
            answer = host.run(raw)
            if name in LOOKED_AT and byte < row.control:
                assert (answer.asc, answer.pointer) == (Asc.INVALID_FIELD_IN_CDB, (byte, bit))
            else:
                assert (answer.status, answer.key, answer.asc) == (plain.status, plain.key, plain.asc), (byte, bit)


@pytest.mark.parametrize("name", NAMES)
def test_naca_is_refused_with_a_pointer(name: str) -> None:
    row = ROWS[name]
    _, host = made()
    answer = host.run(cdb_of(row, naca=1))
    assert (answer.key, answer.asc) == (SenseKey.ILLEGAL_REQUEST, Asc.INVALID_FIELD_IN_CDB)
    assert answer.pointer == (row.control, 2)


# -- allocation lengths ------------------------------------------------------------------------------------------------

SHORTEST = {"REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS": 4}
"""What the standard refuses to be shorter: SPC-4 6.36."""
NEEDED: dict[str, dict[str, int]] = {
    "MODE SENSE(6)": {"page_code": 0x3F},
    "MODE SENSE(10)": {"page_code": 0x3F},
    "LOG SENSE": {"page_code": 0x19, "pc": 1},
    "READ BUFFER(10)": {"mode": 3},
}
IN_ROWS = [row for row in COMMANDS if "allocation_length" in row.layout.fields]


def after_a_copy() -> Host:
    """A host with results to ask for under list identifier 0."""
    unit, host = made()
    data = lid1([cscd(unit)], [b2b(0, 0, 8, 0, 100)], usage=HOLD)
    assert host.run(cdb.EXTENDED_COPY_LID1.pack(parameter_list_length=len(data)), data).good
    return host


@pytest.mark.parametrize("row", IN_ROWS, ids=lambda row: row.name)
def test_allocation_lengths_cut_what_is_told_and_change_nothing_in_it(row: Entry) -> None:
    field = row.layout.fields["allocation_length"]
    largest = getattr(field, "mask", (1 << 8 * field.size_bytes) - 1)
    fields = NEEDED.get(row.name, {})

    def told(length: int) -> Answer:
        return after_a_copy().run(cdb_of(row, **fields, allocation_length=length))

    whole = told(largest)
    assert whole.good and whole.data, row.name
    for length in (0, 1, len(whole.data) - 1, len(whole.data)):
        answer = told(length)
        if length < SHORTEST.get(row.name, 0):
            assert answer.asc == Asc.INVALID_FIELD_IN_CDB and pointed(answer)
        else:
            said = whole.data if row.name != "GET LBA STATUS" else answer.data  # it may tell less: SBC-4 5.6.1
            assert answer.good and answer.data == said[:length], length


def test_every_command_with_data_in_was_asked() -> None:
    blocks = {"READ(6)", "READ(10)", "READ(12)", "READ(16)", "READ CAPACITY(10)"}
    assert {row.name for row in COMMANDS if row.data is Data.IN} == {row.name for row in IN_ROWS} | blocks


# -- counts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [row for row in COMMANDS if row.length_name], ids=lambda row: row.name)
def test_blocks_beyond_the_last_one_are_out_of_range(row: Entry) -> None:
    unit, host = made()
    before = content(unit)
    lba, length = row.layout.fields["logical_block_address"], row.layout.fields[row.length_name]
    limits = [getattr(one, "mask", (1 << 8 * one.size_bytes) - 1) for one in (lba, length)]
    largest, most = limits
    for first, count in ((largest, most), (largest, 1), (unit.blocks, 1), (unit.blocks - 1, 2), (1, most)):
        raw = cdb_of(row, logical_block_address=first, **{row.length_name: count})
        answer = host.run(raw, b"\xff" * 1024)
        if first + count <= unit.blocks or (first == 1 and answer.asc == Asc.INVALID_FIELD_IN_CDB):
            continue  # a field too short to reach the end
        assert (answer.key, answer.asc) == (SenseKey.ILLEGAL_REQUEST, Asc.LBA_OUT_OF_RANGE), (first, count)
    if row.modifies:
        assert content(unit)[8192:] == before[8192:]


@pytest.mark.parametrize("blocks", [1, 0xFFFFFFFF])
@pytest.mark.parametrize("lba", [2048, (1 << 63), (1 << 64) - 1])
def test_ranges_in_lists_that_overflow_64_bits(lba: int, blocks: int) -> None:
    unit, host = made()
    before = content(unit)
    unmap = struct.pack(">HH4x", 22, 16) + struct.pack(">QI4x", lba, blocks)
    for raw, data in (
        (cdb.UNMAP.pack(parameter_list_length=len(unmap)), unmap),
        (cdb.POPULATE_TOKEN.pack(parameter_list_length=32), populate_list((lba, blocks))),
        (cdb.WRITE_USING_TOKEN.pack(parameter_list_length=552), write_list(ZERO_TOKEN, (lba, blocks))),
    ):
        answer = host.run(raw, data)
        assert answer.key == SenseKey.ILLEGAL_REQUEST and pointed(answer)
        assert answer.asc in (Asc.LBA_OUT_OF_RANGE, Asc.INVALID_FIELD_IN_PARAMETER_LIST)
    segment = lid1([cscd(unit)], [b2b(0, 0, min(blocks, 0xFFFF), lba, 0)])
    answer = host.run(cdb.EXTENDED_COPY_LID1.pack(parameter_list_length=len(segment)), segment)
    assert answer.key == SenseKey.COPY_ABORTED
    segment = lid1([cscd(unit)], [b2b(0, 0, min(blocks, 0xFFFF), 0, lba)])
    answer = host.run(cdb.EXTENDED_COPY_LID1.pack(parameter_list_length=len(segment)), segment)
    assert answer.key == SenseKey.COPY_ABORTED
    assert content(unit) == before


def test_ranges_whose_sum_overflows() -> None:
    data = struct.pack(">HH4x", 6 + 16 * 256, 16 * 256) + struct.pack(">QI4x", 0, 2048) * 256
    many = UnitOptions(maximum_unmap_blocks=4096)
    answer = Host(LogicalUnit(memory(SIZE), many)).run(cdb.UNMAP.pack(parameter_list_length=len(data)), data)
    assert (answer.asc, answer.pointer) == (Asc.INVALID_FIELD_IN_PARAMETER_LIST, (8 + 2 * 16 + 8, None))
    data = populate_list(*[(at, 2048) for at in (0, 1)])
    _, host = made()
    answer = host.run(cdb.POPULATE_TOKEN.pack(parameter_list_length=len(data)), data)
    assert answer.key == SenseKey.ILLEGAL_REQUEST


# -- parameter lists that are cut --------------------------------------------------------------------------------------

CUT_IS_GOOD: dict[str, Any] = {
    # name: the lengths, in the CDB, that make sense of the first bytes of the list
    "MODE SELECT(6)": {0, 4},
    "MODE SELECT(10)": {0, 8},
    "UNMAP": {0},
    "SEND DIAGNOSTIC": {0},
    "WRITE BUFFER": set(range(16)),
    "LOG SELECT": {0},
    "EXTENDED COPY(LID1)": {0},
    "EXTENDED COPY(LID4)": {0},
    "POPULATE TOKEN": {0, *range(16, 48)},  # what the CDB cuts off of the ranges is ignored: SBC-4 5.12.2
    "WRITE USING TOKEN": {0, *range(536, 568)},
    "SET IDENTIFYING INFORMATION": set(range(5)),
    "SET TARGET PORT GROUPS": {0, 4},
    "SET TIMESTAMP": {0},
    "SANITIZE, OVERWRITE": set(),
    **{row.name: set() for row in COMMANDS if row.operation_code == 0x5F},
}


LISTED = [row for row in COMMANDS if "parameter_list_length" in row.layout.fields and row.name in CUT_IS_GOOD]


def test_every_command_with_a_list_is_cut() -> None:
    without = {"SANITIZE, BLOCK ERASE", "SANITIZE, EXIT FAILURE MODE"}  # their length has to be 0
    with_list = {row.name for row in COMMANDS if "parameter_list_length" in row.layout.fields}
    assert with_list == {row.name for row in LISTED} | without == set(CUT_IS_GOOD) | without


@pytest.mark.parametrize("row", LISTED, ids=lambda row: row.name)
def test_a_list_that_the_cdb_cuts_is_refused(row: Entry) -> None:
    unit, _ = made()
    fields, data = list_of(row.name, unit)
    if "MOVE" in row.name:
        data = PR_LIST
    for length in range(len(data)):
        unit, host = made()
        before = content(unit)
        answer = host.run(cdb_of(row, **fields, parameter_list_length=length), data[:length])
        if length in CUT_IS_GOOD[row.name]:
            assert answer.good, length
            continue
        assert answer.key == SenseKey.ILLEGAL_REQUEST and pointed(answer), (length, answer)
        assert answer.asc in (
            Asc.PARAMETER_LIST_LENGTH_ERROR, Asc.INVALID_FIELD_IN_CDB, Asc.INVALID_FIELD_IN_PARAMETER_LIST,
        ), (length, answer)  # fmt: skip
        assert content(unit) == before


@pytest.mark.parametrize("row", LISTED, ids=lambda row: row.name)
def test_a_list_of_which_less_comes_than_the_cdb_says_is_refused(row: Entry) -> None:
    unit, _ = made()
    fields, data = list_of(row.name, unit)
    for length in range(len(data)):
        unit, host = made()
        before = content(unit)
        answer = host.run(cdb_of(row, **fields, parameter_list_length=len(data)), data[:length])
        assert answer.key == SenseKey.ILLEGAL_REQUEST and pointed(answer), (length, answer)
        assert content(unit) == before


@pytest.mark.parametrize("row", LISTED, ids=lambda row: row.name)
def test_the_lists_that_are_cut_here_are_taken_whole(row: Entry) -> None:
    """What is refused above is refused because it was cut."""
    unit, host = made()
    fields, data = list_of(row.name, unit)
    answer = host.run(cdb_of(row, **fields, parameter_list_length=len(data)), data)
    conflict = row.operation_code == 0x5F and not row.name.endswith(("REGISTER", "KEY"))  # nobody is registered
    if "MOVE" in row.name or row.name == "LOG SELECT":
        assert answer.key == SenseKey.ILLEGAL_REQUEST and pointed(answer)  # no list of these can be taken here
    else:
        assert answer.status == (Status.RESERVATION_CONFLICT if conflict else Status.GOOD), answer


# -- parameter lists that are too long ---------------------------------------------------------------------------------

SAYS_ITS_LENGTH = {
    "UNMAP", "SEND DIAGNOSTIC", "EXTENDED COPY(LID1)", "EXTENDED COPY(LID4)", "POPULATE TOKEN", "WRITE USING TOKEN",
    "SANITIZE, OVERWRITE",
}  # fmt: skip
"""What is behind the end that the list itself tells is nobody's: it is ignored. Of the others all bytes are meant."""
NO_END = {"WRITE BUFFER", "SET IDENTIFYING INFORMATION"}
"""Any number of bytes is a list."""


@pytest.mark.parametrize("more", [1, 3, 4, 8, 16, 100])
@pytest.mark.parametrize("row", [row for row in LISTED if row.name not in NO_END], ids=lambda row: row.name)
def test_bytes_behind_the_end_of_a_list_are_ignored_where_it_tells_its_length_and_refused_elsewhere(
    row: Entry, more: int
) -> None:
    for fill in (b"\0", b"\xff"):
        unit, host = made()
        fields, data = list_of(row.name, unit)
        before, long = content(unit), data + fill * more
        answer = host.run(cdb_of(row, **fields, parameter_list_length=len(long)), long)
        if row.name in SAYS_ITS_LENGTH:
            assert answer.good
            plain, other = made()
            fields, data = list_of(row.name, plain)
            assert other.run(cdb_of(row, **fields, parameter_list_length=len(data)), data).good
            assert content(unit) == content(plain)
        else:
            assert answer.key == SenseKey.ILLEGAL_REQUEST and pointed(answer), answer
            assert content(unit) == before


@pytest.mark.parametrize("row", [row for row in LISTED if row.name != "WRITE BUFFER"], ids=lambda row: row.name)
def test_a_list_that_is_all_ones_is_refused(row: Entry) -> None:
    unit, host = made()
    before = content(unit)
    fields, data = list_of(row.name, unit)
    answer = host.run(cdb_of(row, **fields, parameter_list_length=len(data)), b"\xff" * len(data))
    if row.name == "SET IDENTIFYING INFORMATION":
        assert answer.good  # any bytes are a name
    elif answer.status != Status.RESERVATION_CONFLICT:
        assert answer.key == SenseKey.ILLEGAL_REQUEST and pointed(answer), answer
    assert content(unit) == before
