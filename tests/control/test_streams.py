"""Closed streams, and readers that leave, with each command as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOLD = "import os, sys; from tcmu_gluster.control.streams import *; hold_standard_streams(); print(1, file=sys.stdout)"
COMMANDS = {
    "tcmu-gluster": ["tcmu_gluster.cli.main", "--help"],
    "tgtadm": ["tcmu_gluster.cli.tgtadm", "--help"],
    "targetcli": ["targetcli_ext.shell", "--help"],
}


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    line = f"exec {sys.executable} -c \"{HOLD}; sys.exit(os.open('x', os.O_CREAT))\" <&- >&- 2>&-"
    environ = {**os.environ, "PYTHONPATH": os.getcwd()}
    assert subprocess.run(["sh", "-c", line], cwd=tmp_path, timeout=60, check=False, env=environ).returncode > 2


@pytest.mark.parametrize("name", COMMANDS)
def test_a_reader_that_leaves_is_no_news(name: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", *COMMANDS[name]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, b"")


@pytest.mark.parametrize("name", ["tcmu-gluster", "tgtadm"])  # configshell looks at standard input on its import
def test_closed_streams_are_no_failure(name: str) -> None:
    line = " ".join([sys.executable, "-m", *COMMANDS[name]])
    ended = subprocess.run(["sh", "-c", f"exec {line} <&- >&-"], stderr=subprocess.PIPE, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
