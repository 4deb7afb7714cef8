"""Options, and the limits that follow."""

from __future__ import annotations

import pytest

from tcmu_gluster.backends.base import Capabilities
from tcmu_gluster.scsi.limits import Limits, UnitOptions, physical_exponent


def test_block_sizes_are_checked() -> None:
    with pytest.raises(ValueError, match="512 or 4096"):
        UnitOptions(block_size_bytes=520)


@pytest.mark.parametrize(("block", "physical", "exponent"), [(512, 512, 0), (512, 4096, 3), (4096, 4096, 0)])
def test_physical_exponent(block: int, physical: int, exponent: int) -> None:
    assert physical_exponent(UnitOptions(block_size_bytes=block, physical_block_bytes=physical)) == exponent


def test_limits_are_in_blocks() -> None:
    limits = Limits.of(UnitOptions(block_size_bytes=4096), Capabilities(), thin=True)
    assert limits.transfer_blocks * 4096 == 8 << 20
    assert limits.unmap_granularity_blocks == 1
    assert limits.optimal_transfer_blocks * 4096 == 1 << 20


def test_a_thick_disk_has_no_unmap_limits() -> None:
    limits = Limits.of(UnitOptions(), Capabilities(), thin=False)
    assert (limits.unmap_blocks, limits.unmap_descriptors, limits.unmap_granularity_blocks) == (0, 0, 0)


def test_a_small_transfer_limit_bounds_the_others() -> None:
    limits = Limits.of(UnitOptions(maximum_transfer_bytes=4096), Capabilities(), thin=True)
    assert limits.transfer_blocks == 8
    assert limits.optimal_transfer_blocks <= 8
    assert limits.compare_and_write_blocks <= 4
