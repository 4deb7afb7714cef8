from __future__ import annotations

from pathlib import Path

import pytest

from tcmu_gluster.control.operations import UsageError
from tests.handler.daemon import Desk, run_desk

IQN = "iqn.2013-10.com.redhat"


def file_of(tmp_path: Path, name: str = "disk3", size: int = 1 << 20) -> str:
    (tmp_path / name).write_bytes(bytes(size))
    return f"file://{tmp_path}/{name}"


def test_a_file_becomes_a_lun_and_goes_again_without_its_file(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        uri = file_of(tmp_path)
        await desk.do("target.create", target=IQN, tid=5)
        made = await desk.do("tgt.add", target=IQN, lun=1, uri=uri)
        assert made["disk"] == "disk3" and desk.engine.disks["disk3"].state == "online"
        assert not (await desk.do("tgt.add", target=IQN, lun=1, uri=uri))["changed"]
        assert "already" in await desk.refused("tgt.add", target=IQN, lun=1, uri=file_of(tmp_path, "other"))
        await desk.do("target.create", target=f"{IQN}:2")
        await desk.do("tgt.add", target=f"{IQN}:2", lun=1, uri=uri)
        assert len(desk.engine.disks) == 1, "one file, one disk"
        await desk.do("tgt.remove", target=IQN, lun=1)
        assert "disk3" in desk.engine.disks, "another target shows it"
        await desk.do("tgt.remove", target=f"{IQN}:2", lun=1)
        assert desk.engine.disks == {} and list(desk.world.disk_files.all()) == []
        assert (tmp_path / "disk3").exists()
        assert not (await desk.do("tgt.remove", target=IQN, lun=1))["changed"]

    run_desk(tmp_path, scenario)


def test_a_disk_that_somebody_else_made_stays(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("disk.create", name="vm1", uri=file_of(tmp_path))
        await desk.do("target.create", target=IQN)
        assert (await desk.do("tgt.add", target=IQN, lun=1, uri=f"file://{tmp_path}/disk3"))["disk"] == "vm1"
        await desk.do("tgt.remove", target=IQN, lun=1)
        assert set(desk.engine.disks) == {"vm1"}

    run_desk(tmp_path, scenario)


def test_what_cannot_be_mapped_leaves_no_disk(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("target.create", target=IQN)
        assert "too large" in await desk.refused("tgt.add", target=IQN, lun=300, uri=file_of(tmp_path))
        assert desk.engine.disks == {} and (tmp_path / "disk3").exists()
        said = await desk.refused("tgt.add", target=IQN, lun=1, uri=f"file://{tmp_path}/none")
        assert said.endswith("does not exist; make it first"), "tgtadm and import have no --size"

    run_desk(tmp_path, scenario)


def test_names_are_made_from_files(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("target.create", target=IQN)
        (tmp_path / "sub").mkdir()
        for lun, name in enumerate(("disk 3", "sub/disk-3", ".hidden"), 1):
            await desk.do("tgt.add", target=IQN, lun=lun, uri=file_of(tmp_path, name).replace(" ", "%20"))
        assert list(desk.engine.disks) == ["disk-3", "disk-3-2", "hidden"]

    run_desk(tmp_path, scenario)


def test_tids_are_kept_and_unique(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        assert (await desk.do("target.create", target=IQN, tid=5))["changed"]
        await desk.do("target.create", target=f"{IQN}:b")
        assert "taken" in await desk.refused("target.create", target=f"{IQN}:c", tid=5)
        assert "already" in await desk.refused("target.create", target=IQN, tid=6)
        shown = (await desk.do("tgt.show"))["targets"]
        assert [(one["tid"], one["target"]) for one in shown] == [(1, f"{IQN}:b"), (5, IQN)]
        assert desk.saved()["tcmu_gluster"]["tids"] == {IQN: 5, f"{IQN}:b": 1}
        await desk.do("target.delete", target=f"{IQN}:b")
        assert desk.saved()["tcmu_gluster"]["tids"] == {IQN: 5}

    run_desk(tmp_path, scenario)


def test_accounts_are_bound_to_targets(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("target.create", target=IQN)
        await desk.do("tgt.account", user="joe", password="secretsecret1")
        await desk.do("tgt.account", user="out", password="secretsecret2")
        assert not (await desk.do("tgt.account", user="joe", password="secretsecret1"))["changed"]
        assert "another password" in await desk.refused("tgt.account", user="joe", password="secretsecret3")
        assert "no account" in await desk.refused("tgt.bind", target=IQN, user="nobody")
        await desk.do("tgt.bind", target=IQN, user="joe")
        await desk.do("tgt.bind", target=IQN, user="out", outgoing=True)
        assert not (await desk.do("tgt.bind", target=IQN, user="joe"))["changed"]
        assert "one account" in await desk.refused("tgt.bind", target=IQN, user="out")
        account = desk.directory.targets[IQN].accounts.everybody
        assert account is not None and account.outgoing is not None
        shown = (await desk.do("tgt.show"))["targets"][0]
        assert (shown["users"], shown["outgoing"]) == (["joe"], ["out"])
        await desk.do("tgt.account", user="joe", forget=True)
        assert desk.directory.targets[IQN].accounts.everybody is None
        assert not (await desk.do("tgt.bind", target=IQN, user="joe", undo=True))["changed"]
        with pytest.raises(UsageError):
            await desk.do("tgt.account", user="x", password="short")

    run_desk(tmp_path, scenario)


def test_a_portal_of_all_is_one_of_new_targets_too(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("tgt.portal", portal="127.0.0.2:0")
        await desk.do("target.create", target=IQN)
        assert (await desk.do("target.show", target=IQN))["portals"] == ["127.0.0.1:0", "127.0.0.2:0"]
        assert not (await desk.do("tgt.portal", portal="127.0.0.2:0"))["changed"]
        assert (await desk.do("tgt.portal", portal="127.0.0.2:0", undo=True))["changed"]
        assert (await desk.do("target.show", target=IQN))["portals"] == ["127.0.0.1:0"]

    run_desk(tmp_path, scenario)


def test_a_disk_is_called_what_it_was_called_before(tmp_path: Path) -> None:
    """SPC-4 7.8.6: NAA and T10 designators; 80h; standard INQUIRY data."""

    async def scenario(desk: Desk) -> None:
        await desk.do("target.create", target=IQN)
        await desk.do("tgt.add", target=IQN, lun=1, uri=file_of(tmp_path))
        before = desk.engine.disks["disk3"].serial
        naa = "60000000000000000e00000000010001"
        await desk.do("tgt.update", target=IQN, lun=1, vendor="IET", product="VIRTUAL-DISK", revision="0001",
                      serial="beaf11", naa=naa, scsi_id="IET     00010001",
                      write_cache="off", read_only="yes")  # fmt: skip
        unit = desk.engine.disks["disk3"].unit
        assert unit is not None and unit is desk.directory.targets[IQN].target.luns[1]
        identity = unit.identity
        assert (identity.vendor, identity.product, identity.revision) == ("IET", "VIRTUAL-DISK", "0001")
        assert (identity.serial, identity.naa.hex()) == ("beaf11", naa)
        assert identity.t10_designator == b"IET     00010001"
        assert unit.options.write_protected
        assert desk.world.disk_files.read(before) == {} and desk.world.disk_files.read("beaf11")["name"] == "disk3"
        shown = await desk.do("disk.show", name="disk3")
        assert (shown["naa"], shown["vendor"]) == (naa, "IET")
        assert not (await desk.do("tgt.update", target=IQN, lun=1, vendor="IET"))["changed"]
        with pytest.raises(UsageError, match="at most 8"):
            await desk.do("tgt.update", target=IQN, lun=1, vendor="far too long")
        with pytest.raises(UsageError, match="NAA"):
            await desk.do("tgt.update", target=IQN, lun=1, naa="7" * 16)
        assert "no LUN 9" in await desk.refused("tgt.update", target=IQN, lun=9, vendor="X")

    run_desk(tmp_path, scenario)


def test_a_new_serial_is_shown_though_another_was_shown_before(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("target.create", target=IQN)
        await desk.do("tgt.add", target=IQN, lun=1, uri=file_of(tmp_path), serial="beaf11", unit_serial="  beaf11")
        (lun,) = (await desk.do("tgt.show"))["targets"][0]["luns"]
        assert (lun["serial"], lun["unit_serial"]) == ("beaf11", "  beaf11")
        await desk.do("tgt.update", target=IQN, lun=1, serial="SN01")
        (lun,) = (await desk.do("tgt.show"))["targets"][0]["luns"]
        assert (lun["serial"], lun["unit_serial"]) == ("SN01", "")
        unit = desk.engine.disks["disk3"].unit
        assert unit is not None and unit.identity.unit_serial_number == b"SN01"

    run_desk(tmp_path, scenario)


def test_a_target_that_is_off_admits_nobody(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.do("target.create", target=IQN)
        await desk.do("acl.allow", target=IQN, rule="all")
        target = desk.directory.targets[IQN]
        assert target.allows("iqn.x", "127.0.0.1")
        assert (await desk.do("target.disable", target=IQN))["changed"]
        assert not target.allows("iqn.x", "127.0.0.1")
        assert not (await desk.do("tgt.show"))["targets"][0]["enabled"]
        assert not (await desk.do("target.disable", target=IQN))["changed"]
        await desk.do("target.enable", target=IQN)
        assert target.allows("iqn.x", "127.0.0.1")

    run_desk(tmp_path, scenario)
