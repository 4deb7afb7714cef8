"""Builds the C shim, tcmu_gluster.native._shim (cffi, API mode).

setup.py uses ffibuilder; a checkout builds in place with

    python -m tcmu_gluster.native.build

A part is a header and a source of the same name in this folder. The header is what cffi is told as well, with the
preprocessor's lines dropped, so every declaration stands in one place. No Gluster headers are needed: libgfapi is
opened at run time.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from cffi import FFI

PARTS = ("completions", "ring")
"""Every part of the shim. A new one is its two files and its name here."""

FOLDER = (
    Path("tcmu_gluster") / "native"
)  # from the project's root, where setup.py runs: setuptools wants relative paths

SYSTEM_TYPES = """
struct iovec { void *iov_base; size_t iov_len; };
struct timespec { long tv_sec; long tv_nsec; ...; };
struct stat { uint64_t st_dev; uint64_t st_ino; uint32_t st_mode; uint64_t st_nlink; uint32_t st_uid; uint32_t st_gid;
              int64_t st_size; int64_t st_blksize; int64_t st_blocks; struct timespec st_mtim; ...; };
struct statvfs { unsigned long f_bsize; unsigned long f_frsize; uint64_t f_blocks; uint64_t f_bfree; uint64_t f_bavail;
                 uint64_t f_files; uint64_t f_ffree; unsigned long f_namemax; ...; };
struct dirent { unsigned char d_type; char d_name[...]; ...; };
"""

INCLUDES = """
#include <dirent.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
"""


def _declarations(part: str, folder: Path) -> str:
    lines = (folder / f"{part}.h").read_text(encoding="ascii").splitlines()
    return "\n".join(line for line in lines if not line.startswith("#"))


def builder(folder: Path = FOLDER) -> FFI:
    """What to compile; folder: where the parts are, as the compiler is to be told."""
    ffi = FFI()
    ffi.cdef(SYSTEM_TYPES + "".join(_declarations(part, folder) for part in PARTS))
    ffi.set_source(
        "tcmu_gluster.native._shim",
        INCLUDES + "".join(f'#include "{part}.h"\n' for part in PARTS),
        sources=[str(folder / f"{part}.c") for part in PARTS],
        include_dirs=[str(folder)],
        depends=[str(folder / f"{part}.h") for part in PARTS],
        libraries=["dl"],
        extra_compile_args=["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Wno-unused-parameter"],
    )
    return ffi


def build_in_place() -> Path:
    """Compile, and put the extension beside this file; everything else the compiler leaves is thrown away."""
    here = Path(__file__).resolve().parent
    target = here / "_shim.abi3.so"  # cffi keeps to the limited API; the same name as setup.py gives it
    with tempfile.TemporaryDirectory() as scratch:
        built = Path(builder(here).compile(tmpdir=scratch))
        # A new file, then renamed: overwriting a library that is mapped would crash whoever uses it.
        fresh = target.with_name(target.name + ".new")
        shutil.copyfile(built, fresh)
        for older in here.glob("_shim.*so"):
            older.unlink()
        fresh.replace(target)
    return target


# setup.py runs in the project's root; anywhere else (a test that imports this) only the declarations matter.
ffibuilder = builder(FOLDER if FOLDER.is_dir() else Path(__file__).parent)

if __name__ == "__main__":
    print(build_in_place())
