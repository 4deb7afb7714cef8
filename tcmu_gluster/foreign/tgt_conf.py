"""tgt's targets.conf, as tgt-admin carries it out: targets in the order of their names, LUNs from 1.

What is not understood is a note with file and line, and is left out; what would have kept somebody out never lets
somebody in: a target with such a line is made, and nobody may log in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Optional

from ..config.addresses import parse_access_rule
from ..config.names import validate_iscsi_name
from ..errors import ConfigError
from .apache import Block, Include, Option, Place, parse
from .plan import Group, Plan, Step, chap
from .tgt_stores import OF_LUN, STORES, Store, lun_step, whole_number

NEGOTIATED = frozenset({
    "MaxRecvDataSegmentLength", "MaxXmitDataSegmentLength", "HeaderDigest", "DataDigest", "InitialR2T",
    "MaxOutstandingR2T", "ImmediateData", "FirstBurstLength", "MaxBurstLength", "DataPDUInOrder",
    "DataSequenceInOrder", "ErrorRecoveryLevel", "IFMarker", "OFMarker", "DefaultTime2Wait", "DefaultTime2Retain",
    "OFMarkInt", "IFMarkInt", "MaxConnections",
})  # fmt: skip
ACCESS = ("initiator-address", "initiator-name")
USERS = ("incominguser", "outgoinguser")
OF_TARGET = frozenset({*ACCESS, *USERS, "controller_tid", "driver", "allow-in-use", "state"})
QUIET = frozenset({"default-driver", "ignore-errors", "incomingdiscoveryuser", "outgoingdiscoveryuser"})
LARGEST_TID = 0xFFFF


@dataclass
class Target:
    """One target's blocks, put together: a name that comes twice is one target."""

    name: str
    place: Place
    options: list[Option] = field(default_factory=list)
    stores: list[Store] = field(default_factory=list)

    def all(self, name: str) -> list[Option]:
        """Every line of that name."""
        return [option for option in self.options if option.name == name]

    def last(self, name: str) -> Optional[Option]:
        """The line of that name that counts, or None."""
        return next(reversed(self.all(name)), None)


def plan(file: str, text: str, include: Include, is_there: Callable[[str], bool]) -> Plan:
    """The plan of a file and of what it includes. is_there: whether a backing store's path exists: tgt-admin gives no
    LUN number to one that doesn't. Raises ConfigError where tgt-admin could not read the file either.
    """
    root, notes = parse(file, text, include)
    groups = list(_discovery(root, notes))
    driver = "iscsi"
    for option in root.options:
        if option.name == "default-driver":
            driver = option.value
        elif option.name not in QUIET:
            notes.append(f"{option.place}: skipped {option.name}: {_of_daemon(option.name)}")
    tid, serials = 0, set[str]()
    for target in sorted(_targets(root, notes), key=lambda one: one.name):
        tid = _tid(target, notes) or tid + 1
        try:
            if tid > LARGEST_TID:
                raise ConfigError(f"its tid would be {tid}")
            groups.append(_group(target, tid, driver, is_there, serials, notes))
        except ConfigError as error:
            notes.append(f"{target.place}: skipped target {target.name}: {error}")
    return Plan(tuple(groups), tuple(notes))


def _of_daemon(name: str) -> str:
    if name == "control-port" or name.startswith("iSNS"):
        return "it is about tgtd itself"
    return "it is not understood outside of a target"


def _targets(root: Block, notes: list[str]) -> Iterator[Target]:
    found: dict[str, Target] = {}
    for block in root.blocks:
        if block.name != "target" or not block.argument:
            notes.append(f"{block.place}: skipped <{block.name}>: only <target NAME> is understood here")
            continue
        target = found.setdefault(block.argument, Target(block.argument, block.place))
        for option in block.options:
            if option.name in STORES:
                target.stores.append(Store(option.name, option.value, option.place))
            else:
                target.options.append(option)
        lines = {option.name for option in block.options}
        for inner in block.blocks:
            if inner.name in STORES and inner.name in lines:
                raise ConfigError(
                    f"{inner.place}: a target has <{inner.name}> either as lines or as blocks, not as both"
                )
            if inner.name in STORES and inner.argument and not inner.blocks:
                target.stores.append(Store(inner.name, inner.argument, inner.place, inner.options))
            else:
                notes.append(f"{inner.place}: skipped <{inner.name}>: a target holds <backing-store PATH> and "
                             "<direct-store PATH>")  # fmt: skip
    yield from found.values()


def _tid(target: Target, notes: list[str]) -> Optional[int]:
    option = target.last("controller_tid")
    if option is None:
        return None
    number = whole_number(option.value, LARGEST_TID)
    if number is None:
        notes.append(f"{option.place}: skipped controller_tid: it is a number from 1 to {LARGEST_TID}")
    return number


def _group(
    target: Target, tid: int, driver: str, is_there: Callable[[str], bool], serials: set[str], notes: list[str]
) -> Group:
    own = target.last("driver")
    driver = own.value if own else driver
    if driver != "iscsi":
        raise ConfigError(f"its driver is {driver[:40]!r}; the engine speaks iSCSI only")
    iqn = validate_iscsi_name(target.name)
    for option in target.options:
        if option.name in NEGOTIATED:
            notes.append(f"{option.place}: skipped {option.name}: what is negotiated is the same for all targets")
        elif option.name not in OF_TARGET and option.name not in OF_LUN:
            notes.append(f"{option.place}: skipped {option.name}: it is not understood")
    steps = [Step("target.create", f"make the target {iqn} (tid {tid})", {"target": iqn, "tid": tid})]
    defaults = [option for option in target.options if option.name in OF_LUN]
    steps += _luns(iqn, tid, target.stores, defaults, is_there, serials, notes)
    asked, closed = _users(iqn, target.all(USERS[0]), target.all(USERS[1]), notes)
    steps += asked
    rules = [] if closed else _rules(iqn, target, notes)
    steps += [Step("acl.allow", f"let {rule if rule != 'all' else 'every initiator'} log in",
                   {"target": iqn, "rule": rule}) for rule in rules]  # fmt: skip
    state = target.last("state")
    if state is not None and state.value == "offline":
        steps.append(Step("target.disable", "keep it offline, as it is", {"target": iqn}))
    if not rules:
        notes.append(f"{target.place}: nobody may log in to {iqn}; allow somebody with `tcmu-gluster acl allow`")
    return Group(iqn, tuple(steps))


# -- LUNs -------------------------------------------------------------------------------------------------------------


def _luns(
    iqn: str,
    tid: int,
    stores: list[Store],
    defaults: list[Option],
    is_there: Callable[[str], bool],
    serials: set[str],
    notes: list[str],
) -> Iterator[Step]:
    """backing-stores, then direct-stores, each by path; one that names no LUN gets the first free one."""
    named: dict[str, Store] = {}
    for store in stores:
        if store.path in named:
            notes.append(f"{store.place}: skipped {store.path}: it is a LUN of this target already")
        else:
            named[store.path] = store
    taken = {number for store in named.values() if (number := store.wanted_lun(notes)) is not None}
    shown: set[int] = set()
    for store in sorted(named.values(), key=lambda one: (one.kind, one.path)):
        try:
            store.check(defaults)
            if not store.is_glfs(defaults) and not is_there(store.path):
                raise ConfigError("there is no such file")
            lun = store.wanted_lun([])
            if lun is None:
                lun = next(number for number in range(1, len(named) + len(taken) + 2) if number not in taken)
                taken.add(lun)
            if lun in shown:
                raise ConfigError(f"LUN {lun} is another one already")
            step = lun_step(iqn, tid, lun, store, defaults, serials, notes)
            shown.add(lun)
        except ConfigError as error:
            notes.append(f"{store.place}: skipped {store.path}: {error}")
            continue
        yield step


# -- who may log in ---------------------------------------------------------------------------------------------------


def _users(iqn: str, incoming: list[Option], outgoing: list[Option], notes: list[str]) -> tuple[list[Step], bool]:
    """(the step that asks for a password, whether the target has to stay closed as a password is not understood)."""
    if not incoming:
        notes += [f"{option.place}: skipped {option.name}: a target proves itself only to those who did" for option in
                  outgoing]  # fmt: skip
        return [], False
    pair, mutual = _pair(incoming[0]), _pair(outgoing[0]) if outgoing else ("", "")
    for option in (*incoming[1:], *outgoing[1:]):
        notes.append(f"{option.place}: skipped {option.name}: one account a direction and target is taken, the first")
    if pair is None or mutual is None:
        broken = incoming[0] if pair is None else outgoing[0]
        notes.append(f"{broken.place}: skipped {broken.name}: it is a user and a password, so "
                     f"{iqn or 'discovery'} stays as it is")  # fmt: skip
        return [], True
    return [chap(iqn, *pair, outgoing=mutual)], False


def _pair(option: Option) -> Optional[tuple[str, str]]:
    words = option.value.split()
    return (words[0], words[1]) if len(words) == 2 else None


def _rules(iqn: str, target: Target, notes: list[str]) -> list[str]:
    """tgt admits all unless an address is given; with names and addresses both have to be right."""
    addresses, names = (_understood(target.all(name), notes) for name in ACCESS)
    if not target.all(ACCESS[0]):
        addresses = ["all"]
    if not target.all(ACCESS[1]):
        return ["all"] if "all" in addresses else addresses
    if addresses == ["all"]:
        return names
    place = target.all(ACCESS[1])[0].place
    notes.append(f"{place}: skipped the access rules of {iqn}: tgt wants the right name and the right address; ours "
                 "would admit either")  # fmt: skip
    return []


def _understood(options: list[Option], notes: list[str]) -> list[str]:
    rules = []
    for option in options:
        try:
            rule = str(parse_access_rule(option.value))
            if (option.name == ACCESS[1]) != rule.startswith(("iqn.", "eui.", "naa.")):
                raise ConfigError(f"{option.value[:60]!r} is no {option.name[len('initiator-') :]}")
        except ConfigError as error:
            notes.append(f"{option.place}: skipped {option.name}: {error}")
            continue
        if rule not in rules:
            rules.append(rule)
    return rules


def _discovery(root: Block, notes: list[str]) -> Iterator[Group]:
    incoming, outgoing = (
        [option for option in root.options if option.name == name]
        for name in ("incomingdiscoveryuser", "outgoingdiscoveryuser")
    )
    steps, _ = _users("", incoming, outgoing, notes)
    if steps:
        yield Group("discovery", tuple(steps))
