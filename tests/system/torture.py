"""Two initiators' torture: COMPARE AND WRITE, WRITE (ATOMIC), READ and persistent reservations on the same few blocks.

Every answer is judged by a model that follows all orders in which the disk could have done what was outstanding: an
answer that no order explains is a violation. The model is written from SBC-3 (atomicity of COMPARE AND WRITE) and SPC-4
(reservations), and shares no code with the disk.

    .venv/bin/python -m tests.system.torture --seconds 30
"""

from __future__ import annotations

import argparse
import random
import selectors
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Optional

from tests.doubles.initiator import Initiator, Task
from tests.system.export import Export

BLOCKS, BLOCK_BYTES = 6, 512
DEPTH = 3
"""Commands that one initiator has outstanding."""
GOOD, CHECK_CONDITION, CONFLICT = 0x00, 0x02, 0x18
RESERVATIONS_PREEMPTED, RESERVATIONS_RELEASED, REGISTRATIONS_PREEMPTED = 0x2A03, 0x2A04, 0x2A05
INVALID_RELEASE, MISCOMPARE = 0x2604, 0x1D00
WRITE_EXCLUSIVE, EXCLUSIVE_ACCESS, REGISTRANTS_WRITE, REGISTRANTS_ACCESS = 1, 3, 5, 6
TYPES = (WRITE_EXCLUSIVE, EXCLUSIVE_ACCESS, REGISTRANTS_WRITE, REGISTRANTS_ACCESS)


class Violation(AssertionError):
    """An answer that no order of the outstanding commands explains."""


# -- the model ---------------------------------------------------------------------------------------------------------


class State(NamedTuple):
    """The disk: its blocks, who is registered, who holds what, and what each initiator has still to hear."""

    blocks: tuple[int, ...] = (0,) * BLOCKS
    registered: tuple[bool, bool] = (False, False)
    holder: int = -1
    type: int = 0
    attentions: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())


Outcome = tuple[int, int]
"""(status, what came with it): the value that was read, or the additional sense code."""


@dataclass(frozen=True)
class Op:
    """One command of initiator who. kind is a key of RULES."""

    who: int
    kind: str
    block: int = 0
    value: int = 0
    expected: int = 0
    type: int = 0


def apply(state: State, op: Op) -> tuple[State, Outcome]:
    """What becomes of the disk, and what is answered."""
    waiting = state.attentions[op.who]
    if waiting:
        return state._replace(attentions=_put(state.attentions, op.who, waiting[1:])), (CHECK_CONDITION, waiting[0])
    return RULES[op.kind](state, op)


def passes(state: State, op: Op) -> bool:
    """Whether a command on blocks gets past attentions and reservations now."""
    return not state.attentions[op.who] and not _refused(state, op, op.kind != "READ")


def finish(state: State, op: Op) -> tuple[State, Outcome]:
    """What becomes of the blocks, and what is answered, by a command that has passed."""
    after, outcome = RULES[op.kind](state._replace(holder=op.who), op)
    return after._replace(holder=state.holder), outcome


def _put(pair: Any, index: int, value: Any) -> Any:
    return (value, pair[1]) if index == 0 else (pair[0], value)


def _tell(state: State, who: int, asc: int) -> State:
    """One more thing to hear; the same one twice is one."""
    heard = state.attentions[who]
    return state if asc in heard else state._replace(attentions=_put(state.attentions, who, (*heard, asc)))


def _refused(state: State, op: Op, writes: bool) -> bool:
    """Whether a reservation forbids a medium access command.  Source: SBC-3, commands allowed with reservations."""
    if state.holder in (-1, op.who):
        return False
    if state.type in (REGISTRANTS_WRITE, REGISTRANTS_ACCESS) and state.registered[op.who]:
        return False
    return writes or state.type in (EXCLUSIVE_ACCESS, REGISTRANTS_ACCESS)


def _read(state: State, op: Op) -> tuple[State, Outcome]:
    if _refused(state, op, False):
        return state, (CONFLICT, 0)
    return state, (GOOD, state.blocks[op.block])


def _write(state: State, op: Op) -> tuple[State, Outcome]:
    if _refused(state, op, True):
        return state, (CONFLICT, 0)
    blocks = list(state.blocks)
    blocks[op.block] = op.value
    return state._replace(blocks=tuple(blocks)), (GOOD, 0)


def _compare_and_write(state: State, op: Op) -> tuple[State, Outcome]:
    if not _refused(state, op, True) and state.blocks[op.block] != op.expected:
        return state, (CHECK_CONDITION, MISCOMPARE)
    return _write(state, op)


def _register(state: State, op: Op) -> tuple[State, Outcome]:
    return state._replace(registered=_put(state.registered, op.who, True)), (GOOD, 0)


def _reserve(state: State, op: Op) -> tuple[State, Outcome]:
    if not state.registered[op.who]:
        return state, (CONFLICT, 0)
    if state.holder == -1:
        return state._replace(holder=op.who, type=op.type), (GOOD, 0)
    return state, (GOOD if state.holder == op.who and state.type == op.type else CONFLICT, 0)


def _release(state: State, op: Op) -> tuple[State, Outcome]:
    if not state.registered[op.who]:
        return state, (CONFLICT, 0)
    if state.holder != op.who:
        return state, (GOOD, 0)
    if state.type != op.type:
        return state, (CHECK_CONDITION, INVALID_RELEASE)
    other = 1 - op.who
    if state.type in (REGISTRANTS_WRITE, REGISTRANTS_ACCESS) and state.registered[other]:
        state = _tell(state, other, RESERVATIONS_RELEASED)
    return state._replace(holder=-1, type=0), (GOOD, 0)


def _clear(state: State, op: Op) -> tuple[State, Outcome]:
    other = 1 - op.who
    if not state.registered[op.who]:
        return state, (CONFLICT, 0)
    if state.registered[other]:
        state = _tell(state, other, RESERVATIONS_PREEMPTED)
    return state._replace(registered=(False, False), holder=-1, type=0), (GOOD, 0)


def _preempt(state: State, op: Op) -> tuple[State, Outcome]:
    other = 1 - op.who
    if not (state.registered[op.who] and state.registered[other]):
        return state, (CONFLICT, 0)
    state = _tell(state, other, REGISTRATIONS_PREEMPTED)
    if state.holder == other:
        state = state._replace(holder=op.who, type=op.type)
    return state._replace(registered=_put(state.registered, other, False)), (GOOD, 0)


RULES = {
    "READ": _read, "WRITE": _write, "WRITE ATOMIC": _write, "COMPARE AND WRITE": _compare_and_write,
    "REGISTER": _register,
    "RESERVE": _reserve, "RELEASE": _release, "CLEAR": _clear, "PREEMPT": _preempt,
}  # fmt: skip
ON_BLOCKS = ("READ", "WRITE", "WRITE ATOMIC", "COMPARE AND WRITE")


class World(NamedTuple):
    """One way it may have been.

    done      the outcomes of outstanding commands that were done already
    passed    outstanding commands that no reservation or attention stops any more, not done yet: a reservation
              need not apply to what was there before it was granted.  Source: SPC-4, reservations.
    """

    state: State
    done: frozenset[tuple[int, Outcome]] = frozenset()
    passed: frozenset[int] = frozenset()


@dataclass
class Judge:
    """Follows every possible world. Commands are told when they begin, and when they end with their outcome."""

    worlds: set[World] = field(default_factory=lambda: {World(State())})
    outstanding: dict[int, Op] = field(default_factory=dict)
    most_worlds: int = 1

    def begin(self, number: int, op: Op) -> None:
        """A command goes to the disk."""
        self.outstanding[number] = op

    def end(self, number: int, outcome: Outcome) -> None:
        """It was answered. Raises Violation."""
        op = self.outstanding[number]
        reached = self._closure(number, op)
        self.worlds = {
            world._replace(done=world.done - {(number, outcome)})
            for world in reached
            if (number, outcome) in world.done
        }
        if not self.worlds:
            possible = sorted({done for world in reached for index, done in world.done if index == number})
            raise Violation(f"{op} ended with {outcome}; possible were {possible} beside {self.outstanding}")
        del self.outstanding[number]
        self.most_worlds = max(self.most_worlds, len(self.worlds))

    def _closure(self, number: int, op: Op) -> set[World]:
        """All worlds that follow when outstanding commands are done that may matter to this one, and it itself."""
        matter = self._what_matters(op)
        reached, fresh = set(self.worlds), list(self.worlds)
        while fresh:
            world = fresh.pop()
            numbers = {index for index, _ in world.done}
            if number in numbers:
                continue  # what comes after it can be done when its own answer comes
            for following in self._next(world, [index for index in matter if index not in numbers]):
                if following not in reached:
                    reached.add(following)
                    fresh.append(following)
        return reached

    def _next(self, world: World, undone: list[int]) -> Iterator[World]:
        """What may happen next: one of the commands is done, or passes while a reservation may still come."""
        ops = {index: self.outstanding[index] for index in undone}
        reserving = any(op.kind not in ON_BLOCKS for op in ops.values())
        for index, op in ops.items():
            if index in world.passed:
                state, outcome = finish(world.state, op)
                yield World(state, world.done | {(index, outcome)}, world.passed - {index})
                continue
            state, outcome = apply(world.state, op)
            yield World(state, world.done | {(index, outcome)}, world.passed)
            if reserving and op.kind in ON_BLOCKS and passes(world.state, op):
                yield world._replace(passed=world.passed | {index})

    def _what_matters(self, op: Op) -> list[int]:
        """Commands on other blocks commute with it; reservations and attentions matter to everything."""
        others = any(each.kind not in ON_BLOCKS for each in self.outstanding.values())
        if others or any(any(world.state.attentions) for world in self.worlds):
            return list(self.outstanding)
        return [index for index, each in self.outstanding.items() if each.block == op.block]


# -- commands ----------------------------------------------------------------------------------------------------------


def block_of(value: int) -> bytes:
    """A block that is told from every other one, in each of its words."""
    return struct.pack(">Q", value) * (BLOCK_BYTES // 8)


def send(initiator: Initiator, op: Op) -> Task:
    """Queue the command."""
    if op.kind == "READ":
        return initiator.scsi(struct.pack(">BBIBHB", 0x28, 0, op.block, 0, 1, 0), read=BLOCK_BYTES)
    if op.kind == "WRITE":
        return initiator.scsi(struct.pack(">BBIBHB", 0x2A, 0, op.block, 0, 1, 0), data_out=block_of(op.value))
    if op.kind == "WRITE ATOMIC":
        return initiator.scsi(struct.pack(">BBQHHBB", 0x9C, 0, op.block, 0, 1, 0, 0), data_out=block_of(op.value))
    if op.kind == "COMPARE AND WRITE":
        data = block_of(op.expected) + block_of(op.value)
        return initiator.scsi(struct.pack(">BBQ3xBBB", 0x89, 0, op.block, 1, 0, 0), data_out=data)
    action = {"REGISTER": 6, "RESERVE": 1, "RELEASE": 2, "CLEAR": 3, "PREEMPT": 4}[op.kind]
    own, others = 0xA0 + op.who, 0xA1 - op.who
    second = {"REGISTER": own, "PREEMPT": others}.get(op.kind, 0)
    cdb = struct.pack(">BBB2xIB", 0x5F, action, op.type, 24, 0)
    return initiator.scsi(cdb, data_out=struct.pack(">QQ8x", own, second))


def outcome_of(op: Op, task: Task) -> Outcome:
    """What the answer says. Raises Violation for a block of two halves, or sense that has no place here."""
    assert task.status is not None
    if task.status == CHECK_CONDITION:
        return task.status, int.from_bytes(task.sense[12:14], "big")
    if task.status == GOOD and op.kind == "READ":
        value = int.from_bytes(task.data[:8], "big")
        if task.data != block_of(value):
            raise Violation(f"{op} read a block of several writes")
        return GOOD, value
    return task.status, 0


class Player:
    """One initiator on its connection."""

    def __init__(self, who: int, export: Export) -> None:
        self.who = who
        self.sock = socket.create_connection(("127.0.0.1", export.port))
        self.initiator = Initiator(export.iqn, f"iqn.2026-11.test:player-{who}", isid=bytes((0x80, 0, 0, 0, 0, who)))
        self.running: dict[int, tuple[Op, Task]] = {}

    def exchange(self) -> bool:
        """Send what is queued; take what comes. False if the target closed."""
        self.sock.sendall(self.initiator.take())
        data = self.sock.recv(1 << 16)
        self.initiator.feed(data)
        return bool(data)

    def get_ready(self) -> None:
        """Log in, and hear what a new nexus has to hear."""
        self.initiator.login()
        while not self.initiator.full_feature:
            self.exchange()
        while True:
            task = self.initiator.scsi(bytes(6))
            while task.status is None:
                self.exchange()
            if task.status == GOOD:
                return


class Torture:
    """Two players, a judge, and chance."""

    def __init__(self, export: Export, seed: int, *, atomic: bool = False) -> None:
        self._atomic = atomic
        self.players = [Player(who, export) for who in range(2)]
        self.judge, self.chance = Judge(), random.Random(seed)
        self.counts: Counter[str] = Counter()
        self._known = [0] * BLOCKS
        self._values = self._numbers = 0

    def _choose(self, who: int) -> Op:
        chance = self.chance
        kind = chance.choices(
            (
                "COMPARE AND WRITE",
                "WRITE",
                "WRITE ATOMIC",
                "READ",
                "REGISTER",
                "RESERVE",
                "RELEASE",
                "PREEMPT",
                "CLEAR",
            ),
            (50, 20 - 10 * self._atomic, 10 * self._atomic, 22, 2, 2, 2.5, 1, 0.5),
        )[0]
        block = chance.randrange(BLOCKS)
        self._values += 1
        expected = self._known[block] if chance.random() < 0.9 else chance.randrange(1, self._values + 1)
        op = Op(who, kind, block, self._values, expected, chance.choice(TYPES))
        if kind not in ON_BLOCKS:
            return replace(op, block=0, value=0, expected=0, type=0 if kind in ("REGISTER", "CLEAR") else op.type)
        return replace(op, type=0)

    def _begin(self, player: Player, op: Op) -> None:
        self._numbers += 1
        player.running[self._numbers] = op, send(player.initiator, op)
        self.judge.begin(self._numbers, op)

    def _ended(self, player: Player) -> None:
        for number, (op, task) in list(player.running.items()):
            if task.status is None:
                continue
            del player.running[number]
            player.initiator.tasks.pop(task.tag, None)
            outcome = outcome_of(op, task)
            self.judge.end(number, outcome)
            self.counts[f"{op.kind}: {NAMES.get(outcome[0], hex(outcome[0]))}{_about(outcome)}"] += 1
            if outcome[0] == GOOD and op.kind in ON_BLOCKS:
                self._known[op.block] = outcome[1] if op.kind == "READ" else op.value
            player.initiator.every.clear()

    def run(self, seconds: float) -> None:
        """So long, then until all is answered. Raises Violation."""
        for player in self.players:
            player.get_ready()
        selector = selectors.DefaultSelector()
        for player in self.players:
            selector.register(player.sock, selectors.EVENT_READ, player)
        end = time.monotonic() + seconds
        while True:
            more = time.monotonic() < end
            for player in self.players:
                while more and len(player.running) < DEPTH:
                    self._begin(player, self._choose(player.who))
                player.sock.sendall(player.initiator.take())
            if not any(player.running for player in self.players):
                break
            ready = selector.select(60)
            if not ready:
                raise Violation(f"no answer for a minute to {self.judge.outstanding}")
            for key, _ in ready:
                if not key.data.exchange():
                    raise Violation("the target closed a connection")
                self._ended(key.data)
        for player in self.players:
            player.sock.close()

    def report(self) -> str:
        """Counts, a line each."""
        total = sum(self.counts.values())
        lines = [f"{total} answers, none that no order explains; at most {self.judge.most_worlds} possible worlds"]
        return "\n".join([*lines, *(f"  {count:7} {what}" for what, count in sorted(self.counts.items()))])


NAMES = {GOOD: "GOOD", CHECK_CONDITION: "CHECK CONDITION", CONFLICT: "RESERVATION CONFLICT"}


def _about(outcome: Outcome) -> str:
    return f" {outcome[1]:04X}h" if outcome[0] == CHECK_CONDITION else ""


def torture(seconds: float, seed: int, uri: str = "memory:torture?size=1M", options: Iterable[str] = ()) -> str:
    """Run against an export of its own; the report. Raises Violation."""
    with Export(uri, *options) as export:
        run = Torture(export, seed, atomic=uri.startswith("memory:"))  # other storage does not hold writes whole
        run.run(seconds)
        return run.report()


def main(arguments: Optional[list[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--uri", default="memory:torture?size=1M", help="a file of 1 MiB, if it is file://")
    given = parser.parse_args(arguments)
    print(f"seed {given.seed}")
    print(torture(given.seconds, given.seed, given.uri))
    return 0


if __name__ == "__main__":
    sys.exit(main())
