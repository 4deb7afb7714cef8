from __future__ import annotations

import os
import socket

from tcmu_gluster.control.peer import peer_of


def test_both_ends_are_this_process() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert peer_of(one) == peer_of(other) == (os.getpid(), os.geteuid())
