"""The shell over a daemon's operations without the socket: a desk in a loop of its own; volumes are folders."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import pytest

from handler import backing_files
from targetcli_ext.shell import Shell, make_shell, run_script
from tcmu_gluster.backends.open import open_backing
from tcmu_gluster.config.uri import Backing
from tests.handler.daemon import LIMIT_SECONDS, Desk

IQN = "iqn.2013-10.com.redhat"
HOST = "iqn.1994-05.com.redhat:cf75c8d4274d"


class Tree:
    """run(text): what a script of shell commands printed; refused(text): the sentence of a command that failed."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, lio: bool = False) -> None:
        self.root, self.volumes = root, root / "volumes"
        (self.volumes / "vol").mkdir(parents=True)
        self._fold(monkeypatch)
        monkeypatch.setenv("COLUMNS", "100")
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.asked: list[str] = []
        self.desk: Desk = self.in_loop(self._make(lio))
        self.front = "lio" if lio else "engine"

    async def _make(self, lio: bool) -> Desk:
        desk = Desk(self.root, lio=lio, open=lambda backing, *args, **more: open_backing(
            self.local(backing), *args, **more))  # fmt: skip
        await desk.devices.start()
        return desk

    def in_loop(self, work: Any) -> Any:
        """Something of the daemon's, done where it runs."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(LIMIT_SECONDS)

    def local(self, backing: Backing) -> Backing:
        """Volume vol of host server is the folder volumes/vol."""
        if backing.scheme != "gluster":
            return backing
        if backing.hosts[0][0] != "server":
            raise OSError(113, "No route to host")
        return Backing("file", path=f"{self.volumes}/{backing.volume}{backing.path}")

    def _fold(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("size_of", "resize", "remove", "allocate"):
            real = getattr(backing_files, name)
            monkeypatch.setattr(backing_files, name, lambda backing, *args, real=real: real(self.local(backing), *args))

    def ask(self, name: str, args: Mapping[str, Any], on_progress: Any = None) -> dict[str, Any]:
        """As SocketAsk does it."""
        self.asked.append(name)
        result: dict[str, Any] = self.in_loop(self.desk.do(name, **args))
        return result

    def shell(self, said: Optional[io.StringIO] = None) -> Shell:
        """A new one; what it says goes to said."""
        shell = make_shell(self.front, self.ask, None)
        out = said if said is not None else io.StringIO()
        for con in (shell.con, shell.log.con):
            con._stdout = con._stderr = out
        shell.prefs.filename, shell.prefs.autosave = None, False  # all shells of a process share them
        shell.prefs["color_mode"] = False
        return shell

    def run(self, script: str, status: int = 0) -> str:
        """What the script printed."""
        said = io.StringIO()
        got = run_script(self.shell(said), script.splitlines())
        assert got == status, said.getvalue()
        return said.getvalue()

    def refused(self, line: str) -> str:
        """The sentence of a command that must be refused."""
        said = self.run(line, 1).strip()
        assert "\n" not in said and "Traceback" not in said
        return said

    def close(self) -> None:
        """The orderly end."""

        async def end() -> None:
            await asyncio.gather(self.desk.devices.stop(), self.desk.engine.stop(0.05))
            self.desk.world.threads.shutdown()

        self.in_loop(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(LIMIT_SECONDS)
        self.loop.close()
