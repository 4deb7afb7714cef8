"""Devices that come, are adopted, change, fail and go, on a host without a kernel."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from handler.devices import Devices, is_running
from handler.world import World
from tcmu_gluster.backends.memory import MemoryBackend
from tcmu_gluster.config.uri import Backing
from tcmu_gluster.tcmu.device_events import Resync
from tcmu_gluster.tcmu.device_life import DeviceInput, DeviceState
from tests.doubles.backends import SlowBackend
from tests.doubles.lio_host import LioHost
from tests.handler.daemon import make_world, until

SIZE = 32 << 10
TEST_UNIT_READY = bytes(6)
READ = bytes([0x88]) + bytes(12) + b"\1" + bytes(2)
MEMORY = "gluster/memory/"


class Desk:
    """Devices on a fake host. fail: what the next opening of a backing raises."""

    def __init__(self, root: Path, *, kernel_waits: bool = False) -> None:
        self.host = LioHost(root, kernel_waits=kernel_waits)
        self.fail: list[Exception] = []
        self.slow: list[SlowBackend] = []
        self.want_slow = False
        self.created: list[int | None] = []
        self.world: World = make_world(root, self.host, open=self.open)
        self.beside = False
        self.devices = Devices(self.world, self.host.listen, lambda: self.beside)

    def open(self, backing: Backing, loop: Any, *, create_size_bytes: int | None, read_only: bool, **_: Any) -> Any:
        self.created.append(create_size_bytes)
        if self.fail:
            raise self.fail.pop(0)
        backend = MemoryBackend(backing.name, create_size_bytes or SIZE, read_only=read_only)
        if self.want_slow:
            self.slow.append(SlowBackend(backend))
            return self.slow[-1]
        return backend

    def state(self, name: str) -> DeviceState | None:
        device = self.devices.find(name)
        return device.state if device is not None else None

    async def serving(self, name: str) -> Any:
        await until(lambda: self.state(name) is DeviceState.SERVING, f"{name} serves, not {self.state(name)}")
        return self.devices.find(name)


def run(root: Path, scenario: Callable[[Desk], Awaitable[None]], **options: Any) -> None:
    async def whole() -> None:
        desk = Desk(root, **options)
        await desk.devices.start()
        try:
            await scenario(desk)
        finally:
            for backend in desk.slow:
                backend.run()
            await desk.devices.stop()
            desk.world.threads.shutdown()

    asyncio.run(whole())


def test_a_new_device_is_opened_served_and_answered(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        device = desk.host.add("new", MEMORY + "new")
        await desk.serving("new")
        assert desk.host.netlink is not None
        assert desk.host.netlink.replies == [("ADDED_DEVICE", "new", 0)]
        assert desk.host.log == ["open new", "map new"], "a fresh device is neither blocked nor reset"
        assert desk.created == [SIZE], "what LIO just made may be made on the volume too"
        ready = device.submit(TEST_UNIT_READY)
        await until(lambda: ready.answer is not None)
        assert ready.answer.status == 0

    run(tmp_path, scenario, kernel_waits=True)


def test_a_device_that_was_there_is_opened_blocked_reset_mapped_and_unblocked(tmp_path: Path) -> None:
    async def whole() -> None:
        desk = Desk(tmp_path)
        device = desk.host.add("old", MEMORY + "old", announce=False)
        left = device.kernel.submit(READ, data_in_bytes=512)
        await desk.devices.start()
        await desk.serving("old")
        assert desk.host.log == ["open old", "reset old, blocked 1", "map old"]
        assert device.read("action/block_dev") == "0"
        assert left.answer.status == 8, "the predecessor's command is tried again by its initiator"
        assert desk.created == [SIZE], "only memory is made anew; see below for files"
        ready = device.submit(TEST_UNIT_READY)
        await until(lambda: ready.answer is not None)
        assert ready.answer.status == 0
        await desk.devices.stop()

    asyncio.run(whole())


def test_the_file_of_an_adopted_device_is_never_made_anew(tmp_path: Path) -> None:
    async def whole() -> None:
        desk = Desk(tmp_path)
        desk.host.add("old", "gluster/file/nowhere/at/all", announce=False)
        await desk.devices.start()
        await until(lambda: desk.created)
        assert desk.created == [None]
        await desk.devices.stop()

    asyncio.run(whole())


def test_a_kernel_without_reset_gets_busy_for_every_leftover(tmp_path: Path) -> None:
    async def whole() -> None:
        desk = Desk(tmp_path)
        device = desk.host.add("old", MEMORY + "old", announce=False, can_reset=False)
        left = device.kernel.submit(READ, data_in_bytes=512)
        await desk.devices.start()
        served = await desk.serving("old")
        assert served.front.ring.in_order
        assert left.answer.status == 8
        await desk.devices.stop()

    asyncio.run(whole())


def test_foreign_devices_are_left_alone(tmp_path: Path) -> None:
    async def whole() -> None:
        desk = Desk(tmp_path)
        desk.host.add("theirs", "glfs/vol@host/x", announce=False)
        desk.host.add("alike", "glusterfs/x", minor=1, announce=False)
        await desk.devices.start()
        assert desk.devices.devices == {} and desk.host.log == []
        await desk.devices.stop()

    asyncio.run(whole())


def test_a_removed_device_is_let_go_before_the_answer(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        device = desk.host.add("gone", MEMORY + "gone")
        await desk.serving("gone")
        desk.host.remove("gone")
        assert desk.host.netlink is not None
        await until(lambda: len(desk.host.netlink.replies) == 2)
        assert desk.host.netlink.replies[1] == ("REMOVED_DEVICE", "gone", 0)
        assert device.mapped == 0 and desk.devices.devices == {}

    run(tmp_path, scenario)


def test_a_device_removed_with_commands_in_flight_waits_for_storage(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        desk.want_slow = True
        device = desk.host.add("busy", MEMORY + "busy")
        await desk.serving("busy")
        device.submit(READ, data_in_bytes=512)
        await until(lambda: desk.slow[0].waiting)
        desk.host.remove("busy")
        await until(lambda: desk.state("busy") is DeviceState.REMOVING)
        assert device.mapped == 1, "its memory may still be written to"
        desk.slow[0].run()
        await until(lambda: not desk.devices.devices)
        assert device.mapped == 0

    run(tmp_path, scenario)


def test_a_device_that_vanishes_unannounced_is_let_go(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        device = desk.host.add("lost", MEMORY + "lost")
        await desk.serving("lost")
        desk.host.remove("lost", announce=False)
        await until(lambda: not desk.devices.devices)
        assert device.mapped == 0

    run(tmp_path, scenario)


def test_a_name_can_be_used_again_at_once(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        for _ in range(3):
            desk.host.add("again", MEMORY + "again")
            await desk.serving("again")
            desk.host.remove("again")
        await until(lambda: not desk.devices.devices)

    run(tmp_path, scenario)


def test_a_backing_that_is_not_there_fails_the_creation_where_the_kernel_waits(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        desk.fail = [OSError(errno.ENOENT, "No such volume")]
        desk.host.add("bad", MEMORY + "bad")
        await until(lambda: desk.host.netlink.replies)
        assert desk.host.netlink is not None
        assert desk.host.netlink.replies == [("ADDED_DEVICE", "bad", errno.ENOENT)]

    run(tmp_path, scenario, kernel_waits=True)


def test_a_backing_that_is_not_there_yet_is_waited_for_where_nobody_waits(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        desk.fail = [OSError(errno.ENOTCONN, "Transport endpoint is not connected")]
        device = desk.host.add("later", MEMORY + "later")
        await until(lambda: desk.state("later") is DeviceState.FAILED)
        served = desk.devices.find("later")
        assert served is not None and "not connected" in served.reason
        await until(lambda: device.read("action/block_dev") == "1", "initiators hear BUSY meanwhile")
        await desk.serving("later")
        assert device.read("action/block_dev") == "0"

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("config", "size", "words"),
    [
        (MEMORY + "small", 2 * SIZE, "has only"),
        (MEMORY + "odd", SIZE + 1, "can't be served"),
        ("gluster/nonsense", SIZE, "volume@host/path"),
        ("gluster/id/0123456789abcdef", SIZE, "no disk file of ours"),
    ],
)
def test_what_cant_be_served_says_why(tmp_path: Path, config: str, size: int, words: str) -> None:
    async def whole() -> None:
        desk = Desk(tmp_path)
        desk.devices = Devices(
            make_world(tmp_path, desk.host, open=lambda *a, **k: MemoryBackend("fixed", SIZE)), desk.host.listen
        )
        desk.host.add("bad", config, size, announce=False)
        await desk.devices.start()
        await until(lambda: desk.state("bad") is DeviceState.FAILED)
        device = desk.devices.find("bad")
        assert device is not None and words in device.reason
        await desk.devices.stop()

    asyncio.run(whole())


def test_a_disk_file_of_ours_names_what_did_not_fit(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        desk.world.disk_files.write("01234567-89ab-cdef-0123-456789abcdef", {"uri": "memory:named", "read_only": True})
        desk.host.add("long", "gluster/id/0123456789abcdef", serial="01234567-89ab-cdef-0123-456789abcdef")
        device = await desk.serving("long")
        assert str(device.backing) == "memory:named" and device.unit.write_protected

    run(tmp_path, scenario)


def test_the_serial_that_was_set_after_enable_is_what_initiators_see(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        lio = desk.host.add("named", MEMORY + "named")
        device = await desk.serving("named")
        lio.write("wwn/vpd_unit_serial", "T10 VPD Unit Serial Number: 8e9b7af7\n")
        inquiry = lio.submit(bytes([0x12, 1, 0x80, 0, 64, 0]), data_in_bytes=64)
        await until(lambda: inquiry.answer is not None)
        assert b"8e9b7af7" in inquiry.answer.data_in and device.serial == "8e9b7af7"

    run(tmp_path, scenario)


@pytest.mark.parametrize("known", [False, True])
def test_a_change_is_news_only_to_who_may_have_known_the_disk(tmp_path: Path, known: bool) -> None:
    """rtslib sets attributes after enable and before the first LUN: no initiator shall hear of that."""

    async def scenario(desk: Desk) -> None:
        lio = desk.host.add("set", MEMORY + "set")
        lio.write("info", f"Status: {'' if known else 'DE'}ACTIVATED  Max Queue Depth: 0  SectorSize: 512\n")
        await desk.serving("set")
        desk.host.reconfigure("set", write_cache=False)
        await until(lambda: len(desk.host.netlink.replies) == 2)
        first = lio.submit(TEST_UNIT_READY)
        await until(lambda: first.answer is not None)
        changed = first.answer.sense[12:14] if first.answer.status == 2 else b""
        assert changed == (b"\x2a\x01" if known else b"")  # MODE PARAMETERS CHANGED, SPC-4 5.11
        desk.host.reconfigure("set", write_cache=True)
        await until(lambda: len(desk.host.netlink.replies) == 3)
        second = lio.submit(TEST_UNIT_READY)
        await until(lambda: second.answer is not None)
        assert second.answer.sense[12:14] == b"\x2a\x01"

    run(tmp_path, scenario, kernel_waits=True)


def test_a_process_that_still_holds_the_device_is_waited_for(tmp_path: Path) -> None:
    async def whole() -> None:
        desk = Desk(tmp_path)
        device = desk.host.add("held", MEMORY + "held", announce=False)
        device.opened = 1
        await desk.devices.start()
        await until(lambda: desk.state("held") is DeviceState.FAILED)
        device.opened = 0
        await desk.serving("held")
        await desk.devices.stop()

    asyncio.run(whole())


def test_a_dead_ring_is_reset_and_opened_again_once_storage_let_go(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        desk.want_slow = True
        lio = desk.host.add("dead", MEMORY + "dead")
        await desk.serving("dead")
        lio.submit(READ, data_in_bytes=512)
        await until(lambda: desk.slow[0].waiting)
        lio.kernel.memory[12:16] = (0xFFFFFFF8).to_bytes(4, "little")
        lio.event()
        await until(lambda: desk.state("dead") is DeviceState.DEAD)
        assert "reset dead, blocked 1" not in desk.host.log
        desk.slow[0].run()
        await desk.serving("dead")
        assert "reset dead, blocked 1" in desk.host.log
        desk.slow[1].run()

    run(tmp_path, scenario)


def test_a_grown_disk_is_checked_and_told(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        desk.host.add("grow", MEMORY + "grow", SIZE // 2)
        device = await desk.serving("grow")
        device.backend.size_bytes = device.backend._store.size_bytes = SIZE
        desk.host.reconfigure("grow", size_bytes=SIZE)
        assert desk.host.netlink is not None
        await until(lambda: len(desk.host.netlink.replies) == 2)
        assert desk.host.netlink.replies[1] == ("RECONFIG_DEVICE", "grow", 0)
        assert device.unit.blocks == SIZE // 512
        desk.host.reconfigure("grow", size_bytes=2 * SIZE)
        await until(lambda: len(desk.host.netlink.replies) == 3)
        assert desk.host.netlink.replies[2] == ("RECONFIG_DEVICE", "grow", errno.EINVAL)
        assert device.unit.blocks == SIZE // 512

    run(tmp_path, scenario, kernel_waits=True)


def test_other_reconfigurations(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        desk.host.add("set", MEMORY + "set")
        device = await desk.serving("set")
        replies = desk.host.netlink.replies
        desk.host.reconfigure("set", write_cache=False)
        await until(lambda: len(replies) == 2)
        assert device.unit.durable_writes
        desk.host.reconfigure("set", config=MEMORY + "set")
        await until(lambda: len(replies) == 3)
        desk.host.reconfigure("set", config=MEMORY + "other")
        await until(lambda: len(replies) == 4)
        desk.host.reconfigure("set")
        await until(lambda: len(replies) == 5)
        assert [error for _, _, error in replies] == [0, 0, 0, errno.EOPNOTSUPP, errno.EOPNOTSUPP]

    run(tmp_path, scenario, kernel_waits=True)


def test_lost_announcements_are_made_good_by_looking(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        desk.host.add("first", MEMORY + "first")
        await desk.serving("first")
        desk.host.add("silent", MEMORY + "silent", minor=1, announce=False)
        desk.host.remove("first", announce=False)
        desk.host.parameters.mkdir()
        for name in ("block_netlink", "reset_netlink"):
            (desk.host.parameters / name).write_text("0")
        desk.host.announce(Resync("the socket was full"))
        await desk.serving("silent")
        await until(lambda: desk.devices.find("first") is None)
        assert (desk.host.parameters / "reset_netlink").read_text() == "1", "an answer may be missing for what was lost"
        assert (desk.host.parameters / "block_netlink").read_text() == "0"
        assert desk.host.netlink.forgotten == 1

    run(tmp_path, scenario)


def test_waiters_of_a_dead_handler_are_released_at_the_start(tmp_path: Path) -> None:
    async def whole() -> None:
        desk = Desk(tmp_path)
        desk.host.parameters.mkdir()
        for name in ("block_netlink", "reset_netlink"):
            (desk.host.parameters / name).write_text("0")
        await desk.devices.start()
        assert (desk.host.parameters / "reset_netlink").read_text() == "1"
        assert (desk.host.parameters / "block_netlink").read_text() == "0"
        await desk.devices.stop()

    asyncio.run(whole())


def test_a_planned_stop_drains_and_leaves_the_device_blocked(tmp_path: Path) -> None:
    async def whole() -> None:
        desk = Desk(tmp_path)
        desk.want_slow = True
        await desk.devices.start()
        lio = desk.host.add("plan", MEMORY + "plan")
        await desk.serving("plan")
        taken = lio.submit(READ, data_in_bytes=512)
        await until(lambda: desk.slow[0].waiting)
        stopping = asyncio.ensure_future(desk.devices.stop())
        await until(lambda: desk.state("plan") is DeviceState.DRAINING)
        assert lio.read("action/block_dev") == "1"
        desk.slow[0].run()
        await stopping
        assert taken.answer.status == 0 and lio.mapped == 0
        assert lio.read("action/block_dev") == "1", "until the next daemon comes, initiators hear BUSY and wait"
        assert desk.host.netlink is not None and desk.host.netlink.features == [True, False]

    asyncio.run(whole())


def test_a_stop_does_not_wait_for_ever(tmp_path: Path) -> None:
    async def whole() -> None:
        desk = Desk(tmp_path)
        desk.want_slow = True
        await desk.devices.start()
        lio = desk.host.add("hang", MEMORY + "hang")
        await desk.serving("hang")
        lio.submit(READ, data_in_bytes=512)
        await until(lambda: desk.slow[0].waiting)
        await asyncio.wait_for(desk.devices.stop(), 5)
        assert lio.mapped == 1, "the kernel unmaps it when the process ends"

    asyncio.run(whole())


def test_beside_tcmu_runner_the_kernel_waits_for_nobody(tmp_path: Path) -> None:
    async def whole() -> None:
        desk = Desk(tmp_path)
        desk.beside = True
        await desk.devices.start()
        assert desk.host.netlink is not None and desk.host.netlink.features[-1] is False
        lio = desk.host.add("ours", MEMORY + "ours")
        await desk.serving("ours")
        assert lio.read("attrib/nl_reply_supported") == "-1"
        desk.host.netlink.features.clear()
        desk.devices.rescan()
        assert desk.host.netlink.features == [False], "it turns the waiting on when it starts"
        desk.beside = False
        desk.devices.rescan()
        desk.devices.rescan()
        assert desk.host.netlink.features == [False, True]
        desk.beside = True
        desk.host.netlink.features.clear()
        await desk.devices.stop()
        assert desk.host.netlink.features == [], "what it wants stays as it is"

    asyncio.run(whole())


def test_processes_are_known_by_their_whole_name(tmp_path: Path) -> None:
    for number, name in enumerate(("tcmu-runner-x", "bash")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "comm").write_text(name + "\n")
    assert is_running("bash", tmp_path) and not is_running("tcmu-runner", tmp_path)


def test_gone_wins_over_stop(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        desk.host.add("both", MEMORY + "both")
        device = await desk.serving("both")
        device.wish(DeviceInput.GONE)
        device.wish(DeviceInput.STOP)
        await until(lambda: not desk.devices.devices)
        assert device.state is DeviceState.REMOVED

    run(tmp_path, scenario)


def test_without_a_kernel_module_nothing_happens_until_it_comes(tmp_path: Path) -> None:
    async def whole() -> None:
        desk = Desk(tmp_path)
        there = False

        def listen() -> Any:
            if not there:
                raise OSError(errno.ENOENT, "no such family")
            return desk.host.listen()

        desk.devices = Devices(desk.world, listen, lambda: False)
        await desk.devices.start()
        there = True
        desk.host.add("late", MEMORY + "late", announce=False)
        desk.devices.rescan()
        await desk.serving("late")
        assert desk.host.netlink is not None
        await desk.devices.stop()

    asyncio.run(whole())


def test_a_change_that_comes_while_the_disk_is_being_opened_is_not_lost(tmp_path: Path) -> None:
    """rtslib sets attributes as soon as the device is there; the storage may take longer."""

    async def scenario(desk: Desk) -> None:
        gate = threading.Event()
        really_open = desk.world.open

        def open_late(*args: Any, **more: Any) -> Any:
            gate.wait(10)
            return really_open(*args, **more)

        desk.world.open = open_late
        device = desk.host.add("late", MEMORY + "late")
        device.write("attrib/emulate_write_cache", "0")
        await until(lambda: desk.state("late") is DeviceState.MAPPED)
        desk.host.reconfigure("late", write_cache=True)
        await asyncio.sleep(0)
        gate.set()
        served = await desk.serving("late")
        await until(lambda: ("RECONFIG_DEVICE", "late", 0) in desk.host.netlink.replies)
        assert served.unit.modes.value(0x08, "wce") == 1

    run(tmp_path, scenario)
