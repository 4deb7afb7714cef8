"""Passwords from files: who else may read them, and what is said when they won't do."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tcmu_gluster.config.secret_file import read_secret
from tcmu_gluster.errors import ConfigError

SECRET = "correct-horse-battery"


def written(directory: Path, data: bytes, mode: int = 0o600) -> Path:
    file = directory / "secret"
    file.write_bytes(data)
    file.chmod(mode)
    return file


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n", b"\nnot this\n", b" \n"[1:]])
def test_an_empty_first_line_is_no_password(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ConfigError, match="empty"):
        read_secret(written(tmp_path, data))


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\nand more\n"])
def test_the_first_line_is_the_password(tmp_path: Path, end: bytes) -> None:
    assert read_secret(written(tmp_path, SECRET.encode() + end)) == SECRET
    assert read_secret(written(tmp_path, f" {SECRET} ".encode() + end)) == f" {SECRET} ", "blanks may be meant"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o666, 0o601])
def test_a_file_that_others_may_use_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match="chmod 600") as caught:
        read_secret(written(tmp_path, SECRET.encode(), mode))
    assert SECRET not in str(caught.value) and f"{mode:04o}" in str(caught.value)


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_secret(tmp_path / "missing")
    with pytest.raises(ConfigError, match="directory"):
        read_secret(tmp_path)
    with pytest.raises(ConfigError, match="larger"):
        read_secret(written(tmp_path, b"x" * 5000))
    with pytest.raises(ConfigError, match="not text"):
        read_secret(written(tmp_path, b"\xff\xfe secret"))


ASK = """
from pathlib import Path
from tcmu_gluster.config.secret_file import read_secret
try:
    print("length", len(read_secret(Path("-"))))
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (SECRET + "\n", f"length {len(SECRET)}"),
        ("\n", "ConfigError the first line of what was typed is empty"),
        ("\x04", "ConfigError no password was typed"),
    ],
)
def test_at_a_terminal_it_is_asked_for_and_not_shown(typed: str, said: str) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", ASK], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as child:
        os.close(theirs)
        seen = b""
        while b"not shown): " not in seen:
            seen += os.read(ours, 4096)
        os.write(ours, typed.encode())
        with contextlib.suppress(OSError):  # Linux says EIO when the last one has left the terminal
            while data := os.read(ours, 4096):
                seen += data
        assert child.wait(60) == 0
    os.close(ours)
    assert said in seen.decode() and SECRET not in seen.decode()


def test_standard_input_and_pipes_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{SECRET}\n"))
    assert read_secret(Path("-")) == SECRET
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o644)
    writer = threading.Thread(target=pipe.write_text, args=(f"{SECRET}\n",))
    writer.start()
    assert read_secret(pipe) == SECRET
    writer.join()
