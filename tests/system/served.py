"""The daemon as a child process, with a state directory, a control socket and a portal of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.system.export import ROOT, free_port

START_SECONDS = 60.0
STOP_SECONDS = 30.0


def until(condition: Callable[[], object], what: str, seconds: float = START_SECONDS) -> None:
    """Wait for it. Raises AssertionError."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.05)


class Served:
    """`python -m handler`. wrap: puts a command into other namespaces (GlusterServer.command)."""

    def __init__(
        self, folder: Path, *, portal: str = "", wrap: Callable[[Sequence[str]], list[str]] = list, **settings: str
    ) -> None:
        self.folder, self.wrap = folder, wrap
        self.portal = portal or f"127.0.0.1:{free_port()}"
        self.state = folder / "etc" / "saveconfig.json"
        self.settings = {
            "state_file": str(self.state), "control_socket": str(folder / "control.sock"), "lio": "off",
            "portals": self.portal, "drain_seconds": "1", "retry_seconds": "1", **settings,
        }  # fmt: skip
        self.environ = {**os.environ, **{f"TCMU_GLUSTER_{key.upper()}": value for key, value in self.settings.items()}}
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Served:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _inside(self, arguments: Sequence[str]) -> list[str]:
        words = [f"{key}={value}" for key, value in self.environ.items() if key.startswith("TCMU_GLUSTER_")]
        return self.wrap(["env", *words, *arguments])

    def start(self) -> Served:
        """Returns when it has restored everything it could and answers."""
        with (self.folder / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen(self._inside([sys.executable, "-m", "handler"]), stderr=log, cwd=ROOT)
        until(self._is_ready, f"the daemon answers:\n{self.log()[-2000:]}")
        return self

    def _is_ready(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log()
        status = self.command("status", "--json")
        return status.returncode == 0 and "starting" not in json.loads(status.stdout)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it; a second stop does nothing."""
        if self.process is None:
            return
        os.kill(self._pid(), how)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def _pid(self) -> int:
        """Of the daemon: nsenter stays in front of what it runs, and passes no signal on."""
        assert self.process is not None
        pid = self.process.pid
        if Path(f"/proc/{pid}/comm").read_text() == "nsenter\n":
            return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
        return pid

    def log(self) -> str:
        """What it has said."""
        file = self.folder / "daemon.log"
        return file.read_text() if file.exists() else ""

    def run(self, module: str, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of ours against this daemon."""
        arguments = self._inside([sys.executable, "-m", module, *words])
        return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """tcmu-gluster ..."""
        return self.run("tcmu_gluster.cli.main", *words)

    def tgtadm(self, *words: str) -> subprocess.CompletedProcess[str]:
        """tcmu-gluster-tgtadm ..."""
        return self.run("tcmu_gluster.cli.tgtadm", *words)

    def do(self, *words: str) -> dict[str, Any]:
        """tcmu-gluster ... --json, which must be done."""
        done = self.command(*words, "--json")
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return dict(json.loads(done.stdout))
