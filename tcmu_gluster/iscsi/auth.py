"""Who an initiator is: what the security stage of a login asks an authenticator.  Source: RFC 7143 12.

An Authenticator lives for one login. AuthMethod=None needs no step; CHAP and others are further implementations.
"""

from __future__ import annotations

from typing import Protocol

from tcmu_gluster.iscsi.pdu import LoginError, LoginStatus
from tcmu_gluster.iscsi.text import Pairs

NONE = "None"


class Authenticator(Protocol):
    """The target's side of one login's security stage."""

    methods: tuple[str, ...]
    """The values of AuthMethod that are good enough for this initiator and target."""

    def begin(self, method: str) -> None:
        """method (one of ours) was agreed."""

    def step(self, pairs: Pairs) -> Pairs:
        """The answer to the method's keys (without AuthMethod). Raises LoginError(AUTHENTICATION_FAILURE)."""

    @property
    def finished(self) -> bool:
        """Whether the initiator has proved who it is (and we, if it asked)."""


class NoAuthentication:
    """AuthMethod=None, where the administrator said so."""

    methods: tuple[str, ...] = (NONE,)
    finished = True

    def begin(self, method: str) -> None:
        """Nothing to do."""

    def step(self, pairs: Pairs) -> Pairs:
        """No key belongs to this method. Raises LoginError for any."""
        if pairs:
            raise LoginError(LoginStatus.INITIATOR_ERROR, f"{pairs[0][0]} is not a key of AuthMethod=None")
        return []


def choose(authenticator: Authenticator, offered: str) -> str:
    """The first method of the initiator's list that is good enough. Raises LoginError when none is."""
    for method in offered.split(","):
        if method in authenticator.methods:
            authenticator.begin(method)
            return method
    raise LoginError(
        LoginStatus.AUTHENTICATION_FAILURE,
        f"the initiator offers AuthMethod {offered[:80]}, this target takes {','.join(authenticator.methods)}",
    )
