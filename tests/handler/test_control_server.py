from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handler.control_server import MOST_CLIENTS, ControlServer
from tcmu_gluster.control.operations import UsageError
from tcmu_gluster.errors import ConfigError, OperationError

LIMIT_SECONDS = 60.0
finished: list[str] = []


async def handle(op: str, args: dict[str, Any], report: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """A daemon that says back what it was asked, or fails as it is told."""
    if op == "progress":
        report({"done": 1, "total": 2})
        await asyncio.sleep(0)
    errors: dict[str, Exception] = {
        "refuse": OperationError("no such disk"),
        "usage": UsageError("needs name"),
        "config": ConfigError("no such volume"),
        "os": OSError(28, "No space left on device", "/x"),
        "break": RuntimeError("a bug"),
    }
    if op == "long":
        await asyncio.sleep(0.1)
        finished.append(op)
    if op in errors:
        raise errors[op]
    if op == "large":
        return {"text": "x" * (32 << 20)}
    return {"op": op, "args": args}


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, line: bytes) -> Any:
        self.writer.write(line + b"\n")
        return await self.answer()

    async def answer(self) -> Any:
        line = await asyncio.wait_for(self.reader.readline(), LIMIT_SECONDS)
        return json.loads(line) if line else None


def run(root: Path, scenario: Callable[[ControlServer, Path], Awaitable[None]], **options: Any) -> None:
    async def whole() -> None:
        path = root / "run" / "s"
        server = ControlServer(path, handle, **options)
        await server.start()
        try:
            await scenario(server, path)
        finally:
            await server.stop()

    asyncio.run(whole())


async def connect(path: Path) -> Client:
    return Client(*await asyncio.open_unix_connection(str(path), limit=64 << 20))


def test_requests_are_answered_in_order(tmp_path: Path) -> None:
    async def scenario(server: ControlServer, path: Path) -> None:
        client = await connect(path)
        assert await client.ask(b'{"id":7,"op":"x","args":{"a":1}}') == {
            "id": 7,
            "result": {"op": "x", "args": {"a": 1}},
        }
        client.writer.write(b'{"id":1,"op":"a"}\n{"id":2,"op":"b"}\n')
        assert [(await client.answer())["id"] for _ in range(2)] == [1, 2]

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("op", "code", "words"),
    [
        ("refuse", "refused", "no such disk"),
        ("usage", "usage", "needs name"),
        ("config", "refused", "no such volume"),
        ("os", "refused", "/x: No space left on device"),
        ("break", "internal", "RuntimeError"),
    ],
)
def test_failures_are_sentences(tmp_path: Path, op: str, code: str, words: str) -> None:
    async def scenario(server: ControlServer, path: Path) -> None:
        client = await connect(path)
        answer = await client.ask(json.dumps({"id": 1, "op": op}).encode())
        assert answer["error"]["code"] == code and words in answer["error"]["sentence"]
        assert (await client.ask(b'{"id":2,"op":"x"}'))["id"] == 2, "the conversation goes on"

    run(tmp_path, scenario)


def test_progress_comes_before_the_result(tmp_path: Path) -> None:
    async def scenario(server: ControlServer, path: Path) -> None:
        client = await connect(path)
        assert await client.ask(b'{"id":3,"op":"progress"}') == {"id": 3, "progress": {"done": 1, "total": 2}}
        assert (await client.answer())["id"] == 3

    run(tmp_path, scenario)


def test_a_long_operation_gives_signs_of_life(tmp_path: Path) -> None:
    async def scenario(server: ControlServer, path: Path) -> None:
        client = await connect(path)
        assert await client.ask(b'{"id":3,"op":"long"}') == {"id": 3, "progress": {"what": "long"}}
        while "progress" in (answer := await client.answer()):
            assert answer["progress"] == {"what": "long"}
        assert answer["result"]["op"] == "long"

    run(tmp_path, scenario, sign_of_life_seconds=0.02)


def test_an_operation_is_finished_without_its_client_and_before_the_stop(tmp_path: Path) -> None:
    async def scenario(server: ControlServer, path: Path) -> None:
        finished.clear()
        client = await connect(path)
        client.writer.write(b'{"id":3,"op":"long"}\n')
        await client.writer.drain()
        await asyncio.sleep(0.03)
        client.writer.close()
        await server.stop()
        assert finished == ["long"]

    run(tmp_path, scenario)


def test_nonsense_is_answered_and_too_long_a_line_ends_it(tmp_path: Path) -> None:
    async def scenario(server: ControlServer, path: Path) -> None:
        client = await connect(path)
        assert (await client.ask(b"nonsense"))["error"]["code"] == "usage"
        assert (await client.ask(b'{"id":1,"result":{}}'))["error"]["code"] == "usage"
        client.writer.write(b"x" * (65 << 10))
        assert "longer" in (await client.answer())["error"]["sentence"]
        assert await client.answer() is None

    run(tmp_path, scenario)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=60), max_size=5))
def test_no_bytes_end_the_daemon(tmp_path: Path, lines: list[bytes]) -> None:
    async def scenario(server: ControlServer, path: Path) -> None:
        rude = await connect(path)
        for line in lines:
            rude.writer.write(line + b"\n")
        rude.writer.close()
        polite = await connect(path)
        assert (await polite.ask(b'{"id":1,"op":"x"}'))["id"] == 1

    run(tmp_path, scenario)


def test_a_silent_client_is_let_go(tmp_path: Path) -> None:
    async def scenario(server: ControlServer, path: Path) -> None:
        client = await connect(path)
        assert await client.answer() is None

    run(tmp_path, scenario, silence_seconds=0.02)


def test_a_client_that_takes_no_answer_is_let_go_and_disturbs_nobody(tmp_path: Path) -> None:
    async def scenario(server: ControlServer, path: Path) -> None:
        deaf = socket.socket(socket.AF_UNIX)
        deaf.connect(str(path))
        deaf.send(b'{"id":1,"op":"large"}\n')
        polite = await connect(path)
        assert (await polite.ask(b'{"id":1,"op":"x"}'))["id"] == 1
        while server._clients - {asyncio.current_task()} and len(server._clients) > 1:
            await asyncio.sleep(0.01)
        deaf.close()

    run(tmp_path, scenario, send_seconds=0.05)


def test_strangers_are_refused(tmp_path: Path) -> None:
    async def scenario(server: ControlServer, path: Path) -> None:
        server._users = {os.geteuid() + 1}
        client = await connect(path)
        assert "only root" in (await client.answer())["error"]["sentence"]
        assert await client.answer() is None

    run(tmp_path, scenario)


def test_the_number_of_clients_is_bounded(tmp_path: Path) -> None:
    async def scenario(server: ControlServer, path: Path) -> None:
        clients = [await connect(path) for _ in range(MOST_CLIENTS)]
        for client in clients:
            await client.ask(b'{"id":1,"op":"x"}')
        late = await connect(path)
        assert "later" in (await late.answer())["error"]["sentence"]

    run(tmp_path, scenario)


def test_the_socket_is_for_its_owner_and_goes_with_the_daemon(tmp_path: Path) -> None:
    async def scenario(server: ControlServer, path: Path) -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    run(tmp_path, scenario)
    assert not (tmp_path / "run" / "s").exists()


def test_a_dead_daemons_socket_is_replaced_a_living_ones_is_not(tmp_path: Path) -> None:
    path = tmp_path / "run" / "s"
    path.parent.mkdir()
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()

    async def scenario(server: ControlServer, path: Path) -> None:
        with pytest.raises(ConfigError, match="another daemon"):
            await ControlServer(path, handle).start()

    run(tmp_path, scenario)


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "s").write_text("precious")
        with pytest.raises(ConfigError, match="no socket"):
            await ControlServer(tmp_path / "s", handle).start()
        assert (tmp_path / "s").read_text() == "precious"
        with pytest.raises(ConfigError, match="too long"):
            await ControlServer(tmp_path / ("x" * 120), handle).start()
        with pytest.raises(ConfigError, match=r"can't be made \(.*; choose another with --control-socket"):
            await ControlServer(tmp_path / "s" / "below", handle).start()

    asyncio.run(scenario())
