"""Pages of docs/ that are typed: the lines that stand there, one after the other, as an administrator would."""

from __future__ import annotations

import os
from pathlib import Path

from . import services
from .shell import OURS, run, say


def prepare() -> None:
    """What the lines need of the machine: the bus, so that plain targetcli shows our disks; a pattern to write."""
    services.start_dbus()
    run("dd", "if=/dev/urandom", "of=/run/pattern", "bs=1M", "count=4", "status=none")


def pattern() -> bytes:
    """What the lines write."""
    return Path("/run/pattern").read_bytes()


def type_lines(script: str, disk: str = "/dev/null") -> str:
    """Run each line; DISK stands for the disk. Returns the transcript. Raises CommandFailed at the first that fails."""
    path = f"{Path(OURS).parent}:{os.environ['PATH']}"
    transcript = ""
    for line in script.splitlines():
        said = run("bash", "-o", "pipefail", "-c", line.replace("DISK", disk), env={"PATH": path}, limit=180)
        transcript += f"# {line}\n{said}"
    say(transcript)
    return transcript
