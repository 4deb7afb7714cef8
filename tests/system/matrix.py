"""The conformance matrix: python -m tests.system.matrix [BACKING...] runs iscsi-test-cu on every disk and prints it.

Backings are memory, file and gluster (all three; gluster needs root). The exit status is 0 if nothing failed and every
test ran somewhere, but for those that nothing of ours can run.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.system import conformance, cu
from tests.system.export import Export, free_port

BACKINGS = ("memory", "file", "gluster")
DISK_BYTES = 100 * 1024 * 1024
PATIENT_SECONDS = "90"
"""iscsi-test-cu sleeps for a minute and looks at nothing meanwhile; whoever is silent so long would be given up."""
IQN = "iqn.2024-01.org.example.test:disk"

Column = tuple[str, str]
"""(backing, disk)"""
Outcomes = dict[Column, list[cu.Result]]
Make = Callable[..., Export]


@contextmanager
def two_portals(make: Make, disk: conformance.Disk) -> Iterator[tuple[str, str]]:
    """URLs of one disk through two portals. make(*options) gives a started export; this ends it."""
    second = f"127.0.0.1:{free_port()}"
    protected = "--read-only" in disk.options
    with make("--portal", second, *disk.options, **({"writable": False} if protected else {})) as export:
        yield export.url, export.url.replace(export.portal, second)


def run(make: Make, disk: conformance.Disk) -> list[cu.Result]:
    """All that runs on a disk."""
    with two_portals(make, disk) as (first, second):
        return [result for suite in disk.suites for result in conformance.run(first, second, suite)]


def never_ran(outcomes: Outcomes) -> list[str]:
    """Tests that ran nowhere."""
    seen = {result.name for results in outcomes.values() for result in results}
    return sorted(
        seen - {result.name for results in outcomes.values() for result in results if conformance.ran(result)}
    )


def table(outcomes: Outcomes) -> str:
    """A row a suite, a column a disk: how many tests ran of how many; then what failed, and what ran nowhere."""
    columns = list(outcomes)
    suites = sorted({result.suite for results in outcomes.values() for result in results})
    heads = [f"{backing} {disk}" for backing, disk in columns]
    width = max(map(len, suites))
    lines = [f"{number}: {head}" for number, head in enumerate(heads, 1)]
    lines.append(" " * width + "".join(f"{number:>8}" for number in range(1, len(heads) + 1)))
    for suite in suites:
        cells = [[result for result in outcomes[column] if result.suite == suite] for column in columns]
        lines.append(suite.ljust(width) + "".join(f"{_cell(cell):>8}" for cell in cells))
    for outcome, word in ((cu.PASSED, "passed"), (cu.SKIPPED, "skipped"), (cu.FAILED, "failed")):
        counted = [cu.counts(outcomes[column])[outcome] for column in columns]
        lines.append(word.ljust(width) + "".join(f"{count:>8}" for count in counted))
    for column in columns:
        for result in outcomes[column]:
            if result.outcome in (cu.FAILED, cu.UNFINISHED):
                why = conformance.tool_error(result.name, column[1])
                said = f"the program's own error: {why}" if why else result.reason
                lines.append(f"{result.outcome} on {' '.join(column)}: {result.name}: {said}")
    lines += [f"ran nowhere: {name}" for name in never_ran(outcomes)]
    return "\n".join(lines)


def _cell(results: Iterable[cu.Result]) -> str:
    results = list(results)
    if not results:
        return "-"
    return f"{sum(map(conformance.ran, results))}/{len(results)}"


def bad(outcomes: Outcomes) -> list[str]:
    """What isn't right in the whole matrix, a line each."""
    lines = [f"{' '.join(column)}: {line}" for column, results in outcomes.items()
             for line in conformance.complaints(results, column[1])]  # fmt: skip
    backings = {backing for backing, _ in outcomes}
    return lines + [f"ran nowhere: {name}" for name in never_ran(outcomes) if not _may_run_nowhere(name, backings)]


def _may_run_nowhere(name: str, backings: Iterable[str]) -> bool:
    return any(
        re.fullmatch(tests, name) and all(re.fullmatch(where, backing) for backing in backings)
        for tests, where in conformance.NOWHERE
    )


def maker(backing: str, folder: Path, prefix: str = "") -> Make:
    """make(*options) for a backing in a folder; prefix: where Gluster's files go, as a URI."""
    made: list[str] = []

    def make(*options: str, writable: bool = True) -> Export:
        name = f"disk{len(made)}"
        made.append(name)
        if backing == "memory":
            return start(f"memory:{name}?size={DISK_BYTES}", "--iqn", IQN, *options)
        uri = f"file://{folder / name}" if backing == "file" else f"{prefix}/{name}"
        if not writable:  # a new file that is read-only would be of no use
            start(uri, "--size", str(DISK_BYTES)).stop()
            return start(uri, "--iqn", IQN, *options)
        return start(uri, "--size", str(DISK_BYTES), "--iqn", IQN, *options)

    def start(*arguments: str) -> Export:
        export = Export(*arguments)
        export.environment["TCMU_GLUSTER_PING_SECONDS"] = PATIENT_SECONDS
        return export.start()

    return make


def _column(outcomes: Outcomes, backing: str, make: Make) -> None:
    for disk in conformance.DISKS.values():
        outcomes[backing, disk.name] = run(make, disk)
        counted = cu.counts(outcomes[backing, disk.name])
        print(f"{backing} {disk.name}: {counted}", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    from tests.system.gluster_server import BLOCK_OPTIONS, GlusterServer

    outcomes: Outcomes = {}
    with tempfile.TemporaryDirectory(prefix="matrix-") as folder:
        for backing in arguments or BACKINGS:
            if backing != "gluster":
                _column(outcomes, backing, maker(backing, Path(folder)))
                continue
            with GlusterServer() as server:
                server.create_volume("conf", options=BLOCK_OPTIONS)
                with server.entered():
                    _column(outcomes, backing, maker(backing, Path(folder), f"gluster://{server.host}/conf"))
    print(table(outcomes))
    return 1 if bad(outcomes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
