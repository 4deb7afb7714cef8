"""libiscsi's 230 tests over LIO's portal: our disk, and for the baseline LIO's own fileio backstore."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tests.system import cu

from .. import daemon, lio, services
from ..runner import scenario
from ..shell import PATIENCE, expect, run, say, write

NAME = "iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test"
IQN = "iqn.2024-01.test.vm:conformance"
BASELINE = Path(__file__).resolve().parents[2] / "conformance-baseline.txt"
SIZE_BYTES = 100 << 20
SUITE_SECONDS = 90 * PATIENCE
LANES = 2
DISKS = [f"conformance{number}" for number in range(LANES)]

RACING = ("Reserve6",)
"""Suites that ask at once for what a log-out or a lost connection has freed. LIO answers a log-out before it has let go
of the session, which takes it an RCU grace period, and waits two seconds for the other half of a connection that was
closed (linux/drivers/target/iscsi/iscsi_target.c: iscsit_logout_post_handler, iscsit_rx_thread_wait_for_tcp), so
the outcome is a matter of milliseconds. Reservations never reach a backstore. The baseline runs these RACES times."""
RACES = 15

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
for the residual of a WRITE or for an overflow (linux/drivers/target/target_core_user.c, tcmu_handle_completion: a
length counts for Data-In alone, and only if it is less than what was announced, and not 0). GOOD without it would be a
lie, so we refuse (tcmu/data_direction.py). Part by part: in each of the four READ tests more was announced than the CDB
names once, which can be told and passes; three parts are overflows. In the WRITE AND VERIFY(12) test every part is the
residual of a WRITE. The fileio backstore has no WRITE AND VERIFY(12), so that there this one is skipped, and fails the
same test of (10) and (16)."""


def suites() -> list[str]:
    """The names of the program's suites, in its order."""
    lines = run("iscsi-test-cu", "-l", status=None).splitlines()
    return [line[len("ALL.") :] for line in lines if line.startswith("ALL.") and line.count(".") == 1]


def run_suites(names: Iterable[str], backings: Sequence[Path], log: Path) -> dict[str, Any]:
    """The suites on LUN 0 of targets with explicit ACLs for both of the program's initiator names.

    Each backing is a lane that takes the next suite when it has ended one: much of what they do is waiting. A suite has
    a process and a limit of its own: a test that hangs is unfinished, and the other suites still run.
    """
    lanes: SimpleQueue[str] = SimpleQueue()

    def take(suite: str) -> tuple[str, float, bytes]:
        began, url = time.monotonic(), lanes.get()
        command = ("timeout", "-k", "5", str(SUITE_SECONDS), "stdbuf", "-oL", "iscsi-test-cu", "-d", "-t",
                   f"ALL.{suite}", url)  # fmt: skip
        said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False).stdout
        lanes.put(url)
        return suite, time.monotonic() - began, said + b"\n"

    with ExitStack() as stack:
        for number, backing in enumerate(backings, 1):
            iqn, portal = f"{IQN}{number}", f"127.0.0.{number}:3260"
            stack.enter_context(lio.Target(iqn, [backing], [portal], initiators=(NAME, NAME + "-2")))
            lanes.put(f"iscsi://{portal}/{iqn}/0")
        with ThreadPoolExecutor(len(backings)) as pool:
            ended = list(pool.map(take, names))
    log.write_bytes(b"".join(said for _, _, said in ended))
    results = cu.parse(log.read_text(errors="replace"))
    slowest = sorted(((seconds, suite) for suite, seconds, _ in ended), reverse=True)[:12]
    say(f"{cu.counts(results)}; the slowest: {', '.join(f'{suite} {seconds:.1f} s' for seconds, suite in slowest)}")
    for result in results:
        if result.outcome in (cu.FAILED, cu.UNFINISHED):
            say(f"{result.outcome}: {result.name}: {result.reason}")
    expect(len(results) > 200, f"the program ran its tests ({len(results)})")
    return {
        "counts": cu.counts(results),
        "failures": cu.names(results, cu.FAILED, cu.UNFINISHED),
        "slowest": {suite: round(seconds, 1) for seconds, suite in slowest},
    }


@scenario(job="baseline", limit=950)
def conformance_of_lio_fileio() -> dict[str, Any]:
    """What LIO's own fileio backstore (write-back) fails: the yardstick, written down by the script baseline."""
    lio.start()
    lio.make_pr_folder()
    services.start_iscsid()
    backings = [lio.fileio(f"plain{number}", f"/run/plain{number}.img", SIZE_BYTES, True) for number in range(LANES)]
    for backing in backings:
        for attribute in ("emulate_tpu", "emulate_tpws"):
            write(backing / "attrib" / attribute, "1")
    figures = run_suites([*suites(), *RACING * RACES], backings, Path("/io/cu-fileio.txt"))
    for backing in backings:
        lio.delete(backing)
    return figures


@scenario(job="many", limit=900)
def conformance_over_lio() -> dict[str, Any]:
    """Our disk fails nothing that LIO's own fileio backstore passes, but for what the ring can't say.

    In memory: with Gluster below, most of the time would be Gluster's, and that one is the engine's conformance tier's.
    """
    services.start_iscsid()
    with daemon.Daemon(), ExitStack() as stack:
        disks = [stack.enter_context(daemon.Disk(name, f"memory:{name}", "100M")) for name in DISKS]
        figures = run_suites(suites(), [disk.backstore for disk in disks], Path("/io/cu-ours.txt"))
    allowed = {line.split()[0] for line in BASELINE.read_text().splitlines() if line and not line.startswith("#")}
    worse = [name for name in figures["failures"] if name not in allowed | NOT_IN_THE_RING]
    expect(not worse, f"no failure beyond the baseline: {worse}")
    return figures
