"""What a process is recognised by, and when it is surely dead."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tcmu_gluster.backends.this_process import ProcessName, is_dead, this_process


def test_this_process_is_not_dead_and_has_a_name_of_its_own() -> None:
    me = this_process()
    assert me.pid == os.getpid() and me.host == os.uname().nodename
    assert me.boot_id and me.namespace and me.start_ticks > 0
    assert not is_dead(me)


def test_a_process_that_has_ended_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    start = replace(this_process(), pid=child.pid, start_ticks=this_process().start_ticks + 1)
    child.wait()
    assert is_dead(start)


def test_a_zombie_is_dead_before_its_parent_looks() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"], stdout=subprocess.PIPE)
    fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    name = replace(this_process(), pid=child.pid, start_ticks=int(fields[19]))
    child.stdout.read()  # its end: the process is a zombie now, or will be in a moment
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_dead(name)
    child.wait()


def test_a_number_that_somebody_else_has_now_is_dead() -> None:
    assert is_dead(replace(this_process(), start_ticks=1))


@pytest.mark.parametrize(
    "change",
    [{"boot_id": "another boot"}, {"namespace": "pid:[1]"}, {"boot_id": ""}, {"namespace": ""}, {"start_ticks": 0}],
)
def test_nothing_is_said_of_a_process_that_may_be_elsewhere(change: dict[str, object]) -> None:
    gone = replace(this_process(), pid=4194304, start_ticks=5)  # above the largest number (proc(5): pid_max)
    assert is_dead(gone)
    assert not is_dead(replace(gone, **change))


def test_a_silent_proc_proves_nothing(tmp_path: Path) -> None:
    """As with hidepid: other users' processes don't show, and run all the same."""
    (tmp_path / "sys/kernel/random").mkdir(parents=True)
    (tmp_path / "sys/kernel/random/boot_id").write_text("b")
    (tmp_path / "self/ns").mkdir(parents=True)
    (tmp_path / "self/ns/pid").symlink_to("pid:[7]")
    assert not is_dead(ProcessName("h", "b", "pid:[7]", 1, 5), tmp_path)
