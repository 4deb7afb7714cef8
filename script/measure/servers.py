"""The two targets that are measured, each serving one backing on a free port of 127.0.0.1."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

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


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


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

    def __init__(self, backing: Backing) -> None:
        self.backing = backing
        self.port = free_port()
        self.log = tempfile.NamedTemporaryFile(prefix="bench-", suffix=".log")  # noqa: SIM115 - closed by stop()
        self.process: subprocess.Popen[bytes]
        self.url = ""

    @property
    def pid(self) -> int:
        return self.process.pid

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
        raise TypeError("a Server of no kind")

    def stop(self) -> None:
        if hasattr(self, "process"):
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()
        self.log.close()

    def open_flags(self) -> str:
        """How the server has the backing file open (fcntl.h, octal), from the kernel; "-" when it holds none."""
        for entry in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                if os.readlink(entry) == self.backing.path:
                    info = Path(f"/proc/{self.pid}/fdinfo/{entry.name}").read_text()
                    return next(line.split()[1] for line in info.splitlines() if line.startswith("flags:"))
            except FileNotFoundError:
                continue
        return "-"


class Tgt(Server):
    """Debian's tgtd with a control socket of its own; LUN 1 (its LUN 0 is a controller). Default cache and threads."""

    name = "tgt"

    def start(self) -> None:
        os.makedirs("/run/tgtd", exist_ok=True)
        self.control = str(free_port())
        portal = f"portal=127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            ["tgtd", "-f", "-C", self.control, "--iscsi", portal],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )
        wait_for_port(self.port, self.process)
        self.admin("--op", "new", "--mode", "target", "--tid", "1", "-T", IQN)
        backing = ["-b", self.backing.path]
        if self.backing.volume:
            backing = ["--bstype", "glfs", "-b", f"{self.backing.volume}@{self.backing.host}:{self.backing.path}"]
        self.admin("--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", "1", *backing)
        self.admin("--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL")
        self.url = f"iscsi://127.0.0.1:{self.port}/{IQN}/1"

    def admin(self, *arguments: str) -> None:
        command = ["tgtadm", "-C", self.control, "--lld", "iscsi", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")


class Ours(Server):
    """tcmu-gluster export. tree: another checkout's folder, run by the same Python."""

    name = "ours"

    def __init__(self, backing: Backing, tree: Path | None = None, options: Sequence[str] = ()) -> None:
        super().__init__(backing)
        self.tree = tree or Path.cwd()
        self.options = options

    def start(self) -> None:
        command = [sys.executable, "-m", "tcmu_gluster.cli.main", "export", self.backing.our_uri]
        command += ["--portal", f"127.0.0.1:{self.port}", "--iqn", IQN, "--allow", "all", "--json", *self.options]
        environment: Mapping[str, str] = {**os.environ, "PYTHONPATH": str(self.tree)}
        self.process = subprocess.Popen(
            command,
            cwd=self.tree,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log,
        )
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], START_SECONDS)
        line = self.process.stdout.readline() if readable else b""
        if not line:
            raise RuntimeError(f"tcmu-gluster export did not get ready:\n{Path(self.log.name).read_text()}")
        ready = json.loads(line)
        self.url = f"iscsi://127.0.0.1:{self.port}/{ready['iqn']}/{ready['lun']}"
