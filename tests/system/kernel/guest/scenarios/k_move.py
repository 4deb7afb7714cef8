"""A disk that a target shows goes from one front to the other under an initiator that is logged in."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

from tcmu_gluster.errors import TcmuGlusterError

from .. import daemon, lio, load, services
from ..runner import scenario
from ..shell import expect, read, run, say, wait_for

IQN = "iqn.2013-10.com.example:moving"
PORTAL = "127.0.0.1:3275"
CUT, CUT_PORTAL = "iqn.2013-10.com.example:cut", "127.0.0.1:3276"
ISCSI = lio.TARGET / "iscsi"
LUN = 3
USER, PASSWORD = "alice", "correct-horse-bat"


def facts(device: str) -> dict[str, str]:
    """Who the disk is, asked afresh, and how large."""
    return {
        "designators": run("sg_vpd", "--page=di_lu", device).replace(device, "DISK"),
        "serial": run("sg_vpd", "--page=sn", device).replace(device, "DISK"),
        "size": run("sg_readcap", "--brief", device),
        "write cache": run("sg_modes", "--page=8", "--hex", device),
    }


def block_back(device: str) -> bytes:
    """The first MiB, past the page cache; the initiator waits for its session if need be."""
    run("dd", f"if={device}", "of=/run/moved.back", "bs=1M", "count=1", "iflag=direct", "status=none", limit=120)
    return Path("/run/moved.back").read_bytes()


def moved(to: str) -> None:
    """Move it, and say where it is."""
    said = daemon.ask("disk.move", name="moving", to=to)
    expect(said["changed"] and not said["warnings"], f"it is on {to}: {said}")
    on_lio = (lio.TARGET / "iscsi" / IQN / f"tpgt_1/lun/lun_{LUN}").exists()
    expect(on_lio is (to == "lio"), f"LIO {'has' if on_lio else 'does not have'} the target")
    expect(("moving" in read(lio.saved_file())) is (to == "lio"), "LIO's saved configuration says so too")


@scenario(limit=420)
def a_shown_disk_moves_to_lio_and_back_under_its_initiator() -> None:
    """CHAP, ACL, LUN 3, identity and bytes stay; open-iscsi logs in again by itself, and its disk goes on."""
    backing = daemon.uri("moving")
    services.start_iscsid()
    run("modprobe", "-a", "sd_mod", "sg")
    lio.start()
    auth = {"authmethod": "CHAP", "username": USER, "password": PASSWORD}
    with daemon.Daemon():
        daemon.ask("disk.create", name="moving", uri=backing, size="32M")
        daemon.ask("target.create", target=IQN)
        for portal in daemon.ask("target.show", target=IQN)["portals"]:
            daemon.ask("portal.remove", target=IQN, portal=portal)
        daemon.ask("portal.add", target=IQN, portal=PORTAL)
        daemon.ask("lun.map", target=IQN, disk="moving", lun=LUN)
        daemon.ask("acl.allow", target=IQN, rule=services.INITIATOR)
        daemon.ask("chap.set", target=IQN, user=USER, password=PASSWORD)
        with services.Session(
            IQN, PORTAL, {f"node.session.auth.{name}": value for name, value in auth.items()}
        ) as session:
            device = session.disk(LUN)
            before, data = facts(device), load.copy_and_compare(device, 1)
            for to in ("lio", "engine", "lio"):
                moved(to)
                wait_for("the session is there again", lambda: "LOGGED_IN" in read_session_state(), limit=90)
                expect(block_back(device) == data, f"the same bytes on {to}")
                after = facts(device)
                expect(after == before, f"the same disk on {to}: {after}")
                expect(session.disks(LUN) == [device], "under the same name")
                data = load.copy_and_compare(device, 1)
            lio_acl = lio.TARGET / "iscsi" / IQN / "tpgt_1/acls" / services.INITIATOR
            expect(read(lio_acl / "auth/userid") == USER, "LIO asks for the same user")
        refused_without_password()
        moved("engine")
        daemon.ask("target.delete", target=IQN)
        daemon.ask("disk.delete", name="moving")
        expect(not lio.leftovers(), f"LIO has nothing left: {lio.leftovers()}")


def backstores() -> list[Path]:
    """LIO's device of the disk, if it has one."""
    return list(lio.CORE.glob("user_*/cut"))


KILLED_WHEN = {
    "lio": (
        ("the backstore is there", lambda: backstores() != []),
        ("the target is there", (ISCSI / CUT).exists),
        ("the portal is open", (ISCSI / CUT / "tpgt_1/np" / CUT_PORTAL).exists),
    ),
    "engine": (
        ("the portal is closed", lambda: not (ISCSI / CUT / "tpgt_1/np" / CUT_PORTAL).exists()),
        ("the target is gone", lambda: not (ISCSI / CUT).exists()),
        ("the backstore is gone", lambda: not backstores()),
    ),
}
"""What LIO shows at the moment when the daemon is killed."""


def cut_off(served: daemon.Daemon, to: str, seen: Callable[[], bool]) -> None:
    """Begin a move, kill the daemon as soon as that is seen, and start it again."""

    def begin() -> None:
        with contextlib.suppress(TcmuGlusterError, OSError):
            daemon.ask("disk.move", name="cut", to=to)

    asking = threading.Thread(target=begin)
    asking.start()
    wait_for("the moment", seen, limit=90)
    served.kill()
    asking.join(30)
    served.start()


@scenario(limit=600)
def a_move_that_a_kill_cuts_off_is_settled_by_the_next_start() -> dict[str, str]:
    """kill -9 at six moments of a move: the disk and its target are on one front, with bytes and serial."""
    backing = daemon.uri("cut")
    services.start_iscsid()
    with daemon.Daemon() as served:
        daemon.ask("disk.create", name="cut", uri=backing, size="8M")
        daemon.ask("target.create", target=CUT)
        for portal in daemon.ask("target.show", target=CUT)["portals"]:
            daemon.ask("portal.remove", target=CUT, portal=portal)
        daemon.ask("portal.add", target=CUT, portal=CUT_PORTAL)
        daemon.ask("lun.map", target=CUT, disk="cut")
        daemon.ask("acl.allow", target=CUT, rule=services.INITIATOR)
        serial = daemon.ask("disk.show", name="cut")["serial"]
        with services.Session(CUT, CUT_PORTAL) as session:
            data = load.copy_and_compare(session.disk(), 1)
        fronts = {}
        for to, moments in KILLED_WHEN.items():
            for what, seen in moments:
                if daemon.ask("disk.show", name="cut")["front"] == to:
                    daemon.ask("disk.move", name="cut", to="engine" if to == "lio" else "lio")
                cut_off(served, to, seen)
                (one,) = daemon.ask("disk.list")["items"]
                on_lio = (backstores() != [], (ISCSI / CUT).exists(), "cut" in read(lio.saved_file()))
                expect(set(on_lio) == {one["front"] == "lio"}, f"it is on one front, all of it: {one}, LIO {on_lio}")
                expect((one["state"], one["serial"]) == ("online", serial), f"and online, the same disk: {one}")
                with services.Session(CUT, CUT_PORTAL) as session:
                    run("dd", f"if={session.disk()}", "of=/run/cut.back", "bs=1M", "count=1", "iflag=direct")
                    expect(Path("/run/cut.back").read_bytes() == data, "with its bytes")
                fronts[f"to {to}, {what}"] = one["front"]
        if daemon.ask("disk.show", name="cut")["front"] == "lio":
            daemon.ask("disk.move", name="cut", to="engine")
        daemon.ask("target.delete", target=CUT)
        daemon.ask("disk.delete", name="cut")
        expect(not lio.leftovers(), f"LIO has nothing left: {lio.leftovers()}")
    return fronts


def read_session_state() -> str:
    """The kernel's word for each session's state."""
    return " ".join(read(path) for path in Path("/sys/class/iscsi_session").glob("session*/state"))


def refused_without_password() -> None:
    """LIO turns away who does not know it."""
    run("iscsiadm", "-m", "node", "-T", IQN, "-p", f"{PORTAL},1", "-o", "new")
    said = run("sh", "-c", f"iscsiadm -m node -T {IQN} -l; echo status=$?", limit=90)
    say(said)
    expect("status=24" in said, "without the password nobody is let in (ISCSI_ERR_LOGIN_AUTH_FAILED)")
    run("iscsiadm", "-m", "node", "-T", IQN, "-o", "delete")
