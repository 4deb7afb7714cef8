"""libgfapi bound at run time: the version of each function, and how results are judged."""

from __future__ import annotations

import errno

import pytest

from tcmu_gluster import native
from tcmu_gluster.errors import ConfigError
from tcmu_gluster.native.symbols import ASYNCHRONOUS, FUNCTIONS, Function, Gfapi, Judge
from tcmu_gluster.testing import libgfapi_double as libgfapi
from tests.doubles import unavailable

pytestmark = pytest.mark.skipif(bool(unavailable.LIBGFAPI), reason=unavailable.LIBGFAPI or "-")


def test_a_prototype_has_the_stat_pointers_only_in_the_newer_version():
    fsync = Function("glfs_fsync", Judge.ZERO, "void *file", stats=2)
    assert fsync.prototype(with_stat=True) == "int (*)(void *file, void *, void *)"
    assert fsync.prototype(with_stat=False) == "int (*)(void *file)"


@pytest.mark.parametrize("variant, with_stat", [("new", True), ("old", False), ("bare", True)])
def test_each_release_is_called_as_it_was_made(variant, with_stat):
    """The double's newer functions answer EFAULT unless the stat pointers are NULL."""
    gfapi = Gfapi(libgfapi.build(variant))
    for _, name in ASYNCHRONOUS:
        assert gfapi.find(name, has_versions=True)[1] is with_stat
    fs = gfapi.glfs_new(b"volume")
    file = gfapi.glfs_creat(fs, b"/f", 2, 0o600)
    assert gfapi.glfs_pwrite(file, b"hello", 5, 3, 0) == 5
    data = native.shim.ffi.new("char[]", 8)
    assert gfapi.glfs_pread(file, data, 8, 0, 0) == 8
    assert bytes(native.shim.ffi.buffer(data)) == b"\0\0\0hello"
    assert gfapi.glfs_fsync(file) == 0
    assert gfapi.glfs_ftruncate(file, 100) == 0


def test_a_failure_is_oserror_with_libgfapis_errno():
    gfapi = Gfapi(libgfapi.build("new"))
    fs = gfapi.glfs_new(b"missing")
    with pytest.raises(FileNotFoundError):
        gfapi.glfs_init(fs)
    with pytest.raises(FileNotFoundError):
        gfapi.glfs_open(fs, b"/none", 0)


def test_a_function_this_release_lacks_is_enosys_when_called():
    gfapi = Gfapi(libgfapi.build("new"))
    assert "glfs_mkdir" not in libgfapi.exported_names()
    with pytest.raises(OSError) as caught:
        gfapi.glfs_mkdir(None, b"/x", 0o755)
    assert caught.value.errno == errno.ENOSYS
    with pytest.raises(AttributeError):
        gfapi.glfs_no_such_row  # noqa: B018


def test_a_missing_library_is_a_sentence():
    with pytest.raises(ConfigError, match=r"client library can't be used.*install it"):
        Gfapi("libgfapi-that-is-nowhere.so.0")


def test_no_function_has_two_rows():
    names = [function.name for function in FUNCTIONS]
    assert len(names) == len(set(names))
