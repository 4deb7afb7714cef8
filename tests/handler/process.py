"""`python -m handler` as a process of its own, for tests that start, ask, kill and stop it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tcmu_gluster.control.client import ControlClient

START_SECONDS = 30


class Process:
    """`python -m handler` with a directory and a notify socket of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.socket = root / "c.sock"
        self.state = root / "etc" / "saveconfig.json"
        self.process: subprocess.Popen[bytes] | None = None
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(root / "n.sock"))
        self.notify.settimeout(START_SECONDS)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exception: object) -> None:
        """Whatever the test left of it ends."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.notify.close()

    def start(self) -> Process:
        environ = {
            **os.environ,
            "NOTIFY_SOCKET": str(self.root / "n.sock"),
            "WATCHDOG_USEC": "200000",
            "TCMU_GLUSTER_SETTINGS": str(self.root / "none.toml"),
            "TCMU_GLUSTER_STATE_FILE": str(self.state),
            "TCMU_GLUSTER_CONTROL_SOCKET": str(self.socket),
            "TCMU_GLUSTER_PORTALS": "127.0.0.1:0",
            "TCMU_GLUSTER_LIO": "off",
            "TCMU_GLUSTER_RETRY_SECONDS": "1",
        }
        with open(self.root / "log", "ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "handler"], env=environ, stderr=log)
        self.wait_for(b"READY=1")
        return self

    def wait_for(self, word: bytes) -> None:
        while word not in self.notify.recv(4096):
            continue

    def client(self) -> ControlClient:
        return ControlClient(self.socket)

    def ask(self, op: str, **args: Any) -> dict[str, Any]:
        with self.client() as client:
            return client.call(op, args)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(START_SECONDS)
