"""A good session's latency while one address floods the engine: `python -m tests.system.flood` prints the figures.

idle      10,000 connections of one address that say nothing, all held open by the peer
logins    200 connections of one address at a time, each a whole login with a wrong password, as fast as they go
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import resource
import select
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.doubles.initiator import Initiator
from tests.system.export import Export

CROWD_ADDRESS, GOOD_ADDRESS = "127.0.0.66", "127.0.0.1"
USER, PASSWORD = "alice", "correct-horse-bat"
READ_10 = bytes((0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0))
IDLE_CONNECTIONS = 10_000
LOGIN_CONNECTIONS = 200
PHASES = ("alone", "idle", "logins")


class GoodSession:
    """One initiator with a blocking socket."""

    def __init__(self, port: int, iqn: str, name: str = "iqn.2026-01.example:good", **options: Any) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 10, (GOOD_ADDRESS, 0))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.initiator = Initiator(iqn, name, **{"chap": (USER, PASSWORD), "algorithms": "7,5", **options})
        self.initiator.login()
        while not self.initiator.full_feature:
            self.exchange()
        self.read()  # the unit attention

    def exchange(self) -> None:
        """Send what is queued, and take what comes."""
        self._socket.sendall(self.initiator.take())
        data = self._socket.recv(1 << 20)
        assert data, f"the target closed the good connection (login status {self.initiator.login_status})"
        self.initiator.feed(data)

    def send(self, data: bytes) -> None:
        """Bytes as they are."""
        self._socket.sendall(data)

    def silent(self, seconds: float) -> bool:
        """Send what is queued; whether nothing comes for so long."""
        self.send(self.initiator.take())
        return not select.select([self._socket], [], [], seconds)[0]

    def close(self) -> None:
        """End it, without a word."""
        self._socket.close()

    def read(self) -> int:
        """One READ of 4 KiB; its status."""
        return int(self.run(READ_10, read=4096).status)

    def run(self, cdb: bytes, **options: Any) -> Any:
        """One command to its end."""
        task = self.initiator.scsi(cdb, **options)
        while task.status is None:
            self.exchange()
        del self.initiator.tasks[task.tag]
        self.initiator.every.clear()
        return task

    def latencies(self, seconds: float) -> list[float]:
        """One READ after the other: how long each took, in microseconds."""
        took = []
        end = time.monotonic() + seconds
        while (start := time.perf_counter()) and time.monotonic() < end:
            assert self.read() == 0
            took.append((time.perf_counter() - start) * 1e6)
        return took


def crowd_of_idlers(port: int, count: int, opened: Any, stop: Any) -> None:
    """Open count connections, keep them, and say when they are open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, count + 100), hard), hard))
    crowd = []
    for _ in range(count):
        one = socket.socket()
        one.bind((CROWD_ADDRESS, 0))
        with contextlib.suppress(OSError):
            one.connect(("127.0.0.1", port))
        crowd.append(one)
    opened.value = len(crowd)
    stop.wait()


def crowd_of_guessers(port: int, iqn: str, count: int, refused: Any, stop: Any) -> None:
    """count at a time log in with a wrong password, or are closed at once; counts both."""

    async def guess(number: int) -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError, AssertionError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(CROWD_ADDRESS, 0))
                bad = Initiator(iqn, f"iqn.2026-01.example:bad-{number}", chap=(USER, "wrong-horse-batt"))
                bad.login()
                while bad.login_status in (None, 0):
                    writer.write(bad.take())
                    data = await reader.read(65536)
                    if not data:
                        break
                    bad.feed(data)
                writer.close()
                refused.value += 1

    async def all_of_them() -> None:
        await asyncio.gather(*(guess(number) for number in range(count)))

    asyncio.run(all_of_them())


@contextlib.contextmanager
def protected_export(**settings: str) -> Iterator[Export]:
    """A disk in memory behind a password."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "secret")
        file.touch(0o600)
        file.write_text(PASSWORD)
        export = Export("memory:flood", "--size", "16M", "--chap", f"{USER}:{file}")
        export.environment.update({f"TCMU_GLUSTER_{name.upper()}": value for name, value in settings.items()})
        with export:
            yield export


def measure(
    seconds: float = 3.0, idle: int = IDLE_CONNECTIONS, guessers: int = LOGIN_CONNECTIONS, apart: bool = False
) -> dict[str, Any]:
    """Both floods, one after the other. apart: the crowd has one processor, all else the others."""
    processors = os.sched_getaffinity(0)
    crowds = {min(processors)} if apart else processors
    ours = processors - crowds or processors
    context = multiprocessing.get_context("spawn")
    counted, stop = context.Value("i", 0), context.Event()
    figures: dict[str, Any] = {}
    with on(ours), protected_export() as export:
        session = GoodSession(export.port, export.iqn)
        session.latencies(0.5)
        figures["alone"] = session.latencies(seconds)
        process = context.Process(target=crowd_of_idlers, args=(export.port, idle, counted, stop), daemon=True)
        with on(crowds):
            process.start()
        begun = time.monotonic()
        while not counted.value:
            assert process.is_alive(), "the crowd died"
            session.latencies(0.05)
        figures["opened_seconds"] = time.monotonic() - begun
        figures["idle"] = session.latencies(seconds)
        GoodSession(export.port, export.iqn, "iqn.2026-01.example:newcomer")  # it is let in
        figures["held"] = established(export.port)  # the newcomer came last, so the crowd has been looked at
        stop.set()
        process.join(30)
        time.sleep(0.2)
        counted.value = 0
        stop.clear()
        args = (export.port, export.iqn, guessers, counted, stop)
        process = context.Process(target=crowd_of_guessers, args=args, daemon=True)
        with on(crowds):
            process.start()
        while not counted.value:
            assert process.is_alive(), "the crowd died"
            session.latencies(0.05)
        before, start = counted.value, time.monotonic()
        figures["logins"] = session.latencies(seconds)
        figures["refused_per_second"] = (counted.value - before) / (time.monotonic() - start)
        GoodSession(export.port, export.iqn, "iqn.2026-01.example:newcomer")
        stop.set()
        process.join(30)
    return figures


@contextlib.contextmanager
def on(processors: set[int]) -> Iterator[None]:
    """This thread, and what it starts meanwhile, runs on these only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def established(port: int) -> int:
    """Connections of the crowd that the engine keeps open, from the kernel's table."""
    local, remote = (f":{port:04X}", "".join(f"{int(part):02X}" for part in reversed(CROWD_ADDRESS.split("."))))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(local) and row[2].startswith(remote) and row[3] == "01" for row in rows)


def p99(latencies: list[float]) -> float:
    """Microseconds."""
    return statistics.quantiles(latencies, n=100)[98]


def print_latencies(runs: list[dict[str, Any]], phases: Sequence[str]) -> None:
    """A line a phase, all runs together; the first phase is what the others are compared with."""
    together = {name: [took for run in runs for took in run[name]] for name in phases}
    alone = p99(together[phases[0]])
    for name, took in together.items():
        print(
            f"{name:7} {len(took):6} reads, median {statistics.median(took):6.0f} us, p99 {p99(took):6.0f} us "
            f"({p99(took) / alone:.2f} times {phases[0]}'s)"
        )


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=1, help="so often, in turns; the latencies are put together")
    parser.add_argument(
        "--apart", action="store_true", help="the crowd has a processor of its own, as if it were on another machine"
    )
    given = parser.parse_args()
    runs = [measure(apart=given.apart) for _ in range(given.times)]
    print_latencies(runs, PHASES)
    held, seconds = max(run["held"] for run in runs), max(run["opened_seconds"] for run in runs)
    print(
        f"of {IDLE_CONNECTIONS} idle connections of one address {held} were kept, "
        f"after the {seconds:.1f} s in which they came"
    )
    refused = ", ".join(f"{run['refused_per_second']:.0f}" for run in runs)
    print(f"connections turned away or refused a second: {refused}")
    print(f"load of the machine at the end: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
