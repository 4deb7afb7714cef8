"""Standard input, output and error of a command: closed, full, or gone (`| head`). For every command of ours."""

from __future__ import annotations

import os
import sys


def hold_standard_streams() -> None:
    """Whatever of standard input, output and error is closed is /dev/null from now on.

    Otherwise a disk's file would get the free number, and be written what is meant for people.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def nobody_reads() -> None:
    """Whoever read standard output has gone: what Python flushes at the end goes nowhere, and nobody hears of it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
