"""Two daemons and one file: real processes that are killed and stopped. The Gluster part needs root."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.export import ROOT, Export
from tests.system.gluster_server import BLOCK_OPTIONS, GlusterServer, why_unavailable

LEASE_SECONDS, COMMAND_LIMIT_SECONDS = 3, 2
WAIT_SECONDS = (LEASE_SECONDS + COMMAND_LIMIT_SECONDS + 2) * 1.01
BLOCK = 4096


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCMU_GLUSTER_GLUSTER_PING_TIMEOUT_SECONDS", "1")
    monkeypatch.setenv("TCMU_GLUSTER_COMMAND_LIMIT_SECONDS", str(COMMAND_LIMIT_SECONDS))
    monkeypatch.setenv("TCMU_GLUSTER_LEASE_SECONDS", str(LEASE_SECONDS))


def write_block(url: str, number: int, pattern: int, seconds: float = 30) -> bool:
    """One block through a real initiator; False if it was not done in time."""
    command = ["qemu-io", "-f", "raw", "-c", f"write -P {pattern} {number * BLOCK} {BLOCK}", url]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and "wrote" in done.stdout


def refusal(uri: str) -> str:
    """What a second daemon says."""
    with pytest.raises(RuntimeError) as caught:
        Export(uri).start()
    return str(caught.value)


@pytest.mark.conformance
def test_on_one_host_the_second_is_refused_and_a_killed_ones_place_is_free_at_once(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/disk"
    with Export(uri, "--size", "16M") as first:
        words = refusal(uri)
        assert f"host {os.uname().nodename} (process {first.pid}), which may write to it until " in words
        assert write_block(first.url, 1, 0x11)
        os.kill(first.pid, signal.SIGKILL)
        started = time.monotonic()
        with Export(uri) as second:  # that process is surely dead: nobody has to wait
            assert time.monotonic() - started < WAIT_SECONDS
            assert write_block(second.url, 2, 0x22)
    data = (tmp_path / "disk").read_bytes()
    assert data[BLOCK : 2 * BLOCK] == b"\x11" * BLOCK and data[2 * BLOCK : 3 * BLOCK] == b"\x22" * BLOCK


@pytest.fixture(scope="module")
def server() -> Iterator[GlusterServer]:
    why = why_unavailable()
    if why:
        pytest.skip(why)
    with GlusterServer() as running:
        running.create_volume("block", options={**BLOCK_OPTIONS, "features.shard": "on"})
        yield running


class OtherHost(Export):
    """An export that can't be recognised from here: its process numbers are of a namespace of their own."""

    def __init__(self, uri: str, *options: str) -> None:
        super().__init__(uri, *options)
        self.arguments = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *self.arguments]

    @property
    def pid(self) -> int:
        children = Path(f"/proc/{super().pid}/task/{super().pid}/children").read_text()
        return int(children.split()[0])


@pytest.mark.gluster
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_another_hosts_place_is_free_after_its_time_and_it_does_nothing_afterwards(
    server: GlusterServer, how: signal.Signals
) -> None:
    """On a volume with shard, whose translator keeps no locks."""
    uri = f"gluster://{server.host}/block/lease-{int(how)}"
    with server.entered(), OtherHost(uri, "--size", "16M") as first:
        words = refusal(uri)
        assert "which may write to it until " in words and "renews" in words
        assert write_block(first.url, 1, 0x11)
        with Export(uri, "--read-only") as reader:
            assert reader.ready["size_bytes"] == 16 << 20
        # A writer that the stop catches in the middle of its work.
        late = subprocess.Popen(
            ["qemu-io", "-f", "raw", "-c", f"write -P 0x33 0 {8 << 20}", first.url],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        stopped = first.pid
        os.kill(stopped, how)
        started = time.monotonic()
        with Export(uri) as second:
            took = time.monotonic() - started
            # What was seen at the earliest is the last renewal before the signal, a quarter of the lease ago.
            assert took >= WAIT_SECONDS - 0.5
            assert took < 3 * WAIT_SECONDS + 20
            assert write_block(second.url, 0, 0x22) and write_block(second.url, 1, 0x22)
            if how is signal.SIGSTOP:
                # The kernel has ended it meanwhile, or else it finds out by itself that it was too long away.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(stopped, signal.SIGCONT)
                assert not write_block(first.url, 1, 0x44, seconds=10)
                time.sleep(2)  # whatever it would still do
            late.kill()
            late.communicate()
            expected = ["qemu-io", "-f", "raw", "-r", "-c", f"read -P 0x22 0 {2 * BLOCK}", second.url]
            done = subprocess.run(expected, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0 and "verification failed" not in done.stdout, done.stdout
    print(f"{how.name}: the second served after {took:.1f} s (lease {LEASE_SECONDS} s, wait {WAIT_SECONDS:.1f} s)")


@pytest.mark.gluster
def test_a_daemon_that_takes_over_says_who_holds_the_disk_and_comes_by_itself(
    server: GlusterServer, tmp_path: Path
) -> None:
    uri = f"gluster://{server.host}/block/daemon"
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "TCMU_GLUSTER_LIO": "off", "TCMU_GLUSTER_PORTALS": "127.0.0.1:0",
        "TCMU_GLUSTER_RETRY_SECONDS": "1", "TCMU_GLUSTER_STATE_FILE": f"{tmp_path}/saveconfig.json",
        "TCMU_GLUSTER_CONTROL_SOCKET": f"{tmp_path}/control.sock",
    }  # fmt: skip

    def ask(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tcmu_gluster.cli.main", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    with server.entered(), OtherHost(uri, "--size", "16M") as first:
        daemon = subprocess.Popen([sys.executable, "-m", "handler"], env=environment, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 60
            while ask("status").returncode and time.monotonic() < deadline:
                time.sleep(0.2)
            refused = ask("disk", "create", "vm1", uri)
            assert refused.returncode == 1 and "which may write to it until" in refused.stderr
            os.kill(first.pid, signal.SIGKILL)
            deadline = time.monotonic() + 3 * WAIT_SECONDS + 30
            while ask("disk", "create", "vm1", uri).returncode and time.monotonic() < deadline:
                time.sleep(0.5)
            shown = ask("disk", "show", "vm1").stdout
            assert "online" in shown and "lease seconds" in shown
        finally:
            daemon.terminate()
            daemon.wait(30)
