"""The blocking client of the control socket, for the command and the shell."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Optional

from ..config.settings import default_paths
from ..errors import OperationError
from .codec import LONGEST_REPLY_BYTES, Code, Failure, LineReader, Malformed, Progress, Request, Result, encode
from .operations import UsageError, find
from .peer import peer_of

CONNECT_SECONDS = 5.0
SOCKET_OF_ROOT = default_paths({}, 0)["control_socket"]

OnProgress = Callable[[Mapping[str, Any]], None]


class DaemonUnreachable(OperationError):
    """Nobody answers at the control socket: exit code 3."""


class ControlClient:
    """One connection, one question at a time. Raises OperationError with the sentence to print.

    clock is monotonic seconds; a question fails after the operation's time limit without an answer or progress. user is
    who asks (default: who this runs as).
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float] = time.monotonic,
        *,
        user: Optional[int] = None,
        of_root: Path = SOCKET_OF_ROOT,
    ) -> None:
        self._path, self._clock, self._of_root = path, clock, of_root
        self._user = os.geteuid() if user is None else user
        self._reader = LineReader(LONGEST_REPLY_BYTES)
        self._next_id = 1
        self._socket: Optional[socket.socket] = None

    def __enter__(self) -> ControlClient:
        self.connect()
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def connect(self) -> None:
        """Raises DaemonUnreachable."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(CONNECT_SECONDS)
        try:
            self._socket.connect(str(self._path))
        except (OSError, ValueError) as error:
            self.close()
            raise DaemonUnreachable(self._advice(error)) from None
        self._check_owner()

    def _check_owner(self) -> None:
        """Passwords are told to root and to ourselves alone: in /tmp anybody may have been first with that name."""
        assert self._socket is not None
        user, own = peer_of(self._socket).user, self._user
        if own not in (0, user) and user != 0:
            self.close()
            raise DaemonUnreachable(f"user {user}, who is neither root nor you, listens at {self._path}, and was not "
                                    "asked; name your daemon's socket with --control-socket")  # fmt: skip

    def _advice(self, error: Exception) -> str:
        start = "start it with `systemctl start tcmu-gluster` or `tcmu-gluster serve`"
        if self._user and self._of_root.is_socket():
            start = "root's may be: ask that as root, or start your own with `tcmu-gluster serve`"
        if isinstance(error, FileNotFoundError):
            return f"the daemon is not running (there is no {self._path}); {start}"
        if isinstance(error, ConnectionRefusedError):
            return f"the daemon is not running (nobody listens at {self._path}); {start}"
        if isinstance(error, PermissionError):
            return f"{self._path} may not be opened by this user; ask as root or as the user who runs the daemon"
        return f"the daemon can't be reached at {self._path}: {error}"

    def close(self) -> None:
        """Let go of the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def call(
        self, name: str, args: Optional[Mapping[str, Any]] = None, on_progress: Optional[OnProgress] = None
    ) -> dict[str, Any]:
        """Ask and wait. Raises UsageError, OperationError, DaemonUnreachable."""
        if self._socket is None:
            self.connect()
        number, self._next_id = self._next_id, self._next_id + 1
        given = {key: value for key, value in (args or {}).items() if value is not None}
        limit = find(name).time_limit_seconds
        try:
            self._sendall(encode(Request(number, name, given)))
            return self._wait(number, name, limit, on_progress)
        except socket.timeout:
            self.close()
            raise DaemonUnreachable(f"the daemon did not answer {name} within {limit} seconds; "
                                    "look at its log with `journalctl -u tcmu-gluster`") from None  # fmt: skip
        except OSError as error:
            self.close()
            raise DaemonUnreachable(
                f"the connection to the daemon broke during {name}: {error.strerror or error}"
            ) from None

    def _sendall(self, data: bytes) -> None:
        assert self._socket is not None
        self._socket.settimeout(CONNECT_SECONDS)
        self._socket.sendall(data)

    def _wait(self, number: int, name: str, limit: float, on_progress: Optional[OnProgress]) -> dict[str, Any]:
        assert self._socket is not None
        deadline = self._clock() + limit
        while True:
            left = deadline - self._clock()
            if left <= 0:
                raise socket.timeout()
            self._socket.settimeout(left)
            data = self._socket.recv(1 << 16)
            if not data:
                raise ConnectionResetError(0, "the daemon closed it")
            for message in self._reader.receive_data(data):
                if isinstance(message, Malformed):
                    raise OSError(0, f"the daemon's answer is not understood ({message.sentence})")
                if message.id not in (number, 0):
                    continue
                if isinstance(message, Result):
                    return message.result
                if isinstance(message, Failure):
                    raise (
                        UsageError(message.sentence) if message.code is Code.USAGE else OperationError(message.sentence)
                    )
                if isinstance(message, Progress):
                    deadline = self._clock() + limit
                    if on_progress is not None:
                        on_progress(message.progress)
