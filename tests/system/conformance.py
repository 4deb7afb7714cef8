"""iscsi-test-cu against our engine: what it may skip, and what its run has to look like.

A skip is right only where we do not advertise the feature. The table says which tests those are: a test that starts
to skip because something broke fails the run.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterable

from tests.system import cu

TESTS = 230  # libiscsi 1.19, --test=ALL
LIMIT_SECONDS = 240

# (tests as a pattern of SUITE.TEST, why they may skip).
SKIPS: tuple[tuple[str, str], ...] = (
    (r"(ExtendedCopy|ReceiveCopyResults)\..*", "EXTENDED COPY is not advertised (INQUIRY's 3PC is 0)"),
    (r"Sanitize\..*", "SANITIZE is not advertised"),
    (r"WriteAtomic16\..*", "WRITE ATOMIC is not advertised (block limits say 0)"),
    (r"OrWrite\..*", "ORWRITE is not advertised"),
    (r"ReadDefectData1[02]\..*", "READ DEFECT DATA is not advertised"),
    (r"(NoMedia|PreventAllow|StartStopUnit)\..*", "the medium is not removable (INQUIRY's RMB is 0)"),
    (r"ReadOnly\.ReadOnlySBC", "this disk can be written"),
    (r"WriteSame1[06]\.ZeroBlocks", "block limits say WSNZ: a length of 0 is refused"),
    (
        r"(CompareAndWrite|WriteSame1[06])\.(InvalidDataOutSize|UnmapUnaligned)",
        "physical blocks are as large as logical ones",
    ),
)


def run(url: str, second_url: str) -> list[cu.Result]:
    """All tests of one disk, which second_url names too, through another portal. Raises TimeoutExpired."""
    command = ["timeout", "--kill-after=10", str(LIMIT_SECONDS), "iscsi-test-cu", "-d", "-S", "-V", "-t", "ALL"]
    done = subprocess.run(
        [*command, url, second_url],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=LIMIT_SECONDS + 30,
        check=False,
    )
    return cu.parse(done.stdout)


def why_skipped(name: str) -> str | None:
    """The reason why this test may skip; None if it may not."""
    return next((reason for pattern, reason in SKIPS if re.fullmatch(pattern, name)), None)


def summary(results: Iterable[cu.Result]) -> str:
    """Counts, and the skips by their reasons."""
    results = list(results)
    lines = [", ".join(f"{count} {outcome}" for outcome, count in cu.counts(results).items())]
    skips = Counter(why_skipped(r.name) or f"NOT ALLOWED: {r.reason}" for r in results if r.outcome == cu.SKIPPED)
    lines += [f"  {count} skipped: {reason}" for reason, count in skips.most_common()]
    return "\n".join(lines)


def complaints(results: Iterable[cu.Result]) -> list[str]:
    """Everything that is not right, a line each."""
    lines = []
    for result in results:
        if result.outcome in (cu.FAILED, cu.UNFINISHED):
            lines.append(f"{result.outcome}: {result.name}: {result.reason}")
        elif result.outcome == cu.SKIPPED and why_skipped(result.name) is None:
            lines.append(f"skipped: {result.name}: {result.reason}")
    return lines
