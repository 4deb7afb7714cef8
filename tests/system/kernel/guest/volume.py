"""The Gluster file itself, seen without any code of ours."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from . import services

_BLOCK_BYTES = 1 << 20


def on_the_brick(file: str, length_bytes: int) -> bytes:
    """The file's first bytes as they lie on the only brick."""
    with open(Path("/bricks") / services.VOLUME / "data" / file, "rb") as stream:
        return stream.read(length_bytes)


def through_libgfapi(file: str, length_bytes: int) -> bytes:
    """The file's first bytes as another client of the volume reads them.

    glfs_pread got a sixth parameter (struct glfs_stat *) with libgfapi 6.0; an older one ignores the NULL.
    Source: glusterfs/api/glfs.h.
    """
    gfapi = ctypes.CDLL("libgfapi.so.0", use_errno=True)
    for function in ("glfs_new", "glfs_open"):
        getattr(gfapi, function).restype = ctypes.c_void_p
    gfapi.glfs_pread.restype = ctypes.c_ssize_t
    volume = ctypes.c_void_p(gfapi.glfs_new(services.VOLUME.encode()))
    _check(gfapi.glfs_set_volfile_server(volume, b"tcp", b"vm", 24007), "glfs_set_volfile_server")
    _check(gfapi.glfs_init(volume), "glfs_init")
    handle = ctypes.c_void_p(gfapi.glfs_open(volume, file.encode(), os.O_RDONLY))
    if not handle:
        raise OSError(ctypes.get_errno(), "glfs_open", file)
    buffer = ctypes.create_string_buffer(_BLOCK_BYTES)
    data = bytearray()
    while len(data) < length_bytes:
        want = min(_BLOCK_BYTES, length_bytes - len(data))
        got = gfapi.glfs_pread(handle, buffer, ctypes.c_size_t(want), ctypes.c_int64(len(data)), 0, None)
        _check(got, "glfs_pread")
        if got == 0:
            break
        data += buffer.raw[:got]
    gfapi.glfs_close(handle)
    return bytes(data)


def _check(result: int, function: str) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), function)
