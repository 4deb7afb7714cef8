"""Enough of LIO's configfs in a plain directory for rtslib's own restore and dump code to run.

What the kernel puts into a directory that is made there, and what it makes of what is written to `control` and
`vpd_unit_serial`: linux/drivers/target/target_core_configfs.c, target_core_user.c, iscsi/iscsi_target_configfs.c.
Nothing is ever taken away: the kernel's rmdir takes what it has put there, and a plain one doesn't.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import rtslib_fb
from rtslib_fb import fabric, node, root, target, tcm

from handler.portal_group import ACL_ATTRIBUTES, ATTRIBUTES, PARAMETERS

_AUTH = dict.fromkeys(("userid", "password", "userid_mutual", "password_mutual"), "NULL")
_DEVICE = {"emulate_write_cache": 0, "cmd_time_out": 30, "hw_block_size": 512, "tmr_notification": 0, "alua_support": 0}


def _files(folder: Path, files: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name).write_text(f"{value}\n")


def _populate(one: Any) -> None:
    """What the kernel shows in a new directory."""
    path = Path(one.path)
    if isinstance(one, root.RTSRoot):
        (path / "core").mkdir()
    elif isinstance(one, fabric.ISCSIFabricModule):
        _files(path / "discovery_auth", {**_AUTH, "enforce_discovery_auth": 0})
    elif isinstance(one, tcm.UserBackedStorageObject):
        _files(path, {"enable": 0})
        _files(path / "attrib", _DEVICE)
        _files(path / "wwn", {"vpd_unit_serial": "T10 VPD Unit Serial Number: "})
        (path / "alua").mkdir()
        _tell(path, {})
    elif isinstance(one, target.TPG):
        _files(path, {"enable": 0})
        for folder, files in (("attrib", ATTRIBUTES), ("param", PARAMETERS), ("auth", _AUTH)):
            _files(path / folder, files)
        for folder in ("np", "lun", "acls"):
            (path / folder).mkdir()
    elif isinstance(one, target.NetworkPortal):
        _files(path, {"iser": 0, "cxgbit": 0})
    elif isinstance(one, target.NodeACL):
        _files(path / "attrib", ACL_ATTRIBUTES)
        _files(path / "auth", _AUTH)
    elif isinstance(one, target.MappedLUN):
        _files(path, {"write_protect": 0})


def _tell(path: Path, said: Mapping[str, str]) -> None:
    """The device's info file, from all that was written to control."""
    sectors = said.get("hw_max_sectors", "128")
    (path / "info").write_text(
        f"Status: DEACTIVATED  Max Queue Depth: 128  SectorSize: 512  HwMaxSectors: {sectors}\n"
        f"        Config: {said.get('dev_config', 'NULL')} Size: {said.get('dev_size', '0')} MaxDataAreaMB: "
        f"{said.get('max_data_area_mb', '8')} DataPagesPerBlk: 1\n"
    )


def _control(one: Any, command: str) -> None:
    path = Path(one.path)
    with open(path / "control.log", "a+", encoding="utf-8") as log:
        log.write(command.strip() + "\n")
        log.seek(0)
        words = [word for line in log.read().splitlines() for word in line.split(",")]
    said = dict(word.split("=", 1) for word in words)
    assert set(said) <= {"dev_config", "dev_size", "hw_block_size", "hw_max_sectors", "nl_reply_supported",
                         "max_data_area_mb"}, "the kernel refuses a word that it doesn't know"  # fmt: skip
    _tell(path, said)
    if "hw_block_size" in said:
        (path / "attrib/hw_block_size").write_text(said["hw_block_size"])


@contextmanager
def configfs(folder: Path) -> Iterator[Any]:
    """rtslib's RTSRoot on an empty LIO below folder."""
    make = node.CFSNode._create_in_cfs_ine

    def make_and_populate(one: Any, mode: str) -> None:
        fresh = not one.exists
        make(one, mode)
        if fresh:
            _populate(one)

    def serial_of(one: Any) -> str:
        return (Path(one.path) / "wwn/serial").read_text()

    def set_serial(one: Any, serial: str) -> None:
        (Path(one.path) / "wwn/serial").write_text(serial)

    folder.mkdir()
    with mock.patch.multiple(node.CFSNode, configfs_dir=str(folder / "target"), _create_in_cfs_ine=make_and_populate), \
            mock.patch.object(root, "mount_configfs", lambda: None), \
            mock.patch.object(tcm, "lock_file", str(folder / "lock")), \
            mock.patch.dict(tcm.bs_cache, clear=True), \
            mock.patch.object(tcm.StorageObject, "wwn", property(serial_of, set_serial)), \
            mock.patch.object(tcm.UserBackedStorageObject, "_control", _control):  # fmt: skip
        found = rtslib_fb.RTSRoot()
        fabric.ISCSIFabricModule()._create_in_cfs_ine("any")
        yield found
