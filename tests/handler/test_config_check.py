from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from handler import config_check
from handler.config_check import check_config, look_at, named_by
from tcmu_gluster.config.uri import parse_backing
from tcmu_gluster.errors import ConfigError, OperationError
from tests.handler.daemon import Desk, run_desk


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ("", "not one of gluster's"),
        ("glusterx/vol@host/f", "not one of gluster's"),
        ("gluster/", "empty"),
        ("gluster/vol/host", "volume@host/path"),
        ("gluster/vol@host", "name a file"),
        ("gluster/vol@/f", "no server"),
        ("gluster/vol@host/a b", "percent-encoded"),
        ("gluster/id/0123456789abcdef", "no disk of this host"),
        ("gluster/" + "x" * 300, "255"),
        ("gluster/file/nowhere\0", "percent-encoded"),
        ("gluster/\udcff@host/f", ""),
    ],
)
def test_bad_strings_are_refused_with_one_sentence(tmp_path: Path, config: str, word: str) -> None:
    async def scenario(desk: Desk) -> None:
        ok, sentence = await check_config(desk.world, config)
        assert not ok and word in sentence and "\n" not in sentence and sentence

    run_desk(tmp_path, scenario)


def test_a_file_that_is_there_one_that_is_not_and_one_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(bytes(4096))

    async def scenario(desk: Desk) -> None:
        assert await check_config(desk.world, f"gluster/file{tmp_path}/there") == (True, "")
        assert await check_config(desk.world, f"gluster/file{tmp_path}/new") == (True, "")
        assert await check_config(desk.world, "gluster/memory/x") == (True, "")
        ok, sentence = await check_config(desk.world, f"gluster/file{tmp_path}/there/below")
        assert not ok and "Not a directory" in sentence
        facts = await look_at(desk.world, parse_backing(f"file://{tmp_path}/there"))
        assert (facts["exists"], facts["size_bytes"]) == (True, 4096)

    run_desk(tmp_path, scenario)


def test_an_id_is_found_in_our_state(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        desk.world.disk_files.write("0123456789abcdef01", {"uri": "memory:m"})
        assert str(named_by(desk.world, "gluster/id/0123456789abcdef")) == "memory:m"
        with pytest.raises(ConfigError):
            named_by(desk.world, "gluster/id/fedcba9876543210")

    run_desk(tmp_path, scenario)


def test_a_volume_that_does_not_answer_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()
    monkeypatch.setattr(config_check, "PATIENCE_SECONDS", 0.02)
    monkeypatch.setattr(config_check.backing_files, "size_of", lambda backing: let_go.wait(20))

    async def scenario(desk: Desk) -> None:
        try:
            with pytest.raises(OperationError, match="no answer within"):
                await asyncio.wait_for(look_at(desk.world, parse_backing("gluster://h/v/f")), 10)
        finally:
            let_go.set()

    run_desk(tmp_path, scenario)
