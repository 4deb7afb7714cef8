"""Who is at the other end of a Unix socket."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

_CREDENTIALS = struct.Struct("=iII")  # struct ucred: pid, uid, gid


class Peer(NamedTuple):
    """The process that connected, or that listens."""

    process: int
    user: int


def peer_of(connection: socket.socket) -> Peer:
    """As the kernel noted it at connect() and listen(). Raises OSError."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    process, user, _ = _CREDENTIALS.unpack(raw)
    return Peer(process, user)
