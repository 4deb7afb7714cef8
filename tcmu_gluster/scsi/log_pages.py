"""Log pages: LOG SENSE and LOG SELECT, and one row a page.  Source: SPC-4 7.3, SBC-4 6.4.

Nothing is saved and nothing but the counters of page 19h can be set back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Optional

from tcmu_gluster.scsi import buffers
from tcmu_gluster.scsi.command import GOOD, Command, Response
from tcmu_gluster.scsi.sense import Asc, InvalidFieldInCdb, InvalidFieldInParameterList, ParameterListLengthError
from tcmu_gluster.scsi.spc import reply
from tcmu_gluster.scsi.thresholds import resource_counts
from tcmu_gluster.wire.layout import Bit, Bits, Int, Layout

if TYPE_CHECKING:
    from tcmu_gluster.scsi.logical_unit import LogicalUnit

PAGE_HEADER = Layout("log page header", 4, (
    Bit("ds", 0, 7, value=1), Bit("spf", 0, 6), Bits("page_code", 0, high=5, low=0),
    Int("subpage_code", 1, 1),
    Int("page_length", 2, 2),
))  # fmt: skip
PARAMETER_HEADER = Layout("log parameter header", 4, (
    Int("parameter_code", 0, 2),
    Bit("du", 2, 7), Bit("tsd", 2, 5, value=1), Bits("format_and_linking", 2, high=1, low=0),
    Int("parameter_length", 3, 1),
))  # fmt: skip
RESOURCE_COUNT = Layout("LBA mapping resource count log parameter", 8, (
    Int("resource_count", 0, 4),
    Bits("scope", 4, high=1, low=0),
))  # fmt: skip
TEMPERATURE = Layout("temperature log parameter", 2, (Int("temperature", 1, 1),))
STATISTICS = Layout("general access statistics log parameter", 64, (
    Int("number_of_read_commands", 0, 8), Int("number_of_write_commands", 8, 8),
    Int("number_of_logical_blocks_received", 16, 8), Int("number_of_logical_blocks_transmitted", 24, 8),
))  # fmt: skip
IDLE_TIME = Layout("idle time log parameter", 8, (Int("idle_time_intervals", 0, 8),))
TIME_INTERVAL = Layout("time interval log parameter", 8, (Int("negative_exponent", 0, 4), Int("integer", 4, 4)))
INFORMATIONAL_EXCEPTION = Layout("informational exceptions general log parameter", 4, (
    Int("informational_exception_additional_sense_code", 0, 2),
    Int("most_recent_temperature_reading", 2, 1),
))  # fmt: skip

SUPPORTED_PAGES, ALL_SUBPAGES = 0x00, 0xFF
DEDICATED, SHARED = 0b01, 0b10  # SCOPE
COUNTER, BINARY_LIST = 0b10, 0b11  # FORMAT AND LINKING: an unbounded data counter, a binary format list
NO_TEMPERATURE = 0xFF


class PageControl(IntEnum):
    """PC of LOG SENSE: which values are wanted."""

    THRESHOLD = 0
    CUMULATIVE = 1
    DEFAULT_THRESHOLD = 2
    DEFAULT_CUMULATIVE = 3


Parameters = list["tuple[int, bytes]"]
"""(parameter code, value), ascending."""
COUNTERS = (0x01, 0x02)
"""The parameters of page 19h that are data counters; all others are binary format lists."""


class Statistics:
    """What a unit has counted since it was made, or since LOG SELECT set it back. READ and WRITE add to it."""

    __slots__ = ("blocks_read", "blocks_written", "reads", "writes")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.reads = self.writes = self.blocks_read = self.blocks_written = 0


def logical_block_provisioning(unit: LogicalUnit, control: int) -> Parameters:
    """0Ch: what is left and what is used, in threshold sets; nothing as long as the storage didn't say."""
    counts, space = resource_counts(unit), unit.backend.space
    if counts is None or space is None:
        return []
    available, used = counts
    return [
        (0x01, bytes(RESOURCE_COUNT.pack(resource_count=available, scope=SHARED if space.is_shared else DEDICATED))),
        (0x02, bytes(RESOURCE_COUNT.pack(resource_count=used, scope=DEDICATED))),
    ]


def temperature(unit: LogicalUnit, control: int) -> Parameters:
    """0Dh: there is no temperature, and no reference temperature."""
    unknown = bytes(TEMPERATURE.pack(temperature=NO_TEMPERATURE))
    return [(0x00, unknown), (0x01, unknown)]


def general_statistics(unit: LogicalUnit, control: int) -> Parameters:
    """19h: read and write commands and their blocks. Times are not measured: 0 intervals (of a millisecond)."""
    counted = Statistics() if control == PageControl.DEFAULT_CUMULATIVE else unit.statistics
    return [
        (0x01, bytes(STATISTICS.pack(
            number_of_read_commands=counted.reads, number_of_logical_blocks_transmitted=counted.blocks_read,
            number_of_write_commands=counted.writes, number_of_logical_blocks_received=counted.blocks_written,
        ))),
        (0x02, bytes(IDLE_TIME.pack())),
        (0x03, bytes(TIME_INTERVAL.pack(negative_exponent=3, integer=1))),
    ]  # fmt: skip


def informational_exceptions(unit: LogicalUnit, control: int) -> Parameters:
    """2Fh: no exception to report."""
    return [(0x00, bytes(INFORMATIONAL_EXCEPTION.pack(most_recent_temperature_reading=NO_TEMPERATURE)))]


@dataclass(frozen=True)
class LogPage:
    """A row: what the page is called and what makes its parameters.

    counts: it has counters, which have no thresholds and can be set back. thin: only thin provisioned units have it.
    """

    page_code: int
    name: str
    source: str
    parameters: Callable[[LogicalUnit, int], Parameters]
    counts: bool = False
    thin: bool = False


LOG_PAGES: tuple[LogPage, ...] = (
    LogPage(0x0C, "Logical Block Provisioning", "SBC-4 6.4.5", logical_block_provisioning, thin=True),
    LogPage(0x0D, "Temperature", "SPC-4 7.3.21", temperature),
    LogPage(0x19, "General Statistics and Performance", "SPC-4 7.3.6", general_statistics, counts=True),
    LogPage(0x2F, "Informational Exceptions", "SPC-4 7.3.8", informational_exceptions),
)
"""Pages 00h and, under every page code, subpage FFh are made of this table."""


def pages_of(unit: LogicalUnit) -> Iterator[LogPage]:
    """The rows that a unit has."""
    return (row for row in LOG_PAGES if unit.thin or not row.thin)


def _find(unit: LogicalUnit, page_code: int) -> Optional[LogPage]:
    return next((row for row in pages_of(unit) if row.page_code == page_code), None)


def log_sense(unit: LogicalUnit, command: Command) -> Response:
    """LOG SENSE: one page, from the parameter on that PARAMETER POINTER names.  Source: SPC-4 6.8."""
    fields = command.fields
    for name in ("ppc", "sp"):  # neither what changed lately nor saving is kept track of
        if getattr(fields, name):
            raise InvalidFieldInCdb(name)
    if fields.subpage_code == ALL_SUBPAGES or fields.page_code == SUPPORTED_PAGES:
        body = _list(unit, fields.page_code, fields.subpage_code)
        if fields.parameter_pointer:
            raise InvalidFieldInCdb("parameter_pointer")
    else:
        body = _parameters(unit, fields)
    head = PAGE_HEADER.pack(
        spf=bool(fields.subpage_code), page_code=fields.page_code, subpage_code=fields.subpage_code,
        page_length=len(body),
    )  # fmt: skip
    return reply(command, head + body, fields.allocation_length)


def _list(unit: LogicalUnit, page_code: int, subpage_code: int) -> bytes:
    """Supported pages: their codes (00h), theirs and their subpages' (00h/FFh), or the subpages of one (xxh/FFh)."""
    codes = [SUPPORTED_PAGES, *(row.page_code for row in pages_of(unit))]
    if page_code not in codes:
        raise InvalidFieldInCdb("page_code")
    if subpage_code not in (0, ALL_SUBPAGES):
        raise InvalidFieldInCdb("subpage_code")
    if not subpage_code:
        return bytes(codes)
    listed = codes if page_code == SUPPORTED_PAGES else [page_code]
    return b"".join(bytes((code, subpage)) for code in listed for subpage in (0, ALL_SUBPAGES))


def _parameters(unit: LogicalUnit, fields: Any) -> bytes:
    """The parameters of a page, with their headers."""
    row = _find(unit, fields.page_code)
    control, first = fields.pc, fields.parameter_pointer
    if row is None:
        raise InvalidFieldInCdb("page_code")
    if fields.subpage_code:
        raise InvalidFieldInCdb("subpage_code")
    if row.counts and control in (PageControl.THRESHOLD, PageControl.DEFAULT_THRESHOLD):
        raise InvalidFieldInCdb("pc")
    found = row.parameters(unit, control)
    if first and not any(code >= first for code, _ in found):
        raise InvalidFieldInCdb("parameter_pointer")
    return b"".join(_parameter(row, code, value) for code, value in found if code >= first)


def _parameter(row: LogPage, code: int, value: bytes) -> bytes:
    kind = COUNTER if row.counts and code in COUNTERS else BINARY_LIST
    return bytes(PARAMETER_HEADER.pack(
        parameter_code=code, format_and_linking=kind, parameter_length=len(value)
    )) + value  # fmt: skip


def log_select(unit: LogicalUnit, command: Command) -> Response:
    """LOG SELECT: PCR, or default cumulative values, set counters back (of one page, or all).

    No parameter can be given a value, and nothing is saved. SP means nothing where no values are saved in any case.
    Source: SPC-4 6.7, tables 186 and 349.
    """
    fields = command.fields
    length = command.data_out_wanted = fields.parameter_list_length
    if fields.sp and (length or fields.pc in (PageControl.THRESHOLD, PageControl.CUMULATIVE)):
        raise InvalidFieldInCdb("sp")
    if length:
        if fields.pcr:
            raise InvalidFieldInCdb("pcr")
        if fields.page_code or fields.subpage_code:  # which page it is, the list says itself
            raise InvalidFieldInCdb("page_code")
        _refuse_list(unit, buffers.gather(command.data_out, min(length, command.data_out_bytes)), length)
    if fields.page_code and _find(unit, fields.page_code) is None:
        raise InvalidFieldInCdb("page_code")
    if fields.subpage_code not in (0, ALL_SUBPAGES):
        raise InvalidFieldInCdb("subpage_code")
    row = _find(unit, fields.page_code)
    if (fields.pcr or fields.pc == PageControl.DEFAULT_CUMULATIVE) and (
        not fields.page_code or (row is not None and row.counts)
    ):
        unit.statistics.reset()
        unit.attentions.establish_all(Asc.LOG_PARAMETERS_CHANGED, besides=command.nexus)
        unit.look_again()
    return GOOD


def _refuse_list(unit: LogicalUnit, data: bytes, length: int) -> None:
    """Say what is wrong with a list of log pages: if nothing else, then its first parameter. Raises always."""
    if len(data) < length or len(data) < PAGE_HEADER.size_bytes:
        raise ParameterListLengthError()
    head = PAGE_HEADER.unpack(data)
    if _find(unit, head.page_code) is None:
        raise InvalidFieldInParameterList("page_code", layout=PAGE_HEADER)
    if head.subpage_code or head.spf:
        raise InvalidFieldInParameterList("subpage_code", layout=PAGE_HEADER)
    room = len(data) - PAGE_HEADER.size_bytes
    if not PARAMETER_HEADER.size_bytes <= head.page_length <= room:  # a parameter would be cut: SPC-4 7.3.2.1
        raise InvalidFieldInParameterList("page_length", layout=PAGE_HEADER)
    raise InvalidFieldInParameterList("parameter_code", layout=PARAMETER_HEADER, base=PAGE_HEADER.size_bytes)
