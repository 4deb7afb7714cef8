"""Reading what LIO knows of a device. The texts are those of target_core_user's configfs files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tcmu_gluster.tcmu.configfs import DeviceDirectory, DeviceInfo

INFO = (
    "Status: ACTIVATED  Max Queue Depth: 0  SectorSize: 4096  HwMaxSectors: 128\n"
    "        Config: gluster/vol@h/p Size: 21474836480 MaxDataAreaMB: 1024 DataPagesPerBlk: 1 CmdRingSizeMB: 8\n"
)


@pytest.fixture
def core(tmp_path: Path) -> Path:
    device = tmp_path / "user_3" / "vm1"
    for folder in ("attrib", "action", "wwn"):
        (device / folder).mkdir(parents=True)
    (device / "info").write_text(INFO)
    (device / "attrib" / "dev_size").write_text("21474836480\n")
    (device / "attrib" / "hw_block_size").write_text("512\n")
    (device / "attrib" / "hw_max_sectors").write_text("1024\n")
    (device / "attrib" / "cmd_time_out").write_text("25\n")
    (device / "attrib" / "emulate_write_cache").write_text("1\n")
    (device / "wwn" / "vpd_unit_serial").write_text("T10 VPD Unit Serial Number: 7a1e-55\n")
    (device / "action" / "block_dev").write_text("unblocked\n")
    (device / "action" / "reset_ring").write_text("")
    return tmp_path


def test_everything_comes_from_attributes(core: Path) -> None:
    expected = DeviceInfo(21474836480, 512, "7a1e-55", True, 25, 1024, exported=True)
    assert DeviceDirectory(3, "vm1", core).info() == expected


def test_a_disk_that_no_lun_shows_is_deactivated(core: Path) -> None:
    """transport_dump_dev_state: ACTIVATED if export_count, else DEACTIVATED."""
    (core / "user_3" / "vm1" / "info").write_text(INFO.replace("ACTIVATED", "DEACTIVATED"))
    assert not DeviceDirectory(3, "vm1", core).info().exported


def test_old_kernels_have_it_in_info_alone(core: Path) -> None:
    for name in ("dev_size", "hw_block_size", "hw_max_sectors", "cmd_time_out", "emulate_write_cache"):
        (core / "user_3" / "vm1" / "attrib" / name).unlink()
    info = DeviceDirectory(3, "vm1", core).info()
    assert (info.size_bytes, info.block_bytes, info.max_sectors) == (21474836480, 4096, 128)
    assert info.write_cache and info.command_timeout_seconds == 30


def test_words_in_the_config_do_not_pass_for_numbers(core: Path) -> None:
    (core / "user_3" / "vm1" / "attrib" / "dev_size").unlink()
    (core / "user_3" / "vm1" / "attrib" / "hw_block_size").unlink()
    (core / "user_3" / "vm1" / "info").write_text(INFO.replace("gluster/vol@h/p", "gluster/ Size: 7 SectorSize: 9 "))
    info = DeviceDirectory(3, "vm1", core).info()
    assert (info.size_bytes, info.block_bytes) == (21474836480, 4096)


def test_a_device_that_is_gone_or_half_made_raises_nothing(tmp_path: Path) -> None:
    directory = DeviceDirectory(0, "gone", tmp_path)
    assert directory.info() == DeviceInfo(0, 0, "", True, 30, 0, exported=False)
    assert not directory.can_reset and directory.serial() == ""


@pytest.mark.parametrize("text", ["", "T10 VPD Unit Serial Number: \n", "something else\n"])
def test_no_serial_yet(core: Path, text: str) -> None:
    (core / "user_3" / "vm1" / "wwn" / "vpd_unit_serial").write_text(text)
    assert DeviceDirectory(3, "vm1", core).serial() == ""


def test_a_kernel_without_reset_is_told(core: Path) -> None:
    directory = DeviceDirectory(3, "vm1", core)
    assert directory.can_reset
    (core / "user_3" / "vm1" / "action" / "reset_ring").unlink()
    assert not directory.can_reset


@pytest.mark.parametrize(("text", "on"), [("0\n", False), ("1\n", True), ("255\n", True), ("junk\n", True)])
def test_write_cache_is_any_number_but_zero(core: Path, text: str, on: bool) -> None:
    (core / "user_3" / "vm1" / "attrib" / "emulate_write_cache").write_text(text)
    assert DeviceDirectory(3, "vm1", core).write_cache() is on
