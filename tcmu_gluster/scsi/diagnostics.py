"""SEND DIAGNOSTIC and RECEIVE DIAGNOSTIC RESULTS, READ BUFFER and WRITE BUFFER: is the way to the disk all right?

There is one diagnostic page, the list of pages; the default self-test reads the first and the last block. Buffers are
the echo buffer, of which each nexus has its own, and a data buffer with number 0, which is the same memory.
Source: SPC-4 6.18, 6.28, 6.42, 6.49, 7.2.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from tcmu_gluster.backends.base import Read
from tcmu_gluster.scsi import buffers
from tcmu_gluster.scsi.command import GOOD, Command, Nexus, Response
from tcmu_gluster.scsi.sense import (
    Asc,
    HardwareError,
    IllegalRequest,
    InvalidFieldInCdb,
    InvalidFieldInParameterList,
    ParameterListLengthError,
)
from tcmu_gluster.scsi.spc import reply
from tcmu_gluster.wire.layout import Bit, Bits, Int, Layout

if TYPE_CHECKING:
    from tcmu_gluster.scsi.logical_unit import LogicalUnit
    from tcmu_gluster.scsi.task import Steps

DIAGNOSTIC_PAGE = Layout("diagnostic page header", 4, (Int("page_code", 0, 1), Int("page_length", 2, 2)))
SUPPORTED_PAGES = 0x00
PAGES = ((SUPPORTED_PAGES, "Supported Diagnostic Pages", "SPC-4 7.2.4"),)

BUFFER_BYTES = 4096
DESCRIPTOR = Layout("READ BUFFER descriptor", 4, (
    Int("offset_boundary", 0, 1), Bits("buffer_capacity", 1, high=23, low=0, size_bytes=3),
))  # fmt: skip
ECHO_DESCRIPTOR = Layout("READ BUFFER echo descriptor", 4, (
    Bit("ebos", 0, 0), Bits("buffer_capacity", 2, high=12, low=0, size_bytes=2),
))  # fmt: skip


class BufferMode(IntEnum):
    """MODE of READ BUFFER and WRITE BUFFER, as far as they are here."""

    DATA = 0x02
    DESCRIPTOR = 0x03
    ECHO = 0x0A
    ECHO_DESCRIPTOR = 0x0B


def send_diagnostic(unit: LogicalUnit, command: Command) -> Steps:
    """SEND DIAGNOSTIC: the default self-test, or the page that asks for the list of pages.  Source: SPC-4 6.42.

    Raises HardwareError (FAILED SELF-TEST) if a block can't be read.
    """
    fields = command.fields
    length = command.data_out_wanted = fields.parameter_list_length
    if fields.self_test_code:  # background and extended self-tests would need their log page
        raise InvalidFieldInCdb("self_test_code")
    if fields.selftest:
        if length:
            raise InvalidFieldInCdb("parameter_list_length")
        yield from _self_test(unit)
        return GOOD
    if length:
        _check_page(buffers.gather(command.data_out, min(length, command.data_out_bytes)), length)
    return GOOD


def _self_test(unit: LogicalUnit) -> Steps:
    block = unit.block_size_bytes
    memory = memoryview(bytearray(block))
    try:
        for lba in (0, unit.blocks - 1):
            yield Read(lba * block, (memory,))
    except OSError as error:
        raise HardwareError(Asc.FAILED_SELF_TEST) from error
    return GOOD


def _check_page(data: bytes, length: int) -> None:
    """A list that the CDB cuts is its fault, not the list's.  Source: SPC-4 table 320."""
    if length < DIAGNOSTIC_PAGE.size_bytes:
        raise InvalidFieldInCdb("parameter_list_length")
    if len(data) < length:
        raise ParameterListLengthError()
    page = DIAGNOSTIC_PAGE.unpack(data)
    if page.page_length > length - DIAGNOSTIC_PAGE.size_bytes:
        raise InvalidFieldInCdb("parameter_list_length")
    if page.page_code != SUPPORTED_PAGES:
        raise InvalidFieldInParameterList("page_code", layout=DIAGNOSTIC_PAGE)
    if page.page_length:
        raise InvalidFieldInParameterList("page_length", layout=DIAGNOSTIC_PAGE)


def receive_diagnostic_results(unit: LogicalUnit, command: Command) -> Response:
    """RECEIVE DIAGNOSTIC RESULTS: the list of pages, with PCV or without.  Source: SPC-4 6.28."""
    fields = command.fields
    if fields.pcv and fields.page_code != SUPPORTED_PAGES:
        raise InvalidFieldInCdb("page_code")
    codes = bytes(code for code, _, _ in PAGES)
    head = DIAGNOSTIC_PAGE.pack(page_code=SUPPORTED_PAGES, page_length=len(codes))
    return reply(command, head + codes, fields.allocation_length)


class EchoBuffers:
    """The buffer of each nexus; there is none before it was written."""

    __slots__ = ("_buffers",)

    def __init__(self) -> None:
        self._buffers: dict[Nexus, bytes] = {}

    def of(self, nexus: Nexus) -> bytes:
        """What the nexus wrote; empty if nothing."""
        return self._buffers.get(nexus, b"")

    def put(self, nexus: Nexus, offset: int, data: bytes) -> None:
        """Bytes from offset on; what was never written before it is zeros."""
        kept = self.of(nexus)
        self._buffers[nexus] = kept[:offset].ljust(offset, b"\0") + data + kept[offset + len(data) :]

    def replace(self, nexus: Nexus, data: bytes) -> None:
        """All of it."""
        self._buffers[nexus] = data

    def forget(self, nexus: Nexus) -> None:
        """The nexus is gone."""
        self._buffers.pop(nexus, None)

    def clear(self) -> None:
        """A reset."""
        self._buffers.clear()


def write_buffer(unit: LogicalUnit, command: Command) -> Response:
    """WRITE BUFFER: data (at an offset) or echo (as a whole). No microcode is taken.  Source: SPC-4 6.49."""
    fields = command.fields
    length = command.data_out_wanted = fields.parameter_list_length
    if fields.mode not in (BufferMode.DATA, BufferMode.ECHO):
        raise InvalidFieldInCdb("mode")
    is_echo = fields.mode == BufferMode.ECHO
    if fields.buffer_id and not is_echo:  # the echo buffer has no number: there the field is ignored
        raise InvalidFieldInCdb("buffer_id")
    offset = 0 if is_echo else fields.buffer_offset
    if offset > BUFFER_BYTES:
        raise InvalidFieldInCdb("buffer_offset")
    if offset + length > BUFFER_BYTES:
        raise InvalidFieldInCdb("parameter_list_length")
    if command.data_out_bytes < length:
        raise ParameterListLengthError()
    data = buffers.gather(command.data_out, length)
    if is_echo:
        unit.echo.replace(command.nexus, data)
    elif data:
        unit.echo.put(command.nexus, offset, data)
    return GOOD


def read_buffer(unit: LogicalUnit, command: Command) -> Response:
    """READ BUFFER: data, the echo of what this nexus wrote last, or their descriptors.  Source: SPC-4 6.18.

    Raises IllegalRequest (COMMAND SEQUENCE ERROR) for an echo of nothing.
    """
    fields, nexus = command.fields, command.nexus
    mode = fields.mode
    if mode == BufferMode.DESCRIPTOR:
        capacity = 0 if fields.buffer_id else BUFFER_BYTES
        return reply(command, DESCRIPTOR.pack(buffer_capacity=capacity), fields.allocation_length)
    if mode == BufferMode.ECHO_DESCRIPTOR:
        return reply(command, ECHO_DESCRIPTOR.pack(ebos=1, buffer_capacity=BUFFER_BYTES), fields.allocation_length)
    if mode == BufferMode.ECHO:
        if not unit.echo.of(nexus):
            raise IllegalRequest(Asc.COMMAND_SEQUENCE_ERROR)
        return reply(command, unit.echo.of(nexus), fields.allocation_length)
    if mode != BufferMode.DATA:
        raise InvalidFieldInCdb("mode")
    if fields.buffer_id:
        raise InvalidFieldInCdb("buffer_id")
    if fields.buffer_offset > BUFFER_BYTES:
        raise InvalidFieldInCdb("buffer_offset")
    data = unit.echo.of(nexus).ljust(BUFFER_BYTES, b"\0")[fields.buffer_offset :]
    return reply(command, data, fields.allocation_length)
