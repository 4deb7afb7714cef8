"""Figures of our engine alone: CPU a command, memory under many sessions, this tree against an older one."""

from __future__ import annotations

import os
import statistics
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from script.measure import clients, process, python_read
from script.measure.servers import Backing, Ours
from script.measure.works import KIB, MIB, Say

DEPTH = 32
CPU_LIMIT_MICROSECONDS = 12.0
SESSIONS, TRANSFER_BYTES = 16, 256 * KIB
MEMORY_LIMIT_BYTES = 400 * MIB
MEMORY_DISK = Backing("memory", uri="memory:bench?size=64M")


def read_cost(server: Ours, seconds: int) -> tuple[float, float]:
    """Microseconds of CPU, in user code (Python) and in the kernel (sockets), for one 4 KiB random READ at depth 32."""
    before = process.cpu(server.pid)
    rate = clients.read_rate(server.url, 4 * KIB, DEPTH, True, seconds)
    spent = process.cpu(server.pid).since(before)
    commands = rate * seconds
    return spent.user / commands * 1e6, spent.system / commands * 1e6


def cpu_per_read(rounds: int, seconds: int, say: Say) -> dict[str, Any]:
    """Python's own time without sockets, and the whole process's with them (medians); memory backend, digests off."""
    alone = python_read.measure()
    with Ours(MEMORY_DISK) as server:
        assert isinstance(server, Ours)
        clients.read_rate(server.url, 4 * KIB, DEPTH, True, 1)
        costs = [sum(read_cost(server, seconds)) for _ in range(rounds)]
    whole = statistics.median(costs)
    say(
        f"CPU of one 4 KiB READ, memory backend, batches of {DEPTH}: Python {alone:.1f} us (wanted under "
        f"{CPU_LIMIT_MICROSECONDS:.0f}); the whole process with its sockets' share of the kernel {whole:.1f} us"
    )
    return {
        "python_microseconds": alone,
        "process_microseconds": whole,
        "limit_microseconds": CPU_LIMIT_MICROSECONDS,
        "met": alone < CPU_LIMIT_MICROSECONDS,
    }


def memory_under_load(folder: Path, seconds: int, say: Say) -> dict[str, Any]:
    """Resident memory of the engine: idle, the most seen under 16 sessions of 32 x 256 KiB each way, and afterwards."""
    path = folder / "memory.img"
    with path.open("wb") as file:
        file.truncate(512 * MIB)
    peak: dict[str, int] = {}
    with Ours(Backing(str(path))) as server:
        idle = process.resident_bytes(server.pid)
        read = clients.perf_command(server.url, TRANSFER_BYTES, DEPTH, True, seconds)
        write = clients.write_command(server.url, TRANSFER_BYTES, DEPTH, TRANSFER_BYTES, 250 * seconds)
        for name, command in (("read", read), ("write", write)):
            seen = [idle]
            clients.together(
                [command] * SESSIONS,
                300,
                0.05,
                lambda seen=seen: seen.append(process.resident_bytes(server.pid)),
            )
            peak[name] = max(seen)
        time.sleep(1)
        after = process.resident_bytes(server.pid)
    most = max(peak.values())
    say(
        f"memory, {SESSIONS} sessions x depth {DEPTH} x 256 KiB: idle {idle / MIB:.0f} MiB, "
        f"reading {peak['read'] / MIB:.0f}, writing {peak['write'] / MIB:.0f}, afterwards {after / MIB:.0f} "
        f"(wanted under {MEMORY_LIMIT_BYTES // MIB})"
    )
    return {"idle_bytes": idle, "peak_bytes": peak, "after_bytes": after, "met": most < MEMORY_LIMIT_BYTES}


def check_out(revision: str, folder: Path) -> Path:
    """The files of a revision, without touching this tree or its index."""
    archive, tree = folder / "old.tar", folder / "old"
    subprocess.run(["git", "archive", "--output", str(archive), revision], check=True)
    with tarfile.open(archive) as files:
        files.extractall(tree, filter="data") if hasattr(tarfile, "data_filter") else files.extractall(tree)
    for shim in Path("tcmu_gluster/native").glob("*.so"):
        os.link(shim.resolve(), tree / "tcmu_gluster/native" / shim.name)
    return tree


def compare(revision: str, rounds: int, seconds: int, say: Say) -> dict[str, Any]:
    """CPU per READ of an older commit and of this tree, in turns; the median of the rounds' ratios."""
    named = subprocess.run(
        ["git", "rev-parse", "--short", revision], check=True, capture_output=True, text=True
    ).stdout.strip()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=".venv") as folder:
        tree = check_out(revision, Path(folder))
        with Ours(MEMORY_DISK, tree) as old, Ours(MEMORY_DISK) as new:
            assert isinstance(old, Ours) and isinstance(new, Ours)
            pairs = []
            for number in range(rounds):
                # Who goes first changes: what warms up or slows down over time hits both alike.
                order = (old, new) if number % 2 else (new, old)
                cost = {server is new: sum(read_cost(server, seconds)) for server in order}
                pairs.append((cost[False], cost[True]))
                say(f"  round {number + 1}: {named} {cost[False]:.2f} us, this tree {cost[True]:.2f} us")
    before, now = (statistics.median(column) for column in zip(*pairs))
    ratio = statistics.median(new_cost / old_cost for old_cost, new_cost in pairs)
    say(
        f"CPU of one 4 KiB READ: {named} {before:.2f} us, this tree {now:.2f} us, "
        f"ratio {ratio:.3f} (median of {rounds})"
    )
    return {"revision": named, "old_microseconds": before, "new_microseconds": now, "ratio": ratio}
