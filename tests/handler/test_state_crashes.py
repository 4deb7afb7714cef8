"""kill -9 at any moment of many operations: the state file always loads, and it is the old one or the new one.

The model is told only what the daemon acknowledged. After a kill the file holds all of that; of the one operation that
was under way it holds everything or nothing.
"""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tcmu_gluster.control.client import DaemonUnreachable
from tcmu_gluster.errors import OperationError
from tests.handler.process import Process

DISKS = tuple(f"d{number}" for number in range(4))
TARGETS = tuple(f"iqn.2013-10.com.redhat:{number}" for number in range(3))
RULES = ("10.0.0.0/8", "iqn.1994-05.com.redhat:cf75c8d4274d", "all")
LONGEST_SECONDS = 0.006
"""An operation takes a few milliseconds, most of them in fsync; a kill comes within this time after it was asked."""


@dataclass(frozen=True)
class Model:
    """What there is, by names."""

    disks: frozenset[str] = frozenset()
    targets: frozenset[str] = frozenset()
    luns: frozenset[tuple[str, int, str]] = field(default_factory=frozenset)
    rules: frozenset[tuple[str, str]] = field(default_factory=frozenset)

    def after(self, op: str, args: dict[str, Any]) -> Model:
        """What there is once that operation succeeded."""
        target, disk = args.get("target", ""), args.get("name", "")
        if op == "disk.create":
            return replace(self, disks=self.disks | {disk})
        if op == "disk.delete":
            return replace(self, disks=self.disks - {disk})
        if op == "target.create":
            return replace(self, targets=self.targets | {target})
        if op == "target.delete":
            return replace(
                self,
                targets=self.targets - {target},
                luns=frozenset(one for one in self.luns if one[0] != target),
                rules=frozenset(one for one in self.rules if one[0] != target),
            )
        if op == "lun.map":
            return replace(self, luns=self.luns | {(target, args["lun"], args["disk"])})
        if op == "lun.unmap":
            return replace(self, luns=frozenset(one for one in self.luns if one[:2] != (target, args["lun"])))
        if op == "acl.allow":
            return replace(self, rules=self.rules | {(target, args["rule"])})
        return replace(self, rules=self.rules - {(target, args["rule"])})


def saved(path: Path) -> Model:
    """The same from the state file, read as plain JSON."""
    root = json.loads(path.read_text())
    disks = frozenset(one["name"] for one in root["storage_objects"])
    luns, rules = set(), set()
    for target in root["targets"]:
        iqn, (group,) = target["wwn"], target["tpgs"]
        luns |= {(iqn, lun["index"], lun["storage_object"].rsplit("/", 1)[-1]) for lun in group["luns"]}
        rules |= {(iqn, acl["node_wwn"]) for acl in group["node_acls"]}
        rules |= {(iqn, "all")} if group["attributes"]["generate_node_acls"] else set()
        rules |= {(iqn, rule) for rule in root["tcmu_gluster"]["networks"].get(iqn, ())}
    targets = frozenset(target["wwn"] for target in root["targets"])
    return Model(disks, targets, frozenset(luns), frozenset(rules))


def shown(daemon: Process) -> Model:
    """The same from what the daemon says."""
    targets = [daemon.ask("target.show", target=one["target"]) for one in daemon.ask("target.list")["items"]]
    return Model(
        frozenset(one["name"] for one in daemon.ask("disk.list")["items"]),
        frozenset(one["target"] for one in targets),
        frozenset((one["target"], lun["lun"], lun["disk"]) for one in targets for lun in one["luns"]),
        frozenset((one["target"], rule) for one in targets for rule in one["allowed"]),
    )


def choose(dice: random.Random) -> tuple[str, dict[str, Any]]:
    """Any operation on one of a few names, whether or not it makes sense now; more is made than taken away."""
    name, target, lun = dice.choice(DISKS), dice.choice(TARGETS), dice.randrange(3)
    return dice.choice((
        ("disk.create", {"name": name, "uri": f"memory:{name}", "size": "64K"}),
        ("disk.create", {"name": name, "uri": f"memory:{name}", "size": "64K"}),
        ("target.create", {"target": target}),
        ("lun.map", {"target": target, "disk": name, "lun": lun}),
        ("lun.map", {"target": target, "disk": name, "lun": lun}),
        ("acl.allow", {"target": target, "rule": dice.choice(RULES)}),
        ("acl.allow", {"target": target, "rule": dice.choice(RULES)}),
        ("acl.deny", {"target": target, "rule": dice.choice(RULES)}),
        ("lun.unmap", {"target": target, "lun": lun}),
        ("target.delete", {"target": target}),
        ("disk.delete", {"name": name}),
    ))  # fmt: skip


def ask_and_kill(daemon: Process, op: str, args: dict[str, Any], seconds: float) -> str:
    """How it ended: "done", "refused", or "" if the daemon died first; the daemon is dead afterwards."""
    outcome = [""]

    def ask() -> None:
        try:
            client.call(op, args)
            outcome[0] = "done"
        except DaemonUnreachable:
            pass
        except OperationError:
            outcome[0] = "refused"

    with daemon.client() as client:
        worker = threading.Thread(target=ask)
        worker.start()
        time.sleep(seconds)
        assert daemon.end(signal.SIGKILL) == -signal.SIGKILL
        worker.join()
    return outcome[0]


def trial(daemon: Process, operations: int, one_in: int, seed: int) -> dict[str, int]:
    """Random operations, one in so many of them with a kill; how often what was seen."""
    dice, model = random.Random(seed), Model()
    seen = {"operations": 0, "done": 0, "refused": 0, "kills": 0, "unanswered, old": 0, "unanswered, new": 0}
    daemon.start()
    daemon.ask("save")
    for _ in range(operations):
        kill = not dice.randrange(one_in)
        op, args = choose(dice)
        while kill and model.after(op, args) == model:  # what changes nothing writes nothing
            op, args = choose(dice)
        after = model.after(op, args)
        seen["operations"] += 1
        if not kill:
            try:
                daemon.ask(op, **args)
                outcome = "done"
            except OperationError:
                outcome = "refused"
        else:
            seen["kills"] += 1
            outcome = ask_and_kill(daemon, op, args, dice.uniform(0, LONGEST_SECONDS))
        found = saved(daemon.state)
        if outcome:
            seen[outcome] += 1
            assert found == (after if outcome == "done" else model), (op, args, outcome)
        else:
            assert found in (model, after), (op, args)
            seen["unanswered, new" if found == after else "unanswered, old"] += 1
        model = found
        for backup in (daemon.state.parent / "backup").glob("*.json"):
            saved(backup)
        assert daemon.process is not None
        if daemon.process.poll() is not None:
            daemon.start()
            assert shown(daemon) == model
    assert len(list((daemon.state.parent / "backup").iterdir())) <= 11, "ten, and one whose replacement was killed"
    return seen


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Process]:
    with Process(tmp_path) as process:
        yield process


def test_a_kill_at_any_moment_leaves_the_old_state_or_the_new(daemon: Process) -> None:
    seen = trial(daemon, 20, 4, seed=5)
    assert seen["kills"] >= 3 and seen["done"] >= 5


@pytest.mark.full
@pytest.mark.timeout(900)
def test_kills_during_two_hundred_operations(daemon: Process) -> None:
    seen = trial(daemon, 200, 2, seed=6)
    print(seen)
    assert seen["kills"] >= 60 and seen["unanswered, old"] and seen["unanswered, new"], seen
