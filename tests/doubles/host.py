"""A host that talks to a unit or target by CDBs, without a transport: what tests of the SCSI room drive."""

from __future__ import annotations

import itertools
from typing import Any, Optional, Union

from tcmu_gluster.backends.memory import MemoryBackend
from tcmu_gluster.scsi.command import Command, Nexus, Response, Status, TaskAttribute
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.sense import DESCRIPTOR_SENSE, FIXED_SENSE, parse_sense
from tcmu_gluster.scsi.target import Target

_names = itertools.count()


def memory(size_bytes: int = 1 << 20, **more: Any) -> MemoryBackend:
    """A memory backend under a name of its own."""
    return MemoryBackend(f"test-{next(_names)}", size_bytes, **more)


class Answer:
    """A Response as a host reads it."""

    def __init__(self, response: Response) -> None:
        self.response = response
        self.status = response.status
        self.data = b"".join(response.data_in)
        self.sense = response.sense
        self.key, self.asc = parse_sense(response.sense) if response.sense else (None, None)

    @property
    def good(self) -> bool:
        return self.status == Status.GOOD

    @property
    def information(self) -> Optional[int]:
        """INFORMATION of fixed format sense, None without VALID."""
        fields = FIXED_SENSE.unpack(self.sense)
        return int(fields.information) if fields.valid else None

    @property
    def pointer(self) -> Optional[tuple[int, Optional[int]]]:
        """(byte, bit) of the field pointer in fixed format sense."""
        specific = self.sense[15:18]
        if not specific[0] & 0x80:
            return None
        return int.from_bytes(specific[1:], "big"), specific[0] & 7 if specific[0] & 8 else None

    def __repr__(self) -> str:
        layout = DESCRIPTOR_SENSE if self.sense[:1] == b"\x72" else FIXED_SENSE
        return f"{self.response} {layout.unpack(self.sense.ljust(18, bytes(1))) if self.sense else ''}"


class Host:
    """One I_T nexus. send() begins a command; run() is send() for a command that ends at once."""

    def __init__(
        self, server: Union[LogicalUnit, Target], name: str = "iqn.2026-11.test:host", *, attach: bool = False
    ) -> None:
        self.server = server
        target_name = server.name if isinstance(server, Target) else ""
        self.nexus = Nexus(name, b"\x80\0\0\0\0\1", target_name)
        self._tags = itertools.count(1)
        if attach:
            server.attach(self.nexus)

    def send(
        self,
        cdb: bytes | bytearray,
        data_out: bytes = b"",
        *,
        lun: int = 0,
        attribute: int = TaskAttribute.SIMPLE,
        views: int = 1,
        log: Optional[list[Any]] = None,
    ) -> Pending:
        """Begin a command. data_out is handed over in so many views."""
        pending = Pending(log)
        step = -(-len(data_out) // views) or 1
        parts = tuple(memoryview(data_out)[at : at + step] for at in range(0, len(data_out), step))
        command = Command(
            bytes(cdb), self.nexus, lun=lun, tag=next(self._tags), attribute=attribute, data_out=parts,
            data_out_bytes=len(data_out), done=pending.done,
        )  # fmt: skip
        pending.command = command
        response = self.server.execute(command)
        if response is not None:
            pending.done(command, response)
        return pending

    def run(self, cdb: bytes | bytearray, data_out: bytes = b"", *, lun: int = 0, views: int = 1) -> Answer:
        """Run a command that ends at once."""
        return self.send(cdb, data_out, lun=lun, views=views).answer


class Pending:
    """A command on its way; ended exactly once."""

    command: Command

    def __init__(self, log: Optional[list[Any]] = None) -> None:
        self.responses: list[Response] = []
        self._log = log

    def done(self, command: Command, response: Response) -> None:
        assert command is self.command
        self.responses.append(response)
        assert len(self.responses) == 1, f"{command} ended twice"
        if self._log is not None:
            self._log.append(command.tag)

    @property
    def ended(self) -> bool:
        return bool(self.responses)

    @property
    def answer(self) -> Answer:
        assert self.responses, f"{self.command} has not ended"
        return Answer(self.responses[0])
