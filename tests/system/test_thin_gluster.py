"""Thin provisioning of a real Gluster volume as an initiator sees it: one that is full, and one that is dispersed."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator

import pytest

from tcmu_gluster import native
from tests.doubles.initiator import Task
from tests.system.export import Export
from tests.system.gluster_server import BLOCK_OPTIONS, GlusterServer, why_unavailable
from tests.system.torture import CHECK_CONDITION, GOOD, Player

REASON = why_unavailable() or ("the C shim is not built" if native.shim is None else "")
pytestmark = [
    pytest.mark.gluster,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(REASON), reason=REASON or "-"),
]

MIB = 1 << 20
BLOCK = 512
HEALING_SECONDS = 30
"""A brick looks at its free space every five seconds."""
DATA_PROTECT, SPACE_ALLOCATION_FAILED = 0x7, 0x2707


@pytest.fixture(scope="module")
def server() -> Iterator[GlusterServer]:
    with GlusterServer() as running:
        running.create_volume("small", options=BLOCK_OPTIONS, brick_bytes=96 * MIB)
        running.create_volume("disperse", options=BLOCK_OPTIONS, disperse=2)
        with running.entered():
            yield running


class Host(Player):
    """One initiator that asks, and waits for the answer."""

    def __init__(self, export: Export) -> None:
        super().__init__(0, export)
        self.get_ready()

    def run(self, cdb: bytes, data_out: bytes = b"", read: int = 0) -> Task:
        task = self.initiator.scsi(cdb, data_out=data_out, read=read)
        while task.status is None:
            assert self.exchange(), "the target closed the connection"
        return task

    def write(self, lba: int, data: bytes) -> Task:
        return self.run(struct.pack(">BBQIBB", 0x8A, 0, lba, len(data) // BLOCK, 0, 0), data)

    def read(self, lba: int, blocks: int) -> bytes:
        task = self.run(struct.pack(">BBQIBB", 0x88, 0, lba, blocks, 0, 0), read=blocks * BLOCK)
        assert task.status == GOOD, task.sense.hex()
        return task.data

    def unmap(self, lba: int, blocks: int) -> Task:
        data = struct.pack(">HH4xQI4x", 22, 16, lba, blocks)
        return self.run(struct.pack(">B6xHB", 0x42, len(data), 0), data)

    def page(self, code: int) -> bytes:
        return self.run(struct.pack(">BBBHB", 0x12, 1, code, 255, 0), read=255).data

    def status_of(self, lba: int) -> tuple[int, int, int]:
        """The first LBA status descriptor from an LBA on: (lba, blocks, provisioning status)."""
        data = self.run(struct.pack(">BBQIBB", 0x9E, 0x12, lba, 24, 0, 0), read=24).data
        first, blocks, status = struct.unpack_from(">QIB", data, 8)
        return first, blocks, status & 0x0F


def sense_of(task: Task) -> tuple[int, int]:
    """(sense key, additional sense code) of fixed format sense."""
    assert task.status == CHECK_CONDITION
    return task.sense[2] & 0x0F, int.from_bytes(task.sense[12:14], "big")


def test_a_full_volume_is_no_broken_disk_and_recovers_without_a_restart(server: GlusterServer) -> None:
    uri = f"gluster://{server.host}/small/disk"
    with Export(uri, "--size", "256M") as export:
        host, data = Host(export), os.urandom(MIB)
        written, refused = [], None
        for number in range(256):
            task = host.write(number * MIB // BLOCK, data)
            if task.status != GOOD:
                refused = task
                break
            written.append(number)
        assert refused is not None, "256 MiB found room in 96"
        assert sense_of(refused) == (DATA_PROTECT, SPACE_ALLOCATION_FAILED)
        assert host.run(bytes(6)).status == GOOD  # TEST UNIT READY
        assert written and all(host.read(number * MIB // BLOCK, MIB // BLOCK) == data for number in written[:8])
        assert host.unmap(0, 256 * MIB // BLOCK).status == GOOD
        deadline = time.monotonic() + HEALING_SECONDS
        while (task := host.write(MIB // BLOCK, data)).status != GOOD:
            assert sense_of(task) == (DATA_PROTECT, SPACE_ALLOCATION_FAILED)
            assert time.monotonic() < deadline, "there is room, and writes are still refused"
            time.sleep(0.5)
        assert host.read(0, MIB // BLOCK) == bytes(MIB)
        assert host.read(MIB // BLOCK, MIB // BLOCK) == data
        assert host.run(struct.pack(">BBIBHB", 0x35, 0, 0, 0, 0, 0)).status == GOOD  # SYNCHRONIZE CACHE
        host.sock.close()


@pytest.mark.parametrize("volume", ["small", "disperse"])
def test_what_is_promised_of_unmapping_is_what_the_volume_does(server: GlusterServer, volume: str) -> None:
    with Export(f"gluster://{server.host}/{volume}/promise", "--size", "32M") as export:
        host, data = Host(export), os.urandom(4 * MIB)
        limits, provisioning = host.page(0xB0), host.page(0xB2)
        granularity = int.from_bytes(limits[28:32], "big")
        assert provisioning[5] & 0xE4 == 0xE4  # LBPU, LBPWS, LBPWS10, LBPRZ
        assert int.from_bytes(limits[20:24], "big") and int.from_bytes(limits[24:28], "big") and granularity
        assert host.write(0, data).status == GOOD
        assert host.run(struct.pack(">BBIBHB", 0x35, 0, 0, 0, 0, 0)).status == GOOD
        # Whole granules are given back.
        assert host.unmap(4 * granularity, granularity).status == GOOD
        assert host.status_of(4 * granularity) == (4 * granularity, granularity, 1)
        # Whatever is asked for reads as zeros, and nothing else does.
        expected = bytearray(data)
        expected[4 * granularity * BLOCK : 5 * granularity * BLOCK] = bytes(granularity * BLOCK)
        for lba, blocks in ((101, 1), (203, 7), (1001, 99), (2048, 64)):
            assert host.unmap(lba, blocks).status == GOOD
            expected[lba * BLOCK : (lba + blocks) * BLOCK] = bytes(blocks * BLOCK)
        for lba, unmap in ((3001, 1), (4001, 0)):  # WRITE SAME of zeros, with UNMAP and without
            cdb = struct.pack(">BBQIBB", 0x93, unmap << 3, lba, 33, 0, 0)
            assert host.run(cdb, bytes(BLOCK)).status == GOOD
            expected[lba * BLOCK : (lba + 33) * BLOCK] = bytes(33 * BLOCK)
        assert host.read(0, 4 * MIB // BLOCK) == bytes(expected)
        host.sock.close()
