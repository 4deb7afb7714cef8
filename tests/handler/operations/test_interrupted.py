"""The daemon dies in the middle of a move, before each of its steps: afterwards the disks are on exactly one front."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from handler import service as service_module
from handler.configuration import OURS, Configuration
from handler.devices import Devices
from handler.notify import Notifier
from handler.operations import interrupted
from handler.operations.interrupted import MOVING, marked, of
from handler.service import Service
from tcmu_gluster.errors import TcmuGlusterError
from tests.handler.daemon import Desk, run_desk
from tests.handler.operations.test_move import IQN, saved_by_lio, show

SECOND = f"{IQN}:second"
DISKS, TARGETS = ["vm1", "vm2"], [IQN, SECOND]
QUESTIONS = ("survey", "describe", "list")
STEPS = 10
"""Changes of LIO, of the state and of our files about the two disks: a move has so many at least."""


class Mortal:
    """A daemon that dies before its step of that number: nothing that it does later reaches LIO or a file."""

    def __init__(self, desk: Desk, dies_before: int) -> None:
        self._left, self.dead = dies_before, False
        world, state, files = desk.world, desk.state, desk.world.disk_files
        really_ask = world.ask_lio

        async def ask(request: dict[str, Any]) -> dict[str, Any]:
            if request["do"] not in QUESTIONS:
                self.step()
            return await really_ask(request)

        world.ask_lio = ask
        state.save = self._mortal(state.save)
        files.write = self._mortal(files.write)
        files.delete = self._mortal(files.delete)

    def step(self) -> None:
        self.dead = self.dead or self._left == 0
        if self.dead:
            raise OSError(errno.EOWNERDEAD, "it was killed")
        self._left -= 1

    def _mortal(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any) -> Any:
            self.step()
            return function(*arguments)

        return act


def die_moving(root: Path, to: str, dies_before: int) -> tuple[Desk, bool, dict[str, str]]:
    """Two targets that share a portal on their way; (what is left, whether it died, the disks' serials)."""
    left: list[Desk] = []
    serials: dict[str, str] = {}
    died = []

    async def scenario(desk: Desk) -> None:
        left.append(desk)
        desk.lio.targets.saved.parent.mkdir()
        desk.lio.targets.saved.write_text('{"storage_objects": [], "targets": []}')
        port = await show(desk)
        await show(desk, SECOND, "vm2", port=port)
        for name in DISKS:
            (root / name).write_bytes(name.encode() * (1 << 18) + bytes((1 << 20) - 3 * (1 << 18)))
            serials[name] = (await desk.do("disk.show", name=name))["serial"]
        if to == "engine":
            await desk.do("disk.move", name="vm1", to="lio", together=True)
        mortal = Mortal(desk, dies_before)
        try:
            await desk.do("disk.move", name="vm1", to=to, together=True)
        except (OSError, TcmuGlusterError):
            assert mortal.dead
        died.append(mortal.dead)

    run_desk(root, scenario)
    return left[0], died[0], serials


def reboot(desk: Desk) -> None:
    """LIO forgets everything; what is in its saved file comes back later, after our daemon (its unit says so)."""
    for name in list(desk.host.devices):
        desk.host.remove(name, announce=False)
    desk.lio.objects.clear()
    desk.lio.targets.made.clear()


def start_again(before: Desk, check: Callable[[Service], Awaitable[None]]) -> None:
    """The real service restores what it finds."""

    async def whole() -> None:
        desk = Desk(before.root, before=before)
        service = Service(desk.world, Notifier())
        service.devices = service.context.devices = Devices(desk.world, desk.host.listen)
        service.context.lio = True
        try:
            await service._restore()
            await check(service)
        finally:
            await asyncio.gather(service.devices.stop(), service.engine.stop(0.05))
            desk.world.threads.shutdown()

    asyncio.run(whole())


@pytest.fixture(autouse=True)
def no_modprobe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "load_module", lambda: None)


@pytest.mark.parametrize("then", ["restart", "reboot"])
@pytest.mark.parametrize("to", ["lio", "engine"])
def test_a_move_that_was_cut_off_anywhere_leaves_the_disks_on_one_front(tmp_path: Path, to: str, then: str) -> None:
    steps = 0
    while True:
        root = tmp_path / str(steps)
        root.mkdir()
        desk, died, serials = die_moving(root, to, steps)
        begun = MOVING in desk.state.load()[OURS]
        to_engine = died if to == "lio" else begun or not died
        if then == "reboot":
            reboot(desk)

        async def check(service: Service, desk: Desk = desk, serials: Any = serials, engine: bool = to_engine) -> None:
            on_engine = sorted(service.engine.disks), sorted(service.engine.directory.targets)
            on_lio = sorted(desk.lio.objects), sorted(desk.lio.targets.made)
            everything, nothing = (DISKS, TARGETS), ([], [])
            assert on_engine == (everything if engine else nothing)
            assert saved_by_lio(desk) == (nothing if engine else everything), "LIO has it after the next reboot"
            if then == "restart":
                assert on_lio == (nothing if engine else everything)
            for name, disk in service.engine.disks.items():
                assert (disk.state, disk.serial) == ("online", serials[name])
                assert service.context.world.disk_files.read(disk.serial)["name"] == name
            for target in service.engine.directory.targets.values():
                assert len(target.listening) == 1
            assert MOVING not in service.context.state.load()[OURS]
            assert MOVING not in service.context.configuration.root[OURS]

        start_again(desk, check)
        for name in DISKS:
            assert (root / name).read_bytes()[:6] == name.encode() * 2, "the bytes stay"
        if not died:
            break
        steps += 1
    assert steps >= STEPS


def test_what_a_person_has_done_meanwhile_is_left_alone(tmp_path: Path) -> None:
    """The mark names disks by serial: a newer one of that name on LIO stays, and what the engine doesn't have too."""
    desk, died, _ = die_moving(tmp_path, "engine", STEPS // 2)
    assert died and sorted(desk.lio.objects) == DISKS
    desk.lio.objects["vm1"].serial = "another disk"
    root = desk.state.load()
    root["targets"] = [one for one in root["targets"] if one["wwn"] != SECOND]
    root["storage_objects"] = [one for one in root["storage_objects"] if one["name"] != "vm2"]
    (desk.root / "etc" / "saveconfig.json").write_text(json.dumps(root))

    async def check(service: Service) -> None:
        assert sorted(desk.lio.objects) == DISKS and MOVING not in service.context.state.load()[OURS]

    start_again(desk, check)


def test_what_can_not_be_settled_yet_waits_and_is_tried_again(tmp_path: Path) -> None:
    desk, died, _ = die_moving(tmp_path, "lio", 6)
    assert died and sorted(desk.lio.targets.made) == TARGETS
    desk.lio.targets.faults = {"remove": 0}

    async def check(service: Service) -> None:
        states = {disk.state for disk in service.engine.disks.values()}
        assert len(states) == 2 and all("serves it too" in state for state in states)
        assert MOVING in service.context.state.load()[OURS]
        await service.operations.alone(service._settle)
        assert {disk.state for disk in service.engine.disks.values()} == {"online"}
        assert desk.lio.objects == {} and MOVING not in service.context.state.load()[OURS]

    start_again(desk, check)


def test_a_start_does_not_wait_for_ever_for_lio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk, died, _ = die_moving(tmp_path, "lio", 6)
    assert died

    async def never(*_: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(service_module, "SETTLE_SECONDS", 0.01)
    monkeypatch.setattr(interrupted, "settle", never)

    async def check(service: Service) -> None:
        assert all("serves it too" in disk.state for disk in service.engine.disks.values())
        assert MOVING in service.context.configuration.root[OURS]

    start_again(desk, check)


@pytest.mark.parametrize("spoilt", [None, [], {"disks": [], "targets": {}, "discovery": 1}])
def test_a_mark_that_somebody_spoilt_means_nothing(spoilt: Any) -> None:
    assert of(Configuration({OURS: {MOVING: spoilt}})) == {"disks": {}, "targets": [], "discovery": {}}


def test_a_second_mark_keeps_what_the_first_says() -> None:
    company: Any = type("Company", (), {"targets": {"iqn.b"}})
    first = Configuration({OURS: {MOVING: {"disks": {"a": "1"}, "targets": ["iqn.a"], "discovery": {"x": 1}}}})
    assert marked(first, company, {"b": "2"}, {})[OURS][MOVING] == {
        "disks": {"a": "1", "b": "2"}, "targets": ["iqn.a", "iqn.b"], "discovery": {"x": 1}}  # fmt: skip
