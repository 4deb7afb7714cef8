"""vhost-scsi: our disk inside a virtual machine, with nothing but the host's kernel between."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .. import daemon, lio, typed, volume
from ..runner import scenario
from ..shell import expect, read, say, start, wait_for
from .fabrics import MAKE

WWN = "naa.5001405000000a01"
TARGET = f"""\
modprobe vhost_scsi
{MAKE}targetcli /vhost create {WWN}
targetcli /vhost/{WWN}/tpg1/luns create /backstores/user:gluster/vm1
"""
END = f"""\
targetcli /vhost delete {WWN}
tcmu-gluster disk delete vm1 --keep-file
"""
CONSOLE = Path("/run/nested.txt")
LIMIT_SECONDS = 1200


@scenario(job="vhost", limit=LIMIT_SECONDS + 300)
def vhost() -> dict[str, Any]:
    """docs/vhost.md, typed: a machine within this one (two emulations) writes to our disk and reads it back."""
    nested = json.loads(Path("/io/job.json").read_text())["nested"]
    daemon.uri("vm1")
    typed.prepare()
    with daemon.Daemon() as served:
        served.wait_until_on_the_bus()
        typed.type_lines(TARGET)
        console = boot(nested["kernel"], nested["initrd"])
        expect(any("written and read back" in line for line in console), "the machine reads what it wrote")
        data = "".join(f"{number}\n" for number in range(1, 200_000)).encode()[: 1 << 20]
        expect(volume.on_the_brick("vm1", len(data)) == data, "the Gluster file holds what the machine wrote")
        typed.type_lines(END)
    expect(not lio.leftovers(), "nothing is left of it in LIO")
    return {"console": console}


def boot(kernel: str, initrd: str) -> list[str]:
    """Start the machine and wait until it has switched itself off; what it said."""
    machine = start(*command(kernel, initrd), log="/run/nested.log")
    try:
        wait_for("the machine has ended", lambda: machine.poll() is not None, LIMIT_SECONDS)
    finally:
        if machine.poll() is None:
            machine.kill()
            machine.wait(30)
        say("\n".join([read(CONSOLE)[-3000:], read("/run/nested.log")[-2000:]]))
    return [line.strip() for line in read(CONSOLE).splitlines() if "nested: " in line]


def command(kernel: str, initrd: str) -> list[str]:
    """QEMU with one disk, as an administrator would type it, but for the kernel: nothing here needs a boot loader."""
    return [
        "qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-cpu", "Nehalem", "-m", "256", "-nodefaults",
        "-no-user-config", "-display", "none", "-no-reboot", "-serial", f"file:{CONSOLE}",
        "-kernel", kernel, "-initrd", initrd,
        "-append", "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off nokaslr audit=0 tsc=reliable",
        "-device", f"vhost-scsi-pci,wwpn={WWN}",
    ]  # fmt: skip
