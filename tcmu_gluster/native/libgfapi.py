"""Files of a Gluster volume under familiar names, synchronous: for tools and administration, never on the loop.

    volume = Volume([Server("server")], "block").mount()
    with volume.fopen("/disk3", "r+") as file:
        file.pwrite(b"...", 0)
        file.fsync()

Every call blocks for as long as the network does (up to Gluster's ping-timeout). Failures are OSError with the path.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat as stat_bits
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from tcmu_gluster.errors import ConfigError
from tcmu_gluster.native import require_shim
from tcmu_gluster.native.connect import DEFAULT_LIMIT_SECONDS, LOG_ERRORS, XLATOR_OPTIONS, Server, connect
from tcmu_gluster.native.symbols import Gfapi, open_gfapi

SEEK_DATA: Final = 3  # as on the wire: Linux numbers, on every client
SEEK_HOLE: Final = 4
VOLFILE_LIMIT_BYTES: Final = 4 << 20
VOLFILE_LIMIT_SECONDS: Final = 2.0

_MODES: Final = {
    "r": os.O_RDONLY,
    "r+": os.O_RDWR,
    "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "w+": os.O_RDWR | os.O_CREAT | os.O_TRUNC,
    "x": os.O_WRONLY | os.O_CREAT | os.O_EXCL,
    "x+": os.O_RDWR | os.O_CREAT | os.O_EXCL,
    "a": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    "a+": os.O_RDWR | os.O_CREAT | os.O_APPEND,
}


def _stat_result(raw: Any) -> os.stat_result:
    numbers = (raw.st_mode, raw.st_ino, raw.st_dev, raw.st_nlink, raw.st_uid, raw.st_gid, raw.st_size)
    return os.stat_result((*numbers, *(raw.st_mtim.tv_sec,) * 3), {"st_blocks": raw.st_blocks})


def remember_caller(gfapi: Gfapi) -> None:
    """Tell libgfapi who this thread acts for: what the process is now. Else it asks the kernel, four times a call.

    Each thread has its own memory of it, and it lasts: not for a thread of a process that will change its user.
    """
    groups = os.getgroups()
    with contextlib.suppress(OSError):  # a release that can't: it goes on asking
        gfapi.glfs_setfsuid(os.geteuid())
        gfapi.glfs_setfsgid(os.getegid())
        gfapi.glfs_setfsgroups(len(groups), require_shim().ffi.new("unsigned int[]", groups))


class File:
    """An open file of a volume. handle is libgfapi's glfs_fd_t."""

    def __init__(self, gfapi: Gfapi, handle: Any, name: str) -> None:
        self._gfapi, self._ffi = gfapi, require_shim().ffi
        self.handle, self.name = handle, name
        self.closed = False
        self._position = 0

    def __enter__(self) -> File:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def pread(self, size: int, offset: int) -> bytes:
        """At most size bytes; fewer only at the end of the file."""
        data = self._ffi.new("char[]", max(size, 1))
        count = self._gfapi.glfs_pread(self.handle, data, size, offset, 0)
        return bytes(self._ffi.buffer(data, count))

    def pwrite(self, data: bytes | bytearray | memoryview, offset: int) -> int:
        """How many bytes were written."""
        with self._ffi.from_buffer(data) as memory:
            return int(self._gfapi.glfs_pwrite(self.handle, memory, len(memory), offset, 0))

    def read(self, size: int = -1) -> bytes:
        """From the current position; size -1: to the end."""
        wanted = max(0, self.fgetsize() - self._position) if size < 0 else size
        parts = []
        while wanted:
            part = self.pread(min(wanted, 1 << 20), self._position)
            if not part:
                break
            parts.append(part)
            self._position += len(part)
            wanted -= len(part)
        return b"".join(parts)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """At the current position."""
        count = self.pwrite(data, self._position)
        self._position += count
        return count

    def lseek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """The new position; whence as in os.lseek, also SEEK_DATA and SEEK_HOLE of this module."""
        if whence == os.SEEK_CUR:
            offset, whence = self._position + offset, os.SEEK_SET
        self._position = int(self._gfapi.glfs_lseek(self.handle, offset, whence))
        return self._position

    def fstat(self) -> os.stat_result:
        """As os.fstat; of the times only that of the last change is known."""
        raw = self._ffi.new("struct stat *")
        self._gfapi.glfs_fstat(self.handle, raw)
        return _stat_result(raw)

    def fgetsize(self) -> int:
        """Bytes."""
        return self.fstat().st_size

    def fsync(self) -> None:
        """Data and attributes to stable storage at the bricks."""
        self._gfapi.glfs_fsync(self.handle)

    def fdatasync(self) -> None:
        """Data to stable storage at the bricks."""
        self._gfapi.glfs_fdatasync(self.handle)

    def ftruncate(self, length: int) -> None:
        """Make the file length bytes long."""
        self._gfapi.glfs_ftruncate(self.handle, length)

    def fallocate(self, keep_size: bool, offset: int, length: int) -> None:
        """Reserve space."""
        self._gfapi.glfs_fallocate(self.handle, int(keep_size), offset, length)

    def discard(self, offset: int, length: int) -> None:
        """Punch a hole."""
        self._gfapi.glfs_discard(self.handle, offset, length)

    def zerofill(self, offset: int, length: int) -> None:
        """Zeros that stay allocated; grows the file if the range ends behind it."""
        self._gfapi.glfs_zerofill(self.handle, offset, length)

    def close(self) -> None:
        """A second close does nothing."""
        if not self.closed:
            self.closed = True
            self._gfapi.glfs_close(self.handle)


class Volume:
    """A volume, by the names of the os module. mount() connects; the connection is kept until the process ends."""

    def __init__(
        self,
        servers: Sequence[Server],
        name: str,
        *,
        log_path: str = os.devnull,
        log_level: int = LOG_ERRORS,
        gfapi: Gfapi | None = None,
        options: Sequence[tuple[str, str, str]] = XLATOR_OPTIONS,
        volfile: str = "",
    ) -> None:
        self.gfapi = gfapi or open_gfapi()
        self._fixed_volfile = volfile
        self.servers, self.name = tuple(servers), name
        self.log_path, self.log_level, self.options = log_path, log_level, options
        self._ffi = require_shim().ffi
        self._fs: Any = None

    @property
    def fs(self) -> Any:
        """libgfapi's glfs_t. Raises OSError(ENOTCONN) before mount()."""
        if self._fs is None:
            raise OSError(errno.ENOTCONN, "the volume is not mounted", self.name)
        return self._fs

    def mount(self, limit_seconds: float = DEFAULT_LIMIT_SECONDS) -> Volume:
        """Connect. Raises ConfigError with the reason in a sentence."""
        if self._fs is None:
            self._fs = connect(
                self.gfapi,
                self.servers,
                self.name,
                log_path=self.log_path,
                log_level=self.log_level,
                limit_seconds=limit_seconds,
                options=self.options,
                volfile=self._fixed_volfile,
            )
        return self

    def fixed(self, volfile: str) -> Volume:
        """The same volume as that volfile describes it, not mounted yet: it will not follow the volume's changes."""
        return Volume(
            self.servers,
            self.name,
            log_path=self.log_path,
            log_level=self.log_level,
            gfapi=self.gfapi,
            options=self.options,
            volfile=volfile,
        )

    def umount(self) -> None:
        """glfs_fini, which has hung and crashed in many releases: only for a tool that is about to end anyway."""
        if self._fs is not None:
            fs, self._fs = self._fs, None
            self.gfapi.glfs_fini(fs)

    def volume_id(self) -> str:
        """The volume's UUID, as 32 hexadecimal digits."""
        data = self._ffi.new("char[]", 16)
        count = self.gfapi.glfs_get_volumeid(self.fs, data, 16)
        return bytes(self._ffi.buffer(data, count)).hex()

    def volfile(self) -> str:
        """The graph of translators that this client has, as glusterd wrote it; '' if it can't be told.

        libgfapi notes it after it has begun to use it: just after mount() this waits for it (a bounded time).
        """
        deadline = time.monotonic() + VOLFILE_LIMIT_SECONDS
        try:
            while not (size_bytes := -self.gfapi.glfs_get_volfile(self.fs, self._ffi.NULL, 0)):
                if time.monotonic() > deadline:
                    return ""
                time.sleep(0.005)
            if not 0 < size_bytes <= VOLFILE_LIMIT_BYTES:
                return ""
            data = self._ffi.new("char[]", size_bytes)
            if self.gfapi.glfs_get_volfile(self.fs, data, size_bytes) != size_bytes:
                return ""  # it has changed meanwhile
        except OSError:  # a release without the call
            return ""
        return bytes(self._ffi.buffer(data)).decode("utf-8", "replace")

    def gfid(self, path: str) -> str:
        """The file's GFID, the name Gluster itself has for it, as 32 hexadecimal digits."""
        raw, handle = self._ffi.new("struct stat *"), self._ffi.new("unsigned char[]", 16)
        try:
            inode = self.gfapi.glfs_h_lookupat(self.fs, self._ffi.NULL, os.fsencode(path), raw, 1)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from error
        try:
            count = self.gfapi.glfs_h_extract_handle(inode, handle, 16)
        finally:
            self.gfapi.glfs_h_close(inode)
        return bytes(self._ffi.buffer(handle, count)).hex()

    def _call(self, name: str, path: str, *arguments: Any) -> Any:
        try:
            return getattr(self.gfapi, name)(self.fs, os.fsencode(path), *arguments)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from error

    def open(self, path: str, flags: int, mode: int = 0o600) -> File:
        """As os.open; O_CREAT and O_EXCL work."""
        if flags & os.O_CREAT:
            handle = self._call("glfs_creat", path, flags, mode)
        else:
            handle = self._call("glfs_open", path, flags)
        return File(self.gfapi, handle, path)

    def fopen(self, path: str, mode: str = "r") -> File:
        """As open(), always in bytes. Raises ConfigError for an unknown mode."""
        flags = _MODES.get(mode.replace("b", ""))
        if flags is None:
            raise ConfigError(f"{mode!r} is not a mode of fopen; use one of {', '.join(_MODES)}")
        return self.open(path, flags, 0o600)

    def stat(self, path: str) -> os.stat_result:
        """As os.stat."""
        raw = self._ffi.new("struct stat *")
        self._call("glfs_stat", path, raw)
        return _stat_result(raw)

    def lstat(self, path: str) -> os.stat_result:
        """As os.lstat."""
        raw = self._ffi.new("struct stat *")
        self._call("glfs_lstat", path, raw)
        return _stat_result(raw)

    def statvfs(self, path: str = "/") -> os.statvfs_result:
        """As os.statvfs."""
        raw = self._ffi.new("struct statvfs *")
        self._call("glfs_statvfs", path, raw)
        blocks = (raw.f_bsize, raw.f_frsize, raw.f_blocks, raw.f_bfree, raw.f_bavail)
        return os.statvfs_result((*blocks, raw.f_files, raw.f_ffree, raw.f_ffree, 0, raw.f_namemax))

    def exists(self, path: str) -> bool:
        """As os.path.exists, but any failure other than "there is none" is raised."""
        try:
            self.stat(path)
        except FileNotFoundError:
            return False
        return True

    def isdir(self, path: str) -> bool:
        """As os.path.isdir."""
        return self.exists(path) and stat_bits.S_ISDIR(self.stat(path).st_mode)

    def isfile(self, path: str) -> bool:
        """As os.path.isfile."""
        return self.exists(path) and stat_bits.S_ISREG(self.stat(path).st_mode)

    def getsize(self, path: str) -> int:
        """Bytes."""
        return self.stat(path).st_size

    def listdir(self, path: str = "/") -> list[str]:
        """As os.listdir."""
        return sorted(self._entries(path))

    def _entries(self, path: str) -> Iterator[str]:
        folder = self._call("glfs_opendir", path)
        try:
            # Room for a name of any length: readdir_r writes d_reclen bytes.
            memory = self._ffi.new("char[]", 4096)
            entry, result = self._ffi.cast("struct dirent *", memory), self._ffi.new("struct dirent **")
            while True:
                self.gfapi.glfs_readdir_r(folder, entry, result)
                if result[0] == self._ffi.NULL:
                    return
                name = os.fsdecode(self._ffi.string(self._ffi.cast("char *", self._ffi.addressof(entry, "d_name"))))
                if name not in (".", ".."):
                    yield name
        finally:
            self.gfapi.glfs_closedir(folder)

    def mkdir(self, path: str, mode: int = 0o755) -> None:
        """As os.mkdir."""
        self._call("glfs_mkdir", path, mode)

    def makedirs(self, path: str, mode: int = 0o755) -> None:
        """As os.makedirs with exist_ok."""
        parts = [part for part in path.split("/") if part]
        for depth in range(1, len(parts) + 1):
            try:
                self.mkdir("/" + "/".join(parts[:depth]), mode)
            except FileExistsError:
                continue

    def rmdir(self, path: str) -> None:
        """As os.rmdir."""
        self._call("glfs_rmdir", path)

    def unlink(self, path: str) -> None:
        """As os.unlink."""
        self._call("glfs_unlink", path)

    def rename(self, before: str, after: str) -> None:
        """As os.rename."""
        self._call("glfs_rename", before, os.fsencode(after))

    def chmod(self, path: str, mode: int) -> None:
        """As os.chmod."""
        self._call("glfs_chmod", path, mode)

    def chown(self, path: str, user: int, group: int) -> None:
        """As os.chown."""
        self._call("glfs_chown", path, user, group)

    def getxattr(self, path: str, name: str) -> bytes:
        """As os.getxattr."""
        value = self._ffi.new("char[]", 65536)
        count = self._call("glfs_getxattr", path, name.encode(), value, 65536)
        return bytes(self._ffi.buffer(value, count))

    def setxattr(self, path: str, name: str, value: bytes, flags: int = 0) -> None:
        """As os.setxattr."""
        self._call("glfs_setxattr", path, name.encode(), value, len(value), flags)

    def removexattr(self, path: str, name: str) -> None:
        """As os.removexattr."""
        self._call("glfs_removexattr", path, name.encode())

    def listxattr(self, path: str) -> list[str]:
        """As os.listxattr."""
        value = self._ffi.new("char[]", 65536)
        count = self._call("glfs_listxattr", path, value, 65536)
        return [os.fsdecode(name) for name in bytes(self._ffi.buffer(value, count)).split(b"\0") if name]
