from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tcmu_gluster.cli.main import build_parser, main
from tcmu_gluster.control.codec import Code, Failure, LineReader, Request, Result, encode
from tcmu_gluster.control.operations import OPERATIONS


class Daemon:
    """Answers every request with `result`, or with `refusal`; remembers what was asked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[Request] = []
        self.result: dict[str, Any] = {"now": "done"}
        self.refusal: tuple[Code, str] | None = None
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                reader = LineReader(1 << 16)
                while data := connection.recv(4096):
                    for request in reader.receive_data(data):
                        assert isinstance(request, Request)
                        self.asked.append(request)
                        answer = Failure(request.id, *self.refusal) if self.refusal else Result(request.id, self.result)
                        connection.sendall(encode(answer))

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(5)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "s")
    yield daemon
    daemon.close()


@pytest.fixture
def run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("TCMU_GLUSTER_SETTINGS", str(tmp_path / "none.toml"))

    def run_(*words: str) -> tuple[int, str, str]:
        try:
            code = main([*words, "--control-socket", str(tmp_path / "s")])
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run_


def test_a_verb_asks_its_operation_and_prints_what_is_now_true(daemon: Daemon, run: Any) -> None:
    daemon.result = {"now": "disk vm1: 2G on memory:vm1", "changed": True}
    code, out, err = run("disk", "create", "vm1", "memory:vm1", "--size", "2G", "--front", "engine")
    assert (code, out, err) == (0, "disk vm1: 2G on memory:vm1\n", "")
    assert daemon.asked[0].op == "disk.create"
    assert daemon.asked[0].args == {"name": "vm1", "uri": "memory:vm1", "size": "2G", "front": "engine"}


def test_json_prints_the_whole_result(daemon: Daemon, run: Any) -> None:
    daemon.result = {"items": [{"name": "vm1", "size_bytes": 5}]}
    code, out, _ = run("disk", "list", "--json")
    assert code == 0 and json.loads(out) == daemon.result


def test_a_list_is_a_table_and_an_empty_one_is_nothing(daemon: Daemon, run: Any) -> None:
    daemon.result = {
        "items": [{"name": "vm1", "front": "lio", "size_bytes": 2 << 30, "state": "online", "uri": "memory:x"}]
    }
    assert run("disk", "list")[1].splitlines() == [
        "NAME  FRONT  SIZE  STATE   URI",
        "vm1   lio    2G    online  memory:x",
    ]
    daemon.result = {"items": []}
    assert run("disk", "list") == (0, "", "")


def test_a_refusal_is_one_sentence_and_exit_code_1(daemon: Daemon, run: Any) -> None:
    daemon.refusal = (Code.REFUSED, "disk vm1 is in use by target iqn.x; unmap it first")
    code, out, err = run("disk", "delete", "vm1")
    assert (code, out) == (1, "")
    assert err == "tcmu-gluster: disk vm1 is in use by target iqn.x; unmap it first\n"
    code, out, _ = run("disk", "delete", "vm1", "--json")
    assert code == 1 and json.loads(out)["error"].startswith("disk vm1 is in use")


def test_warnings_go_to_standard_error(daemon: Daemon, run: Any) -> None:
    daemon.result = {"now": "everybody may log in", "warnings": ["everybody may log in, without a password"]}
    code, out, err = run("acl", "allow", "iqn.2013-10.com.redhat", "all")
    assert code == 0 and out == "everybody may log in\n" and "without a password" in err


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["disk"],
        ["disk", "create", "vm1"],
        ["disk", "create", "vm1", "nonsense"],
        ["disk", "create", "vm1", "memory:x", "--front", "tgt"],
        ["disk", "create", "vm1", "memory:x", "--size", "many"],
        ["target", "create", "iqn.20013-10.com.redhat"],
        ["disk", "explode", "vm1"],
        ["disk", "lis"],
        ["export", "memory:x"],
        ["export", "memory:x", "--allow", "all", "--lun", "99999"],
        ["export", "memory:x", "--allow", "all", "--chap", "user"],
        ["export", "nonsense", "--allow", "all"],
        ["serve", "--retry-seconds", "never"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(run: Any, words: list[str]) -> None:
    code, _, err = run(*words)
    assert code == 2
    assert err.startswith("tcmu-gluster") and err.count("\n") == 1 and "Traceback" not in err


def test_export_without_allow_says_what_to_add(run: Any) -> None:
    _, _, err = run("export", "memory:x")
    assert "--allow all" in err and "--allow IQN" in err


def test_who_wrote_a_saved_file_is_said_with_from(daemon: Daemon, run: Any) -> None:
    assert run("restore", "saved.json", "--from", "lio")[0] == 0
    assert daemon.asked[0].args == {"file": os.path.abspath("saved.json"), "source": "lio"}


def test_no_daemon_is_exit_code_3(run: Any) -> None:
    code, _, err = run("status")
    assert code == 3 and "systemctl start tcmu-gluster" in err and err.count("\n") == 1


def test_a_password_is_read_from_a_file_never_from_the_command_line(daemon: Daemon, run: Any, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("secret-secret\nmore\n")
    file.chmod(0o600)
    words = ["chap", "set", "iqn.2013-10.com.redhat", "--user", "u", "--password-file", str(file)]
    assert run(*words)[0] == 0
    assert daemon.asked[0].args["password"] == "secret-secret"
    file.write_text("\n")
    assert run(*words)[0] == 2
    assert run(*words[:-1], str(tmp_path / "missing"))[0] == 2


def test_a_password_may_come_from_standard_input(daemon: Daemon, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("secret-secret\n"))
    assert run("chap", "set", "iqn.2013-10.com.redhat", "--user", "u", "--password-file", "-")[0] == 0
    assert daemon.asked[0].args["password"] == "secret-secret"


def test_files_are_named_whole_because_the_daemon_stands_elsewhere(
    daemon: Daemon, run: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("save", "x.json")[0] == 0
    assert daemon.asked[0].args == {"file": str(tmp_path / "x.json")}


def test_names_from_the_network_cannot_move_the_cursor(daemon: Daemon, run: Any) -> None:
    daemon.result = {"items": [{"id": 1, "initiator": "iqn.x\x1b[2J\r\n", "target": "t"}]}
    out = run("session", "list")[1]
    assert "\x1b" not in out and "\r" not in out and out.count("\n") == 2


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda operation: operation.name)
def test_every_operation_has_its_words_and_its_help(operation: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        build_parser().parse_args([*operation.words, "--help"])
    assert end.value.code == 0
    assert operation.help.split()[0] in capsys.readouterr().out


def test_settings_lists_every_setting_with_its_origin(run: Any) -> None:
    code, out, _ = run("settings", "--json", "--log-level", "debug")
    rows = {row["name"]: row for row in json.loads(out)["items"]}
    assert code == 0
    assert rows["log_level"]["value"] == "debug" and rows["log_level"]["origin"] == "--log-level"
    assert rows["lio"]["origin"] == "default" and rows["lio"]["variable"] == "TCMU_GLUSTER_LIO"


@pytest.mark.parametrize("words", [["--json", "disk", "list"], ["disk", "--json", "list"], ["disk", "list", "--json"]])
def test_the_flags_of_every_verb_stand_anywhere(daemon: Daemon, run: Any, words: list[str]) -> None:
    daemon.result = {"items": []}
    code, out, _ = run(*words)
    assert code == 0 and json.loads(out) == {"items": []}


@pytest.mark.parametrize("words", [["disk", "create"], ["disk", "explode"], ["export", "memory:x"], ["--nonsense"]])
def test_with_json_wrong_usage_is_json_too(run: Any, words: list[str]) -> None:
    code, out, err = run(*words, "--json")
    answer = json.loads(out)
    assert code == answer["exit_code"] == 2 and err == f"tcmu-gluster: {answer['error']}\n"


def command(*words: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own."""
    line = [sys.executable, "-m", "tcmu_gluster.cli.main", *words]
    return subprocess.run(line, stderr=subprocess.PIPE, text=True, timeout=60, check=False, **streams)


@pytest.mark.parametrize("words", [["--help"], ["disk", "create", "--help"], ["--version"], ["settings"]], ids=" ".join)
def test_output_that_can_not_be_written_is_one_sentence(words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        ended = command(*words, stdout=full)
    assert ended.returncode == 1 and ended.stderr == "tcmu-gluster: No space left on device\n"
