"""What is measured, and what each figure has to reach: issue 2's table as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from script.measure import clients
from script.measure.servers import Backing

KIB, MIB = 1024, 1024 * 1024
FILE_BYTES = 512 * MIB


@dataclass(frozen=True)
class Work:
    """One row. operation: fio's word. at_least: wanted ours/tgt, limit_at_least: wanted ours/fio (0: no demand)."""

    name: str
    backing: str
    title: str
    operation: str
    size_bytes: int
    depth: int
    step_bytes: int = 0
    at_least: float = 0.0
    limit_at_least: float = 0.0

    def rate(self, url: str, seconds: int) -> float:
        if self.operation in ("read", "randread"):
            return clients.read_rate(url, self.size_bytes, self.depth, self.operation == "randread", seconds)
        return clients.write_rate(url, self.size_bytes, self.depth, self.step_bytes or self.size_bytes, seconds)

    def limit(self, backing: Backing, seconds: int) -> float:
        arguments = (self.operation, self.size_bytes, self.depth, FILE_BYTES, seconds)
        return clients.fio_rate(backing.host, backing.volume, backing.path, *arguments)


FAR = clients.LARGE_STEP_BYTES
WORKS = (
    Work("file-randread-32", "file", "file, 4 KiB random read, depth 32", "randread", 4 * KIB, 32, 0, 2.5),
    Work("file-randread-1", "file", "file, 4 KiB random read, depth 1", "randread", 4 * KIB, 1, 0, 1.2),
    Work("file-read", "file", "file, 1 MiB sequential read, depth 8", "read", MIB, 8, 0, 1.3),
    Work("file-write", "file", "file, 1 MiB sequential write, depth 8", "write", MIB, 8, 0, 1.3),
    Work("file-write-4k", "file", "file, 4 KiB sequential write, depth 32", "write", 4 * KIB, 32),
    Work("file-write-4k-far", "file", "file, 4 KiB write, large step, depth 32", "randwrite", 4 * KIB, 32, FAR),
    Work(
        "gluster-randread-32", "gluster", "Gluster, 4 KiB random read, depth 32", "randread", 4 * KIB, 32, 0, 1.2, 0.85
    ),
    Work("gluster-write-4k", "gluster", "Gluster, 4 KiB sequential write, depth 32", "write", 4 * KIB, 32, 0, 2.0),
    Work(
        "gluster-write-4k-far",
        "gluster",
        "Gluster, 4 KiB write, large step, depth 32",
        "randwrite",
        4 * KIB,
        32,
        FAR,
        2.0,
    ),
    Work("gluster-read", "gluster", "Gluster, 1 MiB sequential read, depth 8", "read", MIB, 8, 0, 1.5),
    Work("gluster-write", "gluster", "Gluster, 1 MiB sequential write, depth 8", "write", MIB, 8, 0, 2.0),
)

Say = Callable[[str], None]
