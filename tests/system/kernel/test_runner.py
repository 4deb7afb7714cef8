"""The guest's runner, tried on this machine: what becomes of a scenario that passes, fails or does not end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .guest import runner
from .guest.shell import PATIENCE


def passes() -> dict[str, int]:
    print("a line")
    return {"writes": 3}


def fails() -> None:
    raise AssertionError("a lost block")


def hangs() -> None:
    time.sleep(60)


@pytest.fixture(autouse=True)
def quiet_kernel(monkeypatch: pytest.MonkeyPatch) -> list[dict[int, str]]:
    """What the kernel "says" before and after; no tidying up on this machine."""
    messages: list[dict[int, str]] = [{1: "old"}, {1: "old"}]
    monkeypatch.setattr(runner, "_kernel_messages", lambda: messages.pop(0))
    monkeypatch.setattr(runner, "_tidy_up", lambda: None)
    return messages


def run(function: Callable[[], Any], folder: Path, limit: float = 20) -> dict[str, Any]:
    return runner.run_one(runner.Scenario("it", "job", limit, function), folder)


def test_a_passing_scenario_gives_log_and_figures(tmp_path: Path) -> None:
    result = run(passes, tmp_path)
    assert (result["outcome"], result["figures"], result["log"]) == ("passed", {"writes": 3}, "a line\n")


def test_a_failing_scenario_tells_why(tmp_path: Path) -> None:
    result = run(fails, tmp_path)
    assert result["outcome"] == "failed"
    assert "a lost block" in result["log"]


def test_a_hanging_scenario_ends_at_its_limit(tmp_path: Path) -> None:
    result = run(hangs, tmp_path, limit=0.2)
    assert result["outcome"] == "timeout"
    assert f"not done after {0.2 * PATIENCE} s" in result["log"]


def test_a_kernel_warning_fails_a_scenario_that_passed(tmp_path: Path, quiet_kernel: list[dict[int, str]]) -> None:
    quiet_kernel[1] = {1: "old", 2: "WARNING: CPU: 0 PID: 7 at drivers/target/target_core_user.c:1"}
    result = run(passes, tmp_path)
    assert result["outcome"] == "failed"
    assert "target_core_user.c:1" in result["log"]


def test_an_old_kernel_warning_does_not(tmp_path: Path, quiet_kernel: list[dict[int, str]]) -> None:
    quiet_kernel[:] = [{1: "WARNING: old"}, {1: "WARNING: old"}]
    assert run(passes, tmp_path)["outcome"] == "passed"


def test_every_scenario_says_what_it_proves() -> None:
    table = runner.load()
    assert len(table) > 10
    assert [entry.name for entry in table.values() if not (entry.function.__doc__ or "").strip()] == []


def test_a_reboot_comes_before_the_next_scenario_which_is_not_the_first_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []

    def one(entry: runner.Scenario, folder: Path) -> dict[str, Any]:
        ran.append(entry.name)
        if entry.name == "asks":
            (folder / "reboot").touch()
        return {"name": entry.name}

    names = ["asks", "after", "last"]
    monkeypatch.setattr(runner, "run_one", one)
    monkeypatch.setattr(runner, "load", lambda: {name: runner.Scenario(name, "job", 1, passes) for name in names})
    monkeypatch.setattr("sys.argv", ["runner", str(tmp_path)])
    (tmp_path / "job.json").write_text(json.dumps({"scenarios": names}))
    runner.main()
    assert ran == ["asks"]
    (tmp_path / "reboot").unlink()  # as init.sh does
    runner.main()
    assert ran == names
