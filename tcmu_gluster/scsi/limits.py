"""What a unit is made with (UnitOptions) and what follows from it and from the backend for the initiators (Limits)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from tcmu_gluster.backends.base import Capabilities

BLOCK_SIZES_BYTES = (512, 4096)
WRITE_SAME_10_BLOCKS = 0xFFFF
"""No limit of WRITE SAME(16) lies above what WRITE SAME(10) can name: hosts (and tests) take one number for both."""

ATOMIC_LENGTH = 0xFFFF
"""What TRANSFER LENGTH of WRITE ATOMIC(16) can name."""


@dataclass(frozen=True)
class UnitOptions:
    """How a backing is shown as a disk.

    thin None means: thin if the backend can discard. maximum_transfer_bytes bounds the memory one command may take.
    physical_block_bytes beyond the block size makes a 512e disk; hosts learn the size that suits the backend anyhow,
    from OPTIMAL TRANSFER LENGTH GRANULARITY and OPTIMAL UNMAP GRANULARITY.
    """

    block_size_bytes: int = 512
    physical_block_bytes: int = 512
    write_protected: bool = False
    thin: Optional[bool] = None
    removable: bool = False
    maximum_transfer_bytes: int = 8 << 20
    maximum_unmap_blocks: int = 1 << 20
    maximum_write_same_bytes: int = 64 << 20
    preferred_io_bytes: int = 4096
    write_same_to_the_end: bool = False
    """Whether WRITE SAME takes 0 blocks for all up to the last one (WSNZ 0). libiscsi 1.19 expects zeros of a WRITE
    SAME(10) with UNMAP that sent ones, which is right only where LBPRZ is 0 too."""
    unmapped_reads_zeros: bool = True
    """Whether a thin unit promises that what was unmapped reads as zeros (LBPRZ). It does so in any case."""
    background_bytes_per_second: int = 0
    """How fast FORMAT UNIT and SANITIZE may write, so that other disks get their share of the storage; 0: no bound."""
    reservations: bool = True
    """False where the front keeps them (LIO): the unit is never asked, and still reports the commands as supported."""
    ports: bool = True
    """Whether the unit knows its target ports and reports their groups (ALUA); False where the front does (LIO)."""

    def __post_init__(self) -> None:
        if self.block_size_bytes not in BLOCK_SIZES_BYTES:
            raise ValueError(f"block_size_bytes is 512 or 4096, not {self.block_size_bytes}")
        physical = self.physical_block_bytes
        if physical & (physical - 1) or not 512 <= physical <= 1 << 20:
            raise ValueError(f"physical_block_bytes is a power of two from 512 on, not {physical}")


@dataclass(frozen=True)
class Limits:
    """The numbers of VPD page B0h, in blocks; the handlers hold to the same ones."""

    transfer_blocks: int
    optimal_transfer_blocks: int
    optimal_granularity_blocks: int
    compare_and_write_blocks: int
    unmap_blocks: int
    unmap_descriptors: int
    unmap_granularity_blocks: int
    write_same_blocks: int
    atomic_blocks: int
    atomic_granularity_blocks: int

    @classmethod
    def of(cls, options: UnitOptions, capabilities: Capabilities, thin: bool) -> Limits:
        """The limits of a unit with these options on a backend that can do this."""
        block = options.block_size_bytes
        transfer = max(options.maximum_transfer_bytes // block, 1)
        atomic, granularity = capabilities.atomic_write_bytes // block, 1 << physical_exponent(options)
        return cls(
            transfer_blocks=transfer,
            optimal_transfer_blocks=min(max(capabilities.optimal_io_bytes // block, 1), transfer),
            optimal_granularity_blocks=max(options.preferred_io_bytes // block, 1),
            compare_and_write_blocks=min(255, max(transfer // 2, 1)),
            unmap_blocks=options.maximum_unmap_blocks if thin else 0,
            unmap_descriptors=256 if thin else 0,
            unmap_granularity_blocks=max(capabilities.discard_granularity_bytes // block, 1) if thin else 0,
            write_same_blocks=min(max(options.maximum_write_same_bytes // block, 1), WRITE_SAME_10_BLOCKS),
            atomic_blocks=min(atomic, transfer, ATOMIC_LENGTH) // granularity * granularity,
            atomic_granularity_blocks=granularity if atomic else 0,
        )


def physical_exponent(options: UnitOptions) -> int:
    """LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT of READ CAPACITY(16)."""
    return max((options.physical_block_bytes // options.block_size_bytes).bit_length() - 1, 0)
