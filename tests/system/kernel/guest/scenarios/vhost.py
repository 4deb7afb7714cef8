"""vhost-scsi: our disk inside a virtual machine, with nothing but the host's kernel between."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .. import daemon, lio, volume
from ..runner import scenario
from ..shell import expect, read, run, say, start, wait_for, write

WWPN, NEXUS = "naa.5001405000000a01", "naa.5001405000000a02"
CONSOLE = Path("/run/nested.txt")
LIMIT_SECONDS = 600


@scenario(job="vhost", limit=LIMIT_SECONDS + 200)
def vhost() -> dict[str, Any]:
    """A machine inside this one (an emulation within an emulation) writes to our disk and reads it back."""
    nested = json.loads(Path("/io/job.json").read_text())["nested"]
    backing = daemon.uri("vhost")
    lio.start("vhost_scsi")
    group = lio.TARGET / "vhost" / WWPN / "tpgt_1"
    with daemon.Daemon(), daemon.Disk("vhost", backing, "16M") as disk:
        group.mkdir(parents=True)
        write(group / "nexus", NEXUS)
        lun = group / "lun/lun_0"
        lun.mkdir()
        (lun / "backstore").symlink_to(disk.backstore)
        machine = start(*command(nested["kernel"], nested["initrd"]), log="/run/nested.log")
        try:
            wait_for("the machine has ended", lambda: machine.poll() is not None, LIMIT_SECONDS)
        finally:
            machine.kill()
            machine.wait(30)
            console = [line for line in read(CONSOLE).splitlines() if "nested: " in line]
            say("\n".join([*console, read("/run/nested.log")[-2000:]]))
        expect(any("written and read back" in line for line in console), "the machine reads what it wrote")
        data = "".join(f"{number}\n" for number in range(1, 200_000)).encode()[: 1 << 20]
        expect(volume.on_the_brick("vhost", len(data)) == data, "the Gluster file holds what the machine wrote")
        (lun / "backstore").unlink()
        for folder in (lun, group, group.parent):
            folder.rmdir()
    return {"modules": run("lsmod").count("vhost")}


def command(kernel: str, initrd: str) -> list[str]:
    """QEMU with one disk, as an administrator would type it, but for the kernel, which has no boot loader here."""
    return [
        "qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-cpu", "Nehalem", "-m", "256", "-nodefaults",
        "-no-user-config", "-display", "none", "-no-reboot", "-serial", f"file:{CONSOLE}",
        "-kernel", kernel, "-initrd", initrd,
        "-append", "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off nokaslr audit=0 tsc=reliable",
        "-device", f"vhost-scsi-pci,wwpn={WWPN}",
    ]  # fmt: skip
