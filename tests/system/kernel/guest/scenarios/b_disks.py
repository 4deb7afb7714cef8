"""Disks on Gluster through LIO: as a local disk, over iSCSI, growing, coming and going."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from .. import daemon, lio, load, services, volume
from ..runner import scenario
from ..shell import expect, read, run, wait_for


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


@scenario(limit=240)
def the_old_cookbook_over_lio() -> None:
    """Discovery, login, dd, logout, as people know it, with a Gluster file behind LIO's iSCSI."""
    backing = daemon.uri("cookbook")
    services.start_iscsid()
    iqn = "iqn.2013-10.com.redhat:cookbook"
    with daemon.Daemon(), daemon.Disk("cookbook", backing, "64M") as disk, lio.Target(iqn, [disk.backstore]):
        with services.Session(iqn) as session:
            expect(iqn in session.discovered, "discovery names the target")
            data = load.copy_and_compare(session.disk(), 8)
        expect(volume.on_the_brick("cookbook", len(data)) == data, "the Gluster file holds what dd wrote")


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
    """A disk that was there before the daemon is adopted; one that was removed meanwhile does not disturb."""
    backing = daemon.uri("before")
    with daemon.Daemon() as served:
        disk, gone = daemon.Disk("before", backing, "32M"), daemon.Disk("gone", daemon.uri("gone"), "32M")
        with lio.LoopDisk(disk.backstore) as local:
            data = load.copy_and_compare(local.device, 1)
            served.stop()
            lio.delete(gone.backstore)
            served.start()
            run("dd", f"if={local.device}", "of=/run/back", "bs=1M", "count=1", "iflag=direct", "status=none")
            expect(Path("/run/back").read_bytes() == data, "the adopted disk gives back what was written before")
        disk.delete()
