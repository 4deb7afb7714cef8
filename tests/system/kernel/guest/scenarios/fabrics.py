"""iSER over soft RoCE and FCoE over a pair of virtual cables: LIO's other fabrics with our disk behind them."""

from __future__ import annotations

from pathlib import Path

from .. import daemon, lio, load, services, volume
from ..runner import scenario
from ..shell import expect, read, run, wait_for, write


def gluster_holds(file: str, data: bytes) -> None:
    """What came in over the fabric is on the volume."""
    expect(volume.on_the_brick(file, len(data)) == data, "the Gluster file holds what was written")


@scenario(job="iser", limit=400)
def iser() -> None:
    """Discovery and login over iSER on a dummy device with rdma_rxe."""
    backing = daemon.uri("iser")
    lio.start()
    run("modprobe", "-a", "dummy", "rdma_rxe", "ib_core", "rdma_cm", "rdma_ucm", "ib_uverbs")
    run("ip", "link", "add", "net0", "type", "dummy")
    run("ip", "address", "add", "10.99.0.1/24", "dev", "net0")
    run("ip", "link", "set", "net0", "up")
    run("rdma", "link", "add", "rxe0", "type", "rxe", "netdev", "net0")
    run("modprobe", "-a", "ib_isert", "ib_iser")
    services.start_iscsid()
    iqn, portal = "iqn.2024-01.test.vm:iser", "10.99.0.1:3260"
    with daemon.Daemon(), daemon.Disk("iser", backing, "64M") as disk, lio.Target(iqn, [disk.backstore], [portal]):
        write(lio.TARGET / "iscsi" / iqn / "tpgt_1/np" / portal / "iser", "1")
        with services.Session(iqn, portal, transport="iser") as session:
            expect("iser" in run("iscsiadm", "-m", "session", "-P1"), "the session's transport is iser")
            data = load.copy_and_compare(session.disk(), 8)
        gluster_holds("iser", data)


@scenario(job="fcoe", limit=400)
def fcoe() -> None:
    """VN2VN over a veth pair: one end is the initiator, the other tcm_fc."""
    backing = daemon.uri("fcoe")
    lio.start("veth", "libfc", "libfcoe", "fcoe", "tcm_fc")
    ends = {"v0": "02:00:00:00:00:a0", "v1": "02:00:00:00:00:a1"}
    initiator, target = (f"20:00:{address}" for address in ends.values())  # WWPN = 2000 and the MAC address
    run(
        "ip",
        "link",
        "add",
        "v0",
        "address",
        ends["v0"],
        "mtu",
        "2500",
        "type",
        "veth",
        "peer",
        "name",
        "v1",
        "address",
        ends["v1"],
        "mtu",
        "2500",
    )
    with daemon.Daemon(), daemon.Disk("fcoe", backing, "64M") as disk:
        # libfc introduces the ports to each other only once: the target's side must be complete before.
        group = lio.TARGET / "fc" / target / "tpgt_1"
        lun, acl = group / "lun/lun_0", group / "acls" / initiator / "lun_0"
        lun.mkdir(parents=True)
        (lun / "backstore").symlink_to(disk.backstore)
        acl.mkdir(parents=True)
        (acl / "lun").symlink_to(lun)
        for end in ends:
            run("ip", "link", "set", end, "up")
        for end in ("v1", "v0"):
            write("/sys/bus/fcoe/ctlr_create", end)
        for controller in Path("/sys/bus/fcoe/devices").glob("ctlr_*"):
            write(controller / "mode", "vn2vn")
            write(controller / "enabled", "1")
        wait_for(
            "the initiator's port sees a target",
            lambda: [port for port in Path("/sys/class/fc_remote_ports").glob("*") if "Target" in read(port / "roles")],
            limit=60,
        )
        block = wait_for(
            "the disk",
            lambda: [path for path in Path("/sys/block").glob("sd*") if int(read(path / "size")) > 0],
            limit=60,
        )[0]
        data = load.copy_and_compare(f"/dev/{block.name}", 4)
        gluster_holds("fcoe", data)
        for end in ("v0", "v1"):
            write("/sys/bus/fcoe/ctlr_destroy", end)
        wait_for("the disk has gone", lambda: not block.exists())
        (acl / "lun").unlink()
        acl.rmdir()
        acl.parent.rmdir()
        (lun / "backstore").unlink()
        for folder in (lun, group, group.parent):
            folder.rmdir()
