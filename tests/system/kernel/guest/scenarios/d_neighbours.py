"""tcmu-runner on the same host: it vetoes every subtype that it does not know, unless ours was created well."""

from __future__ import annotations

from collections.abc import Callable

from .. import daemon, lio, load, services
from ..runner import scenario
from ..shell import expect, wait_for

_TURNS = 50


def in_memory(name: str) -> str:
    """For what is between LIO and its handlers: with Gluster below, most of the time would be Gluster's."""
    return f"memory:{name}"


def create_serve_delete(names: range, uri: Callable[[str], str]) -> None:
    """Disks, each made by the daemon's own operation, read through tcm_loop, and deleted with its file."""
    for number in names:
        name = f"turn{number}"
        daemon.ask("disk.create", name=name, uri=uri(name), size="8M", front="lio")
        with lio.LoopDisk(lio.backstore(name)) as local:
            first = load.read_directly(local.device)
        if first != bytes(len(first)) or not first:
            raise AssertionError(f"{name}: a new disk does not read as zeros")
        daemon.ask("disk.delete", name=name)
    expect(not list(lio.CORE.glob("user_*/turn*")), f"{len(names)} of {len(names)} were made, served and deleted")


def theirs_works(name: str) -> None:
    """A disk of tcmu-runner's qcow handler (it takes a raw file too)."""
    backing = lio.tcmu_runners_disk(name, 8 << 20)
    with lio.LoopDisk(backing) as local:
        load.read_directly(local.device)
    lio.delete(backing)


@scenario(limit=60)
def tcmu_runner_serves_its_own() -> None:
    """Debian's tcmu-runner works here, without us."""
    lio.start()
    with services.TcmuRunner():
        theirs_works("alone")


@scenario(job="many", limit=600)
def fifty_of_fifty_beside_tcmu_runner_in_both_orders() -> None:
    """Ours are created, served and deleted 50 times whoever came first; tcmu-runner's own disks work all the time."""
    with daemon.Daemon() as served, services.TcmuRunner():
        create_serve_delete(range(_TURNS), in_memory)  # we were first
        theirs_works("theirs1")
        served.stop()
        served.start()
        create_serve_delete(range(_TURNS), in_memory)  # tcmu-runner was first
        theirs_works("theirs2")


@scenario(job="many", limit=300)
def fifty_disks_leave_nothing_behind() -> None:
    """After tcmu-runner has ended, 50 disks on Gluster come and go: nothing of it stays."""
    services.start_gluster()
    with daemon.Daemon() as served:

        def at_rest() -> dict[str, int]:
            """The footprint once no device is left."""
            now = served.footprint()
            return {} if now["uio"] or now["mappings"] else now

        create_serve_delete(range(10), daemon.uri_of)  # pools of threads fill first, and stay
        before = wait_for("no device is left", at_rest)
        create_serve_delete(range(_TURNS), daemon.uri_of)
        now: dict[str, int] = {}

        def settled() -> bool:
            now.update(at_rest())
            return bool(now) and all(now[kind] <= count for kind, count in before.items())

        try:
            wait_for(f"the footprint is no larger than {before}", settled, limit=20)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {now}") from None
