"""An iSCSI session over TCP for trials: the sans-IO initiator of the tests, driven by asyncio.

Every answer is judged by the initiator's own rules (numbers, lengths, order); a target that breaks one ends the session
with an AssertionError.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import Any, Optional

from tcmu_gluster.iscsi.pdu import NO_TAG, NOP_OUT, Opcode
from tests.doubles.initiator import Initiator, Task

ABORT_TASK, LOGICAL_UNIT_RESET = 1, 5
FUNCTION_COMPLETE, TASK_DOES_NOT_EXIST = 0, 1
LOGIN_SECONDS = 60.0
FLUSH = bytes((0x35,)) + bytes(9)
TEST_UNIT_READY = bytes(6)


class SessionLost(Exception):
    """The connection ended; what was outstanding has no answer."""


def read_16(lba: int, blocks: int) -> bytes:
    """READ(16)."""
    return struct.pack(">BBQIBB", 0x88, 0, lba, blocks, 0, 0)


def write_16(lba: int, blocks: int, fua: bool = False) -> bytes:
    """WRITE(16)."""
    return struct.pack(">BBQIBB", 0x8A, 8 if fua else 0, lba, blocks, 0, 0)


class Client:
    """One session. Commands are coroutines; close them by ending the session."""

    def __init__(self, port: int, iqn: str, name: str, keys: Optional[dict[str, str]] = None) -> None:
        self.port, self.iqn, self.name, self.keys = port, iqn, name, keys
        self.initiator = Initiator(iqn, name, keys=keys)
        self.lost = False
        self.why = ""
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._reader: Optional[asyncio.StreamReader] = None
        self._writer: Optional[asyncio.StreamWriter] = None
        self._pump: Optional[asyncio.Task[None]] = None

    async def login(self) -> None:
        """Raises SessionLost, OSError."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.initiator.login()
        self._send()
        while not self.initiator.full_feature:
            data = await asyncio.wait_for(self._reader.read(1 << 16), LOGIN_SECONDS)
            if not data or self.initiator.login_status:
                self.drop()
                raise SessionLost(f"login refused (status {self.initiator.login_status})")
            self.initiator.feed(data)
            self._send()
        self.initiator.others.clear()
        self._pump = asyncio.get_running_loop().create_task(self._receive())

    def _send(self) -> None:
        data = self.initiator.take()
        if data and self._writer is not None:
            self._writer.write(data)

    async def _receive(self) -> None:
        assert self._reader is not None
        try:
            while True:
                data = await self._reader.read(1 << 18)
                if not data:
                    break
                self.initiator.feed(data)
                self._send()
                self._settle()
        except (OSError, AssertionError) as error:
            self.why = f"{type(error).__name__}: {error}"
        self._end()

    def _settle(self) -> None:
        initiator = self.initiator
        for tag in [tag for tag in self._waiting if tag in initiator.tasks]:
            if initiator.tasks[tag].status is not None:
                self._answer(tag, initiator.tasks.pop(tag))
        for answer in initiator.others:
            if answer.opcode == Opcode.NOP_IN and answer.fields.target_transfer_tag != NO_TAG:
                self._pong(answer)
            else:
                self._answer(answer.fields.initiator_task_tag, answer)
        initiator.others.clear()
        initiator.every.clear()

    def _pong(self, ping: Any) -> None:
        """The target asks whether we live (RFC 7143 11.18): commands may have been silent for long."""
        self.initiator.queue(
            NOP_OUT, immediate=1, initiator_task_tag=NO_TAG, target_transfer_tag=ping.fields.target_transfer_tag,
            lun=ping.fields.lun, cmd_sn=self.initiator.number(True),
        )  # fmt: skip
        self._send()

    def _answer(self, tag: int, value: Any) -> None:
        future = self._waiting.pop(tag, None)
        if future is not None and not future.done():
            future.set_result(value)

    def _end(self) -> None:
        self.lost = True
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(SessionLost(self.why or "the connection ended"))
        self._waiting.clear()
        if self._writer is not None:
            self._writer.close()

    # -- commands -----------------------------------------------------------------------------------------------------

    def start(self, cdb: bytes, **options: Any) -> tuple[Task, asyncio.Future[Any]]:
        """Queue a command; the future is the Task with its status, or SessionLost."""
        if self.lost:
            raise SessionLost(self.why)
        task = self.initiator.scsi(cdb, **options)
        return task, self._expect(task.tag)

    def _expect(self, tag: int) -> asyncio.Future[Any]:
        future = self._waiting[tag] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to ask
        self._send()
        return future

    async def run(self, cdb: bytes, **options: Any) -> Task:
        """Queue a command and wait."""
        answer: Task = await self.start(cdb, **options)[1]
        return answer

    async def manage(self, function: int, task: Optional[Task] = None) -> int:
        """Task management; the response."""
        if self.lost:
            raise SessionLost(self.why)
        tag = self.initiator.manage(function, task=task)
        answer = await self._expect(tag)
        return int(answer.fields.response)

    def forget(self, task: Task) -> None:
        """It will have no answer (it was aborted); one that comes all the same is passed over."""
        self.initiator.tasks.pop(task.tag, None)
        future = self._waiting.pop(task.tag, None)
        if future is not None:
            future.cancel()

    @property
    def outstanding(self) -> int:
        """Commands without an answer."""
        return len(self._waiting)

    # -- ends ---------------------------------------------------------------------------------------------------------

    async def logout(self) -> None:
        """As the standard wants it."""
        tag = self.initiator.logout()
        with contextlib.suppress(SessionLost, asyncio.TimeoutError):
            await asyncio.wait_for(self._expect(tag), LOGIN_SECONDS)
        self.drop()

    def drop(self, *, reset: bool = False, half_a_pdu: bool = False) -> None:
        """End the connection: with FIN or RST, in the middle of a PDU or not."""
        if self._pump is not None:
            self._pump.cancel()
        if self._writer is not None:
            if half_a_pdu and not self.lost:
                self._writer.write(b"\x01\x81" + bytes(20))
            if reset:
                linger = struct.pack("ii", 1, 0)
                with contextlib.suppress(OSError):
                    self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self._writer.transport.abort()
        self._end()
