"""Portal addresses and access rules."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional, Union

from ..errors import ConfigError
from .names import validate_iscsi_name

ISCSI_PORT = 3260
MOST_NAMED = 3
"""So many rules are named in a sentence; the others are counted."""
IPAddress = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
IPNetwork = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


@dataclass(frozen=True, order=True)
class Portal:
    """Where a target listens. address is an IP address without brackets; port 0 means any free one."""

    address: str
    port: int = ISCSI_PORT

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def parse_portal(text: str, default_port: int = ISCSI_PORT) -> Portal:
    """127.0.0.1, 127.0.0.1:3260, ::1, [::1], [::1]:3260 (and '*' for 0.0.0.0). Raises ConfigError."""
    text = text.strip()
    host, port = split_host_port(text)
    if host == "*":
        host = "0.0.0.0"
    try:
        address = str(ipaddress.ip_address(host))
    except ValueError:
        raise ConfigError(f"{text!r} is not a portal: write an IP address of this machine and, if it isn't "
                          f"{default_port}, a port, as in 192.0.2.1:3260 or [2001:db8::1]:3260") from None  # fmt: skip
    return Portal(address, default_port if port is None else port)


def split_host_port(text: str) -> tuple[str, Optional[int]]:
    """('host', port or None) of host, host:port, [v6], [v6]:port and a bare v6 address. Raises ConfigError."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ConfigError(f"{text!r} is not an address: an IPv6 address stands in brackets, as in [::1]:3260")
        if not _is_ipv6(host):
            raise ConfigError(f"{text!r} is not an address: there is no IPv6 address in the brackets")
        port = rest[1:] if rest else None
    elif text.count(":") > 1:
        host, port = text, None
    else:
        host, colon, rest = text.partition(":")
        port = rest if colon else None
    return host, None if port is None else parse_port(port, text)


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def parse_port(port: str, text: str) -> int:
    """A TCP port of 0 to 65535; text is what the person wrote. Raises ConfigError."""
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ConfigError(f"{text!r} has no usable port: a port is a number up to 65535")
    return int(port)


class RuleKind(enum.Enum):
    """What an access rule speaks of."""

    ALL = "all"
    INITIATOR = "initiator"
    NETWORK = "network"


@dataclass(frozen=True)
class AccessRule:
    """Who may log in: everybody, one initiator name, or a network of peer addresses."""

    kind: RuleKind
    initiator_name: str = ""
    network: Optional[IPNetwork] = None

    def matches(self, initiator_name: str, peer_address: str) -> bool:
        """Does this rule admit that initiator from that address? Both are text as the connection knows them."""
        if self.kind is RuleKind.ALL:
            return True
        if self.kind is RuleKind.INITIATOR:
            return initiator_name.lower() == self.initiator_name
        address = _peer(peer_address)
        return address is not None and self.network is not None and address in self.network

    def __str__(self) -> str:
        if self.kind is RuleKind.NETWORK:
            network = self.network
            assert network is not None
            return str(network.network_address) if network.num_addresses == 1 else str(network)
        return self.initiator_name or "all"


def _peer(text: str) -> Optional[IPAddress]:
    try:
        address = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def parse_access_rule(text: str) -> AccessRule:
    """all (or ALL), an iSCSI name, an address, or a network as 192.0.2.0/24. Raises ConfigError."""
    text = text.strip()
    if text.lower() == "all":
        return AccessRule(RuleKind.ALL)
    if text.lower()[:4] in ("iqn.", "eui.", "naa."):
        return AccessRule(RuleKind.INITIATOR, initiator_name=validate_iscsi_name(text))
    try:
        return AccessRule(RuleKind.NETWORK, network=ipaddress.ip_network(text.strip("[]"), strict=False))
    except ValueError:
        raise ConfigError(f"{text!r} is not an access rule: write all, an initiator's IQN, or an address or network "
                          "such as 192.0.2.0/24") from None  # fmt: skip


def read_otherwise(text: str) -> str:
    """What a rule is read as where a host stands for its network, as in 10.0.0.1/24; '' for every other rule."""
    rule = parse_access_rule(text)
    if rule.network is None:
        return ""
    host = ipaddress.ip_interface(text.strip().strip("[]")).ip
    if host == rule.network.network_address:
        return ""
    return f"{text.strip()} is read as the network {rule}; for that one address write {host}"


def needless(rules: Sequence[AccessRule]) -> str:
    """Which rules keep nobody out, because all is among them, in a sentence; '' if none does."""
    narrower = [str(rule) for rule in rules if rule.kind is not RuleKind.ALL]
    if not narrower or len(narrower) == len(rules):
        return ""
    more = [f"{len(narrower) - MOST_NAMED} more"] if len(narrower) > MOST_NAMED else []
    return f"all admits everybody; beside it these keep nobody out: {', '.join(narrower[:MOST_NAMED] + more)}"
