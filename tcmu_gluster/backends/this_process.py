"""What a process is recognised by after its death, from another process of the same host."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")


@dataclass(frozen=True)
class ProcessName:
    """host is for people; the rest proves things: the boot, the process numbers' namespace, the number, its start.

    start_ticks: the 22nd field of /proc/PID/stat (proc(5)), clock ticks after the boot.
    """

    host: str
    boot_id: str
    namespace: str
    pid: int
    start_ticks: int


def this_process(proc: Path = PROC) -> ProcessName:
    """The name of the running process. What /proc does not tell is empty or 0, and then proves nothing."""
    pid = os.getpid()
    return ProcessName(os.uname().nodename, _boot_id(proc), _namespace(proc), pid, _stat(proc, pid)[1])


def is_dead(other: ProcessName, proc: Path = PROC) -> bool:
    """Whether that process surely runs no more: same boot, same numbering, and its number is free or somebody else's.

    False says nothing: it may run, or run (or not) on another host.
    """
    if not other.boot_id or not other.namespace or not other.start_ticks:
        return False
    if other.boot_id != _boot_id(proc) or other.namespace != _namespace(proc):
        return False
    state, start_ticks = _stat(proc, other.pid)
    if not state:
        return not _exists(other.pid)  # /proc may be hidden from us (hidepid), so its silence proves nothing
    if start_ticks != other.start_ticks:
        return True
    return state == "Z" and _tasks(proc, other.pid) == 1  # only its parent has not looked yet


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _boot_id(proc: Path) -> str:
    try:
        return (proc / "sys/kernel/random/boot_id").read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def _namespace(proc: Path) -> str:
    try:
        return os.readlink(proc / "self/ns/pid")
    except OSError:
        return ""


def _stat(proc: Path, pid: int) -> tuple[str, int]:
    """(state, start time in ticks); ("", 0) if there is no such process."""
    try:
        text = (proc / str(pid) / "stat").read_text("utf-8", "replace")
        fields = text.rpartition(")")[2].split()  # the name before it may hold anything
        return fields[0], int(fields[19])
    except (OSError, ValueError, IndexError):
        return "", 0


def _tasks(proc: Path, pid: int) -> int:
    try:
        return len(list((proc / str(pid) / "task").iterdir()))
    except OSError:
        return 0
