from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.config.addresses import (
    Portal,
    RuleKind,
    needless,
    parse_access_rule,
    parse_portal,
    read_otherwise,
)
from tcmu_gluster.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "portal", "written"),
    [
        ("127.0.0.1:3260", Portal("127.0.0.1", 3260), "127.0.0.1:3260"),
        ("127.0.0.1", Portal("127.0.0.1", 3260), "127.0.0.1:3260"),
        ("127.0.0.1:0", Portal("127.0.0.1", 0), "127.0.0.1:0"),
        ("[::1]", Portal("::1", 3260), "[::1]:3260"),
        ("[::1]:860", Portal("::1", 860), "[::1]:860"),
        ("2001:db8::7", Portal("2001:db8::7", 3260), "[2001:db8::7]:3260"),
        ("*", Portal("0.0.0.0", 3260), "0.0.0.0:3260"),
        ("*:3261", Portal("0.0.0.0", 3261), "0.0.0.0:3261"),
        ("[2001:DB8:0:0::7]:1", Portal("2001:db8::7", 1), "[2001:db8::7]:1"),
    ],
)
def test_portals(text: str, portal: Portal, written: str) -> None:
    assert parse_portal(text) == portal
    assert str(portal) == written
    assert parse_portal(written) == portal


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "1.2.3",
        "1.2.3.4:",
        "1.2.3.4:x",
        "1.2.3.4:65536",
        "[1.2.3.4]",
        "[::1",
        "[::1]3260",
        "::1]",
        "1.2.3.4:٣",
    ],
)
def test_what_is_no_portal_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_portal(text)


@given(st.ip_addresses().filter(lambda a: not getattr(a, "scope_id", None)), st.integers(0, 65535))
def test_every_address_survives_the_round_trip(address: object, port: int) -> None:
    portal = Portal(str(address), port)
    assert parse_portal(str(portal)) == portal


@pytest.mark.parametrize(
    ("rule", "initiator", "peer", "admitted"),
    [
        ("all", "iqn.2001-04.com.example", "10.0.0.1", True),
        ("ALL", "", "nonsense", True),
        ("iqn.2001-04.com.example", "iqn.2001-04.com.example", "10.0.0.1", True),
        ("iqn.2001-04.com.EXAMPLE", "iqn.2001-04.com.Example", "10.0.0.1", True),
        ("iqn.2001-04.com.example", "iqn.2001-04.com.example:1", "10.0.0.1", False),
        ("10.0.0.0/8", "x", "10.255.0.1", True),
        ("10.0.0.0/8", "x", "11.0.0.1", False),
        ("10.0.0.7/8", "x", "10.9.9.9", True),
        ("10.0.0.7", "x", "10.0.0.7", True),
        ("10.0.0.7", "x", "::ffff:10.0.0.7", True),
        ("2001:db8::/32", "x", "2001:db8:1::1", True),
        ("2001:db8::/32", "x", "10.0.0.1", False),
        ("fe80::/10", "x", "fe80::1%eth0", True),
        ("10.0.0.0/8", "x", "/run/socket", False),
    ],
)
def test_access_rules(rule: str, initiator: str, peer: str, admitted: bool) -> None:
    assert parse_access_rule(rule).matches(initiator, peer) is admitted


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.1/24", "10.0.0.0/24"),
        ("10.0.0.1/255.255.255.0", "10.0.0.0/24"),
        ("2001:DB8::7/64", "2001:db8::/64"),
    ],
)
def test_a_host_in_place_of_its_network_is_said(text: str, network: str) -> None:
    words = read_otherwise(text)
    assert text in words and network in words
    assert str(parse_access_rule(text)) == network


@pytest.mark.parametrize("text", ["all", "iqn.2001-04.com.example", "10.0.0.0/8", "10.0.0.7", "10.0.0.7/32", "::1"])
def test_a_rule_that_is_read_as_it_stands_needs_no_words(text: str) -> None:
    assert read_otherwise(text) == ""


def test_what_all_makes_needless() -> None:
    name, network, everybody = map(parse_access_rule, ("iqn.2001-04.com.example", "10.0.0.0/8", "all"))
    assert needless([name, network]) == needless([everybody]) == ""
    assert needless([name, everybody, network]).endswith("keep nobody out: iqn.2001-04.com.example, 10.0.0.0/8")
    assert needless([network] * 9 + [everybody]).endswith("10.0.0.0/8, 6 more")


@pytest.mark.parametrize("text", ["", "everybody", "10.0.0.0/33", "iqn.20013-10.com.redhat", "1.2.3.4:80"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_access_rule(text)


@pytest.mark.parametrize("text", ["all", "iqn.2001-04.com.example", "10.0.0.0/8", "10.0.0.7", "2001:db8::/32"])
def test_rules_are_written_as_they_are_read(text: str) -> None:
    assert str(parse_access_rule(text)) == text
    assert parse_access_rule(text).kind in RuleKind
