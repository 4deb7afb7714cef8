"""Hostile hosts: CDBs of every row with fields of any value, any parameter list, several hosts after each other.

The answer is always legal, nothing is reported as unexpected, nothing is left running, no more data comes than was
asked for, and bytes that no command named are as before."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from tcmu_gluster.errors import TcmuGlusterError
from tcmu_gluster.scsi.command import Nexus, Status
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.persistence import DamagedRecord, UnitRecord
from tcmu_gluster.scsi.sense import SenseKey, parse_sense
from tcmu_gluster.scsi.table import COMMANDS, WHOLE_UNIT, Data, Entry
from tcmu_gluster.wire.layout import Bits, Const
from tests.doubles.host import Answer, Host, memory
from tests.fuzz.reader import Reader

BLOCKS = 64
BEFORE = bytes(range(256)) * (BLOCKS * 2)
LEGAL = frozenset((Status.GOOD, Status.CHECK_CONDITION, Status.BUSY, Status.CONDITION_MET,
                   Status.RESERVATION_CONFLICT, Status.TASK_SET_FULL))  # fmt: skip
OPTIONS = (
    UnitOptions(),
    UnitOptions(thin=False),
    UnitOptions(write_protected=True),
    UnitOptions(maximum_transfer_bytes=8 * 512, maximum_write_same_bytes=4 * 512),
    UnitOptions(write_same_to_the_end=True, removable=True),
)
COMMANDS_EACH = 6
UNMAP = 0x42
RAW, SMALL = 0, 1


def commands(data: bytes) -> None:
    """A few commands of two hosts at one small disk."""
    reader = Reader(data)
    reported: list[BaseException] = []
    backend = memory(BLOCKS * 512)
    backend.write(0, (memoryview(BEFORE),), print)
    unit = LogicalUnit(
        backend, reader.pick(OPTIONS), report=lambda command, error: reported.append(error), clock=lambda: 1e9
    )
    hosts = [Host(unit, "iqn.2026-11.test:a", attach=True), Host(unit, "iqn.2026-11.test:b", attach=True)]
    changed: list[tuple[int, int]] = []
    for _ in range(COMMANDS_EACH):
        if reader.empty:
            break
        changed += one(reader, hosts)
        if reported:
            raise reported[0]
        assert not unit.tasks.running and not unit.tasks.restless
    after = memoryview(bytearray(len(BEFORE)))
    backend.read(0, (after,), print)
    backend.close()
    assert outside(bytes(after), changed) == outside(BEFORE, changed), "bytes that no command named"


def one(reader: Reader, hosts: Sequence[Host]) -> Iterable[tuple[int, int]]:
    """Run one command; the byte ranges that it may change."""
    host, row, how = reader.pick(hosts), reader.pick(COMMANDS), reader.byte()
    raw = cdb_of(reader, row, how)
    payload = parameters(reader, how) if row.data is Data.OUT else b""
    pending = host.send(raw, payload, views=3 if how & 64 else 1)
    check(pending.answer)
    if "allocation_length" in row.layout.fields and len(raw) >= row.layout.size_bytes:
        assert len(pending.answer.data) <= row.layout.unpack(raw).allocation_length
    return may_change(row, raw, payload)


def cdb_of(reader: Reader, row: Entry, how: int) -> bytes:
    """Fields of small values, or raw bytes behind the operation code and service action."""
    if how & SMALL:
        fields = {}
        for name, field in row.layout.fields.items():
            if name not in ("operation_code", "service_action") and not isinstance(field, Const):
                limit = field.mask if isinstance(field, Bits) else (1 << 8 * field.size_bytes) - 1
                value = reader.byte()
                fields[name] = min(value & 0x7F, limit) if value < 0xF0 else limit - (value & 7) % (limit + 1)
        return bytes(row.layout.pack(**fields))
    raw = bytearray(row.layout.pack())
    noise = reader.take(len(raw) - 1)
    for at, value in enumerate(noise, 1):
        raw[at] |= value if "service_action" not in row.layout.fields or at > 2 else 0
    return bytes(raw)


def parameters(reader: Reader, how: int) -> bytes:
    """Blocks, a list that nearly makes sense, or noise."""
    kind = how >> 1 & 3
    if kind == 0:
        return bytes((reader.byte(),)) * (512 * (reader.byte() % 20))
    if kind == 1:
        body = b"".join(struct.pack(">QI4x", reader.byte(), reader.byte()) for _ in range(reader.byte() % 4))
        return struct.pack(">HH4x", len(body) + 6, len(body)) + body
    return reader.take(reader.byte() * (4 if kind == 3 else 1))


def check(answer: Answer) -> None:
    assert answer.status in LEGAL
    assert bool(answer.sense) == (answer.status == Status.CHECK_CONDITION)
    if answer.sense:
        assert answer.sense[0] & 0x7F in (0x70, 0x72) and len(answer.sense) == 8 + answer.sense[7]
        key, asc = parse_sense(answer.sense)
        assert SenseKey(key) and 0 < asc < 1 << 16 and answer.data == b""


def may_change(row: Entry, raw: bytes, payload: bytes) -> Iterable[tuple[int, int]]:
    """Named by the CDB, or by UNMAP's list; what changes the whole unit is not looked at."""
    if not row.modifies:
        return []
    first, end = row.extent(row.layout.unpack(raw))
    if (first, end) != WHOLE_UNIT:
        return [(first * 512, end * 512)]
    if row.operation_code != UNMAP:
        return [(0, len(BEFORE))]
    ranges = [struct.unpack_from(">QI", payload, at) for at in range(8, len(payload) - 15, 16)]
    return [(lba * 512, (lba + blocks) * 512) for lba, blocks in ranges]


def outside(content: bytes, ranges: Iterable[tuple[int, int]]) -> bytes:
    """The content without what may have changed."""
    masked = bytearray(content)
    for first, end in ranges:
        first, end = min(first, len(masked)), min(end, len(masked))
        masked[first:end] = bytes(max(0, end - first))
    return bytes(masked)


def any_cdb(data: bytes) -> None:
    """Any bytes as a CDB of any length, at a unit of its own."""
    reader = Reader(data)
    reported: list[BaseException] = []
    backend = memory(4096)
    unit = LogicalUnit(backend, report=lambda command, error: reported.append(error))
    raw = reader.take(reader.byte() % 33)
    unit.attach(Nexus("iqn.2026-11.test:a"))
    check(Host(unit, "iqn.2026-11.test:a").run(raw, reader.rest()))
    backend.close()
    if reported:
        raise reported[0]


def unit_record(data: bytes) -> None:
    """The record beside a disk: what is not ours is damage, and a unit says so instead of raising."""
    reader = Reader(data)
    whole = bytearray(UnitRecord(3, {"reservations": {"key": 7}, "mode_pages": {"8": "00"}}).encode())
    if reader.byte() & 1:
        for _ in range(4):
            if not reader.empty:
                whole[reader.number(2) % len(whole)] = reader.byte()
        body = bytes(whole)
    else:
        body = reader.rest()
    try:
        record = UnitRecord.decode(body)
    except DamagedRecord:
        return
    assert UnitRecord.decode(record.encode()).sections == record.sections


def sections(data: bytes) -> None:
    """A record with a right checksum whose sections are anything: the unit is made, or not ready; it never raises."""
    reader = Reader(data)
    record = UnitRecord(
        1, {name: any_value(reader, 3) for name in ("reservations", "mode_pages", "identifying_information")}
    )
    backend = memory(4096)
    backend.store_sidecar(record.encode(), print)
    reported: list[BaseException] = []
    try:
        unit = LogicalUnit(backend, report=lambda command, error: reported.append(error))
        host = Host(unit, "iqn.2026-11.test:a", attach=True)
        for cdb in (bytes(6), bytes((0x5E, 0, 0, 0, 0, 0, 0, 1, 0, 0)), bytes((0x1A, 0, 0x3F, 0, 255, 0))):
            check(host.run(cdb))
    except TcmuGlusterError:
        pass
    finally:
        backend.close()
    if reported:
        raise reported[0]


SECTIONS = ("reservations", "mode_pages", "identifying_information")
WORDS = (
    "", "0", "7", "8", "0a", "zz", "key", "type", "holder", "registrations", "generation", "name", "scope", "aptpl",
    "iqn.2026-11.t:a", "000000000000000000", "08120000", "ff" * 20, "é",
)  # fmt: skip
NUMBERS = (0, 1, 2, 7, 8, 255, -1, 1 << 31, 1 << 64)


def any_value(reader: Reader, depth: int) -> object:
    """What JSON can hold."""
    kind = reader.byte() % (8 if depth else 5)
    if kind < 2:
        return reader.pick(WORDS)
    if kind < 4:
        return reader.pick(NUMBERS)
    if kind == 4:
        return reader.pick((None, True, False, 1.5))
    if kind == 5:
        return [any_value(reader, depth - 1) for _ in range(reader.byte() % 4)]
    return {reader.pick(WORDS): any_value(reader, depth - 1) for _ in range(reader.byte() % 4)}
