"""VPD page 8Fh Third-party Copy: which copies a unit takes and within what limits.

Source: SPC-4 7.8.17, SBC-4 6.6.9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcmu_gluster.scsi.command import Nexus
from tcmu_gluster.scsi.copy_descriptors import (
    IMPLEMENTED,
    MAXIMUM_CSCDS,
    MAXIMUM_LIST_BYTES,
    MAXIMUM_SEGMENT_BYTES,
    MAXIMUM_SEGMENTS,
    THIS_UNIT,
    TOKEN_S_UNIT,
    UNIT_COPIES,
)
from tcmu_gluster.scsi.rod_token import (
    ANY_POINT_IN_TIME,
    BLOCK_DEVICE_ZERO,
    CHANGE_VULNERABLE,
    DEFAULT_INACTIVITY_SECONDS,
    LIFETIME_SECONDS,
    MAXIMUM_INACTIVITY_SECONDS,
    MAXIMUM_RANGES,
    MAXIMUM_ROD_BYTES,
    OPTIMAL_ROD_BYTES,
    POINT_IN_TIME_DEFAULT,
)
from tcmu_gluster.wire.layout import Bit, Const, Int, Layout

if TYPE_CHECKING:
    from tcmu_gluster.scsi.logical_unit import LogicalUnit

DESCRIPTOR = Layout("third-party copy descriptor", 4, (
    Int("third_party_copy_descriptor_type", 0, 2), Int("third_party_copy_descriptor_length", 2, 2),
))  # fmt: skip
# Offsets from here on count from behind that header.
BLOCK_DEVICE_ROD_LIMITS = Layout("Block Device ROD Limits", 32, (
    Int("maximum_range_descriptors", 6, 2),
    Int("maximum_inactivity_timeout", 8, 4), Int("default_inactivity_timeout", 12, 4),
    Int("maximum_token_transfer_size", 16, 8), Int("optimal_transfer_count", 24, 8),
))  # fmt: skip
PARAMETER_DATA = Layout("Parameter Data", 28, (
    Int("maximum_cscd_descriptor_count", 4, 2), Int("maximum_segment_descriptor_count", 6, 2),
    Int("maximum_descriptor_list_length", 8, 4), Int("maximum_inline_data_length", 12, 4),
))  # fmt: skip
ROD_TOKEN_FEATURES = Layout("ROD Token Features", 92, (
    Const("remote_tokens", 0, 1, 0),
    Int("minimum_token_lifetime", 12, 4), Int("maximum_token_lifetime", 16, 4),
    Int("maximum_token_inactivity_timeout", 20, 4),
    Const("rod_device_type_specific_features_descriptors_length", 42, 2, 48),
    Const("descriptor_format_and_type", 44, 1, 0), Const("descriptor_length", 46, 2, 0x2C),
    Int("optimal_block_rod_length_granularity", 50, 2),
    Int("maximum_bytes_in_block_rod", 52, 8), Int("optimal_bytes_in_block_rod_transfer", 60, 8),
    Int("optimal_bytes_to_token_per_segment", 68, 8), Int("optimal_bytes_from_token_per_segment", 76, 8),
))  # fmt: skip
ROD_TYPES_HEADER = Layout("Supported ROD Token and ROD Types", 4, (Int("rod_type_descriptors_length", 2, 2),))
ROD_TYPE = Layout("ROD type descriptor", 64, (
    Int("rod_type", 0, 4),
    Bit("ecpy_int", 4, 7), Bit("token_in", 4, 1), Bit("token_out", 4, 0),
    Int("preference_indicator", 6, 2),
))  # fmt: skip
GENERAL_COPY_OPERATIONS = Layout("General Copy Operations", 32, (
    Int("total_concurrent_copies", 0, 4), Int("maximum_identified_concurrent_copies", 4, 4),
    Int("maximum_segment_length", 8, 4),
    Int("data_segment_granularity", 12, 1), Int("inline_data_granularity", 13, 1),
))  # fmt: skip
HELD_DATA = Layout("Held Data", 28, (Int("held_data_limit", 0, 4), Int("held_data_granularity", 4, 1)))

THIRD_PARTY_COPY_OUT, THIRD_PARTY_COPY_IN = 0x83, 0x84
POPULATE_TOKEN = 0x10


def third_party_copy(unit: LogicalUnit, nexus: Nexus) -> bytes:
    """8Fh Third-party Copy."""
    tokens = unit.commands.find(THIRD_PARTY_COPY_OUT, POPULATE_TOKEN) is not None
    page = _descriptor(0x0000, _rod_limits(unit)) if tokens else b""
    page += _descriptor(0x0001, _supported_commands(unit))
    page += _descriptor(0x0004, bytes(PARAMETER_DATA.pack(
        maximum_cscd_descriptor_count=MAXIMUM_CSCDS, maximum_segment_descriptor_count=MAXIMUM_SEGMENTS,
        maximum_descriptor_list_length=MAXIMUM_LIST_BYTES,
    )))  # fmt: skip
    page += _descriptor(0x0008, bytes((len(IMPLEMENTED),)) + IMPLEMENTED)
    page += _descriptor(0x000C, _cscd_ids(tokens))
    if tokens:
        page += _descriptor(0x0106, _token_features(unit)) + _descriptor(0x0108, _rod_types())
    page += _descriptor(0x8001, bytes(GENERAL_COPY_OPERATIONS.pack(
        total_concurrent_copies=UNIT_COPIES, maximum_identified_concurrent_copies=UNIT_COPIES,
        maximum_segment_length=MAXIMUM_SEGMENT_BYTES,
    )))  # fmt: skip
    return page + _descriptor(0xC001, bytes(HELD_DATA.pack()))


def _descriptor(type_: int, body: bytes) -> bytes:
    """One descriptor, padded to a multiple of four."""
    body += bytes(-len(body) % 4)
    head = DESCRIPTOR.pack(third_party_copy_descriptor_type=type_, third_party_copy_descriptor_length=len(body))
    return bytes(head) + body


def _supported_commands(unit: LogicalUnit) -> bytes:
    """The service actions of the two operation codes, from the command table."""
    commands = b""
    for operation_code in (THIRD_PARTY_COPY_OUT, THIRD_PARTY_COPY_IN):
        actions = sorted(row.service_action or 0 for row in unit.commands if row.operation_code == operation_code)
        commands += bytes((operation_code, len(actions), *actions))
    return bytes((len(commands),)) + commands


def _cscd_ids(tokens: bool) -> bytes:
    """CSCD descriptor IDs beyond those of a list's own descriptors.

    Whoever takes tokens shall list that of a ROD CSCD descriptor (7.8.17.7), although EXTENDED COPY takes none here.
    """
    ids = b"".join(number.to_bytes(2, "big") for number in ((TOKEN_S_UNIT, THIS_UNIT) if tokens else (THIS_UNIT,)))
    return len(ids).to_bytes(2, "big") + ids


def _rod_limits(unit: LogicalUnit) -> bytes:
    block = unit.block_size_bytes
    return bytes(BLOCK_DEVICE_ROD_LIMITS.pack(
        maximum_range_descriptors=MAXIMUM_RANGES, maximum_inactivity_timeout=MAXIMUM_INACTIVITY_SECONDS,
        default_inactivity_timeout=DEFAULT_INACTIVITY_SECONDS, maximum_token_transfer_size=MAXIMUM_ROD_BYTES // block,
        optimal_transfer_count=OPTIMAL_ROD_BYTES // block,
    ))  # fmt: skip


def _token_features(unit: LogicalUnit) -> bytes:
    return bytes(ROD_TOKEN_FEATURES.pack(
        minimum_token_lifetime=LIFETIME_SECONDS, maximum_token_lifetime=LIFETIME_SECONDS,
        maximum_token_inactivity_timeout=MAXIMUM_INACTIVITY_SECONDS,
        optimal_block_rod_length_granularity=unit.limits.optimal_granularity_blocks,
        maximum_bytes_in_block_rod=MAXIMUM_ROD_BYTES, optimal_bytes_in_block_rod_transfer=OPTIMAL_ROD_BYTES,
        optimal_bytes_to_token_per_segment=OPTIMAL_ROD_BYTES, optimal_bytes_from_token_per_segment=OPTIMAL_ROD_BYTES,
    ))  # fmt: skip


def _rod_types() -> bytes:
    """Which types we take and which we make; a block device zero ROD token is only taken."""
    types = b"".join(
        bytes(ROD_TYPE.pack(rod_type=type_, token_in=1, token_out=type_ != BLOCK_DEVICE_ZERO))
        for type_ in (POINT_IN_TIME_DEFAULT, CHANGE_VULNERABLE, ANY_POINT_IN_TIME, BLOCK_DEVICE_ZERO)
    )
    return bytes(ROD_TYPES_HEADER.pack(rod_type_descriptors_length=len(types))) + types
