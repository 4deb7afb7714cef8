"""Real initiators against `tcmu-gluster export`: libiscsi's conformance tests and tools, QEMU's iSCSI client."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system import conformance, cu, matrix
from tests.system.export import Export
from tests.system.gluster_server import BLOCK_OPTIONS, GlusterServer, why_unavailable

TOOLS = ("iscsi-test-cu", "iscsi-inq", "iscsi-ls", "iscsi-readcapacity16", "iscsi-perf", "qemu-img", "qemu-io")
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]
MIB = 1024 * 1024
DISK_BYTES = 100 * MIB
IQN = "iqn.2024-01.org.example.test:disk"
DIGESTS = ("none", "crc32c", "crc32c-none")

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.timeout(360),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (Debian: libiscsi-bin, qemu-utils)"),
]


def run(*command: str, seconds: float = 120, status: int = 0) -> str:
    """The output of a command that has to end with this status."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
    )
    assert done.returncode == status, f"{' '.join(command)}: status {done.returncode}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def gluster() -> Iterator[GlusterServer]:
    """A one-brick volume named conf; the test's thread is in its network."""
    reason = why_unavailable()
    if reason:
        pytest.skip(reason)
    with GlusterServer() as server:
        server.create_volume("conf", options=BLOCK_OPTIONS)
        with server.entered():
            yield server


MakeExport = Callable[..., Export]


@pytest.fixture(
    params=[
        "memory",
        "file",
        pytest.param("gluster", marks=pytest.mark.gluster),
    ]
)
def make_export(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeExport]:
    """Starts an export of one more disk on the parameter's backing; all are ended, and have to end well."""
    started: list[Export] = []

    def make(*options: str, size_bytes: int = DISK_BYTES) -> Export:
        name = f"disk{len(started)}"
        if request.param == "memory":
            uri = f"memory:{name}?size={size_bytes}"
        elif request.param == "file":
            uri, options = f"file://{tmp_path / name}", ("--size", str(size_bytes), *options)
        else:
            server: GlusterServer = request.getfixturevalue("gluster")
            uri = f"gluster://{server.host}/conf/{request.node.name.partition('[')[0]}-{name}"
            options = ("--size", str(size_bytes), *options)
        export = Export(uri, "--iqn", IQN, *options)
        started.append(export)
        return export.start()

    yield make
    endings = [(export.stop(), export.log()) for export in started]
    assert [ending for ending in endings if ending[0] != 0] == []


@pytest.fixture
def pattern(tmp_path: Path) -> Path:
    """A raw image of the disk's size: random bytes, a hole, random bytes."""
    path = tmp_path / "pattern.img"
    with path.open("wb") as file:
        file.write(os.urandom(20 * MIB))
        file.seek(70 * MIB)
        file.write(os.urandom(10 * MIB))
        file.truncate(DISK_BYTES)
    return path


def qemu_disk(export: Export, digest: str) -> tuple[str, str]:
    """QEMU's image options for the disk. digest: its word for the digests offered, headers' and data's in one."""
    node = f"driver=raw,file.driver=iscsi,file.transport=tcp,file.portal={export.portal},file.target={export.iqn}"
    return "--image-opts", f"{node},file.lun=0,file.header-digest={digest}"


def test_iscsi_test_cu(make_export: MakeExport, capsys: pytest.CaptureFixture[str]) -> None:
    """All 230 tests, destructive ones too: none fails, and only what we don't advertise is skipped."""
    results = matrix.run(make_export, conformance.PLAIN)
    with capsys.disabled():
        print(f"\niscsi-test-cu: {conformance.summary(results)}")
    found = conformance.complaints(results)
    assert not found, "\n".join(found)
    assert len(results) == conformance.TESTS


def test_iscsi_test_cu_with_one_url_fails_nowhere(make_export: MakeExport, capsys: pytest.CaptureFixture[str]) -> None:
    """As most people start it, and on a disk as `export` makes it: not even an error of the program's own."""
    results = conformance.run_plainly(make_export().url)
    asked = [result for result in results if not conformance.was_not_asked(result)]
    with capsys.disabled():
        print(f"\niscsi-test-cu, one URL: {conformance.summary(asked)}")
        print(f"  {len(results) - len(asked)} skipped: they want a second URL or leave to SANITIZE (and have it above)")
    assert [result for result in results if result.outcome in (cu.FAILED, cu.UNFINISHED)] == []
    assert conformance.complaints(asked) == []
    assert len(results) == conformance.TESTS


@pytest.mark.parametrize("name", ["removable", "protected", pytest.param("paced", marks=pytest.mark.full)])
def test_iscsi_test_cu_on_disks_of_another_kind(name: str, tmp_path: Path) -> None:
    """What an ordinary disk skips: media that come out, disks that can't be written, a SANITIZE that takes a while."""
    disk = conformance.DISKS[name]
    results = matrix.run(matrix.maker("memory", tmp_path), disk)
    assert results
    assert [result for result in results if not conformance.ran(result)] == []


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("backing", ["memory", "file", pytest.param("gluster", marks=pytest.mark.gluster)])
def test_the_matrix(
    backing: str, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every kind of disk on every backing: nothing fails; on memory every test runs somewhere."""
    prefix = ""
    if backing == "gluster":
        server: GlusterServer = request.getfixturevalue("gluster")
        prefix = f"gluster://{server.host}/conf"
    make = matrix.maker(backing, tmp_path, prefix)
    outcomes = {(backing, disk.name): matrix.run(make, disk) for disk in conformance.DISKS.values()}
    with capsys.disabled():
        print(f"\n{matrix.table(outcomes)}")
    assert matrix.bad(outcomes) == []


@pytest.mark.parametrize("digest", DIGESTS)
def test_qemu_writes_an_image_and_reads_it_back(
    make_export: MakeExport, pattern: Path, tmp_path: Path, digest: str
) -> None:
    export = make_export()
    disk = qemu_disk(export, digest)
    run("qemu-img", "convert", "-n", "-f", "raw", str(pattern), "--target-image-opts", disk[1])
    run("qemu-img", "convert", "--image-opts", disk[1], "-O", "raw", str(tmp_path / "back.img"))
    assert (tmp_path / "back.img").read_bytes() == pattern.read_bytes()
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", str(pattern), export.url)


@pytest.mark.parametrize("digest", DIGESTS)
def test_qemu_io_patterns(make_export: MakeExport, digest: str) -> None:
    """Writes of odd places and sizes, zeroes and discards, each read back with the pattern that has to be there."""
    export = make_export()
    commands = [
        "write -P 0xa5 0 64k",
        "write -P 0x5a 512 512",
        "write -f -P 0x11 1M 3M",
        "write -P 0x22 99M 1M",
        "write -z 2M 1M",
        "discard 3M 64k",
        "flush",
        "read -P 0xa5 0 512",
        "read -P 0x5a 512 512",
        "read -P 0xa5 1k 63k",
        "read -P 0x11 1M 1M",
        "read -P 0 2M 1M",
        "read -P 0x11 3136k 960k",
        "read -P 0x22 99M 1M",
        "aio_write -P 0x33 40M 8M",
        "aio_write -P 0x44 48M 8M",
        "aio_flush",
        "read -P 0x33 40M 8M",
        "read -P 0x44 48M 8M",
    ]
    words = [word for command in commands for word in ("-c", command)]
    output = run("qemu-io", "-t", "none", *qemu_disk(export, digest), *words)
    assert "verification failed" not in output, output
    assert "error" not in output.lower(), output


def test_the_log_stays_quiet_in_normal_use(make_export: MakeExport) -> None:
    export = make_export()
    run("qemu-io", "-f", "raw", "-c", "write 0 1M", "-c", "read 0 1M", export.url)
    lines = [line for line in export.log().splitlines() if "--allow all" not in line]
    assert lines == []


class TestTools:
    """libiscsi's small programs; what they print depends on no backing, so one is enough."""

    @pytest.fixture
    def export(self) -> Iterator[Export]:
        with Export(f"memory:tools?size={DISK_BYTES}", "--iqn", IQN) as export:
            yield export

    def test_discovery_names_the_target_and_its_portal(self, export: Export) -> None:
        assert f"Target:{IQN} Portal:{export.portal},1" in run("iscsi-ls", f"iscsi://{export.portal}")

    def test_discovery_shows_the_lun_as_a_disk(self, export: Export) -> None:
        assert re.search(r"Lun:0\s+Type:DIRECT_ACCESS \(Size:99M\)|Lun:0\s+Type:DIRECT_ACCESS \(Size:100M\)",
                         run("iscsi-ls", "-s", f"iscsi://{export.portal}"))  # fmt: skip

    def test_inquiry_says_a_disk_of_ours(self, export: Export) -> None:
        output = run("iscsi-inq", export.url)
        assert "Peripheral Device Type:DIRECT_ACCESS" in output
        assert "Peripheral Qualifier:CONNECTED" in output

    @pytest.mark.parametrize("page", [0x00, 0x80, 0x83, 0xB0, 0xB1, 0xB2])
    def test_vital_product_data_pages(self, export: Export, page: int) -> None:
        run("iscsi-inq", "-e", "1", "-c", str(page), export.url)

    def test_the_serial_number_is_the_one_announced(self, export: Export) -> None:
        assert str(export.ready["serial"]) in run("iscsi-inq", "-e", "1", "-c", str(0x80), export.url)

    def test_capacity_is_the_files(self, export: Export) -> None:
        assert run("iscsi-readcapacity16", "-s", export.url).strip() == str(DISK_BYTES)

    def test_reads_keep_running_under_load(self, export: Export) -> None:
        output = run("iscsi-perf", "-r", "-m", "32", "-b", "8", "-t", "2", export.url)
        assert "finished." in output
        assert int(re.findall(r"iops average (\d+)", output)[-1]) > 0


class TestTwoInitiators:
    def test_see_each_others_data(self) -> None:
        with Export(f"memory:two?size={DISK_BYTES}", "--iqn", IQN) as export:
            first, second = (f"{export.url}", f"{export.url}")
            run("qemu-io", "-f", "raw", "-c", "write -P 0x77 5M 1M", first)
            assert "failed" not in run("qemu-io", "-f", "raw", "-c", "read -P 0x77 5M 1M", second)

    def test_read_at_the_same_time(self) -> None:
        with Export(f"memory:two?size={DISK_BYTES}", "--iqn", IQN) as export:
            command = ["iscsi-perf", "-r", "-m", "16", "-b", "8", "-t", "2"]
            names = ("iqn.2024-01.org.example:one", "iqn.2024-01.org.example:two")
            clients = [
                subprocess.Popen([*command, "-i", name, export.url], stdout=subprocess.PIPE, text=True)
                for name in names
            ]
            outputs = [client.communicate(timeout=60)[0] for client in clients]
            assert [client.returncode for client in clients] == [0, 0]
            assert all("finished." in output for output in outputs)


class TestEnd:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_it_with_status_0(self, number: signal.Signals) -> None:
        export = Export("memory:end?size=64M", "--iqn", IQN).start()
        run("qemu-io", "-f", "raw", "-c", "write 0 1M", export.url)
        assert export.stop(number) == 0
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", export.port)) != 0

    def test_a_signal_under_load_ends_it_too(self) -> None:
        export = Export("memory:end?size=64M", "--iqn", IQN).start()
        client = subprocess.Popen(
            ["iscsi-perf", "-r", "-m", "32", "-b", "8", "-x", "0", "-t", "20", export.url], stdout=subprocess.DEVNULL
        )
        try:
            run("iscsi-readcapacity16", export.url)
            assert export.stop(signal.SIGTERM) == 0
        finally:
            client.kill()
            client.wait()

    def test_what_was_written_is_in_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "disk"
        with Export(f"file://{path}", "--size", "64M", "--iqn", IQN) as export:
            run("qemu-io", "-f", "raw", "-c", "write -P 0x42 8M 1M", export.url)
            assert export.stop() == 0
        with path.open("rb") as file:
            file.seek(8 * MIB)
            assert file.read(MIB) == b"\x42" * MIB
        assert path.stat().st_size == 64 * MIB


class TestAccess:
    def test_an_initiator_that_is_not_allowed_cannot_log_in(self) -> None:
        with Export("memory:acl?size=64M", "--iqn", IQN, allow=["iqn.2024-01.org.example:one"]) as export:
            run("iscsi-inq", "-i", "iqn.2024-01.org.example:one", export.url)
            done = subprocess.run(["iscsi-inq", "-i", "iqn.2024-01.org.example:two", export.url],
                                  capture_output=True, timeout=60, check=False)  # fmt: skip
            assert done.returncode != 0

    def test_nobody_is_allowed_by_default(self) -> None:
        export = Export("memory:acl?size=64M", allow=[])
        with pytest.raises(RuntimeError, match="--allow"):
            export.start()
        assert export.stop() == 2

    def test_a_read_only_disk_refuses_writes(self) -> None:
        with Export("memory:ro?size=64M", "--iqn", IQN, "--read-only") as export:
            run("qemu-io", "-r", "-f", "raw", "-c", "read 0 1M", export.url)
            done = subprocess.run(["qemu-io", "-f", "raw", "-c", "write 0 1M", export.url],
                                  capture_output=True, timeout=60, check=False)  # fmt: skip
            assert done.returncode != 0
