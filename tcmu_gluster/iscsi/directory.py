"""What a connection asks about targets: who is there, who may come in. The portal's owner implements it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional, Protocol

from tcmu_gluster.iscsi.auth import Authenticator, NoAuthentication
from tcmu_gluster.iscsi.pdu import LoginStatus

__all__ = ["Authenticator", "Directory", "NoAuthentication", "TargetEntry"]


class TargetEntry(Protocol):
    """One iSCSI target as initiators see it."""

    name: str
    """iqn., eui. or naa. name."""
    target: Any
    """scsi.target.Target. The engine never calls it: it hands it to the shell with each session."""
    alias: str
    portal_group_tag: int
    """The tag of the portal group that this directory answers for."""
    relative_target_port: int

    @property
    def portals(self) -> Sequence[tuple[str, int]]:
        """(address, portal group tag) of every portal, as TargetAddress shows it: 192.0.2.1:3260, [2001:db8::1]:3260.

        An empty address stands for the one that the initiator is connected to (a portal on 0.0.0.0 or [::]).
        """

    @property
    def redirect(self) -> Optional[tuple[str, bool]]:
        """(TargetAddress, for good) of where the target is now, if it isn't here (RFC 7143 11.13.5); else None."""

    def allows(self, initiator_name: str, peer_address: str) -> bool:
        """Whether this initiator may log in from this address."""


class Directory(Protocol):
    """The targets behind one portal."""

    def lookup(self, target_name: str) -> Optional[TargetEntry]:
        """The target of that name (case-folded by the caller's choice), or None."""

    def absence(self, target_name: str) -> LoginStatus:
        """Why lookup() gives nothing: NOT_FOUND, TARGET_REMOVED or SERVICE_UNAVAILABLE (RFC 7143 11.13.5)."""

    def targets_for(self, initiator_name: str, peer_address: str) -> Sequence[TargetEntry]:
        """What SendTargets=All shows to this initiator: only what it may use."""

    def authenticator_for(self, initiator_name: str, entry: Optional[TargetEntry], peer_address: str) -> Authenticator:
        """A fresh authenticator for a login to entry, or for a discovery session (None)."""
