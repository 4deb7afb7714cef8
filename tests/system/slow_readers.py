"""A good session's latency beside slow readers: `python -m tests.system.slow_readers` prints the figures.

Each of 64 sessions of one address asks for 16 MiB and takes 1 KiB of it a second, until it is dropped.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import socket
import sys
import time
from pathlib import Path
from typing import Any

from tests.doubles.initiator import Initiator
from tests.system.flood import (
    CROWD_ADDRESS,
    PASSWORD,
    USER,
    GoodSession,
    established,
    print_latencies,
    protected_export,
)

READERS = 64
READ_1_MIB = bytes((0x28, 0, 0, 0, 0, 0, 0, 8, 0, 0))
READS = 16
SIP_BYTES, SIP_SECONDS = 1024, 1.0
RECEIVE_BUFFER_BYTES = 4096
"""Of a slow reader's socket, so that what it has not taken waits in the engine and not in its kernel."""
PHASES = ("alone", "beside", "dropped")


def slow_reader(port: int, iqn: str, number: int) -> socket.socket:
    """A session that has asked for much and will take little of it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    sock.bind((CROWD_ADDRESS, 0))
    sock.settimeout(60)
    sock.connect(("127.0.0.1", port))
    initiator = Initiator(iqn, f"iqn.2026-01.example:slow-{number}", chap=(USER, PASSWORD))
    initiator.login()
    while not initiator.full_feature:
        sock.sendall(initiator.take())
        initiator.feed(sock.recv(65536))
    for _ in range(READS):
        initiator.scsi(READ_1_MIB, read=1 << 20)
    sock.sendall(initiator.take())
    return sock


def crowd(port: int, iqn: str, count: int, ready: Any, stop: Any) -> None:
    """count slow readers, sipping until they are told to stop."""
    sockets = [slow_reader(port, iqn, number) for number in range(count)]
    ready.set()
    while not stop.wait(SIP_SECONDS):
        for sock in tuple(sockets):
            sock.setblocking(False)
            try:
                if not sock.recv(SIP_BYTES):
                    sockets.remove(sock)
            except BlockingIOError:
                continue
            except OSError:
                sockets.remove(sock)


def measure(seconds: float, readers: int = READERS, patience_seconds: int = 30) -> dict[str, Any]:
    """alone: before they come; beside: while all of them are there; dropped: from then until the last is dropped."""
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Event(), context.Event()
    figures: dict[str, Any] = {}
    with protected_export(slow_reader_seconds=str(patience_seconds)) as export:
        session = GoodSession(export.port, export.iqn)
        session.latencies(0.5)
        figures["alone"] = session.latencies(seconds)
        process = context.Process(target=crowd, args=(export.port, export.iqn, readers, ready, stop), daemon=True)
        process.start()
        begun = time.monotonic()
        while not ready.is_set():
            assert process.is_alive(), "the crowd died"
            session.latencies(0.02)
            begun = time.monotonic()
        figures["beside"] = session.latencies(seconds)
        figures["held"] = established(export.port)
        figures["held_after"] = time.monotonic() - begun
        figures["memory_mib"] = resident_mib(export.pid)
        figures["dropped"] = []
        while established(export.port):
            assert time.monotonic() < begun + 4 * patience_seconds + 60, "slow readers are kept"
            figures["dropped"] += session.latencies(0.25)
        figures["gone_after"] = time.monotonic() - begun
        GoodSession(export.port, export.iqn, "iqn.2026-01.example:newcomer").close()
        stop.set()
        process.join(30)
    return figures


def resident_mib(pid: int) -> float:
    """Memory of a process."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=1, help="so often, in turns; the latencies are put together")
    parser.add_argument("--readers", type=int, default=READERS)
    parser.add_argument("--seconds", type=float, default=10, help="how long a phase is measured")
    given = parser.parse_args()
    runs = [measure(given.seconds, given.readers) for _ in range(given.times)]
    print_latencies(runs, PHASES)
    for run in runs:
        print(
            f"{run['held']} of {given.readers} slow readers were there {run['held_after']:.0f} s after they had asked, "
            f"with {run['memory_mib']:.0f} MiB of the engine; the last was dropped after {run['gone_after']:.0f} s"
        )
    print(f"load of the machine at the end: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
