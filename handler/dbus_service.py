"""The daemon's place on the system bus, where unmodified targetcli looks for backstore types.

Either the name org.kernel.TCMUService1 is ours, or tcmu-runner has it and we are registered there as one of its
handlers (RegisterHandler comes back only once we own HandlerManager1.gluster, so that one is asked for first and always
kept). If tcmu-runner starts after us it queues for the name: then we let go of it and register. The bus may be missing,
come and go; the daemon lives on and tries again, and `status` tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Optional, TypeVar

from dbus_fast import BusType, DBusError, Message, MessageFlag, MessageType, NameFlag, RequestNameReply
from dbus_fast.aio import MessageBus

from tcmu_gluster.config.cfgstring import SUBTYPE
from tcmu_gluster.errors import TcmuGlusterError

from .dbus_objects import (
    CONFIG_DESC,
    HANDLER_NAME,
    MANAGER_INTERFACE,
    MANAGER_PATH,
    NAME,
    answer,
    checked,
    config_to_check,
)
from .world import reason_of

log = logging.getLogger(__name__)

CALL_SECONDS = 10.0
"""How long the bus or tcmu-runner may take to answer."""
LOOK_SECONDS = 2.0
"""How often it is looked whether somebody queues for the name; the bus does not announce that."""
MOST_CHECKS = 4
"""Config strings that are being checked at a time: each may wait for a volume."""
POLICY_FILE = Path(__file__).parent / "share" / f"{NAME}.{SUBTYPE}.conf"
"""What allows us the names. Packages install it in /usr/share/dbus-1/system.d; pip puts it below its own prefix, where
the bus doesn't look unless that is /usr. So whoever is refused is told the line to type; the bus sees a new file."""
_BUS, _BUS_PATH = "org.freedesktop.DBus", "/org/freedesktop/DBus"

T = TypeVar("T")
Check = Callable[[str], Awaitable[tuple[bool, str]]]


class DbusService:
    """check(config) -> (ok, sentence), for config strings with their subtype. address: None is the system bus."""

    def __init__(
        self,
        check: Check,
        *,
        address: Optional[str] = None,
        look_seconds: float = LOOK_SECONDS,
        retry_seconds: float = 5,
    ) -> None:
        self._check, self._address = check, address
        self._look_seconds, self._retry_seconds = look_seconds, retry_seconds
        self._bus: Optional[MessageBus] = None
        self._checks: set[asyncio.Task[None]] = set()
        self._users = {0, os.geteuid()}
        self._owner_changed = asyncio.Event()
        self._registered_with: Optional[str] = None  # the unique name of the tcmu-runner that knows us
        self.on_neighbour: Callable[[], None] = lambda: None
        """Called when tcmu-runner is new here; where we have the name, before it gets it: it counts as started then."""
        self.place = "starting"
        """Where plain targetcli finds us, for `status`."""

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                try:
                    await self._connect()
                    await self._live()
                except (OSError, EOFError, DBusError, asyncio.TimeoutError, TcmuGlusterError) as error:
                    self._say(f"not on the bus: {reason_of(error)}")
                except Exception as error:  # the library's own failures have no common root
                    log.debug("the bus was left", exc_info=True)
                    self._say(f"not on the bus: {reason_of(error)}")
                finally:
                    self._leave()
                await asyncio.sleep(self._retry_seconds)
        finally:
            for task in self._checks:
                task.cancel()

    def _say(self, place: str) -> None:
        if place != self.place:
            self.place = place
            log.log(logging.INFO if place.startswith("shown") else logging.WARNING, "targetcli: %s", place)

    # -- the connection -----------------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        bus = MessageBus(bus_address=self._address, bus_type=BusType.SYSTEM)
        self._bus = await _within_limit(bus.connect())
        bus.add_message_handler(self._take)
        rule = f"type='signal',sender='{_BUS}',interface='{_BUS}',member='NameOwnerChanged',arg0='{NAME}'"
        await self._ask(_BUS, _BUS_PATH, _BUS, "AddMatch", "s", [rule])
        await self._request(HANDLER_NAME)

    def _leave(self) -> None:
        bus, self._bus, self._registered_with = self._bus, None, None
        if bus is not None and bus.connected:
            with contextlib.suppress(Exception):
                bus.disconnect()

    async def _live(self) -> None:
        """Until the connection breaks. Raises whatever broke it."""
        assert self._bus is not None
        gone = asyncio.ensure_future(self._bus.wait_for_disconnect())  # type: ignore[no-untyped-call]
        try:
            while True:
                self._owner_changed.clear()
                await self._settle()
                changed = asyncio.ensure_future(self._owner_changed.wait())
                try:
                    await asyncio.wait({gone, changed}, timeout=self._look_seconds, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    changed.cancel()
                if gone.done():
                    gone.result()
                    raise ConnectionError(0, "the bus closed the connection")
        finally:
            gone.cancel()
            if gone.done() and not gone.cancelled():
                gone.exception()  # seen

    async def _settle(self) -> None:
        """Have the name, or be registered with whoever has it."""
        owner = await self._owner()
        if owner is None:
            await self._request(NAME)
            owner = await self._owner()
        if owner is None:
            return
        if owner == self._own_name:
            others = [one for one in await self._queue() if one != owner]
            if not others:
                self._say(f"shown as user:{SUBTYPE} ({NAME} is ours)")
                return
            log.info("%s is wanted by another handler: letting it have the name", NAME)
            self.on_neighbour()
            await self._call_bus("ReleaseName", "s", [NAME])
            owner = await self._owner()
        if owner is not None and self._registered_with != owner:
            self.on_neighbour()
            await self._register(owner)

    async def _register(self, owner: str) -> None:
        """Become a handler of tcmu-runner. What it refuses is tried again at the next look."""
        try:
            reply = await self._ask(
                NAME, MANAGER_PATH, MANAGER_INTERFACE, "RegisterHandler", "ss", [SUBTYPE, CONFIG_DESC]
            )
            done, reason = reply.body
        except DBusError as error:
            done, reason = False, error.text
        if done:
            self._registered_with = owner
            self._say(f"shown as user:{SUBTYPE} (registered with tcmu-runner, which has {NAME})")
        else:
            self._say(f"not shown: {NAME} belongs to another process, which did not register us ({reason})")

    # -- asking the bus -----------------------------------------------------------------------------------------------

    @property
    def _own_name(self) -> str:
        return (self._bus.unique_name if self._bus is not None else "") or ""

    async def _request(self, name: str) -> None:
        try:
            reply = await self._call_bus("RequestName", "su", [name, NameFlag.DO_NOT_QUEUE.value])
        except DBusError as error:
            if error.type != "org.freedesktop.DBus.Error.AccessDenied":
                raise
            raise ConnectionError(
                0, f"the bus lets nobody have {name}; as root, once: cp {POLICY_FILE} /etc/dbus-1/system.d/"
            ) from None
        got = RequestNameReply(reply.body[0])
        if name == HANDLER_NAME and got not in (RequestNameReply.PRIMARY_OWNER, RequestNameReply.ALREADY_OWNER):
            raise ConnectionError(0, f"{name} belongs to another process")

    async def _owner(self) -> Optional[str]:
        try:
            return str((await self._call_bus("GetNameOwner", "s", [NAME])).body[0])
        except DBusError:
            return None

    async def _queue(self) -> list[str]:
        return list((await self._call_bus("ListQueuedOwners", "s", [NAME])).body[0])

    async def _call_bus(self, member: str, signature: str, body: list[Any]) -> Message:
        return await self._ask(_BUS, _BUS_PATH, _BUS, member, signature, body)

    async def _ask(
        self, destination: str, path: str, interface: str, member: str, signature: str, body: list[Any]
    ) -> Message:
        """The reply. Raises DBusError, asyncio.TimeoutError. Nobody is started for it (tcmu-runner could be)."""
        assert self._bus is not None
        message = Message(destination, path, interface, member, signature=signature, body=body,
                          flags=MessageFlag.NO_AUTOSTART)  # fmt: skip
        reply = await _within_limit(self._bus.call(message))
        if reply is None:
            raise ConnectionError(0, "the bus closed the connection")
        if reply.message_type is MessageType.ERROR:
            raise DBusError(reply.error_name or "", str(reply.body[0]) if reply.body else str(reply.error_name), reply)
        return reply

    # -- being asked --------------------------------------------------------------------------------------------------

    def _take(self, message: Message) -> Any:
        if message.message_type is MessageType.SIGNAL:
            if message.member == "NameOwnerChanged" and message.body[:1] == [NAME]:
                if message.body[2] != self._registered_with:
                    self._registered_with = None
                self._owner_changed.set()
            return None
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        config = config_to_check(message)
        if config is None:
            return answer(message)
        task = asyncio.get_running_loop().create_task(self._answer_check(message, config))
        self._checks.add(task)
        task.add_done_callback(self._checks.discard)
        return True

    async def _answer_check(self, message: Message, config: str) -> None:
        ok, reason = False, f"the check of {config[:80]!r} ended unexpectedly; the daemon's log has the details"
        try:
            ok, reason = await self._checked(message, config)
        except Exception:
            log.exception("CheckConfig(%r) ended unexpectedly", config)
        bus = self._bus
        if bus is not None and bus.connected and not message.flags & MessageFlag.NO_REPLY_EXPECTED:
            bus.send(checked(message, ok, reason))

    async def _checked(self, message: Message, config: str) -> tuple[bool, str]:
        if len(self._checks) > MOST_CHECKS:
            return False, "too many config strings are being checked just now; try again"
        reply = await self._call_bus("GetConnectionUnixUser", "s", [message.sender])
        if reply.body[0] not in self._users:
            return False, "only root may ask"
        return await self._check(config)


async def _within_limit(work: Awaitable[T]) -> T:
    """Its result, within CALL_SECONDS. (Until Python 3.12 wait_for may swallow a cancellation.)"""
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=CALL_SECONDS)
    finally:
        task.cancel()
    if not done:
        raise asyncio.TimeoutError()
    return task.result()
