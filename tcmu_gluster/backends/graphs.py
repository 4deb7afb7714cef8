"""The connection that carries a disk's reads and writes, and the next one when its volume has changed.

libgfapi follows a change of the volume (a brick replaced, a translator switched on) by itself: the next call moves
every open file to the new graph of translators. An asynchronous call that was under way then gives back a reference to
the new file instead of the old one's, until that is freed in use and the process crashes. So data go over a connection
that is made from the volume's description ("volfile") as it was told, and that learns of no change. The connection of
administration does follow. When its description has changed, the next fixed connection is made and every file opened
there: what is new goes there, what is under way ends where it began, and then the old connection ends.
(`script/reliability changed-volume` changes a volume under load; with --plain, as libgfapi does it.)

Going over must not wait: a brick that was added gets what the old connection writes only from self-heal, and not at all
once that is through. Ending does wait (glfs_fini for ten seconds, where calls are left), so it has a thread of its own.

Nothing is cached on our side, so a write that the old connection acknowledged is at the bricks, and a read on the next
one sees it. Whether it is flushed is another matter: of a sharded volume each connection remembers which pieces it
wrote, and its fsync flushes those alone. There an old connection ends only after an fsync of its own, and until then
every flush of the disk is also one on it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, Optional

from tcmu_gluster.backends.base import Done
from tcmu_gluster.backends.lost_writes import MEANS_LOST_DATA
from tcmu_gluster.errors import ConfigError
from tcmu_gluster.native.completions import Loop
from tcmu_gluster.native.libgfapi import File, Volume

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.05
"""How often the description is looked at: a copy within the process (20 us)."""
AGAIN_SECONDS: Final = 1.0
"""How often what did not work is tried again, and what is left of older connections is looked at."""
SHARD: Final = "type features/shard"


class Graph:
    """A connection that carries data, and how many files are open on it.

    fixed           it will not follow the volume
    flushes_alone   nobody else's fsync flushes what was written here
    """

    def __init__(self, volume: Volume, description: str = "") -> None:
        self.volume, self.description, self.fixed = volume, description, bool(description)
        self.flushes_alone = SHARD in description or not description  # then nobody knows
        self.files = 0


class MountedVolume:
    """A volume of this process: `volume`, which follows its changes, and `graph`, which carries data now."""

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        self._lock, self._looking = threading.Lock(), threading.Lock()
        self._graph: Optional[Graph] = None
        self._handles: list[Handles] = []
        self._old: list[Graph] = []
        self._watching = self._is_behind = False
        self._trouble = ""

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
            if not self._watching:
                self._watching = True
                for name, work in (("gluster-changes", self._watch), ("gluster-leftovers", self.end_old)):
                    threading.Thread(target=self._repeat, args=(work,), name=name, daemon=True).start()

    def leave(self, handles: Handles) -> None:
        """The counterpart of join(). Any thread."""
        with self._lock, contextlib.suppress(ValueError):
            self._handles.remove(handles)

    def look(self) -> float:
        """Go over to the volume as it is described now, as far as that can be done now. Blocks as the network does.

        Returns in how many seconds to look again.
        """
        if not self._looking.acquire(blocking=False):
            return AGAIN_SECONDS  # somebody does, and it may take long
        try:
            return self._look()
        finally:
            self._looking.release()

    def _look(self) -> float:
        old, trouble = self._graph, ""
        if old is None:
            return AGAIN_SECONDS
        description = self.volume.volfile()
        if description and description != old.description:
            try:
                graph = self._fix(description)
            except (OSError, ConfigError) as error:
                trouble = f"volume {self.volume.name} has changed, but data stay on the old connection: {error}"
            else:
                with self._lock:
                    if old.fixed:
                        self._old.append(old)
                    self._graph, self._is_behind = graph, True
                log.info("volume %s has changed: its disks go over to a new connection", self.volume.name)
        now = self.graph
        for handles in self._members():
            if handles.graph is not now:
                trouble = handles.follow() or trouble
        if trouble and trouble != self._trouble:
            log.warning("%s", trouble)
        self._trouble = trouble
        return AGAIN_SECONDS if trouble else LOOK_SECONDS

    def end_old(self) -> float:
        """Close the files and end the connections that nobody needs any longer. Blocks, and may do so for long.

        Returns in how many seconds to do it again.
        """
        if self._is_behind:
            self._is_behind = False
            with contextlib.suppress(OSError):
                self.volume.stat("/")  # the connection that follows goes over with its next call
        for handles in self._members():
            handles.end_retired()
        with self._lock:
            unneeded = [graph for graph in self._old if not graph.files]
            self._old = [graph for graph in self._old if graph.files]
        for graph in unneeded:
            try:
                graph.volume.umount()
            except OSError as error:
                log.info("volume %s: ending an old connection: %s", self.volume.name, error.strerror)
        return AGAIN_SECONDS

    def _members(self) -> list[Handles]:
        with self._lock:
            return list(self._handles)

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

    def _watch(self) -> float:
        return self.look() if self._handles else AGAIN_SECONDS  # whoever opens a file then looks first

    def _repeat(self, work: Callable[[], float]) -> None:
        pause, seconds = threading.Event(), LOOK_SECONDS
        while not pause.wait(seconds):
            try:
                seconds = work()
            except Exception:
                log.exception("volume %s: looking for changes", self.volume.name)
                seconds = AGAIN_SECONDS


class OpenFile:
    """A file on a graph.

    users       calls outside the completion queue that need it open
    unflushed   it may have carried writes that only its own fsync makes durable
    trouble     why not, as it was last told
    """

    def __init__(self, graph: Graph, file: File) -> None:
        self.graph, self.file, self.users = graph, file, 0
        self.unflushed, self.trouble = False, ""


class Handles:
    """One disk's file: open on the graph of now, and where its calls under way began.

    open_on(volume) opens it; taken(file) is called in the loop when another handle is the one to use; in_flight(file)
    tells how many asynchronous calls have not come back; flush(file, done) is a backend's flush of one handle.
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
        flush: Callable[[File, Done], object],
    ) -> None:
        self._mounted, self._loop = mounted, loop
        self._open_on, self._taken, self._in_flight, self._flush = open_on, taken, in_flight, flush
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
        """The handle of now, kept open meanwhile. Any thread. Raises OSError(EBADF) after close()."""
        with self._lock:
            self._must_be_open()
            opened = self._now
            opened.users += 1
        try:
            yield opened.file
        finally:
            with self._lock:
                opened.users -= 1

    def unflushed(self) -> list[File]:
        """The older handles that a flush has to flush as well. For the loop."""
        return [opened.file for opened in self._retired if opened.unflushed]

    def renew(self) -> None:
        """Open another handle on the graph of now and let the loop take it. Blocks. Raises OSError."""
        self._offer(self._mounted.open(self._open_on))

    def follow(self) -> str:
        """Open the file on the graph of now. Blocks. Returns what is in the way, or nothing."""
        if self._coming is None and not self._is_closed:
            try:
                self.renew()
            except OSError as error:
                return f"{self._now.file.name} stays on the old connection: {error}"
        return ""

    def end_retired(self) -> None:
        """Close the handles that nobody needs any longer, once their writes are flushed. Blocks."""
        with self._lock:
            if self._is_closed:
                return
            idle = [opened for opened in self._retired if not self._is_used(opened)]
            unneeded = [opened for opened in idle if not opened.unflushed]
            self._retired = [opened for opened in self._retired if opened not in unneeded]
        for opened in unneeded:
            self._mounted.end(opened)
        with contextlib.suppress(RuntimeError):  # the loop is closed: then close() is next
            for opened in idle:
                if opened.unflushed:
                    self._loop.call_soon_threadsafe(partial(self._flush_last, opened))

    def unreturned(self) -> int:
        """Calls on any handle that have not come back. Any thread."""
        with self._lock:
            return sum(self._in_flight(opened.file) + opened.users for opened in (self._now, *self._retired))

    def close(self) -> None:
        """Close every handle without calls under way; one that has some stays open. Once."""
        with self._lock:
            self._is_closed = True
        self._mounted.leave(self)
        with self._lock:
            left = [self._now, *self._retired, *([self._coming] if self._coming else [])]
            self._retired, self._coming = [], None
        for opened in left:
            if not self._is_used(opened):
                self._mounted.end(opened)

    def _is_used(self, opened: OpenFile) -> bool:
        return bool(opened.users or self._in_flight(opened.file))

    def _must_be_open(self) -> None:
        if self._is_closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), self._now.file.name)

    def _flush_last(self, opened: OpenFile) -> None:
        """All its writes have come back: what this flush says is the last word on them, and kept by the backend."""

        def flushed(outcome: Any) -> None:
            opened.unflushed = isinstance(outcome, OSError) and outcome.errno not in MEANS_LOST_DATA
            if opened.unflushed and str(outcome) != opened.trouble:
                opened.trouble = str(outcome)
                log.warning(
                    "%s: what was written on an old connection is not flushed, and no flush succeeds until its bricks "
                    "answer (see gluster volume status): %s",
                    opened.file.name,
                    outcome,
                )

        if not self._is_closed and opened.unflushed:
            try:
                self._flush(opened.file, flushed)
            except OSError as error:
                flushed(error)

    def _offer(self, opened: OpenFile) -> None:
        """Hand it to the loop: only there is the handle changed that submissions use. Raises OSError after close()."""
        with self._lock:
            if not self._is_closed and self._coming is None:
                with contextlib.suppress(RuntimeError):  # the loop is closed: then nobody submits
                    self._loop.call_soon_threadsafe(self._take)
                    self._coming = opened
                    return
        self._mounted.end(opened)
        self._must_be_open()

    def _take(self) -> None:
        with self._lock:
            if self._coming is None:
                return  # closed meanwhile
            old, self._now, self._coming = self._now, self._coming, None
            old.unflushed = old.graph.flushes_alone and old.graph is not self._now.graph
            self._retired.append(old)
        self._taken(self._now.file)
