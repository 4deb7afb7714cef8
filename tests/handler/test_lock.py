"""One daemon a state file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from handler.lock import lock_state
from tcmu_gluster.errors import ConfigError


def test_the_second_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    first = lock_state(tmp_path / "saveconfig.json")
    with pytest.raises(ConfigError, match="another daemon already keeps"):
        lock_state(tmp_path / "saveconfig.json")
    os.close(first)
    os.close(lock_state(tmp_path / "saveconfig.json"))


def test_other_state_files_are_others_business(tmp_path: Path) -> None:
    first, second = lock_state(tmp_path / "one.json"), lock_state(tmp_path / "two.json")
    os.close(first)
    os.close(second)


def test_a_place_that_can_not_be_written_to_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "one.json.lock").mkdir()
    with pytest.raises(ConfigError, match=r"can't write beside its state file .*--state-file"):
        lock_state(tmp_path / "one.json")


def test_a_folder_that_is_not_made_yet_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        lock_state(tmp_path / "none" / "one.json")
