"""targetcli in one process that takes a script line by line: each start of it costs seconds here."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .shell import CHECKOUT, read, say, wait_for

PLAIN = "/usr/bin/targetcli"
GLUSTER = str(CHECKOUT / ".venv/bin/targetcli-gluster")


class Cli:
    """run(*lines) gives what the lines printed. The shell lives until the block ends."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._log = Path(f"/run/cli-{Path(command).name}.txt")
        self._marks = 0

    def __enter__(self) -> Cli:
        self._log.write_bytes(b"")
        with open(self._log, "ab") as file:
            self._process = subprocess.Popen(
                [self._command], stdin=subprocess.PIPE, stdout=file, stderr=file, text=True, bufsize=1,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "PYTHONUNBUFFERED": "1",
                     "PYTHONWARNINGS": "ignore", "COLUMNS": "150"},
            )  # fmt: skip
        return self

    def run(self, *lines: str, limit: float = 90) -> str:
        """Type the lines and wait until all are done: then the shell complains about a command that is none."""
        assert self._process.stdin is not None
        self._marks += 1
        mark = f"mark{self._marks}_"
        before = len(read(self._log))
        self._process.stdin.write("\n".join([*lines, f"{mark} now", ""]))

        def done() -> str:
            text = read(self._log)
            return text if f"not found {mark}" in text[before:] else ""

        said = wait_for(f"{Path(self._command).name}: {'; '.join(lines)[:100]}", done, limit)[before:]
        say(said)
        return said

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
