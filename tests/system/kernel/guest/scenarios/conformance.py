"""libiscsi's 230 tests over LIO's portal: our disk, and for the baseline LIO's own fileio backstore."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

from tests.system import cu

from .. import daemon, lio, services
from ..runner import scenario
from ..shell import expect, run, say, write

NAME = "iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test"
IQN = "iqn.2024-01.test.vm:conformance"
BASELINE = Path(__file__).resolve().parents[2] / "conformance-baseline.txt"
SIZE_BYTES = 100 << 20
SUITE_SECONDS = 90

NOT_IN_THE_RING = frozenset(
    (
        "iSCSIResiduals.Read10Invalid",
        "iSCSIResiduals.Read10Residuals",
        "iSCSIResiduals.Read12Residuals",
        "iSCSIResiduals.Read16Residuals",
        "iSCSIResiduals.WriteVerify12Residuals",
    )
)
"""Tests of transfers whose announced length is not the CDB's, which want GOOD with the residual told. For its own
backstores LIO's core compares the two and tells it; for a handler of TCMU it doesn't, and a ring's answer has no place
for the residual of a WRITE or for an overflow. GOOD without it would be a lie, so we refuse (tcmu/data_direction.py).
The fileio backstore has no WRITE AND VERIFY(12), so that there the last one is skipped."""


def suites() -> list[str]:
    """The names of the program's suites, in its order."""
    lines = run("iscsi-test-cu", "-l", status=None).splitlines()
    return [line[len("ALL.") :] for line in lines if line.startswith("ALL.") and line.count(".") == 1]


def run_all(backing: Path, log: Path) -> dict[str, Any]:
    """All tests on LUN 0 of a target with explicit ACLs for both of the program's initiator names.

    Suite by suite, each with a limit: a test that hangs is unfinished, and the other suites still run.
    """
    log.write_bytes(b"")
    spent: dict[str, float] = {}
    with lio.Target(IQN, [backing], initiators=(NAME, NAME + "-2")):
        for suite in suites():
            began = time.monotonic()
            with open(log, "ab") as file:
                subprocess.run(
                    ("timeout", "-k", "5", str(SUITE_SECONDS), "stdbuf", "-oL", "iscsi-test-cu", "-d", "-t",
                     f"ALL.{suite}", f"iscsi://127.0.0.1/{IQN}/0"),
                    stdout=file, stderr=file, check=False,
                )  # fmt: skip
            spent[suite] = round(time.monotonic() - began, 1)
    results = cu.parse(log.read_text(errors="replace"))
    say(f"{cu.counts(results)}")
    for result in results:
        if result.outcome in (cu.FAILED, cu.UNFINISHED):
            say(f"{result.outcome}: {result.name}: {result.reason}")
    expect(len(results) > 200, f"the program ran its tests ({len(results)})")
    slowest = dict(sorted(spent.items(), key=lambda entry: -entry[1])[:12])
    return {
        "counts": cu.counts(results), "failures": cu.names(results, cu.FAILED, cu.UNFINISHED), "slowest": slowest
    }  # fmt: skip


@scenario(job="baseline", limit=950)
def conformance_of_lio_fileio() -> dict[str, Any]:
    """What LIO's own fileio backstore (write-back) fails: the yardstick, written down by the script baseline."""
    lio.start()
    lio.make_pr_folder()
    services.start_iscsid()
    backing = lio.fileio("plain", "/run/plain.img", SIZE_BYTES, write_back=True)
    for attribute in ("emulate_tpu", "emulate_tpws"):
        write(backing / "attrib" / attribute, "1")
    figures = run_all(backing, Path("/io/cu-fileio.txt"))
    lio.delete(backing)
    return figures


@scenario(limit=900)
def conformance_over_lio() -> dict[str, Any]:
    """Our disk fails nothing that LIO's own fileio backstore passes, but for what the ring can't say.

    In memory: with Gluster below, most of the time would be Gluster's, and that one is the engine's conformance tier's.
    """
    services.start_iscsid()
    with daemon.Daemon(), daemon.Disk("conformance", "memory:conformance", "100M") as disk:
        figures = run_all(disk.backstore, Path("/io/cu-ours.txt"))
    allowed = {line.split()[0] for line in BASELINE.read_text().splitlines() if line and not line.startswith("#")}
    worse = [name for name in figures["failures"] if name not in allowed | NOT_IN_THE_RING]
    expect(not worse, f"no failure beyond the baseline: {worse}")
    return figures
