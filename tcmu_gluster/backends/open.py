"""From a backing URI to an open backend."""

from __future__ import annotations

from tcmu_gluster.backends.base import Backend
from tcmu_gluster.backends.file import FileBackend
from tcmu_gluster.backends.gfapi import GfapiBackend
from tcmu_gluster.backends.memory import MemoryBackend
from tcmu_gluster.config.sizes import parse_size
from tcmu_gluster.config.uri import Backing
from tcmu_gluster.errors import ConfigError
from tcmu_gluster.native.completions import Loop


def open_backing(
    backing: Backing, loop: Loop, *, create_size_bytes: int | None = None, read_only: bool = False
) -> Backend:
    """Open, and create it first if it is missing and create_size_bytes is given. Raises ConfigError.

    May block for a bounded time, so it is called in a thread beside the loop; the backend then belongs to the loop.
    """
    if backing.scheme == "memory":
        text = backing.options.get("size")
        return MemoryBackend(backing.name, parse_size(text) if text else create_size_bytes, read_only=read_only)
    if backing.scheme == "file":
        backend: Backend = FileBackend(backing, loop, create_size_bytes=create_size_bytes, read_only=read_only)
    elif backing.scheme == "gluster":
        backend = GfapiBackend(backing, loop, create_size_bytes=create_size_bytes, read_only=read_only)
    else:
        raise ConfigError(f"{backing.scheme!r} is no kind of backing; use gluster, file or memory")
    if not backend.size_bytes:
        backend.close()
        raise ConfigError(f"{backing} is empty; make it as large as the disk shall be, or delete it and name a size")
    return backend
