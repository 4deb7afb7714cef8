"""install-service: the daemon's unit, and what goes with it, where systemd and the bus look.

Packages put these files into their places; pip can't outside /usr. Only files of ours are written, each as a whole.
"""

from __future__ import annotations

import argparse
import errno
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from ..control.terminal import printable
from ..errors import OperationError
from .render import as_json

COMMAND = "tcmu-gluster"
POLICY = "org.kernel.TCMUService1.gluster.conf"
PLACES = {
    "lio": {
        "tcmu-gluster.service": "etc/systemd/system/tcmu-gluster.service",
        "tcmu-gluster.tmpfiles": "etc/tmpfiles.d/tcmu-gluster.conf",
        "tcmu-gluster.modules-load": "etc/modules-load.d/tcmu-gluster.conf",
        POLICY: f"etc/dbus-1/system.d/{POLICY}",
    },
    "engine": {"tcmu-gluster-engine.service": "etc/systemd/system/tcmu-gluster-engine.service"},
}
"""What the unit of each front needs: our file -> where it goes."""
SHIPPED = f"/usr/bin/{COMMAND} "
"""How the units name the command; here it is wherever pip has put it."""
HIDDEN = ("/home", "/root", "/run/user")
"""What ProtectHome hides from the engine's unit (systemd.exec(5))."""


def add_install(verbs: Any, common: argparse.ArgumentParser) -> None:
    """Declare it on the parser's list of verbs."""
    install = verbs.add_parser(
        "install-service",
        parents=[common],
        help="install the daemon's systemd unit, and the D-Bus policy for targetcli",
        description="Put the systemd unit for this very command where systemd looks; for LIO also the D-Bus policy, "
        "the kernel module's name and the directories. Packages have done that already.",
    )
    install.add_argument(
        "--front", choices=tuple(PLACES), default="lio", help="the kernel's LIO too, or the engine only"
    )
    install.add_argument("--root", metavar="DIR", default="/", help="write below this directory (/), for images")
    install.set_defaults(run=run_install)


def run_install(options: argparse.Namespace) -> int:
    """Write what is not there, and say what to type next."""
    unit = next(iter(PLACES[options.front])).partition(".")[0]
    command = Path(sys.executable).parent / COMMAND
    written = install(options.front, Path(options.root), command, _share())
    if written:
        now = f"{', '.join(map(str, written))} written, for {command}; " \
              f"next: systemctl daemon-reload && systemctl enable --now {unit}"  # fmt: skip
    else:
        now = f"already so: {unit}.service is installed for {command}"
    answer = {"now": now, "changed": bool(written), "files": list(map(str, written))}
    print(as_json(answer) if options.json else printable(now))
    return 0


def _share() -> Path:
    spec = importlib.util.find_spec("handler")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "share"


def install(front: str, root: Path, command: Path, share: Path) -> list[Path]:
    """The files that were written. Raises OperationError."""
    if not command.is_file():
        raise OperationError(f"there is no {command}; install the package first (pip install)")
    if front == "engine" and str(command).startswith(tuple(f"{one}/" for one in HIDDEN)):
        raise OperationError(f"the engine's unit sees nothing below /home and /root, where {command} is; "
                             "install the package elsewhere, as in /opt")  # fmt: skip
    wanted = {root / place: _for(command, (share / name).read_text("utf-8")) for name, place in PLACES[front].items()}
    try:
        return [path for path, text in wanted.items() if _write(path, text)]
    except OSError as error:
        as_root = "; run it as root" if error.errno in (errno.EACCES, errno.EPERM) else ""
        raise OperationError(f"{error.filename} can't be written: {error.strerror}{as_root}") from error


def _for(command: Path, text: str) -> str:
    """systemd.service(5), COMMAND LINES: a word with blanks is quoted, and % is doubled."""
    word = str(command).replace("%", "%%")
    return text.replace(f"={SHIPPED}", f'="{word}" ' if " " in word else f"={word} ")


def _write(path: Path, text: str) -> bool:
    try:
        if path.read_text("utf-8") == text:
            return False
    except (FileNotFoundError, ValueError):
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, "utf-8")
    temporary.chmod(0o644)
    os.replace(temporary, path)
    return True
