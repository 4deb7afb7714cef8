from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tcmu_gluster.cli.installing import PLACES, install
from tcmu_gluster.cli.main import main
from tcmu_gluster.errors import OperationError

SHARE = Path(__file__).parents[2] / "handler" / "share"


def a_command(root: Path) -> Path:
    command = root / "bin" / "tcmu-gluster"
    command.parent.mkdir(parents=True)
    command.touch()
    return command


def lines(path: Path, key: str) -> list[str]:
    return [line.partition("=")[2] for line in path.read_text().splitlines() if line.startswith(f"{key}=")]


def test_the_unit_starts_the_command_that_installed_it(tmp_path: Path) -> None:
    command, root = a_command(tmp_path / "venv"), tmp_path / "root"
    written = install("lio", root, command, SHARE)
    assert sorted(str(path.relative_to(root)) for path in written) == [
        "etc/dbus-1/system.d/org.kernel.TCMUService1.gluster.conf", "etc/modules-load.d/tcmu-gluster.conf",
        "etc/systemd/system/tcmu-gluster.service", "etc/tmpfiles.d/tcmu-gluster.conf"]  # fmt: skip
    assert lines(root / "etc/systemd/system/tcmu-gluster.service", "ExecStart") == [f"{command} serve"]
    policy = root / "etc/dbus-1/system.d/org.kernel.TCMUService1.gluster.conf"
    assert policy.read_bytes() == (SHARE / policy.name).read_bytes()
    assert {path.stat().st_mode & 0o777 for path in written} == {0o644}
    assert install("lio", root, command, SHARE) == [], "already so"
    policy.write_text("old")
    assert install("lio", root, command, SHARE) == [policy]


def test_every_file_that_is_shipped_has_its_place() -> None:
    assert {name for files in PLACES.values() for name in files} == {path.name for path in SHARE.iterdir()}


def test_paths_that_mean_something_to_systemd_are_quoted(tmp_path: Path) -> None:
    command, root = a_command(tmp_path / "my venv 100%"), tmp_path / "root"
    install("engine", root, command, SHARE)
    (start,) = lines(root / "etc/systemd/system/tcmu-gluster-engine.service", "ExecStart")
    assert start == f'"{str(command).replace("%", "%%")}" serve'


def test_what_could_not_work_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="pip install"):
        install("lio", tmp_path, tmp_path / "nothing", SHARE)
    (tmp_path / "file").touch()
    with pytest.raises(OperationError, match="can't be written"):
        install("lio", tmp_path / "file", a_command(tmp_path), SHARE)


def test_the_engines_unit_may_not_look_into_homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_file", lambda self: True)
    with pytest.raises(OperationError, match="/opt"):
        install("engine", tmp_path, Path("/home/alice/venv/bin/tcmu-gluster"), SHARE)


def test_the_command_says_what_to_type_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", str(a_command(tmp_path).parent / "python"))
    assert main(["install-service", "--root", str(tmp_path / "root"), "--front", "engine"]) == 0
    assert "systemctl enable --now tcmu-gluster-engine" in capsys.readouterr().out
    assert main(["install-service", "--root", str(tmp_path / "root"), "--front", "engine", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["changed"] is False and answer["now"].startswith("already so")


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """systemd-analyze verify, where there is one: it knows the words, and finds the command."""
    command = a_command(tmp_path)
    command.chmod(0o755)
    install("lio", tmp_path / "root", command, SHARE)
    unit = tmp_path / "root/etc/systemd/system/tcmu-gluster.service"
    try:
        said = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("systemd-analyze is not installed")
    assert said.returncode == 0, said.stderr
