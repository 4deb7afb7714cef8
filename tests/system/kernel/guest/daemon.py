"""Our daemon and our command, used as a systemd unit and an administrator would."""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

from . import lio, services
from .shell import OURS, expect, read, run, say, start, wait_for

LOG = "/io/daemon.txt"
_PID = Path("/run/daemon.pid")
_STATUS = Path("/run/daemon.status")
# The scenarios are processes of their own, so somebody who stays must see how the daemon ends: this shell.
_KEEPER = '"$@" & echo $! > /run/daemon.new; mv /run/daemon.new /run/daemon.pid; wait $!; echo $? > /run/daemon.status'


class Daemon:
    """`tcmu-gluster serve`, one for all scenarios of a boot: found again, or started if it does not run.

    It has a notify socket, as Type=notify units have.  A scenario that kills it starts it again.
    """

    def __init__(self) -> None:
        if not self.alive:
            self.start()

    @property
    def pid(self) -> int:
        """Its process id, of the last start."""
        return int(read(_PID) or 0)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return _PID.exists() and not _STATUS.exists()

    def start(self) -> None:
        """Start it and wait until it says that it is ready.  Raises AssertionError with its last words if it ends."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start it, and come back while Python is still loading it."""
        lio.start()
        path = Path("/run/notify")
        for stale in (path, _PID, _STATUS):
            stale.unlink(missing_ok=True)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(path))
        self._notify.setblocking(False)
        start("/bin/sh", "-c", _KEEPER, "keeper", OURS, "serve", log=LOG, env={"NOTIFY_SOCKET": str(path)})

    def wait_until_ready(self) -> None:
        """Raises AssertionError with its last words if it ends instead."""

        def ready() -> bool:
            if _STATUS.exists():
                raise AssertionError(f"the daemon ended with status {read(_STATUS)}\n{read(LOG)[-3000:]}")
            try:
                return b"READY=1" in self._notify.recv(4096)
            except BlockingIOError:
                return False

        with self._notify:
            wait_for("the daemon says that it is ready", ready, limit=90)

    def wait_until_on_the_bus(self) -> None:
        """Until plain targetcli finds us by ourselves: the bus may be younger than the daemon, which looks again."""
        wait_for("the name on the bus is ours", lambda: "is ours" in ask("status")["targetcli"])

    def kill(self) -> None:
        """kill -9, and wait until the kernel has let go of it."""
        os.kill(self.pid, signal.SIGKILL)
        wait_for("the killed daemon is gone", _STATUS.exists)

    def stop(self, limit: float = 60) -> None:
        """The planned stop; it must end by itself and with status 0."""
        os.kill(self.pid, signal.SIGTERM)
        wait_for("the daemon has stopped", _STATUS.exists, limit)
        expect(read(_STATUS) == "0", f"its status is 0 (it is {read(_STATUS)})")

    def footprint(self) -> dict[str, int]:
        """What could leak: open files, ring mappings and threads of the daemon, uio devices of the kernel."""
        base = Path(f"/proc/{self.pid}")
        uio = Path("/sys/class/uio")
        return {
            "files": len(list((base / "fd").iterdir())),
            "mappings": len(re.findall(r"/dev/uio", read(base / "maps"))),
            "threads": len(list((base / "task").iterdir())),
            "uio": len(list(uio.iterdir())) if uio.exists() else 0,
        }

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            say("the daemon's last lines:\n" + read(LOG)[-3000:])


def ours(*arguments: str, status: int | None = 0, limit: float = 120) -> str:
    """The command as a person types it; what it printed.  Starting Python costs seconds here: see ask."""
    return run(OURS, *arguments, status=status, limit=limit)


def ask(operation: str, **arguments: Any) -> dict[str, Any]:
    """The same operation over the control socket."""
    from tcmu_gluster.control.client import ControlClient

    with ControlClient(Path("/run/tcmu-gluster/control.sock")) as client:
        answer = client.call(operation, arguments)
    say(f"{operation} {arguments}: {answer.get('now', answer)}")
    return answer


def refused(operation: str, **arguments: Any) -> str:
    """An operation that must be refused; its sentence."""
    from tcmu_gluster.errors import OperationError

    try:
        answer = ask(operation, **arguments)
    except OperationError as error:
        return str(error)
    raise AssertionError(f"{operation} {arguments} was not refused: {answer}")


def uri(file: str) -> str:
    """The file on the guest's volume, which is started if it is not there yet."""
    services.start_gluster()
    return uri_of(file)


def uri_of(file: str) -> str:
    """The same, where the volume is known to be started."""
    return f"gluster://vm/{services.VOLUME}/{file}"


class Disk:
    """A disk of ours with LIO in front; deleted with its file at the end."""

    def __init__(self, name: str, backing: str, size: str) -> None:
        self.name = name
        ask("disk.create", name=name, uri=backing, size=size, front="lio")
        self.backstore = lio.backstore(name)

    def delete(self) -> None:
        """And check that LIO has nothing left of it."""
        ask("disk.delete", name=self.name)
        expect(not self.backstore.exists(), f"{self.name} is gone from LIO")

    def __enter__(self) -> Disk:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.delete()
