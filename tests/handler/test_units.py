"""Units from shapes, and the end of what they do by themselves."""

from __future__ import annotations

import asyncio

import pytest

from handler.units import later, options_of, stop_background, tell_trouble, trouble_of
from tcmu_gluster.config.disk_shape import DiskShape
from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.limits import UnitOptions
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.sense import Asc
from tests.doubles.host import Host, memory


def test_options_follow_the_shape() -> None:
    assert options_of(DiskShape()) == UnitOptions()
    options = options_of(DiskShape("512e", "thick", True, 7), write_protected=True)
    assert (options.block_size_bytes, options.physical_block_bytes) == (512, 4096)
    assert (options.thin, options.removable, options.background_bytes_per_second) == (False, True, 7)
    assert options.write_protected


def test_the_trouble_of_a_unit_says_what_can_be_done(caplog: pytest.LogCaptureFixture) -> None:
    unit = LogicalUnit(memory())
    assert trouble_of(unit) == ""
    tell_trouble("vm1", trouble_of(unit))
    assert caplog.text == ""
    unit.keeper.note_damage("its checksum does not fit its contents")
    unit.backend.uri = "gluster://host/volume/folder/vm1?debug=7"
    tell_trouble("vm1", trouble_of(unit))
    assert "disk vm1 can't be used" in caplog.text and "checksum" in caplog.text
    assert "put a good copy of .vm1.tcmu-gluster back, or remove it" in trouble_of(unit)
    assert trouble_of(unit, "vm1").endswith("or give them up: tcmu-gluster disk reset-record vm1 --confirm")


def test_a_background_operation_gives_way_to_the_loop_and_can_be_stopped() -> None:
    async def scenario() -> None:
        unit = LogicalUnit(memory(8 << 20), later=later)
        host = Host(unit)
        assert host.run(cdb.SANITIZE_OVERWRITE.pack(immed=1, parameter_list_length=5), b"\1\0\0\1a").good
        assert host.run(cdb.TEST_UNIT_READY.pack()).asc == Asc.SANITIZE_IN_PROGRESS
        await stop_background(unit)
        await asyncio.sleep(0)
        assert Host(LogicalUnit(unit.backend)).run(cdb.TEST_UNIT_READY.pack()).asc == Asc.SANITIZE_COMMAND_FAILED

    asyncio.run(scenario())
