"""The engine's targets: who is there, where they listen, who may come in. iscsi/directory.py says what is asked."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Optional

from tcmu_gluster.config.addresses import AccessRule, Portal
from tcmu_gluster.iscsi.auth import Authenticator, NoAuthentication
from tcmu_gluster.iscsi.chap import NOBODY, Account, Algorithm, Challenges, ChapAuthenticator
from tcmu_gluster.iscsi.directory import TargetEntry
from tcmu_gluster.iscsi.pdu import LoginStatus
from tcmu_gluster.scsi.target import Target

from .accounts import Accounts

ANY_ADDRESS = ("0.0.0.0", "::")
REMEMBERED_NAMES = 1024
"""Of targets that were deleted. The one that went longest ago is forgotten first."""


class EngineTarget:
    """One target of the engine. Without a rule nobody may log in."""

    portal_group_tag = 1
    relative_target_port = 1

    def __init__(self, name: str, target: Target, rules: Iterable[AccessRule] = (), alias: str = "") -> None:
        self.name, self.target, self.alias = name, target, alias
        self.rules = list(rules)
        self.enabled = True
        self.accounts = Accounts()
        self.redirect: Optional[tuple[str, bool]] = None
        """(TargetAddress, for good): where initiators are sent."""
        self.listening: list[Portal] = []
        """Where it really listens: ports that were 0 are known by now."""

    @property
    def portals(self) -> Sequence[tuple[str, int]]:
        """What SendTargets shows. A portal on every address is shown as the one that the initiator came to."""
        return [
            ("" if portal.address in ANY_ADDRESS else str(portal), self.portal_group_tag) for portal in self.listening
        ]

    def allows(self, initiator_name: str, peer_address: str) -> bool:
        """Whether a rule admits this initiator from this address."""
        return any(rule.matches(initiator_name, peer_address) for rule in self.rules)


class TargetDirectory:
    """The targets behind all portals of this process, by name. weakest: of CHAP's algorithms that are taken."""

    def __init__(self, weakest: Algorithm = Algorithm.MD5) -> None:
        self.targets: dict[str, EngineTarget] = {}
        self.discovery: Optional[Account] = None
        """What an initiator proves before SendTargets is answered; None: nothing."""
        self._weakest, self._challenges = weakest, Challenges(os.urandom)
        self._removed: OrderedDict[str, None] = OrderedDict()

    def add(self, target: EngineTarget) -> None:
        """Initiators find it from now on. Raises ValueError if the name is taken."""
        if target.name in self.targets:
            raise ValueError(f"there is a target {target.name} already")
        self.targets[target.name] = target
        self._removed.pop(target.name, None)

    def remove(self, name: str) -> EngineTarget:
        """Initiators don't find it any more; its sessions are the front's business. Raises KeyError."""
        target = self.targets.pop(name)
        self._removed[name] = None
        if len(self._removed) > REMEMBERED_NAMES:
            self._removed.popitem(last=False)
        return target

    def behind(self, portal: Portal) -> PortalDirectory:
        """What initiators find who come to that portal: the targets that listen there, and no others."""
        return PortalDirectory(self, portal)

    # -- what the engine asks ------------------------------------------------------------------------------------

    def lookup(self, target_name: str) -> Optional[TargetEntry]:
        """The target of that name, or None."""
        return self.targets.get(target_name)

    def absence(self, target_name: str) -> LoginStatus:
        """Why it is not found: deleted, disabled, or never heard of."""
        target = self.targets.get(target_name)
        if target is not None and not target.enabled:
            return LoginStatus.SERVICE_UNAVAILABLE
        return LoginStatus.TARGET_REMOVED if target_name in self._removed else LoginStatus.NOT_FOUND

    def targets_for(self, initiator_name: str, peer_address: str) -> Sequence[TargetEntry]:
        """What SendTargets shows to this initiator: only what it may use."""
        return [target for target in self.targets.values() if target.allows(initiator_name, peer_address)]

    def authenticator_for(self, initiator_name: str, entry: Optional[TargetEntry], peer_address: str) -> Authenticator:
        """CHAP where a password was set; else AuthMethod=None, and the rules alone decide."""
        target = self.targets.get(entry.name) if entry is not None else None
        if entry is not None and target is not entry:
            account: Optional[Account] = NOBODY  # it was deleted since the initiator asked for it
        else:
            account = target.accounts.of(initiator_name) if target is not None else self.discovery
        return NoAuthentication() if account is None else ChapAuthenticator(account, self._challenges, self._weakest)


class PortalDirectory:
    """A directory as seen through one portal."""

    def __init__(self, whole: TargetDirectory, portal: Portal) -> None:
        self._whole, self._portal = whole, portal

    def lookup(self, target_name: str) -> Optional[TargetEntry]:
        """The target of that name if it listens here, or None."""
        target = self._whole.targets.get(target_name)
        return target if target is not None and self._portal in target.listening else None

    def absence(self, target_name: str) -> LoginStatus:
        """The same at every portal."""
        return self._whole.absence(target_name)

    def targets_for(self, initiator_name: str, peer_address: str) -> Sequence[TargetEntry]:
        """What SendTargets shows to this initiator here."""
        return [
            target
            for target in self._whole.targets.values()
            if self._portal in target.listening and target.allows(initiator_name, peer_address)
        ]

    def authenticator_for(self, initiator_name: str, entry: Optional[TargetEntry], peer_address: str) -> Authenticator:
        """The same at every portal."""
        return self._whole.authenticator_for(initiator_name, entry, peer_address)
