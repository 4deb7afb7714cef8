"""From URI to backend."""

from __future__ import annotations

import errno
import os

import pytest

from tcmu_gluster.backends.file import FileBackend
from tcmu_gluster.backends.lease import LeaseHeld, Terms
from tcmu_gluster.backends.memory import MemoryBackend
from tcmu_gluster.backends.open import open_backing
from tcmu_gluster.config.uri import Backing, parse_backing
from tcmu_gluster.errors import ConfigError
from tests.doubles.backend_loop import BackendLoop


@pytest.fixture
def loop():
    running = BackendLoop()
    yield running.loop
    running.close()


def test_memory_takes_its_size_from_the_uri_or_from_the_caller(loop):
    first = open_backing(parse_backing("memory:opened?size=64M"), loop)
    assert isinstance(first, MemoryBackend)
    assert first.size_bytes == 64 << 20
    first.close()
    second = open_backing(parse_backing("memory:opened"), loop, create_size_bytes=4096, read_only=True)
    assert (second.size_bytes, second.read_only) == (4096, True)
    second.close()


def test_a_file_is_created_with_the_size_named(loop, tmp_path):
    backend = open_backing(parse_backing(f"file://{tmp_path}/disk"), loop, create_size_bytes=1 << 20)
    assert isinstance(backend, FileBackend)
    assert backend.size_bytes == 1 << 20
    backend.close()


def test_an_empty_file_is_refused_and_let_go(loop, tmp_path):
    (tmp_path / "empty").touch()
    for _ in range(2):  # the second time as well, so the lock of the first was given back
        with pytest.raises(ConfigError, match="is empty"):
            open_backing(parse_backing(f"file://{tmp_path}/empty"), loop)


def test_a_file_smaller_than_one_block_is_refused(loop, tmp_path):
    (tmp_path / "small").write_bytes(bytes(1000))
    uri = parse_backing(f"file://{tmp_path}/small")
    with pytest.raises(ConfigError, match="has 1000 bytes, which is less than one block of 4096"):
        open_backing(uri, loop, block_bytes=4096)
    open_backing(uri, loop).close()  # one block of 512, and the lock of the first was given back


def test_an_unknown_scheme_is_refused(loop):
    with pytest.raises(ConfigError, match="no kind of backing"):
        open_backing(Backing("tape"), loop)


TERMS = Terms(lease_seconds=20.0, grace_seconds=17.0)


def test_a_disk_that_may_be_written_to_has_a_lease_until_it_is_closed(loop, tmp_path):
    uri = parse_backing(f"file://{tmp_path}/disk")
    backend = open_backing(uri, loop, create_size_bytes=1 << 20, lease=TERMS)
    assert backend.lease is not None and 19 < backend.lease.describe()["valid_for_seconds"] <= 20
    with pytest.raises(LeaseHeld, match=f"process {os.getpid()}"):
        open_backing(uri, loop, lease=TERMS)
    backend.close()
    again = open_backing(uri, loop, lease=TERMS)
    again.close()


def test_nobody_who_only_reads_needs_one(loop, tmp_path):
    (tmp_path / "disk").write_bytes(bytes(4096))
    readers = [
        open_backing(parse_backing(f"file://{tmp_path}/disk"), loop, read_only=True, lease=TERMS) for _ in range(2)
    ]
    assert [reader.lease for reader in readers] == [None, None]
    for reader in readers:
        reader.close()
    assert not (tmp_path / ".disk.tcmu-gluster-lease").exists()
    memory = open_backing(parse_backing("memory:unleased?size=1M"), loop, lease=TERMS)
    assert memory.lease is None
    memory.close()


def test_a_disk_that_can_not_be_opened_leaves_no_lease_behind(loop, tmp_path):
    with pytest.raises(ConfigError, match="name a size"):
        open_backing(parse_backing(f"file://{tmp_path}/none"), loop, lease=TERMS)
    with pytest.raises(ConfigError, match="folder"):
        open_backing(parse_backing(f"file://{tmp_path}/no/folder"), loop, create_size_bytes=4096, lease=TERMS)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty").touch()
    for _ in range(2):
        with pytest.raises(ConfigError, match="is empty"):
            open_backing(parse_backing(f"file://{tmp_path}/empty"), loop, lease=TERMS)


def test_while_the_lease_has_lapsed_nothing_waiting_in_the_pool_reaches_the_file(tmp_path):
    running = BackendLoop()
    backend = open_backing(
        parse_backing(f"file://{tmp_path}/disk"), running.loop, create_size_bytes=1 << 20, lease=TERMS
    )
    clock = backend.lease.clock
    for call in (
        lambda done: backend.write(512, [memoryview(b"x" * 512)], done, True),
        lambda done: backend.discard(0, 4096, done),
        lambda done: backend.zero(0, 4096, done),
        lambda done: backend.store_sidecar(b"x", done),
    ):
        backend.lease.clock = clock
        backend.lease.clock = lambda: clock() + 21
        with pytest.raises(OSError) as caught:
            running.ask(call)
        assert caught.value.errno == errno.EBUSY
    backend.lease.clock = clock
    running.write(backend, 512, b"x" * 512)
    backend.close()
    assert (tmp_path / "disk").read_bytes()[512:1024] == b"x" * 512
    running.close()


@pytest.mark.parametrize("size, warned", [(100, False), (1024, True)])
def test_only_what_is_served_is_warned_about(loop, tmp_path, caplog, monkeypatch, size, warned):
    def acquire(*args, **more):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tcmu_gluster.backends.open.acquire", acquire)
    (tmp_path / "disk").write_bytes(bytes(size))
    uri = parse_backing(f"file://{tmp_path}/disk")
    if warned:
        open_backing(uri, loop, lease=TERMS).close()
    else:
        with pytest.raises(ConfigError, match="less than one block"):
            open_backing(uri, loop, lease=TERMS)
    assert ("no lease can be kept beside it (Permission denied)" in caplog.text) == warned


def test_who_may_not_write_on_the_volume_is_told_whose_it_has_to_be(loop, monkeypatch):
    class Closed:
        def exists(self):
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tcmu_gluster.backends.open._store_of", lambda backing: Closed())
    with pytest.raises(ConfigError, match=rf"\(uid {os.geteuid()}\) may not write beside .*storage\.owner-uid UID"):
        open_backing(parse_backing("gluster://h/v/f"), loop, lease=TERMS)
