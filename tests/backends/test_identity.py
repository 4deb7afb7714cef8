"""Identity of files and devices."""

from __future__ import annotations

import os
import uuid

import pytest

from tcmu_gluster.backends import identity


@pytest.fixture
def descriptor(tmp_path):
    opened = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


def test_a_uuid_is_made_once_and_found_again(descriptor):
    try:
        os.setxattr(descriptor, "user.probe", b"1")
    except OSError:
        pytest.skip("the temporary folder's file system has no user attributes")
    first = identity.of_file("f", descriptor, read_only=False)
    assert uuid.UUID(first.removeprefix("file:"))
    assert identity.of_file("f", descriptor, read_only=True) == first
    os.setxattr(descriptor, identity.ATTRIBUTE, b"nonsense")
    assert identity.of_file("f", descriptor, read_only=False) != first


def test_a_read_only_file_without_one_falls_back_to_its_inode_and_warns(descriptor, caplog):
    status = os.fstat(descriptor)
    assert identity.of_file("f", descriptor, read_only=True) == f"inode:{status.st_dev:x}:{status.st_ino:x}"
    assert "may be reused" in caplog.text


@pytest.fixture
def sysfs(tmp_path):
    """The part of /sys/dev/block that is read, for the device number 0:0 (that of a regular file's st_rdev)."""
    disk = tmp_path / "devices" / "sda"
    partition = disk / "sda1"
    (disk / "queue").mkdir(parents=True)
    (disk / "device").mkdir()
    partition.mkdir()
    (disk / "queue" / "discard_granularity").write_text("65536\n")
    folder = tmp_path / "dev"
    folder.mkdir()
    return folder, disk, partition


def test_a_device_is_named_by_its_wwid(descriptor, sysfs):
    folder, disk, _ = sysfs
    (folder / "0:0").symlink_to(disk)
    (disk / "device" / "wwid").write_text("naa.6001405abcdef\n")
    assert identity.of_device("/dev/sda", descriptor, folder) == "block:naa.6001405abcdef"
    assert identity.device_limit(descriptor, "discard_granularity", folder) == 65536


def test_a_partition_is_its_disk_and_its_number(descriptor, sysfs):
    folder, disk, partition = sysfs
    (folder / "0:0").symlink_to(partition)
    (disk / "serial").write_text("S123")
    (partition / "partition").write_text("1\n")
    assert identity.of_device("/dev/sda1", descriptor, folder) == "block:S123:1"
    assert identity.device_limit(descriptor, "discard_granularity", folder) == 65536


def test_a_nameless_device_falls_back_to_its_number_and_warns(descriptor, sysfs, caplog):
    folder, disk, _ = sysfs
    (folder / "0:0").symlink_to(disk)
    assert identity.of_device("/dev/sda", descriptor, folder) == "device:0:0"
    assert "no serial" in caplog.text
    assert identity.device_limit(descriptor, "discard_max_bytes", folder) == 0
