"""Where the daemon runs: three hosts as network namespaces, one volume, the same work from the same client, in turns.

server ── 10.66.1.0/24 ── client        a brick on the server; every pair of hosts has a cable (veth) of its own,
   └──── 10.66.2.0/24 ── third          so that what each carries is counted
client ─ 10.66.3.0/24 ── third
"""

from __future__ import annotations

import argparse
import json
import os
import select
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from script.measure import clients
from script.measure.works import KIB, MIB
from tests.system.gluster_server import BLOCK_OPTIONS, HOST, GlusterServer, why_unavailable

ROOT = Path(__file__).resolve().parents[2]
IQN = "iqn.2024-01.org.example.placement:disk"
FILE_BYTES = 512 * MIB
START_SECONDS = 60


class Place(NamedTuple):
    """Where the daemon runs, and the address at which the client reaches it there."""

    name: str
    host: str
    address: str


class Work(NamedTuple):
    title: str
    size_bytes: int
    depth: int
    is_write: bool

    def rate(self, url: str, seconds: int, inside: Sequence[str]) -> float:
        if self.is_write:
            return clients.write_rate(url, self.size_bytes, self.depth, clients.LARGE_STEP_BYTES, seconds, inside)
        return clients.read_rate(url, self.size_bytes, self.depth, self.size_bytes < MIB, seconds, inside)


PLACES = (
    Place("on the server", "server", "10.66.1.1"),
    Place("on the client", "client", "127.0.0.1"),
    Place("on a third host", "third", "10.66.3.2"),
)
WORKS = (
    Work("4 KiB read, depth 1", 4 * KIB, 1, False),
    Work("4 KiB read, depth 32", 4 * KIB, 32, False),
    Work("4 KiB write, depth 1", 4 * KIB, 1, True),
    Work("4 KiB write, depth 32", 4 * KIB, 32, True),
    Work("1 MiB read, depth 8", MIB, 8, False),
)


class Hosts:
    """The server's namespace and two more, with a cable between each two."""

    def __init__(self, server: GlusterServer) -> None:
        self._server = server
        self._names = {name: f"tg-{name}-{os.getpid()}" for name in ("client", "third")}

    def __enter__(self) -> Hosts:
        for name in self._names.values():
            clients.run(["ip", "netns", "add", name], 10)
        self._cable("client", "server", "10.66.1")
        self._cable("third", "server", "10.66.2")
        self._cable("client", "third", "10.66.3")
        for name, near in (("client", "10.66.1.1"), ("third", "10.66.2.1")):
            clients.run(self.inside(name, "ip", "link", "set", "lo", "up"), 10)
            clients.run(self.inside(name, "ip", "route", "add", f"{HOST}/32", "via", near), 10)
        return self

    def __exit__(self, *exception: object) -> None:
        for name in self._names.values():
            subprocess.run(["ip", "netns", "delete", name], check=False)

    def inside(self, host: str, *command: str) -> list[str]:
        """command, as it is run on that host."""
        if host == "server":
            # Not into its process numbers: for that nsenter forks, and a signal would not reach the daemon.
            return ["nsenter", "--target", str(self._server.inner_pid), "--net", "--", *command]
        return ["ip", "netns", "exec", self._names[host], *command]

    def _cable(self, one: str, other: str, network: str) -> None:
        """one gets .2 (or .1 towards the third host), other .1 (the third host .2)."""
        here, there = f"{one[:4]}-{other[:4]}", f"{other[:4]}-{one[:4]}"
        clients.run(self.inside(one, "ip", "link", "add", here, "type", "veth", "peer", "name", there), 10)
        if other == "server":
            clients.run(self.inside(one, "ip", "link", "set", there, "netns", str(self._server.inner_pid)), 10)
        else:
            clients.run(self.inside(one, "ip", "link", "set", there, "netns", self._names[other]), 10)
        last = {"client": 2 if other == "server" else 1, "third": 2, "server": 1}
        for host, link in ((one, here), (other, there)):
            clients.run(self.inside(host, "ip", "address", "add", f"{network}.{last[host]}/24", "dev", link), 10)
            clients.run(self.inside(host, "ip", "link", "set", link, "up"), 10)

    def carried_bytes(self) -> int:
        """What all cables have carried so far, both ways."""
        total = 0
        for host, link in (("client", "clie-serv"), ("third", "thir-serv"), ("client", "clie-thir")):
            words = clients.run(self.inside(host, "cat", "/proc/net/dev"), 10)
            line = next(line for line in words.splitlines() if line.strip().startswith(f"{link}:"))
            fields = line.split(":")[1].split()
            total += int(fields[0]) + int(fields[8])
        return total


class Daemon:
    """tcmu-gluster export on one of the hosts."""

    def __init__(self, hosts: Hosts, place: Place) -> None:
        portal = f"{place.address}:3260"
        uri = f"gluster://{HOST}/block/disk"
        command = [sys.executable, "-m", "tcmu_gluster.cli.main", "export", uri, "--size", str(FILE_BYTES), "--json"]
        command += ["--iqn", IQN, "--portal", portal, "--allow", "all"]
        self._command = hosts.inside(place.host, "env", f"PYTHONPATH={ROOT}", *command)
        self.url = f"iscsi://{portal}/{IQN}/0"

    def __enter__(self) -> Daemon:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
        line = self._process.stdout.readline() if readable else b""
        if b'"ready": true' not in line:
            self.__exit__()
            raise RuntimeError(f"{' '.join(self._command)} did not get ready")
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.terminate()
        self._process.wait(60)


def measure(rounds: int, seconds: int) -> dict[str, Any]:
    """{work: {place: rate}}, medians; and how many bytes the cables carried for each byte that the client got."""
    rates: dict[tuple[str, str], list[float]] = {}
    carried: dict[str, list[float]] = {}
    with GlusterServer() as server:
        server.create_volume("block", options=BLOCK_OPTIONS)
        with Hosts(server) as hosts:
            _fill(hosts)
            for number in range(rounds):
                for place in PLACES if number % 2 == 0 else reversed(PLACES):
                    with Daemon(hosts, place) as daemon:
                        for work in WORKS:
                            before = hosts.carried_bytes()
                            rate = work.rate(daemon.url, seconds, hosts.inside("client"))
                            rates.setdefault((work.title, place.name), []).append(rate)
                            if work.size_bytes == MIB:
                                moved = hosts.carried_bytes() - before
                                carried.setdefault(place.name, []).append(moved / (rate * seconds * MIB))
    return {
        "rates": {
            work.title: {place.name: statistics.median(rates[work.title, place.name]) for place in PLACES}
            for work in WORKS
        },
        "carried": {name: statistics.median(values) for name, values in carried.items()},
    }


def _fill(hosts: Hosts) -> None:
    """Every block is written once: holes would be read too fast."""
    place = PLACES[1]
    with Daemon(hosts, place) as daemon:
        write = ["qemu-io", "-f", "raw", "-c", f"write -P 7 0 {FILE_BYTES}", daemon.url]
        clients.run(hosts.inside(place.host, *write), 300)


def table(figures: dict[str, Any]) -> str:
    """Markdown, as docs/placement.md has it."""
    names = [place.name for place in PLACES]
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for title, row in figures["rates"].items():
        unit = "MiB/s" if title.startswith("1 MiB") else "IOPS"
        lines.append(f"| {title}, {unit} | " + " | ".join(f"{row[name]:,.0f}" for name in names) + " |")
    carried = figures["carried"]
    cells = " | ".join(f"{carried[name]:.2f}" for name in names)
    lines.append(f"| bytes on the cables for a byte read | {cells} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    why = why_unavailable()
    if why:
        print(f"script/placement: {why}", file=sys.stderr)
        return 2
    figures = measure(options.rounds, options.seconds)
    print(json.dumps(figures) if options.json else table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
