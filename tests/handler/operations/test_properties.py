"""The operations table against a model (model.py): random operations, right and wrong, on a few names.

After each step the configuration, the state file, the run time (LUNs, maps, rules, passwords, listeners) and the model
say the same; what is refused, or already so, has changed nothing; a state that can't be saved refuses everything; and a
daemon that starts from the state file is the one that ended.
"""

from __future__ import annotations

import asyncio
import copy
import errno
import inspect
import itertools
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Optional

from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from handler.operations.whole import convert
from tcmu_gluster.errors import ConfigError, OperationError
from tests.handler.daemon import Desk
from tests.handler.operations.model import Model, Refused

HERE = "127.0.0.1:0"
PORTALS = (HERE, "127.0.0.2:0", "127.0.0.3:0")
ELSEWHERE = "192.0.2.1:0"  # RFC 5737: no address of this machine
HOSTS = ("iqn.1994-05.com.redhat:cf75c8d4274d", "iqn.1994-05.com.redhat:0123456789ab")
GUEST = "iqn.1994-05.com.redhat:guest"
NETWORKS = ("10.0.0.0/8", "192.168.7.0/24")
PASSWORDS = ("twelve-bytes-1", "twelve-bytes-2")

IQNS = ("iqn.2013-10.com.redhat:1", "iqn.2013-10.com.redhat:2")
DISKS = ("a", "b", "c")
SELDOM = (False, False, False, True)
VALUES: dict[str, tuple[Any, ...]] = {
    "iqn": IQNS, "maybe_iqn": (None, *IQNS), "name": DISKS, "disk": DISKS, "data": DISKS, "host": HOSTS,
    "maybe_host": (None, *HOSTS), "lun": (0, 1, 2, 0, 1, 2, 255, 256), "maybe_lun": (None, None, 0, 1, 2, 256),
    "shown": (0, 1, 2, 3), "size": (65536, 65536, 32768, 1000), "portal": PORTALS, "on": (True, False),
    "read_only": (False, True), "who": (*HOSTS, *NETWORKS, "all"), "clear_existing": (False, False, True),
    "chap": tuple(itertools.product(("alice", "bob"), (*PASSWORDS, "short"), ("", "target"), ("", PASSWORDS[0]))),
    "broken": SELDOM, "sure": SELDOM,
}  # fmt: skip
"""What each argument of a step is drawn from."""
STEPS: list[Callable[..., None]] = []


def step(function: Callable[..., None]) -> Any:
    """A rule whose arguments are drawn from VALUES by their names."""
    STEPS.append(function)
    names = list(inspect.signature(function).parameters)[1:]
    return rule(**{name: st.sampled_from(VALUES[name]) for name in names})(function)


class Operations(RuleBasedStateMachine):
    """One engine without LIO, with memory behind its disks, and what it should be."""

    def __init__(self) -> None:
        super().__init__()
        memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # thousands of fsync() are not what is tested
        self.root = Path(tempfile.mkdtemp(prefix="tcmu-gluster-model-", dir=memory))
        self.file = self.root / "kept.json"
        self.loop = asyncio.new_event_loop()
        self.model, self.kept = Model(), None  # type: Model, Optional[Model]
        self.desk = self.run(self._begin())

    async def _begin(self) -> Desk:
        return Desk(self.root, lio=False)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def _end(self) -> None:
        self.run(self.desk.engine.stop(0.01))
        self.desk.world.threads.shutdown()

    def teardown(self) -> None:
        self._end()
        self.loop.close()
        shutil.rmtree(self.root)

    # -- one step -----------------------------------------------------------------------------------------------------

    def snapshot(self) -> Any:
        """Everything that a refused operation leaves alone."""
        engine = self.desk.engine
        return copy.deepcopy((
            engine.configuration.root, self.desk.state.path.read_bytes(), list(self.desk.world.disk_files.all()),
            {name: (disk.state, disk.size_bytes) for name, disk in engine.disks.items()},
            {iqn: (sorted(one.target.luns), len(one.listening), list(map(str, one.rules)))
             for iqn, one in self.desk.directory.targets.items()},
        ))  # fmt: skip

    def act(self, op: str, expected: Callable[[Model], None], *, broken: bool = False, **args: Any) -> None:
        """Do it to both. broken: the disk under the state file is full."""
        wanted = self.model.copy()
        try:
            expected(wanted)
            outcome = "changed" if wanted != self.model else "same"
        except Refused:
            outcome = "refused"
        if broken and outcome == "changed":
            outcome = "refused"
        unneeded = "refused" if broken else outcome  # a save that changes nothing may be tried, and refused, too
        before = self.snapshot()
        save = self.desk.state.save
        if broken:
            self.desk.state.save = full
        try:
            result = self.run(self.desk.do(op, **{name: value for name, value in args.items() if value is not None}))
            found = "changed" if result["changed"] else "same"
        except (OperationError, ConfigError) as error:
            assert "\n" not in str(error)
            found = "refused"
        finally:
            self.desk.state.save = save
        assert found in (outcome, unneeded), (op, args)
        if found == "changed":
            self.model = wanted
        else:
            assert self.snapshot() == before, (op, args)

    @initialize()
    def begin(self) -> None:
        """With something to work on; `clear` and the deletions lead to histories from nothing."""
        self.run(self.desk.do("save"))
        for name in ("a", "b"):
            self.disk_of_its_own(name)
        for iqn, disk in zip(IQNS, ("a", "b")):
            self.act("target.create", lambda m, iqn=iqn: m.create_target(iqn, HERE), target=iqn)
            self.lun_map(iqn, disk, 0, None, False, False)
            self.acl_allow(iqn, HOSTS[0], False)

    # -- what may happen ----------------------------------------------------------------------------------------------

    @step
    def disk_create(self, name: str, data: str, size: int, broken: bool) -> None:
        uri = f"memory:{data}"
        self.act("disk.create", lambda m: m.create_disk(name, uri, size), broken=broken,
                 name=name, uri=uri, size=str(size))  # fmt: skip

    @step
    def disk_of_its_own(self, name: str) -> None:
        self.act("disk.create", lambda m: m.create_disk(name, f"memory:{name}", 65536),
                 name=name, uri=f"memory:{name}", size="64K")  # fmt: skip

    @step
    def disk_delete(self, name: str) -> None:
        self.act("disk.delete", lambda m: m.delete_disk(name), name=name)

    @step
    def target_create(self, iqn: str, broken: bool) -> None:
        self.act("target.create", lambda m: m.create_target(iqn, HERE), broken=broken, target=iqn)

    @step
    def target_delete(self, iqn: str, sure: bool) -> None:
        iqn = iqn if sure else f"{iqn}:none"
        self.act("target.delete", lambda m: m.delete_target(iqn), target=iqn)

    @step
    def target_switch(self, iqn: str, on: bool) -> None:
        self.act(f"target.{'enable' if on else 'disable'}", lambda m: m.enable(iqn, on), target=iqn)

    @step
    def portal_add(self, iqn: str, portal: str) -> None:
        self.act("portal.add", lambda m: m.add_portal(iqn, portal, ours=True), target=iqn, portal=portal)

    @step
    def portal_of_another_machine(self, iqn: str) -> None:
        if self.model.targets.get(iqn) is None or self.model.targets[iqn].enabled:
            self.act("portal.add", lambda m: m.add_portal(iqn, ELSEWHERE, ours=False), target=iqn, portal=ELSEWHERE)

    @step
    def portal_remove(self, iqn: str, portal: str) -> None:
        self.act("portal.remove", lambda m: m.remove_portal(iqn, portal), target=iqn, portal=portal)

    @step
    def lun_map(
        self, iqn: str, disk: str, maybe_lun: Optional[int], maybe_host: Optional[str], read_only: bool, broken: bool
    ) -> None:
        self.act("lun.map", lambda m: m.map_lun(iqn, disk, maybe_lun, maybe_host, read_only), broken=broken,
                 target=iqn, disk=disk, lun=maybe_lun, initiator=maybe_host, read_only=read_only)  # fmt: skip

    @step
    def lun_for_all(self, iqn: str, disk: str, maybe_lun: Optional[int]) -> None:
        self.lun_map(iqn, disk, maybe_lun, None, False, False)

    @step
    def lun_unmap(self, iqn: str, lun: int, maybe_host: Optional[str]) -> None:
        self.act("lun.unmap", lambda m: m.unmap_lun(iqn, lun, maybe_host), target=iqn, lun=lun, initiator=maybe_host)

    @step
    def acl_map(self, iqn: str, host: str, lun: int, shown: int, read_only: bool) -> None:
        self.act("acl.map", lambda m: m.map_for(iqn, host, lun, shown, read_only),
                 target=iqn, initiator=host, lun=lun, shown_as=shown, read_only=read_only)  # fmt: skip

    @step
    def acl_unmap(self, iqn: str, host: str, shown: int) -> None:
        self.act("acl.unmap", lambda m: m.unmap_for(iqn, host, shown), target=iqn, initiator=host, lun=shown)

    @step
    def acl_allow(self, iqn: str, who: str, broken: bool) -> None:
        self.act("acl.allow", lambda m: m.allow(iqn, who), broken=broken, target=iqn, rule=who)

    @step
    def acl_deny(self, iqn: str, who: str) -> None:
        self.act("acl.deny", lambda m: m.deny(iqn, who), target=iqn, rule=who)

    @step
    def chap_set(self, maybe_iqn: Optional[str], maybe_host: Optional[str], chap: tuple[str, str, str, str]) -> None:
        where = {"target": maybe_iqn, "initiator": maybe_host} if maybe_iqn else {"discovery": True}
        self.act("chap.set", lambda m: m.set_chap(maybe_iqn, maybe_host, chap), **where, user=chap[0], password=chap[1],
                 mutual_user=chap[2] or None, mutual_password=chap[3] or None)  # fmt: skip

    @step
    def chap_clear(self, maybe_iqn: Optional[str], maybe_host: Optional[str]) -> None:
        where = {"target": maybe_iqn, "initiator": maybe_host} if maybe_iqn else {"discovery": True}
        self.act("chap.clear", lambda m: m.clear_chap(maybe_iqn, maybe_host), **where)

    @step
    def chap_ask(self, iqn: str, on: bool) -> None:
        self.act("chap.edit", lambda m: m.ask(iqn, on), target=iqn, ask="on" if on else "off")

    @step
    def save(self) -> None:
        self.run(self.desk.do("save", file=str(self.file)))
        self.kept = self.model.copy()

    @step
    def restore(self, clear_existing: bool, broken: bool) -> None:
        self.act("restore", lambda m: m.restore(self.kept, clear_existing), broken=broken,
                 file=str(self.file), clear_existing=clear_existing)  # fmt: skip

    @step
    def restore_the_state(self) -> None:
        self.act("restore", lambda m: None)

    @step
    def clear(self, sure: bool) -> None:
        self.act("clear", lambda m: m.clear() if sure else refuse(), confirm=sure)

    @step
    def start_again(self) -> None:
        """As handler/service.py does it: what the state file says is applied."""
        before = self.snapshot()
        self._end()
        self.desk = self.run(self._begin())
        configuration, skipped = convert(self.desk.state.load())
        self.run(self.desk.engine.apply(configuration, strict=False))
        assert skipped == [] and self.desk.engine.troubles == {}
        assert self.snapshot() == before

    def many(self, seed: int, steps: int) -> None:
        """Of every kind, by dice."""
        dice = random.Random(seed)
        for _ in range(steps):
            one = dice.choice(STEPS)
            given_ = {name: dice.choice(VALUES[name]) for name in list(inspect.signature(one).parameters)[1:]}
            note(f"{one.__name__}({given_})")
            one(self, **given_)
            self.the_file_says_what_is()
            self.all_is_as_the_model_says()

    # -- what must be -------------------------------------------------------------------------------------------------

    @invariant()
    def the_file_says_what_is(self) -> None:
        if self.desk.state.path.exists():
            assert self.desk.saved() == self.desk.context.configuration.root

    @invariant()
    def all_is_as_the_model_says(self) -> None:
        model, desk = self.model, self.desk
        whole = self.run(desk.do("configuration"))
        assert {one["name"]: (one["uri"], one["size_bytes"]) for one in whole["disks"]} == model.disks
        assert all(one["state"] == "online" for one in whole["disks"])
        assert {one["target"] for one in whole["targets"]} == set(desk.directory.targets) == set(model.targets)
        for facts in whole["targets"]:
            target = model.targets[facts["target"]]
            assert {one["lun"]: one["disk"] for one in facts["luns"]} == target.luns
            assert [f"{address}:{port}" for address, port in facts["portals"]] == target.portals
            assert facts["enabled"] is target.enabled and facts["networks"] == target.networks
            assert {acl["initiator"]: {one["lun"]: (one["tpg_lun"], one["read_only"]) for one in acl["luns"]}
                    for acl in facts["acls"]} == {host: acl.sees for host, acl in target.acls.items()}  # fmt: skip
            self.run_time_is_as_the_model_says(facts["target"])
        asked = desk.directory.discovery
        assert (asked.incoming.user if asked and asked.incoming else None) == (model.discovery or (None,))[0]

    def run_time_is_as_the_model_says(self, iqn: str) -> None:
        """What initiators meet: engine, directory and accounts, not what is shown about them."""
        target, engine, shown = self.model.targets[iqn], self.desk.engine, self.desk.directory.targets[iqn]
        names = {id(disk.unit): name for name, disk in engine.disks.items()}
        assert {lun: names[id(unit)] for lun, unit in shown.target.luns.items()} == target.luns
        assert len(shown.listening) == (len(target.portals) if target.enabled else 0)
        for host in (*HOSTS, GUEST):
            for address in ("10.1.2.3", "192.168.7.9", "203.0.113.1"):
                assert shown.allows(host, address) is target.admits(host, address)
            units, protected = engine.view_of(iqn, host)
            sees = shown.target.luns if units is None else units
            assert {lun: (names[id(unit)], lun in protected) for lun, unit in sees.items()} == target.sees(host)
            account = shown.accounts.of(host)
            user = account.incoming.user if account and account.incoming else "" if account else None
            assert user == target.asked_of(host)


def refuse() -> None:
    raise Refused


def full(root: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


LONG = settings().max_examples > 100  # the fuzz tier's profile
Operations.TestCase.settings = settings(max_examples=40 if LONG else 10, stateful_step_count=30)
TestOperations = Operations.TestCase
"""Short histories of few kinds, as hypothesis likes them: what they find, it shrinks."""


@settings(max_examples=30 if LONG else 4, phases=(Phase.generate,))  # dice don't shrink
@given(st.integers(0, 2**32))
def test_long_histories_of_every_kind(seed: int) -> None:
    machine = Operations()
    try:
        machine.begin()
        machine.many(seed, 120)
    finally:
        machine.teardown()
