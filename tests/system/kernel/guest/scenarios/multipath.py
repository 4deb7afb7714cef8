"""Two portals of one target, joined by dm-multipath; one path is cut under verified load and comes back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tcmu_gluster.cli.initiator import Times, multipath_conf
from tcmu_gluster.config.settings import Settings

from .. import daemon, lio, load, services
from ..runner import scenario
from ..shell import expect, run, say, start, wait_for

IQN = "iqn.2024-01.test.vm:multipath"
PORTALS = ("10.99.0.1", "10.99.1.1")
LIO_PORT, ENGINE_PORT = 3260, 3270


def configuration() -> str:
    """What `tcmu-gluster initiator-config multipath.conf` prints, with shorter pauses between multipathd's looks.

    For every vendor, so that LIO's own backstore is treated alike.
    """
    ours = multipath_conf(Times.of(Settings()))
    expect("polling_interval 5" in ours and 'vendor "GLUSTER"' in ours, "the printed configuration is the one we know")
    return ours.replace("polling_interval 5", "polling_interval 1").replace('vendor "GLUSTER"', 'vendor ".*"')


_SESSION = {
    "node.session.timeo.replacement_timeout": "3",
    "node.conn[0].timeo.noop_out_interval": "1",
    "node.conn[0].timeo.noop_out_timeout": "2",
}


def start_network() -> None:
    """Two networks that never leave this machine."""
    run("modprobe", "-a", "dummy", "nf_tables", "dm_multipath", "dm_service_time")
    for number, address in enumerate(PORTALS):
        if Path(f"/sys/class/net/net{number}").exists():
            continue
        run("ip", "link", "add", f"net{number}", "type", "dummy")
        run("ip", "address", "add", f"{address}/24", "dev", f"net{number}")
        run("ip", "link", "set", f"net{number}", "up")


def start_multipathd() -> None:
    """The daemon in its plain form; it needs udev's properties of the disks."""
    Path("/etc/multipath.conf").write_text(configuration())
    services.start_udev()
    if services.processes("multipathd"):
        return
    start("multipathd", "-d", "-s", log="/run/multipathd.log")
    wait_for(
        "multipathd answers",
        lambda: "ok" not in (out := run("multipathd", "show", "status", status=None)) and "path checker" in out,
        limit=60,
    )


def paths() -> list[str]:
    """The states that multipathd gives the paths, e.g. ["active ready", "active ready"]."""
    table = run("multipathd", "show", "paths", "format", "%d %t %T", status=None, limit=60)
    return re.findall(r"^sd\w+ (\S+ \S+)", table, re.MULTILINE)


def cut(address: str, port: int) -> None:
    """Drop every packet to and from one portal."""
    run(
        "nft",
        "-f",
        "-",
        feed=f"""
        table ip cut {{
            chain input {{
                type filter hook input priority 0;
                ip daddr {address} tcp dport {port} drop;
                ip saddr {address} tcp sport {port} drop;
            }}
        }}
        """,
    )


def start_initiator() -> None:
    """Networks, open-iscsi, multipathd."""
    start_network()
    services.start_iscsid()
    start_multipathd()


class Busy:
    """A verified load that goes on until the end: however slow everything is, the path goes and comes back under it.

    It is several loads, one after the other. One of them may do little, if both paths are away meanwhile (a slow
    machine answers pings too late); together they have to do enough.
    """

    def __init__(self, node: str) -> None:
        self._node = node
        self.figures = {"writes": 0, "verified": 0, "longest_seconds": 0.0}
        self.writer = load.VerifiedLoad(node, seconds=12)

    def look(self) -> list[str]:
        """The states of the paths, while fio runs."""
        if not self.writer.running:
            self.end()
            self.writer = load.VerifiedLoad(self._node, seconds=12)
        return paths()

    def writes(self) -> None:
        """Until fio has completed some more writes."""
        first = self.writer.written()
        wait_for("fio writes", lambda: self.look() and self.writer.written() > first + 20, limit=120)

    def end(self) -> None:
        """Wait for the end of the load that runs; its figures are added to the others'."""
        told = self.writer.finish(enough=0)
        for kind in ("writes", "verified"):
            self.figures[kind] += told[kind]
        self.figures["longest_seconds"] = max(self.figures["longest_seconds"], told["longest_seconds"])


def cut_and_restore(port: int) -> dict[str, Any]:
    """The story itself, on any target that shows one disk behind both addresses at this port."""
    session = services.Session(IQN, f"{PORTALS[0]}:{port}", _SESSION)
    wait_for("both paths are ready", lambda: paths() == ["active ready"] * 2, limit=90)
    topology = run("multipath", "-ll")
    say(topology)
    # Its status says "enabled" until the first I/O has chosen it, so the groups are counted by their policies.
    expect(topology.count("policy=") == 1, "one path group holds both paths")
    expect("policy='service-time 0'" in topology, "the policy is service-time")
    expect("queue_if_no_path" in topology, "commands wait when there is no path")
    name = re.findall(r"^(\w+) ", topology, re.MULTILINE)[0]
    node = Path("/dev/mapper") / name
    wait_for("udev has made the map's node", node.is_block_device)
    busy = Busy(str(node))
    busy.writes()
    cut(PORTALS[0], port)
    wait_for("one path has failed", lambda: any("failed" in path for path in busy.look()), limit=60)
    expect("active ready" in paths(), "the other path is ready")
    busy.writes()
    run("nft", "delete", "table", "ip", "cut")
    wait_for("both paths are ready again", lambda: busy.look() == ["active ready"] * 2, limit=60)
    busy.end()
    expect(min(busy.figures["writes"], busy.figures["verified"]) >= 50, f"there was a load: {busy.figures}")
    wait_for("nobody looks at the map any more, and it is gone", lambda: flushed(node))
    session.logout()
    return busy.figures


def flushed(node: Path) -> bool:
    """Take a map away; udev's own programs may still have it open."""
    run("multipath", "-f", node.name, status=None)
    return not node.exists()


def over_lio(backing: Path) -> dict[str, Any]:
    """One portal group of LIO's with two portals."""
    start_initiator()
    with lio.Target(IQN, [backing], [f"{address}:{LIO_PORT}" for address in PORTALS]):
        return cut_and_restore(LIO_PORT)


@scenario(job="multipath", limit=300)
def multipath_of_lio_fileio() -> dict[str, Any]:
    """The initiator's side works here, with LIO's own backstore."""
    lio.start()
    backing = lio.fileio("mp", "/run/mp.img", 64 << 20)
    figures = over_lio(backing)
    lio.delete(backing)
    return figures


@scenario(limit=300)
def multipath_of_our_disk() -> dict[str, Any]:
    """Two portals of LIO, a Gluster file behind our handler: no error; the longest pause is in the figures."""
    backing = daemon.uri("multipath")
    with daemon.Daemon(), daemon.Disk("multipath", backing, "64M") as disk:
        return over_lio(disk.backstore)


@scenario(limit=300)
def multipath_of_the_engines_portals() -> dict[str, Any]:
    """The same with two portals of the engine, whose groups of ports (ALUA) multipathd asks for its priorities."""
    start_initiator()
    with daemon.Daemon():
        daemon.ask("disk.create", name="mpath", uri=daemon.uri("mpath"), size="64M", front="engine")
        daemon.ask("target.create", target=IQN)
        for address in PORTALS:
            daemon.ask("portal.add", target=IQN, portal=f"{address}:{ENGINE_PORT}")
        daemon.ask("portal.remove", target=IQN, portal="0.0.0.0:3260")  # the one that every new target has
        daemon.ask("acl.allow", target=IQN, rule="all")
        daemon.ask("lun.map", target=IQN, disk="mpath", lun=0)
        figures = cut_and_restore(ENGINE_PORT)
        daemon.ask("target.delete", target=IQN)
        daemon.ask("disk.delete", name="mpath")
    return figures
