"""What disks on Gluster share: one connection a volume, one completion queue a loop, one small pool for slow calls.

A connection is kept until the process ends: glfs_fini has hung and crashed in many releases, and a volume whose last
disk was closed is often wanted again. A queue lives as long as a backing of its loop is open.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from tcmu_gluster.backends.graphs import MountedVolume
from tcmu_gluster.config.uri import Backing
from tcmu_gluster.native.completions import CompletionQueue, Loop
from tcmu_gluster.native.connect import GLUSTERD_PORT, LOG_ERRORS, Server
from tcmu_gluster.native.libgfapi import Volume, remember_caller
from tcmu_gluster.native.symbols import LIBRARY, open_gfapi

SLOW_CALL_THREADS: Final = 4
DISPERSE: Final = "cluster/disperse"

slow_calls = ThreadPoolExecutor(SLOW_CALL_THREADS, "gluster-slow")
"""Calls libgfapi has no asynchronous form of (SEEK_DATA), and reopening a file. Bounded: what waits, waits."""

_lock = threading.Lock()
_volumes: dict[tuple[object, ...], MountedVolume] = {}
_connecting: dict[tuple[object, ...], threading.Lock] = {}


def servers_of(backing: Backing) -> list[Server]:
    """The volfile servers a backing names. Gluster dropped RDMA in release 8, so gluster+rdma connects by TCP."""
    if backing.transport == "unix":
        return [Server(backing.options["socket"], 0, "unix")]
    return [Server(host, port or GLUSTERD_PORT) for host, port in backing.hosts]


def mount(backing: Backing, library: str = LIBRARY) -> MountedVolume:
    """The process's one mount of a volume, made if there is none. Raises ConfigError; blocks for a bounded time."""
    servers = servers_of(backing)
    key = (library, backing.volume, tuple(servers))
    with _lock:
        connecting = _connecting.setdefault(key, threading.Lock())
    with connecting:  # two disks of one volume that are opened at once connect once
        mounted = _volumes.get(key)
        if mounted is None:
            level = int(backing.options.get("debug", LOG_ERRORS))
            path = backing.options.get("logfile", os.devnull)
            volume = Volume(servers, backing.volume, log_path=path, log_level=level, gfapi=open_gfapi(library))
            mounted = _volumes[key] = MountedVolume(volume.mount())
        else:
            mounted.look()
        return mounted


def stripe_bricks(volfile: str) -> int:
    """On how many bricks the data of one stripe lies: all but the redundant ones of a dispersed volume, else 1."""
    for section in volfile.split("end-volume"):
        lines = [line.split() for line in section.splitlines() if line.strip()]
        found = {words[0] if words[0] != "option" else words[1]: words for words in lines if len(words) > 1}
        if (
            found.get("type", ["", ""])[1] == DISPERSE
            and "subvolumes" in found
            and found.get("redundancy", [""])[-1].isdigit()
        ):
            return max(len(found["subvolumes"]) - 1 - int(found["redundancy"][-1]), 1)
    return 1


class _LoopQueue:
    def __init__(self, loop: Loop, queue: CompletionQueue) -> None:
        self.loop, self.queue, self.users = loop, queue, 0


_queues: dict[tuple[int, str], _LoopQueue] = {}
_abandoned: list[CompletionQueue] = []


def join_queue(loop: Loop, library: str = LIBRARY) -> CompletionQueue:
    """The loop's completion queue; leave_queue() when the backing is closed. Any thread."""
    with _lock:
        entry = _queues.get((id(loop), library))
        if entry is None:
            entry = _queues[id(loop), library] = _LoopQueue(loop, CompletionQueue(open_gfapi(library)))
            loop.call_soon_threadsafe(partial(_watch, entry, library))
        entry.users += 1
        return entry.queue


def leave_queue(loop: Loop, library: str = LIBRARY) -> None:
    """The counterpart of join_queue(): the last one to leave ends the queue. Any thread."""
    with _lock:
        entry = _queues[id(loop), library]
        entry.users -= 1
        if entry.users:
            return
        del _queues[id(loop), library]
    try:
        loop.call_soon_threadsafe(partial(_unwatch, entry))
    except RuntimeError:  # the loop is closed, and so watches nothing
        _end(entry.queue)


def _watch(entry: _LoopQueue, library: str) -> None:
    remember_caller(open_gfapi(library))  # the loop's thread starts every operation, and stays who it is
    entry.loop.add_reader(entry.queue.fileno(), entry.queue.drain)


def _unwatch(entry: _LoopQueue) -> None:
    entry.loop.remove_reader(entry.queue.fileno())
    _end(entry.queue)


def _end(queue: CompletionQueue) -> None:
    queue.drain()
    if not queue.close():
        _abandoned.append(queue)  # Gluster's threads may still write into its memory: it stays until the process ends
