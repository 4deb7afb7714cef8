"""What a ROD token looks like, which types there are, and the limits that VPD page 8Fh tells.

Source: SPC-4 5.17.6.4 and 5.17.6.5 (generic format), SBC-4 4.28 (block devices).
"""

from __future__ import annotations

from tcmu_gluster.wire.layout import Blob, Int, Layout

Ranges = tuple[tuple[int, int], ...]
"""(first block, number of blocks), in the order in which they make up the data."""

ROD_TOKEN = Layout("ROD token", 512, (
    Int("rod_type", 0, 4),
    Int("rod_token_length", 6, 2),
    Blob("copy_manager_rod_token_identifier", 8, 8),
    Blob("creator_logical_unit_descriptor", 16, 32),
    Int("number_of_bytes_represented_high", 48, 8), Int("number_of_bytes_represented", 56, 8),
    Blob("device_type_specific_data", 96, 32),  # of a block device: READ CAPACITY(16) parameter data from byte 8 on
    Blob("target_device_descriptor", 128, 128),
    Blob("extended_rod_token_data", 256, 256),
))  # fmt: skip
ROD_TOKEN_LENGTH = 0x1F8
MANAGEMENT_TOKEN_BYTES, TARGET_DESCRIPTOR_BYTES = 96, 128
SECRET_BYTES = 64
POINT_IN_TIME_DEFAULT, CHANGE_VULNERABLE, ANY_POINT_IN_TIME = 0x00800000, 0x00800001, 0x0080FFFF
BLOCK_DEVICE_ZERO = 0xFFFF0001
ASKABLE_TYPES = (POINT_IN_TIME_DEFAULT, CHANGE_VULNERABLE, ANY_POINT_IN_TIME)
"""What POPULATE TOKEN may ask for; all of them make change vulnerable ones."""

MAXIMUM_RANGES, MAXIMUM_ROD_BYTES, OPTIMAL_ROD_BYTES = 256, 256 << 20, 64 << 20
LIFETIME_SECONDS = 3600
DEFAULT_INACTIVITY_SECONDS, MAXIMUM_INACTIVITY_SECONDS = 60, 600
