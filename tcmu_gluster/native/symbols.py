"""libgfapi's functions, as a table: arguments, how each result is judged, and which of its versions is bound.

The library is opened at run time. Some functions exist twice in it: libgfapi 6 gave them pointers to the file's stat
before and after (NULL is allowed), and gave the callbacks of asynchronous calls the same two. dlvsym finds the newer
ones by the version GFAPI_6.0; where only the older ones are, those are bound. (Binding the default without looking is
what makes PyPI's gfapi call glfs_fsync with garbage in two registers.)

Source: api/src/glfs.h and api/src/gfapi.map of Gluster 3.12, 6 and 10.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any, Final

from tcmu_gluster.errors import ConfigError
from tcmu_gluster.native import require_shim

LIBRARY: Final = os.environ.get("TCMU_GLUSTER_LIBGFAPI") or "libgfapi.so.0"
"""What dlopen gets. The variable names another one: a build of one's own, or testing/libgfapi_double."""
WITH_STAT: Final = b"GFAPI_6.0"
BEFORE_STAT: Final = (b"GFAPI_3.4.0", b"GFAPI_3.5.0")


class Judge(Enum):
    """What a function's result means; anything else is an OSError with errno."""

    ZERO = "0 is success"
    COUNT = "0 or more is success, and the answer"
    POINTER = "anything but NULL is success, and the answer"
    ANY = "whatever it is, it is the answer"


@dataclass(frozen=True)
class Function:
    """One row. stats: how many stat pointers GFAPI_6.0 appended to the arguments (they are passed as NULL)."""

    name: str
    judge: Judge
    arguments: str
    stats: int = 0
    result: str = ""
    """The C type of the result, where its judge doesn't say it."""

    def prototype(self, with_stat: bool) -> str:
        """The C type of a pointer to it."""
        result = self.result or {Judge.POINTER: "void *", Judge.COUNT: "int64_t", Judge.ANY: "int64_t"}.get(
            self.judge, "int"
        )
        return f"{result} (*)({self.arguments}{', void *' * self.stats if with_stat else ''})"


_ZERO, _COUNT, _POINTER = Judge.ZERO, Judge.COUNT, Judge.POINTER

FUNCTIONS: Final = (
    Function("glfs_new", _POINTER, "const char *volume"),
    Function("glfs_set_volfile_server", _ZERO, "void *fs, const char *transport, const char *host, int port"),
    Function("glfs_set_volfile", _ZERO, "void *fs, const char *path"),
    Function("glfs_set_logging", _ZERO, "void *fs, const char *path, int level"),
    Function("glfs_set_xlator_option", _ZERO, "void *fs, const char *xlator, const char *key, const char *value"),
    Function("glfs_init", _ZERO, "void *fs"),
    Function("glfs_fini", _ZERO, "void *fs"),
    Function("glfs_setfsuid", _ZERO, "unsigned int user"),
    Function("glfs_setfsgid", _ZERO, "unsigned int group"),
    Function("glfs_setfsgroups", _ZERO, "size_t count, const unsigned int *groups"),
    Function("glfs_get_volumeid", _COUNT, "void *fs, char *id, size_t size", result="int"),
    # Copies as much as the size says, however much there is; with too small a size: less than 0 by how much is missing.
    Function("glfs_get_volfile", Judge.ANY, "void *fs, void *data, size_t size"),
    Function("glfs_open", _POINTER, "void *fs, const char *path, int flags"),
    Function("glfs_creat", _POINTER, "void *fs, const char *path, int flags, unsigned int mode"),
    Function("glfs_close", _ZERO, "void *file"),
    Function("glfs_pread", _COUNT, "void *file, void *data, size_t size, int64_t offset, int flags", stats=1),
    Function("glfs_pwrite", _COUNT, "void *file, const void *data, size_t size, int64_t offset, int flags", stats=2),
    Function("glfs_lseek", _COUNT, "void *file, int64_t offset, int whence"),
    Function("glfs_fsync", _ZERO, "void *file", stats=2),
    Function("glfs_fdatasync", _ZERO, "void *file", stats=2),
    Function("glfs_ftruncate", _ZERO, "void *file, int64_t length", stats=2),
    Function("glfs_fallocate", _ZERO, "void *file, int keep_size, int64_t offset, size_t length"),
    Function("glfs_discard", _ZERO, "void *file, int64_t offset, size_t length"),
    Function("glfs_zerofill", _ZERO, "void *file, int64_t offset, int64_t length"),
    Function("glfs_fstat", _ZERO, "void *file, struct stat *result"),
    Function("glfs_fgetxattr", _COUNT, "void *file, const char *name, void *value, size_t size"),
    Function("glfs_fsetxattr", _ZERO, "void *file, const char *name, const void *value, size_t size, int flags"),
    Function("glfs_stat", _ZERO, "void *fs, const char *path, struct stat *result"),
    Function("glfs_lstat", _ZERO, "void *fs, const char *path, struct stat *result"),
    Function("glfs_statvfs", _ZERO, "void *fs, const char *path, struct statvfs *result"),
    Function("glfs_access", _ZERO, "void *fs, const char *path, int mode"),
    Function("glfs_mkdir", _ZERO, "void *fs, const char *path, unsigned int mode"),
    Function("glfs_rmdir", _ZERO, "void *fs, const char *path"),
    Function("glfs_unlink", _ZERO, "void *fs, const char *path"),
    Function("glfs_rename", _ZERO, "void *fs, const char *before, const char *after"),
    Function("glfs_chmod", _ZERO, "void *fs, const char *path, unsigned int mode"),
    Function("glfs_chown", _ZERO, "void *fs, const char *path, unsigned int user, unsigned int group"),
    Function("glfs_getxattr", _COUNT, "void *fs, const char *path, const char *name, void *value, size_t size"),
    Function(
        "glfs_setxattr", _ZERO, "void *fs, const char *path, const char *name, const void *value, size_t size, int"
    ),
    Function("glfs_removexattr", _ZERO, "void *fs, const char *path, const char *name"),
    Function("glfs_listxattr", _COUNT, "void *fs, const char *path, void *value, size_t size"),
    Function("glfs_opendir", _POINTER, "void *fs, const char *path"),
    Function("glfs_readdir_r", _ZERO, "void *folder, struct dirent *entry, struct dirent **result"),
    Function("glfs_closedir", _ZERO, "void *folder"),
    # Until 3.7.4 without the last argument, which is then not looked at.
    Function("glfs_h_lookupat", _POINTER, "void *fs, void *parent, const char *path, struct stat *result, int follow"),
    Function("glfs_h_extract_handle", _COUNT, "void *inode, unsigned char *handle, int size"),
    Function("glfs_h_close", _ZERO, "void *inode"),
)

ASYNCHRONOUS: Final = (
    # The call as the completion queue numbers it (completions.h), and libgfapi's name.
    ("TG_READ", "glfs_preadv_async"),
    ("TG_WRITE", "glfs_pwritev_async"),
    ("TG_SYNC", "glfs_fdatasync_async"),
    ("TG_DISCARD", "glfs_discard_async"),
    ("TG_ZEROFILL", "glfs_zerofill_async"),
)


class Gfapi:
    """The opened library: every row of FUNCTIONS is an attribute that returns the answer or raises OSError.

    A function this release lacks raises OSError(ENOSYS) when called. Raises ConfigError when there is no library.
    """

    def __init__(self, path: str = LIBRARY) -> None:
        self._shim = require_shim()
        self.path = path
        self._library = self._shim.lib.tg_library_open(os.fsencode(path))
        if self._library == self._shim.ffi.NULL:
            reason = self._shim.ffi.string(self._shim.lib.tg_library_error()).decode(errors="replace")
            raise ConfigError(
                f"Gluster's client library can't be used ({reason}); install it (Debian: libgfapi0, "
                "Fedora and CentOS: glusterfs-api) and try again"
            )
        for function in FUNCTIONS:
            setattr(self, function.name, self._bind(function))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        raise AttributeError(f"{name} is not in the table of libgfapi's functions")

    def find(self, name: str, has_versions: bool) -> tuple[Any, bool]:
        """Address (NULL: this release lacks it) and whether it is the version with stat pointers."""
        ffi, symbol = self._shim.ffi, self._shim.lib.tg_library_symbol
        encoded = name.encode()
        if not has_versions:
            return symbol(self._library, encoded, ffi.NULL), False
        address = symbol(self._library, encoded, WITH_STAT)
        if address != ffi.NULL:
            return address, True
        for version in BEFORE_STAT:
            address = symbol(self._library, encoded, version)
            if address != ffi.NULL:
                return address, False
        # A build without symbol versions has one of each; glfs_copy_file_range arrived with the stat pointers.
        is_new = symbol(self._library, b"glfs_copy_file_range", ffi.NULL) != ffi.NULL
        return symbol(self._library, encoded, ffi.NULL), is_new

    def _bind(self, function: Function) -> Callable[..., Any]:
        ffi = self._shim.ffi
        address, with_stat = self.find(function.name, function.stats > 0)
        name, judge = function.name, function.judge
        if address == ffi.NULL:

            def missing(*arguments: Any) -> Any:
                raise OSError(errno.ENOSYS, f"this release of libgfapi has no {name}")

            return missing
        pointer = ffi.cast(function.prototype(with_stat), address)
        nulls = (ffi.NULL,) * function.stats if with_stat else ()

        def call(*arguments: Any) -> Any:
            result = pointer(*arguments, *nulls)
            if judge is Judge.POINTER:
                failed = result == ffi.NULL
            elif judge is Judge.ZERO:
                failed = result != 0
            else:
                failed = judge is Judge.COUNT and result < 0
            if failed:
                number = ffi.errno or errno.EIO
                raise OSError(number, os.strerror(number), name)
            return result

        return call


@cache
def open_gfapi(path: str = LIBRARY) -> Gfapi:
    """The library, opened once a process. Raises ConfigError when it or the shim is missing."""
    return Gfapi(path)
