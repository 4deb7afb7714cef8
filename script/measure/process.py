"""What the kernel knows of a running process: CPU time and memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")


class Cpu(NamedTuple):
    """Seconds, all threads, since the start."""

    user: float
    system: float

    def since(self, earlier: Cpu) -> Cpu:
        return Cpu(self.user - earlier.user, self.system - earlier.system)


def cpu(pid: int) -> Cpu:
    """proc_pid_stat(5): utime and stime are the 12th and 13th field after the name in parentheses."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return Cpu(int(fields[11]) / TICKS, int(fields[12]) / TICKS)


def resident_bytes(pid: int) -> int:
    """VmRSS of proc_pid_status(5)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
