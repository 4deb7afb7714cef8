"""Copy offload by tools that people have: sg_xcopy, sg_dd and ddpt through the kernel's initiator and our engine."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tcmu_gluster.errors import TcmuGlusterError

from .. import daemon, services
from ..runner import scenario
from ..shell import expect, read, run

PORTAL = "127.0.0.1:3263"
IQN = "iqn.2026-11.com.example:copies"
MIB = 1 << 20
DISK_BLOCKS = 16 * MIB // 512


@scenario(limit=180)
def tools_copy_between_two_disks_without_moving_the_data_themselves() -> dict[str, str]:
    """EXTENDED COPY by sg_xcopy and ddpt, ODX by ddpt, and what sg_dd then reads: the same bytes on the other disk."""
    daemon.Daemon()
    files = [Path(f"/run/copies-{name}") for name in ("a", "b")]
    services.start_iscsid()
    run("modprobe", "sg", status=None)
    for file in files:
        daemon.ask("disk.create", name=file.name, uri=f"file://{file}", size="16M", front="engine")
    daemon.ask("target.create", target=IQN)
    for lun, file in enumerate(files):
        daemon.ask("lun.map", target=IQN, disk=file.name, lun=lun)
    daemon.ask("acl.allow", target=IQN, rule=services.INITIATOR)
    daemon.ask("portal.add", target=IQN, portal=PORTAL)
    try:
        with services.Session(IQN, PORTAL) as session:
            one, two = session.disk(0), session.disk(1)
            run("modprobe", "sg")
            sink = _generic(two)
            between = f"if={_generic(one)}", f"of={sink}"
            run("dd", "if=/dev/urandom", "of=/run/copies-pattern", "bs=1M", "count=8", "status=none")
            run("dd", "if=/run/copies-pattern", f"of={one}", "bs=1M", "oflag=direct", "conv=fsync", "status=none")
            moved = _sectors_moved(one), _sectors_moved(two)
            figures = {
                "pages": run("sg_vpd", "--page=tpc", one),
                "sg_xcopy": run("sg_xcopy", *between, "bs=512", "count=8192"),
                "ddpt_xcopy": run("ddpt", *between, "bs=512", "skip=8192", "seek=8192", "count=4096",
                                  "iflag=pt", "oflag=pt", "--xcopy"),
                "ddpt_odx": run("ddpt", *between, "bs=512", "skip=12288,4096", "seek=12288,4096",
                                "iflag=pt", "oflag=pt", "--odx"),
            }  # fmt: skip
            expect(
                max(_sectors_moved(one) - moved[0], _sectors_moved(two) - moved[1]) < 4096,
                "the initiator moved less than a quarter of what was copied",
            )
            run("cmp", "-n", str(8 * MIB), "/run/copies-pattern", str(files[1]))
            run("sg_dd", f"if={two}", "of=/run/copies-back", "bs=512", "count=16384", "blk_sgio=1", "iflag=sgio")
            run("cmp", "/run/copies-pattern", "/run/copies-back")
            run(
                "ddpt",
                f"of={sink}",
                "if=/dev/null",
                "bs=512",
                "seek=0",
                "count=4096",
                "oflag=pt",
                "rtype=zero",
                "--odx",
            )
            run("cmp", "-n", str(2 * MIB), "/dev/zero", str(files[1]))
    finally:
        with contextlib.suppress(TcmuGlusterError):  # half of it may not have been made
            daemon.ask("target.delete", target=IQN)
            for file in files:
                daemon.ask("disk.delete", name=file.name)
    return figures


def _sectors_moved(disk: str) -> int:
    """What Linux has read from and written to a disk by its block layer, in sectors."""
    words = read(f"/sys/block/{Path(disk).name}/stat").split()
    return int(words[2]) + int(words[6])


def _generic(disk: str) -> str:
    """The node of the sg driver: sg3-utils look for others only where udev made links."""
    return f"/dev/{next(Path('/sys/block', Path(disk).name, 'device/scsi_generic').iterdir()).name}"
