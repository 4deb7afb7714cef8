from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from targetcli_ext.configshell import ExecutionError
from targetcli_ext.daemon import Daemon, SocketAsk, facts_text, sentence
from tcmu_gluster.control.client import DaemonUnreachable
from tcmu_gluster.control.codec import Progress, Result, encode
from tcmu_gluster.control.terminal import ProgressLine
from tcmu_gluster.errors import OperationError


class Kept:
    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def info(self, message: str) -> None:
        self.said.append(("info", message))

    def warning(self, message: str) -> None:
        self.said.append(("warning", message))


def test_what_is_now_true_is_said_and_what_is_refused_is_an_error() -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def ask(name: str, args: Mapping[str, Any], on_progress: Any = None) -> dict[str, Any]:
        asked.append((name, dict(args)))
        if name == "disk.delete":
            raise OperationError("a target still shows \x1b[31mit")
        return {"now": "disk a is there", "warnings": ["mind the gap"]}

    log = Kept()
    daemon = Daemon(ask, log)
    daemon.do("disk.create", name="a", size=None)
    assert asked == [("disk.create", {"name": "a"})], "what was not given is not asked"
    assert log.said == [("warning", "mind the gap"), ("info", "Disk a is there.")]
    with pytest.raises(ExecutionError, match=r"still shows \\x1b"):
        daemon.do("disk.delete", name="a")


def test_sentences_and_names() -> None:
    assert sentence("target x is gone") == "Target x is gone."
    assert sentence("iqn.2013-10.com.redhat admits nobody") == "iqn.2013-10.com.redhat admits nobody."
    assert sentence("now ...") == "Now ..."


def test_facts_are_lines() -> None:
    assert facts_text({"lease": {"term": 1, "left": 2.5}}) == ["lease: term 1, left 2.5"]
    facts = {"name": "a", "size_bytes": 1 << 20, "shown_by": ["x", "y"], "none": None, "empty": []}
    assert facts_text(facts) == ["name: a", "size: 1M", "shown_by: x, y", "none: -"]


def test_nobody_at_the_socket(tmp_path: Path) -> None:
    with pytest.raises(DaemonUnreachable):
        SocketAsk(tmp_path / "none")("status", {})


@pytest.mark.parametrize(
    ("said", "here"),
    [
        ("add --size to make it, as in --size 20G", "add size= to make it, as in size=20G"),
        ("what lies beyond; if that is meant, add --force", "what lies beyond; if that is meant, add force=true"),
        ("restore with --clear-existing, or rename one", "restore with clear_existing=true, or rename one"),
        ("(4096 bytes), not 1M; leave --size out to use it", "(4096 bytes), not 1M; leave size= out to use it"),
        ("first: tcmu-gluster disk delete x --force", "first: tcmu-gluster disk delete x --force"),
        ("add --sizes", "add --sizes"),
    ],
)
def test_a_refusal_says_what_is_typed_in_the_shell(said: str, here: str) -> None:
    def refuse(name: str, args: Mapping[str, Any], on_progress: Any = None) -> dict[str, Any]:
        raise OperationError(said)

    with pytest.raises(ExecutionError) as caught:
        Daemon(refuse, Kept()).question("disk.create")
    assert str(caught.value) == here


def test_a_long_question_shows_that_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Mapping[str, Any]] = []

    class Shown(ProgressLine):
        def __call__(self, progress: Mapping[str, Any]) -> None:
            shown.append(progress)

    monkeypatch.setattr("targetcli_ext.daemon.ProgressLine", Shown)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(encode(Progress(1, {"what": "allocating"})) + encode(Result(1, {"now": "done"})))

        thread = threading.Thread(target=answer)
        thread.start()
        assert SocketAsk(tmp_path / "s")("save", {}) == {"now": "done"}
        thread.join(60)
    assert shown == [{"what": "allocating"}]
