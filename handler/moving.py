"""What goes from one front to the other when a disk moves: which disks and targets together, in which words. No I/O.

A target is served by one front, and so is a portal. So a disk that targets show takes these targets with it, those take
their other disks, and the targets that listen on the same portals come along.

LIO and the engine keep targets in the same schema (configuration.py), but some of it means something else there:

- LIO has no rules for addresses, no redirection, and shows every LUN to initiators without an ACL. What can't be said
  to LIO is refused: leaving it out would open doors or close them.
- An initiator with an ACL of its own proves the ACL's password on LIO; on the engine the target's, if the ACL has none.
- LIO may ask one initiator for a password and not another (attribute `authentication` of an ACL); the engine can't.
"""

from __future__ import annotations

import copy
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tcmu_gluster.control.operations import ALUA_STATES
from tcmu_gluster.errors import OperationError

from .accounts import CHAP_KEYS, DISCOVERY_KEYS, accounts_of, discovery_account
from .configuration import LARGEST_LUN, OURS, PLUGIN, Configuration, Object, switched_on
from .portal_group import alua_of, asked_apart

MOVED = "moved"
"""Under our own key, {IQN: {"private_luns", "tid"}}: what LIO has no word for, until the target comes back."""
KEPT = ("attributes", "alua_tpgs", "hw_max_sectors", "control")
"""Of a storage object, for the day when LIO serves it again."""


@dataclass
class Company:
    """What moves together, by names."""

    disks: set[str] = field(default_factory=set)
    targets: set[str] = field(default_factory=set)
    foreign: set[str] = field(default_factory=set)
    """Paths of storage objects that a target shows and that are no disks of TCMU."""


def company_of(disk: str, targets: Iterable[Object]) -> Company:
    """Everything that a disk can't leave behind."""
    all_targets = list(targets)
    found = Company({disk})
    while True:
        before = len(found.disks) + len(found.targets)
        portals = [one for target in all_targets if target["wwn"] in found.targets for one in portals_of(target)]
        for target in all_targets:
            shown = _shown_by(target)
            if shown & {path_of(name) for name in found.disks} or any(
                collide(one, other) for one in portals_of(target) for other in portals
            ):
                found.targets.add(target["wwn"])
                found.disks |= {path.rsplit("/", 1)[-1] for path in shown if path.startswith(path_of(""))}
                found.foreign |= {path for path in shown if not path.startswith(path_of(""))}
        if len(found.disks) + len(found.targets) == before:
            return found


def path_of(disk: str) -> str:
    """A disk as LUNs name it."""
    return f"/backstores/{PLUGIN}/{disk}"


def _shown_by(target: Object) -> set[str]:
    return {str(lun.get("storage_object")) for group in target.get("tpgs", ()) for lun in group.get("luns", ())}


def portals_of(target: Object) -> list[tuple[str, int]]:
    """Where a target listens."""
    return [
        (str(one["ip_address"]).strip("[]"), int(one["port"]))
        for group in target.get("tpgs", ()) for one in group.get("portals", ())
    ]  # fmt: skip


def collide(one: tuple[str, int], other: tuple[str, int]) -> bool:
    """Whether two fronts could not both listen there."""
    addresses = [ipaddress.ip_address(address) for address, _ in (one, other)]
    same = addresses[0] == addresses[1] or any(address.is_unspecified for address in addresses)
    return same and one[1] == other[1] != 0


def agree(disk: str, company: Company, together: bool) -> None:
    """Raises OperationError if more would move than was asked for."""
    others = sorted(company.disks - {disk})
    if (others or len(company.targets) > 1) and not together:
        disks = f"disk{'s' * (len(others) > 1)} {', '.join(others)} and " if others else ""
        raise OperationError(
            f"disk {disk} can't move alone: {disks}{', '.join(sorted(company.targets))} would have to move with it, "
            "because they share targets or portals; add --together if that is meant"
        )


def without_portals(target: Object) -> Object:
    """The same target before anybody finds it."""
    return {**target, "tpgs": [{**group, "portals": []} for group in target.get("tpgs", ())]}


# -- to LIO -----------------------------------------------------------------------------------------------------------


def for_lio(configuration: Configuration, iqn: str, shortest_bytes: int) -> Object:
    """A target of the engine in LIO's words. Raises OperationError if it can't be said in them."""
    target = copy.deepcopy(configuration.target(iqn))
    group = Configuration({"targets": [target]}).group(iqn)
    if configuration.root[OURS]["networks"].get(iqn):
        raise OperationError(f"{iqn} admits initiators by address, and LIO has no such rule; "
                             f"allow them by name, then: tcmu-gluster acl deny {iqn} NETWORK")  # fmt: skip
    if configuration.redirect(iqn) is not None:
        raise OperationError(f"{iqn} sends its initiators elsewhere, and LIO can't; first: "
                             f"tcmu-gluster target redirect {iqn}")  # fmt: skip
    if alua_of(configuration, iqn) != ALUA_STATES[0]:
        raise OperationError(f"{iqn} is {alua_of(configuration, iqn)} (ALUA), which LIO would keep at its disks; "
                             f"first: tcmu-gluster target alua {iqn} {ALUA_STATES[0]}")  # fmt: skip
    private = sorted(configuration.private_luns(iqn))
    if private and switched_on(group["attributes"].get("generate_node_acls")):
        raise OperationError(f"LUN {private[0]} of {iqn} is for some initiators only; LIO would show it to all that "
                             f"have no ACL; first: tcmu-gluster acl deny {iqn} all")  # fmt: skip
    if any(port == 0 for _, port in portals_of(target)):
        raise OperationError(f"{iqn} listens on a port that the system chooses; LIO needs its number")
    problems = accounts_of(configuration, iqn, shortest_bytes).problems
    if problems:
        raise OperationError(f"LIO might take a password that the engine does not: {problems[0]}")
    if configuration.asks_password(iqn):
        for acl in group["node_acls"]:
            if not acl.get("chap_userid"):
                acl.update({key: group[key] for key in CHAP_KEYS if group.get(key)})
    group["tag"] = int(group.get("tag", 1))
    target["tpgs"] = [group]
    return target


def leave(configuration: Configuration, company: Company) -> None:
    """Take it out of the engine's configuration; what LIO has no word for stays until it comes back."""
    numbers = configuration.number_targets()
    kept = configuration.root[OURS].setdefault(MOVED, {})
    for iqn in sorted(company.targets):
        private = sorted(configuration.private_luns(iqn))
        kept[iqn] = {"tid": numbers[iqn], **({"private_luns": private} if private else {})}
        configuration.remove_target(iqn)
    for name in sorted(company.disks):
        configuration.remove_disk(name)


# -- to the engine ----------------------------------------------------------------------------------------------------


def for_engine(dump: Object) -> Object:
    """A target of LIO as the engine keeps it. Raises OperationError if the engine can't serve it."""
    target = copy.deepcopy(dump)
    iqn, groups = target["wwn"], target.get("tpgs") or []
    if len(groups) != 1:
        raise OperationError(f"{iqn} has {len(groups)} portal groups; a target of the engine has one")
    group = groups[0]
    for portal in group.get("portals", ()):
        if portal.get("iser") or portal.get("offload"):
            raise OperationError(f"{iqn} has a portal for iSER or with offload; the engine speaks iSCSI over TCP only")
    for lun in group.get("luns", ()):
        if int(lun["index"]) > LARGEST_LUN:
            raise OperationError(f"{iqn} has a LUN {lun['index']}; a target of the engine has LUNs 0 to {LARGEST_LUN}")
    odd = asked_apart(group)
    if odd is not None:
        raise OperationError(f"{iqn} asks {odd} for a password unlike the others; on the engine all or none are asked")
    for acl in group.get("node_acls", ()):
        if acl.get("chap_userid") and all((acl.get(key) or "") == (group.get(key) or "") for key in CHAP_KEYS):
            for key in CHAP_KEYS:  # it follows the target's again, as before it went to LIO
                acl.pop(key, None)
    return target


def enter(configuration: Configuration, targets: Iterable[Object]) -> None:
    """Put targets into the engine's configuration. Raises OperationError if a name is taken."""
    ours = configuration.root[OURS]
    kept = ours.get(MOVED)
    kept = kept if isinstance(kept, dict) else {}
    numbers = configuration.number_targets()
    for target in targets:
        iqn = target["wwn"]
        if configuration.find_target(iqn) is not None:
            raise OperationError(f"the engine has a target {iqn} already; rename or delete one of them first")
        configuration.root["targets"].append(target)
        before = kept.pop(iqn, {})
        private = {int(lun) for lun in before.get("private_luns", ())} & set(configuration.luns(iqn))
        if private:
            ours.setdefault("private_luns", {})[iqn] = sorted(private)
        if before.get("tid") not in (None, *numbers.values()):
            numbers = ours["tids"] = {**numbers, iqn: before["tid"]}
    configuration.number_targets()


def disk_entry(configuration: Configuration, config: str, dump: Mapping[str, Any]) -> Object:
    """A storage object of LIO's in the engine's configuration. Raises OperationError if its name is taken."""
    name = str(dump["name"])
    if configuration.find_disk(name) is not None:
        raise OperationError(f"the engine has a disk {name} already")
    entry = configuration.add_disk(name, config, int(dump["size"]), str(dump["wwn"]))
    control = [word for word in str(dump.get("control") or "").split(",") if word]
    entry.update({key: copy.deepcopy(dump[key]) for key in KEPT if dump.get(key)})
    entry["control"] = ",".join([*control, "nl_reply_supported=-1"])
    return entry


# -- discovery --------------------------------------------------------------------------------------------------------


def discovery_of(place: Mapping[str, Any]) -> Object:
    """What discovery asks for, in the words of both; {} if nothing."""
    if not switched_on(place.get("discovery_enable_auth")):
        return {}
    return {**{key: place[key] for key in DISCOVERY_KEYS if place.get(key)}, "discovery_enable_auth": True}


def carry_discovery(here: Mapping[str, Any], there: Mapping[str, Any], alone: bool) -> tuple[Object, list[str]]:
    """(what discovery has to ask there from now on, or {} for what it does; warnings).

    alone: the other front has no target but those that come. It belongs to the front as a whole, not to a target.
    """
    wanted, present = discovery_of(here), discovery_of(there)
    if wanted == present:
        return {}, []
    if wanted and alone and not present:
        return wanted, []
    sentence = "discovery asks for another password there, or for none; that belongs to all targets and stays as it is"
    return {}, [sentence]


def check_discovery(configuration: Configuration, shortest_bytes: int) -> None:
    """Raises OperationError for a discovery password that the engine does not take."""
    _, problems = discovery_account(configuration, shortest_bytes)
    if problems:
        raise OperationError(f"LIO might take a password that the engine does not: {problems[0]}")
