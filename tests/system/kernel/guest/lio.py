"""LIO by its configfs files, without targetcli: a targetcli call costs seconds in an emulated processor.

Layout: linux/drivers/target/target_core_configfs.c, .../loopback/tcm_loop.c, .../iscsi/iscsi_target_configfs.c.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Optional

from .shell import number_in, read, run, say, wait_for, write

TARGET = Path("/sys/kernel/config/target")
CORE = TARGET / "core"


def start(*modules: str) -> None:
    """Load the target core and the modules that are asked for; the second call does nothing."""
    if not CORE.exists():
        run(
            "modprobe",
            "-a",
            "target_core_mod",
            "target_core_user",
            "target_core_file",
            "iscsi_target_mod",
            "tcm_loop",
            "sd_mod",
        )
        if not os.path.ismount("/sys/kernel/config"):
            run("mount", "-t", "configfs", "configfs", "/sys/kernel/config")
        TARGET.mkdir(exist_ok=True)
    if modules:
        run("modprobe", "-a", *modules)


def database_root() -> Path:
    """Where LIO keeps persistent reservations (DBROOT)."""
    return Path(read(TARGET / "dbroot"))


def saved_file() -> Path:
    """What this machine's targetctl restores from when it boots, as it says itself."""
    return Path(re.findall(r'^default_save_file = "(.*)"$', read("/usr/bin/targetctl"), re.MULTILINE)[0])


def make_pr_folder() -> None:
    """Debian's packages forget DBROOT/pr, and without it the kernel fails every PERSISTENT RESERVE OUT."""
    (database_root() / "pr").mkdir(parents=True, exist_ok=True)


def fileio(name: str, path: str, size_bytes: int, write_back: bool = False) -> Path:
    """LIO's own file backstore, for scenarios that are about the machine and for comparison."""
    with open(path, "ab") as file:
        file.truncate(size_bytes)
    folder = _hba("fileio") / name
    folder.mkdir()
    buffered = ",fd_buffered_io=1" if write_back else ""
    write(folder / "control", f"fd_dev_name={path},fd_dev_size={size_bytes}{buffered}\n")
    write(folder / "wwn/vpd_unit_serial", str(uuid.uuid4()))
    write(folder / "enable", "1")
    return folder


def user(name: str, config: str, size_bytes: int, no_reply: bool = False) -> Path:
    """A TCMU backstore made by hand; config: "subtype/...", as it stands in the kernel.

    no_reply: the kernel waits for no handler's answer about it (nl_reply_supported=-1).
    """
    folder = _hba("user") / name
    folder.mkdir()
    try:
        write(folder / "control", f"dev_config={config},dev_size={size_bytes}{',nl_reply_supported=-1' * no_reply}")
        write(folder / "wwn/vpd_unit_serial", str(uuid.uuid4()))
        write(folder / "enable", "1")
    except OSError:
        delete(folder)
        raise
    return folder


def tcmu_runners_disk(name: str, size_bytes: int) -> Path:
    """A backstore of tcmu-runner's qcow handler, which takes a raw file (on tmpfs) too."""
    path = f"/run/{name}.raw"
    run("truncate", "-s", str(size_bytes), path)

    def made() -> Optional[Path]:
        try:
            return user(name, f"qcow/{path}", size_bytes)
        except BlockingIOError:  # tcmu-runner blocks announcements for a moment after it has its name
            return None

    backing: Path = wait_for("tcmu-runner lets the kernel announce disks", made)
    return backing


def ramdisk(name: str, size_bytes: int) -> Path:
    """LIO's RAM disk, for the speed comparison."""
    run("modprobe", "brd", status=None)
    folder = _hba("rd_mcp") / name
    folder.mkdir()
    write(folder / "control", f"rd_pages={size_bytes // 4096}")
    write(folder / "enable", "1")
    return folder


def backstore(name: str) -> Path:
    """The folder of an existing backstore, whatever HBA it is under.  Raises LookupError."""
    for folder in CORE.glob(f"*/{name}"):
        return folder
    raise LookupError(f"no backstore {name}")


def delete(folder: Path) -> None:
    """Remove a backstore, and its HBA if that is empty now."""
    folder.rmdir()
    with contextlib.suppress(OSError):  # other backstores are under it
        folder.parent.rmdir()


def _opens(device: str) -> bool:
    """Its node may stand there before there is a disk behind it (ENXIO)."""
    try:
        os.close(os.open(device, os.O_RDONLY))
    except OSError:
        return False
    return True


class LoopDisk:
    """A backstore as a SCSI disk of this very kernel (tcm_loop)."""

    _number = 0

    def __init__(self, folder: Path) -> None:
        LoopDisk._number += 1
        self.wwn = f"naa.500140500000{os.getpid() % 4096:03x}{LoopDisk._number % 16:x}"
        self._fabric = TARGET / "loopback" / self.wwn
        self._tpg = self._fabric / "tpgt_1"
        self._tpg.mkdir(parents=True)
        write(self._tpg / "nexus", self.wwn[:-1] + "f")
        self.host = read(self._tpg / "address").split(":")[0]
        lun = self._tpg / "lun/lun_0"
        lun.mkdir()
        (lun / "backstore").symlink_to(folder)
        self.device = wait_for(f"{folder.name} as a disk", self._find)

    def _find(self) -> str:
        for block in Path("/sys/class/scsi_device").glob(f"{self.host}:*/device/block/sd*"):
            if number_in(block / "size") > 0 and _opens(f"/dev/{block.name}"):
                return f"/dev/{block.name}"
        return ""

    @property
    def generic(self) -> str:
        """The /dev/sgN of the disk (module sg)."""
        run("modprobe", "sg")

        def find() -> str:
            for node in Path("/sys/class/scsi_device").glob(f"{self.host}:*/device/scsi_generic/sg*"):
                return f"/dev/{node.name}"
            return ""

        return wait_for("its sg node", find)

    def remove(self) -> None:
        """Undo all of it; the disk must not be in use."""
        lun = self._tpg / "lun/lun_0"
        (lun / "backstore").unlink()
        lun.rmdir()
        self._tpg.rmdir()
        self._fabric.rmdir()

    def __enter__(self) -> LoopDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class Target:
    """An iSCSI target with one portal group.  initiators: explicit ACLs; empty: everybody (demo mode)."""

    def __init__(
        self,
        iqn: str,
        backstores: Iterable[Path],
        portals: Iterable[str] = ("127.0.0.1:3260",),
        initiators: Iterable[str] = (),
    ) -> None:
        self.iqn = iqn
        self._fabric = TARGET / "iscsi" / iqn
        self._tpg = self._fabric / "tpgt_1"
        self._tpg.mkdir(parents=True)
        for portal in portals:
            (self._tpg / "np" / portal).mkdir()
        luns = []
        for number, folder in enumerate(backstores):
            lun = self._tpg / f"lun/lun_{number}"
            lun.mkdir()
            (lun / "backstore").symlink_to(folder)
            luns.append(lun)
        self._attributes(bool(list(initiators)))
        for initiator in initiators:
            acl = self._tpg / "acls" / initiator
            acl.mkdir()
            for lun in luns:
                (acl / lun.name).mkdir()
                (acl / lun.name / "lun").symlink_to(lun)
        write(self._tpg / "enable", "1")

    def _attributes(self, explicit: bool) -> None:
        write(self._tpg / "attrib/authentication", "0")
        write(self._tpg / "attrib/demo_mode_write_protect", "0")
        write(self._tpg / "attrib/generate_node_acls", "0" if explicit else "1")
        if not explicit:
            write(self._tpg / "attrib/cache_dynamic_acls", "1")

    def remove(self) -> None:
        """Undo all of it."""
        write(self._tpg / "enable", "0")
        for acl in (self._tpg / "acls").iterdir():
            for mapped in acl.glob("lun_*"):
                (mapped / "lun").unlink()
                mapped.rmdir()
            acl.rmdir()
        for lun in (self._tpg / "lun").glob("lun_*"):
            (lun / "backstore").unlink()
            lun.rmdir()
        for portal in (self._tpg / "np").iterdir():
            portal.rmdir()
        self._tpg.rmdir()
        self._fabric.rmdir()

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def leftovers() -> list[str]:
    """Every backstore and target that still exists."""
    return [
        str(path.relative_to(TARGET))
        for pattern in ("core/*/*/udev_path", "iscsi/iqn*", "loopback/naa*", "fc/*:*", "vhost/naa*")
        for path in TARGET.glob(pattern)
    ]


def release_waiters() -> None:
    """End every wait in configfs for a handler's answer (after a scenario that failed half-way)."""
    parameters = Path("/sys/module/target_core_user/parameters")
    if parameters.exists():
        for name, value in (("block_netlink", "1"), ("reset_netlink", "1"), ("block_netlink", "0")):
            write(parameters / name, value)


def clear() -> None:
    """Remove all of LIO's objects (after a scenario that failed half-way)."""
    for fabric in TARGET.glob("*/*/tpgt_*"):
        if (fabric / "enable").exists():
            write(fabric / "enable", "0")
        for link in [*fabric.glob("acls/*/lun_*/*"), *fabric.glob("lun/lun_*/*")]:
            if link.is_symlink():
                link.unlink()
        for folder in [
            *fabric.glob("acls/*/lun_*"),
            *fabric.glob("acls/*"),
            *fabric.glob("lun/lun_*"),
            *fabric.glob("np/*"),
            fabric,
            fabric.parent,
        ]:
            if folder.is_dir():
                folder.rmdir()
    for path in CORE.glob("*/*/udev_path"):
        delete(path.parent)
    say("LIO's objects were removed")


def _hba(kind: str) -> Path:
    folder = CORE / f"{kind}_0"
    folder.mkdir(exist_ok=True)
    return folder
