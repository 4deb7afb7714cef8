"""Root is needed to start a system's daemon, not to serve disks over iSCSI: the engine goes on as somebody else."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable
from pathlib import Path

from tcmu_gluster.config.settings import NAME, Settings
from tcmu_gluster.errors import ConfigError


def find_user(name: str) -> pwd.struct_passwd:
    """Who the daemon shall be. Raises ConfigError."""
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(
            f"there is no user {name!r}; first: useradd --system --no-create-home --shell /usr/sbin/nologin {name}"
        ) from None
    if user.pw_uid == 0:
        raise ConfigError(f"user = {name!r} is root; name a user without privileges, or leave the setting away")
    return user


def hand_over(paths: Iterable[Path], user: pwd.struct_passwd) -> None:
    """Files, and directories with all below, that the user has to write become theirs. Links are not followed.

    A directory that is theirs already is left as it is: its owner may have put anything in there, such as a second name
    of a file that isn't theirs.
    """
    for path in paths:
        try:
            facts = path.lstat()
        except FileNotFoundError:
            continue
        if facts.st_uid == user.pw_uid or stat.S_ISLNK(facts.st_mode):
            continue
        if stat.S_ISDIR(facts.st_mode):
            hand_over(sorted(path.iterdir()), user)
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


def paths_of(settings: Settings) -> list[Path]:
    """What the daemon writes. A directory that isn't named for us may hold other things, and stays whose it is."""
    state = settings.state_file
    named = [folder for folder in (state.parent, settings.control_socket.parent) if folder.name == NAME]
    return [*named, state, state.with_name(f"{state.name}.lock"), state.parent / "backup", state.parent / "disks"]


def become(user: pwd.struct_passwd) -> None:
    """Be that user from here on, without a way back. Raises ConfigError if the system refuses."""
    if os.geteuid() == user.pw_uid:
        return
    try:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    except PermissionError:
        raise ConfigError(f"only root can become {user.pw_name}; start the daemon as that user instead") from None
    if 0 in (*os.getresuid(), *os.getresgid()):
        raise ConfigError(f"privileges could not be dropped: the daemon is still {os.getresuid()}")
