"""A process that is stopped too long is ended by the kernel; one that winds its timer, or unwinds it, lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from tcmu_gluster.backends.dead_man import DeadMan

CHILD = """
import sys, time
from tcmu_gluster.backends.dead_man import DeadMan
dead_man = DeadMan()
assert dead_man.wind(%s)
dead_man.wind(%s)
print("ready", flush=True)
for _ in range(%d):
    time.sleep(0.05)
    dead_man.wind(%s)
print("alive", flush=True)
"""


def start(first: str, rounds: int, then: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD % (first, then, rounds, then)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def test_a_stopped_process_is_ended_without_being_continued() -> None:
    process = start("5", 1000, "0.5")
    os.kill(process.pid, signal.SIGSTOP)
    assert process.wait(20) == -signal.SIGKILL
    process.stdout.close()


def test_who_winds_it_in_time_or_unwinds_it_lives() -> None:
    for process in [start("0.6", 20, "0.6"), start("0.3", 20, "None")]:  # they wait at the same time
        assert process.communicate(timeout=30)[0] == "alive\n" and process.returncode == 0


def test_what_was_never_wound_needs_no_timer() -> None:
    dead_man = DeadMan()
    assert dead_man.wind(None) and dead_man._library is None
