"""Our daemon and our command, used as a systemd unit and an administrator would."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

from . import lio, services
from .shell import OURS, expect, read, run, say, start, wait_for

LOG = "/io/daemon.txt"


class Daemon:
    """`tcmu-gluster serve` with a notify socket, as Type=notify units have."""

    def __init__(self) -> None:
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        lio.start()
        path = "/run/notify"
        Path(path).unlink(missing_ok=True)
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(path)
        notify.setblocking(False)
        process = start(OURS, "serve", log=LOG, env={"NOTIFY_SOCKET": path})

        def ready() -> bool:
            if process.poll() is not None:
                raise AssertionError(f"the daemon ended with {process.returncode}\n{read(LOG)[-3000:]}")
            try:
                return b"READY=1" in notify.recv(4096)
            except BlockingIOError:
                return False

        with notify:
            wait_for("the daemon says that it is ready", ready, limit=90)
        return process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def kill(self) -> None:
        """kill -9, and wait until the kernel has let go of it."""
        self.process.kill()
        self.process.wait(30)
        say("the daemon was killed")

    def stop(self, limit: float = 60) -> None:
        """The planned stop; it must end by itself and with status 0."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(limit)
        expect(status == 0, "the daemon stopped with status 0")

    def start_again(self) -> None:
        """What systemd does after either."""
        self.process = self._start()

    def footprint(self) -> dict[str, int]:
        """What could leak: open files and ring mappings of the daemon, uio devices of the kernel."""
        base = Path(f"/proc/{self.pid}")
        return {
            "files": len(list((base / "fd").iterdir())),
            "mappings": len(re.findall(r"/dev/uio", read(base / "maps"))),
            "threads": len(list((base / "task").iterdir())),
            "uio": len(list(Path("/sys/class/uio").glob("uio*"))) if os.path.exists("/sys/class/uio") else 0,
        }

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()


def ours(*arguments: str, status: int | None = 0, limit: float = 120) -> str:
    """The command; what it printed."""
    return run(OURS, *arguments, status=status, limit=limit)


def ask(operation: str, **arguments: Any) -> dict[str, Any]:
    """The same without starting Python each time, for loops: one question over the control socket."""
    from tcmu_gluster.control.client import ControlClient

    with ControlClient(Path("/run/tcmu-gluster/control.sock")) as client:
        return client.call(operation, arguments)


def uri(file: str) -> str:
    """The file on the guest's volume (which is started if it is not there yet)."""
    return f"gluster://vm/{services.start_gluster()}/{file}"


def uri_of(file: str) -> str:
    """The same, where the volume is known to be started."""
    return f"gluster://vm/{services.VOLUME}/{file}"


class Disk:
    """`disk create NAME URI --size S --front lio`, and its backstore in LIO; deleted with its file at the end."""

    def __init__(self, name: str, backing: str, size: str) -> None:
        self.name = name
        said = ours("disk", "create", name, backing, "--size", size, "--front", "lio")
        say(said.strip())
        self.backstore = lio.backstore(name)

    def show(self) -> dict[str, Any]:
        """What the daemon knows of it."""
        shown: dict[str, Any] = json.loads(ours("disk", "show", self.name, "--json"))
        return shown

    def delete(self) -> None:
        """And check that LIO has nothing left of it."""
        ours("disk", "delete", self.name)
        expect(not self.backstore.exists(), f"{self.name} is gone from LIO")

    def __enter__(self) -> Disk:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.delete()


def read_gluster_file(file: str, length_bytes: int) -> bytes:
    """The file's first bytes as another client of the volume sees them: QEMU's or fio's own libgfapi is not at hand in
    every Debian, so this is the volume's FUSE client, a second way through Gluster that shares no code with ours."""
    mount = Path("/run/volume")
    if not os.path.ismount(mount):
        mount.mkdir(exist_ok=True)
        run("modprobe", "fuse")
        run("mount", "-t", "glusterfs", "-o", "direct-io-mode=enable", f"vm:{services.start_gluster()}", str(mount))
    with open(mount / file, "rb") as stream:
        return stream.read(length_bytes)
