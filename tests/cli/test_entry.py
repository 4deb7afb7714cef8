"""Ctrl-C while a command is being loaded."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

HIT_WHILE_LOADING = """
import os, signal, sys

_, loading, entry_name = sys.argv

class Hit:
    def find_spec(self, name, path=None, target=None):
        if name == loading:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Hit())
from tcmu_gluster.cli import entry
sys.argv = ["command", "--help"]
sys.exit(getattr(entry, entry_name)())
"""


def hit(module: str, entry: str, *before: str) -> subprocess.CompletedProcess[str]:
    command = ["env", *before, sys.executable, "-c", HIT_WHILE_LOADING, module, entry]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("module", "entry"),
    [
        ("tcmu_gluster.cli.main", "command"),
        ("tcmu_gluster.control.client", "command"),
        ("tcmu_gluster.cli.tgtadm", "tgtadm"),
        ("targetcli_ext.shell", "shell"),
    ],
)
def test_it_ends_without_a_word(module: str, entry: str) -> None:
    ended = hit(module, entry, "--default-signal=INT")
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")


def test_who_ignores_it_goes_on() -> None:
    ended = hit("tcmu_gluster.cli.main", "command", "--ignore-signal=INT")
    assert ended.returncode == 0 and "usage: " in ended.stdout
