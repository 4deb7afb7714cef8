from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tcmu_gluster.control.client import ControlClient, DaemonUnreachable
from tcmu_gluster.control.codec import Code, Failure, LineReader, Progress, Request, Result, encode
from tcmu_gluster.control.operations import UsageError
from tcmu_gluster.errors import OperationError

Answer = Callable[[Request], bytes]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[[Answer], Path]]:
    """Starts a server that answers one connection's requests with what the test says."""
    path = tmp_path / "s"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    threads: list[threading.Thread] = []

    def start(answer: Answer) -> Path:
        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                reader = LineReader(1 << 16)
                while data := connection.recv(4096):
                    for message in reader.receive_data(data):
                        assert isinstance(message, Request)
                        reply = answer(message)
                        if not reply:
                            return
                        connection.sendall(reply)

        threads.append(threading.Thread(target=serve, daemon=True))
        threads[0].start()
        return path

    yield start
    listener.close()
    for thread in threads:
        thread.join(5)


def test_the_result_comes_back(daemon: Callable[[Answer], Path]) -> None:
    path = daemon(lambda request: encode(Result(request.id, {"op": request.op, "args": request.args})))
    with ControlClient(path) as client:
        assert client.call("disk.show", {"name": "x", "none": None}) == {"op": "disk.show", "args": {"name": "x"}}
        assert client.call("status") == {"op": "status", "args": {}}


def test_refusals_and_usage_are_told_apart(daemon: Callable[[Answer], Path]) -> None:
    codes = {"disk.show": Code.REFUSED, "disk.delete": Code.USAGE}
    path = daemon(lambda request: encode(Failure(request.id, codes[request.op], "no such disk")))
    with ControlClient(path) as client:
        with pytest.raises(OperationError, match="no such disk") as refused:
            client.call("disk.show", {"name": "x"})
        assert not isinstance(refused.value, (UsageError, DaemonUnreachable))
        with pytest.raises(UsageError):
            client.call("disk.delete", {"name": "x"})


def test_progress_is_handed_on(daemon: Callable[[Answer], Path]) -> None:
    path = daemon(
        lambda r: encode(Progress(r.id, {"done": 1})) + encode(Progress(r.id, {"done": 2})) + encode(Result(r.id, {}))
    )
    seen: list[object] = []
    with ControlClient(path) as client:
        client.call("save", {}, lambda progress: seen.append(progress["done"]))
    assert seen == [1, 2]


def test_answers_to_other_questions_are_passed_over(daemon: Callable[[Answer], Path]) -> None:
    path = daemon(lambda r: encode(Result(r.id + 7, {"wrong": 1})) + encode(Result(r.id, {"right": 1})))
    with ControlClient(path) as client:
        assert client.call("status") == {"right": 1}


@pytest.mark.parametrize("reply", [b"", b"nonsense\n", b"{}\n"])
def test_a_broken_answer_is_said_to_be_one(daemon: Callable[[Answer], Path], reply: bytes) -> None:
    path = daemon(lambda request: reply)
    with ControlClient(path) as client, pytest.raises(DaemonUnreachable):
        client.call("status")


def test_a_silent_daemon_is_given_up_after_the_operations_limit(daemon: Callable[[Answer], Path]) -> None:
    answered = threading.Event()
    times = iter([0.0, 0.0, 59.999, 60.0])

    def clock() -> float:
        return next(times)

    path = daemon(lambda request: answered.set() or encode(Progress(99, {})))
    with ControlClient(path, clock) as client, pytest.raises(DaemonUnreachable, match="within 60 seconds"):
        client.call("status")
    assert answered.is_set()


def test_no_daemon_says_how_to_start_it(tmp_path: Path) -> None:
    with pytest.raises(DaemonUnreachable, match="systemctl start tcmu-gluster"):
        ControlClient(tmp_path / "none").call("status")
    left_over = socket.socket(socket.AF_UNIX)
    left_over.bind(str(tmp_path / "left"))
    left_over.close()
    with pytest.raises(DaemonUnreachable, match="nobody listens"):
        ControlClient(tmp_path / "left").call("status")
    with pytest.raises(DaemonUnreachable):
        ControlClient(tmp_path / ("x" * 200)).call("status")


def test_where_roots_daemon_listens_a_user_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as of_root:
        of_root.bind(str(tmp_path / "root"))
        with pytest.raises(DaemonUnreachable, match="root's may be: ask that as root"):
            ControlClient(tmp_path / "mine", user=1000, of_root=tmp_path / "root").connect()
        with pytest.raises(DaemonUnreachable, match="systemctl start"):
            ControlClient(tmp_path / "mine", user=0, of_root=tmp_path / "root").connect()
    with pytest.raises(DaemonUnreachable, match="systemctl start"):
        ControlClient(tmp_path / "mine", user=1000, of_root=tmp_path / "none").connect()


NOBODY = 65534


def test_a_stranger_who_listens_is_told_nothing(tmp_path: Path) -> None:
    own = os.geteuid()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listen = (
            f"import socket; socket.socket(fileno={listener.fileno()}).listen()"  # who listens is noted, not who binds
        )
        as_whom = {"user": NOBODY} if own == 0 else {}
        subprocess.run([sys.executable, "-c", listen], pass_fds=(listener.fileno(),), check=True, timeout=60, **as_whom)
        stranger = NOBODY if own == 0 else own
        with pytest.raises(DaemonUnreachable, match=f"user {stranger}, who is neither root nor you"):
            ControlClient(tmp_path / "s", user=stranger + 1).connect()
        for user in (0, stranger):
            ControlClient(tmp_path / "s", user=user).connect()
