"""The old cookbook with Linux's own initiator; what tcmu-runner calls a disk, and what an imported one is called."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

from .. import daemon, lio, services
from ..runner import scenario
from ..shell import CHECKOUT, expect, number_in, read, run, wait_for, write

IQN = "iqn.2013-10.com.redhat"
BIN = Path("/run/cookbook")
LINES = """
mount -t glusterfs 127.0.0.1:{volume} /mnt ; dd if=/dev/zero of=/mnt/disk3 bs=1M count=64
tgtadm --lld iscsi --op new --mode target --tid 1 -T {iqn}
tgtadm --lld iscsi --op new --mode logicalunit --tid 1 --lun 1 -b /mnt/disk3
tgtadm --lld iscsi --op new --mode logicalunit --tid 1 --lun 2 --bstype glfs -b {volume}@vm:disk4
tgtadm --lld iscsi --op bind --mode target --tid 1 -I ALL
iscsiadm --mode discovery --type sendtargets --portal 127.0.0.1
iscsiadm --mode node --targetname {iqn} --portal 127.0.0.1:3260 --login
"""
"""As they were typed, but for the host, the size of the file, and the second disk without a mount."""


def typed(line: str) -> str:
    """What a person's line prints; tgtadm is the link that the cookbook makes."""
    return run("sh", "-c", line, limit=120, env={"PATH": f"{BIN}:{os.environ['PATH']}"})


@scenario(limit=300)
def the_old_cookbook_line_by_line() -> dict[str, str]:
    """tgtadm's and iscsiadm's lines on a FUSE-mounted volume and on volume@host:file: dd's bytes are in the files."""
    daemon.uri("any")
    services.start_iscsid()
    BIN.mkdir(exist_ok=True)
    if not (BIN / "tgtadm").exists():
        (BIN / "tgtadm").symlink_to(CHECKOUT / ".venv/bin/tcmu-gluster-tgtadm")
    with daemon.Daemon():
        lines = LINES.format(volume=services.VOLUME, iqn=IQN).strip().splitlines()
        said = {}
        for line in lines:
            said[line] = typed(line)
            if line.startswith("mount"):
                run("truncate", "-s", "64M", "/mnt/disk4")
        expect(said[lines[5]].strip() == f"127.0.0.1:3260,1 {IQN}", "discovery names the portal and the target")
        disks = [wait_for(f"LUN {lun} as a disk", partial(disks_of, lun))[0] for lun in (1, 2)]
        shown = typed("lsblk -d -n -o NAME,SIZE,TYPE")
        expect(all(Path(disk).name in shown for disk in disks), f"lsblk shows both: {shown}")
        for disk, name in zip(disks, ("disk3", "disk4")):
            typed(f"dd if=/dev/zero of={disk} bs=4K count=100")
            typed(f"yes cookbook | dd of={disk} bs=4K count=100 iflag=fullblock conv=fsync oflag=direct")
            typed(f"yes cookbook | head -c 409600 | cmp -n 409600 - /mnt/{name}")
        connections = typed("tgtadm --lld iscsi --op show --mode conn --tid 1")
        expect(f"Initiator: {services.INITIATOR}" in connections, f"show --mode conn names the session: {connections}")
        typed(f"iscsiadm -m node -T {IQN} -p 127.0.0.1 -u")
        run("iscsiadm", "-m", "node", "-T", IQN, "-o", "delete")
        typed("tgtadm --lld iscsi --op delete --mode target --tid 1")
        expect(os.path.getsize("/mnt/disk3") == 64 << 20, "the file stays")
        run("umount", "/mnt")
    return {"session": connections, "lsblk": shown}


def disks_of(lun: int) -> list[str]:
    """The /dev/sdX of a LUN of the cookbook's target."""
    found = []
    for session in Path("/sys/class/iscsi_session").glob("session*"):
        if read(session / "targetname") == IQN:
            found += [f"/dev/{block.name}" for block in session.glob(f"device/target*/*:{lun}/block/sd*")
                      if number_in(block / "size") > 0]  # fmt: skip
    return found


WWN = "6b60c53c-8ce0-4d8d-a42c-5b546bca3d09"
IMPORTED = "iqn.2016-12.org.gluster-block:" + WWN


def told(device: str) -> dict[str, object]:
    """What Linux was told about a disk: INQUIRY's strings, page 80h, and what page 83h says of the logical unit."""
    folder = Path("/sys/block") / Path(device).name / "device"
    page, at, designators = (folder / "vpd_pg83").read_bytes(), 4, []
    while at < len(page):
        association, type_, length = page[at + 1] >> 4 & 3, page[at + 1] & 15, page[at + 3]
        if association == 0 and type_ != 0:  # 0: vendor specific; tcmu-runner puts its config string there
            designators.append((type_, page[at + 4 : at + 4 + length].rstrip(b"\0").hex()))
        at += 4 + length
    serial = (folder / "vpd_pg80").read_bytes()[4:].rstrip(b"\0").decode()
    return {**{name: read(folder / name) for name in ("vendor", "model", "rev")}, "serial": serial,
            "designators": sorted(designators)}  # fmt: skip


@scenario(limit=240)
def an_imported_disk_is_called_what_tcmu_runner_called_it() -> dict[str, object]:
    """The real tcmu-runner serves a disk; a disk of its glfs handler with that wwn, imported, tells Linux the same."""
    lio.start()
    with services.TcmuRunner():
        run("truncate", "-s", "8M", "/run/theirs.raw")
        backing = lio.user("theirs", "qcow//run/theirs.raw", 8 << 20)
        write(backing / "wwn/vpd_unit_serial", WWN)
        with lio.LoopDisk(backing) as local:
            before = told(local.device)
        lio.delete(backing)
    uri = daemon.uri("theirs")
    services.start_iscsid()
    saved = Path("/run/theirs.json")
    group = {"attributes": {"authentication": 0, "demo_mode_write_protect": 0, "generate_node_acls": 1}, "enable": True,
             "luns": [{"index": 0, "storage_object": "/backstores/user/theirs"}], "parameters": {}, "tag": 1,
             "portals": [{"ip_address": "127.0.0.1", "port": 3260}]}  # fmt: skip
    saved.write_text(json.dumps({
        "storage_objects": [{"attributes": {}, "name": "theirs", "plugin": "user", "size": 8 << 20, "wwn": WWN,
                             "config": f"glfs/{services.VOLUME}@vm/theirs"}],
        "targets": [{"fabric": "iscsi", "wwn": IMPORTED, "tpgs": [group]}],
    }))  # fmt: skip
    with daemon.Daemon():
        daemon.ask("disk.create", name="seed", uri=uri, size="8M", front="engine")
        daemon.ask("disk.delete", name="seed", keep_file=True)
        expect("done" in daemon.ours("import", str(saved)), "import says that it is done")
        with services.Session(IMPORTED) as session:
            after = told(session.disk())
        daemon.ask("target.delete", target=IMPORTED)
        daemon.ask("disk.delete", name="theirs")
    expect(after == before, f"the same: {before} and {after}")
    return before
