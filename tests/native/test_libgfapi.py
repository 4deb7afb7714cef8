"""Volume and File against libgfapi's double; tests/system/test_gluster_backend.py has the real one."""

from __future__ import annotations

import errno
import socket

import pytest

from tcmu_gluster.errors import ConfigError
from tcmu_gluster.native.connect import Server
from tcmu_gluster.native.libgfapi import SEEK_DATA, Volume
from tcmu_gluster.native.symbols import Gfapi
from tcmu_gluster.testing import libgfapi_double as libgfapi
from tests.doubles import unavailable

pytestmark = pytest.mark.skipif(bool(unavailable.LIBGFAPI), reason=unavailable.LIBGFAPI or "-")


@pytest.fixture(params=["new", "old"])
def volume(request):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server("127.0.0.1", listener.getsockname()[1])
        yield Volume([server], "volume", gfapi=Gfapi(libgfapi.build(request.param))).mount()


def test_a_file_is_written_and_read_by_position_and_by_offset(volume):
    with volume.fopen("/words", "w+") as file:
        assert file.write(b"hello ") == 6
        assert file.write(memoryview(b"world")) == 5
        assert file.pread(5, 6) == b"world"
        assert file.lseek(0) == 0
        assert file.read() == b"hello world"
        assert file.read(10) == b""
        file.ftruncate(5)
        assert file.fgetsize() == 5
        file.fsync()
    assert file.closed
    file.close()


def test_failures_name_the_path(volume):
    with pytest.raises(FileNotFoundError) as caught:
        volume.open("/absent", 0)
    assert caught.value.filename == "/absent"
    with volume.fopen("/hole", "w+") as file, pytest.raises(OSError) as caught:
        file.lseek(10, SEEK_DATA)
    assert caught.value.errno == errno.ENXIO


def test_an_unknown_mode_is_refused(volume):
    with pytest.raises(ConfigError, match="'q' is not a mode"):
        volume.fopen("/words", "q")


def test_the_volumes_and_a_files_ids_are_hexadecimal(volume):
    volume.fopen("/id", "w").close()
    assert volume.volume_id() == "ab" * 16
    assert volume.volfile() == "volume plain\nend-volume\n"
    assert len(bytes.fromhex(volume.gfid("/id"))) == 16
    with pytest.raises(FileNotFoundError):
        volume.gfid("/absent")


def test_the_description_is_waited_for_just_after_mounting(volume):
    libgfapi.Double("new" if "new" in volume.gfapi.path else "old").describe_late(3)
    assert volume.volfile() == "volume plain\nend-volume\n"


def test_a_fixed_volume_keeps_the_description_it_was_made_from(volume):
    fixed = volume.fixed("volume once\nend-volume\n").mount()
    assert fixed.volfile() == "volume once\nend-volume\n"
    with fixed.fopen("/there", "w+") as file:
        file.write(b"seen by both")
    with volume.fopen("/there") as file:
        assert file.read() == b"seen by both"
    with pytest.raises(ConfigError, match="the bricks of volume volume don't answer"):
        volume.fixed("volume broken\nend-volume\n").mount()


def test_an_unmounted_volume_says_so(volume):
    with pytest.raises(OSError) as caught:
        Volume(volume.servers, "volume", gfapi=volume.gfapi).open("/words", 0)
    assert caught.value.errno == errno.ENOTCONN
