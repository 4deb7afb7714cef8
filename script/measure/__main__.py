"""script/bench: our engine beside tgt (and fio on libgfapi alone), same file, same clients, in turns, as ratios."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from script.measure import engine, report
from script.measure.clients import fio_rate
from script.measure.servers import Backing, Ours, Server, Tgt
from script.measure.works import FILE_BYTES, MIB, WORKS, Work
from tests.system.gluster_server import BLOCK_OPTIONS, GlusterServer, why_unavailable

OUTPUT = Path("bench-output")
ALONE = {
    "cpu": "CPU of one 4 KiB READ",
    "memory": "resident memory, 16 sessions",
    "ring": "the TCMU ring (script/ring_bench.py)",
}


def say(sentence: str) -> None:
    print(sentence, flush=True)


@contextlib.contextmanager
def plain_file(folder: Path) -> Iterator[Backing]:
    """Filled, and so in the page cache: what is compared is the targets, not the disk."""
    path = folder / "disk.img"
    with path.open("wb") as file:
        for _ in range(FILE_BYTES // MIB):
            file.write(os.urandom(MIB))
    yield Backing(str(path))


@contextlib.contextmanager
def gluster_file() -> Iterator[Backing]:
    """A file on a one-brick volume with the options for block files, each set by name."""
    with GlusterServer() as server:
        server.create_volume("bench", options=BLOCK_OPTIONS)
        with server.entered():
            backing = Backing("disk", "bench", server.host)
            fio_rate(backing.host, backing.volume, backing.path, "write", MIB, 8, FILE_BYTES, 0)
            yield backing


def measure(work: Work, servers: list[Server], backing: Backing, rounds: int, seconds: int) -> dict[str, Any]:
    """All rounds of one row. A round asks everyone in turn, each time in another order."""
    with_limit = bool(backing.volume) and work.backing == "gluster"
    names = [server.name for server in servers] + (["fio"] if with_limit else [])
    rates: dict[str, list[float]] = {name: [] for name in names}
    by_name = {server.name: server for server in servers}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            server = by_name.get(name)
            rate = work.rate(server.url, seconds) if server else work.limit(backing, seconds)
            rates[name].append(rate)
    pairs = {name: [ours / other for ours, other in zip(rates["ours"], rates[name])] for name in names}
    return {
        "name": work.name,
        "title": work.title,
        "size_bytes": work.size_bytes,
        "depth": work.depth,
        "rates": rates,
        "medians": {name: statistics.median(values) for name, values in rates.items()},
        "ratio": statistics.median(pairs["tgt"]) if "tgt" in pairs else None,
        "limit_ratio": statistics.median(pairs["fio"]) if "fio" in pairs else None,
        "at_least": work.at_least,
        "limit_at_least": work.limit_at_least,
    }


def measure_all(works: list[Work], backing: Backing, rounds: int, seconds: int) -> Iterator[dict[str, Any]]:
    with Tgt(backing) as tgt, Ours(backing) as ours:
        if not backing.volume:
            say(f"open flags: ours {ours.open_flags()}, tgt {tgt.open_flags()} (write cache on in both)")
        for work in works:
            started = time.monotonic()
            row = measure(work, [ours, tgt], backing, rounds, seconds)
            medians = ", ".join(f"{n} {report.amount(v, work.size_bytes)}" for n, v in row["medians"].items())
            say(f"  {work.title}: {medians}; ratio {row['ratio']:.2f} ({time.monotonic() - started:.0f} s)")
            yield row


def first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().split("\n")[0]


def machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "tgt": first_line(["tgtd", "--version"]),
        "gluster": first_line(["gluster", "--version"]) if shutil.which("gluster") else "",
        "commit": first_line(["git", "rev-parse", "--short", "HEAD"]),
    }


def wanted(only: list[str]) -> tuple[list[Work], list[str]]:
    """--only takes a work's name or how it begins ("gluster", "file-rand"), or one of our engine's own figures."""
    if not only:
        return list(WORKS), list(ALONE)
    works = [work for work in WORKS if any(work.name.startswith(name) for name in only)]
    alone = [name for name in ALONE if name in only]
    if not works and not alone:
        sys.exit(f"script/bench: nothing is called {' or '.join(only)}; see --list")
    return works, alone


def ring(quick: bool) -> dict[str, Any]:
    """The ring's own benchmark prints its figures; they are passed on."""
    command = [sys.executable, "script/ring_bench.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    say(done.stdout.rstrip() or done.stderr.rstrip())
    return {"status": done.returncode, "output": done.stdout}


def run(options: argparse.Namespace) -> int:
    rounds, seconds = (1, 1) if options.quick else (options.rounds, options.seconds)
    works, alone = wanted(options.only)
    rows: list[dict[str, Any]] = []
    result: dict[str, Any] = {"machine": machine(), "rounds": rounds, "seconds": seconds, "rows": rows}
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as name:
        folder = Path(name)
        if "cpu" in alone:
            result["cpu"] = engine.cpu_per_read(rounds, seconds, say)
        if "memory" in alone:
            result["memory"] = engine.memory_under_load(folder, seconds, say)
        if "ring" in alone and Path("script/ring_bench.py").exists():
            result["ring"] = ring(options.quick)
        files = [work for work in works if work.backing == "file"]
        if files:
            with plain_file(folder) as backing:
                rows.extend(measure_all(files, backing, rounds, seconds))
        volumes = [work for work in works if work.backing == "gluster"]
        reason = why_unavailable()
        if volumes and reason:
            say(f"the Gluster part was left out: {reason}")
        elif volumes:
            with gluster_file() as backing:
                rows.extend(measure_all(volumes, backing, rounds, seconds))
    OUTPUT.mkdir(exist_ok=True)
    (OUTPUT / "bench.json").write_text(json.dumps(result, indent=1) + "\n")
    if rows:
        say(f"\n{report.table(rows)}\n")
        say(f"medians of {rounds} rounds of {seconds} s; ratios: medians of the rounds' ratios")
        report.picture(rows, OUTPUT / "bench.png")
        say(f"also in {OUTPUT}/bench.json and {OUTPUT}/bench.png")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of one second: does it all work?")
    parser.add_argument(
        "--only", metavar="NAME", action="append", default=[], help="only this, or what begins so; may repeat"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement (default 3)")
    parser.add_argument("--list", action="store_true", help="print the names")
    parser.set_defaults(command="run")
    verbs = parser.add_subparsers(metavar="compare")
    compare = verbs.add_parser("compare", help="CPU per READ: an older commit and this tree, in turns")
    compare.add_argument("revision")
    compare.add_argument("--rounds", type=int, default=15)
    compare.add_argument("--seconds", type=int, default=2)
    compare.set_defaults(command="compare")
    options = parser.parse_args()
    if options.command == "compare":
        engine.compare(options.revision, options.rounds, options.seconds, say)
        return 0
    if options.list:
        for name, title in [(work.name, work.title) for work in WORKS] + list(ALONE.items()):
            say(f"{name:22} {title}")
        return 0
    return run(options)


if __name__ == "__main__":
    sys.exit(main())
