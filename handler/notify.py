"""systemd's notification protocol: a datagram of KEY=VALUE lines to $NOTIFY_SOCKET (sd_notify(3))."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Optional


class Notifier:
    """Tells systemd how the daemon is. Does nothing where systemd isn't listening."""

    def __init__(self, environ: Optional[Mapping[str, str]] = None) -> None:
        environ = os.environ if environ is None else environ
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_seconds = self._watchdog(environ)
        """Half of what systemd allows between two signs of life; 0: it wants none."""

    @staticmethod
    def _watchdog(environ: Mapping[str, str]) -> float:
        microseconds, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
        if not microseconds.isdigit() or (pid and pid != str(os.getpid())):
            return 0.0
        return int(microseconds) / 2e6

    def ready(self, status: str) -> None:
        """Everything that was saved is served (or waits for its volume)."""
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, text: str) -> None:
        """One line for systemctl status."""
        self._send(f"STATUS={text}")

    def stopping(self) -> None:
        """The stop has begun."""
        self._send("STOPPING=1\nSTATUS=draining")

    def alive(self) -> None:
        """The loop turns."""
        self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as out:
            try:
                out.sendto(text.replace("\0", " ").encode(), self._address)
            except OSError:
                return  # systemd will notice by itself; a daemon that dies of a full socket helps nobody
