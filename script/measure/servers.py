"""The two targets that are measured, each serving one backing on a free port of 127.0.0.1."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from tests.system.export import ROOT, Export, free_port, open_flags

IQN = "iqn.2024-01.org.example.bench:disk"
START_SECONDS = 30


class Backing(NamedTuple):
    """One file, in each program's words. volume and host are empty for a plain file."""

    path: str
    volume: str = ""
    host: str = ""
    uri: str = ""

    @property
    def our_uri(self) -> str:
        if self.uri:
            return self.uri
        return f"gluster://{self.host}/{self.volume}/{self.path}" if self.volume else f"file://{self.path}"


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode} before it listened")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port} after {START_SECONDS} s")


class Server:
    """A running target. url is the disk's; pid is the process that does the work."""

    name = ""
    pid = 0
    url = ""

    def __init__(self, backing: Backing) -> None:
        self.backing = backing

    def __enter__(self) -> Server:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when the disk can be reached at url."""

    def stop(self) -> None:
        """End it, started or not."""

    def open_flags(self) -> str:
        return open_flags(self.pid, self.backing.path)


class Tgt(Server):
    """Debian's tgtd with a control socket of its own; LUN 1 (its LUN 0 is a controller). Default cache and threads."""

    name = "tgt"
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        os.makedirs("/run/tgtd", exist_ok=True)
        # The control "port" is only part of a Unix socket's name, and tgtd takes no number above 32767.
        port, self.control = free_port(), str(os.getpid() % 32000 + 1)
        quiet = subprocess.DEVNULL
        command = ["tgtd", "-f", "-C", self.control, "--iscsi", f"portal=127.0.0.1:{port}"]
        self.process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
        self.pid = self.process.pid
        wait_for_port(port, self.process)
        self.admin("--op", "new", "--mode", "target", "--tid", "1", "-T", IQN)
        backing = ["-b", self.backing.path]
        if self.backing.volume:
            backing = ["--bstype", "glfs", "-b", f"{self.backing.volume}@{self.backing.host}:{self.backing.path}"]
        self.admin("--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", "1", *backing)
        self.admin("--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL")
        self.url = f"iscsi://127.0.0.1:{port}/{IQN}/1"

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def admin(self, *arguments: str) -> None:
        command = ["tgtadm", "-C", self.control, "--lld", "iscsi", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")


class Ours(Server):
    """tcmu-gluster export. tree: another checkout's folder, run by the same Python."""

    name = "ours"

    def __init__(self, backing: Backing, tree: Path = ROOT) -> None:
        super().__init__(backing)
        self.export = Export(backing.our_uri, "--iqn", IQN, tree=tree)

    def start(self) -> None:
        self.url = self.export.start().url
        self.pid = self.export.pid

    def stop(self) -> None:
        self.export.stop()
