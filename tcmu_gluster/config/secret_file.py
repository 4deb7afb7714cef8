"""Passwords come from files, never from a command line, where every user of the machine could read them."""

from __future__ import annotations

import getpass
import os
import stat
import sys
from pathlib import Path

from ..errors import ConfigError

LONGEST_FILE_BYTES = 4096
STANDARD_INPUT = Path("-")


def read_secret(file: Path) -> str:
    """The first line of a file that only its owner can read; '-' is standard input, and pipes will do, too.

    At a terminal it is asked for, and what is typed is not shown.

    Raises ConfigError with the reason, and never with what the file holds.
    """
    if file == STANDARD_INPUT and sys.stdin.isatty():
        try:
            return _first_line(getpass.getpass("password (it is not shown): ").encode(), "what was typed")
        except EOFError:
            raise ConfigError("no password was typed") from None
    if file == STANDARD_INPUT:
        return _first_line(sys.stdin.readline(LONGEST_FILE_BYTES + 1).encode(), "standard input")
    try:
        with open(file, "rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            if stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigError(
                    f"{file} holds a password, and others than its owner may use it (mode {stat.S_IMODE(mode):04o}); "
                    f"first: chmod 600 {file}"
                )
            data = stream.read(LONGEST_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"the password can't be read from {file}: {error.strerror}") from None
    return _first_line(data, str(file))


def _first_line(data: bytes, place: str) -> str:
    if len(data) > LONGEST_FILE_BYTES:
        raise ConfigError(f"{place} is larger than a file with a password can be")
    try:
        secret = data.split(b"\n", 1)[0].rstrip(b"\r").decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"the first line of {place} is not text; it should be the password") from None
    if not secret:
        raise ConfigError(f"the first line of {place} is empty; it should be the password")
    return secret
