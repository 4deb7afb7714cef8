"""From URI to backend."""

from __future__ import annotations

import pytest

from tcmu_gluster.backends.file import FileBackend
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


def test_an_unknown_scheme_is_refused(loop):
    with pytest.raises(ConfigError, match="no kind of backing"):
        open_backing(Backing("tape"), loop)
