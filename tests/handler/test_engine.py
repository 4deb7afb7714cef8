from __future__ import annotations

import asyncio
import errno
import time
from pathlib import Path
from typing import Any

import pytest

from handler.configuration import Configuration
from handler.engine import Engine
from handler.iscsi_front import IscsiFront
from handler.targets import TargetDirectory
from tcmu_gluster.config.addresses import Portal, parse_access_rule
from tcmu_gluster.errors import ConfigError
from tests.doubles.backends import SlowBackend
from tests.doubles.host import memory
from tests.handler.daemon import make_world, until

IQN = "iqn.2013-10.com.redhat"
FREE = Portal("127.0.0.1", 0)


def make_engine(root: Path, **more: Any) -> Engine:
    world = make_world(root, **more)
    directory = TargetDirectory()
    return Engine(world, IscsiFront(world.loop, directory), directory)


async def end(engine: Engine) -> None:
    await engine.stop(0.05)
    engine._world.threads.shutdown()


def two_disks() -> Configuration:
    wanted = Configuration()
    for name in ("a", "b"):
        wanted.add_disk(name, f"gluster/memory/{name}", 64 << 10, f"serial-{name}")
    wanted.add_target(IQN, (FREE,))
    wanted.map_lun(IQN, "a", 0, None)
    wanted.map_lun(IQN, "b", 1, None)
    return wanted


def test_the_run_time_follows_the_configuration_both_ways(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = make_engine(tmp_path)
        before = engine.configuration
        wanted = two_disks()
        await engine.apply(wanted)
        target = engine.directory.targets[IQN]
        assert set(target.target.luns) == {0, 1} and len(target.listening) == 1
        assert engine.disks["a"].unit is not None and engine.disks["a"].unit.identity.serial == "serial-a"
        fewer = wanted.copy()
        fewer.unmap_lun(IQN, 0, None)
        fewer.remove_disk("a")
        await engine.apply(fewer)
        assert set(target.target.luns) == {1} and set(engine.disks) == {"b"}
        await engine.apply(wanted)
        assert set(target.target.luns) == {0, 1}
        await engine.apply(before)
        assert engine.directory.targets == {} and engine.disks == {}
        await end(engine)

    asyncio.run(scenario())


def test_a_disk_whose_volume_is_not_there_waits_and_comes_by_itself(tmp_path: Path) -> None:
    async def scenario() -> None:
        there = False

        def open_(backing: Any, loop: Any, **more: Any) -> Any:
            if backing.name == "a" and not there:
                raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
            return memory(64 << 10)

        engine = make_engine(tmp_path, open=open_)
        await engine.apply(two_disks(), strict=False)
        assert engine.disks["a"].state == "waiting: Transport endpoint is not connected"
        assert engine.disks["b"].state == "online"
        assert set(engine.directory.targets[IQN].target.luns) == {1}, "one broken disk never blocks the others"
        there = True
        await engine.retry()
        assert engine.disks["a"].state == "online"
        assert set(engine.directory.targets[IQN].target.luns) == {0, 1}
        await end(engine)

    asyncio.run(scenario())


def test_a_disk_nobody_understands_is_kept_and_said_to_be_broken(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = make_engine(tmp_path)
        wanted = two_disks()
        wanted.disk("a")["config"] = "gluster/nonsense"
        await engine.apply(wanted, strict=False)
        assert "volume@host/path" in engine.disks["a"].state
        assert engine.configuration.find_disk("a") is not None
        await engine.retry()
        await end(engine)

    asyncio.run(scenario())


def test_a_portal_that_is_taken_is_refused_or_at_the_start_waited_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine, other = make_engine(tmp_path), make_engine(tmp_path)
        taken = other.front.listen(FREE)
        wanted = two_disks()
        wanted.add_portal(IQN, taken)
        with pytest.raises(ConfigError, match="in use"):
            await engine.apply(wanted)
        assert engine._listening == {}, "what was opened on the way is closed again"
        await engine.apply(wanted, strict=False)
        assert list(engine.troubles) == [taken]
        other.front.stop_listening(taken)
        await engine.retry()
        assert engine.troubles == {} and len(engine.directory.targets[IQN].listening) == 2
        await end(engine)
        await end(other)

    asyncio.run(scenario())


def test_a_disk_is_closed_when_storage_has_let_go_of_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        slow = SlowBackend(memory(64 << 10))
        closed: list[int] = []
        slow.close = lambda: closed.append(len(slow.waiting))
        engine = make_engine(tmp_path, open=lambda *args, **more: slow)
        wanted = Configuration()
        wanted.add_disk("a", "gluster/memory/a", 64 << 10, "serial")
        await engine.apply(wanted)
        unit = engine.disks["a"].unit
        assert unit is not None
        from tcmu_gluster.scsi.command import Command

        ended: list[Any] = []
        read = Command(bytes([0x28]) + bytes(7) + b"\1\0", data_in_bytes=512, done=lambda *answer: ended.append(answer))
        assert unit.execute(read) is None
        closing = asyncio.ensure_future(engine.apply(Configuration()))
        await asyncio.sleep(0.03)
        assert closed == [] and not closing.done()
        slow.run()
        await closing
        assert closed == [0] and len(ended) == 1
        await end(engine)

    asyncio.run(scenario())


def test_a_failed_last_flush_is_not_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        backend = memory(64 << 10)
        backend.flush = lambda done: OSError(errno.EIO, "Input/output error")
        engine = make_engine(tmp_path, open=lambda *args, **more: backend)
        wanted = Configuration()
        wanted.add_disk("a", "gluster/memory/a", 64 << 10, "serial")
        await engine.apply(wanted)
        await end(engine)

    asyncio.run(scenario())
    assert "acknowledged writes may be lost" in caplog.text


def test_who_is_turned_away_is_remembered_once_and_bounded(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = make_engine(tmp_path)
        wanted = two_disks()
        wanted.allow(IQN, parse_access_rule("10.0.0.0/8"))
        await engine.apply(wanted)
        target = engine.directory.targets[IQN]
        for _ in range(3):
            assert not target.allows("iqn.2001-04.com.example", "192.0.2.1")
        assert target.allows("iqn.2001-04.com.example", "10.0.0.1")
        (denial,) = engine.denials()
        assert "admits 10.0.0.0/8" in denial.reason
        for number in range(300):
            target.allows(f"iqn.2001-04.com.example:{number}", "192.0.2.1")
        assert len(list(engine.denials())) == 100
        await end(engine)

    asyncio.run(scenario())


def test_five_hundred_disks_on_fifty_targets_are_there_in_seconds(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = make_engine(tmp_path)
        wanted = Configuration()
        for number in range(50):
            iqn = f"{IQN}:{number}"
            wanted.add_target(iqn, ())
            for disk in range(10):
                name = f"d{number}-{disk}"
                wanted.add_disk(name, f"gluster/memory/{name}", 64 << 10, f"serial-{name}")
                wanted.map_lun(iqn, name, disk, None)
        started = time.process_time()  # what it costs, however busy the machine is
        await engine.apply(wanted)
        assert time.process_time() - started < 20
        assert all(disk.unit is not None for disk in engine.disks.values()) and len(engine.disks) == 500
        await until(lambda: True)
        await end(engine)

    asyncio.run(scenario())


def test_a_disk_that_another_gateway_took_waits_its_sessions_end_and_it_comes_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = make_engine(tmp_path)
        await engine.apply(two_disks(), strict=False)
        disk = engine.disks["a"]
        assert disk.backend is not None
        await engine._lose(disk, disk.backend, "its lease was taken by host two (process 7)")
        assert disk.state == "waiting: its lease was taken by host two (process 7)"
        assert set(engine.directory.targets[IQN].target.luns) == {1}
        await engine.retry()
        assert disk.state == "online" and set(engine.directory.targets[IQN].target.luns) == {0, 1}
        await engine._lose(disk, memory(512), "an older backend's words")
        assert disk.state == "online"
        await end(engine)

    asyncio.run(scenario())


def test_a_disk_that_lio_serves_too_waits(tmp_path: Path) -> None:
    """A crash in the middle of a move leaves it with both; two fronts on one file would not know of each other."""

    async def scenario() -> None:
        engine = make_engine(tmp_path)
        engine.served_elsewhere = lambda disk: "LIO (backstore a)" if disk.serial == "serial-a" else None
        await engine.apply(two_disks())
        assert engine.disks["a"].state == "waiting: LIO (backstore a) serves it too; take it away from one of them"
        assert engine.disks["b"].state == "online" and set(engine.directory.targets[IQN].target.luns) == {1}
        engine.served_elsewhere = lambda disk: None
        await engine.retry()
        assert engine.disks["a"].state == "online"
        await end(engine)

    asyncio.run(scenario())


@pytest.mark.parametrize(("attribute", "record", "on"), [
    (1, {}, True), (0, {}, False), ("0", {}, False),
    (1, {"write_cache": False}, False), (0, {"write_cache": True}, True),
])  # fmt: skip
def test_the_write_cache_is_as_the_state_says_in_lios_word(
    tmp_path: Path, attribute: Any, record: dict[str, Any], on: bool
) -> None:
    async def scenario() -> None:
        engine = make_engine(tmp_path)
        engine._world.disk_files.write("serial-a", {"uri": "memory:a", **record})
        wanted = two_disks()
        wanted.disk("a")["attributes"]["emulate_write_cache"] = attribute
        await engine.apply(wanted)
        unit = engine.disks["a"].unit
        assert unit is not None and bool(unit.modes.value(0x08, "wce")) is on is not unit.durable_writes
        await end(engine)

    asyncio.run(scenario())
