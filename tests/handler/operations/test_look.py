from __future__ import annotations

from pathlib import Path

import pytest

from handler.operations import look
from tests.handler.daemon import Desk, run_desk


def test_check_says_what_is_there_and_whose_it_is(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("disk.create", name="a", uri=f"file://{tmp_path}/a", size="1M")
        found = await desk.do("disk.check", uri=f"file://{tmp_path}/a")
        assert (found["exists"], found["size_bytes"], found["disk"]) == (True, 1 << 20, "a")
        missing = await desk.do("disk.check", uri=f"file://{tmp_path}/b")
        assert (missing["exists"], missing["disk"]) == (False, None) and "create makes it" in missing["found"]
        assert "Not a directory" in await desk.refused("disk.check", uri=f"file://{tmp_path}/a/b")

    run_desk(tmp_path, scenario)


def test_stats_count_since_the_disk_was_opened(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("disk.create", name="a", uri="memory:a", size="1M")
        unit = desk.engine.disks["a"].unit
        assert unit is not None
        unit.statistics.reads, unit.statistics.blocks_read = 2, 5
        counted = await desk.do("disk.stats", name="a")
        assert (counted["reads"], counted["read_bytes"], counted["writes"]) == (2, 5 * 512, 0)
        assert "there is no disk" in await desk.refused("disk.stats", name="b")

    run_desk(tmp_path, scenario)


def test_volumes_that_disks_use_and_that_gluster_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "gluster"
    command.write_text('#!/bin/sh\n[ "$2" = --remote-host=server ] && echo other\n')
    command.chmod(0o755)
    monkeypatch.setattr(look.shutil, "which", lambda name: str(command))

    async def scenario(desk: Desk) -> None:
        entry = {"name": "g", "plugin": "user", "config": "gluster/vol@server/g", "size": 4096, "wwn": "1"}
        wanted = desk.context.configuration.copy()
        wanted.root["storage_objects"].append(entry)
        desk.world.open = lambda *args, **more: (_ for _ in ()).throw(OSError(5, "away"))
        await desk.context.change(wanted)
        assert (await desk.do("volume.list", host="server"))["items"] == ["other", "vol"]
        assert (await desk.do("volume.list", host="elsewhere"))["items"] == []
        assert (await desk.do("volume.list", host="--version"))["items"] == []

    run_desk(tmp_path, scenario)


def test_files_of_a_volume_begin_with_what_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def list_folder(backing: object, folder: str) -> list[str]:
        asked.append((str(backing), folder))
        return ["/images/a", "/images/b/", "/images/other"]

    monkeypatch.setattr(look, "_list_folder", list_folder)

    async def scenario(desk: Desk) -> None:
        found = await desk.do("volume.files", host="server", volume="vol", path="images/")
        assert found["items"] == ["/images/a", "/images/b/", "/images/other"]
        assert (await desk.do("volume.files", host="server", volume="vol", path="/images/o"))["items"] == [
            "/images/other"
        ]
        assert {folder for _, folder in asked} == {"/images/", "/images"}
        monkeypatch.setattr(look, "_list_folder", lambda *_: (_ for _ in ()).throw(OSError(107, "no bricks")))
        assert "no bricks" in await desk.refused("volume.files", host="server", volume="vol")

    run_desk(tmp_path, scenario)
