"""The file beside a disk: replaced as a whole, private, bounded."""

from __future__ import annotations

import errno
import os

import pytest

from tcmu_gluster.backends import sidecar
from tcmu_gluster.backends.sidecar import Record, load_file, sidecar_path, store_file


def test_it_lies_beside_the_disk_and_is_hidden():
    assert sidecar_path("/srv/disks/vm1") == "/srv/disks/.vm1.tcmu-gluster"
    assert sidecar_path("/vm1") == "/.vm1.tcmu-gluster"


def test_no_file_is_no_record(tmp_path):
    assert load_file(str(tmp_path / "none")) is None


def test_what_is_stored_is_loaded_and_replaces_what_was_there(tmp_path):
    path = str(tmp_path / ".disk.tcmu-gluster")
    assert store_file(path, b"a longer first record") == 0
    assert store_file(path, b"second") == 0
    assert load_file(path) == b"second"
    assert os.listdir(tmp_path) == [".disk.tcmu-gluster"]
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_store_that_fails_leaves_the_old_record(tmp_path, monkeypatch):
    path = str(tmp_path / ".disk.tcmu-gluster")
    store_file(path, b"old")

    def fails(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(sidecar.os, "fsync", fails)
    with pytest.raises(OSError):
        store_file(path, b"new")
    assert load_file(path) == b"old"


def test_a_link_in_the_place_of_the_fresh_file_is_not_followed(tmp_path):
    path, victim = str(tmp_path / ".disk.tcmu-gluster"), tmp_path / "victim"
    victim.write_bytes(b"untouched")
    os.symlink(victim, f"{path}.new")
    with pytest.raises(OSError):
        store_file(path, b"record")
    assert victim.read_bytes() == b"untouched"


def test_a_file_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sidecar, "LIMIT_BYTES", 8)
    path = tmp_path / "large"
    path.write_bytes(bytes(9))
    with pytest.raises(OSError) as caught:
        load_file(str(path))
    assert caught.value.errno == errno.EFBIG


def test_a_record_is_what_was_found_until_another_is_stored(caplog):
    record = Record(lambda: b"found", "/disk")
    told: list[object] = []
    record.storing(b"lost", told.append)(OSError(errno.EIO, "Input/output error"))
    assert record.load() == b"found" and isinstance(told.pop(), OSError)
    record.storing(b"new", told.append)(0)
    assert record.load() == b"new" and told == [0] and caplog.text == ""


def test_a_record_that_can_not_be_read_says_so_each_time(caplog):
    def read():
        raise OSError(errno.EIO, "Input/output error")

    record = Record(read, "/disk")
    assert "/disk: the record beside the disk can't be read: Input/output error" in caplog.text
    for _ in range(2):
        with pytest.raises(OSError):
            record.load()
