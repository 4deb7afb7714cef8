"""libgfapi's double: compiled from libgfapi_double.c once a run and variant, and told what to do by ctypes."""

from __future__ import annotations

import atexit
import ctypes
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("libgfapi_double.c")
READ, WRITE, SYNC, DISCARD, ZEROFILL = range(5)

WHY_UNAVAILABLE = "" if shutil.which("cc") else "no C compiler to build libgfapi's double with"

_VECTORS = ["glfs_preadv_async", "glfs_pwritev_async", "glfs_pread", "glfs_pwrite"]
_SYNCS = ["glfs_fdatasync_async", "glfs_fsync", "glfs_ftruncate"]
NEW_IN_6 = [*_VECTORS, *_SYNCS, "glfs_discard_async", "glfs_zerofill_async"]


@cache
def build(variant: str) -> str:
    """Path of the library. new: versions as since 6.0; old: only those before; bare: since 6.0, without versions."""
    folder = Path(tempfile.mkdtemp(prefix="libgfapi-double-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    target = folder / f"libgfapi-{variant}.so"
    options = [f"-DWITH_STAT={int(variant != 'old')}"]
    if variant != "bare":
        newer = "".join(f"{name};" for name in NEW_IN_6) if variant == "new" else ""
        script = folder / "versions"
        script.write_text("GFAPI_3.4.0 { *; };\n" + (f"GFAPI_6.0 {{ {newer} }};\n" if newer else ""))
        options.append(f"-Wl,--version-script={script}")
    source = SOURCE
    if variant == "bare":  # its presence is what tells a library without versions from an old one
        source = folder / "bare.c"
        source.write_text(SOURCE.read_text() + "\nlong glfs_copy_file_range(void) { return -1; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-w", *options, str(source), "-o", str(target), "-lpthread"], check=True)
    return str(target)


class Double:
    """Orders for one variant of the double."""

    def __init__(self, variant: str = "new") -> None:
        self.path = build(variant)
        self._library = ctypes.CDLL(self.path)
        self._library.double_fail.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int, ctypes.c_int)

    def fail(self, call: int, error: int, times: int = 1) -> None:
        """The next calls complete with -1 and this errno."""
        self._library.double_fail(call, -1, error, times)

    def shorten(self, call: int, result: int) -> None:
        """The next call completes with this count."""
        self._library.double_fail(call, result, 0, 1)

    def refuse(self, call: int, error: int, times: int = 1) -> None:
        """The next submissions return -1 with this errno."""
        self._library.double_refuse(call, error, times)

    def complete_twice(self, call: int) -> None:
        """The next call's callback is called two times."""
        self._library.double_twice(call)

    def hold(self) -> None:
        """Complete nothing until release()."""
        self._library.double_hold(1)

    def release(self) -> None:
        """Complete what was held."""
        self._library.double_hold(0)

    @property
    def durable_writes(self) -> int:
        """Writes so far that carried O_DSYNC."""
        return int(self._library.double_durable_writes())

    @property
    def opened(self) -> int:
        """Handles made so far."""
        return int(self._library.double_opened())


def exported_names() -> set[str]:
    """The glfs_ functions the double has."""
    return set(re.findall(r"\b(glfs_\w+)\(", SOURCE.read_text()))
