"""tcmu-runner on the same host: it vetoes every subtype that it does not know, unless ours was created well."""

from __future__ import annotations

from .. import daemon, lio, services
from ..runner import scenario
from ..shell import expect, run


def create_serve_delete(first: int, count: int) -> None:
    """count disks, each made, read through tcm_loop, and deleted."""
    for number in range(first, first + count):
        name = f"beside{number}"
        daemon.ask("disk.create", name=name, uri=daemon.uri_of(name), size="8M", front="lio")
        with lio.LoopDisk(lio.backstore(name)) as local:
            run("dd", f"if={local.device}", "of=/dev/null", "bs=64k", "count=1", "iflag=direct", "status=none")
        daemon.ask("disk.delete", name=name)
    expect(not list(lio.CORE.glob("user_*/beside*")), f"{count} of {count} disks were made, served and deleted")


@scenario(limit=600)
def beside_tcmu_runner_in_both_orders() -> None:
    """20 disks with tcmu-runner started first, 20 with it started last, 10 after it has ended; its own disk works."""
    lio.start()
    daemon.uri("any")
    with services.TcmuRunner():
        theirs_works("theirs1")
        with daemon.Daemon():
            create_serve_delete(0, 20)
            theirs_works("theirs2")
    with daemon.Daemon():
        with services.TcmuRunner():
            create_serve_delete(20, 20)
            theirs_works("theirs3")
        create_serve_delete(40, 10)


def theirs_works(name: str) -> None:
    """A disk of tcmu-runner's qcow handler (it takes a raw file too)."""
    path = f"/run/{name}.raw"
    run("truncate", "-s", "8M", path)
    backing = lio.user(name, f"qcow/{path}", 8 << 20)
    with lio.LoopDisk(backing) as local:
        run("dd", f"if={local.device}", "of=/dev/null", "bs=64k", "count=1", "iflag=direct", "status=none")
    lio.delete(backing)


@scenario(limit=120)
def tcmu_runner_serves_its_own() -> None:
    """Debian's tcmu-runner works here, without us."""
    lio.start()
    with services.TcmuRunner():
        theirs_works("alone")
