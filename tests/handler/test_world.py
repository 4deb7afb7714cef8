from __future__ import annotations

import asyncio
import errno
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from handler.world import flush, make_unit, reason_of
from tcmu_gluster.config.uri import parse_backing
from tcmu_gluster.errors import ConfigError
from tcmu_gluster.scsi.command import Command
from tcmu_gluster.scsi.limits import UnitOptions
from tests.doubles.backends import FaultyBackend, SlowBackend
from tests.doubles.host import memory
from tests.handler.daemon import make_world


def test_backings_are_opened_beside_the_loop(tmp_path: Path) -> None:
    async def scenario() -> None:
        threads: list[str] = []

        def open_(backing: Any, loop: Any, *, create_size_bytes: Any, read_only: Any, **_: Any) -> Any:
            threads.append(threading.current_thread().name)
            return memory(create_size_bytes, read_only=read_only)

        world = make_world(tmp_path, open=open_)
        backend = await world.open_backing(parse_backing("memory:x"), create_size_bytes=4096, read_only=True)
        assert backend.size_bytes == 4096 and backend.read_only
        assert threads != [threading.current_thread().name]
        world.threads.shutdown()

    asyncio.run(scenario())


def test_the_real_open_serves_memory(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = make_world(tmp_path)
        backend = await world.open_backing(parse_backing("memory:world?size=64K"))
        assert backend.size_bytes == 64 << 10
        backend.close()
        with pytest.raises(ConfigError):
            await world.open_backing(parse_backing("memory:world"))
        world.threads.shutdown()

    asyncio.run(scenario())


def test_a_flush_ends_when_storage_says_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = make_world(tmp_path)
        await flush(world, memory(4096))
        slow = SlowBackend(memory(4096))
        flushing = asyncio.ensure_future(flush(world, slow))
        await asyncio.sleep(0)
        assert not flushing.done()
        slow.run()
        await flushing
        faulty = FaultyBackend(memory(4096))
        faulty.fail("flush", errno.EIO)
        with pytest.raises(OSError):
            await flush(world, faulty)
        faulty.fail("flush", errno.EIO, later=True)
        flushing = asyncio.ensure_future(flush(world, faulty))
        await asyncio.sleep(0)
        faulty.run()
        with pytest.raises(OSError):
            await flushing
        world.threads.shutdown()

    asyncio.run(scenario())


def test_a_unit_is_who_its_serial_says_or_who_its_data_are() -> None:
    backend = memory(4096)
    chosen, derived = make_unit("x", backend, "8e9b7af7", UnitOptions()), make_unit("x", backend, "", UnitOptions())
    assert chosen.identity.serial == "8e9b7af7"
    assert derived.identity.serial == make_unit("y", backend, "", UnitOptions()).identity.serial != "8e9b7af7"


def test_what_nobody_foresaw_is_logged_with_the_disk_and_the_command(caplog: pytest.LogCaptureFixture) -> None:
    faulty = FaultyBackend(memory(4096))
    unit = make_unit("vm1", faulty, "", UnitOptions())
    faulty.fail("read", RuntimeError("a bug"))
    with caplog.at_level(logging.ERROR):
        response = unit.execute(Command(bytes([0x28]) + bytes(7) + b"\1\0", data_in_bytes=512))
    assert response is not None and response.status == 2
    assert "disk vm1" in caplog.text and "READ(10)" in caplog.text and "a bug" in caplog.text


def test_bytes_that_no_block_reaches_are_logged_when_a_disk_is_opened(caplog: pytest.LogCaptureFixture) -> None:
    make_unit("vm1", memory(8192), "", UnitOptions(block_size_bytes=4096))
    assert caplog.text == ""
    make_unit("vm1", memory(4096 + 512), "", UnitOptions(block_size_bytes=4096))
    assert "disk vm1" in caplog.text and "last 512 can't be reached" in caplog.text


def test_reasons_are_sentences() -> None:
    assert reason_of(OSError(errno.ENOENT, "No such file or directory", "/x")) == "/x: No such file or directory"
    assert reason_of(ConfigError("the volume is gone")) == "the volume is gone"
    assert reason_of(ValueError()) == "ValueError"
