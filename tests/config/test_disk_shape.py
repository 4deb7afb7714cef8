"""What people choose about a disk."""

from __future__ import annotations

from typing import Any

import pytest

from tcmu_gluster.config.disk_shape import DiskShape
from tcmu_gluster.errors import ConfigError


@pytest.mark.parametrize(("typed", "sizes"), [("512", (512, 512)), ("512e", (512, 4096)), ("4096", (4096, 4096))])
def test_block_sizes(typed: str, sizes: tuple[int, int]) -> None:
    shape = DiskShape(typed)
    assert (shape.logical_block_bytes, shape.physical_block_bytes) == sizes


@pytest.mark.parametrize("wrong", [{"block_size": "520"}, {"provisioning": "fat"}, {"background_rate": -1}])
def test_what_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        DiskShape(**wrong)


def test_a_record_keeps_what_was_chosen() -> None:
    shape = DiskShape("4096", "thick", True, 1 << 20)
    assert DiskShape.chosen(shape.as_record()) == shape
    assert DiskShape().as_record() == {}
    assert DiskShape.chosen({"block_size": None, "other": 1}) == DiskShape()
