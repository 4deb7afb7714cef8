"""What drives a target: libiscsi's iscsi-perf for reads, qemu-img bench for writes, fio on libgfapi for the limit."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Sequence

BLOCK_BYTES = 512
# qemu-img takes a step up to 2 GiB; this one is prime to every size used here, so that no two writes meet in a cache.
LARGE_STEP_BYTES = 67 * 1024 * 1024 + 4096


def run(command: list[str], seconds: float) -> str:
    """Raises RuntimeError with the program's words unless it ends with 0 in time."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{' '.join(command)}: no end after {seconds:.0f} s") from None
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def perf_command(url: str, size_bytes: int, depth: int, random: bool, seconds: int) -> list[str]:
    command = ["iscsi-perf", "-m", str(depth), "-b", str(size_bytes // BLOCK_BYTES), "-t", str(seconds)]
    return [*command, *(["-r"] if random else []), url]


def read_rate(url: str, size_bytes: int, depth: int, random: bool, seconds: int, inside: Sequence[str] = ()) -> float:
    """READs a second. inside: what comes before the command, to run it somewhere else."""
    output = run([*inside, *perf_command(url, size_bytes, depth, random, seconds)], seconds + 60)
    averages = re.findall(r"iops average (\d+)", output)
    if not averages:
        raise RuntimeError(f"iscsi-perf named no rate:\n{output[-1000:]}")
    return float(averages[-1])


def write_command(url: str, size_bytes: int, depth: int, step_bytes: int, count: int) -> list[str]:
    command = ["qemu-img", "bench", "-w", "-f", "raw", "-t", "none", "-c", str(count), "-d", str(depth)]
    return [*command, "-s", str(size_bytes), "-S", str(step_bytes), url]


def write_rate(
    url: str, size_bytes: int, depth: int, step_bytes: int, seconds: float, inside: Sequence[str] = ()
) -> float:
    """WRITEs a second. The program is told a number, not a time, so a short run first says which number."""
    count = depth * 8
    while True:
        output = run([*inside, *write_command(url, size_bytes, depth, step_bytes, count)], 60 + seconds * 10)
        found = re.search(r"Run completed in ([\d.]+) seconds", output)
        if not found:
            raise RuntimeError(f"qemu-img bench named no time:\n{output[-1000:]}")
        taken = max(float(found.group(1)), 0.001)
        if taken >= seconds * 0.6:
            return count / taken
        count = int(count * min(seconds / taken, 50)) + 1


def fio_rate(
    host: str, volume: str, path: str, operation: str, size_bytes: int, depth: int, file_bytes: int, seconds: float
) -> float:
    """Operations a second of libgfapi's asynchronous interface alone. operation: fio's word (randread, read, write)."""
    command = ["fio", "--name=limit", "--ioengine=gfapi_async", f"--volume={volume}", f"--brick={host}"]
    command += [f"--filename={path}", f"--rw={operation}", f"--bs={size_bytes}", f"--iodepth={depth}"]
    command += [f"--size={file_bytes}", "--output-format=json"]
    command += ["--time_based", f"--runtime={seconds}"] if seconds else []
    output = run(command, 120 + seconds)
    job = json.loads(output[output.index("{") :])["jobs"][0]
    return float(job["read" if "read" in operation else "write"]["iops"])


def together(commands: list[list[str]], seconds: float, every: float, look: object) -> None:
    """Run all at once; look() is called every so many seconds until the last one ended."""
    assert callable(look)
    processes = [
        subprocess.Popen(c, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for c in commands
    ]
    deadline = time.monotonic() + seconds
    try:
        while any(process.poll() is None for process in processes):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{commands[0][0]}: no end after {seconds:.0f} s")
            look()
            time.sleep(every)
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()
    bad = [process.returncode for process in processes if process.returncode != 0]
    if bad:
        raise RuntimeError(f"{commands[0][0]}: {len(bad)} of {len(commands)} ended with {bad[0]}")
