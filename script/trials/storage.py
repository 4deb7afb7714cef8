"""Broken storage: a real Gluster fails under a daemon that is written to, and is mended again.

For each fault the same is asked: what was acknowledged is there, in the daemon and once more after its restart; what
can't be done is not acknowledged; other disks of the daemon don't notice; and the disk serves again by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Optional

from script.trials.client import TEST_UNIT_READY, Client, SessionLost, read_16
from script.trials.load import SLOTS, SYNC, WRITE, Load
from tests.system.gluster_cluster import GlusterCluster
from tests.system.gluster_server import BLOCK_OPTIONS, GlusterServer, why_unavailable
from tests.system.served import Served

PING_TIMEOUT_SECONDS = 5
NOTICE_SECONDS = 60.0
RECOVER_SECONDS = 90.0
LOGIN_SECONDS = 30.0
BEFORE_SECONDS = AFTER_SECONDS = 2.0
CALM_SECONDS = 5.0
"""How long a READ of another disk may take, on a machine that others use too."""
DISK_BYTES = 64 << 20
SMALL_BRICK_BYTES = 96 << 20
INQUIRY = bytes((0x12, 0, 0, 0, 96, 0))


class Fault(ABC):
    """What breaks. Volume options, layout and slots are what the trial makes for it.

    seconds   how long it stays broken
    serves    the disk goes on without what is broken
    refuses   commands are answered, with a status that says so
    some      some writes can be done meanwhile; else none may be acknowledged
    """

    seconds: ClassVar[float] = 8
    serves: ClassVar[bool] = False
    refuses: ClassVar[bool] = True
    some: ClassVar[bool] = False
    layout: ClassVar[dict[str, Any]] = {"replica": 3}
    options: ClassVar[dict[str, str]] = {"network.ping-timeout": str(PING_TIMEOUT_SECONDS)}
    slots: ClassVar[int] = SLOTS

    def __init__(self, name: str, server: GlusterServer) -> None:
        self.name, self.server = name, server

    def make(self) -> None:
        """The volume."""
        self.server.create_volume(self.name, options={**BLOCK_OPTIONS, **self.options}, **self.layout)

    @abstractmethod
    def strike(self) -> None:
        """Break it; returns when it is broken."""

    @abstractmethod
    def mend(self) -> None:
        """Undo it."""


class Quorum(Fault):
    """Two of three bricks die: quorum is lost."""

    def strike(self) -> None:
        """SIGKILL both."""
        for number in (0, 1):
            self.server.kill_brick(self.name, number)

    def mend(self) -> None:
        """Start them again."""
        self.server.restart_bricks(self.name)


class Stopped(Fault):
    """An administrator stops the volume."""

    def strike(self) -> None:
        """gluster volume stop."""
        self.server.gluster("volume", "stop", self.name, "force")

    def mend(self) -> None:
        """gluster volume start."""
        self.server.gluster("volume", "start", self.name)


class Full(Fault):
    """Somebody else fills the bricks' file system; the disk itself is thin and has most of its blocks still to get."""

    some: ClassVar[bool] = True
    layout: ClassVar[dict[str, Any]] = {"brick_bytes": SMALL_BRICK_BYTES}
    slots: ClassVar[int] = DISK_BYTES // 4096

    def _filler(self) -> Path:
        """A file beside the brick, as seen from outside the server's mounts."""
        return Path(f"/proc/{self.server.inner_pid}/root{self.server.folder}/bricks/{self.name}-0/filler")

    def strike(self) -> None:
        """Take all there is, at last in small pieces."""
        with self._filler().open("wb", buffering=0) as file:
            for size in (1 << 20, 4096):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass
                    os.fsync(file.fileno())

    def mend(self) -> None:
        """Give it back."""
        self._filler().unlink()


class Hung(Fault):
    """All bricks stop, and nobody notices: libgfapi's calls don't come back, for longer than our command limit."""

    seconds: ClassVar[float] = 18
    refuses: ClassVar[bool] = False
    options: ClassVar[dict[str, str]] = {"network.ping-timeout": "0"}

    def _signal(self, name: str) -> None:
        self.server.run(["kill", f"-{name}", *map(str, self._pids)])

    def strike(self) -> None:
        """SIGSTOP."""
        self._pids = self.server.brick_pids(self.name)
        self._signal("STOP")

    def mend(self) -> None:
        """SIGCONT."""
        self._signal("CONT")


class Killed(Fault):
    """kill -9 of the daemon, which is then started again."""

    seconds: ClassVar[float] = 0
    refuses: ClassVar[bool] = False
    served: Served

    def strike(self) -> None:
        """SIGKILL."""
        self.served.stop(signal.SIGKILL)

    def mend(self) -> None:
        """Start another."""
        self.served.start()


class Paused(Fault):
    """The network of one server of three is gone: its packets vanish, and nobody is told."""

    seconds: ClassVar[float] = 25
    serves: ClassVar[bool] = True
    some: ClassVar[bool] = True
    cluster: GlusterCluster

    def make(self) -> None:
        """A brick on each server."""
        self.cluster.create_volume(self.name, {**BLOCK_OPTIONS, **self.options})

    def strike(self) -> None:
        """Its link goes down."""
        self.cluster.cut_off(2)

    def mend(self) -> None:
        """Its link comes up."""
        self.cluster.join_again(2)


FAULTS: dict[str, type[Fault]] = {
    "quorum": Quorum, "stopped": Stopped, "full": Full, "hung": Hung, "killed": Killed, "paused": Paused,
}  # fmt: skip
TOGETHER = ("quorum", "stopped", "full", "hung")
"""These strike at the same time, each a volume of its own: one daemon serves all their disks."""


class Calm:
    """Another disk of the daemon, in its memory: nothing that breaks elsewhere may hold it up."""

    def __init__(self, port: int, iqn: str) -> None:
        self.client = Client(port, iqn, "iqn.2026-01.trial:calm")
        self.worst_seconds = 0.0

    async def run(self) -> None:
        """One READ after the other, until cancelled."""
        await self.client.login()
        await self.client.run(TEST_UNIT_READY)
        loop = asyncio.get_running_loop()
        try:
            while True:
                begun = loop.time()
                await self.client.run(read_16(0, 8), read=4096)
                self.worst_seconds = max(self.worst_seconds, loop.time() - begun)
                await asyncio.sleep(0.05)
        finally:
            self.client.drop()


class Trial:
    """Faults of one server under one daemon."""

    def __init__(self, served: Served, faults: list[Fault], longer: float, rounds: int) -> None:
        self.served, self.faults, self.longer, self.rounds = served, faults, longer, rounds
        self.port = int(served.portal.rpartition(":")[2])
        self.loads: dict[str, Load] = {}
        self.problems: list[str] = []
        self.lines: list[str] = []

    def prepare(self) -> None:
        """A volume, a disk and a target for each fault, and for the calm one."""
        for fault in self.faults:
            fault.make()
            self._target(fault.name, f"gluster://{fault.server.host}/{fault.name}/disk", "--size", str(DISK_BYTES))
            self.loads[fault.name] = Load(self.port, iqn(fault.name), slots=fault.slots)
        self._target("calm", "memory:calm?size=16M")

    def _target(self, name: str, uri: str, *options: str) -> None:
        self.served.do("disk", "create", name, uri, *options)
        self.served.do("target", "create", iqn(name))
        self.served.do("acl", "allow", iqn(name), "all")
        self.served.do("lun", "map", iqn(name), name)

    async def run(self) -> None:
        """All faults at once; then everything once more from the bricks, in a daemon that knows nothing."""
        calm = Calm(self.port, iqn("calm"))
        kills = any(isinstance(fault, Killed) for fault in self.faults)
        watch = None if kills else asyncio.ensure_future(calm.run())
        await asyncio.gather(*(self._one(fault, self.loads[fault.name]) for fault in self.faults))
        if watch is not None:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
            self.lines.append(f"another disk's slowest READ meanwhile: {calm.worst_seconds:.2f} s")
            if calm.worst_seconds > CALM_SECONDS:
                self.problems.append(f"another disk waited {calm.worst_seconds:.1f} s")
        await in_thread(self.served.stop)
        await in_thread(self.served.start)
        for name, load in self.loads.items():
            try:
                await load.verify("after a restart")
            except (SessionLost, OSError) as error:
                load.problems.append(f"nobody could log in after a restart: {error!r}")
            self._report(name, load)

    async def _one(self, fault: Fault, load: Load) -> None:
        """Work, break, mend, work."""
        loop = asyncio.get_running_loop()
        load.start()
        took: list[float] = []
        for _ in range(self.rounds if isinstance(fault, Killed) else 1):
            await load.until_serves(loop.time(), RECOVER_SECONDS, "it serves")
            await asyncio.sleep(BEFORE_SECONDS)
            await in_thread(fault.strike)
            struck = loop.time()
            await self._while_broken(fault, load, struck)
            mending = loop.time()
            if not fault.some and (wrong := load.acknowledged_within(struck, mending)):
                load.problems.append(f"{wrong} writes or flushes were acknowledged that can't have been done")
            await in_thread(fault.mend)
            took.append(await load.until_serves(mending, RECOVER_SECONDS, "it serves again, mended"))
        await asyncio.sleep(AFTER_SECONDS)
        await load.stop()
        await load.verify("mended")
        load.counts["seconds until it served again, at most"] = int(max(took) + 1)

    async def _while_broken(self, fault: Fault, load: Load, struck: float) -> None:
        loop = asyncio.get_running_loop()
        if fault.serves:
            await load.until_serves(struck, NOTICE_SECONDS, "it goes on without what is broken")
        elif fault.refuses:
            await load.until(partial(load.refuses, struck), NOTICE_SECONDS, "it says that it can't")
        if not isinstance(fault, Killed):
            await self._answers(fault, load)
        await asyncio.sleep(max(0.0, struck + fault.seconds * self.longer - loop.time()))

    async def _answers(self, fault: Fault, load: Load) -> None:
        """Whoever logs in meanwhile is let in, and told what needs no storage."""
        client = Client(self.port, iqn(fault.name), "iqn.2026-01.trial:newcomer")
        try:
            await asyncio.wait_for(client.login(), LOGIN_SECONDS)
            task = await asyncio.wait_for(client.run(INQUIRY, read=96), LOGIN_SECONDS)
            if task.status:
                load.problems.append(f"INQUIRY was answered with status {task.status}")
            await client.logout()
        except (SessionLost, OSError, asyncio.TimeoutError) as error:
            load.problems.append(f"a newcomer was not served: {error!r}")
        finally:
            client.drop()

    def _report(self, name: str, load: Load) -> None:
        told = {kind: len(load.good[kind]) for kind in (WRITE, SYNC)}
        counts = ", ".join(f"{what} {number:,}" for what, number in sorted(load.counts.items()))
        self.lines.append(
            f"{name}: {told[WRITE]:,} writes and {told[SYNC]:,} flushes acknowledged, {load.book.checked:,} blocks "
            f"verified, {len(load.book.faults)} lost, torn or invented; slowest answer "
            f"{load.longest_seconds():.1f} s; {counts}"
        )
        self.problems += [f"{name}: {words}" for words in (*load.problems, *load.book.faults[:10])]


def known(name: str) -> str:
    """A fault's name. Raises argparse.ArgumentTypeError."""
    if name not in FAULTS:
        raise argparse.ArgumentTypeError(f"no fault {name}; there are {', '.join(FAULTS)}")
    return name


def iqn(name: str) -> str:
    """The target of a disk."""
    return f"iqn.2026-01.trial:{name}"


async def in_thread(call: Callable[[], Any]) -> None:
    """Something that blocks."""
    await asyncio.get_running_loop().run_in_executor(None, call)


@contextlib.contextmanager
def started(names: list[str]) -> Iterator[list[Fault]]:
    """The faults with the servers that they break; this thread has the network of the first."""
    if "paused" in names:
        with GlusterCluster() as cluster, cluster.first.entered():
            fault = Paused("paused", cluster.first)
            fault.cluster = cluster
            yield [fault]
    else:
        with GlusterServer() as server, server.entered():
            yield [FAULTS[name](name, server) for name in names]


def run_together(names: list[str], longer: float, rounds: int) -> Trial:
    """One server, one daemon, all these faults at once."""
    with started(names) as faults, tempfile.TemporaryDirectory(prefix="storage-") as folder:
        with Served(Path(folder)) as served:
            for fault in faults:
                if isinstance(fault, Killed):
                    fault.served = served
            trial = Trial(served, faults, longer, rounds)
            trial.prepare()
            asyncio.run(trial.run())
        if trial.problems or "Traceback" in served.log():
            trial.problems.append(f"the end of the daemon's log:\n{served.log()[-6000:]}")
    return trial


def main(arguments: argparse.Namespace) -> int:
    """Run the trials that were asked for; 0 if nothing was found."""
    reason: Optional[str] = why_unavailable()
    if reason:
        raise SystemExit(f"storage: {reason}")
    asked = list(dict.fromkeys(arguments.fault)) or list(FAULTS)
    groups = [[name for name in asked if name in TOGETHER], *([name] for name in asked if name not in TOGETHER)]
    broken = False
    for names in filter(None, groups):
        begun = time.monotonic()
        trial = run_together(names, arguments.longer, arguments.rounds)
        print(*trial.lines, *trial.problems, f"({time.monotonic() - begun:.0f} s)", sep="\n", flush=True)
        broken = broken or bool(trial.problems)
    return int(broken)
