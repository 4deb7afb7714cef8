from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from handler.lio_admin import answer
from handler.lio_saved import saved_file
from tests.doubles.fake_lio import FakeLio
from tests.handler.test_lio_admin import CREATE
from tests.handler.test_lio_targets import IQN, target, with_disk

SAVING = {**CREATE, "save": True}


def lio_at(root: Path) -> FakeLio:
    lio = FakeLio()
    lio.targets.saved = root / "target" / "saveconfig.json"
    return lio


def names(lio: FakeLio) -> list[str]:
    saved: dict[str, Any] = json.loads(lio.targets.saved.read_text())
    return [one["name"] for one in saved["storage_objects"]]


def test_debians_tools_have_a_directory_of_their_own(tmp_path: Path) -> None:
    debian, upstream = tmp_path / "rtslib-fb-target", tmp_path / "target"
    assert saved_file(debian, upstream) == upstream / "saveconfig.json"
    debian.mkdir()
    assert saved_file(debian, upstream) == debian / "saveconfig.json"


def test_a_disk_that_is_made_resized_or_deleted_is_so_after_a_reboot(tmp_path: Path) -> None:
    lio = lio_at(tmp_path)
    answer(SAVING, lio)
    (entry,) = json.loads(lio.targets.saved.read_text())["storage_objects"]
    assert (entry["plugin"], entry["name"], entry["config"], entry["size"], entry["wwn"]) == (
        "user", "vm1", CREATE["config"], 1 << 30, CREATE["serial"])  # fmt: skip
    answer({"do": "resize", "name": "vm1", "size_bytes": 2 << 30, "save": True}, lio)
    assert json.loads(lio.targets.saved.read_text())["storage_objects"][0]["size"] == 2 << 30
    answer({**SAVING, "name": "vm2"}, lio)
    answer({"do": "delete", "name": "vm1", "save": True}, lio)
    assert names(lio) == ["vm2"]
    lio.objects.clear()
    assert answer({"do": "delete", "name": "vm2", "save": True}, lio) == {"changed": False} and names(lio) == []


def test_what_is_not_to_be_saved_is_not(tmp_path: Path) -> None:
    lio = lio_at(tmp_path)
    answer(CREATE, lio)
    answer({"do": "resize", "name": "vm1", "size_bytes": 2 << 30}, lio)
    answer({"do": "delete", "name": "vm1"}, lio)
    assert not lio.targets.saved.exists()


@pytest.mark.parametrize("spoilt", ["[]", "{", '{"storage_objects": {}}', '{"targets": [1]}'])
def test_a_saved_file_that_is_spoilt_lets_nothing_change(tmp_path: Path, spoilt: str) -> None:
    lio = lio_at(tmp_path)
    lio.targets.saved.parent.mkdir()
    lio.targets.saved.write_text(spoilt)
    assert str(lio.targets.saved) in answer(SAVING, lio)["error"] and lio.objects == {}
    answer(CREATE, lio)
    assert "error" in answer({"do": "resize", "name": "vm1", "size_bytes": 2 << 30, "save": True}, lio)
    assert lio.objects["vm1"].size_bytes == 1 << 30
    assert "error" in answer({"do": "delete", "name": "vm1", "save": True}, lio) and "vm1" in lio.objects
    assert lio.targets.saved.read_text() == spoilt


def test_a_disk_that_lio_does_not_let_go_stays_in_the_saved_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lio = lio_at(tmp_path)
    answer(SAVING, lio)

    def refuse() -> None:
        assert names(lio) == [], "first the file: a crash in between brings nothing back whose file may be deleted"
        raise OSError(errno.EBUSY, "in use")

    monkeypatch.setattr(lio.objects["vm1"], "delete", refuse)
    assert answer({"do": "delete", "name": "vm1", "save": True}, lio)["errno"] == errno.EBUSY
    assert names(lio) == ["vm1"]


def test_lios_saved_file_says_what_is_so_of_these_and_keeps_the_rest(tmp_path: Path) -> None:
    lio = with_disk()
    lio.targets.saved = tmp_path / "target" / "saveconfig.json"
    request = {"do": "remember", "names": ["vm1"], "wwns": [IQN]}
    answer({"do": "take", "wwns": []}, lio)
    lio.targets.saved.parent.mkdir()
    theirs = {"storage_objects": [{"plugin": "fileio", "name": "vm1"}], "targets": [{"wwn": "iqn.2013-10.com.x"}],
              "fabric_modules": [], "unknown": 1}  # fmt: skip
    lio.targets.saved.write_text(json.dumps(theirs))
    answer({"do": "put", "targets": [target()]}, lio)
    assert answer(request, lio) == {"changed": True} and answer(request, lio) == {"changed": False}
    saved = json.loads(lio.targets.saved.read_text())
    assert [one["plugin"] for one in saved["storage_objects"]] == ["fileio", "user"] and saved["unknown"] == 1
    assert [one["wwn"] for one in saved["targets"]] == ["iqn.2013-10.com.x", IQN]
    assert lio.targets.saved.stat().st_mode & 0o777 == 0o600, "there are passwords in it"
    answer({"do": "take", "wwns": [IQN]}, lio)
    answer({"do": "delete", "name": "vm1"}, lio)
    assert answer(request, lio)["changed"]
    assert json.loads(lio.targets.saved.read_text()) == theirs
    lio.targets.saved.write_text("[]")
    assert "no JSON object" in answer(request, lio)["error"]


def test_where_nothing_was_saved_and_nothing_is_there_nothing_is_written(tmp_path: Path) -> None:
    lio = FakeLio()
    lio.targets.saved = tmp_path / "target" / "saveconfig.json"
    assert answer({"do": "remember", "names": ["vm1"], "wwns": [IQN]}, lio) == {"changed": False}
    assert not lio.targets.saved.exists()
