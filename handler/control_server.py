"""The control socket's shell: accepts, checks who asks, feeds the codec, drops whoever is slow or silent.

handle(op, args, progress) -> result      a coroutine; raises OperationError with the sentence for the client
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Optional, Union

from tcmu_gluster.control.codec import (
    LONGEST_REQUEST_BYTES,
    Code,
    Failure,
    LineReader,
    Malformed,
    Message,
    Progress,
    Request,
    Result,
    encode,
)
from tcmu_gluster.control.operations import UsageError
from tcmu_gluster.control.peer import peer_of
from tcmu_gluster.errors import ConfigError, OperationError, TcmuGlusterError

log = logging.getLogger(__name__)

SILENCE_SECONDS = 300.0
"""A client that asks nothing for this long is let go."""
SEND_SECONDS = 10.0
"""A client that takes its answer slower than this is let go."""
SIGN_OF_LIFE_SECONDS = 1.0
"""How often a client that waits for a long operation hears that it goes on."""
STOP_SECONDS = 10.0
"""How long a stop waits for an operation that is under way."""
MOST_CLIENTS = 64

Report = Callable[[dict[str, Any]], None]
Handle = Callable[[str, dict[str, Any], Report], Awaitable[dict[str, Any]]]


class ControlServer:
    """Listens on a Unix socket. Only root and our own user are answered."""

    def __init__(
        self,
        path: Path,
        handle: Handle,
        *,
        silence_seconds: float = SILENCE_SECONDS,
        send_seconds: float = SEND_SECONDS,
        sign_of_life_seconds: float = SIGN_OF_LIFE_SECONDS,
        allowed_user: Optional[int] = None,
    ) -> None:
        self._path, self._handle = path, handle
        self._silence_seconds, self._send_seconds = silence_seconds, send_seconds
        self._sign_of_life_seconds = sign_of_life_seconds
        self._work: set[asyncio.Future[dict[str, Any]]] = set()
        self._users = {0, os.geteuid() if allowed_user is None else allowed_user}
        self._server: Optional[asyncio.AbstractServer] = None
        self._clients: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Listen. Raises ConfigError if another daemon does, OSError."""
        if len(os.fsencode(self._path)) > 107:  # sun_path
            raise ConfigError(
                f"the name of the control socket is too long: {self._path}; choose one of at most 107 bytes"
            )
        try:
            self._path.parent.mkdir(mode=0o755 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"the folder of the control socket {self._path} can't be made ({error.strerror}); choose another with "
                "--control-socket"
            ) from error
        self._remove_stale()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        before = os.umask(0o177)
        try:
            listener.bind(str(self._path))
        finally:
            os.umask(before)
        self._server = await asyncio.start_unix_server(self._accept, sock=listener, limit=LONGEST_REQUEST_BYTES)

    def _remove_stale(self) -> None:
        try:
            mode = self._path.lstat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise ConfigError(f"{self._path} is in the way: it is no socket; choose another with --control-socket")
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self._path))
            except OSError:
                self._path.unlink()
                return
        raise ConfigError(
            f"another daemon already listens at {self._path}; stop it first, or choose another with --control-socket"
        )

    async def stop(self) -> None:
        """Listen no more, finish what was asked for, and let go of every client."""
        if self._server is None:
            return
        self._server.close()
        self._path.unlink(missing_ok=True)
        if self._work:  # an operation is whole or nothing, whether or not its client is still there
            _, late = await asyncio.wait(self._work, timeout=STOP_SECONDS)
            for work in late:
                work.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            await asyncio.sleep(0)
        for client in list(self._clients):
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        self._server = None

    # -- one client ---------------------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        refusal = self._refusal(writer)
        self._clients.add(task)
        try:
            if refusal:
                await self._send(writer, Failure(0, Code.REFUSED, refusal))
            else:
                await self._converse(reader, writer)
        except (OSError, asyncio.TimeoutError) as error:
            log.debug("a control client was let go: %s", error or type(error).__name__)
        except asyncio.CancelledError:
            log.debug("a control client was let go: the daemon stops")
        finally:
            self._clients.discard(task)
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    def _refusal(self, writer: asyncio.StreamWriter) -> str:
        if len(self._clients) >= MOST_CLIENTS:
            return f"the daemon already talks to {MOST_CLIENTS} clients; try again later"
        peer = peer_of(writer.get_extra_info("socket"))
        if peer.user in self._users:
            return ""
        log.warning("user %d (process %d) asked at the control socket and was refused", peer.user, peer.process)
        return "only root and the daemon's own user may ask"

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = LineReader(LONGEST_REQUEST_BYTES)
        while True:
            data = await asyncio.wait_for(reader.read(LONGEST_REQUEST_BYTES), self._silence_seconds)
            if not data:
                return
            for message in lines.receive_data(data):
                if isinstance(message, Request):
                    await self._answer(message, writer)
                    continue
                await self._send(writer, Failure(0, Code.USAGE, _complaint(message)))
                if isinstance(message, Malformed) and message.fatal:
                    return

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        last: dict[str, Any] = {"what": request.op.replace(".", " ")[:60]}

        def report(progress: dict[str, Any]) -> None:
            nonlocal last
            last = progress
            # whoever doesn't listen misses steps, not the result
            if not (writer.is_closing() or writer.transport.get_write_buffer_size()):
                with contextlib.suppress(OSError):
                    writer.write(encode(Progress(request.id, progress)))

        work = asyncio.ensure_future(self._handle(request.op, request.args, report))
        self._work.add(work)
        work.add_done_callback(self._work.discard)
        while not (await asyncio.wait({work}, timeout=self._sign_of_life_seconds))[0]:
            report(last)
        await self._send(writer, _answer_of(request, work))

    async def _send(self, writer: asyncio.StreamWriter, message: Any) -> None:
        writer.write(encode(message))
        await asyncio.wait_for(writer.drain(), self._send_seconds)


def _answer_of(request: Request, work: asyncio.Future[dict[str, Any]]) -> Union[Result, Failure]:
    """What an operation that has ended is answered with."""
    try:
        return Result(request.id, work.result())
    except UsageError as error:
        return Failure(request.id, Code.USAGE, str(error))
    except (TcmuGlusterError, OSError) as error:
        return Failure(request.id, Code.REFUSED, _sentence(error))
    except asyncio.CancelledError:
        return Failure(request.id, Code.REFUSED, f"the daemon stops; {request.op} was given up")
    except Exception as error:
        log.exception("%s ended unexpectedly", request.op)
        sentence = f"{request.op} ended unexpectedly ({type(error).__name__}); the daemon's log has the details"
        return Failure(request.id, Code.INTERNAL, sentence)


def _complaint(message: Message) -> str:
    return message.sentence if isinstance(message, Malformed) else "that is an answer; requests have id, op and args"


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, OperationError):
        where = f"{error.filename}: " if error.filename else ""
        return where + (error.strerror or str(error))
    return str(error) or type(error).__name__
