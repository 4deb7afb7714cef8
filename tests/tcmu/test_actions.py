"""What each action writes, and where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tcmu_gluster.tcmu import actions
from tcmu_gluster.tcmu.actions import ResetAnswer


@pytest.fixture
def core(tmp_path: Path) -> Path:
    attributes = ("attrib/cmd_time_out", "attrib/nl_reply_supported")
    for name in ("action/block_dev", "action/reset_ring", "control", *attributes):
        path = tmp_path / "user_1" / "a" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("act", "file", "text"),
    [
        (lambda core: actions.block_device(1, "a", core), "action/block_dev", "1"),
        (lambda core: actions.unblock_device(1, "a", core), "action/block_dev", "0"),
        (lambda core: actions.reset_ring(1, "a", core=core), "action/reset_ring", "1"),
        (lambda core: actions.reset_ring(1, "a", ResetAnswer.NOT_READY, core), "action/reset_ring", "2"),
        (lambda core: actions.set_netlink_reply(1, "a", -1, core), "attrib/nl_reply_supported", "-1"),
    ],
)
def test_each_action_writes_one_value(core: Path, act: Callable[[Path], None], file: str, text: str) -> None:
    act(core)
    assert (core / "user_1" / "a" / file).read_text() == text


def test_a_kernel_without_the_file_is_enoent(core: Path) -> None:
    (core / "user_1" / "a" / "action" / "reset_ring").unlink()
    with pytest.raises(FileNotFoundError):
        actions.reset_ring(1, "a", core=core)
    assert not (core / "user_1" / "a" / "action" / "reset_ring").exists()


def test_waiters_are_released_between_block_and_unblock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, str]] = []
    monkeypatch.setattr(actions, "_write", lambda path, text: written.append((path.name, text)))
    actions.release_waiters(tmp_path, lambda: written.append(("they try again", "")))
    assert written == [("block_netlink", "1"), ("reset_netlink", "1"), ("they try again", ""), ("block_netlink", "0")]


def test_netlink_is_unblocked_even_if_the_reset_fails(tmp_path: Path) -> None:
    (tmp_path / "block_netlink").write_text("")
    with pytest.raises(FileNotFoundError):
        actions.release_waiters(tmp_path)
    assert (tmp_path / "block_netlink").read_text() == "0"
