"""What an initiator made the disk remember, after a real process was killed by SIGKILL: APTPL, saved pages, names."""

from __future__ import annotations

import os
import signal
import struct
from pathlib import Path

import pytest

from tests.doubles.initiator import Task
from tests.system.export import Export
from tests.system.torture import CONFLICT, GOOD, Player

pytestmark = pytest.mark.conformance

SIZE, BLOCK = "8M", 512
IQN = "iqn.2026-11.test:power"
REGISTER, RESERVE, PREEMPT, IGNORE = 0, 1, 4, 6
APTPL = 1


class Host(Player):
    """One initiator that asks, and waits for the answer."""

    def __init__(self, export: Export, who: int = 0) -> None:
        super().__init__(who, export)
        self.get_ready()

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *exception: object) -> None:
        self.sock.close()

    def run(self, cdb: bytes, data_out: bytes = b"", read: int = 0) -> Task:
        task = self.initiator.scsi(cdb, data_out=data_out, read=read)
        while task.status is None:
            assert self.exchange(), "the target closed the connection"
        return task

    def out(self, action: int, key: int, new: int = 0, *, kind: int = 1, flags: int = 0) -> int | None:
        data = struct.pack(">QQ4xB3x", key, new, flags)
        return self.run(struct.pack(">BBB2xIB", 0x5F, action, kind, len(data), 0), data).status

    def keys(self) -> tuple[int, list[int]]:
        """(PRGENERATION, keys)."""
        data = self.run(struct.pack(">BB5xHB", 0x5E, 0, 255, 0), read=255).data
        return int.from_bytes(data[:4], "big"), [one for (one,) in struct.iter_unpack(">Q", data[8:])]

    def write(self) -> int | None:
        return self.run(struct.pack(">BBIBHB", 0x2A, 0, 0, 0, 1, 0), bytes(BLOCK)).status


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"file://{tmp_path}/disk"


def killed(export: Export) -> None:
    os.kill(export.pid, signal.SIGKILL)
    assert export.stop() == -signal.SIGKILL


@pytest.mark.parametrize("kind", [1, 3, 5, 6, 7, 8])
def test_with_aptpl_a_reservation_of_every_type_outlives_the_process(uri: str, kind: int) -> None:
    with Export(uri, "--size", SIZE, "--iqn", IQN) as export, Host(export) as holder, Host(export, 1) as member:
        assert holder.out(REGISTER, 0, 0xA, flags=APTPL) == GOOD
        assert member.out(REGISTER, 0, 0xB, flags=APTPL) == GOOD
        assert holder.out(RESERVE, 0xA, kind=kind) == GOOD
        killed(export)
    with Export(uri, "--iqn", IQN) as export, Host(export) as holder, Host(export, 1) as member:
        with Host(export, 2) as stranger:
            assert stranger.write() == CONFLICT
        assert holder.write() == GOOD
        assert member.write() == (CONFLICT if kind in (1, 3) else GOOD)
        assert holder.keys() == (0, [0xA, 0xB])  # PRGENERATION begins anew: SPC-4 6.15.2
        assert member.out(PREEMPT, 0xB, 0 if kind in (7, 8) else 0xA, kind=1) == GOOD
        killed(export)
    with Export(uri, "--iqn", IQN) as export, Host(export) as holder, Host(export, 1) as member:
        assert holder.write() == CONFLICT and member.write() == GOOD
        assert member.keys() == (0, [0xB])


def test_what_the_last_registration_said_of_aptpl_holds(uri: str) -> None:
    with Export(uri, "--size", SIZE, "--iqn", IQN) as export, Host(export) as holder, Host(export, 1) as member:
        assert holder.out(REGISTER, 0, 0xA, flags=APTPL) == GOOD
        assert holder.out(RESERVE, 0xA) == GOOD
        assert member.out(REGISTER, 0, 0xB) == GOOD  # without
        killed(export)
    with Export(uri, "--iqn", IQN) as export, Host(export, 2) as stranger:
        assert stranger.keys() == (0, []) and stranger.write() == GOOD


def test_a_kill_between_registrations_leaves_the_last_that_was_answered_or_the_one_under_way(uri: str) -> None:
    for number in range(4):
        with Export(uri, "--size", SIZE, "--iqn", IQN) as export, Host(export) as host:
            answered = 0
            for key in range(1, 40):
                if key == 10 * (number + 1):
                    data = struct.pack(">QQ4xB3x", 0, key, APTPL)
                    host.initiator.scsi(struct.pack(">BBB2xIB", 0x5F, IGNORE, 1, len(data), 0), data_out=data)
                    host.sock.sendall(host.initiator.take())
                    break
                assert host.out(IGNORE, 0, key, flags=APTPL) == GOOD
                answered = key
            killed(export)
        with Export(uri, "--iqn", IQN) as export, Host(export) as host:
            assert host.keys()[1] in ([answered], [answered + 1])
            assert host.out(IGNORE, 0, 0, flags=APTPL) == GOOD


def test_saved_pages_and_names_outlive_the_process_and_what_was_not_saved_does_not(uri: str) -> None:
    caching = bytes.fromhex("0812000000000000ffffffff") + bytes(8)  # WCE 0
    control = bytes.fromhex("0a0a06100000000000000000")  # D_SENSE 1, GLTSD 1
    with Export(uri, "--size", SIZE, "--iqn", IQN) as export, Host(export) as host:
        assert host.run(struct.pack(">BB2xBB", 0x15, 0x11, 24, 0), bytes(4) + caching).status == GOOD  # SP
        assert host.run(struct.pack(">BB2xBB", 0x15, 0x10, 16, 0), bytes(4) + control).status == GOOD
        assert host.run(struct.pack(">BB4xIBB", 0xA4, 0x06, 4, 0, 0), b"mine").status == GOOD
        killed(export)
    with Export(uri, "--iqn", IQN) as export, Host(export) as host:
        page = host.run(struct.pack(">BBB1xBB", 0x1A, 8, 0x08, 255, 0), read=255).data[4:]
        assert page[2] & 0x04 == 0
        page = host.run(struct.pack(">BBB1xBB", 0x1A, 8, 0x0A, 255, 0), read=255).data[4:]
        assert page[2] & 0x04 == 0
        assert host.run(struct.pack(">BB4xIBB", 0xA3, 0x05, 255, 0, 0), read=255).data[4:] == b"mine"
