"""The programs that scenarios need beside the kernel, each started once per boot and found again by later scenarios."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .shell import CHECKOUT, number_in, read, run, start, wait_for

VOLUME = "vol"
# Detection of a dead brick within our command limit, and none of the caches that block use can do without.
_OPTIONS = {
    "network.ping-timeout": "10",
    "performance.quick-read": "off",
    "performance.read-ahead": "off",
    "performance.io-cache": "off",
    "performance.stat-prefetch": "off",
    "performance.open-behind": "off",
    "network.remote-dio": "disable",
    "performance.strict-o-direct": "on",
}
INITIATOR = "iqn.2024-01.test.vm:initiator"


def processes(name: str) -> list[int]:
    """Process ids by the kernel's short name (15 characters); zombies do not count."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        words = re.match(r"(\d+) \((.*)\) (\S)", read(stat))
        if words and words.group(2) == name[:15] and words.group(3) != "Z":
            found.append(int(words.group(1)))
    return found


def start_dbus() -> None:
    """The system bus: targetcli and tcmu-runner end without one. It starts nobody: scenarios do (TcmuRunner)."""
    policy = Path("/etc/dbus-1/system.d/tcmu-gluster.conf")
    shipped = CHECKOUT / "handler/share/org.kernel.TCMUService1.gluster.conf"
    policy.write_text(shipped.read_text())  # as packages install it
    # Plain targetcli asks for this name, and while it is nobody's the bus would start tcmu-runner for it.
    # From then on the kernel waits for no handler's answer, which other scenarios are about.
    Path("/usr/share/dbus-1/system-services/org.kernel.TCMUService1.service").unlink(missing_ok=True)
    if processes("dbus-daemon"):
        return
    if not read("/etc/machine-id"):
        run("dbus-uuidgen", "--ensure=/etc/machine-id")
    run("dbus-daemon", "--system", "--fork")


def start_udev() -> None:
    """systemd-udevd, for multipathd; kept out of the other scenarios because its cold start takes seconds here."""
    if processes("systemd-udevd"):
        return
    run("/lib/systemd/systemd-udevd", "--daemon")
    run("udevadm", "trigger", "--action=add", "--subsystem-match=block")
    run("udevadm", "settle", "-t", "60", limit=70)


def start_iscsid() -> None:
    """The initiator's daemon."""
    run("modprobe", "iscsi_tcp")
    Path("/run/lock/iscsi").mkdir(parents=True, exist_ok=True)
    Path("/etc/iscsi/initiatorname.iscsi").write_text(f"InitiatorName={INITIATOR}\n")
    if not processes("iscsid"):
        run("iscsid")
        wait_for("iscsid listens", lambda: "ISCSIADM_ABSTRACT_NAMESPACE" in read("/proc/net/unix"))


class Session:
    """A login of open-iscsi to one target through one or more portals."""

    def __init__(
        self, iqn: str, portal: str = "127.0.0.1", settings: dict[str, str] | None = None, transport: str = "default"
    ) -> None:
        self.iqn = iqn
        self.discovered = run("iscsiadm", "-m", "discovery", "-t", "st", "-p", portal, "-I", transport)
        for name, value in (settings or {}).items():
            run("iscsiadm", "-m", "node", "-T", iqn, "-o", "update", "-n", name, "-v", value)
        run("iscsiadm", "-m", "node", "-T", iqn, "-l")

    def disks(self, lun: int = 0) -> list[str]:
        """The /dev/sdX of the LUN, one for each session that has it."""
        found = []
        for session in Path("/sys/class/iscsi_session").glob("session*"):
            if read(session / "targetname") == self.iqn:
                for block in session.glob(f"device/target*/*:{lun}/block/sd*"):
                    if os.path.exists(f"/dev/{block.name}") and number_in(block / "size") > 0:
                        found.append(f"/dev/{block.name}")
        return sorted(found)

    def disk(self, lun: int = 0) -> str:
        """The only /dev/sdX of the LUN, waited for."""
        return wait_for(f"LUN {lun} as a disk", lambda: self.disks(lun))[0]

    def rescan(self) -> None:
        """Make the initiator ask for the capacity again."""
        run("iscsiadm", "-m", "session", "-R")

    def logout(self) -> None:
        """End the sessions and forget the records."""
        run("iscsiadm", "-m", "node", "-T", self.iqn, "-u")
        run("iscsiadm", "-m", "node", "-T", self.iqn, "-o", "delete")

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.logout()


def start_gluster() -> str:
    """glusterd with one started one-brick volume on the disk that the host formatted; the volume's name."""
    if not processes("glusterd"):
        _start_glusterd()
    if "Started" not in run("gluster", "--mode=script", "volume", "info", VOLUME, status=None):
        gluster = ("gluster", "--mode=script", "volume")
        run(*gluster, "create", VOLUME, f"vm:/bricks/{VOLUME}/data")
        run(*gluster, "set", VOLUME, *(word for option in _OPTIONS.items() for word in option), limit=120)
        run(*gluster, "start", VOLUME, limit=120)
        wait_for_brick()
    return VOLUME


def wait_for_brick() -> None:
    """Until glusterd says that the volume's brick is online."""
    status = ("gluster", "--mode=script", "volume", "status", VOLUME)
    wait_for("the brick is online", lambda: re.search(r" Y ", run(*status, status=None)), limit=60)


def _start_glusterd() -> None:
    run("modprobe", "-a", "virtio_blk", "ext4", "crc32c_generic", "fuse")
    brick = Path("/bricks") / VOLUME
    brick.mkdir(parents=True, exist_ok=True)
    wait_for("the brick's disk", lambda: os.path.exists("/dev/vda"))
    if not os.path.ismount(brick):
        run("mount", "/dev/vda", str(brick))
    # glusterd runs this script fourteen times when it first starts, which takes half a minute in an emulated processor.
    for script in [*Path("/usr/lib").glob("*/glusterfs/gsyncd"), *Path("/usr/libexec/glusterfs").glob("gsyncd")]:
        script.unlink()
    run("glusterd", limit=60)
    wait_for(
        "glusterd listens",
        lambda: re.search(r":5DC7 \S+ 0A ", read("/proc/net/tcp") + read("/proc/net/tcp6")),
        limit=90,
    )


class TcmuRunner:
    """Debian's tcmu-runner, the handler that other people's set-ups have on the same host."""

    LOG = "/run/tcmu-runner.log"

    def __init__(self) -> None:
        start_dbus()
        Path("/etc/tcmu").mkdir(exist_ok=True)
        self.process = start("tcmu-runner", "--debug", log=self.LOG)
        query = (
            "dbus-send",
            "--system",
            "--print-reply",
            "--dest=org.freedesktop.DBus",
            "/org/freedesktop/DBus",
            "org.freedesktop.DBus.NameHasOwner",
            "string:org.kernel.TCMUService1",
        )
        wait_for("tcmu-runner has its D-Bus name", lambda: "boolean true" in run(*query, status=None), limit=30)

    def stop(self) -> None:
        """End it as systemd would."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    def __enter__(self) -> TcmuRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
