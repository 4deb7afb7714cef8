"""The machine itself, with LIO's own backstores: if these fail, the kernel or the packages are at fault, not we."""

from __future__ import annotations

from pathlib import Path

from .. import lio, load, services
from ..runner import scenario
from ..shell import expect


@scenario(limit=60)
def lio_fileio_as_loop_disk() -> None:
    """LIO, tcm_loop and sd work here."""
    lio.start()
    backing = lio.fileio("plain", "/run/plain.img", 64 << 20)
    with lio.LoopDisk(backing) as disk:
        data = load.copy_and_compare(disk.device, 4)
        expect(Path("/run/plain.img").read_bytes()[: len(data)] == data, "the backing file holds the bytes")
    lio.delete(backing)


@scenario(limit=90)
def lio_fileio_over_iscsi() -> None:
    """LIO's iSCSI and open-iscsi work here."""
    lio.start()
    services.start_iscsid()
    backing = lio.fileio("plain", "/run/plain2.img", 64 << 20)
    with lio.Target("iqn.2024-01.test.vm:plain", [backing]), services.Session("iqn.2024-01.test.vm:plain") as session:
        expect("iqn.2024-01.test.vm:plain" in session.discovered, "discovery names the target")
        load.copy_and_compare(session.disk(), 4)
    lio.delete(backing)
