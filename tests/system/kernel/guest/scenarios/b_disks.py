"""Disks on Gluster through LIO: as a local disk, over iSCSI, growing, coming and going."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from .. import daemon, lio, load, services, volume
from ..runner import scenario
from ..shell import OURS, expect, read, run, say, wait_for


def use_file_system(kind: str, device: str, size_mebibytes: int) -> None:
    """mkfs, mount, write, unmount, fsck, mount again, compare."""
    run("modprobe", kind)
    if kind == "ext4":
        run("mkfs.ext4", "-q", "-F", device, f"{size_mebibytes}M", limit=180)
    else:
        run("mkfs.xfs", "-q", "-f", "-d", f"size={size_mebibytes}m", device, limit=180)
    mount = Path("/mnt")
    data = os.urandom(8 << 20)
    run("mount", device, str(mount))
    (mount / "file").write_bytes(data)
    run("umount", str(mount), limit=120)
    run("fsck.ext4", "-f", "-n", device, limit=120) if kind == "ext4" else run("xfs_repair", "-n", device, limit=120)
    run("blockdev", "--flushbufs", device)
    run("mount", device, str(mount))
    digest = hashlib.sha256((mount / "file").read_bytes()).hexdigest()
    run("umount", str(mount))
    expect(digest == hashlib.sha256(data).hexdigest(), f"the file on {kind} is what was written")


def compare_with_volume(device: str, file: str, mebibytes: int) -> None:
    """The disk's first bytes and those of the Gluster file, each read past the caches."""
    run(
        "dd",
        f"if={device}",
        "of=/run/disk.bytes",
        "bs=1M",
        f"count={mebibytes}",
        "iflag=direct",
        "status=none",
        limit=180,
    )
    on_disk = hashlib.sha256(Path("/run/disk.bytes").read_bytes()).hexdigest()
    on_volume = hashlib.sha256(volume.through_libgfapi(file, mebibytes << 20)).hexdigest()
    expect(on_disk == on_volume, f"the first {mebibytes} MiB of the disk and of the Gluster file are the same")


@scenario(limit=420)
def file_systems_on_a_loop_disk() -> None:
    """ext4 and xfs through tcm_loop; the Gluster file holds the same bytes."""
    backing = daemon.uri("loop")
    with daemon.Daemon(), daemon.Disk("loop", backing, "320M") as disk, lio.LoopDisk(disk.backstore) as local:
        use_file_system("ext4", local.device, 64)
        compare_with_volume(local.device, "loop", 12)
        use_file_system("xfs", local.device, 310)
        compare_with_volume(local.device, "loop", 12)


_COOKBOOK_IQN = "iqn.2013-10.com.example:vm1"
COOKBOOK = f"""\
tcmu-gluster disk create vm1 gluster://vm/{services.VOLUME}/vm1 --size 64M --front lio
targetcli /iscsi create {_COOKBOOK_IQN}
targetcli /iscsi/{_COOKBOOK_IQN}/tpg1/luns create /backstores/user:gluster/vm1
targetcli /iscsi/{_COOKBOOK_IQN}/tpg1/acls create {services.INITIATOR}
iscsiadm -m discovery -t sendtargets -p 127.0.0.1
iscsiadm -m node -T {_COOKBOOK_IQN} --login
lsscsi --brief
dd if=/run/pattern of=DISK bs=1M oflag=direct conv=fsync
dd if=DISK bs=1M count=8 iflag=direct status=none | cmp - /run/pattern
tcmu-gluster disk list
iscsiadm -m node -T {_COOKBOOK_IQN} --logout
iscsiadm -m node -T {_COOKBOOK_IQN} -o delete
targetcli /iscsi delete {_COOKBOOK_IQN}
tcmu-gluster disk delete vm1 --keep-file
"""
"""docs/lio.md, line by line; DISK stands for the /dev/sdX that lsscsi shows as GLUSTER."""


@scenario(limit=300)
def the_lio_cookbook_as_it_is_typed() -> dict[str, str]:
    """A disk on LIO, a target by plain targetcli, discovery, login, dd, logout: what docs/lio.md says, typed."""
    daemon.uri("vm1")
    services.start_dbus()
    services.start_iscsid()
    run("dd", "if=/dev/urandom", "of=/run/pattern", "bs=1M", "count=8", "status=none")
    path = f"{Path(OURS).parent}:{os.environ['PATH']}"
    transcript, disk = "", "/dev/null"
    with daemon.Daemon() as served:
        served.wait_until_on_the_bus()
        for line in COOKBOOK.splitlines():
            said = run("bash", "-o", "pipefail", "-c", line.replace("DISK", disk), env={"PATH": path})
            transcript += f"# {line}\n{said}"
            if line.startswith("lsscsi"):
                disk = next(words.split()[-1] for words in said.splitlines() if "/dev/sd" in words)
    data = Path("/run/pattern").read_bytes()
    expect(f"127.0.0.1:3260,1 {_COOKBOOK_IQN}" in transcript, "discovery names the target")
    expect(volume.on_the_brick("vm1", len(data)) == data, "the Gluster file holds what dd wrote")
    expect(not lio.leftovers(), "nothing is left of it in LIO")
    say(transcript)
    return {"transcript": transcript}


@scenario(limit=240)
def grow_and_shrink_while_in_use() -> None:
    """The initiator sees a grown disk after a rescan; shrinking is refused unless it is forced."""
    backing = daemon.uri("grow")
    services.start_iscsid()
    iqn = "iqn.2024-01.test.vm:grow"
    with daemon.Daemon(), daemon.Disk("grow", backing, "64M") as disk, lio.Target(iqn, [disk.backstore]):
        with services.Session(iqn) as session:
            device = session.disk()
            data = load.copy_and_compare(device, 2)
            daemon.ask("disk.resize", name="grow", size="128M")

            def size_mebibytes() -> int:
                return int(read(f"/sys/block/{Path(device).name}/size")) >> 11

            def rescanned() -> bool:
                session.rescan()
                return size_mebibytes() == 128

            wait_for("the initiator sees 128 MiB", rescanned)
            load.copy_and_compare(device, 2, seek_mebibytes=120)
            refused = daemon.refused("disk.resize", name="grow", size="32M")
            expect("force" in refused, f"shrinking is refused and the way out is named: {refused}")
            expect(size_mebibytes() == 128, "a refused shrink changed nothing")
            run("dd", f"if={device}", "of=/run/back", "bs=1M", "count=2", "iflag=direct", "status=none")
            expect(Path("/run/back").read_bytes() == data, "the first bytes are still there")
        daemon.ask("disk.resize", name="grow", size="32M", force=True)
        with lio.LoopDisk(disk.backstore) as local:
            sectors = int(read(f"/sys/block/{Path(local.device).name}/size"))
            expect(sectors == 32 << 11, "a forced shrink is what the next initiator sees")


@scenario(limit=400)
def disks_that_come_and_go_while_the_daemon_is_away() -> None:
    """A disk that was there before the daemon is adopted; one that was removed meanwhile does not disturb.

    Nor does an empty HBA, which rtslib would stumble over.
    """
    backing = daemon.uri("before")
    with daemon.Daemon() as served:
        (lio.CORE / "user_0").mkdir(exist_ok=True)
        disk, gone = daemon.Disk("before", backing, "32M"), daemon.Disk("gone", daemon.uri("gone"), "32M")
        with lio.LoopDisk(disk.backstore) as local:
            data = load.copy_and_compare(local.device, 1)
            served.stop()
            lio.delete(gone.backstore)
            served.start()
            run("dd", f"if={local.device}", "of=/run/back", "bs=1M", "count=1", "iflag=direct", "status=none")
            expect(Path("/run/back").read_bytes() == data, "the adopted disk gives back what was written before")
        disk.delete()
