"""A reboot: the guest's root forgets all, so what a host has on its disk lies in the shared folder meanwhile."""

from __future__ import annotations

from pathlib import Path

from . import lio
from .shell import run

FLAG = "reboot"
"""The file in the shared folder that asks init.sh for a reboot once the scenario has ended."""
_IO = Path("/io")
_KEPT = _IO / "kept.tar"


def keep_and_ask() -> None:
    """Keep the files of LIO, of Gluster and of ours, and have the machine rebooted before the next scenario."""
    folders = [str(lio.saved_file().parent), "/var/lib/glusterd", "/var/lib/tcmu-gluster"]
    run("tar", "-cf", str(_KEPT), "--absolute-names", *folders)
    (_IO / FLAG).touch()


def bring_back() -> None:
    """The files of before the reboot."""
    run("tar", "-xf", str(_KEPT), "--absolute-names")
