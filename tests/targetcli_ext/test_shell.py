"""The command as people and scripts run it: a daemon of its own, a socket, a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from targetcli_ext.shell import choose_front, main, parse
from tcmu_gluster.config.settings import Settings
from tcmu_gluster.control.client import DaemonUnreachable
from tcmu_gluster.errors import ConfigError
from tests.handler.test_service import Process
from tests.targetcli_ext.tree import HOST, IQN

BLOCKED = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("targetcli", "rtslib", "rtslib_fb", "gi"):
            raise ImportError(f"{name} is not for hosts without LIO")

sys.meta_path.insert(0, Refuse())
from targetcli_ext.shell import main
status = main()
for name in ("targetcli", "rtslib", "rtslib_fb", "gi", "handler"):
    assert name not in sys.modules, name
sys.exit(status)
"""
SCRIPT = f"""
# a comment
/backstores/ramdisk create name=m size=1M
/iscsi create {IQN}
/iscsi/{IQN}/tpg1/luns create /backstores/ramdisk/m
/iscsi/{IQN}/tpg1/acls create {HOST}
cd /iscsi/{IQN}/tpg1
set attribute demo_mode_write_protect=0
ls
/ saveconfig
exit
ls
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path).start()
    yield process
    process.end()


def environ_of(daemon: Process) -> dict[str, str]:
    return {
        **os.environ,
        "TCMU_GLUSTER_SETTINGS": str(daemon.root / "none.toml"),
        "TCMU_GLUSTER_CONTROL_SOCKET": str(daemon.socket),
        "TARGETCLI_GLUSTER_HOME": str(daemon.root / "home"),
    }


def run(daemon: Process, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCKED, *words], input=stdin, env=environ_of(daemon), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def test_ctrl_c_ends_a_script_without_a_traceback(daemon: Process) -> None:
    command = [
        "env",
        "--default-signal=INT",
        sys.executable,
        "-c",
        "from targetcli_ext.shell import main; exit(main())",
    ]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ_of(daemon),
        text=True,
    ) as shell:
        assert shell.stdin is not None and shell.stdout is not None and shell.stderr is not None
        shell.stdin.write("pwd\n")
        shell.stdin.flush()
        assert shell.stdout.readline() == "/\n"  # it waits for the next line now
        shell.send_signal(signal.SIGINT)
        assert shell.stderr.read() == ""
        assert shell.wait(60) == 130


def test_lios_tree_where_lio_is_not_is_a_sentence(daemon: Process) -> None:
    ran = run(daemon, "--front", "lio", "ls")
    assert ran.returncode == 1 and "LIO's tree can't be shown here" in ran.stderr and "--front engine" in ran.stderr


def test_scripts_and_one_shot_lines_without_lio(daemon: Process) -> None:
    ran = run(daemon, stdin=SCRIPT)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("o- luns") == 1, "nothing runs after exit"
    again = run(daemon, "/iscsi", "ls")
    assert again.returncode == 0 and IQN in again.stdout and "lun0" in again.stdout
    refused = run(daemon, "/iscsi", "create", "iqn.20013-10.com.redhat")
    assert refused.returncode == 1 and "did you mean" in refused.stderr and "Traceback" not in refused.stderr


def test_what_is_typed_is_kept_for_nobody_else(daemon: Process) -> None:
    run(daemon, stdin=f"/iscsi create {IQN}\n/iscsi/{IQN}/tpg1 set auth userid=u password=twelve-or-more\n")
    home = daemon.root / "home"
    assert home.stat().st_mode & 0o777 == 0o700
    assert not [path for path in home.iterdir() if b"twelve-or-more" in path.read_bytes()]


def test_a_script_goes_on_after_an_error_and_ends_with_one(daemon: Process) -> None:
    ran = run(daemon, stdin=f"/iscsi create wrong\n/nowhere ls\n/iscsi create {IQN}\n")
    assert ran.returncode == 1 and "iSCSI name" in ran.stderr
    assert IQN in run(daemon, "ls").stdout


def test_nobody_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environ = {"TCMU_GLUSTER_CONTROL_SOCKET": str(tmp_path / "none"), "TCMU_GLUSTER_LIO": "off",
               "TCMU_GLUSTER_SETTINGS": str(tmp_path / "none.toml"),
               "TARGETCLI_GLUSTER_HOME": str(tmp_path / "home")}  # fmt: skip
    assert main(["ls"], environ) == 3
    assert main(["--front", "engine", "ls"], environ) == 1
    assert main(["--front", "tgt"], environ) == 2
    assert main(["--colour=1"], environ) == 2
    assert main(["--front"], environ) == 2
    said = capsys.readouterr().err
    assert said.count("targetcli-gluster: ") == 5 and "not running" in said and "lio or engine" in said


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0 and main(["--version"]) == 0
    assert "--front" in capsys.readouterr().out


def test_options_come_before_the_command_line() -> None:
    assert parse(["--front=lio", "--control-socket", "/s", "/iscsi", "ls", "--x"]) == (
        {"front": "lio", "control_socket": "/s"},
        ["/iscsi", "ls", "--x"],
    )
    with pytest.raises(ConfigError):
        parse(["--front=both"])


@pytest.mark.parametrize(
    ("asked", "lio", "front"),
    [(None, "off", "engine"), (None, {"disks": 0}, "lio"), ("engine", {"disks": 0}, "engine"), ("lio", "off", "lio")],
)
def test_the_daemon_says_which_tree_it_is(asked: str | None, lio: object, front: str) -> None:
    assert choose_front(asked, Settings(), lambda name, args, on_progress=None: {"lio": lio}) == front


def test_without_a_daemon_the_host_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(name: str, args: Mapping[str, Any], on_progress: Any = None) -> dict[str, Any]:
        raise DaemonUnreachable("nobody")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(DaemonUnreachable):
        choose_front(None, Settings(configfs=tmp_path), away)
    (tmp_path / "target").mkdir()
    assert choose_front(None, Settings(configfs=tmp_path), away) == "lio"
    with pytest.raises(DaemonUnreachable):
        choose_front(None, Settings(configfs=tmp_path, lio="off"), away)
