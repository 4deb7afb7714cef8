"""What script/reliability storage tries, on a real Gluster: the storage breaks under load, and is mended again."""

from __future__ import annotations

import pytest

from script.trials.storage import TOGETHER, Trial, run_together
from tests.system.gluster_server import why_unavailable

_reason = why_unavailable()
pytestmark = [
    pytest.mark.gluster, pytest.mark.timeout(900), pytest.mark.skipif(bool(_reason), reason=_reason or "-"),
]  # fmt: skip


def check(trial: Trial) -> None:
    """Nothing was found, and there was something to look at."""
    print(*trial.lines, sep="\n")
    assert trial.problems == []
    assert all(load.book.checked and load.book.acknowledged for load in trial.loads.values())


def test_quorum_stop_full_and_hung_bricks_at_once_cost_no_acknowledged_write_and_pass() -> None:
    trial = run_together(list(TOGETHER), longer=1, rounds=1)
    check(trial)
    assert any("7/2707" in words for words in trial.loads["full"].counts), "DATA PROTECT, SPACE ALLOCATION FAILED"
    assert any("BUSY" in words for words in trial.loads["quorum"].counts)


def test_a_daemon_that_is_killed_has_kept_what_it_acknowledged() -> None:
    check(run_together(["killed"], longer=1, rounds=2))


@pytest.mark.full
def test_a_server_without_its_network_is_done_without_and_comes_back() -> None:
    check(run_together(["paused"], longer=1, rounds=1))


@pytest.mark.full
@pytest.mark.parametrize("names", [list(TOGETHER), ["paused"]], ids=["together", "paused"])
def test_faults_that_outlast_every_lease_pass_too(names: list[str]) -> None:
    check(run_together(names, longer=3, rounds=1))
