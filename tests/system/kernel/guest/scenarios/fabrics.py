"""Loopback, iSER over soft RoCE, FCoE over a pair of virtual cables: docs/fabrics.md, iser.md, fcoe.md, typed."""

from __future__ import annotations

from pathlib import Path

from .. import daemon, lio, services, typed, volume
from ..runner import scenario
from ..shell import expect, number_in, read, run, wait_for

MAKE = f"tcmu-gluster disk create vm1 gluster://vm/{services.VOLUME}/vm1 --size 64M --front lio\n"
USE = """\
dd if=/run/pattern of=DISK bs=1M oflag=direct conv=fsync
dd if=DISK bs=1M count=4 iflag=direct status=none | cmp - /run/pattern
"""

LOOP_WWN = "naa.5001405000000a02"
LOOP_TARGET = f"""\
{MAKE}targetcli /loopback create {LOOP_WWN}
targetcli /loopback/{LOOP_WWN}/luns create /backstores/user:gluster/vm1
"""
LOOP_END = f"""\
targetcli /loopback delete {LOOP_WWN}
tcmu-gluster disk delete vm1 --keep-file
"""

IQN = "iqn.2024-01.org.example:vm1"
ISER_TARGET = f"""\
modprobe -a rdma_rxe ib_isert
rdma link add rxe0 type rxe netdev net0
{MAKE}targetcli /iscsi create {IQN}
targetcli /iscsi/{IQN}/tpg1/portals delete 0.0.0.0 3260
targetcli /iscsi/{IQN}/tpg1/portals create 10.99.0.1
targetcli /iscsi/{IQN}/tpg1/portals/10.99.0.1:3260 enable_iser true
targetcli /iscsi/{IQN}/tpg1/luns create /backstores/user:gluster/vm1
targetcli /iscsi/{IQN}/tpg1/acls create {services.INITIATOR}
"""
ISER_INITIATOR = f"""\
modprobe ib_iser
iscsiadm -m discovery -t sendtargets -p 10.99.0.1 -I iser
iscsiadm -m node -T {IQN} -p 10.99.0.1 --login
iscsiadm -m session -P 1
"""
ISER_END = f"""\
iscsiadm -m node -T {IQN} --logout
iscsiadm -m node -T {IQN} -o delete
targetcli /iscsi delete {IQN}
tcmu-gluster disk delete vm1 --keep-file
"""

TARGET_WWN, INITIATOR_WWN = "naa.20000200000000a1", "naa.20000200000000a0"
FCOE_TARGET = f"""\
modprobe -a fcoe tcm_fc
echo v1 > /sys/bus/fcoe/ctlr_create
echo vn2vn > /sys/bus/fcoe/devices/ctlr_0/mode
{MAKE}targetcli /tcm_fc create {TARGET_WWN}
targetcli /tcm_fc/{TARGET_WWN}/luns create /backstores/user:gluster/vm1
targetcli /tcm_fc/{TARGET_WWN}/acls create {INITIATOR_WWN}
echo 1 > /sys/bus/fcoe/devices/ctlr_0/enabled
"""
FCOE_INITIATOR = """\
modprobe fcoe
echo v0 > /sys/bus/fcoe/ctlr_create
echo vn2vn > /sys/bus/fcoe/devices/ctlr_1/mode
echo 1 > /sys/bus/fcoe/devices/ctlr_1/enabled
"""
FCOE_END = f"""\
echo v0 > /sys/bus/fcoe/ctlr_destroy
targetcli /tcm_fc delete {TARGET_WWN}
echo v1 > /sys/bus/fcoe/ctlr_destroy
tcmu-gluster disk delete vm1 --keep-file
"""


def use(device: str) -> None:
    """Write and read the disk as the pages say; what came in over the fabric is on the volume."""
    typed.type_lines(USE, device)
    expect(volume.on_the_brick("vm1", len(typed.pattern())) == typed.pattern(), "the Gluster file holds the bytes")


@scenario(limit=400)
def loopback() -> None:
    """A disk of this very host, by plain targetcli."""
    daemon.uri("vm1")
    typed.prepare()
    with daemon.Daemon() as served:
        served.wait_until_on_the_bus()
        typed.type_lines(LOOP_TARGET)
        use(new_disk())
        typed.type_lines(LOOP_END)
    expect(not lio.leftovers(), "nothing is left of it in LIO")


@scenario(job="iser", limit=1200)
def iser() -> dict[str, str]:
    """Discovery and login over iSER on a dummy device with rdma_rxe."""
    daemon.uri("vm1")
    lio.start("dummy")
    typed.prepare()
    run("ip", "link", "add", "net0", "type", "dummy")
    run("ip", "address", "add", "10.99.0.1/24", "dev", "net0")
    run("ip", "link", "set", "net0", "up")
    services.start_iscsid()
    with daemon.Daemon() as served:
        served.wait_until_on_the_bus()
        typed.type_lines(ISER_TARGET)
        said = typed.type_lines(ISER_INITIATOR)
        expect("Iface Transport: iser" in said, "the session's transport is iser")
        use(new_disk())
        typed.type_lines(ISER_END)
    expect(not lio.leftovers(), "nothing is left of it in LIO")
    return {"transcript": said}


@scenario(job="fcoe", limit=1200)
def fcoe() -> None:
    """VN2VN over a veth pair: one end is the initiator, the other tcm_fc."""
    daemon.uri("vm1")
    lio.start("veth")
    typed.prepare()
    ends = ("name", "v0", "address", "02:00:00:00:00:a0", "mtu", "2500"), (
        "name", "v1", "address", "02:00:00:00:00:a1", "mtu", "2500")  # fmt: skip
    run("ip", "link", "add", *ends[0], "type", "veth", "peer", *ends[1])
    for end in ("v0", "v1"):
        run("ip", "link", "set", end, "up")
    with daemon.Daemon() as served:
        served.wait_until_on_the_bus()
        typed.type_lines(FCOE_TARGET)
        typed.type_lines(FCOE_INITIATOR)
        wait_for("the initiator's port sees a target", targets, limit=60)
        use(new_disk())
        typed.type_lines(FCOE_END)
    expect(not lio.leftovers(), "nothing is left of it in LIO")


def targets() -> list[Path]:
    """Ports that say of themselves to be targets."""
    ports = Path("/sys/class/fc_remote_ports").glob("*")
    return [port for port in ports if "Target" in read(port / "roles")]


def new_disk() -> str:
    """The machine's only SCSI disk, once it is there."""

    def found() -> list[str]:
        return [f"/dev/{path.name}" for path in Path("/sys/block").glob("sd*") if number_in(path / "size") > 0]

    return wait_for("the disk", found, limit=60)[0]
