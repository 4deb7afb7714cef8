"""A disk of the engine, from what was saved to an open unit."""

from __future__ import annotations

from pathlib import Path

import pytest

from handler.engine_disk import EngineDisk, disk_of
from handler.state import DiskFiles, state_id_of
from tcmu_gluster.config.uri import parse_backing
from tcmu_gluster.errors import ConfigError
from tests.doubles.host import memory

SERIAL = "8e9b7af7-8786-f09b-0fd5-8deb53848a26"


def test_the_file_about_a_disk_says_what_the_configuration_has_no_room_for(tmp_path: Path) -> None:
    files = DiskFiles(tmp_path)
    files.write(SERIAL, {"uri": "memory:a", "read_only": True, "block_size": "4096"})
    disk = disk_of({"name": "a", "wwn": SERIAL, "config": f"gluster/id/{state_id_of(SERIAL)}", "size": 8192}, files)
    assert (disk.name, str(disk.backing), disk.serial, disk.size_bytes) == ("a", "memory:a", SERIAL, 8192)
    assert disk.read_only and disk.shape.logical_block_bytes == 4096


def test_without_it_the_config_string_says_where_the_data_is(tmp_path: Path) -> None:
    disk = disk_of({"name": "a", "wwn": SERIAL, "config": "gluster/vol@server/dir/a"}, DiskFiles(tmp_path))
    assert str(disk.backing) == "gluster://server/vol/dir/a" and not disk.read_only
    with pytest.raises(ConfigError, match="its URI isn't known"):
        disk_of({"name": "a", "wwn": SERIAL, "config": f"gluster/id/{state_id_of(SERIAL)}"}, DiskFiles(tmp_path))


def test_it_waits_with_a_reason_until_it_is_open() -> None:
    disk = EngineDisk("a", parse_backing("memory:a"), SERIAL, 0, True, record={"write_cache": False})
    assert disk.state == "waiting: it was not opened yet"
    disk.take(memory(64 << 10))
    assert disk.state == "online" and disk.size_bytes == 64 << 10
    assert disk.unit is not None and disk.unit.write_protected and disk.unit.identity.serial == SERIAL
    assert not disk.unit.modes.value(0x08, "wce")


def test_lios_word_for_the_block_size_holds_where_there_is_no_file(tmp_path: Path) -> None:
    """rtslib_fb tcm.py: _get_control_tuples() writes hw_block_size; a host that sees other blocks sees other data."""
    entry = {"name": "a", "wwn": SERIAL, "config": "gluster/memory/a", "size": 8192,
             "control": "max_data_area_mb=8,hw_block_size=4096,data_pages_per_blk=1"}  # fmt: skip
    assert disk_of(entry, DiskFiles(tmp_path)).shape.logical_block_bytes == 4096
    assert disk_of({**entry, "control": "hw_block_size=512"}, DiskFiles(tmp_path)).shape.physical_block_bytes == 512
    with pytest.raises(ConfigError, match="block size"):
        disk_of({**entry, "control": "hw_block_size=1024"}, DiskFiles(tmp_path))
    DiskFiles(tmp_path).write(SERIAL, {"block_size": "512e"})
    assert disk_of({**entry, "control": "hw_block_size=512"}, DiskFiles(tmp_path)).shape.physical_block_bytes == 4096
