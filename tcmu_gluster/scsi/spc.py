"""The commands of SPC-4 that every unit answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Optional

from tcmu_gluster.scsi import buffers, vpd
from tcmu_gluster.scsi.command import GOOD, Command, Response, lun_field
from tcmu_gluster.scsi.mode_pages import ALL_PAGES, ALL_SUBPAGES, Pages
from tcmu_gluster.scsi.sense import (
    CheckCondition,
    InvalidFieldInCdb,
    InvalidFieldInParameterList,
    LunNotSupported,
    NotReady,
    ParameterListLengthError,
)
from tcmu_gluster.wire.layout import Bit, Bits, Blob, Const, Int, Layout

if TYPE_CHECKING:
    from tcmu_gluster.scsi.logical_unit import LogicalUnit
    from tcmu_gluster.scsi.table import Entry
    from tcmu_gluster.scsi.task import Result, Steps

DIRECT_ACCESS = 0x00
NO_DEVICE = 0x1F
NO_UNIT_HERE = 0b011  # PERIPHERAL QUALIFIER: the target can have no unit at this LUN

# SPC-4 6.6.2
STANDARD_INQUIRY = Layout("standard INQUIRY data", 96, (
    Bits("peripheral_qualifier", 0, high=7, low=5), Bits("peripheral_device_type", 0, high=4, low=0),
    Bit("rmb", 1, 7),
    Const("version", 2, 1, 0x06),
    Bit("normaca", 3, 5), Bit("hisup", 3, 4, value=1), Bits("response_data_format", 3, high=3, low=0, value=2),
    Const("additional_length", 4, 1, 91),
    Bit("sccs", 5, 7), Bits("tpgs", 5, high=5, low=4), Bit("3pc", 5, 3), Bit("protect", 5, 0),
    Bit("encserv", 6, 6), Bit("multip", 6, 4),
    Bit("cmdque", 7, 1, value=1),
    Blob("t10_vendor_identification", 8, 8, b" "),
    Blob("product_identification", 16, 16, b" "),
    Blob("product_revision_level", 32, 4, b" "),
    Const("sam_5", 58, 2, 0x00A0), Const("spc_4", 60, 2, 0x0460), Const("sbc_3", 62, 2, 0x04C0),
    Int("transport_version", 64, 2),
))  # fmt: skip
ISCSI_VERSION = 0x0960

REPORT_LUNS_HEADER = Layout("REPORT LUNS parameter data", 8, (Int("lun_list_length", 0, 4),))

MODE_HEADER_6 = Layout("mode parameter header(6)", 4, (
    Int("mode_data_length", 0, 1), Int("medium_type", 1, 1),
    Bit("wp", 2, 7), Bit("dpofua", 2, 4),
    Int("block_descriptor_length", 3, 1),
))  # fmt: skip
MODE_HEADER_10 = Layout("mode parameter header(10)", 8, (
    Int("mode_data_length", 0, 2), Int("medium_type", 2, 1),
    Bit("wp", 3, 7), Bit("dpofua", 3, 4),
    Bit("longlba", 4, 0),
    Int("block_descriptor_length", 6, 2),
))  # fmt: skip
BLOCK_DESCRIPTOR = Layout("short LBA mode parameter block descriptor", 8, (
    Int("number_of_logical_blocks", 0, 4),
    Bits("logical_block_length", 5, high=23, low=0, size_bytes=3),
))  # fmt: skip
LONG_BLOCK_DESCRIPTOR = Layout("long LBA mode parameter block descriptor", 16, (
    Int("number_of_logical_blocks", 0, 8),
    Int("logical_block_length", 12, 4),
))  # fmt: skip

# SPC-4 6.35
ALL_COMMANDS_HEADER = Layout("all_commands parameter data", 4, (Int("command_data_length", 0, 4),))
COMMAND_DESCRIPTOR = Layout("command descriptor", 8, (
    Int("operation_code", 0, 1),
    Int("service_action", 2, 2),
    Bit("ctdp", 5, 1), Bit("servactv", 5, 0),
    Int("cdb_length", 6, 2),
))  # fmt: skip
ONE_COMMAND = Layout("one_command parameter data", 4, (
    Bit("ctdp", 1, 7), Bits("support", 1, high=2, low=0),
    Int("cdb_size", 2, 2),
))  # fmt: skip
TIMEOUTS = Layout("command timeouts descriptor", 12, (
    Const("descriptor_length", 0, 2, 10),
    Int("command_specific", 3, 1),
    Int("nominal_command_processing_timeout", 4, 4),
    Int("recommended_command_timeout", 8, 4),
))  # fmt: skip
NOT_SUPPORTED, SUPPORTED = 0b001, 0b011  # SUPPORT


def reply(command: Command, data: bytes | bytearray, allocation_length: int) -> Response:
    """GOOD with parameter data, cut to the allocation length; lengths inside it stay as they are (SPC-4 4.2.5.6)."""
    length = min(len(data), allocation_length)
    if not length:
        return GOOD
    views = command.data_in(length)
    buffers.scatter(views, bytes(data[:length]))
    return Response(0, views)


def test_unit_ready(unit: LogicalUnit, command: Command) -> Response:
    """TEST UNIT READY: the gates have already looked."""
    return GOOD


def request_sense(unit: LogicalUnit, command: Command) -> Response:
    """REQUEST SENSE: why the unit isn't operational, else a pending unit attention (cleared by that).

    In the standard's order, so that who polls for progress hears of it and not of what happened to others.
    Source: SPC-4 6.39.
    """
    fields = command.fields
    condition: Optional[CheckCondition]
    if unit.ports.qualifier(command.nexus):
        condition = LunNotSupported()
    else:
        condition = unit.background.trouble()
        if condition is None and unit.not_ready is not None:
            condition = NotReady(unit.not_ready)
    condition = condition or unit.hear(command.nexus) or CheckCondition()  # NO SENSE
    return reply(command, condition.sense(bool(fields.desc)), fields.allocation_length)


def inquiry(unit: LogicalUnit, command: Command) -> Response:
    """INQUIRY: the standard data, or a VPD page.  Source: SPC-4 6.6."""
    fields = command.fields
    if fields.evpd:
        page = vpd.PAGES.get(fields.page_code)
        if page is None or not page.is_there(unit, command.nexus):
            raise InvalidFieldInCdb("page_code")
        data = page.build(unit, command.nexus)
        qualifier = unit.ports.qualifier(command.nexus)
        header = vpd.HEADER.pack(peripheral_qualifier=qualifier, page_code=page.page_code, page_length=len(data))
        return reply(command, header + data, fields.allocation_length)
    if fields.page_code:
        raise InvalidFieldInCdb("page_code")
    identity = unit.identity
    return reply(command, STANDARD_INQUIRY.pack(
        peripheral_qualifier=unit.ports.qualifier(command.nexus),
        rmb=unit.options.removable,
        tpgs=unit.ports.tpgs if command.nexus.target_name else 0,
        multip=len(unit.ports.ports) > 1,
        **{"3pc": unit.commands.service_actions(0x83)},
        t10_vendor_identification=identity.vendor.encode("ascii", "replace")[:8],
        product_identification=identity.product.encode("ascii", "replace")[:16],
        product_revision_level=identity.revision.encode("ascii", "replace")[:4],
        transport_version=ISCSI_VERSION if command.nexus.target_name else 0,
    ), fields.allocation_length)  # fmt: skip


def inquiry_without_unit(command: Command, fields: Any) -> Response:
    """INQUIRY at a LUN without a unit: qualifier 011b, type 1Fh, by which hosts find the units at other LUNs."""
    if fields.evpd or fields.page_code:
        raise InvalidFieldInCdb("page_code")
    data = STANDARD_INQUIRY.pack(
        peripheral_qualifier=NO_UNIT_HERE, peripheral_device_type=NO_DEVICE,
        t10_vendor_identification=b"GLUSTER", product_identification=b"no unit", product_revision_level=b"1.0",
        transport_version=ISCSI_VERSION if command.nexus.target_name else 0,
    )  # fmt: skip
    return reply(command, data, fields.allocation_length)


def report_luns(unit: LogicalUnit, command: Command) -> Response:
    """REPORT LUNS, through a unit: what its target shows to this nexus; clears REPORTED LUNS DATA HAS CHANGED."""
    response = luns_reply(command, command.fields, unit.inventory(command))
    unit.luns_heard(command.nexus)
    return response


def luns_reply(command: Command, fields: Any, luns: Sequence[int]) -> Response:
    """The parameter data of REPORT LUNS. There are no well known units, so that 01h lists none.  Source: SPC-4 6.33."""
    if fields.select_report > 2:
        raise InvalidFieldInCdb("select_report")
    shown = () if fields.select_report == 1 else sorted(luns)
    data = REPORT_LUNS_HEADER.pack(lun_list_length=8 * len(shown))
    return reply(command, data + b"".join(lun_field(lun).to_bytes(8, "big") for lun in shown), fields.allocation_length)


def mode_sense_6(unit: LogicalUnit, command: Command) -> Response:
    """MODE SENSE(6).  Source: SPC-4 6.13."""
    descriptor = b"" if command.fields.dbd else _short_descriptor(unit)
    pages = _mode_pages(unit, command.fields)
    head = MODE_HEADER_6.pack(
        mode_data_length=min(3 + len(descriptor) + len(pages), 255),
        wp=unit.is_write_protected(command.nexus), dpofua=1, block_descriptor_length=len(descriptor),
    )  # fmt: skip
    return reply(command, head + descriptor + pages, command.fields.allocation_length)


def mode_sense_10(unit: LogicalUnit, command: Command) -> Response:
    """MODE SENSE(10).  Source: SPC-4 6.14."""
    fields = command.fields
    descriptor = b""
    if not fields.dbd:
        descriptor = _long_descriptor(unit) if fields.llbaa else _short_descriptor(unit)
    pages = _mode_pages(unit, fields)
    head = MODE_HEADER_10.pack(
        mode_data_length=6 + len(descriptor) + len(pages), wp=unit.is_write_protected(command.nexus), dpofua=1,
        longlba=len(descriptor) == LONG_BLOCK_DESCRIPTOR.size_bytes, block_descriptor_length=len(descriptor),
    )  # fmt: skip
    return reply(command, head + descriptor + pages, fields.allocation_length)


def _short_descriptor(unit: LogicalUnit) -> bytes:
    blocks = min(unit.blocks, 0xFFFFFFFF)
    return bytes(BLOCK_DESCRIPTOR.pack(number_of_logical_blocks=blocks, logical_block_length=unit.block_size_bytes))


def _long_descriptor(unit: LogicalUnit) -> bytes:
    return bytes(
        LONG_BLOCK_DESCRIPTOR.pack(number_of_logical_blocks=unit.blocks, logical_block_length=unit.block_size_bytes)
    )


def _mode_pages(unit: LogicalUnit, fields: Any) -> bytes:
    """The pages that PC, PAGE CODE and SUBPAGE CODE ask for; a page that nobody saved has its default values saved."""
    if fields.page_code == ALL_PAGES and fields.subpage_code not in (0, ALL_SUBPAGES):
        raise InvalidFieldInCdb("subpage_code")
    rows = list(unit.modes.select(fields.page_code, fields.subpage_code))
    if not rows:
        known = any(unit.modes.select(fields.page_code, ALL_SUBPAGES))
        raise InvalidFieldInCdb("subpage_code" if known else "page_code")
    return b"".join(unit.modes.bytes_of(row, fields.pc) for row in rows)


def mode_select_6(unit: LogicalUnit, command: Command) -> Result:
    """MODE SELECT(6).  Source: SPC-4 6.11."""
    return _mode_select(unit, command, MODE_HEADER_6, BLOCK_DESCRIPTOR)


def mode_select_10(unit: LogicalUnit, command: Command) -> Result:
    """MODE SELECT(10).  Source: SPC-4 6.12."""
    return _mode_select(unit, command, MODE_HEADER_10, BLOCK_DESCRIPTOR)


def _mode_select(unit: LogicalUnit, command: Command, header: Layout, short: Layout) -> Result:
    """Judge the header, the block descriptor and all pages, then take the pages over; the others hear of a change.

    SP: all pages that can be saved are saved, with what was sent; GOOD when that is on stable storage.
    """
    fields = command.fields
    command.data_out_wanted = fields.parameter_list_length
    if not fields.pf:
        raise InvalidFieldInCdb("pf")
    pages: Pages = {}
    if fields.parameter_list_length:
        pages = _selected_pages(unit, command, header, short)
    if fields.sp:
        return _save_modes(unit, command, pages)
    unit.take_modes(pages, command.nexus)
    return GOOD


def _save_modes(unit: LogicalUnit, command: Command, pages: Pages) -> Steps:
    def stable() -> None:
        unit.take_modes(pages, command.nexus, saved=True)

    yield from unit.keeper.keep("mode_pages", unit.modes.to_save(pages), stable)
    return GOOD


def _selected_pages(unit: LogicalUnit, command: Command, header: Layout, short: Layout) -> Pages:
    """The pages of a MODE SELECT list, judged. A block descriptor has to name the block length that there is.

    Its number of blocks is ignored, as the capacity is not changed by it.  Source: SBC-4 6.5.2.
    """
    fields = command.fields
    data = buffers.gather(command.data_out, min(fields.parameter_list_length, command.data_out_bytes))
    if len(data) < max(fields.parameter_list_length, header.size_bytes):
        raise ParameterListLengthError()
    head = header.unpack(data)
    if head.medium_type:
        raise InvalidFieldInParameterList("medium_type", layout=header)
    at = header.size_bytes
    if head.block_descriptor_length:
        layout = LONG_BLOCK_DESCRIPTOR if getattr(head, "longlba", 0) else short
        if head.block_descriptor_length != layout.size_bytes:
            raise InvalidFieldInParameterList("block_descriptor_length", layout=header)
        if len(data) < at + layout.size_bytes:
            raise ParameterListLengthError()
        if layout.unpack(data, at).logical_block_length != unit.block_size_bytes:
            raise InvalidFieldInParameterList("logical_block_length", layout=layout, base=at)
        at += layout.size_bytes
    return unit.modes.judge(data[at:], at)


def report_supported_operation_codes(unit: LogicalUnit, command: Command) -> Response:
    """REPORT SUPPORTED OPERATION CODES: the table, printed, with what LIO answers itself.  Source: SPC-4 6.35."""
    fields = command.fields
    option, opcode, action = (
        fields.reporting_options,
        fields.requested_operation_code,
        fields.requested_service_action,
    )
    if option == 0:
        data = b"".join(_command_descriptor(row, fields.rctd) for row in unit.reported)
        data = bytes(ALL_COMMANDS_HEADER.pack(command_data_length=len(data))) + data
        return reply(command, data, fields.allocation_length)
    if option > 3:
        raise InvalidFieldInCdb("reporting_options")
    actions = unit.reported.service_actions(opcode)
    if option == 1 and actions:
        raise InvalidFieldInCdb("requested_operation_code")
    if option == 2 and not actions and unit.reported.find(opcode) is not None:
        raise InvalidFieldInCdb("requested_operation_code")
    row = unit.reported.find(opcode, action if actions else None)
    if option == 3 and not actions and action:
        row = None
    return reply(command, _one_command(row, fields.rctd), fields.allocation_length)


def _command_descriptor(row: Entry, rctd: int) -> bytes:
    data = COMMAND_DESCRIPTOR.pack(
        operation_code=row.operation_code, service_action=row.service_action or 0,
        servactv=row.service_action is not None, ctdp=rctd, cdb_length=row.layout.size_bytes,
    )  # fmt: skip
    return bytes(data) + (_timeouts(row) if rctd else b"")


def _one_command(row: Entry | None, rctd: int) -> bytes:
    if row is None:
        return bytes(ONE_COMMAND.pack(support=NOT_SUPPORTED))
    head = ONE_COMMAND.pack(support=SUPPORTED, ctdp=rctd, cdb_size=row.layout.size_bytes)
    return bytes(head) + row.usage + (_timeouts(row) if rctd else b"")


def _timeouts(row: Entry) -> bytes:
    return bytes(TIMEOUTS.pack(
        nominal_command_processing_timeout=row.nominal_seconds, recommended_command_timeout=row.recommended_seconds
    ))  # fmt: skip
