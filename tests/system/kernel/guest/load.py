"""Load on a disk: fio with verification, and its speed."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .shell import expect, run, say, start, wait_for

_COMMON = ("--ioengine=libaio", "--direct=1", "--output-format=json")


def copy_and_compare(device: str, mebibytes: int = 16, seek_mebibytes: int = 0) -> bytes:
    """dd random bytes to the disk, past the page cache, and read them back; returns what was written."""
    data = Path("/run/random")
    run("dd", "if=/dev/urandom", f"of={data}", "bs=1M", f"count={mebibytes}", "status=none")
    run(
        "dd",
        f"if={data}",
        f"of={device}",
        "bs=1M",
        f"seek={seek_mebibytes}",
        "oflag=direct",
        "conv=fsync",
        "status=none",
        limit=180,
    )
    run(
        "dd",
        f"if={device}",
        "of=/run/back",
        "bs=1M",
        f"count={mebibytes}",
        f"skip={seek_mebibytes}",
        "iflag=direct",
        "status=none",
        limit=180,
    )
    written = data.read_bytes()
    expect(Path("/run/back").read_bytes() == written, f"{mebibytes} MiB come back from {device} as written")
    return written


class VerifiedLoad:
    """fio in the background: 4 KiB writes to random places of a checksummed pattern, which is read back and checked.

    mebibytes: how much is written once, then verified whole.  seconds: instead, go on for so long and verify all the
    while.  The pace of an emulated machine differs by a factor of ten from day to day: a story that needs no clock
    takes the first.
    """

    def __init__(self, device: str, mebibytes: int = 4, seconds: int = 0, depth: int = 8) -> None:
        # By its number: the node of a multipath map is a link of udev's or a node of libdevmapper's own.
        number = os.stat(device).st_rdev
        self._stat = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat")
        self.log = Path(f"/run/fio-{Path(device).name}.json")
        self.log.unlink(missing_ok=True)
        self._limit = seconds * 3 + 200
        amount = ("--size=32M", f"--runtime={seconds}", "--time_based", "--verify_backlog=64")
        self.process = start(
            "fio", *_COMMON, "--name=load", f"--filename={device}", "--rw=randwrite", "--bs=4k", f"--iodepth={depth}",
            "--verify=crc32c", "--do_verify=1", "--verify_fatal=1",
            *(amount if seconds else (f"--size={mebibytes}M",)),
            log=str(self.log),
        )  # fmt: skip

    def wait_until_running(self) -> None:
        """Until fio has completed some more writes."""
        first = self.written()
        wait_for("fio writes", lambda: self.written() > first + 20 or not self.running, limit=120)
        expect(self.running, "fio runs")

    def written(self) -> int:
        """Writes that the disk has completed so far, whoever made them."""
        return int(self._stat.read_text().split()[4])

    @property
    def running(self) -> bool:
        """Whether fio still works."""
        return self.process.poll() is None

    def finish(self, enough: int = 50) -> dict[str, Any]:
        """Wait for the end; raises AssertionError for an I/O error, a block that is not as written, or too few."""
        try:
            status = self.process.wait(self._limit)
        except subprocess.TimeoutExpired:
            raise AssertionError("fio does not end: a command was lost") from None
        text = self.log.read_text()
        if status != 0:
            say("\n".join(line for line in text.splitlines() if line.startswith(("fio:", "verify:", "crc"))))
        expect(status == 0, "fio ended without I/O error or wrong block")
        job = json.loads(text[text.index("{") :])["jobs"][0]
        expect(job["error"] == 0, "fio reports no error")
        writes, reads = job["write"]["total_ios"], job["read"]["total_ios"]
        expect(writes >= enough and reads >= enough, f"fio wrote {writes} blocks and verified {reads}")
        longest = max(job["write"]["clat_ns"]["max"], job["read"]["clat_ns"]["max"]) / 1e9
        return {"writes": writes, "verified": reads, "longest_seconds": round(longest, 1)}


def read_directly(device: str, length_bytes: int = 64 << 10) -> bytes:
    """The disk's first bytes past the page cache, without a program that would have to be started."""
    descriptor = os.open(device, os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, length_bytes) as aligned:
            got = os.preadv(descriptor, [aligned], 0)
            return aligned[:got]
    finally:
        os.close(descriptor)


Run = tuple[str, str, int]
"""What fio is to do: mode, block, depth."""


def speeds(device: str, runs: Sequence[Run], seconds: int = 2) -> dict[str, int]:
    """Operations a second of each run, by one fio that does them one after the other."""
    jobs: list[str] = []
    for mode, block, depth in runs:
        jobs += [f"--name={mode} {block} depth {depth}", "--stonewall", f"--filename={device}", f"--rw={mode}"]
        jobs += [f"--bs={block}", f"--iodepth={depth}", "--size=64M", f"--runtime={seconds}", "--time_based"]
    text = run("fio", *_COMMON, *jobs, limit=len(runs) * (seconds * 3 + 10) + 60)
    told = json.loads(text[text.index("{") :])["jobs"]
    return {job["jobname"]: round(job["read"]["iops"] + job["write"]["iops"]) for job in told}
