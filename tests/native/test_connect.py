"""Connecting: every failure is a sentence, in bounded time."""

from __future__ import annotations

import errno
import socket
import threading
import time

import pytest

from tcmu_gluster import native
from tcmu_gluster.errors import ConfigError
from tcmu_gluster.native import connect as connecting
from tcmu_gluster.native.connect import NoAnswer, Server, connect, why_unreachable, within
from tcmu_gluster.native.symbols import Gfapi
from tcmu_gluster.testing import libgfapi_double as libgfapi
from tests.doubles import unavailable

needs_double = pytest.mark.skipif(bool(unavailable.LIBGFAPI), reason=unavailable.LIBGFAPI or "-")


@pytest.fixture
def server():
    """A port on which something listens, as glusterd would."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Server("127.0.0.1", listener.getsockname()[1])


@pytest.fixture
def dead_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return Server("127.0.0.1", listener.getsockname()[1])


@needs_double
@pytest.mark.parametrize(
    "volume, sentence",
    [
        ("missing", "has no volume named missing; see gluster volume list"),
        ("stopped", "isn't started.*gluster volume start stopped"),
        ("denied", r"does not let this machine use volume denied.*auth\.allow"),
        ("strange", "volume strange .* can't be used: Cannot allocate memory"),
    ],
)
def test_what_gluster_refuses_is_said_with_what_to_do(server, volume, sentence):
    with pytest.raises(ConfigError, match=sentence):
        connect(Gfapi(libgfapi.build("new")), [server], volume)


@needs_double
def test_an_initialisation_that_hangs_is_given_up_and_said(server):
    started = time.monotonic()
    with pytest.raises(ConfigError, match=r"did not answer in time.*stays behind"):
        connect(Gfapi(libgfapi.build("new")), [server], "hanging", limit_seconds=1)
    assert time.monotonic() - started < 5


@needs_double
def test_a_living_server_is_taken_after_a_dead_one(server, dead_port):
    fs = connect(Gfapi(libgfapi.build("new")), [dead_port, server], "volume")
    assert fs != native.shim.ffi.NULL


@needs_double
def test_all_servers_dead_names_each_with_its_reason(dead_port):
    with pytest.raises(ConfigError) as caught:
        connect(Gfapi(libgfapi.build("new")), [dead_port, Server("/nonexistent", 0, "unix")], "volume")
    assert f"127.0.0.1:{dead_port.port}: connection refused" in str(caught.value)
    assert "/nonexistent: No such file" in str(caught.value)


def test_a_unix_socket_is_tried_as_well(tmp_path):
    path = str(tmp_path / "glusterd.socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        assert why_unreachable(Server(path, 0, "unix")) is None


def test_servers_are_named_as_people_write_them():
    assert str(Server("gl1")) == "gl1:24007"
    assert str(Server("fd00::1", 1)) == "[fd00::1]:1"
    assert str(Server("/run/glusterd.socket", 0, "unix")) == "/run/glusterd.socket"


def test_within_hands_on_answers_and_errors_and_ends_in_time():
    assert within(5, lambda: 3) == 3
    with pytest.raises(PermissionError):
        within(5, lambda: (_ for _ in ()).throw(PermissionError(errno.EACCES, "no")))
    with pytest.raises(TimeoutError):
        within(0.01, lambda: time.sleep(1))


def test_a_call_that_comes_back_when_nobody_waits_any_more_is_cleaned_up_after():
    may_end, abandoned = threading.Event(), threading.Event()
    with pytest.raises(NoAnswer):
        within(0.01, lambda: may_end.wait(20), abandoned=abandoned.set)
    assert not abandoned.is_set()
    may_end.set()
    assert abandoned.wait(20)
    assert within(20, lambda: 3, abandoned=lambda: pytest.fail("it was waited for")) == 3


@needs_double
@pytest.mark.parametrize("volume", ["missing", "stopped", "denied"])
def test_an_attempt_that_failed_is_ended_with_all_its_threads(server, volume):
    """A disk whose volume can't be reached is tried again every few seconds, for as long as it takes."""
    double = libgfapi.Double()
    ended = double.ended
    with pytest.raises(ConfigError):
        connect(Gfapi(double.path), [server], volume)
    for thread in threading.enumerate():
        if thread.name == "gluster-end":
            thread.join(20)
    assert double.ended == ended + 1


def test_messages_are_read_from_glusters_log(tmp_path):
    """Lines as Gluster 10.3 writes them (client of a volume that is not started)."""
    log = tmp_path / "log"
    log.write_text(
        "[2026-11-23 00:00:20.123456 +0000] I [MSGID: 104045] [glfs-primary.c:77:notify] 0-gfapi: New graph []\n"
        "[2026-11-23 00:00:20.130000 +0000] E [MSGID: 114058] [client-handshake.c:946:client_query_portmap_cbk] "
        "0-stopped-client-0: failed to get the port number for remote subvolume. Please run gluster volume status "
        "on server to see if brick process is running []\n"
    )
    assert connecting._messages(str(log)) == [
        "failed to get the port number for remote subvolume. Please run gluster volume status on server to see if "
        "brick process is running"
    ]
    assert connecting._messages(str(tmp_path / "none")) == []
