"""The Gluster backend against a real Gluster: bytes, holes, identity, failing bricks, changed options."""

from __future__ import annotations

import asyncio
import errno
import importlib.util
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tcmu_gluster import native
from tcmu_gluster.backends.base import PENDING, Allocation, Extent
from tcmu_gluster.backends.gfapi import GfapiBackend
from tcmu_gluster.config.uri import parse_backing
from tcmu_gluster.errors import ConfigError
from tcmu_gluster.native.connect import Server, connect
from tcmu_gluster.native.libgfapi import Volume
from tcmu_gluster.native.symbols import open_gfapi
from tests.system.served import until

_spec = importlib.util.spec_from_file_location("gluster_server", Path(__file__).with_name("gluster_server.py"))
gluster_server = importlib.util.module_from_spec(_spec)
sys.modules["gluster_server"] = gluster_server
_spec.loader.exec_module(gluster_server)

_reason = gluster_server.why_unavailable() or ("the C shim is not built" if native.shim is None else "")
pytestmark = [pytest.mark.gluster, pytest.mark.skipif(bool(_reason), reason=_reason or "-")]

MIB = 1 << 20


class LoopThread:
    """An event loop in a thread of its own, as the handler has one; ask() runs a backend's operation on it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def ask(self, call, timeout: float = 30):
        """call(done) on the loop; returns the result, raises its OSError."""

        async def run():
            future = self.loop.create_future()
            outcome = call(future.set_result)
            return outcome if outcome is not PENDING else await future

        result = asyncio.run_coroutine_threadsafe(run(), self.loop).result(timeout)
        if isinstance(result, OSError):
            raise result
        return result

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@pytest.fixture(scope="module")
def server():
    with gluster_server.GlusterServer() as running:
        running.create_volume("one", 1, gluster_server.BLOCK_OPTIONS)
        running.create_volume("three", 3, {**gluster_server.BLOCK_OPTIONS, "network.ping-timeout": "10"})
        running.create_volume("disperse", disperse=2)
        running.create_volume("small", brick_bytes=64 * MIB)
        running.create_volume("stopped", 1, start=False)
        running.create_volume("sharded", 1, {**gluster_server.BLOCK_OPTIONS, "features.shard": "on"})
        with running.entered():
            yield running


@pytest.fixture
def loop(server):
    thread = LoopThread()
    yield thread
    thread.stop()


def uri(server, volume: str, path: str = "/disk") -> str:
    return f"gluster://{server.host}/{volume}{path}"


@pytest.fixture
def disk(server, loop, request):
    opened: list[GfapiBackend] = []

    def make(volume: str = "one", size: int = 64 * MIB, **options) -> GfapiBackend:
        name = f"/{request.node.name.partition('[')[0]}-{len(opened)}"
        backing = parse_backing(options.pop("text", uri(server, volume, name)))
        backend = GfapiBackend(backing, loop.loop, create_size_bytes=size, **options)
        opened.append(backend)
        return backend

    yield make
    for backend in opened:
        backend.close()


def write(loop, disk, offset, *parts: bytes, durable=False):
    return loop.ask(lambda done: disk.write(offset, [memoryview(part) for part in parts], done, durable))


def read(loop, disk, offset, length) -> bytes:
    target = bytearray(length)
    assert loop.ask(lambda done: disk.read(offset, [memoryview(target)], done)) == length
    return bytes(target)


def test_written_bytes_are_read_back_through_any_split_of_buffers(disk, loop):
    backend = disk()
    data = os.urandom(300_000)
    assert write(loop, backend, 12345, data[:7], data[7:100_000], data[100_000:]) == len(data)
    first, second = bytearray(100), bytearray(len(data) - 100)
    loop.ask(lambda done: backend.read(12345, [memoryview(first), memoryview(second)], done))
    assert bytes(first + second) == data
    assert loop.ask(backend.flush) == 0


def test_durable_writes_and_many_operations_at_once(disk, loop):
    backend = disk()
    assert write(loop, backend, 0, b"x" * 4096, durable=True) == 4096

    async def many():
        futures = []
        for number in range(200):
            future = loop.loop.create_future()
            payload = memoryview(number.to_bytes(4, "big") * 1024)
            assert backend.write(number * 4096, [payload], future.set_result) is PENDING
            futures.append(future)
        return await asyncio.gather(*futures)

    assert asyncio.run_coroutine_threadsafe(many(), loop.loop).result(60) == [4096] * 200
    assert read(loop, backend, 199 * 4096, 4) == (199).to_bytes(4, "big")


@pytest.mark.parametrize("volume", ["one", "three", "disperse"])
def test_discarded_ranges_read_as_zeros_and_map_as_holes(disk, loop, volume):
    backend = disk(volume)
    write(loop, backend, 0, b"x" * (4 * MIB))
    loop.ask(backend.flush)
    assert backend.capabilities.can_discard
    assert loop.ask(lambda done: backend.discard(MIB, MIB, done)) == 0
    assert read(loop, backend, MIB - 1, 3) == b"x\0\0"
    assert backend.capabilities.can_map
    extents = loop.ask(lambda done: backend.map(0, 64 * MIB, done))
    assert extents[:3] == [
        Extent(0, MIB, Allocation.DATA),
        Extent(MIB, MIB, Allocation.HOLE),
        Extent(2 * MIB, 2 * MIB, Allocation.DATA),
    ]
    assert extents[-1] == Extent(4 * MIB, 60 * MIB, Allocation.HOLE)


def test_zerofill_where_the_volume_has_it_and_a_clear_no_where_not(disk, loop):
    plain = disk("one")
    write(loop, plain, 0, b"x" * MIB)
    assert loop.ask(lambda done: plain.zero(0, MIB, done)) == 0
    assert read(loop, plain, 0, MIB) == bytes(MIB)
    disperse = disk("disperse")
    assert not disperse.capabilities.can_zero
    with pytest.raises(OSError) as caught:
        loop.ask(lambda done: disperse.zero(0, MIB, done))
    assert caught.value.errno == errno.EOPNOTSUPP


def test_identity_is_that_of_the_file_for_every_gateway(server, disk):
    first = disk(size=MIB)
    again = disk(text=first.uri)
    other = disk(size=MIB)
    assert first.identity == again.identity != other.identity
    volume_id = Volume([Server(server.host)], "one").mount().volume_id()
    assert first.identity.startswith(f"gluster:{volume_id}:")
    assert first._volume is again._volume  # one connection a volume


def test_a_file_that_grew_is_seen_after_refresh_size(server, disk):
    backend = disk(size=MIB)
    with Volume([Server(server.host)], "one").mount().fopen(backend._path, "r+") as file:
        file.ftruncate(2 * MIB)
    assert backend.size_bytes == MIB
    assert backend.refresh_size() == backend.size_bytes == 2 * MIB


def test_a_full_volume_says_so_and_goes_on_afterwards(disk, loop):
    backend = disk("small", 256 * MIB)
    with pytest.raises(OSError) as caught:
        for number in range(256):
            write(loop, backend, number * MIB, b"f" * MIB)
    assert caught.value.errno == errno.ENOSPC
    assert loop.ask(lambda done: backend.discard(0, 256 * MIB, done)) == 0
    assert write(loop, backend, 0, b"again") == 5


def test_lost_quorum_is_enotconn_within_the_ping_timeout_and_heals(server, disk, loop):
    backend = disk("three")
    write(loop, backend, 0, b"before")
    server.kill_brick("three", 0)
    assert write(loop, backend, 0, b"during") == 6
    server.kill_brick("three", 1)
    started = time.monotonic()
    with pytest.raises(OSError) as caught:
        for _ in range(50):
            write(loop, backend, 0, b"beyond")
            time.sleep(0.1)
    assert caught.value.errno in (errno.ENOTCONN, errno.EROFS)
    assert time.monotonic() - started < 15
    server.restart_bricks("three")
    deadline = time.monotonic() + 30
    while True:
        try:
            write(loop, backend, 0, b"after!")
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    assert read(loop, backend, 0, 6) == b"after!"
    assert loop.ask(backend.flush) == 0


def test_options_changed_under_load_break_nothing(server, disk, loop):
    """A new graph breaks libgfapi's handle when asynchronous calls are under way; the backend opens another."""
    backend = disk()
    failures: list[object] = []
    running = True
    alive = [32]

    def submit() -> None:
        backend.read(0, [memoryview(bytearray(4096))], completed)

    def completed(result: object) -> None:
        if result != 4096:
            failures.append(result)
        if running:
            submit()
        else:
            alive[0] -= 1

    for _ in range(32):
        loop.loop.call_soon_threadsafe(submit)
    for value in ("on", "off", "on", "off"):
        server.set_options("one", {"performance.write-behind": value})
        time.sleep(1)
    running = False
    until(lambda: alive[0] == 0, "every write has come back", 30)
    assert failures == []
    assert write(loop, backend, 0, b"fine") == 4


def calls_at_bricks(server, volume: str, name: str) -> int:
    """How many there were since profiling was started."""
    info = ElementTree.fromstring(server.gluster("volume", "profile", volume, "info", "--xml"))
    operations = [fop for brick in info.iter("brick") for fop in brick.iterfind("cumulativeStats//fop")]
    return sum(int(fop.findtext("hits")) for fop in operations if fop.findtext("name") == name)


@pytest.mark.parametrize("moves", [0, 1])
def test_a_flush_reaches_every_shard_also_after_the_volume_has_changed(server, disk, loop, moves):
    """A connection flushes the shards that it wrote: one that comes after it would only flush the file they hang on."""
    backend = disk("sharded", 256 * MIB)
    server.gluster("volume", "profile", "sharded", "start", check=False)
    for offset in (0, 100 * MIB, 200 * MIB):  # the file itself, and two shards of 64 MiB
        write(loop, backend, offset, b"acknowledged")
    syncs, graph = calls_at_bricks(server, "sharded", "FSYNC"), backend._handles.graph
    for _ in range(moves):
        server.set_options("sharded", {"performance.write-behind": "off"})
        until(lambda: backend._handles.graph is not graph, "the disk goes over to another connection", 30)
    assert loop.ask(backend.flush) == 0
    assert calls_at_bricks(server, "sharded", "FSYNC") >= syncs + 3


def test_the_running_graph_obeys_our_options_whatever_the_volume_says(server):
    """A client's graphs are folders of its own in /.meta; while replication delays, one lock serves many writes."""
    volume = Volume([Server(server.host)], "three").mount()
    server.gluster("volume", "profile", "three", "start")
    file = volume.open("/delayed", os.O_RDWR | os.O_CREAT)

    def option(translator: str, key: str, on: Volume = volume) -> str:
        path = f"/.meta/graphs/active/three-{translator}/options/{key}"
        with on.open(path, os.O_RDONLY) as file:
            return file.pread(100, 0).decode().strip()

    def judge() -> None:
        assert option("replicate-0", "post-op-delay-secs") == "0"
        assert option("client-0", "event-threads") == "1"
        assert option("io-threads", "pass-through") == option("write-behind", "pass-through") == "true"
        before = calls_at_bricks(server, "three", "FINODELK")
        for _ in range(10):
            file.pwrite(bytes(4096), 0)
        deadline = time.monotonic() + 10
        while (
            calls_at_bricks(server, "three", "FINODELK") - before < 10 * 2 * 3
        ):  # taken and, after the answer, released, at three bricks
            assert time.monotonic() < deadline

    judge()
    server.set_options("three", {"cluster.post-op-delay-secs": "2", "performance.io-cache": "on"})
    deadline = time.monotonic() + 30
    while len(volume.listdir("/.meta/graphs")) < 3:  # "active", the first graph and the new one
        assert time.monotonic() < deadline
        time.sleep(0.2)
    volume.stat("/")  # whoever asks next is the one that goes over to it
    judge()
    fixed = volume.fixed(volume.volfile()).mount()  # as data have it: what is read on the next one was written through
    assert option("write-behind", "pass-through", fixed) == option("io-threads", "pass-through", fixed) == "true"
    assert option("replicate-0", "post-op-delay-secs", fixed) == "0"
    file.close()


def test_a_size_that_another_connection_changed_is_seen_at_once_though_the_volume_caches(server, disk):
    backend = disk("small", MIB)
    other = Volume([Server(server.host)], "small").mount()
    assert "type performance/md-cache" in other.volfile()
    for size_bytes in (2 * MIB, 3 * MIB):
        with other.fopen(backend._path, "r+") as file:
            file.ftruncate(size_bytes)
        assert backend.refresh_size() == size_bytes


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("gluster://{host}/one/none", "there is no /none on volume one; name a size to create it"),
        ("gluster://{host}/nosuch/disk", "has no volume named nosuch"),
        ("gluster://{host}/stopped/disk", "isn't started.*gluster volume start stopped"),
        ("gluster://{host}:1/one/disk", "connection refused"),
        ("gluster://nosuch.invalid/one/disk", "no such host"),
        ("gluster+unix:///one/disk?socket=/nonexistent", "/nonexistent: No such file"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence_in_bounded_time(server, loop, text, sentence):
    started = time.monotonic()
    with pytest.raises(ConfigError, match=sentence):
        GfapiBackend(parse_backing(text.format(host=server.host)), loop.loop)
    assert time.monotonic() - started < 20


def test_a_file_that_may_not_be_opened_says_permission_or_kind(server, loop):
    volume = Volume([Server(server.host)], "one").mount()
    volume.makedirs("/folder/deep")
    with pytest.raises(ConfigError, match="it is a folder"):
        GfapiBackend(parse_backing(uri(server, "one", "/folder")), loop.loop)
    with pytest.raises(ConfigError, match="its folder does not exist"):
        GfapiBackend(parse_backing(uri(server, "one", "/nowhere/disk")), loop.loop, create_size_bytes=MIB)


def test_a_second_server_is_used_when_the_first_is_dead(server, loop):
    backend = GfapiBackend(
        parse_backing(f"gluster://nosuch.invalid,{server.host}/one/second"), loop.loop, create_size_bytes=MIB
    )
    assert backend.size_bytes == MIB
    backend.close()


def test_no_quorum_at_start_is_said(server):
    server.kill_brick("three", 0)
    server.kill_brick("three", 1)
    try:
        with pytest.raises(ConfigError, match="quorum"):
            connect(open_gfapi(), [Server(server.host)], "three")
    finally:
        server.restart_bricks("three")


def test_files_and_folders_by_the_names_of_os(server):
    volume = Volume([Server(server.host)], "one").mount()
    volume.makedirs("/names/a")
    with volume.fopen("/names/file", "w+") as file:
        assert file.write(b"hello" * 100) == 500
        file.fsync()
        file.fdatasync()
        file.lseek(5)
        assert file.read(5) == b"hello"
        assert file.fgetsize() == 500
    assert volume.listdir("/names") == ["a", "file"]
    assert volume.isdir("/names/a") and volume.isfile("/names/file") and not volume.exists("/names/b")
    volume.rename("/names/file", "/names/b")
    assert volume.getsize("/names/b") == 500
    volume.setxattr("/names/b", "user.word", b"value")
    assert volume.getxattr("/names/b", "user.word") == b"value"
    assert "user.word" in volume.listxattr("/names/b")
    volume.unlink("/names/b")
    volume.rmdir("/names/a")
    assert volume.listdir("/names") == []
    assert volume.statvfs().f_blocks > 0
    with pytest.raises(FileNotFoundError):
        volume.stat("/names/b")


def test_a_command_beside_a_server_runs_in_the_folder_it_was_typed_in(tmp_path):
    script = Path(gluster_server.__file__).resolve()
    done = subprocess.run(
        [sys.executable, str(script), "--", "pwd"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip() == str(tmp_path)
