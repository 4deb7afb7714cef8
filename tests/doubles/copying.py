"""Parameter lists of third-party copies, packed by hand from the tables of the standards; units that copy."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from typing import Any, Optional, Union

from tcmu_gluster.backends.base import Backend
from tcmu_gluster.backends.memory import MemoryBackend
from tcmu_gluster.scsi.copies import CopyManager
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tests.doubles.backends import Wrapper
from tests.doubles.host import Answer, Host, Pending, memory

HOLD, DISCARD, NO_ID = 0b00, 0b10, 0b11  # LIST ID USAGE
COPY_ABORTED = 0xA


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Daemon:
    """Units of one process, and one initiator that sees all of them."""

    def __init__(self, count: int = 2, size_bytes: int = 1 << 20, **options: Any) -> None:
        self.clock = Clock()
        numbers = itertools.count(1)
        self.manager = CopyManager(self.clock, lambda length: next(numbers).to_bytes(length, "big"))
        self.units: list[LogicalUnit] = []
        for _ in range(count):
            self.add(memory(size_bytes), **options)
        self.host = Host(self.units[0])
        self.hosts = [self.host, *(self.see(unit) for unit in self.units[1:])]

    def add(self, backend: Any, **options: Any) -> LogicalUnit:
        unit = LogicalUnit(backend, UnitOptions(**options), copies=self.manager)
        self.units.append(unit)
        return unit

    def see(self, unit: LogicalUnit) -> Host:
        """The initiator logs in to a unit, and has heard its unit attention."""
        unit.attach(self.host.nexus, attention=None)
        return Host(unit)


def fill(unit: LogicalUnit, data: bytes, at: int = 0) -> None:
    """Put bytes on a disk."""
    unit.backend.write(at, (memoryview(data),), lambda outcome: None)


def contents(unit: Union[LogicalUnit, Backend], at: int, length: int) -> bytes:
    """Bytes of a disk, whatever wraps its storage."""
    backend: Any = unit.backend if isinstance(unit, LogicalUnit) else unit
    while isinstance(backend, Wrapper):
        backend = backend.inner
    room = bytearray(length)
    backend.read(at, (memoryview(room),), lambda outcome: None)
    return bytes(room)


def is_hole(backend: MemoryBackend, at: int, length: int) -> bool:
    """Whether all of a range is a hole."""
    extents = backend.map(at, length, lambda outcome: None)
    assert isinstance(extents, list)
    return all(extent.allocation for extent in extents)


def cscd(unit: LogicalUnit, *, naa: Optional[bytes] = None, block: int = 0, pad: int = 0, **change: int) -> bytes:
    """SPC-4 table 140: E4h, NAA designator; device type specific parameters of table 136. change: byteN=value."""
    name = unit.identity.naa if naa is None else naa
    raw = bytearray(struct.pack(">BBHBBBB20s", 0xE4, 0, 0, 1, 3, 0, len(name), name))
    raw += bytes((pad << 2,)) + block.to_bytes(3, "big")
    for where, value in change.items():
        raw[int(where[4:])] = value
    return bytes(raw)


def b2b(source: int, destination: int, blocks: int, at: int, to: int, *, dc: int = 0, cat: int = 0) -> bytes:
    """Segment descriptor 02h, block to block.  Source: SPC-4 6.4.6.3."""
    return struct.pack(">BBHHHHHQQ", 0x02, dc << 1 | cat, 0x18, source, destination, 0, blocks, at, to)


def with_offset(source: int, destination: int, length: int, at: int, at_byte: int, to: int, to_byte: int) -> bytes:
    """Segment descriptor 0Ah, block with offset to block with offset.  Source: SPC-4 6.4.6."""
    return struct.pack(">BBHHHIQQHH", 0x0A, 0, 0x1C, source, destination, length, at, to, at_byte, to_byte)


def lid1(cscds: Sequence[bytes], segments: Sequence[bytes], *, list_id: int = 0, usage: int = NO_ID) -> bytes:
    """EXTENDED COPY(LID1) parameter list.  Source: SPC-4 6.5."""
    parties, steps = b"".join(cscds), b"".join(segments)
    return struct.pack(">BBHIII", list_id, usage << 3, len(parties), 0, len(steps), 0) + parties + steps


def lid4(
    cscds: Sequence[bytes], segments: Sequence[bytes], *, list_id: int = 1, immed: int = 0, g_sense: int = 0
) -> bytes:
    """EXTENDED COPY(LID4) parameter list.  Source: SPC-4 table 126."""
    parties, steps = b"".join(cscds), b"".join(segments)
    head = struct.pack(">BBH11xBB3xI18xHHH", 1, HOLD << 3, 0x20, g_sense << 1 | immed, 0xFF, list_id,
                       len(parties), len(steps), 0)  # fmt: skip
    return head + parties + steps


def out(service_action: int, length: int, list_id: int = 0) -> bytes:
    """A CDB of operation code 83h."""
    if service_action == 0x1C:
        return struct.pack(">BBI8xBB", 0x83, service_action, list_id, 0, 0)
    return struct.pack(">BB4xIIBB", 0x83, service_action, list_id, length, 0, 0)


def receive(service_action: int, list_id: int = 0, length: int = 4096) -> bytes:
    """A CDB of operation code 84h."""
    if service_action in (0x05, 0x06, 0x07):
        return struct.pack(">BBI4xIBB", 0x84, service_action, list_id, length, 0, 0)
    return struct.pack(">BBB7xIBB", 0x84, service_action, list_id, length, 0, 0)


def xcopy(host: Host, parameter_list: bytes, service_action: int = 0) -> Answer:
    """EXTENDED COPY that ends at once."""
    return begin(host, parameter_list, service_action).answer


def begin(host: Host, parameter_list: bytes, service_action: int = 0) -> Pending:
    """EXTENDED COPY on its way."""
    return host.send(out(service_action, len(parameter_list)), parameter_list)


def ranges(*named: tuple[int, int]) -> bytes:
    """Block device range descriptors.  Source: SBC-4 table 73."""
    return b"".join(struct.pack(">QI4x", lba, blocks) for lba, blocks in named)


def populate_list(*named: tuple[int, int], inactivity: int = 0, rod_type: int = 0, rtv: int = 0) -> bytes:
    """POPULATE TOKEN parameter list.  Source: SBC-4 table 72."""
    body = ranges(*named)
    return struct.pack(">HBBIIHH", 14 + len(body), rtv << 1, 0, inactivity, rod_type, 0, len(body)) + body


def write_list(token: bytes, *named: tuple[int, int], offset: int = 0, delete: int = 0, immed: int = 0) -> bytes:
    """WRITE USING TOKEN parameter list.  Source: SBC-4 table 159."""
    body = ranges(*named)
    return struct.pack(">HB5xQ512s6xH", 534 + len(body), delete << 1 | immed, offset, token, len(body)) + body


def populate(host: Host, *named: tuple[int, int], list_id: int = 7, **more: int) -> Answer:
    """POPULATE TOKEN."""
    data = populate_list(*named, **more)
    return host.run(out(0x10, len(data), list_id), data)


def token_of(host: Host, list_id: int = 7) -> bytes:
    """The ROD token behind RECEIVE ROD TOKEN INFORMATION's header.  Source: SPC-4 tables 256 and 257."""
    data = host.run(receive(0x07, list_id)).data
    sense_bytes = data[13]
    (length,) = struct.unpack_from(">I", data, 32 + sense_bytes)
    assert length == 514, f"{length} bytes of ROD token descriptors"
    return data[32 + sense_bytes + 4 + 2 :]


def write_using(host: Host, token: bytes, *named: tuple[int, int], list_id: int = 8, **more: int) -> Answer:
    """WRITE USING TOKEN that ends at once."""
    data = write_list(token, *named, **more)
    return host.run(out(0x11, len(data), list_id), data)


def status_of(host: Host, list_id: int) -> tuple[int, int]:
    """(COPY OPERATION STATUS, TRANSFER COUNT) of RECEIVE COPY STATUS(LID4)."""
    data = host.run(receive(0x05, list_id)).data
    return data[5] & 0x7F, int.from_bytes(data[16:24], "big")
