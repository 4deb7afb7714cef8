"""A private D-Bus daemon, a client on it, and a double of tcmu-runner: its part of the bus, in the same loop."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dbus_fast import Message, MessageType, NameFlag, Variant
from dbus_fast.aio import MessageBus

NAME = "org.kernel.TCMUService1"
ROOT = "/org/kernel/TCMUService1"
MANAGER = f"{NAME}.HandlerManager1"
_CONFIG = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>{own}</policy>
  {include}
</busconfig>
"""


class BusDaemon:
    """dbus-daemon with a socket below root. include: a policy file or a folder of them; who may own a name then depends
    on that alone."""

    def __init__(self, root: Path, include: Path | None = None) -> None:
        self.address = f"unix:path={root / 'bus'}"
        self._config = root / "bus.conf"
        word = "includedir" if include is not None and include.is_dir() else "include"
        self._config.write_text(_CONFIG.format(
            socket=root / "bus", own="" if include else '<allow own="*"/>',
            include=f"<{word}>{include}</{word}>" if include else "",
        ))  # fmt: skip
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> BusDaemon:
        """It listens afterwards."""
        self._process = subprocess.Popen(
            ["dbus-daemon", f"--config-file={self._config}", "--nofork", "--nopidfile", "--print-address"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "dbus-daemon did not start"
        return self

    def stop(self) -> None:
        """Everybody on it is cut off."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


@contextlib.contextmanager
def bus_daemon(root: Path, include: Path | None = None) -> Iterator[BusDaemon]:
    """A running one, ended afterwards."""
    daemon = BusDaemon(root, include).start()
    try:
        yield daemon
    finally:
        daemon.stop()


class BusClient:
    """Somebody on the bus who asks."""

    def __init__(self, bus: MessageBus) -> None:
        self.bus = bus

    @classmethod
    async def connect(cls, address: str) -> Any:
        return cls(await MessageBus(bus_address=address).connect())

    async def ask(
        self, destination: str, path: str, interface: str, member: str, signature: str = "", *body: Any
    ) -> list[Any]:
        """The reply's arguments; an error's name and text where it is one."""
        call = Message(destination, path, interface, member, signature=signature, body=list(body))
        reply = await asyncio.wait_for(self.bus.call(call), 10)
        if reply.message_type is MessageType.ERROR:
            return [reply.error_name, *reply.body]
        return list(reply.body)

    async def owner(self, name: str = NAME) -> str:
        """Its unique name, or ''."""
        found = await self.ask(
            "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetNameOwner", "s", name
        )
        return found[0] if found[0].startswith(":") else ""

    async def managed(self) -> dict[str, Any]:
        """What targetcli asks first."""
        asked = await self.ask(NAME, ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
        assert isinstance(asked[0], dict), asked
        return asked[0]

    async def check(self, config: str, path: str = f"{ROOT}/gluster", destination: str = NAME) -> list[Any]:
        """CheckConfig's (bs)."""
        return await self.ask(destination, path, NAME, "CheckConfig", "s", config)

    def close(self) -> None:
        self.bus.disconnect()


class TcmuRunnerOnBus(BusClient):
    """As tcmu-runner does: queues for the name, registers a handler once its name is there, forwards CheckConfig."""

    def __init__(self, bus: MessageBus) -> None:
        super().__init__(bus)
        self.handlers: dict[str, str] = {}
        self.refuse = ""
        self._tasks: set[asyncio.Task[None]] = set()
        bus.add_message_handler(self._take)

    @classmethod
    async def start(cls, address: str) -> TcmuRunnerOnBus:
        runner: TcmuRunnerOnBus = await cls.connect(address)
        await runner.bus.request_name(NAME, NameFlag.NONE)
        return runner

    def _take(self, message: Message) -> Any:
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        if (message.path, message.member) == (ROOT, "GetManagedObjects"):
            objects = {f"{ROOT}/{name}": {NAME: {"ConfigDesc": Variant("s", text)}} for name, text in
                       {"qcow": "theirs", **self.handlers}.items()}  # fmt: skip
            return Message.new_method_return(message, "a{oa{sa{sv}}}", [objects])
        if (message.path, message.interface, message.member) == (f"{ROOT}/HandlerManager1", MANAGER, "RegisterHandler"):
            self._later(self._register(message))
            return True
        if message.member == "CheckConfig":
            self._later(self._forward(message))
            return True
        return None

    def _later(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _register(self, message: Message) -> None:
        name, text = message.body
        if self.refuse or not await self.owner(f"{MANAGER}.{name}"):
            reason = self.refuse or f"Cannot find handler bus name: {MANAGER}.{name}"
            self.bus.send(Message.new_method_return(message, "bs", [False, reason]))
            return
        self.handlers[name] = text
        self.bus.send(Message.new_method_return(message, "bs", [True, "succeeded"]))

    async def _forward(self, message: Message) -> None:
        name = str(message.path).rsplit("/", 1)[-1]
        body = await self.check(message.body[0], f"{ROOT}/HandlerManager1/{name}", f"{MANAGER}.{name}")
        self.bus.send(Message.new_method_return(message, "bs", body))
