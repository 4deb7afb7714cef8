"""One TCMU device's ring, pumped in the six steps: wake, take, run, give back, send; and its command limit.

libgfapi cannot cancel a call. What has run longer than the limit is given up like this:
* a command that still waits for another one ends at once;
* one that takes Data-In (a READ) is answered only by its own callback: gfapi will write into the ring's memory then;
* any other is answered BUSY: at once where the backend has no more business with the ring's memory (a flush, a WRITE
  of which libgfapi has a copy), else by its callback; LIO's own limit speaks to the initiator before that, if it must.
  Until the callback the unit keeps its LBA range closed, and it counts as outstanding: nobody resets or unmaps a ring.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable
from typing import Any, Optional, Protocol

from tcmu_gluster.scsi.command import ANY, Command, Function, Response, Status, TaskManagement
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.tcmu.access import AccessFactory, PythonAccess
from tcmu_gluster.tcmu.data_direction import DATA_OUT
from tcmu_gluster.tcmu.ring import Ring, RingState
from tcmu_gluster.tcmu.ring_command import RingCommand
from tcmu_gluster.tcmu.uapi import TaskManagementType

log = logging.getLogger(__name__)

ROUNDS = 8
"""After so many refills of a ring the loop gets to look at the others."""
BUSY = Response(Status.BUSY)


class Mapping(Protocol):
    """What a front needs of an opened uio device (tcmu/uio.py)."""

    fd: int
    memory: memoryview

    def read_event(self) -> Optional[int]: ...
    def knock(self) -> None: ...
    def close(self) -> None: ...


class Loop(Protocol):
    """What a front needs of the event loop."""

    def time(self) -> float: ...
    def call_soon(self, callback: Callable[..., object], *args: Any) -> object: ...
    def add_reader(self, fd: int, callback: Callable[..., object], *args: Any) -> None: ...
    def remove_reader(self, fd: int) -> Any: ...


class TcmuFront:
    """Serves a unit through one ring. on_end(reason) is called once if the ring dies or the device goes away."""

    def __init__(
        self,
        name: str,
        mapping: Mapping,
        unit: LogicalUnit,
        loop: Loop,
        *,
        limit_seconds: float,
        in_order: bool = False,
        access: AccessFactory = PythonAccess,
        on_end: Callable[[str], None],
        before_first: Optional[Callable[[], None]] = None,
    ) -> None:
        self.name, self.unit = name, unit
        self._mapping, self._loop, self._on_end = mapping, loop, on_end
        self._limit_seconds = limit_seconds
        self._before_first = before_first
        self.ring = Ring(mapping.memory, access, done=self._done, block_bytes=unit.block_size_bytes, in_order=in_order)
        self._pending: dict[RingCommand, float] = {}  # not answered by the unit yet -> when it was taken; oldest first
        self._given_up: set[RingCommand] = set()  # answered by us, still with the backend
        self._held: set[RingCommand] = set()  # past the limit, but only their callback may answer
        self._send_due = self._again_due = self._ended = False
        self._idle = asyncio.Event()
        unit.attach(ANY, attention=None)

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self, *, answer_busy: bool = False) -> None:
        """Serve from now on; what was queued before we opened the device raises no event, so look at once.

        answer_busy: what is in the ring now is a predecessor's that no reset took away; its initiators try again.
        """
        if answer_busy and self.ring.refresh():
            for command in self.ring.commands():
                self.ring.complete(command, BUSY)
            self._send()
        self._loop.add_reader(self._mapping.fd, self._readable)
        self.pump()

    @property
    def outstanding(self) -> int:
        """Commands that the backend may still touch: while there are any, no reset, no unmapping."""
        return len(self._pending) + len(self._given_up)

    async def drain(self, seconds: float) -> bool:
        """Take nothing more, answer what was taken. False if the backend still holds something after that time."""
        self.ring.drain()
        self._send()
        while self.outstanding:
            self._idle.clear()
            try:
                await asyncio.wait_for(self._idle.wait(), seconds)
            except asyncio.TimeoutError:
                return False
        self._send()
        return True

    def stop_listening(self) -> None:
        """Look at the device no more."""
        self._ended = True
        if self._mapping.fd >= 0:
            self._loop.remove_reader(self._mapping.fd)

    def close(self) -> None:
        """Unmap and let go of the device. Raises RingError while anything is outstanding."""
        self.stop_listening()
        self.ring.close()
        self._mapping.close()
        self.unit.detach(ANY)

    # -- wake, take, run, give back, send -----------------------------------------------------------------------------

    def _readable(self) -> None:
        try:
            self._mapping.read_event()
        except OSError as error:
            self._end(f"the device is gone ({error.strerror})")
            return
        self.pump()

    def pump(self) -> None:
        """Take and run everything up to cmd_head, a few times over, and send the answers that came at once."""
        self._again_due = False
        if self._ended:
            return
        ring, execute, complete, pending = self.ring, self.unit.execute, self.ring.complete, self._pending
        for _ in range(ROUNDS):
            if not ring.refresh():
                break
            if self._before_first is not None:
                before, self._before_first = self._before_first, None
                before()
            now = self._loop.time()
            for command in ring.commands():
                response = execute(command)
                if response is None:
                    pending[command] = now
                else:
                    complete(command, response)
            if ring.hints:
                self._take_hints()
            self._send()
        else:
            self._again()
        if ring.state is RingState.DEAD:
            self._end(f"the ring can't be trusted: {ring.reason}")

    def _again(self) -> None:
        if not self._again_due:
            self._again_due = True
            self._loop.call_soon(self.pump)

    def _done(self, command: Command, response: Response) -> None:
        """The unit's answer that came later."""
        assert isinstance(command, RingCommand)
        if self._pending.pop(command, None) is None:
            self._given_up.discard(command)  # answered long ago; its range opens now
        else:
            self._held.discard(command)
            self.ring.complete(command, response)
            if not self._send_due:
                self._send_due = True
                self._loop.call_soon(self._send)
        if not self._pending and not self._given_up:
            self._idle.set()

    def _send(self) -> None:
        self._send_due = False
        if self.ring.publish():
            try:
                self._mapping.knock()
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EINTR):
                    self._end(f"the device is gone ({error.strerror})")

    def _end(self, reason: str) -> None:
        if not self._ended:
            self.stop_listening()
            self._on_end(reason)

    # -- task management and the limit --------------------------------------------------------------------------------

    def _take_hints(self) -> None:
        """The kernel gives up commands and waits for our answers to them; a reset also resets mode parameters."""
        hints = self.ring.hints
        while hints:
            hint = hints.popleft()
            for command in hint.commands:
                if command in self._pending:
                    self._abort(command)
            if hint.kernel_type == TaskManagementType.LUN_RESET:
                self.unit.modes.reset()
                self.unit.look_again()

    def _abort(self, command: RingCommand) -> None:
        """Tell the unit; one that waits ends at once, one that runs when the backend has let go of it."""
        self.unit.manage(TaskManagement(Function.ABORT_TASK, ANY, referenced_tag=command.tag), _ignore)

    def check_limit(self, now: float) -> None:
        """Give up what has run too long. now: the loop's clock, seconds."""
        late = []
        for command, taken in self._pending.items():
            if now - taken < self._limit_seconds:
                break
            if command not in self._held:
                late.append(command)
        for command in late:
            self._give_up(command)
        if late:
            self._send()

    def _give_up(self, command: RingCommand) -> None:
        waits = self.unit.tasks.is_waiting(command)
        takes_data = bool(command.data_in_bytes) and not DATA_OUT[command.cdb[0]]
        log.warning("%s: %s has taken more than %g seconds%s", self.name, command, self._limit_seconds,
                    "; it is answered when storage answers" if takes_data and not waits else "")  # fmt: skip
        if takes_data and not waits:
            self._held.add(command)
            return
        if waits:
            self._abort(command)
            return
        gone = self.unit.tasks.abandon(command, BUSY)
        if command.data_out_bytes and not gone:
            self._held.add(command)  # the backend may still read the ring's memory
            return
        del self._pending[command]
        self._given_up.add(command)
        self.ring.complete(command, BUSY)


def _ignore(response: Any) -> None:
    """The command's own answer says how its abort ended."""
