"""The double as other people use it: built into a folder, faults ordered by environment."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tcmu_gluster.testing import libgfapi_double as double
from tests.doubles import unavailable

needs_double = pytest.mark.skipif(bool(unavailable.LIBGFAPI), reason=unavailable.LIBGFAPI or "-")

# Writes ten blocks of 512 bytes and syncs, one after the other, and prints how each ended, a word a line.
CLIENT = """
import errno, sys
from tcmu_gluster.backends.gfapi import GfapiBackend
from tcmu_gluster.config.uri import parse_backing
from tests.doubles.backend_loop import BackendLoop

running = BackendLoop()
backing = parse_backing(f"gluster://127.0.0.1:{sys.argv[1]}/volume/disk")
disk = GfapiBackend(backing, running.loop, create_size_bytes=1 << 20)
for step in range(10):
    try:
        print(running.write(disk, 512 * step, bytes([step]) * 512))
    except OSError as error:
        print(errno.errorcode[error.errno])
disk.close()
running.close()
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return double.build_into(tmp_path_factory.mktemp("double"))


def run_client(library: Path, faults: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TCMU_GLUSTER_LIBGFAPI": str(library), "LIBGFAPI_DOUBLE_FAULTS": faults}
    with socket.create_server(("127.0.0.1", 0)) as glusterd:
        return subprocess.run(
            [sys.executable, "-c", CLIENT, str(glusterd.getsockname()[1])],
            cwd=Path(__file__).resolve().parents[2],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )


@needs_double
@pytest.mark.parametrize("fault", ["ENOSPC", "EIO", "refuse:EROFS"])
def test_an_error_comes_at_its_call_and_no_other(library: Path, fault: str) -> None:
    answers = run_client(library, f"write@3={fault}").stdout.split()
    assert answers == ["512"] * 2 + [fault.rpartition(":")[2]] + ["512"] * 7


@needs_double
def test_rules_may_stand_in_a_file_a_line_each(library: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.write_text("write@1=EDQUOT\nwrite@4x2=ENOSPC\n")
    answers = run_client(library, str(rules)).stdout.split()
    assert answers == ["EDQUOT", "512", "512", "ENOSPC", "ENOSPC"] + ["512"] * 5


@needs_double
def test_a_short_write_is_an_error_to_the_backend(library: Path) -> None:
    assert run_client(library, "write@5=short:100").stdout.split()[3:6] == ["512", "EIO", "512"]


@needs_double
def test_late_completions_come(library: Path) -> None:
    assert run_client(library, "write@2=late:50").stdout.split() == ["512"] * 10


@needs_double
@pytest.mark.parametrize(
    "rule", ["write@0=EIO", "write@1=EWHAT", "scribble@1=EIO", "write=EIO", "write@1=EIO;", "/no/file"]
)
def test_a_rule_that_cannot_be_read_ends_the_process(library: Path, rule: str) -> None:
    ended = run_client(library, rule)
    assert ended.returncode == 2
    assert "is no rule" in ended.stderr


@pytest.mark.skipif(bool(double.WHY_UNAVAILABLE), reason=double.WHY_UNAVAILABLE or "-")
def test_the_command_builds_it_and_says_how_to_use_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert double.main([str(tmp_path / "new")]) == 0
    printed = capsys.readouterr().out
    path = printed.split()[0]
    assert Path(path).exists()
    assert f"TCMU_GLUSTER_LIBGFAPI={path}" in printed


def test_without_a_compiler_the_command_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(double, "WHY_UNAVAILABLE", "no C compiler to build libgfapi's double with")
    assert double.main([str(tmp_path)]) == 1
    assert "install gcc" in capsys.readouterr().err


def test_the_help_names_every_call_and_fault(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        double.main(["--help"])
    text = capsys.readouterr().out
    source = double.SOURCE.read_text()
    for word in ("read", "write", "sync", "discard", "zerofill", "short:", "late:", "twice", "refuse:"):
        assert word in text and word in source
    for name in ("ENOTCONN", "ENOSPC", "EIO"):
        assert name in text and hasattr(errno, name)
