from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tcmu_gluster.cli.completion import SHELLS, completion_script
from tcmu_gluster.cli.local import LOCAL_WORDS

BASH = shutil.which("bash")


def complete(tmp_path: Path, *words: str) -> list[str]:
    """What bash offers for the last word; a double of the command answers questions for names."""
    double = tmp_path / "tcmu-gluster"
    double.write_text('#!/bin/sh\necho "$2-one"; echo "$2-two"\n')
    double.chmod(0o755)
    script = (
        completion_script("bash", LOCAL_WORDS)
        + 'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _tcmu_gluster; printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert BASH is not None
    run = subprocess.run(
        [BASH, "--norc", "-c", script, "bash", "tcmu-gluster", *words],
        capture_output=True,
        text=True,
        env=environ,
        check=True,
    )
    assert run.stderr == ""
    return run.stdout.split()


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
def test_bash_completes_nouns_verbs_flags_and_names(tmp_path: Path) -> None:
    assert set(complete(tmp_path, "")) >= {"disk", "target", "status", "export", "completion"}
    assert "names" not in complete(tmp_path, "")
    assert complete(tmp_path, "di") == ["disk"]
    assert set(complete(tmp_path, "disk", "")) >= {"create", "list", "show", "resize", "delete", "move"}
    assert complete(tmp_path, "disk", "show", "") == ["disk-one", "disk-two"]
    assert complete(tmp_path, "disk", "create", "vm1", "g") == ["gluster://"]
    assert complete(tmp_path, "disk", "create", "vm1", "memory:x", "--fr") == ["--front"]
    assert complete(tmp_path, "disk", "create", "--front", "") == ["lio", "engine"]
    assert complete(tmp_path, "lun", "map", "--lun", "3", "iqn.x", "") == ["disk-one", "disk-two"]
    assert set(complete(tmp_path, "acl", "allow", "iqn.x", "")) == {"all", "initiator-one", "initiator-two"}
    assert complete(tmp_path, "serve", "--dr") == ["--drain-seconds"]
    assert complete(tmp_path, "chap", "set", "iqn.x", "--password") == ["--password-file"]


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_have_no_mark_left(shell: str) -> None:
    script = completion_script(shell, LOCAL_WORDS)
    assert not any(line for line in script.splitlines() if "@" in line and "{" not in line)
    assert script.startswith("#compdef tcmu-gluster" if shell == "zsh" else "#")
