"""Opening files of this machine: one sentence for each thing that can be wrong."""

from __future__ import annotations

import os

import pytest

from tcmu_gluster.backends.local_files import is_local, open_file
from tcmu_gluster.errors import ConfigError


def test_a_missing_file_is_created_sparse_with_the_size_named(tmp_path):
    path = tmp_path / "new"
    descriptor = open_file(str(path), 1 << 30, read_only=False)
    status = os.fstat(descriptor)
    os.close(descriptor)
    assert status.st_size == 1 << 30
    assert status.st_blocks == 0
    assert status.st_mode & 0o777 == 0o600


def test_an_existing_file_keeps_its_size(tmp_path):
    path = tmp_path / "old"
    path.write_bytes(b"content")
    os.close(open_file(str(path), 1 << 20, read_only=False))
    assert path.read_bytes() == b"content"


def test_what_is_wrong_is_said(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "plain").touch()
    for name, sentence in (
        ("none", "there is no .*none; name a size"),
        (".", "is a folder"),
        ("fifo", "neither a regular file nor a block device"),
        ("plain/below", "a part of its path is a file"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            open_file(f"{tmp_path}/{name}", None, read_only=False)
    with pytest.raises(ConfigError, match="its folder does not exist"):
        open_file(f"{tmp_path}/nowhere/disk", 4096, read_only=False)


def test_a_size_the_file_system_refuses_leaves_no_file_behind(tmp_path):
    with pytest.raises(ConfigError, match="can't be created with"):
        open_file(str(tmp_path / "huge"), (1 << 63) - 1, read_only=False)
    assert not (tmp_path / "huge").exists()


def test_only_known_file_systems_count_as_local(tmp_path):
    proc = os.open("/proc/self/status", os.O_RDONLY)
    assert not is_local(proc)
    os.close(proc)


def test_a_link_to_a_missing_file_is_said_to_be_one(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="is a link to a file that is missing"):
        open_file(str(link), create_size_bytes=512, read_only=False)
