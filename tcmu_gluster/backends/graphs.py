"""The connection that carries a disk's reads and writes, and the next one when its volume has changed.

libgfapi follows a change of the volume (a brick replaced, a translator switched on) by itself: the next call moves
every open file to the new graph of translators. An asynchronous call that was under way then gives back a reference to
the new file instead of the old one's, until that is freed in use and the process crashes. So data go over a connection
that is made from the volume's description ("volfile") as it was told, and that learns of no change. The connection of
administration does follow. When its description has changed, the next fixed connection is made and every file opened
there: what is new goes there, what is under way ends where it began, and then the old connection ends.
(`script/reliability changed-volume` changes a volume under load; with --plain, as libgfapi does it.)
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Final, Optional

from tcmu_gluster.errors import ConfigError
from tcmu_gluster.native.completions import Loop
from tcmu_gluster.native.libgfapi import File, Volume

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
"""How often the description is looked at: a copy within the process."""


class Graph:
    """A connection that carries data, and how many files are open on it. fixed: it will not follow the volume."""

    def __init__(self, volume: Volume, description: str = "") -> None:
        self.volume, self.description, self.fixed = volume, description, bool(description)
        self.files = 0


class MountedVolume:
    """A volume of this process: `volume`, which follows its changes, and `graph`, which carries data now."""

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        self._lock = threading.Lock()
        self._graph: Optional[Graph] = None
        self._handles: list[Handles] = []
        self._old: list[Graph] = []
        self._watching = False

    @property
    def graph(self) -> Graph:
        """Made when the first file is opened. With a release that can't: the connection of administration. Blocks."""
        with self._lock:
            if self._graph is None:
                self._graph = self._first()
            return self._graph

    def open(self, open_on: Callable[[Volume], File]) -> OpenFile:
        """What open_on makes of the graph of now, which lives until end(). Blocks. Raises what open_on does."""
        with self._lock:
            graph = self._graph = self._graph or self._first()
            graph.files += 1
        try:
            return OpenFile(graph, open_on(graph.volume))
        except BaseException:
            self._forget(graph)
            raise

    def end(self, opened: OpenFile) -> None:
        """Close a file. Blocks."""
        with contextlib.suppress(OSError):  # whatever it says, libgfapi has forgotten the handle
            opened.file.close()
        self._forget(opened.graph)

    def join(self, handles: Handles) -> None:
        """From now on handles are told of a new graph. Any thread."""
        with self._lock:
            self._handles.append(handles)
            if handles.graph.fixed and not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, name="gluster-changes", daemon=True).start()

    def leave(self, handles: Handles) -> None:
        """The counterpart of join(). Any thread."""
        with self._lock, contextlib.suppress(ValueError):
            self._handles.remove(handles)

    def look(self) -> None:
        """Go over to the volume as it is described now, as far as that can be done now. Blocks as the network does."""
        description, old = self.volume.volfile(), self.graph
        if old.fixed and description and description != old.description:
            with contextlib.suppress(OSError):
                self.volume.stat("/")  # the connection that follows goes over with its next call
            try:
                graph = self._fix(description)
            except (OSError, ConfigError) as error:
                log.warning("volume %s has changed, but data stay on the old connection: %s", self.volume.name, error)
            else:
                with self._lock:
                    self._old.append(old)
                    self._graph = graph
                log.info("volume %s has changed: its disks go over to a new connection", self.volume.name)
        with self._lock:
            members = list(self._handles)
        for handles in members:
            handles.follow()
        with self._lock:
            unneeded = [graph for graph in self._old if not graph.files]
            self._old = [graph for graph in self._old if graph.files]
        for graph in unneeded:
            graph.volume.umount()

    def _first(self) -> Graph:
        description = self.volume.volfile()
        if description:
            try:
                return self._fix(description)
            except (OSError, ConfigError) as error:
                log.warning("volume %s: no connection of its own for data: %s", self.volume.name, error)
        return Graph(self.volume)

    def _forget(self, graph: Graph) -> None:
        with self._lock:
            graph.files -= 1

    def _fix(self, description: str) -> Graph:
        return Graph(self.volume.fixed(description).mount(), description)

    def _watch(self) -> None:
        pause = threading.Event()
        while not pause.wait(LOOK_SECONDS):
            try:
                self.look()
            except Exception:
                log.exception("volume %s: looking for changes", self.volume.name)


class OpenFile:
    """A file on a graph; users: calls outside the completion queue that need it open."""

    def __init__(self, graph: Graph, file: File) -> None:
        self.graph, self.file, self.users = graph, file, 0


class Handles:
    """One disk's file: open on the graph of now, and where its calls under way began.

    open_on(volume) opens it; taken(file) is called in the loop when another handle is the one to use; in_flight(file)
    tells how many asynchronous calls have not come back.
    """

    def __init__(
        self,
        mounted: MountedVolume,
        loop: Loop,
        first: OpenFile,
        *,
        open_on: Callable[[Volume], File],
        taken: Callable[[File], None],
        in_flight: Callable[[File], int],
    ) -> None:
        self._mounted, self._loop = mounted, loop
        self._open_on, self._taken, self._in_flight = open_on, taken, in_flight
        self._lock = threading.Lock()
        self._is_closed = False
        self._coming: Optional[OpenFile] = None
        self._now = first
        self._retired: list[OpenFile] = []
        mounted.join(self)

    @property
    def graph(self) -> Graph:
        """The one of the handle that is used now."""
        return self._now.graph

    @contextlib.contextmanager
    def held(self) -> Iterator[File]:
        """The handle of now, kept open meanwhile. Any thread."""
        with self._lock:
            opened = self._now
            opened.users += 1
        try:
            yield opened.file
        finally:
            with self._lock:
                opened.users -= 1

    def renew(self) -> None:
        """Open another handle on the graph of now and let the loop take it. Blocks. Raises OSError."""
        self._offer(self._mounted.open(self._open_on))

    def follow(self) -> None:
        """Open the file on the graph of now, if it is not there yet, and close what nobody needs any longer. Blocks."""
        if self._now.graph is not self._mounted.graph and self._coming is None:
            try:
                self.renew()
            except OSError as error:
                log.warning("%s stays on the old connection: %s", self._now.file.name, error)
        with self._lock:
            if self._is_closed:
                return
            unneeded = [each for each in self._retired if not each.users and not self._in_flight(each.file)]
            self._retired = [each for each in self._retired if each not in unneeded]
        for opened in unneeded:
            self._mounted.end(opened)

    def unreturned(self) -> int:
        """Asynchronous calls on any handle that have not come back. Any thread."""
        with self._lock:
            return sum(self._in_flight(opened.file) for opened in (self._now, *self._retired))

    def close(self) -> None:
        """Close every handle without calls under way; one that has some stays open. Once."""
        with self._lock:
            self._is_closed = True
        self._mounted.leave(self)
        with self._lock:
            left = [self._now, *self._retired, *([self._coming] if self._coming else [])]
            self._retired, self._coming = [], None
        for opened in left:
            if not self._in_flight(opened.file):
                self._mounted.end(opened)

    def _offer(self, opened: OpenFile) -> None:
        """Hand it to the loop: only there is the handle changed that submissions use."""
        with self._lock:
            if not self._is_closed and self._coming is None:
                with contextlib.suppress(RuntimeError):  # the loop is closed: then nobody submits
                    self._loop.call_soon_threadsafe(self._take)
                    self._coming = opened
                    return
        self._mounted.end(opened)

    def _take(self) -> None:
        with self._lock:
            if self._coming is None:
                return  # closed meanwhile
            self._retired.append(self._now)
            self._now, self._coming = self._coming, None
        self._taken(self._now.file)
