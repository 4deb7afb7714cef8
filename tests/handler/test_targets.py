"""Which targets an initiator finds, and where."""

from __future__ import annotations

import pytest

from handler.accounts import Accounts
from handler.targets import REMEMBERED_NAMES, EngineTarget, TargetDirectory
from tcmu_gluster.config.addresses import Portal, parse_access_rule
from tcmu_gluster.iscsi.chap import Account, Algorithm, credentials
from tcmu_gluster.iscsi.pdu import LoginError
from tcmu_gluster.scsi.target import Target

NAME = "iqn.2026-01.example:disk"


def engine_target(*rules: str, name: str = NAME) -> EngineTarget:
    return EngineTarget(name, Target(name), map(parse_access_rule, rules))


@pytest.mark.parametrize(
    "rules, initiator, address, admitted",
    [
        ((), "iqn.2026-01.example:a", "192.0.2.1", False),
        (("all",), "iqn.2026-01.example:a", "192.0.2.1", True),
        (("iqn.2026-01.example:a",), "iqn.2026-01.example:a", "192.0.2.1", True),
        (("iqn.2026-01.example:a",), "iqn.2026-01.example:b", "192.0.2.1", False),
        (("192.0.2.0/24",), "iqn.2026-01.example:b", "192.0.2.200", True),
        (("192.0.2.0/24",), "iqn.2026-01.example:b", "198.51.100.1", False),
        (("iqn.2026-01.example:a", "198.51.100.1"), "iqn.2026-01.example:b", "198.51.100.1", True),
    ],
)
def test_only_who_has_a_rule_is_admitted_and_sees_the_target(rules, initiator, address, admitted):
    directory = TargetDirectory()
    directory.add(engine_target(*rules))
    assert directory.lookup(NAME).allows(initiator, address) is admitted
    assert [entry.name for entry in directory.targets_for(initiator, address)] == ([NAME] if admitted else [])


def test_a_portal_on_every_address_is_shown_as_the_one_the_initiator_came_to():
    target = engine_target("all")
    target.listening = [Portal("0.0.0.0"), Portal("192.0.2.1", 3261), Portal("2001:db8::1")]
    assert list(target.portals) == [("", 1), ("192.0.2.1:3261", 1), ("[2001:db8::1]:3260", 1)]


def test_a_name_is_there_once():
    directory = TargetDirectory()
    directory.add(engine_target())
    with pytest.raises(ValueError, match="already"):
        directory.add(engine_target())
    directory.remove(NAME)
    assert directory.lookup(NAME) is None


def test_a_target_that_is_not_found_is_deleted_disabled_or_unknown() -> None:
    directory = TargetDirectory()
    target = engine_target("all")
    directory.add(target)
    portal = directory.behind(Portal("127.0.0.1", 3260))
    assert portal.absence(NAME) == 0x0203, "not at this portal"  # the numbers: RFC 7143 11.13.5
    target.enabled = False
    assert portal.absence(NAME) == 0x0301
    directory.remove(NAME)
    assert portal.absence(NAME) == 0x0204
    directory.add(engine_target("all"))
    assert portal.absence(NAME) == 0x0203
    for number in range(REMEMBERED_NAMES + 1):
        directory.add(engine_target(name=f"iqn.x{number}"))
        directory.remove(f"iqn.x{number}")
    assert (portal.absence("iqn.x0"), portal.absence("iqn.x1")) == (0x0203, 0x0204), "what is remembered is bounded"


def test_a_portal_shows_only_the_targets_that_listen_there() -> None:
    directory = TargetDirectory()
    target = engine_target("all")
    directory.add(target)
    here, there = Portal("127.0.0.1", 3260), Portal("192.0.2.1", 3260)
    target.listening = [here]
    assert directory.behind(here).lookup(NAME) is target
    found = directory.behind(here).targets_for("iqn.2001-04.com.example", "127.0.0.1")
    assert [entry.name for entry in found] == [NAME]
    assert directory.behind(there).lookup(NAME) is None
    assert directory.behind(there).targets_for("iqn.2001-04.com.example", "127.0.0.1") == []
    assert directory.behind(here).lookup("iqn.2001-04.com.example:other") is None
    assert directory.behind(here).authenticator_for("iqn.2001-04.com.example", target, "127.0.0.1").finished


HOST = "iqn.2001-04.com.example"


def test_a_password_is_asked_for_where_one_was_set() -> None:
    directory = TargetDirectory()
    target = engine_target("all")
    directory.add(target)
    assert directory.authenticator_for(HOST, target, "127.0.0.1").methods == ("None",)
    target.accounts = Accounts(Account(credentials("u", "twelve-chars")))
    assert directory.authenticator_for(HOST, target, "127.0.0.1").methods == ("CHAP",)
    assert directory.authenticator_for(HOST, None, "127.0.0.1").methods == ("None",)
    directory.discovery = Account(credentials("d", "twelve-chars"))
    assert directory.authenticator_for(HOST, None, "127.0.0.1").methods == ("CHAP",)


def test_a_target_that_was_deleted_during_the_login_lets_nobody_in() -> None:
    directory = TargetDirectory()
    target = engine_target("all")
    directory.add(target)
    directory.remove(NAME)
    authenticator = directory.authenticator_for(HOST, target, "127.0.0.1")
    assert authenticator.methods == ("CHAP",) and not authenticator.finished


def test_algorithms_weaker_than_set_are_not_taken() -> None:
    directory = TargetDirectory(Algorithm.SHA256)
    target = engine_target("all")
    target.accounts = Accounts(Account(credentials("u", "twelve-chars")))
    directory.add(target)
    authenticator = directory.authenticator_for(HOST, target, "127.0.0.1")
    authenticator.begin("CHAP")
    with pytest.raises(LoginError):
        authenticator.step([("CHAP_A", "5,6")])
