"""Two portals of one target, joined by dm-multipath; one path is cut under verified load and comes back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .. import daemon, lio, load, services
from ..runner import scenario
from ..shell import expect, run, say, start, wait_for

IQN = "iqn.2024-01.test.vm:multipath"
PORTALS = ("10.99.0.1", "10.99.1.1")
# Braces on lines of their own: multipathd refuses a section on one line and then silently uses its defaults.
CONFIGURATION = """\
defaults {
	user_friendly_names yes
	find_multipaths no
	polling_interval 1
}
devices {
	device {
		vendor ".*"
		product ".*"
		path_grouping_policy multibus
		path_selector "service-time 0"
		path_checker tur
		no_path_retry 12
		fast_io_fail_tmo 5
		failback immediate
	}
}
"""
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
    Path("/etc/multipath.conf").write_text(CONFIGURATION)
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


def cut(address: str) -> None:
    """Drop every packet to and from one portal."""
    run(
        "nft",
        "-f",
        "-",
        feed=f"""
        table ip cut {{
            chain input {{
                type filter hook input priority 0;
                ip daddr {address} tcp dport 3260 drop;
                ip saddr {address} tcp sport 3260 drop;
            }}
        }}
        """,
    )


def cut_and_restore(backing: Path) -> dict[str, Any]:
    """The story itself, on any backstore."""
    start_network()
    services.start_iscsid()
    start_multipathd()
    with lio.Target(IQN, [backing], [f"{address}:3260" for address in PORTALS]):
        session = services.Session(IQN, PORTALS[0], _SESSION)
        wait_for("both paths are ready", lambda: paths() == ["active ready"] * 2, limit=90)
        topology = run("multipath", "-ll")
        say(topology)
        # Its status says "enabled" until the first I/O has chosen it, so the groups are counted by their policies.
        expect(topology.count("policy=") == 1, "one path group holds both paths")
        expect("service-time" in topology, "the policy is service-time")
        name = re.findall(r"^(\w+) ", topology, re.MULTILINE)[0]
        writer = load.VerifiedLoad(f"/dev/mapper/{name}", seconds=12)
        writer.wait_until_running()
        cut(PORTALS[0])
        wait_for("one path has failed", lambda: any("failed" in path for path in paths()), limit=60)
        expect("active ready" in paths(), "the other path is ready")
        run("nft", "delete", "table", "ip", "cut")
        wait_for("both paths are ready again", lambda: paths() == ["active ready"] * 2, limit=60)
        figures = writer.finish()
        run("multipath", "-f", name)
        session.logout()
    return figures


@scenario(job="multipath", limit=300)
def multipath_of_lio_fileio() -> dict[str, Any]:
    """The initiator's side works here, with LIO's own backstore."""
    lio.start()
    backing = lio.fileio("mp", "/run/mp.img", 64 << 20)
    figures = cut_and_restore(backing)
    lio.delete(backing)
    return figures


@scenario(limit=300)
def multipath_of_our_disk() -> dict[str, Any]:
    """The same with a Gluster file behind our handler: no error; the longest pause is in the figures."""
    backing = daemon.uri("multipath")
    with daemon.Daemon(), daemon.Disk("multipath", backing, "64M") as disk:
        return cut_and_restore(disk.backstore)
