"""Vital product data: one layout and one row a page.  Source: SPC-4 7.8, SBC-4 6.6."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tcmu_gluster.scsi.command import Nexus
from tcmu_gluster.scsi.designation import (
    ASCII,
    BINARY,
    ISCSI,
    NAA,
    RELATIVE_TARGET_PORT,
    SCSI_NAME_STRING,
    T10_VENDOR_ID,
    TARGET_DEVICE,
    TARGET_PORT,
    TARGET_PORT_GROUP,
    UTF_8,
    designator,
    name_string,
)
from tcmu_gluster.scsi.third_party import third_party_copy
from tcmu_gluster.scsi.thresholds import threshold_exponent
from tcmu_gluster.wire.layout import Bit, Bits, Int, Layout

if TYPE_CHECKING:
    from tcmu_gluster.scsi.logical_unit import LogicalUnit

HEADER = Layout("VPD page header", 4, (
    Bits("peripheral_qualifier", 0, high=7, low=5), Bits("peripheral_device_type", 0, high=4, low=0),
    Int("page_code", 1, 1),
    Int("page_length", 2, 2),
))  # fmt: skip

EXTENDED_INQUIRY_DATA = Layout("Extended INQUIRY Data", 60, (  # byte 4 of the page is byte 0 here
    Bits("activate_microcode", 0, high=7, low=6), Bits("spt", 0, high=5, low=3), Bit("grd_chk", 0, 2),
    Bit("app_chk", 0, 1), Bit("ref_chk", 0, 0),
    Bit("uask_sup", 1, 5), Bit("group_sup", 1, 4), Bit("prior_sup", 1, 3), Bit("headsup", 1, 2), Bit("ordsup", 1, 1),
    Bit("simpsup", 1, 0),
    Bit("wu_sup", 2, 3), Bit("crd_sup", 2, 2), Bit("nv_sup", 2, 1), Bit("v_sup", 2, 0),
    Bit("p_i_i_sup", 3, 4), Bit("luiclr", 3, 0),
    Bit("r_sup", 4, 4), Bit("cbcs", 4, 0),
    Bits("multi_i_t_nexus_microcode_download", 5, high=3, low=0),
    Int("extended_self_test_completion_minutes", 6, 2),
    Bit("poa_sup", 8, 7), Bit("hra_sup", 8, 6), Bit("vsa_sup", 8, 5),
    Int("maximum_supported_sense_data_length", 9, 1),
))  # fmt: skip

MODE_PAGE_POLICY = Layout("mode page policy descriptor", 4, (
    Bits("policy_page_code", 0, high=5, low=0), Int("policy_subpage_code", 1, 1),
    Bit("mlus", 2, 7), Bits("mode_page_policy", 2, high=1, low=0),
))  # fmt: skip
SHARED_PAGES = 0b00  # MODE PAGE POLICY

SCSI_PORT = Layout("SCSI port designation descriptor", 12, (
    Int("relative_port_identifier", 2, 2),
    Int("initiator_port_transportid_length", 6, 2),
    Int("target_port_descriptors_length", 10, 2),
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
    Int("maximum_atomic_transfer_length", 40, 4), Int("atomic_alignment", 44, 4),
    Int("atomic_transfer_length_granularity", 48, 4),
    Int("maximum_atomic_transfer_length_with_atomic_boundary", 52, 4), Int("maximum_atomic_boundary_size", 56, 4),
))  # fmt: skip

BLOCK_DEVICE_CHARACTERISTICS = Layout("Block Device Characteristics", 60, (
    Int("medium_rotation_rate", 0, 2),
    Int("product_type", 2, 1),
    Bits("wabereq", 3, high=7, low=6), Bits("wacereq", 3, high=5, low=4), Bits("nominal_form_factor", 3, high=3, low=0),
    Bit("fuab", 4, 1), Bit("vbuls", 4, 0),
))  # fmt: skip

LOGICAL_BLOCK_PROVISIONING = Layout("Logical Block Provisioning", 4, (
    Int("threshold_exponent", 0, 1),
    Bit("lbpu", 1, 7), Bit("lbpws", 1, 6), Bit("lbpws10", 1, 5), Bit("lbprz", 1, 2), Bit("anc_sup", 1, 1),
    Bit("dp", 1, 0),
    Bits("provisioning_type", 2, high=2, low=0),
))  # fmt: skip

NON_ROTATING = 1
READS_AFTER_ERASE = 0b01  # WABEREQ
RESOURCE_PROVISIONED, THIN_PROVISIONED = 1, 2

Builder = Callable[["LogicalUnit", Nexus], bytes]


def supported_pages(unit: LogicalUnit, nexus: Nexus) -> bytes:
    """00h Supported VPD Pages."""
    return bytes(code for code in sorted(PAGES) if PAGES[code].is_there(unit, nexus))


def unit_serial_number(unit: LogicalUnit, nexus: Nexus) -> bytes:
    """80h Unit Serial Number."""
    return unit.identity.unit_serial_number


def device_identification(unit: LogicalUnit, nexus: Nexus) -> bytes:
    """83h Device Identification: what names the disk, then the port that the nexus came through."""
    identity = unit.identity
    page = designator(BINARY, NAA, identity.naa) + designator(ASCII, T10_VENDOR_ID, identity.t10_designator)
    page += b"".join(designator(BINARY, NAA, naa) for naa in identity.more_naa)
    if nexus.target_name:
        port = nexus.relative_target_port
        page += designator(BINARY, RELATIVE_TARGET_PORT, port.to_bytes(4, "big"), TARGET_PORT, ISCSI)
        if unit.options.ports:
            group = nexus.target_port_group.to_bytes(4, "big")
            page += designator(BINARY, TARGET_PORT_GROUP, group, TARGET_PORT, ISCSI)
        page += _port_name(nexus)
        page += designator(UTF_8, SCSI_NAME_STRING, name_string(nexus.target_name), TARGET_DEVICE, ISCSI)
    return page


def _port_name(nexus: Nexus) -> bytes:
    port_name = f"{nexus.target_name},t,0x{nexus.portal_group_tag:04x}"
    return designator(UTF_8, SCSI_NAME_STRING, name_string(port_name), TARGET_PORT, ISCSI)


def management_network_addresses(unit: LogicalUnit, nexus: Nexus) -> bytes:
    """85h Management Network Addresses: none is told."""
    return b""


def extended_inquiry_data(unit: LogicalUnit, nexus: Nexus) -> bytes:
    """86h Extended INQUIRY Data: all task attributes but ACA, and a write cache that is lost without power."""
    return bytes(EXTENDED_INQUIRY_DATA.pack(headsup=1, ordsup=1, simpsup=1, v_sup=1, luiclr=1))


def mode_page_policy(unit: LogicalUnit, nexus: Nexus) -> bytes:
    """87h Mode Page Policy: one set of values, for all nexuses; Disconnect-Reconnect is one for all units (MLUS)."""
    return b"".join(
        MODE_PAGE_POLICY.pack(
            policy_page_code=page, policy_subpage_code=subpage, mlus=mlus, mode_page_policy=SHARED_PAGES
        )
        for page, subpage, mlus in ((0x3F, 0xFF, 0), (0x02, 0x00, 1))
    )


def scsi_ports(unit: LogicalUnit, nexus: Nexus) -> bytes:
    """88h SCSI Ports: the one that the nexus came through; what iSCSI calls the others is not known here."""
    name = _port_name(nexus)
    return bytes(SCSI_PORT.pack(
        relative_port_identifier=nexus.relative_target_port, target_port_descriptors_length=len(name)
    )) + name  # fmt: skip


def block_limits(unit: LogicalUnit, nexus: Nexus) -> bytes:
    """B0h Block Limits."""
    limits = unit.limits
    return bytes(BLOCK_LIMITS.pack(
        wsnz=not unit.options.write_same_to_the_end,
        maximum_compare_and_write_length=limits.compare_and_write_blocks,
        optimal_transfer_length_granularity=limits.optimal_granularity_blocks,
        maximum_transfer_length=limits.transfer_blocks,
        optimal_transfer_length=limits.optimal_transfer_blocks,
        maximum_unmap_lba_count=limits.unmap_blocks,
        maximum_unmap_block_descriptor_count=limits.unmap_descriptors,
        optimal_unmap_granularity=limits.unmap_granularity_blocks,
        ugavalid=bool(limits.unmap_granularity_blocks),
        maximum_write_same_length=limits.write_same_blocks,
        maximum_atomic_transfer_length=limits.atomic_blocks,
        atomic_alignment=limits.atomic_granularity_blocks,
        atomic_transfer_length_granularity=limits.atomic_granularity_blocks,
    ))  # fmt: skip


def block_device_characteristics(unit: LogicalUnit, nexus: Nexus) -> bytes:
    """B1h Block Device Characteristics: what a block erase (only thin units have it) left behind can be read."""
    wabereq = READS_AFTER_ERASE if unit.thin else 0
    return bytes(BLOCK_DEVICE_CHARACTERISTICS.pack(medium_rotation_rate=NON_ROTATING, wabereq=wabereq, vbuls=1))


def logical_block_provisioning(unit: LogicalUnit, nexus: Nexus) -> bytes:
    """B2h Logical Block Provisioning."""
    thin = unit.thin
    return bytes(LOGICAL_BLOCK_PROVISIONING.pack(
        threshold_exponent=threshold_exponent(unit.block_size_bytes) if thin else 0,
        lbpu=thin, lbpws=thin, lbpws10=thin, lbprz=unit.unmapped_reads_zeros,
        provisioning_type=THIN_PROVISIONED if thin else 0,
    ))  # fmt: skip


@dataclass(frozen=True)
class VpdPage:
    """A row: what the page is called, and what makes its bytes after the header. ports: only where a port is known."""

    page_code: int
    name: str
    source: str
    build: Builder
    ports: bool = False

    def is_there(self, unit: LogicalUnit, nexus: Nexus) -> bool:
        """Whether the unit has it for this nexus."""
        return bool(nexus.target_name) or not self.ports


PAGES: dict[int, VpdPage] = {
    page.page_code: page
    for page in (
        VpdPage(0x00, "Supported VPD Pages", "SPC-4 7.8.16", supported_pages),
        VpdPage(0x80, "Unit Serial Number", "SPC-4 7.8.18", unit_serial_number),
        VpdPage(0x83, "Device Identification", "SPC-4 7.8.6", device_identification),
        VpdPage(0x85, "Management Network Addresses", "SPC-4 7.8.8", management_network_addresses),
        VpdPage(0x86, "Extended INQUIRY Data", "SPC-4 7.8.7", extended_inquiry_data),
        VpdPage(0x87, "Mode Page Policy", "SPC-4 7.8.9", mode_page_policy),
        VpdPage(0x88, "SCSI Ports", "SPC-4 7.8.14", scsi_ports, ports=True),
        VpdPage(0x8F, "Third-party Copy", "SPC-4 7.8.17", third_party_copy),
        VpdPage(0xB0, "Block Limits", "SBC-4 6.6.4", block_limits),
        VpdPage(0xB1, "Block Device Characteristics", "SBC-4 6.6.2", block_device_characteristics),
        VpdPage(0xB2, "Logical Block Provisioning", "SBC-4 6.6.7", logical_block_provisioning),
    )
}
