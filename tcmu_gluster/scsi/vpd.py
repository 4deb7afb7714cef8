"""Vital product data: one layout and one row a page.  Source: SPC-4 7.8, SBC-3 6.5."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tcmu_gluster.scsi.command import Nexus
from tcmu_gluster.wire.layout import Bit, Bits, Int, Layout

if TYPE_CHECKING:
    from tcmu_gluster.scsi.logical_unit import LogicalUnit

HEADER = Layout("VPD page header", 4, (
    Bits("peripheral_qualifier", 0, high=7, low=5), Bits("peripheral_device_type", 0, high=4, low=0),
    Int("page_code", 1, 1),
    Int("page_length", 2, 2),
))  # fmt: skip

DESIGNATION = Layout("designation descriptor", 4, (
    Bits("protocol_identifier", 0, high=7, low=4), Bits("code_set", 0, high=3, low=0),
    Bit("piv", 1, 7), Bits("association", 1, high=5, low=4), Bits("designator_type", 1, high=3, low=0),
    Int("designator_length", 3, 1),
))  # fmt: skip

BLOCK_LIMITS = Layout("Block Limits", 60, (  # byte 4 of the page is byte 0 here
    Bit("wsnz", 0, 0),
    Int("maximum_compare_and_write_length", 1, 1),
    Int("optimal_transfer_length_granularity", 2, 2),
    Int("maximum_transfer_length", 4, 4),
    Int("optimal_transfer_length", 8, 4),
    Int("maximum_prefetch_length", 12, 4),
    Int("maximum_unmap_lba_count", 16, 4),
    Int("maximum_unmap_block_descriptor_count", 20, 4),
    Int("optimal_unmap_granularity", 24, 4),
    Bits("ugavalid", 28, high=31, low=31, size_bytes=4),
    Bits("unmap_granularity_alignment", 28, high=30, low=0, size_bytes=4),
    Int("maximum_write_same_length", 32, 8),
))  # fmt: skip

BLOCK_DEVICE_CHARACTERISTICS = Layout("Block Device Characteristics", 60, (
    Int("medium_rotation_rate", 0, 2),
    Int("product_type", 2, 1),
    Bits("nominal_form_factor", 3, high=3, low=0),
    Bit("fuab", 4, 1), Bit("vbuls", 4, 0),
))  # fmt: skip

LOGICAL_BLOCK_PROVISIONING = Layout("Logical Block Provisioning", 4, (
    Int("threshold_exponent", 0, 1),
    Bit("lbpu", 1, 7), Bit("lbpws", 1, 6), Bit("lbpws10", 1, 5), Bit("lbprz", 1, 2), Bit("anc_sup", 1, 1),
    Bit("dp", 1, 0),
    Bits("provisioning_type", 2, high=2, low=0),
))  # fmt: skip

BINARY, ASCII, UTF_8 = 1, 2, 3  # CODE SET
LOGICAL_UNIT, TARGET_PORT, TARGET_DEVICE = 0, 1, 2  # ASSOCIATION
T10_VENDOR_ID, NAA, RELATIVE_TARGET_PORT, TARGET_PORT_GROUP, SCSI_NAME_STRING = 1, 3, 4, 5, 8  # DESIGNATOR TYPE
ISCSI = 5  # PROTOCOL IDENTIFIER
NON_ROTATING = 1
RESOURCE_PROVISIONED, THIN_PROVISIONED = 1, 2

Builder = Callable[["LogicalUnit", Nexus], bytes]


def supported_pages(unit: LogicalUnit, nexus: Nexus) -> bytes:
    """00h Supported VPD Pages."""
    return bytes(sorted(PAGES))


def unit_serial_number(unit: LogicalUnit, nexus: Nexus) -> bytes:
    """80h Unit Serial Number."""
    return unit.identity.serial.encode("ascii", "replace")


def designator(code_set: int, type_: int, value: bytes, association: int = LOGICAL_UNIT, protocol: int = 0) -> bytes:
    """One designation descriptor; protocol != 0 makes it one of a port of that protocol."""
    return bytes(DESIGNATION.pack(
        protocol_identifier=protocol, piv=bool(protocol), code_set=code_set, association=association,
        designator_type=type_, designator_length=len(value),
    )) + value  # fmt: skip


def device_identification(unit: LogicalUnit, nexus: Nexus) -> bytes:
    """83h Device Identification: what names the disk, then the port that the nexus came through."""
    identity = unit.identity
    vendor_and_serial = identity.vendor.encode("ascii").ljust(8) + identity.serial.encode("ascii", "replace")
    page = designator(BINARY, NAA, identity.naa) + designator(ASCII, T10_VENDOR_ID, vendor_and_serial)
    if nexus.target_name:
        port = nexus.relative_target_port
        page += designator(BINARY, RELATIVE_TARGET_PORT, port.to_bytes(4, "big"), TARGET_PORT, ISCSI)
        if unit.options.ports:
            group = nexus.target_port_group.to_bytes(4, "big")
            page += designator(BINARY, TARGET_PORT_GROUP, group, TARGET_PORT, ISCSI)
        port_name = f"{nexus.target_name},t,0x{nexus.portal_group_tag:04x}"
        page += designator(UTF_8, SCSI_NAME_STRING, name_string(port_name), TARGET_PORT, ISCSI)
        page += designator(UTF_8, SCSI_NAME_STRING, name_string(nexus.target_name), TARGET_DEVICE, ISCSI)
    return page


def name_string(name: str) -> bytes:
    """A SCSI name string: UTF-8, ended by one zero at least, padded to a multiple of four.  Source: SPC-4 7.8.6.11."""
    text = name.encode("utf-8") + b"\0"
    return text + bytes(-len(text) % 4)


def block_limits(unit: LogicalUnit, nexus: Nexus) -> bytes:
    """B0h Block Limits."""
    limits = unit.limits
    return bytes(BLOCK_LIMITS.pack(
        wsnz=1,
        maximum_compare_and_write_length=limits.compare_and_write_blocks,
        optimal_transfer_length_granularity=limits.optimal_granularity_blocks,
        maximum_transfer_length=limits.transfer_blocks,
        optimal_transfer_length=limits.optimal_transfer_blocks,
        maximum_unmap_lba_count=limits.unmap_blocks,
        maximum_unmap_block_descriptor_count=limits.unmap_descriptors,
        optimal_unmap_granularity=limits.unmap_granularity_blocks,
        ugavalid=bool(limits.unmap_granularity_blocks),
        maximum_write_same_length=limits.write_same_blocks,
    ))  # fmt: skip


def block_device_characteristics(unit: LogicalUnit, nexus: Nexus) -> bytes:
    """B1h Block Device Characteristics."""
    return bytes(BLOCK_DEVICE_CHARACTERISTICS.pack(medium_rotation_rate=NON_ROTATING, vbuls=1))


def logical_block_provisioning(unit: LogicalUnit, nexus: Nexus) -> bytes:
    """B2h Logical Block Provisioning."""
    thin = unit.thin
    return bytes(LOGICAL_BLOCK_PROVISIONING.pack(
        lbpu=thin, lbpws=thin, lbpws10=thin, lbprz=thin, provisioning_type=THIN_PROVISIONED if thin else 0,
    ))  # fmt: skip


@dataclass(frozen=True)
class VpdPage:
    """A row: what the page is called, and what makes its bytes after the header."""

    page_code: int
    name: str
    build: Builder


PAGES: dict[int, VpdPage] = {
    page.page_code: page
    for page in (
        VpdPage(0x00, "Supported VPD Pages", supported_pages),
        VpdPage(0x80, "Unit Serial Number", unit_serial_number),
        VpdPage(0x83, "Device Identification", device_identification),
        VpdPage(0xB0, "Block Limits", block_limits),
        VpdPage(0xB1, "Block Device Characteristics", block_device_characteristics),
        VpdPage(0xB2, "Logical Block Provisioning", logical_block_provisioning),
    )
}
