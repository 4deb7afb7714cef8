"""What operations on the engine must do, said a second time and differently: sets and dictionaries, no schema.

Every operation gives "changed", "same" (it is so already) or raises Refused; one that is refused changes nothing. The
sentences are those of the operations table's help and of the docs, not those of the code.
"""

from __future__ import annotations

import copy
import ipaddress
from dataclasses import dataclass, field
from typing import Optional

Chap = Optional[tuple[str, ...]]
"""(user, password, mutual user, mutual password) as they were set, or None."""
LARGEST_LUN = 255


class Refused(Exception):
    """The operation is refused."""


def refuse_if(condition: object) -> None:
    if condition:
        raise Refused


def free(taken: object) -> int:
    """The lowest number that is not in a container."""
    return next(number for number in range(LARGEST_LUN + 2) if number not in taken)


@dataclass
class Acl:
    """One initiator: the LUNs that it sees, as {number: (the target's LUN, read-only)}, and its own password."""

    sees: dict[int, tuple[int, bool]] = field(default_factory=dict)
    chap: Chap = None


@dataclass
class Target:
    """luns: number -> disk, in the order in which they came; private: LUNs for those alone to whom they are mapped."""

    luns: dict[int, str] = field(default_factory=dict)
    private: set[int] = field(default_factory=set)
    acls: dict[str, Acl] = field(default_factory=dict)
    networks: list[str] = field(default_factory=list)
    everybody: bool = False
    portals: list[str] = field(default_factory=list)
    enabled: bool = True
    asks: bool = False
    chap: Chap = None

    def sees(self, host: str) -> dict[int, tuple[str, bool]]:
        """number -> (disk, read-only) of an initiator that may log in."""
        if host in self.acls:
            return {
                number: (self.luns[lun], read_only)
                for number, (lun, read_only) in self.acls[host].sees.items()
                if lun in self.luns
            }
        protected = not self.everybody and not self.networks
        return {lun: (disk, protected) for lun, disk in self.luns.items() if lun not in self.private}

    def admits(self, host: str, address: str) -> bool:
        inside = any(ipaddress.ip_address(address) in ipaddress.ip_network(one) for one in self.networks)
        return self.enabled and (self.everybody or host in self.acls or inside)

    def asked_of(self, host: str) -> Optional[str]:
        """The user that an initiator has to prove to be; "" if nobody can; None if nothing is asked."""
        if not self.asks:
            return None
        own = self.acls[host].chap if host in self.acls else None
        return (own or self.chap or ("",))[0]


@dataclass
class Model:
    """Everything. disks: name -> (URI, bytes)."""

    disks: dict[str, tuple[str, int]] = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)
    discovery: Chap = None

    def copy(self) -> Model:
        return copy.deepcopy(self)

    def _target(self, iqn: str) -> Target:
        refuse_if(iqn not in self.targets)
        return self.targets[iqn]

    def _acl(self, iqn: str, host: str) -> Acl:
        target = self._target(iqn)
        refuse_if(host not in target.acls)
        return target.acls[host]

    # -- disks --------------------------------------------------------------------------------------------------------

    def create_disk(self, name: str, uri: str, size: int) -> None:
        if name in self.disks:
            refuse_if(self.disks[name] != (uri, size))
            return
        refuse_if(any(uri == other for other, _ in self.disks.values()))
        refuse_if(size <= 0 or size % 512)
        self.disks[name] = (uri, size)

    def delete_disk(self, name: str) -> None:
        refuse_if(any(name in target.luns.values() for target in self.targets.values()))
        self.disks.pop(name, None)

    # -- targets ------------------------------------------------------------------------------------------------------

    def create_target(self, iqn: str, portal: str) -> None:
        self.targets.setdefault(iqn, Target(portals=[portal]))

    def delete_target(self, iqn: str) -> None:
        self.targets.pop(iqn, None)

    def enable(self, iqn: str, on: bool) -> None:
        self._target(iqn).enabled = on

    def add_portal(self, iqn: str, portal: str, ours: bool) -> None:
        target = self._target(iqn)
        if portal not in target.portals:
            refuse_if(target.enabled and not ours)
            target.portals.append(portal)

    def remove_portal(self, iqn: str, portal: str) -> None:
        target = self._target(iqn)
        target.portals = [one for one in target.portals if one != portal]

    # -- LUNs ---------------------------------------------------------------------------------------------------------

    def map_lun(self, iqn: str, disk: str, lun: Optional[int], host: Optional[str], read_only: bool) -> None:
        refuse_if(read_only and not host)
        target = self._target(iqn)
        refuse_if(disk not in self.disks)
        if lun is None:
            lun = next((number for number, name in target.luns.items() if name == disk), free(target.luns))
        refuse_if(lun > LARGEST_LUN or target.luns.get(lun, disk) != disk)
        if host:
            acl = self._acl(iqn, host)
            if lun not in target.luns:
                target.private.add(lun)
            target.luns[lun] = disk
            self._show(acl, lun, read_only)
        elif lun not in target.luns or lun in target.private:
            target.luns[lun] = disk
            target.private.discard(lun)
            for acl in target.acls.values():
                self._show(acl, lun, False)

    def _show(self, acl: Acl, lun: int, read_only: bool) -> None:
        number = next((number for number, (shown, _) in acl.sees.items() if shown == lun), None)
        if number is None:
            acl.sees[lun if lun not in acl.sees else free(acl.sees)] = (lun, read_only)
        elif read_only:
            acl.sees[number] = (lun, True)

    def unmap_lun(self, iqn: str, lun: int, host: Optional[str]) -> None:
        target = self._target(iqn)
        if lun not in target.luns:
            return
        for acl in [self._acl(iqn, host)] if host else target.acls.values():
            acl.sees = {number: shown for number, shown in acl.sees.items() if shown[0] != lun}
        if not host:
            del target.luns[lun]
            target.private.discard(lun)

    def map_for(self, iqn: str, host: str, lun: int, shown_as: int, read_only: bool) -> None:
        target, acl = self._target(iqn), self._acl(iqn, host)
        refuse_if(lun not in target.luns)
        refuse_if(acl.sees.get(shown_as, (lun, read_only)) != (lun, read_only))
        acl.sees[shown_as] = (lun, read_only)

    def unmap_for(self, iqn: str, host: str, shown_as: int) -> None:
        self._acl(iqn, host).sees.pop(shown_as, None)

    # -- access -------------------------------------------------------------------------------------------------------

    def allow(self, iqn: str, rule: str) -> None:
        target = self._target(iqn)
        if rule == "all":
            target.everybody = True
        elif "/" in rule:
            target.networks += [rule] if rule not in target.networks else []
        elif rule not in target.acls:
            target.acls[rule] = Acl({lun: (lun, False) for lun in target.luns if lun not in target.private})

    def deny(self, iqn: str, rule: str) -> None:
        target = self._target(iqn)
        if rule == "all":
            target.everybody = False
        elif "/" in rule:
            target.networks = [one for one in target.networks if one != rule]
        else:
            target.acls.pop(rule, None)

    def set_chap(self, iqn: Optional[str], host: Optional[str], chap: tuple[str, ...]) -> None:
        for password in (chap[1], *chap[3:4]):
            refuse_if(password and len(password) < 12)
        refuse_if(bool(chap[2]) != bool(chap[3]) or chap[1] == chap[3])
        if iqn is None:
            self.discovery = chap
            return
        place = self._acl(iqn, host) if host else self._target(iqn)
        place.chap = chap
        self.targets[iqn].asks = True

    def clear_chap(self, iqn: Optional[str], host: Optional[str]) -> None:
        if iqn is None:
            self.discovery = None
            return
        target = self._target(iqn)
        place = self._acl(iqn, host) if host else target
        had, place.chap = place.chap, None
        if (had or not host) and not any(one.chap for one in (target, *target.acls.values())):
            target.asks = False

    def ask(self, iqn: str, on: bool) -> None:
        self._target(iqn).asks = on

    # -- the whole ----------------------------------------------------------------------------------------------------

    def clear(self) -> None:
        self.disks, self.targets, self.discovery = {}, {}, None

    def restore(self, saved: Optional[Model], clear_existing: bool) -> None:
        refuse_if(saved is None)
        found = copy.deepcopy(saved)
        assert found is not None
        if clear_existing:
            sizes = dict(self.disks.values())  # data that is there keeps its own
            self.disks = {name: (uri, sizes.get(uri, size)) for name, (uri, size) in found.disks.items()}
            self.targets, self.discovery = found.targets, found.discovery
            return
        for name, (uri, size) in found.disks.items():
            if name in self.disks:
                refuse_if(self.disks[name][0] != uri)
                continue
            refuse_if(any(uri == other for other, _ in self.disks.values()))
            self.disks[name] = (uri, size)
        for iqn, target in found.targets.items():
            self.targets.setdefault(iqn, target)
        self.discovery = self.discovery or found.discovery
