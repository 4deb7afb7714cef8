"""Who has to prove what with CHAP: from the configuration (rtslib's keys) to what the engine asks for.

    tpgs[0].attributes.authentication     whether a target wants a proof at all
    tpgs[0].chap_userid, ...              what every initiator proves that has nothing of its own
    tpgs[0].node_acls[].chap_userid, ...  what one initiator proves
    fabric_modules[name=iscsi]            discovery_enable_auth, discovery_userid, ...: before SendTargets is answered

Whatever can't be used (a password too short, one password for both directions) admits nobody, and there is a sentence
about it: a mistake must not open a door.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from tcmu_gluster.config.settings import Settings
from tcmu_gluster.errors import ConfigError
from tcmu_gluster.iscsi.chap import ALGORITHMS, NOBODY, Account, Algorithm, Credentials, credentials

from .configuration import Configuration, switched_on

CHAP_KEYS = ("chap_userid", "chap_password", "chap_mutual_userid", "chap_mutual_password")
"""rtslib's names, at an ACL or at the portal group."""
DISCOVERY_KEYS = ("discovery_userid", "discovery_password", "discovery_mutual_userid", "discovery_mutual_password")
"""rtslib's names, at the fabric module."""


def weakest_algorithm(settings: Settings) -> Algorithm:
    """The setting as CHAP knows it."""
    return ALGORITHMS[settings.chap_weakest_algorithm]


@dataclass
class Accounts:
    """One target's accounts. everybody None: AuthMethod=None. own: by initiator name in lower case."""

    everybody: Optional[Account] = None
    own: dict[str, Account] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def of(self, initiator_name: str) -> Optional[Account]:
        """What this initiator has to prove; None if nothing."""
        return self.own.get(initiator_name.lower(), self.everybody)


def accounts_of(configuration: Configuration, iqn: str, shortest_bytes: int) -> Accounts:
    """The accounts of a target."""
    accounts = Accounts()
    if not configuration.asks_password(iqn):
        return accounts
    group = configuration.group(iqn)
    accounts.everybody = _account(group, CHAP_KEYS, shortest_bytes, iqn, accounts.problems) or NOBODY
    for acl in group["node_acls"]:
        name = str(acl.get("node_wwn", ""))
        own = _account(acl, CHAP_KEYS, shortest_bytes, f"{iqn}, {name}", accounts.problems)
        if own is not None:
            accounts.own[name.lower()] = own
    return accounts


def discovery_account(configuration: Configuration, shortest_bytes: int) -> tuple[Optional[Account], list[str]]:
    """What is asked before SendTargets is answered (None: nothing), and what is wrong with it."""
    place = configuration.fabric()
    problems: list[str] = []
    if place is None or not switched_on(place.get("discovery_enable_auth")):
        return None, problems
    return _account(place, DISCOVERY_KEYS, shortest_bytes, "discovery", problems) or NOBODY, problems


def _account(
    place: Mapping[str, Any], keys: tuple[str, ...], shortest_bytes: int, where: str, problems: list[str]
) -> Optional[Account]:
    """None if nothing is set there. A bad one is NOBODY, with a sentence."""
    user, password, mutual_user, mutual_password = (str(place.get(key) or "") for key in keys)
    if not user and not password:
        return None
    try:
        outgoing: Optional[Credentials] = None
        if mutual_user or mutual_password:
            outgoing = credentials(mutual_user, mutual_password, shortest_bytes)
        return Account(credentials(user, password, shortest_bytes), outgoing)
    except ConfigError as error:
        problems.append(f"{where}: {error}; nobody can log in with it")
        return NOBODY
