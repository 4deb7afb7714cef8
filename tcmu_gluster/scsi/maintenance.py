"""MAINTENANCE IN and OUT: what somebody wrote on the unit, what time it is there, which tasks can be managed.

REPORT SUPPORTED OPERATION CODES, of the same family, prints the command table and is in spc.py.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from tcmu_gluster.scsi import buffers
from tcmu_gluster.scsi.command import GOOD, Command, Function, Response
from tcmu_gluster.scsi.persistence import DamagedRecord
from tcmu_gluster.scsi.sense import Asc, InvalidFieldInCdb, InvalidFieldInParameterList, ParameterListLengthError
from tcmu_gluster.scsi.spc import reply
from tcmu_gluster.wire.layout import Bit, Bits, Const, Int, Layout

if TYPE_CHECKING:
    from tcmu_gluster.scsi.logical_unit import LogicalUnit
    from tcmu_gluster.scsi.task import Result, Steps

# -- identifying information -------------------------------------------------------------------------------------

IDENTIFYING_INFORMATION = Layout("REPORT IDENTIFYING INFORMATION parameter data", 4, (
    Int("identifying_information_length", 2, 2),
))  # fmt: skip
SUPPORTED_TYPE = Layout("identifying information descriptor", 4, (
    Bits("identifying_information_type", 0, high=7, low=1),
    Int("maximum_identifying_information_length", 2, 2),
))  # fmt: skip


class InformationType(IntEnum):
    """SPC-4 table 60: odd values are restricted."""

    IDENTIFYING = 0x00
    TEXT = 0x02
    SUPPORTED = 0x7F


MAXIMUM_BYTES = {InformationType.IDENTIFYING: 512, InformationType.TEXT: 256}
SECTION = "identifying_information"
_SECTION_NAMES = {InformationType.IDENTIFYING: "information", InformationType.TEXT: "text"}


class Identification:
    """What initiators wrote on the unit, of either type; kept in the record beside the disk."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: dict[int, bytes] = {}

    def restore(self, section: Any) -> None:
        """From the record beside the disk. Raises DamagedRecord."""
        self.values = {}
        if section is None:
            return
        try:
            for kind, name in _SECTION_NAMES.items():
                if name in section:
                    self.values[kind] = bytes.fromhex(section[name])
        except (TypeError, ValueError) as error:
            raise DamagedRecord("its identifying information is no hexadecimal text") from error

    def section_with(self, kind: int, value: bytes) -> dict[str, str]:
        """What the record has to hold once value is kept."""
        values = {**self.values, kind: value}
        return {_SECTION_NAMES[InformationType(key)]: kept.hex() for key, kept in values.items() if kept}


def report_identifying_information(unit: LogicalUnit, command: Command) -> Response:
    """REPORT IDENTIFYING INFORMATION: what was set, or which types there are.  Source: SPC-4 6.32."""
    fields = command.fields
    kind = fields.information_type
    if kind == InformationType.SUPPORTED:
        data = b"".join(
            SUPPORTED_TYPE.pack(identifying_information_type=one, maximum_identifying_information_length=limit)
            for one, limit in MAXIMUM_BYTES.items()
        )
    elif kind in MAXIMUM_BYTES:
        data = unit.identification.values.get(kind, b"")
    else:
        raise InvalidFieldInCdb("information_type")
    head = IDENTIFYING_INFORMATION.pack(identifying_information_length=len(data))
    return reply(command, head + data, fields.allocation_length)


def set_identifying_information(unit: LogicalUnit, command: Command) -> Steps:
    """SET IDENTIFYING INFORMATION: kept beside the disk before it is GOOD; the others hear of it.  Source: SPC-4 6.43.

    Length 0 takes the information away. Text is UTF-8 and ends with a zero.
    """
    fields = command.fields
    kind, length = fields.information_type, fields.parameter_list_length
    command.data_out_wanted = length
    if kind not in MAXIMUM_BYTES:
        raise InvalidFieldInCdb("information_type")
    if length > MAXIMUM_BYTES[kind]:
        raise InvalidFieldInCdb("parameter_list_length")
    if command.data_out_bytes < length:
        raise ParameterListLengthError()
    value = buffers.gather(command.data_out, length)
    if kind == InformationType.TEXT and value:
        _check_text(value)

    def stable() -> None:
        unit.identification.values[kind] = value
        unit.attentions.establish_all(Asc.DEVICE_IDENTIFIER_CHANGED, besides=command.nexus)
        unit.look_again()

    yield from unit.keeper.keep(SECTION, unit.identification.section_with(kind, value) or None, stable)
    return GOOD


def _check_text(value: bytes) -> None:
    if value[-1]:
        raise InvalidFieldInParameterList(len(value) - 1)
    try:
        value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidFieldInParameterList(error.start) from error


# -- timestamp -----------------------------------------------------------------------------------------------------

TIMESTAMP = Layout("REPORT TIMESTAMP parameter data", 12, (
    Const("timestamp_parameter_data_length", 0, 2, 10),
    Bits("timestamp_origin", 2, high=2, low=0),
    Int("timestamp", 4, 6),
))  # fmt: skip
SET_TIMESTAMP_LIST = Layout("SET TIMESTAMP parameter list", 12, (Int("timestamp", 4, 6),))
BY_COMMAND, BY_OTHER_MEANS = 0b010, 0b011  # TIMESTAMP ORIGIN
_LIMIT = 1 << 48
HIGHEST_BYTE = 0xF0
"""What the first byte of a timestamp to be set may be at most."""

Clock = Callable[[], float]
"""Seconds since 1970, UTC."""


class Timestamp:
    """The unit's clock: the machine's, until SET TIMESTAMP moves it (SCSIP) and a hard reset moves it back."""

    __slots__ = ("_ahead_ms", "_clock", "origin")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_ms = 0
        self.origin = BY_OTHER_MEANS

    def _machine_ms(self) -> int:
        return int(self._clock() * 1000)

    def now_ms(self) -> int:
        """Milliseconds since 1970, 48 bits."""
        return (self._machine_ms() + self._ahead_ms) % _LIMIT

    def set(self, milliseconds: int) -> None:
        """It is that time now."""
        self._ahead_ms, self.origin = milliseconds - self._machine_ms(), BY_COMMAND

    def reset(self) -> None:
        """The machine's clock again."""
        self._ahead_ms, self.origin = 0, BY_OTHER_MEANS


def report_timestamp(unit: LogicalUnit, command: Command) -> Response:
    """REPORT TIMESTAMP.  Source: SPC-4 6.38."""
    assert unit.timestamp is not None  # the table has this row only if there is one
    data = TIMESTAMP.pack(timestamp_origin=unit.timestamp.origin, timestamp=unit.timestamp.now_ms())
    return reply(command, data, command.fields.allocation_length)


def set_timestamp(unit: LogicalUnit, command: Command) -> Response:
    """SET TIMESTAMP: the others hear of it.  Source: SPC-4 6.46."""
    assert unit.timestamp is not None  # as above
    length = command.fields.parameter_list_length
    command.data_out_wanted = length
    if not length:
        return GOOD
    if length != SET_TIMESTAMP_LIST.size_bytes:
        raise InvalidFieldInCdb("parameter_list_length")
    data = buffers.gather(command.data_out, min(length, command.data_out_bytes))
    if len(data) < length:
        raise ParameterListLengthError()
    timestamp = SET_TIMESTAMP_LIST.unpack(data).timestamp
    if timestamp >> 40 > HIGHEST_BYTE:
        raise InvalidFieldInParameterList("timestamp", layout=SET_TIMESTAMP_LIST)
    unit.timestamp.set(timestamp)
    unit.attentions.establish_all(Asc.TIMESTAMP_CHANGED, besides=command.nexus)
    unit.look_again()
    return GOOD


# -- task management functions -----------------------------------------------------------------------------------

TASK_MANAGEMENT_FUNCTIONS = Layout("REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS parameter data", 4, (
    Bit("ats", 0, 7), Bit("atss", 0, 6), Bit("cacas", 0, 5), Bit("ctss", 0, 4), Bit("lurs", 0, 3), Bit("qts", 0, 2),
    Bit("qaes", 1, 2), Bit("qtss", 1, 1), Bit("itnrs", 1, 0),
    Int("additional_data_length", 3, 1),
))  # fmt: skip
EXTENDED_FUNCTIONS = Layout("extended task management functions parameter data", 12, (  # bytes 4 to 15
    Bit("tmftmov", 0, 0),
    Bit("attmf", 2, 7), Bit("atstmf", 2, 6), Bit("cacatmf", 2, 5), Bit("ctstmf", 2, 4), Bit("lurtmf", 2, 3),
    Bit("qttmf", 2, 2),
    Bit("qaetmf", 3, 2), Bit("qtstmf", 3, 1), Bit("itnrtmf", 3, 0),
    Int("task_management_functions_long_timeout", 4, 4), Int("task_management_functions_short_timeout", 8, 4),
))  # fmt: skip
_FUNCTION_BITS = {
    Function.ABORT_TASK: "ats",
    Function.ABORT_TASK_SET: "atss",
    Function.CLEAR_ACA: "cacas",
    Function.CLEAR_TASK_SET: "ctss",
    Function.LOGICAL_UNIT_RESET: "lurs",
}


def report_supported_task_management_functions(unit: LogicalUnit, command: Command) -> Result:
    """REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS: the table of task_management.py, printed.  Source: SPC-4 6.36.

    REPD asks for time-outs as well; none is given (TMFTMOV 0), because storage decides how long a task takes to end.
    """
    fields = command.fields
    if fields.allocation_length < TASK_MANAGEMENT_FUNCTIONS.size_bytes:
        raise InvalidFieldInCdb("allocation_length")
    supported = {_FUNCTION_BITS[function]: 1 for function in unit.functions if function in _FUNCTION_BITS}
    more = EXTENDED_FUNCTIONS.pack() if fields.repd else b""
    data = TASK_MANAGEMENT_FUNCTIONS.pack(additional_data_length=len(more), **supported) + more
    return reply(command, data, fields.allocation_length)
