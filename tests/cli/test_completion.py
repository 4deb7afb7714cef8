from __future__ import annotations

import contextlib
import io
import os
import pty
import re
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tcmu_gluster.cli.completion import SHELLS
from tcmu_gluster.cli.main import main

BASH = shutil.which("bash")
LIMIT_SECONDS = 60.0
DOUBLE = """\
#!/bin/sh
case $1/$2 in
names/target) echo iqn.2013-10.com.redhat:db; exit ;;
names/*) echo "$2-one"; echo "$2-two"; exit ;;
esac
for word in "$@"; do echo "<$word>"; done
echo end-of-words
"""
"""The command: answers questions for names, and otherwise says what it was given."""


def script_of(shell: str) -> str:
    """What `tcmu-gluster completion` prints."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        assert main(["completion", shell]) == 0
    return text.getvalue()


def complete(tmp_path: Path, *words: str) -> list[str]:
    """What bash offers for the last word; a double of the command answers questions for names."""
    double = tmp_path / "tcmu-gluster"
    double.write_text('#!/bin/sh\necho "$2-one"; echo "$2-two"\n')
    double.chmod(0o755)
    script = (
        script_of("bash")
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
    assert complete(tmp_path, "serve", "--log-level", "") == [], "a value, and not the next flag"
    assert complete(tmp_path, "export", "memory:x", "--block-size", "5") == ["512", "512e"]
    assert complete(tmp_path, "export", "--chap", "joe:file", "--allow", "all", "--mut") == ["--mutual-chap"]
    assert complete(tmp_path, "completion", "") == ["bash", "zsh"]
    assert complete(tmp_path, "initiator-config", "m") == ["multipath.conf"]
    assert "list" not in complete(tmp_path, "disk", "show", "vm1", ""), "there is a verb already"
    assert complete(tmp_path, "chap", "set", "iqn.x", "--password") == ["--password-file"]


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_have_no_mark_left(shell: str) -> None:
    script = script_of(shell)
    assert not any(line for line in script.splitlines() if "@" in line and "{" not in line)
    assert script.startswith("#compdef tcmu-gluster" if shell == "zsh" else "#")


class Terminal:
    """An interactive shell at a terminal of its own, with the double of the command in its path."""

    def __init__(self, folder: Path, shell: str, prepare: str) -> None:
        double = folder / "tcmu-gluster"
        double.write_text(DOUBLE)
        double.chmod(0o755)
        environ = {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "TERM": "dumb",
            "HOME": str(folder),
            "ZDOTDIR": str(folder),
        }
        arguments = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}[shell]
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execvpe(arguments[0], arguments, environ)
        self.type(f"{prepare}; echo prep'ared'\n", "prepared\r\n")

    def type(self, keys: str, until: str) -> str:
        """What the terminal shows up to a text."""
        os.write(self.terminal, keys.encode())
        shown = b""
        while until.encode() not in shown:
            assert select.select([self.terminal], [], [], LIMIT_SECONDS)[0], (keys, shown)
            shown += os.read(self.terminal, 65536)
        return shown.decode(errors="replace")

    def words(self, keys: str) -> list[str]:
        """What the command was given when these keys were typed, with the tabulator among them."""
        shown = self.type(f"tcmu-gluster {keys}\n", "end-of-words\r\n")
        assert "not found" not in shown and "error" not in shown, shown
        return re.findall(r"^<(.*)>\r$", shown, re.MULTILINE)

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.close(self.terminal)
        os.waitpid(self.pid, 0)


def ways(folder: Path) -> dict[str, tuple[str, str]]:
    """How people load the script: (shell, what they type)."""
    for shell, name in (("bash", "completion.bash"), ("zsh", "completion.zsh"), ("zsh", "_tcmu-gluster")):
        (folder / name).write_text(script_of(shell))
    return {
        "bash": ("bash", f". {folder}/completion.bash"),
        "zsh": ("zsh", f". {folder}/completion.zsh"),
        "zsh fpath": ("zsh", f"fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D"),
    }


@pytest.fixture(params=["bash", "zsh", "zsh fpath"])
def terminal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    shell, prepare = ways(tmp_path)[request.param]
    if shutil.which(shell) is None:
        pytest.skip(f"not installed: {shell}")
    opened = Terminal(tmp_path, shell, prepare)
    try:
        yield opened
    finally:
        opened.close()


def test_at_a_terminal_the_tabulator_completes_words_flags_values_names_and_files(
    terminal: Terminal, tmp_path: Path
) -> None:
    assert terminal.words("sta\t") == ["status"], "the first one too"
    assert terminal.words("disk sh\tdisk-o\t") == ["disk", "show", "disk-one"]
    assert terminal.words("disk create --fr\tli\t") == ["disk", "create", "--front", "lio"]
    for typed in ("iqn", "iqn.2013-10.com.redhat:", "iqn.2013-10.com.redhat:d"):  # bash takes words apart at colons
        assert terminal.words(f"target show {typed}\t") == ["target", "show", "iqn.2013-10.com.redhat:db"]
    assert terminal.words("lun map iqn.2013-10.com.redhat:db disk-t\t") == [
        "lun", "map", "iqn.2013-10.com.redhat:db", "disk-two",
    ]  # fmt: skip
    (tmp_path / "targets.conf").touch()
    assert terminal.words(f"import {tmp_path}/targ\t--fr\tgl\t") == [
        "import", f"{tmp_path}/targets.conf", "--from", "gluster-block",
    ]  # fmt: skip
