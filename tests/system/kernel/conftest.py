"""Each scenario is a test; its job's machine runs the scenarios that were selected."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence

import pytest

from .guest import runner
from .guest.shell import PATIENCE
from .machine import Machine, MachineError
from .machines import Machines

_TOOLS = ("qemu-system-x86_64", "busybox", "cpio", "modprobe", "mkfs.ext4", "apt-get", "dpkg-deb")

UNSETTLED: frozenset[str] = frozenset()
"""Scenarios that have not been seen to pass on the daemon as it is; they run with --full until they have."""

LONG = frozenset(
    (
        "loopback",
        "sg3_utils_agree_with_the_engine",
        "sg_rtpg_sees_what_target_alua_says",
        "the_old_cookbook_line_by_line",
        "an_imported_disk_is_called_what_tcmu_runner_called_it",
        "targetcli_beside_tcmu_runner_in_both_orders",
        "a_shown_disk_moves_to_lio_and_back_under_its_initiator",
        "a_move_that_a_kill_cuts_off_is_settled_by_the_next_start",
        "speed_beside_ramdisk_and_tcmu_runner",
        "open_iscsi_proves_itself_with_every_algorithm_and_is_refused_without",
    )
)
"""Scenarios that pass but would make the default longer than its eight minutes: they run with --full too."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test function with a `scenario` argument runs once for each scenario of the job that its marker names."""
    marker = metafunc.definition.get_closest_marker("job")
    if marker and "scenario" in metafunc.fixturenames:
        names = [entry.name for entry in runner.load().values() if entry.job == marker.args[0]]
        marks = {name: [pytest.mark.full] for name in UNSETTLED | LONG}
        metafunc.parametrize("scenario", [pytest.param(name, marks=marks.get(name, [])) for name in names])


def boot(job: str, scenarios: Sequence[str]) -> Machine:
    """Start a job's machine."""
    limit = PATIENCE * (180 + sum(runner.load()[name].limit_seconds for name in scenarios))
    return Machine(job, list(scenarios), limit).__enter__()


@pytest.fixture(scope="session")
def machines(request: pytest.FixtureRequest) -> Iterator[Machines]:
    """All boots of this run.  Skips, with the reason, where there is no QEMU."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"the test machine needs {', '.join(missing)}: script/setup installs the packages of packages.txt")
    selected: dict[str, list[str]] = {}
    for item in request.session.items:
        name = getattr(item, "callspec", None) and item.callspec.params.get("scenario")
        if name in runner.load():
            selected.setdefault(runner.load()[name].job, []).append(name)
    machines = Machines(selected, boot)
    try:
        yield machines
    finally:
        machines.stop()


@pytest.fixture
def passes(machines: Machines, record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """passes(name): the scenario ran in the guest and passed; else the test fails with the scenario's own log."""

    def check(name: str) -> None:
        try:
            result = machines.result(runner.load()[name].job, name)
        except MachineError as error:
            pytest.fail(str(error), pytrace=False)
        record_property("guest_seconds", result["seconds"])
        print(f"{name}: {result['outcome']} after {result['seconds']} s in the guest")
        if result["figures"] is not None:
            record_property("figures", result["figures"])
            print(f"figures: {result['figures']}")
        print(result["log"])
        if result["outcome"] != "passed":
            pytest.fail(
                f"{name}: {result['outcome']} after {result['seconds']} s in the guest\n{result['log']}", pytrace=False
            )

    return check
