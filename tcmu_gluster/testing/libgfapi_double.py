"""libgfapi's double: files in memory, and faults when they are asked for. It is compiled by the machine's compiler.

Tests of ours build it once a run and variant and give it orders by ctypes (Double). Everybody else builds it into a
folder with `python -m tcmu_gluster.testing.libgfapi_double FOLDER` and orders faults by environment.
"""

from __future__ import annotations

import argparse
import atexit
import ctypes
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

HELP = """\
Builds a libgfapi that keeps files of 64 MiB at most in memory and fails as it is told, and prints how to use it.

LIBGFAPI_DOUBLE_FAULTS holds rules, separated by commas, or the path (absolute) of a file with a rule a line:

  CALL@NTH=FAULT          the NTH call of its kind, from 1, since the library was loaded
  CALL@NTHxTIMES=FAULT    that one and those after it, TIMES in all

  CALL   read, write, sync, discard, zerofill (the asynchronous ones, which serve disks)
  FAULT  EIO, ENOSPC, ENOTCONN, EDQUOT, EROFS, EBADF, ETIMEDOUT, ESTALE, ENOMEM, EAGAIN, EOPNOTSUPP
                       completes with this error
         refuse:ERROR  is not even accepted
         short:BYTES   moves BYTES, and says so
         late:MS       completes after MS milliseconds (so do those behind it): also after the initiator's abort,
                       when MS is more than its patience
         twice         completes two times, as a broken library might

A rule that can't be read ends the process with status 2. Volumes named missing, stopped, denied and hanging fail as
their names say, all others exist. Something has to listen where the URI says that glusterd does.
"""
SOURCE = Path(__file__).with_name("libgfapi_double.c")
READ, WRITE, SYNC, DISCARD, ZEROFILL = range(5)

WHY_UNAVAILABLE = "" if shutil.which("cc") else "no C compiler to build libgfapi's double with"

_VECTORS = ["glfs_preadv_async", "glfs_pwritev_async", "glfs_pread", "glfs_pwrite"]
_SYNCS = ["glfs_fdatasync_async", "glfs_fsync", "glfs_ftruncate"]
NEW_IN_6 = [*_VECTORS, *_SYNCS, "glfs_discard_async", "glfs_zerofill_async"]


@cache
def build(variant: str) -> str:
    """Path of the library, which lives as long as this process; variants as of build_into."""
    folder = Path(tempfile.mkdtemp(prefix="libgfapi-double-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return str(build_into(folder, variant))


def build_into(folder: Path, variant: str = "new") -> Path:
    """Path of the library. new: versions as since 6.0; old: only those before; bare: since 6.0, without versions.

    Raises OSError without a compiler, subprocess.CalledProcessError when it fails.
    """
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
    return target


class Double:
    """Orders for one variant of the double."""

    def __init__(self, variant: str = "new") -> None:
        self.path = build(variant)
        self._library = ctypes.CDLL(self.path)
        self._library.double_carried.restype = self._library.double_calls.restype = ctypes.c_int64
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

    @property
    def carried(self) -> int:
        """Asynchronous calls so far on connections that follow the volume's changes, where libgfapi crashes."""
        return int(self._library.double_carried())

    @property
    def ended(self) -> int:
        """Connections that were ended so far."""
        return int(self._library.double_ended())

    def calls(self, call: int) -> int:
        """Asynchronous calls of a kind so far."""
        return int(self._library.double_calls(call))

    def describe(self, volume: str, volfile: str) -> None:
        """What glusterd says of this one volume from now on. "broken" in it: can't be mounted."""
        self._library.double_describe(volume.encode(), volfile.encode())

    def describe_late(self, times: int) -> None:
        """The next questions for a volume's description find none yet."""
        self._library.double_describe_late(times)

    @property
    def submitter(self) -> tuple[int, ...]:
        """User, group and groups that the thread of the last asynchronous call has told; () if it hasn't."""
        numbers = (ctypes.c_uint32 * 128)()
        return tuple(numbers[: self._library.double_submitter(numbers)])


def exported_names() -> set[str]:
    """The glfs_ functions the double has."""
    return set(re.findall(r"\b(glfs_\w+)\(", SOURCE.read_text()))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tcmu_gluster.testing.libgfapi_double",
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="where the library is put; made if it is not there")
    parser.add_argument("--variant", choices=("new", "old"), default="new", help="calls as since Gluster 6, or before")
    words = parser.parse_args(arguments)
    if WHY_UNAVAILABLE:
        print(f"{WHY_UNAVAILABLE}; install gcc and libc6-dev", file=sys.stderr)
        return 1
    try:
        words.folder.mkdir(parents=True, exist_ok=True)
        library = build_into(words.folder.resolve(), words.variant)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"the double was not built: {error}", file=sys.stderr)
        return 1
    print(f"{library} is built. To use it instead of libgfapi:")
    print(f"  export TCMU_GLUSTER_LIBGFAPI={library}")
    print("  export LIBGFAPI_DOUBLE_FAULTS=write@3=ENOSPC,sync@1x2=EIO    # --help has the rules")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
