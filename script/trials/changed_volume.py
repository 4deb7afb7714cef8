"""A volume's options change while reads are under way.  Does the process that reads live on?

Each change is one that needs a new graph of translators. Several processes read, so that a change is several chances;
one that died is started again. The binding alone takes part, no engine. `--plain` lets libgfapi follow the changes by
itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import signal
import threading
import time
from typing import Any

from tcmu_gluster.backends import graphs
from tcmu_gluster.backends.gfapi import GfapiBackend
from tcmu_gluster.config.uri import parse_backing
from tests.system.gluster_server import BLOCK_OPTIONS, GlusterServer, why_unavailable

VOLUME, BLOCK_BYTES, READS = "one", 4096, 32
SIZE_BYTES = 64 << 20
PAUSE_SECONDS = 1.5
"""Between two changes: the trial's own pace, so that each is followed before the next one comes."""


def read_on(host: str, number: int, plain: bool, failed: Any) -> None:
    """A process that keeps READS reads under way until it is ended; counts those that fail."""
    if plain:
        graphs.MountedVolume._first = lambda mounted: graphs.Graph(mounted.volume)  # type: ignore[method-assign]
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    disk = GfapiBackend(parse_backing(f"gluster://{host}/{VOLUME}/disk{number}"), loop, create_size_bytes=SIZE_BYTES)

    def read() -> None:
        disk.read(0, [memoryview(bytearray(BLOCK_BYTES))], came)

    def came(outcome: Any) -> None:
        if outcome != BLOCK_BYTES:
            with failed.get_lock():
                failed.value += 1
        read()

    for _ in range(READS):
        loop.call_soon_threadsafe(read)
    signal.pause()


def main(arguments: argparse.Namespace) -> int:
    """Run and report; 0 if every process lived and every read was answered with its bytes."""
    reason = why_unavailable()
    if reason:
        raise SystemExit(f"changed-volume: {reason}")
    context = multiprocessing.get_context("spawn")
    failed, died = context.Value("q", 0), 0
    with GlusterServer() as server:
        server.create_volume(VOLUME, 1, {**BLOCK_OPTIONS, "performance.write-behind": "off"})
        with server.entered():

            def start(number: int) -> Any:
                child = context.Process(target=read_on, args=(server.host, number, arguments.plain, failed))
                child.start()
                return child

            readers = [start(number) for number in range(arguments.processes)]
            try:
                for change in range(arguments.changes):
                    time.sleep(PAUSE_SECONDS)
                    server.set_options(VOLUME, {"performance.write-behind": "off" if change % 2 else "on"})
                    for number, reader in enumerate(readers):
                        if not reader.is_alive():
                            died += 1
                            readers[number] = start(number)
                time.sleep(PAUSE_SECONDS)
            finally:
                died += sum(not reader.is_alive() for reader in readers)
                for reader in readers:
                    with contextlib.suppress(ProcessLookupError):
                        reader.kill()
                    reader.join()
    chances = arguments.changes * arguments.processes
    print(f"{chances} times a volume changed under {READS} reads: {died} processes died, {failed.value} reads failed")
    return int(bool(died or failed.value))
