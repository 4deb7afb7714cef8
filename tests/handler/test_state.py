from __future__ import annotations

import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handler.state import KEPT_BACKUPS, DiskFiles, StateFile, as_text, state_id_of, write_whole
from tcmu_gluster.errors import ConfigError

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 53), 1 << 53)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc_é", max_size=6), inner, max_size=3),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.text("abc_é", max_size=6), JSON, max_size=5)
ANY_TIME = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])


@ANY_TIME
@given(st.lists(OBJECTS, min_size=1, max_size=4))
def test_the_last_saved_state_is_loaded_with_every_key(tmp_path: Path, configs: list[dict[str, Any]]) -> None:
    state = StateFile(tmp_path / "saveconfig.json")
    for config in configs:
        state.save(config)
        assert state.load() == config


def test_there_is_no_state_before_the_first_save(tmp_path: Path) -> None:
    assert StateFile(tmp_path / "deep" / "saveconfig.json").load() == {}


def test_files_are_for_their_owner_alone_and_ten_backups_stay(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "saveconfig.json")
    for number in range(KEPT_BACKUPS + 5):
        state.save({"number": number})
    assert stat.S_IMODE(state.path.stat().st_mode) == 0o600
    backups = state.backups()
    assert len(backups) == KEPT_BACKUPS
    assert [json.loads(path.read_text())["number"] for path in backups] == list(range(4, 14))
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in backups)


@ANY_TIME
@given(OBJECTS, OBJECTS, st.data())
def test_a_torn_file_gives_the_newest_backup(
    tmp_path: Path, older: dict[str, Any], newer: dict[str, Any], data: st.DataObject
) -> None:
    state = StateFile(tmp_path / "saveconfig.json")
    state.save(older)
    state.save(newer)
    whole = state.path.read_bytes()
    torn = whole[: data.draw(st.integers(0, len(whole) - 3))]
    state.path.write_bytes(torn)
    assert state.load() == older


@pytest.mark.parametrize("spoiled", [b"", b"[]", b"\xff", b"{", b"[" * 100000])
def test_a_spoiled_file_without_a_backup_is_said_to_be_one(tmp_path: Path, spoiled: bytes) -> None:
    state = StateFile(tmp_path / "saveconfig.json")
    state.path.write_bytes(spoiled)
    with pytest.raises(ConfigError, match=r"JSON.*no backup.*put a good copy back"):
        state.load()


def test_a_save_that_fails_leaves_the_old_state_and_nothing_else(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "saveconfig.json")
    state.save({"old": 1})
    with pytest.raises(TypeError):
        state.save({"new": object()})
    blocked = StateFile(tmp_path / "saveconfig.json")
    (tmp_path / ".saveconfig.json.new").mkdir()  # in the way of the temporary file
    with pytest.raises(OSError) as refused:
        blocked.save({"new": 1})
    assert refused.value.filename == str(tmp_path / "saveconfig.json")
    assert state.load() == {"old": 1}
    assert state.backups() == []


def test_a_temporary_file_of_a_crash_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".x.json.new").write_text("half")
    write_whole(tmp_path / "x.json", "{}\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json"]


CHILD = """
import sys
from pathlib import Path
from handler.state import StateFile
state = StateFile(Path(sys.argv[1]))
number = state.load().get("number", 0)
print("ready", flush=True)
while True:
    number += 1
    state.save({"number": number, "filler": "x" * 20000})
"""


def test_a_kill_at_any_moment_leaves_a_whole_state(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "saveconfig.json")
    dice = random.Random(1)
    last = 0
    for _ in range(8):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(state.path)], stdout=subprocess.PIPE)
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        time.sleep(dice.uniform(0.001, 0.05))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        loaded = json.loads(state.path.read_text()) if state.path.exists() else {"number": 0}
        assert loaded["number"] >= last, "never back to something older"
        assert state.load() == (loaded if loaded["number"] else {})
        last = loaded["number"]
    assert last > 0


def test_disk_files_are_found_by_serial_and_by_id(tmp_path: Path) -> None:
    files = DiskFiles(tmp_path / "disks")
    serial = "8e9b7af7-8786-f09b-0fd5-8deb53848a26"
    assert files.read(serial) == {} and list(files.all()) == []
    files.write(serial, {"uri": "memory:x"})
    assert files.read(serial) == {"uri": "memory:x"}
    assert files.find_id(state_id_of(serial)) == {"uri": "memory:x"}
    assert files.find_id("0" * 16) == {}
    (tmp_path / "disks" / "broken.json").write_text("{")
    assert [found for found, _ in files.all()] == [serial]
    files.delete(serial)
    files.delete(serial)
    assert files.read(serial) == {}


@pytest.mark.parametrize("serial", ["", "../x", "a/b", ".x", "x" * 300, "a\n"])
def test_a_serial_never_becomes_a_path(tmp_path: Path, serial: str) -> None:
    with pytest.raises(ConfigError):
        DiskFiles(tmp_path).write(serial, {})


def test_ids_are_what_a_config_string_takes() -> None:
    assert state_id_of("8E9b7af7-8786-f09b-0fd5-8deb53848a26") == "8e9b7af78786f09b"
    assert state_id_of("xyz") == "00000000"


def test_text_is_as_rtslib_writes_it() -> None:
    assert as_text({"b": 1, "a": [1]}) == '{\n  "a": [\n    1\n  ],\n  "b": 1\n}\n'
    assert os.linesep == "\n"
