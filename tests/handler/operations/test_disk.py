from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from handler import backing_files
from tcmu_gluster.config.uri import Backing, parse_backing
from tcmu_gluster.errors import OperationError
from tcmu_gluster.scsi.persistence import UnitRecord
from tests.handler.daemon import Desk, run_desk, until

MIB = 1 << 20
IQN = "iqn.2013-10.com.redhat"


@pytest.mark.parametrize("front", ["engine", "lio"])
def test_a_disk_is_made_shown_and_deleted(tmp_path: Path, front: str) -> None:
    async def scenario(desk: Desk) -> None:
        file = tmp_path / "vm1"
        made = await desk.do("disk.create", name="vm1", uri=f"file://{file}", size="1M", front=front)
        assert made["changed"] and "1M" in made["now"]
        assert file.stat().st_size == MIB
        shown = await desk.do("disk.show", name="vm1")
        assert (shown["front"], shown["state"], shown["size_bytes"]) == (front, "online", MIB)
        assert shown["naa"].startswith("6001405") and shown["serial"]
        assert desk.world.disk_files.read(shown["serial"])["uri"] == f"file://{file}"
        listed = (await desk.do("disk.list"))["items"]
        assert [one["name"] for one in listed] == ["vm1"]
        again = await desk.do("disk.create", name="vm1", uri=f"file://{file}", size="1M", front=front)
        assert not again["changed"] and again["now"].startswith("already so")
        gone = await desk.do("disk.delete", name="vm1")
        assert gone["changed"] and not file.exists()
        assert desk.world.disk_files.read(shown["serial"]) == {}
        assert not (await desk.do("disk.delete", name="vm1"))["changed"]
        assert desk.lio.objects == {} and (await desk.do("disk.list"))["items"] == []

    run_desk(tmp_path, scenario)


@pytest.mark.parametrize("front", ["engine", "lio"])
def test_bytes_behind_the_last_whole_block_are_said(tmp_path: Path, front: str) -> None:
    async def scenario(desk: Desk) -> None:
        (tmp_path / "odd").write_bytes(bytes(MIB + 188))
        made = await desk.do("disk.create", name="odd", uri=f"file://{tmp_path}/odd", front=front)
        assert ["the last 188 can't be reached" in one for one in made["warnings"]] == [True]
        even = await desk.do("disk.create", name="even", uri=f"file://{tmp_path}/even", size="1M", front=front)
        assert even["warnings"] == []

    run_desk(tmp_path, scenario)


def test_a_disk_that_can_not_be_remembered_is_not_made(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        (desk.world.settings.state_file.parent / "disks").write_text("in the way")
        said = await desk.refused("disk.create", name="vm1", uri=f"file://{tmp_path}/vm1", size="1M")
        assert said.startswith("nothing was changed: the state can't be saved (")
        assert not (tmp_path / "vm1").exists()

    run_desk(tmp_path, scenario)


def test_a_folder_that_may_not_be_looked_into_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(backing: Backing) -> int:  # root, who may run this, may look everywhere
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), backing.path)

    monkeypatch.setattr(backing_files, "size_of", closed)

    async def scenario(desk: Desk) -> None:
        said = await desk.refused("disk.create", name="vm1", uri=f"file://{tmp_path}/vm1", size="1M")
        assert "permission denied; see the owner and mode" in said

    run_desk(tmp_path, scenario)


def test_memory_has_one_size(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        said = await desk.refused("disk.create", name="m", uri="memory:m?size=1M", size="2M")
        assert "memory:m?size=1M has 1M, and --size says 2M" in said
        await desk.do("disk.create", name="m", uri="memory:m?size=1M", size="1M")
        assert (await desk.do("disk.show", name="m"))["size_bytes"] == MIB

    run_desk(tmp_path, scenario)


def test_lios_saved_configuration_follows_what_is_done_here(tmp_path: Path) -> None:
    """A reboot brings back what is there, without `targetcli saveconfig`; and what could not be made is not saved."""

    async def scenario(desk: Desk) -> None:
        def saved() -> dict[str, int]:
            entries = json.loads(desk.lio.targets.saved.read_text())["storage_objects"]
            return {one["name"]: one["size"] for one in entries}

        uri = f"file://{tmp_path}/vm1"
        await desk.do("disk.create", name="vm1", uri=uri, size="1M", front="lio")
        assert saved() == {"vm1": MIB}
        await desk.do("disk.resize", name="vm1", size="2M")
        assert saved() == {"vm1": 2 * MIB}
        await desk.do("disk.delete", name="vm1", keep_file=True)
        assert saved() == {}
        desk.lio.targets.saved.write_text("torn")
        said = await desk.refused("disk.create", name="vm2", uri=f"file://{tmp_path}/vm2", size="1M", front="lio")
        assert str(desk.lio.targets.saved) in said
        assert desk.lio.objects == {} and not (tmp_path / "vm2").exists()

    run_desk(tmp_path, scenario)


@pytest.mark.parametrize("front", ["engine", "lio"])
def test_a_damaged_record_beside_a_disk_is_a_sentence_wherever_one_looks(
    tmp_path: Path, front: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(desk: Desk) -> None:
        (tmp_path / "vm1").write_bytes(bytes(MIB))
        (tmp_path / ".vm1.tcmu-gluster").write_text("{}")
        await desk.do("disk.create", name="vm1", uri=f"file://{tmp_path}/vm1", front=front)
        trouble = (await desk.do("disk.show", name="vm1"))["trouble"]
        assert "damaged" in trouble and "disk reset-record vm1 --confirm" in trouble and ".vm1.tcmu-gluster" in trouble
        assert (await desk.do("status"))["troubles"] == [f"disk vm1: {trouble}"]
        assert f"disk vm1 can't be used: {trouble}" in caplog.text
        assert (tmp_path / ".vm1.tcmu-gluster").read_text() == "{}"  # and it is left as it was

    run_desk(tmp_path, scenario)


@pytest.mark.parametrize("front", ["engine", "lio"])
def test_a_damaged_record_is_given_up_by_who_says_so_and_for_good(tmp_path: Path, front: str) -> None:
    async def scenario(desk: Desk) -> None:
        (tmp_path / "vm1").write_bytes(bytes(MIB))
        record = tmp_path / ".vm1.tcmu-gluster"
        record.write_text("{}")
        await desk.do("disk.create", name="vm1", uri=f"file://{tmp_path}/vm1", front=front)
        assert "--confirm" in await desk.refused("disk.reset-record", name="vm1")
        assert record.read_text() == "{}"
        assert (await desk.do("disk.reset-record", name="vm1", confirm=True))["changed"]
        assert "trouble" not in await desk.do("disk.show", name="vm1")
        assert UnitRecord.decode(record.read_bytes()).sections == {}
        assert not (await desk.do("disk.reset-record", name="vm1"))["changed"]

    run_desk(tmp_path, scenario)


def test_what_can_not_be_stored_is_not_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(desk: Desk) -> None:
        (tmp_path / "vm1").write_bytes(bytes(MIB))
        (tmp_path / ".vm1.tcmu-gluster").write_text("{}")
        await desk.do("disk.create", name="vm1", uri=f"file://{tmp_path}/vm1")
        backend = desk.engine.disks["vm1"].backend

        def full(data: bytes, done: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(backend, "store_sidecar", full)
        assert "No space left" in await desk.refused("disk.reset-record", name="vm1", confirm=True)
        assert "damaged" in (await desk.do("disk.show", name="vm1"))["trouble"]

    run_desk(tmp_path, scenario)


@pytest.mark.parametrize("front", ["engine", "lio"])
def test_memory_disks_work_on_both_fronts(tmp_path: Path, front: str) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("disk.create", name="m", uri="memory:m?size=64K", front=front)
        await desk.do("disk.create", name="n", uri="memory:n", size="32K", front=front)
        listed = {one["name"]: one["size_bytes"] for one in (await desk.do("disk.list"))["items"]}
        assert listed == {"m": 64 << 10, "n": 32 << 10}
        assert "--size" in await desk.refused("disk.create", name="o", uri="memory:o", front=front)

    run_desk(tmp_path, scenario)


@pytest.mark.parametrize("front", ["engine", "lio"])
def test_an_existing_file_keeps_its_size_and_its_bytes(tmp_path: Path, front: str) -> None:
    async def scenario(desk: Desk) -> None:
        file = tmp_path / "old"
        file.write_bytes(b"old" + bytes(64 * 1024 - 3))
        assert "leave --size out" in await desk.refused(
            "disk.create", name="old", uri=f"file://{file}", size="1M", front=front
        )
        await desk.do("disk.create", name="old", uri=f"file://{file}", front=front)
        await desk.do("disk.delete", name="old", keep_file=True)
        assert file.read_bytes().startswith(b"old")

    run_desk(tmp_path, scenario)


def test_what_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        file = tmp_path / "new"
        uri = f"file://{file}"
        assert "does not exist" in await desk.refused("disk.create", name="x", uri=uri)
        assert "whole number of blocks" in await desk.refused("disk.create", name="x", uri=uri, size="1000")
        assert "read-only" in await desk.refused("disk.create", name="x", uri=uri, size="1M", read_only=True)
        desk.lio.faults = {"create": errno.EINVAL}
        assert "LIO refused" in await desk.refused("disk.create", name="x", uri=uri, size="1M", front="lio")
        desk.state.path.mkdir()  # the state can't be saved
        assert "nothing was changed" in await desk.refused("disk.create", name="x", uri=uri, size="1M")
        desk.state.path.rmdir()
        assert not file.exists() and list(desk.world.disk_files.all()) == []
        assert (await desk.do("disk.list"))["items"] == [] and desk.engine.disks == {}
        await desk.do("disk.create", name="x", uri=uri, size="1M")

    run_desk(tmp_path, scenario)


def test_a_create_that_fails_leaves_the_file_about_a_disk_that_was_cleared(tmp_path: Path) -> None:
    """A saved configuration that is restored later needs it: long URIs, block sizes and caches stand there alone."""

    async def scenario(desk: Desk) -> None:
        uri = f"file://{tmp_path}/f"
        await desk.do("disk.create", name="a", uri=uri, size="1M", block_size="4096")
        await desk.do("clear", confirm=True)
        kept = list(desk.world.disk_files.all())
        assert len(kept) == 1
        desk.state.path.unlink()
        desk.state.path.mkdir()
        await desk.refused("disk.create", name="b", uri=uri)
        assert list(desk.world.disk_files.all()) == kept

    run_desk(tmp_path, scenario)


def test_one_file_is_one_disk(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("disk.create", name="a", uri=f"file://{tmp_path}/f", size="1M")
        assert "is disk a already" in await desk.refused("disk.create", name="b", uri=f"file://{tmp_path}/f")
        assert "choose another name" in await desk.refused("disk.create", name="a", uri="memory:x", size="1M")
        assert (tmp_path / "f").exists()

    run_desk(tmp_path, scenario)


def test_a_device_that_cannot_be_served_is_taken_away_again(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        real = desk.world.open
        opened: list[Any] = []

        def open_(backing: Any, loop: Any, **more: Any) -> Any:
            opened.append(backing)
            if len(opened) > 1:  # the first is the operation's own look, the second the device's
                raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
            return real(backing, loop, **more)

        desk.world.open = open_
        said = await desk.refused("disk.create", name="x", uri=f"file://{tmp_path}/x", size="1M", front="lio")
        assert "taken away again" in said and "not connected" in said
        assert desk.lio.objects == {} and not (tmp_path / "x").exists()
        await until(lambda: not desk.devices.devices)

    run_desk(tmp_path, scenario)


def test_without_lio_the_way_out_is_named(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        assert "--front engine" in await desk.refused("disk.create", name="x", uri="memory:x", size="1M", front="lio")

    run_desk(tmp_path, scenario, lio=False)


@pytest.mark.parametrize("front", ["engine", "lio"])
def test_resizing(tmp_path: Path, front: str) -> None:
    async def scenario(desk: Desk) -> None:
        file = tmp_path / "r"
        await desk.do("disk.create", name="r", uri=f"file://{file}", size="1M", front=front)
        assert not (await desk.do("disk.resize", name="r", size="1M"))["changed"]
        grown = await desk.do("disk.resize", name="r", size="2M")
        assert grown["disk"]["size_bytes"] == 2 * MIB == file.stat().st_size
        unit = desk.engine.disks["r"].unit if front == "engine" else desk.devices.find("r").unit
        assert unit is not None and unit.blocks == 2 * MIB // 512
        said = await desk.refused("disk.resize", name="r", size="512K")
        assert "--force" in said and file.stat().st_size == 2 * MIB
        assert "whole number" in await desk.refused("disk.resize", name="r", size="1025")
        shrunk = await desk.do("disk.resize", name="r", size="512K", force=True)
        assert shrunk["disk"]["size_bytes"] == MIB // 2 == file.stat().st_size
        assert unit.blocks == MIB // 2 // 512
        if front == "engine":
            assert desk.saved()["storage_objects"][0]["size"] == MIB // 2

    run_desk(tmp_path, scenario)


def test_full_allocation_reports_progress(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("disk.create", name="full", uri=f"file://{tmp_path}/full", size="1M", prealloc="full")
        assert (tmp_path / "full").stat().st_blocks * 512 >= MIB
        assert desk.progress == [{"what": "allocating", "done_bytes": MIB, "total_bytes": MIB}]

    run_desk(tmp_path, scenario)


def test_a_disk_that_is_shown_cannot_go(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("disk.create", name="a", uri="memory:a", size="1M")
        await desk.do("target.create", target=IQN)
        await desk.do("lun.map", target=IQN, disk="a")
        assert "lun unmap" in await desk.refused("disk.delete", name="a")
        assert (await desk.do("disk.show", name="a"))["shown_by"] == [f"{IQN} LUN 0"]
        await desk.do("disk.create", name="b", uri="memory:b", size="1M", front="lio")
        desk.lio.objects["b"].exported = True
        assert "still shows" in await desk.refused("disk.delete", name="b")
        assert "no disk 'c'" in await desk.refused("disk.show", name="c")

    run_desk(tmp_path, scenario)


def test_two_clients_at_once_are_served_one_after_the_other(tmp_path: Path) -> None:
    import asyncio

    async def scenario(desk: Desk) -> None:
        results = await asyncio.gather(
            *(desk.do("disk.create", name="same", uri="memory:same", size="1M") for _ in range(4)),
            return_exceptions=True,
        )
        assert sorted(result["changed"] for result in results if isinstance(result, dict)) == [
            False,
            False,
            False,
            True,
        ]
        assert not any(isinstance(result, OperationError) for result in results)

    run_desk(tmp_path, scenario)


def test_a_uri_too_long_for_lio_stands_in_our_own_file(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        deep = tmp_path / ("d" * 200)
        deep.mkdir()
        uri = str(parse_backing(f"file://{deep}/{'f' * 60}"))
        await desk.do("disk.create", name="long", uri=uri, size="64K", front="lio")
        assert desk.lio.objects["long"].config.startswith("gluster/id/")
        shown = await desk.do("disk.show", name="long")
        assert shown["state"] == "online" and shown["uri"] == uri

    run_desk(tmp_path, scenario)


def test_a_disk_of_large_blocks_is_resized_in_large_blocks(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        uri = f"file://{tmp_path}/disk"
        await desk.do("disk.create", name="b", uri=uri, size="64K", block_size="4096")
        assert "blocks of 4096 bytes" in await desk.refused("disk.resize", name="b", size="65K", force=True)
        assert "blocks of 4096 bytes" in await desk.refused("disk.resize", name="b", size="512", force=True)

    run_desk(tmp_path, scenario)


def test_a_size_that_the_file_system_has_not_is_one_sentence(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        uri = f"file://{tmp_path}/disk"
        said = await desk.refused("disk.create", name="h", uri=uri, size="7.5E")
        assert "can't be created with" in said and "File too large" in said
        await desk.do("disk.create", name="h", uri=uri, size="64K")
        said = await desk.refused("disk.resize", name="h", size="7.5E")
        assert said.startswith(f"{uri} can't have ") and said.endswith("File too large")

    run_desk(tmp_path, scenario)
