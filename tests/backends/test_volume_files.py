"""Opening and creating files of a volume, against libgfapi's double."""

from __future__ import annotations

import socket

import pytest

from tcmu_gluster.backends.volume_files import open_file
from tcmu_gluster.errors import ConfigError
from tcmu_gluster.native.connect import Server
from tcmu_gluster.native.libgfapi import Volume
from tcmu_gluster.native.symbols import Gfapi
from tcmu_gluster.testing import libgfapi_double as libgfapi
from tests.doubles import unavailable

pytestmark = pytest.mark.skipif(bool(unavailable.LIBGFAPI), reason=unavailable.LIBGFAPI or "-")

MIB = 1 << 20


@pytest.fixture
def volume():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server("127.0.0.1", listener.getsockname()[1])
        yield Volume([server], "volume", gfapi=Gfapi(libgfapi.build("new"))).mount()


def test_a_missing_file_is_made_when_a_size_is_named_and_kept_afterwards(volume):
    with open_file(volume, "/made", MIB, read_only=False) as file:
        assert file.fgetsize() == MIB
    with open_file(volume, "/made", 2 * MIB, read_only=False) as file:
        assert file.fgetsize() == MIB


@pytest.mark.parametrize(
    "path, size_bytes, sentence",
    [
        ("/absent", None, "there is no /absent on volume volume; name a size"),
        ("/forbidden", None, "can't be opened: permission denied"),
        ("/nowhere/disk", MIB, "its folder does not exist; make it first"),
        ("/huge", 1 << 40, "/huge on volume volume can't have 1T: File too large; choose a size"),
    ],
)
def test_what_cannot_be_opened_or_made_is_a_sentence(volume, path, size_bytes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        open_file(volume, path, size_bytes, read_only=False)


def test_a_size_that_no_brick_can_hold_leaves_no_file(volume):
    with pytest.raises(ConfigError):
        open_file(volume, "/too-large", 1 << 40, read_only=False)
    with pytest.raises(ConfigError, match="there is no /too-large"):
        open_file(volume, "/too-large", None, read_only=False)
