"""From root to nobody, without a way back."""

from __future__ import annotations

import os
import pwd
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from handler.privileges import become, find_user, hand_over, paths_of
from tcmu_gluster.config.settings import Settings
from tcmu_gluster.errors import ConfigError

NOBODY = pwd.getpwnam("nobody")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def in_child(work: Callable[[], None]) -> None:
    """Fails if work fails, in a process of its own."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(("name", "words"), [("no-such-user", "useradd"), ("root", "is root")])
def test_a_user_that_will_not_do_is_refused_with_a_sentence(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        find_user(name)


@as_root
def test_there_is_no_way_back() -> None:
    def work() -> None:
        become(find_user("nobody"))
        assert os.getresuid() == (NOBODY.pw_uid,) * 3 and os.getresgid() == (NOBODY.pw_gid,) * 3
        assert 0 not in os.getgroups()
        for back in (os.setuid, os.seteuid, os.setgid):
            with pytest.raises(PermissionError):
                back(0)
        become(find_user("nobody"))  # already so

    in_child(work)


@as_root
def test_only_root_can_become_somebody_else() -> None:
    def work() -> None:
        become(NOBODY)
        other = next(user for user in pwd.getpwall() if user.pw_uid not in (0, NOBODY.pw_uid))
        with pytest.raises(ConfigError, match="only root"):
            become(other)

    in_child(work)


def owned(path: Path) -> bool:
    return path.lstat().st_uid == NOBODY.pw_uid


@as_root
def test_what_the_daemon_writes_becomes_theirs_and_nothing_else(tmp_path: Path) -> None:
    mine, outside = tmp_path / "tcmu-gluster", tmp_path / "outside"
    (mine / "disks").mkdir(parents=True)
    outside.write_text("not theirs")
    for name in ("saveconfig.json", "disks/a.json"):
        (mine / name).write_text("{}")
    (mine / "disks" / "link").symlink_to(outside)
    hand_over([mine, tmp_path / "missing"], NOBODY)
    assert owned(mine) and owned(mine / "saveconfig.json") and owned(mine / "disks" / "a.json")
    assert not owned(outside) and not owned(mine / "disks" / "link")


@as_root
def test_a_directory_that_is_theirs_already_is_not_looked_into(tmp_path: Path) -> None:
    mine = tmp_path / "tcmu-gluster"
    mine.mkdir()
    os.chown(mine, NOBODY.pw_uid, NOBODY.pw_gid)
    (tmp_path / "shadow").write_text("not theirs")
    os.link(tmp_path / "shadow", mine / "second-name")
    hand_over([mine], NOBODY)
    assert not owned(tmp_path / "shadow")


def test_a_directory_that_is_not_named_for_us_stays_whose_it_is(tmp_path: Path) -> None:
    elsewhere = Settings(state_file=tmp_path / "etc" / "s.json", control_socket=tmp_path / "run" / "c.sock")
    assert tmp_path / "etc" not in paths_of(elsewhere) and tmp_path / "run" not in paths_of(elsewhere)
    ours = Settings(
        state_file=tmp_path / "tcmu-gluster" / "s.json", control_socket=tmp_path / "run" / "tcmu-gluster" / "c.sock"
    )
    assert tmp_path / "tcmu-gluster" in paths_of(ours) and tmp_path / "run" / "tcmu-gluster" in paths_of(ours)
