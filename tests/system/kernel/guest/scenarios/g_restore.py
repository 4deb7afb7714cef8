"""A host's reboot: targetctl restores LIO's configuration, with the daemon and with tcmu-runner or without."""

from __future__ import annotations

from pathlib import Path

from .. import daemon, lio, load, services
from ..runner import scenario
from ..shell import expect, read, run, say, write

SAVED = "/run/saved.json"


@scenario(limit=300)
def targetctl_restores_our_disks() -> None:
    """save, clear, restore (as at boot): the disk comes back with its bytes, without and with tcmu-runner beside us.

    rtslib's restore forgets nl_reply_supported=-1, so this is where tcmu-runner's veto would strike. The write cache
    that somebody turned off stays off.
    """
    backing = daemon.uri("stored")
    services.start_dbus()
    with daemon.Daemon() as served:
        disk = daemon.Disk("stored", backing, "32M")
        write(disk.backstore / "attrib/emulate_write_cache", "0")
        with lio.LoopDisk(disk.backstore) as local:
            data = load.copy_and_compare(local.device, 1)
        run("targetctl", "save", SAVED, limit=90)
        reboot(served, SAVED)
        check(data)
        with services.TcmuRunner():
            reboot(served, SAVED)
            check(data)
        disk.backstore = lio.backstore("stored")
        disk.delete()


def reboot(served: daemon.Daemon, *file: str) -> None:
    """What a reboot does: LIO is empty, the daemon starts first (its unit is ordered so), then targetctl restores."""
    served.stop()
    lio.clear()
    served.start()
    say(run("targetctl", "restore", *file, limit=120))


def check(data: bytes) -> None:
    """The restored disk gives the bytes that were written before."""
    with lio.LoopDisk(lio.backstore("stored")) as local:
        run("dd", f"if={local.device}", "of=/run/back", "bs=1M", "count=1", "iflag=direct", "status=none")
        cache = [read(disk / "cache_type") for disk in Path("/sys/class/scsi_disk").glob(f"{local.host}:*")]
    expect(Path("/run/back").read_bytes() == data, "the restored disk holds what was written before")
    expect(cache == ["write through"], f"its write cache is off, as it was saved ({cache})")


@scenario(limit=240)
def what_was_made_here_comes_back_after_a_reboot() -> None:
    """Nobody types saveconfig: targetctl restores what disk create, resize and delete left in its own file."""
    backing = daemon.uri("kept")
    lio.saved_file().unlink(missing_ok=True)
    with daemon.Daemon() as served:
        disk, gone = daemon.Disk("kept", backing, "16M"), daemon.Disk("taken-away", daemon.uri("taken-away"), "16M")
        daemon.ask("disk.resize", name="kept", size="32M")
        gone.delete()
        with lio.LoopDisk(disk.backstore) as local:
            data = load.copy_and_compare(local.device, 1)
        reboot(served)
        expect([one["name"] for one in daemon.ask("disk.list")["items"]] == ["kept"], "one came back")
        with lio.LoopDisk(lio.backstore("kept")) as local:
            run("dd", f"if={local.device}", "of=/run/back", "bs=1M", "count=1", "iflag=direct", "status=none")
            expect(run("blockdev", "--getsize64", local.device).strip() == str(32 << 20), "with its size of last")
        expect(Path("/run/back").read_bytes() == data, "and its bytes")
        disk.backstore = lio.backstore("kept")
        disk.delete()
