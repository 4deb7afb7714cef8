"""iscsi-test-cu against our engine: on which disks, what may be skipped there, and what its runs have to look like.

A skip is right only where we do not advertise the feature: a table says which tests those are, so that a test that
starts to skip because something broke fails the run. `python -m tests.system.matrix` runs every disk on every backing.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tests.system import cu

TESTS = 230  # libiscsi 1.19, --test=ALL
LIMIT_SECONDS = 300


@dataclass(frozen=True)
class Disk:
    """A kind of disk: the options of `tcmu-gluster export`, and which tests run on it."""

    name: str
    options: tuple[str, ...] = ()
    suites: tuple[str, ...] = ("ALL",)


DISKS = {
    disk.name: disk
    for disk in (
        Disk("thin 512e", ("--block-size", "512e")),
        Disk("thin 4096", ("--block-size", "4096")),
        Disk("thick", ("--provisioning", "thick", "--write-same-to-end")),
        Disk("removable", ("--removable",), ("ALL.PreventAllow", "ALL.StartStopUnit", "ALL.NoMedia")),
        Disk("protected", ("--read-only",), ("ALL.ReadOnly",)),
        Disk("paced", ("--background-rate", "8M"), ("ALL.Sanitize.Reset",)),
    )
}
"""All kinds; "paced" is a disk that takes long enough to overwrite for iscsi-test-cu to look at it meanwhile."""
PLAIN = Disk("thin 512")

# (tests as a pattern of SUITE.TEST, disks as a pattern, why they may skip).
SKIPS: tuple[tuple[str, str, str], ...] = (
    (r"Sanitize\.CryptoErase", ".*", "nothing is encrypted, so there is no cryptographic erase"),
    (r"WriteAtomic16\..*", ".*", "the storage promises no atomic writes (block limits say 0)"),
    (r"WriteAtomic16\.VPD", "(?!thin 512e).*", "atomic writes may begin at any block"),
    (
        r"(NoMedia|PreventAllow|StartStopUnit)\..*",
        "(?!removable).*",
        "the medium is not removable (INQUIRY's RMB is 0)",
    ),
    (r"ReadOnly\.ReadOnlySBC", "(?!protected).*", "this disk can be written"),
    (r"WriteSame1[06]\.ZeroBlocks", "(?!thick).*", "block limits say WSNZ: a length of 0 is refused"),
    (
        r"(CompareAndWrite|WriteSame1[06])\.(InvalidDataOutSize|UnmapUnaligned)",
        "(?!thin 512e).*",
        "physical blocks are as large as logical ones",
    ),
    (
        r"GetLBAStatus\.UnmapSingle|Inquiry\.BlockLimits|Sanitize\.(BlockErase|Readonly|Reservations)|Unmap\..*|"
        r"WriteSame1[06]\.Unmap.*",
        "thick",
        "the disk is not thin",
    ),
)

# What run_plainly() does not let the program do; run() does.
NOT_ASKED: tuple[tuple[str, str], ...] = (
    (r"Sanitize\..*", r"--allow-sanitize flag is not set\..*"),
    (r"MultipathIO\..*", r"Multipath unavailable\..*"),
)

# Where a skip concerns a part of a test, and the rest of it ran. (tests, what the program says)
PARTS: tuple[tuple[str, str], ...] = (
    (
        r"Sanitize\.(Readonly|Reservations)",
        r"SANITIZE CRYPTO_ERASE is not implemented according to REPORT_SUPPORTED_OPCODES\.",
    ),
    (r"NoMedia\..*", r"Test not implemented yet"),
    (r"ReadOnly\..*", r"UNMAP is not implemented\."),  # a file that is opened read-only can't give space back
)

# What runs on no disk, with the backings that this holds for.
NOWHERE: tuple[tuple[str, str], ...] = (
    (r"Sanitize\.CryptoErase", ".*"),
    (r"WriteAtomic16\..*", "file|gluster"),
)

# What the program gets wrong itself. (test, disk, why)
TOOL_ERRORS: tuple[tuple[str, str, str], ...] = (
    (
        r"Sanitize\.Reset",
        "(?!paced).*",
        "Sanitize.Reservations before it ends its RESERVE(6) by a logout, which the program leaves out if the second "
        "session is a second URL: what was a conflict there has to be one here too; it is judged on the disk "
        '"paced", alone',
    ),
    (
        r"GetLBAStatus\.UnmapSingle",
        "thin 512e",
        "its second half asks for the status from LBA n + 1 on and wants a first descriptor that begins at n + 8, so "
        "that nothing is said of the block that was asked for (its first half asks from n + 8 on, and passes)",
    ),
)


def run(url: str, second_url: str, suite: str = "ALL") -> list[cu.Result]:
    """Tests of one disk, which second_url names too, through another portal. Raises TimeoutExpired."""
    return _run("-d", "-S", "-V", "-t", suite, url, second_url)


def run_plainly(url: str) -> list[cu.Result]:
    """All tests with one URL and without leave to SANITIZE. Raises TimeoutExpired."""
    return _run("-d", "-V", "-t", "ALL", url)


def _run(*arguments: str) -> list[cu.Result]:
    command = ["timeout", "--kill-after=10", str(LIMIT_SECONDS), "iscsi-test-cu"]
    done = subprocess.run(
        [*command, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=LIMIT_SECONDS + 30,
        check=False,
    )
    return cu.parse(done.stdout)


def why_skipped(name: str, disk: str = PLAIN.name) -> str | None:
    """The reason why this test may skip on this disk; None if it may not."""
    return _reason(SKIPS, name, disk)


def tool_error(name: str, disk: str) -> str | None:
    """What the program does wrong in this test on this disk; None if nothing."""
    return _reason(TOOL_ERRORS, name, disk)


def _reason(table: Iterable[tuple[str, str, str]], name: str, disk: str) -> str | None:
    return next((why for tests, disks, why in table if re.fullmatch(tests, name) and re.fullmatch(disks, disk)), None)


def was_not_asked(result: cu.Result) -> bool:
    """Whether it skipped because of how run_plainly() starts the program."""
    return result.outcome == cu.SKIPPED and _says(NOT_ASKED, result)


def _says(table: Iterable[tuple[str, str]], result: cu.Result) -> bool:
    return any(re.fullmatch(tests, result.name) and re.fullmatch(said, result.reason) for tests, said in table)


def ran(result: cu.Result) -> bool:
    """Whether a test did what it is for: it passed, or left out a part only."""
    if result.outcome == cu.SKIPPED:
        return _says(PARTS, result)
    return result.outcome == cu.PASSED


def summary(results: Iterable[cu.Result], disk: str = PLAIN.name) -> str:
    """Counts, and the skips by their reasons."""
    results = list(results)
    lines = [", ".join(f"{count} {outcome}" for outcome, count in cu.counts(results).items())]
    skips = Counter(
        why_skipped(r.name, disk) or ("in part" if ran(r) else f"NOT ALLOWED: {r.reason}")
        for r in results
        if r.outcome == cu.SKIPPED
    )
    lines += [f"  {count} skipped: {reason}" for reason, count in skips.most_common()]
    return "\n".join(lines)


def complaints(results: Iterable[cu.Result], disk: str = PLAIN.name) -> list[str]:
    """Everything that is not right, a line each."""
    lines = []
    for result in results:
        if result.outcome == cu.UNFINISHED or (result.outcome == cu.FAILED and not tool_error(result.name, disk)):
            lines.append(f"{result.outcome}: {result.name}: {result.reason}")
        elif result.outcome == cu.SKIPPED and not ran(result) and why_skipped(result.name, disk) is None:
            lines.append(f"skipped: {result.name}: {result.reason}")
    return lines
