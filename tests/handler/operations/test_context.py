from __future__ import annotations

import errno
from pathlib import Path

import pytest

from handler.operations.context import counted, now, unsaved
from tcmu_gluster.config.addresses import Portal
from tcmu_gluster.errors import ConfigError, OperationError
from tests.handler.daemon import Desk, run_desk

IQN = "iqn.2013-10.com.redhat"


def test_a_change_that_cannot_be_saved_is_taken_back(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("disk.create", name="a", uri="memory:a", size="64K")
        before = desk.saved()
        desk.state.path.with_name(f".{desk.state.path.name}.new").mkdir()
        wanted = desk.context.configuration.copy()
        wanted.add_target(IQN, (Portal("127.0.0.1", 0),))
        with pytest.raises(OperationError, match=f"nothing was changed: .*{desk.state.path}: .*then again"):
            await desk.context.change(wanted)
        assert "nothing was changed" in await desk.refused("save")
        assert desk.directory.targets == {} and desk.saved() == before
        assert desk.engine.disks["a"].state == "online"

    run_desk(tmp_path, scenario)


def test_a_change_that_cannot_be_applied_is_not_saved(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        wanted = desk.context.configuration.copy()
        wanted.add_target(IQN, (Portal("192.0.2.1", 3260),))  # TEST-NET-1: no machine has it
        with pytest.raises(ConfigError):
            await desk.context.change(wanted)
        assert desk.saved() == {} and desk.directory.targets == {}

    run_desk(tmp_path, scenario)


def test_already_so_is_an_answer_of_its_own() -> None:
    assert now("it is so", False) == {"now": "already so: it is so", "changed": False}
    assert now("it is so", more=1) == {"now": "it is so", "changed": True, "more": 1}


def test_a_full_disk_is_told_from_a_closed_one() -> None:
    assert "make room there" in str(unsaved(OSError(errno.ENOSPC, "No space left on device", "/x")))
    assert "let the daemon write there" in str(unsaved(OSError(errno.EROFS, "Read-only file system", "/x")))


def test_things_are_counted_as_people_do() -> None:
    assert (counted(1, "disk"), counted(0, "disk"), counted(2, "disk")) == ("1 disk", "0 disks", "2 disks")
