"""From rtslib's CHAP keys to what initiators have to prove; a mistake opens no door."""

from __future__ import annotations

from typing import Any

import pytest

from handler.accounts import accounts_of, discovery_account, weakest_algorithm
from handler.configuration import Configuration, switched_on
from tcmu_gluster.config.addresses import parse_access_rule
from tcmu_gluster.config.settings import CHAP_ALGORITHMS, Settings
from tcmu_gluster.iscsi.chap import ALGORITHMS, NOBODY, Algorithm, Secret

IQN, HOST, OTHER = "iqn.2013-10.com.redhat", "iqn.1994-05.com.redhat:a", "iqn.1994-05.com.redhat:b"
GROUP = {"chap_userid": "all", "chap_password": "everybody-secret"}
OWN = {"chap_userid": "own", "chap_password": "secret-of-host-a"}
MUTUAL = {"chap_mutual_userid": "target", "chap_mutual_password": "secret-of-target"}


def configuration(group: dict[str, Any], acl: dict[str, Any], authentication: Any = 1) -> Configuration:
    made = Configuration()
    made.add_target(IQN, ())
    for host in (HOST, OTHER):
        made.allow(IQN, parse_access_rule(host))
    made.group(IQN).update(group)
    made.group(IQN)["attributes"]["authentication"] = authentication
    made.credentials(IQN, HOST).update(acl)
    return made


@pytest.mark.parametrize("off", [0, "0", False, None, "no", ""])
def test_without_authentication_nobody_proves_anything(off: Any) -> None:
    accounts = accounts_of(configuration(GROUP, OWN, off), IQN, 12)
    assert accounts.of(HOST) is None and accounts.of(OTHER) is None


@pytest.mark.parametrize("on", [1, "1", True, -1, "yes"])
def test_an_initiators_own_account_goes_before_everybodys(on: Any) -> None:
    accounts = accounts_of(configuration(GROUP, {**OWN, **MUTUAL}, on), IQN, 12)
    own, everybody = accounts.of(HOST), accounts.of(OTHER)
    assert own is not None and everybody is not None and own.incoming is not None and everybody.incoming is not None
    assert (own.incoming.user, everybody.incoming.user) == ("own", "all")
    assert own.incoming.secret == Secret(b"secret-of-host-a")
    assert own.outgoing is not None and own.outgoing.user == "target" and everybody.outgoing is None
    assert own.required and everybody.required and not accounts.problems


def test_upper_case_does_not_get_around_an_initiators_own_account() -> None:
    accounts = accounts_of(configuration(GROUP, OWN), IQN, 12)
    assert accounts.of(HOST.upper()) is accounts.of(HOST) is not accounts.everybody


def test_authentication_without_a_password_admits_nobody() -> None:
    accounts = accounts_of(configuration({}, OWN), IQN, 12)
    assert accounts.of(OTHER) is NOBODY and accounts.of(HOST) is not NOBODY


@pytest.mark.parametrize("broken", [
    {"chap_password": "short"}, {"chap_password": ""}, {"chap_userid": ""}, {"chap_password": None},
    {"chap_mutual_userid": "t", "chap_mutual_password": "secret-of-host-a"},
    {"chap_mutual_userid": "t", "chap_mutual_password": "short"}, {"chap_mutual_password": "secret-of-target"},
])  # fmt: skip
def test_what_cannot_be_used_admits_nobody_and_is_said(broken: dict[str, Any]) -> None:
    accounts = accounts_of(configuration(GROUP, {**OWN, **broken}), IQN, 12)
    assert accounts.of(HOST) is NOBODY and accounts.of(OTHER) is not NOBODY
    assert len(accounts.problems) == 1 and HOST in accounts.problems[0]
    assert "secret-of" not in accounts.problems[0] and "short" not in accounts.problems[0]


def test_shorter_passwords_of_an_older_configuration_can_be_let_in() -> None:
    accounts = accounts_of(configuration({}, {**OWN, "chap_password": "short"}), IQN, 5)
    assert accounts.of(HOST) is not NOBODY and not accounts.problems


def test_discovery_has_keys_of_its_own() -> None:
    made = configuration(GROUP, OWN)
    assert discovery_account(made, 12) == (None, [])
    place = made.make_fabric()
    assert made.make_fabric() is place and discovery_account(made, 12) == (None, [])
    place["discovery_enable_auth"] = True
    assert discovery_account(made, 12)[0] is NOBODY
    place.update(discovery_userid="disc", discovery_password="discovery-secret")
    account, problems = discovery_account(made, 12)
    assert account is not None and account.incoming is not None and account.incoming.user == "disc" and not problems
    place["discovery_password"] = "short"
    account, problems = discovery_account(made, 12)
    assert account is NOBODY and "discovery" in problems[0]


def test_the_setting_names_every_algorithm() -> None:
    assert set(CHAP_ALGORITHMS) == set(ALGORITHMS)
    assert weakest_algorithm(Settings(chap_weakest_algorithm="sha256")) is Algorithm.SHA256


@pytest.mark.parametrize(("value", "on"), [(1, True), ("0", False), (None, False), (True, True), ("False", False)])
def test_attributes_are_numbers_words_or_truth_values(value: Any, on: bool) -> None:
    assert switched_on(value) is on
