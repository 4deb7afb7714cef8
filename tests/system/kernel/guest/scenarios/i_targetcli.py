"""Unmodified targetcli with disks of ours, and targetcli-gluster: the same script on LIO and on the engine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from .. import daemon, lio, load, services
from ..cli import GLUSTER, PLAIN, Cli
from ..runner import scenario
from ..shell import expect, run, say, wait_for

IQN = "iqn.2024-01.test.vm:tree"
USER, OURS = "/backstores/user:gluster", "/backstores/gluster"
TPG = f"/iscsi/{IQN}/tpg1"
SCRIPT = f"""
/backstores/gluster create name=tree volume=vol host=vm path=/tree size=32M
/iscsi create {IQN}
{TPG}/luns create /backstores/gluster/tree
{TPG}/acls create {services.INITIATOR}
{TPG} set attribute authentication=0
{TPG} set parameter MaxConnections=1
saveconfig /run/tree.json
ls /
"""
"""Byte for byte the same on both."""
LUN_0 = ("-i", services.INITIATOR, f"iscsi://127.0.0.1/{IQN}/0")


def use(data: bytes = b"") -> tuple[bytes, str]:
    """Log in, write or compare, log out: (the bytes, the serial number that Linux read)."""
    with services.Session(IQN) as session:
        expect(IQN in session.discovered, "discovery names the target")
        device = session.disk()
        if data:
            run(
                "dd", f"if={device}", "of=/run/back", "bs=1M", f"count={len(data) >> 20}", "iflag=direct", "status=none"
            )
            expect(Path("/run/back").read_bytes() == data, "the disk holds what was written before")
        else:
            data = load.copy_and_compare(device, 2)
        serial = Path(f"/sys/block/{Path(device).name}/device/vpd_pg80").read_bytes()[4:].decode()
    return data, serial


@scenario(limit=300)
def plain_targetcli_with_our_disks() -> None:
    """Debian's targetcli creates, lists, exports, saves, clears, restores and deletes a user:gluster disk."""
    daemon.uri("plain")
    services.start_dbus()
    services.start_iscsid()
    with daemon.Daemon() as served:
        served.wait_until_on_the_bus()
        with Cli(PLAIN) as cli:
            helped = cli.run("/backstores/user:gluster help create")
            expect("volume@host" in helped and "nl_reply_supported=-1" in helped, "help create explains the format")
            refused = cli.run("/backstores/user:gluster create name=plain size=32M cfgstring=nonsense")
            said = [line for line in refused.splitlines() if "cfgstring invalid" in line]
            expect(len(said) == 1 and "write volume@host/path" in said[0], f"a bad string is refused: {said}")
            made = cli.run("/backstores/user:gluster create name=plain size=32M cfgstring=vol@vm/plain")
            expect("Created user-backed storage object plain" in made, "the disk is made")
            cli.run(f"/iscsi create {IQN}", f"{TPG}/luns create /backstores/user:gluster/plain",
                    f"{TPG}/acls create {services.INITIATOR}")  # fmt: skip
            listed = cli.run("ls /")
            expect("vol@vm/plain (32.0MiB) activated" in listed and "user:gluster" in listed, "ls shows it")
            data, serial = use()
            cli.run("saveconfig /run/plain.json", "clearconfig confirm=True")
            expect("vol@vm/plain" not in cli.run("ls /"), "clearconfig cleared it")
            expect(not list(lio.CORE.glob("user_*/plain")), "LIO has nothing left of it")
            cli.run("restoreconfig /run/plain.json")
            expect("vol@vm/plain (32.0MiB) activated" in cli.run("ls /"), "restoreconfig brought it back")
            expect(use(data)[1] == serial, "with its bytes and its serial number")
            cli.run(f"/iscsi delete {IQN}", "/backstores/user:gluster delete plain")
            expect("vol@vm/plain" not in cli.run("ls /"), "delete took it away")
        wait_for("the daemon has let it go", lambda: daemon.ask("status")["lio"]["disks"] == 0)


@scenario(limit=420)
def one_script_for_lio_and_for_the_engine() -> dict[str, str]:
    """targetcli-gluster builds the same target from the same bytes on LIO and the engine; both serve the same disk."""
    daemon.uri("tree")
    services.start_dbus()
    services.start_iscsid()
    Path("/run/tree.script").write_text(SCRIPT)
    with daemon.Daemon() as served:
        on_lio = run("sh", "-c", f"{GLUSTER} </run/tree.script", limit=90)
        expect(lio.backstore("tree").exists(), "it is a TCMU device")
        data, serial = use()
        with Cli(GLUSTER) as cli:
            expect("reads:" in cli.run("/backstores/gluster/tree stats"), "stats counts on LIO")
            expect("online" in cli.run("/backstores/gluster/tree check"), "check finds it there")
            errors(cli)
            cli.run("/backstores/gluster/tree resize 48M", f"/iscsi delete {IQN}", "clearconfig confirm=True",
                    "restoreconfig /run/tree.json")  # fmt: skip
            expect("tree" in cli.run("ls /backstores/gluster"), "cleared and restored")
            cli.run("clearconfig confirm=True")
            expect("o- tree" not in cli.run("ls /"), "nothing is left")
        served.stop()
        os.environ["TCMU_GLUSTER_LIO"] = "off"
        run("truncate", "-s", str(32 << 20), "/bricks/vol/data/tree", status=None)
        served.start()
        on_engine = run("sh", "-c", f"{GLUSTER} </run/tree.script", limit=60)
        expect(not list(lio.CORE.glob("user_*/tree")), "LIO knows nothing of it")
        expect(use(data)[1] == serial, "the same bytes and the same serial number as on LIO")
        libiscsi_and_qemu(serial)
        run(GLUSTER, "restoreconfig", "/run/tree.json", "clear_existing=true")
        expect("o- tree" in run(GLUSTER, "ls"), "what was saved on one side is restored on this one")
        run(GLUSTER, "clearconfig", "confirm=True")
        served.stop()
        del os.environ["TCMU_GLUSTER_LIO"]
        served.start()
        say(run("targetctl", "restore", "/run/tree.json", limit=120))
        expect(lio.backstore("tree").exists(), "what the engine saved targetctl restores on LIO")
        expect(use(data)[1] == serial, "the same bytes and the same serial number once more")
        lio.clear()
        wait_for("the daemon has let it go", lambda: daemon.ask("status")["lio"]["disks"] == 0)
    return {"lio": on_lio, "engine": on_engine}


def errors(cli: Cli) -> None:
    """What is refused is said in one sentence, and nothing changes."""
    for line, sentence in (
        (f"{OURS} create name=other volume=nosuch host=vm size=8M", "vm:24007 has no volume named nosuch"),
        (f"{OURS} create name=other volume=vol host=vm path=/other", "does not exist; add size= to make it"),
        (f"{OURS} create name=tree volume=vol host=vm path=/other size=8M", "there is a disk tree already"),
        (f"{OURS}/tree resize 16M", "would lose what lies beyond"),
        ("/iscsi create iqn.20013-10.com.redhat", "WWN not valid"),
        (f"{TPG}/luns create {OURS}/nosuch", "storage object or path not valid"),
    ):
        said = cli.run(line)
        expect(sentence in said, f"{line}: {said}")
    expect("o- other" not in cli.run(f"ls {OURS}"), "nothing was made")


def libiscsi_and_qemu(serial: str) -> None:
    """Two more initiators find the target on the engine."""
    inquiry = run("iscsi-inq", "-e", "1", "-c", "128", *LUN_0)
    expect(serial.strip("\0 ") in inquiry, "libiscsi reads the serial number")
    where = (
        f'json:{{"driver":"iscsi","transport":"tcp","portal":"127.0.0.1:3260","target":"{IQN}","lun":"0",'
        f'"initiator-name":"{services.INITIATOR}"}}'
    )
    if Path("/usr/bin/qemu-img").exists():
        expect("virtual size: 32 MiB" in run("qemu-img", "info", where), "QEMU sees its size")
    else:
        say("qemu-img is not installed here")


def beside(order: str) -> None:
    """Plain targetcli and ours with tcmu-runner on the bus too."""
    with Cli(PLAIN) as cli:
        listed = cli.run("ls /backstores")
        expect("user:gluster" in listed and "user:qcow" in listed, f"targetcli shows both handlers ({order})")
        refused = cli.run("/backstores/user:gluster create name=beside size=8M cfgstring=nonsense")
        expect("cfgstring invalid" in refused and "volume@host/path" in refused, "the check is forwarded to us")
        made = cli.run("/backstores/user:gluster create name=beside size=8M cfgstring=vol@vm/beside "
                       "control=nl_reply_supported=-1")  # fmt: skip
        expect("Created user-backed storage object beside" in made, "the disk is made")
        with lio.LoopDisk(lio.backstore("beside")) as local:
            load.copy_and_compare(local.device, 1)
        cli.run("/backstores/user:gluster delete beside")
    with Cli(GLUSTER) as cli:
        cli.run("/backstores/gluster create name=beside volume=vol host=vm")
        with lio.LoopDisk(lio.backstore("beside")) as local:
            load.copy_and_compare(local.device, 1)
        cli.run("/backstores/gluster delete beside delete_file=true")
        expect("o- beside" not in cli.run("ls /backstores"), "nothing is left")


def in_both_orders(act: Callable[[str], None]) -> None:
    """act with tcmu-runner started first, and with it started last."""
    lio.start()
    services.start_dbus()
    served = daemon.Daemon()
    served.stop()
    with services.TcmuRunner():
        served.start()
        wait_for("we are registered", lambda: "registered" in daemon.ask("status")["targetcli"], limit=60)
        act("tcmu-runner first")
    wait_for("the name is ours when tcmu-runner has ended", lambda: "is ours" in daemon.ask("status")["targetcli"])
    with services.TcmuRunner():
        wait_for("we are registered", lambda: "registered" in daemon.ask("status")["targetcli"], limit=60)
        act("tcmu-runner second")
    served.stop()


@scenario(limit=600)
def targetcli_beside_tcmu_runner_in_both_orders() -> None:
    """Whoever has the D-Bus name, plain targetcli and targetcli-gluster make and delete disks of ours."""
    daemon.uri("beside")
    in_both_orders(beside)


def whole_life(cli: Cli, node: str, create: str) -> None:
    """A disk named life is created, listed, exported and used over iSCSI, saved, cleared, restored and deleted."""
    cli.run(f"{node} create name=life {create}")
    expect(lio.backstore("life").exists(), "the disk is made")
    cli.run(f"/iscsi create {IQN}", f"{TPG}/luns create {node}/life", f"{TPG}/acls create {services.INITIATOR}")
    expect("vol@vm/life (32.0MiB) activated" in cli.run("ls /"), "ls shows it")
    data, serial = use()
    cli.run("saveconfig /run/life.json", "clearconfig confirm=True")
    expect("vol@vm/life" not in cli.run("ls /"), "clearconfig cleared it")
    expect(not list(lio.CORE.glob("user_*/life")), "LIO has nothing left of it")
    cli.run("restoreconfig /run/life.json")
    expect("vol@vm/life (32.0MiB) activated" in cli.run("ls /"), "restoreconfig brought it back")
    expect(use(data)[1] == serial, "with its bytes and its serial number")
    cli.run(f"/iscsi delete {IQN}", f"{node} delete life")
    expect("vol@vm/life" not in cli.run("ls /"), "delete took it away")
    wait_for("the daemon has let it go", lambda: daemon.ask("status")["lio"]["disks"] == 0)


@scenario(job="many", limit=900)
def a_disks_whole_life_beside_tcmu_runner_in_both_orders() -> None:
    """The same with saving, clearing, restoring and an export over iSCSI, by plain targetcli and by ours."""
    daemon.uri("life")
    services.start_iscsid()

    def lives(order: str) -> None:
        with Cli(PLAIN) as cli:
            whole_life(cli, USER, "size=32M cfgstring=vol@vm/life control=nl_reply_supported=-1")
        with Cli(GLUSTER) as cli:
            whole_life(cli, OURS, "volume=vol host=vm size=32M")

    in_both_orders(lives)
