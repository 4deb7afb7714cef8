from __future__ import annotations

import os
import socket
from pathlib import Path

from handler.notify import Notifier


def test_systemd_hears_each_step(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "n"))
        systemd.settimeout(5)
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "n")})
        notifier.ready("2 disks")
        notifier.alive()
        notifier.status("busy")
        notifier.stopping()
        heard = [systemd.recv(4096) for _ in range(4)]
    assert heard == [b"READY=1\nSTATUS=2 disks", b"WATCHDOG=1", b"STATUS=busy", b"STOPPING=1\nSTATUS=draining"]


def test_abstract_sockets_begin_with_an_at_sign() -> None:
    name = f"tcmu-gluster-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0{name}")
        systemd.settimeout(5)
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).alive()
        assert systemd.recv(100) == b"WATCHDOG=1"


def test_without_systemd_nothing_happens(tmp_path: Path) -> None:
    Notifier({}).ready("x")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready("x")


def test_the_watchdog_is_fed_twice_as_often_as_it_asks() -> None:
    assert Notifier({"WATCHDOG_USEC": "30000000"}).watchdog_seconds == 15
    assert Notifier({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}).watchdog_seconds == 15
    assert Notifier({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}).watchdog_seconds == 0
    assert Notifier({"WATCHDOG_USEC": "soon"}).watchdog_seconds == 0
    assert Notifier({}).watchdog_seconds == 0
