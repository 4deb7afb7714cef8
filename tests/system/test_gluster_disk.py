"""A disk on a real Gluster volume as an initiator sees it: full, dispersed, and remembering beyond its process."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator

import pytest

from tcmu_gluster import native
from tcmu_gluster.backends.sidecar import sidecar_path
from tcmu_gluster.native.connect import Server
from tcmu_gluster.native.libgfapi import Volume
from tests.doubles.initiator import Task
from tests.system.export import Export
from tests.system.gluster_server import BLOCK_OPTIONS, GlusterServer, why_unavailable
from tests.system.torture import CHECK_CONDITION, CONFLICT, GOOD, Player

REASON = why_unavailable() or ("the C shim is not built" if native.shim is None else "")
pytestmark = [
    pytest.mark.gluster,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(REASON), reason=REASON or "-"),
]

MIB = 1 << 20
BLOCK = 512
IQN = "iqn.2026-11.test:disk"
HEALING_SECONDS = 30
"""A brick looks at its free space every five seconds."""
DATA_PROTECT, SPACE_ALLOCATION_FAILED = 0x7, 0x2707
NOT_READY, MANUAL_INTERVENTION_REQUIRED = 0x2, 0x0403


@pytest.fixture(scope="module")
def server() -> Iterator[GlusterServer]:
    with GlusterServer() as running:
        running.create_volume("small", options=BLOCK_OPTIONS, brick_bytes=96 * MIB)
        running.create_volume("disperse", options=BLOCK_OPTIONS, disperse=2)
        with running.entered():
            yield running


class Host(Player):
    """One initiator that asks, and waits for the answer."""

    def __init__(self, export: Export, who: int = 0, *, ready: bool = True) -> None:
        super().__init__(who, export)
        if ready:
            self.get_ready()
            return
        self.initiator.login()
        while not self.initiator.full_feature:
            self.exchange()

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


def reserve_out(host: Host, action: int, key: int, new: int = 0, flags: int = 0) -> int | None:
    """PERSISTENT RESERVE OUT of Write Exclusive; flags is byte 20 of its list."""
    data = struct.pack(">QQ4xB3x", key, new, flags)
    return host.run(struct.pack(">BBB2xIB", 0x5F, action, 1, len(data), 0), data).status


def test_what_a_disk_remembers_is_on_the_volume_and_damage_is_no_reset(server: GlusterServer) -> None:
    uri = f"gluster://{server.host}/disperse/remembers"
    page = bytes.fromhex("0812000000000000ffffffff") + bytes(8)  # Caching: WCE 0
    with Export(uri, "--size", "16M", "--iqn", IQN) as export:
        host = Host(export)
        assert reserve_out(host, 0, 0, 0xCAFE, flags=1) == GOOD  # REGISTER, APTPL
        assert reserve_out(host, 1, 0xCAFE) == GOOD  # RESERVE
        assert host.run(struct.pack(">BB2xBB", 0x15, 0x11, 24, 0), bytes(4) + page).status == GOOD  # MODE SELECT, SP
        assert host.run(struct.pack(">BB4xIBB", 0xA4, 0x06, 5, 0, 0), b"mine\0").status == GOOD
        host.sock.close()
    with Export(uri, "--iqn", IQN) as export:  # another process, which might be on another host
        host, other = Host(export), Host(export, 1)
        assert host.run(struct.pack(">BB5xHB", 0x5E, 0, 255, 0), read=255).data[8:] == (0xCAFE).to_bytes(8, "big")
        assert host.write(0, bytes(BLOCK)).status == GOOD
        assert other.write(0, bytes(BLOCK)).status == CONFLICT
        assert host.run(struct.pack(">BBB1xBB", 0x1A, 8, 0xC8, 255, 0), read=255).data[4:] == b"\x88" + page[1:]
        assert host.run(struct.pack(">BB4xIBB", 0xA3, 0x05, 255, 0, 0), read=255).data[4:] == b"mine\0"
        host.sock.close()
        other.sock.close()
    volume = Volume([Server(server.host)], "disperse").mount()
    with volume.fopen(sidecar_path("/remembers"), "r+") as file:
        record = file.read(1 << 16)
        assert b"000000000000cafe" in record
        file.pwrite(b"d", record.index(b"cafe"))
    with Export(uri, "--iqn", IQN) as export:
        host = Host(export, ready=False)
        task = host.run(bytes(6))
        while sense_of(task)[0] == 0x6:  # what a new nexus has to hear first
            task = host.run(bytes(6))
        assert sense_of(task) == (NOT_READY, MANUAL_INTERVENTION_REQUIRED)
        assert sense_of(host.write(0, bytes(BLOCK))) == (NOT_READY, MANUAL_INTERVENTION_REQUIRED)
        assert "checksum does not fit" in export.log()
        host.sock.close()
