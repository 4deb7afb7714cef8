"""Speed in the emulated machine: only ratios of one boot mean anything, and only they are printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import daemon, lio, load, services
from ..runner import scenario
from ..shell import expect, say

_RUNS = (("randread", "4k", 1), ("randread", "4k", 16), ("randwrite", "4k", 16), ("read", "1M", 4), ("write", "1M", 4))
_SIZE_BYTES = 64 << 20


def measure(backstore: Path) -> dict[str, int]:
    """Each run's operations a second on a tcm_loop disk."""
    with lio.LoopDisk(backstore) as local:
        return load.speeds(local.device, _RUNS)


@scenario(limit=300)
def speed_beside_ramdisk_and_tcmu_runner() -> dict[str, Any]:
    """Our memory backend, LIO's RAM disk and tcmu-runner's qcow handler (a raw file on tmpfs), one after the other."""
    lio.start()
    figures: dict[str, Any] = {}
    ram = lio.ramdisk("ram", _SIZE_BYTES)
    figures["LIO RAM disk"] = measure(ram)
    lio.delete(ram)
    with services.TcmuRunner():
        theirs = lio.tcmu_runners_disk("theirs", _SIZE_BYTES)
        figures["tcmu-runner"] = measure(theirs)
        lio.delete(theirs)
    with daemon.Daemon(), daemon.Disk("memory", "memory:speed?size=64M", "64M") as disk:
        figures["ours"] = measure(disk.backstore)
    for other in ("tcmu-runner", "LIO RAM disk"):
        figures[f"ours / {other}"] = {
            run_: round(ours / figures[other][run_], 2) for run_, ours in figures["ours"].items()
        }
    for name, row in figures.items():
        say(f"{name}: {row}")
    slowest = min(figures["ours / tcmu-runner"].values())
    expect(slowest > 0.2, f"no run is out of all proportion to tcmu-runner's (the least ratio is {slowest})")
    return figures
