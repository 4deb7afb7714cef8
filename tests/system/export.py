"""`tcmu-gluster export` as a child process on a free port: what conformance tests, demo and bench talk to."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
STOP_SECONDS = 30


def free_port() -> int:
    """A port that nobody listens on, in the network of the calling thread."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Export:
    """One served disk. tree: the checkout whose code runs (default: this one)."""

    def __init__(self, uri: str, *options: str, allow: Sequence[str] = ("all",), tree: Path = ROOT) -> None:
        self.port = free_port()
        self.portal = f"127.0.0.1:{self.port}"
        self.arguments = [sys.executable, "-m", "tcmu_gluster.cli.main", "export", uri, "--json"]
        self.arguments += ["--portal", self.portal, *(word for rule in allow for word in ("--allow", rule)), *options]
        self.tree = tree
        self.environment: dict[str, str] = {}
        """Settings for it, before it is started."""
        self.ready: dict[str, Any] = {}
        self._log = tempfile.NamedTemporaryFile(prefix="export-", suffix=".log")  # noqa: SIM115 - stop() closes it
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Export:
        return self if self._process is not None else self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def iqn(self) -> str:
        return str(self.ready["iqn"])

    @property
    def url(self) -> str:
        """libiscsi's and QEMU's name of the disk."""
        return f"iscsi://{self.portal}/{self.iqn}/{self.ready['lun']}"

    def log(self) -> str:
        return Path(self._log.name).read_text(errors="replace")

    def start(self) -> Export:
        """Returns when the command says that it is ready. Raises RuntimeError with its words when it does not."""
        self._process = subprocess.Popen(
            self.arguments,
            cwd=self.tree,
            env={**os.environ, "PYTHONPATH": str(self.tree), **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
        line = self._process.stdout.readline() if readable else b""
        try:
            self.ready = json.loads(line)
        except ValueError:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)  # it says why on its way out
            self.stop()
            raise RuntimeError(f"{' '.join(self.arguments)}: did not get ready\n{self.log()}") from None
        return self

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end and return its exit status; -9 if it had to be killed. A second stop returns the same."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(number)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        return self._process.returncode

    def open_flags(self, path: str) -> str:
        """How the process has this file open (fcntl.h, octal), from the kernel; "-" when it holds no descriptor."""
        return open_flags(self.pid, path)


def open_flags(pid: int, path: str) -> str:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if os.readlink(entry) == path:
                information = Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text()
                return next(line.split()[1] for line in information.splitlines() if line.startswith("flags:"))
        except FileNotFoundError:
            continue
    return "-"
