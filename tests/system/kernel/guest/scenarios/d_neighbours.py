"""tcmu-runner on the same host: it vetoes every subtype that it does not know, unless ours was created well."""

from __future__ import annotations

from .. import daemon, lio, services
from ..runner import scenario
from ..shell import expect, run


def create_serve_delete(names: range) -> None:
    """Disks, each made, read through tcm_loop, and deleted."""
    for number in names:
        name = f"beside{number}"
        daemon.ask("disk.create", name=name, uri=daemon.uri_of(name), size="8M", front="lio")
        with lio.LoopDisk(lio.backstore(name)) as local:
            run("dd", f"if={local.device}", "of=/dev/null", "bs=64k", "count=1", "iflag=direct", "status=none")
        daemon.ask("disk.delete", name=name)
    expect(not list(lio.CORE.glob("user_*/beside*")), f"{len(names)} of {len(names)} were made, served and deleted")


def theirs_works(name: str) -> None:
    """A disk of tcmu-runner's qcow handler (it takes a raw file too)."""
    path = f"/run/{name}.raw"
    run("truncate", "-s", "8M", path)
    backing = lio.user(name, f"qcow/{path}", 8 << 20)
    with lio.LoopDisk(backing) as local:
        run("dd", f"if={local.device}", "of=/dev/null", "bs=64k", "count=1", "iflag=direct", "status=none")
    lio.delete(backing)


def fifty_times() -> None:
    """The part of `disk create` and `disk delete` that writes LIO's configuration, without a new Python each time."""
    from handler import lio_admin

    kept = daemon.Disk("beside", daemon.uri_of("beside"), "8M")
    shown = daemon.ask("disk.show", name="beside")
    made = {
        "do": "create",
        "name": "beside",
        "config": shown["config"],
        "size_bytes": 8 << 20,
        "serial": shown["serial"],
    }
    for _ in range(50):
        for request in ({"do": "delete", "name": "beside"}, made):
            answer = lio_admin.answer(request)
            if answer.get("error") or not answer["changed"]:
                raise AssertionError(f"{request} was answered {answer}")
        with lio.LoopDisk(kept.backstore) as local:
            run("dd", f"if={local.device}", "of=/dev/null", "bs=64k", "count=1", "iflag=direct", "status=none")
    kept.delete()


def in_both_orders(count: int) -> None:
    """count disks with tcmu-runner started first, as many with it started last, as many after it has ended."""
    lio.start()
    daemon.uri("any")
    served = daemon.Daemon()
    served.stop()
    with services.TcmuRunner():
        theirs_works("theirs1")
        with served:
            served.start()
            create_serve_delete(range(count))
            fifty_times()
            theirs_works("theirs2")
    with served:
        create_serve_delete(range(count))  # tcmu-runner has ended
        with services.TcmuRunner():
            create_serve_delete(range(count))
            fifty_times()
            theirs_works("theirs3")


@scenario(limit=60)
def tcmu_runner_serves_its_own() -> None:
    """Debian's tcmu-runner works here, without us."""
    lio.start()
    with services.TcmuRunner():
        theirs_works("alone")


@scenario(limit=300)
def beside_tcmu_runner_in_both_orders() -> None:
    """Ours are created, served and deleted 50 times whoever came first; tcmu-runner's own disks work all the time."""
    in_both_orders(1)


@scenario(job="neighbours", limit=1500)
def fifty_of_fifty_beside_tcmu_runner() -> None:
    """Each of the 50 by the daemon's own child process (with --full: that costs seconds in an emulated processor)."""
    in_both_orders(50)
