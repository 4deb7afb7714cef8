"""What is kept about refusals, and what it tells an administrator to type."""

from __future__ import annotations

import pytest

from handler.denials import MOST_DENIALS, Denials
from tcmu_gluster.iscsi.login import Refusal
from tcmu_gluster.iscsi.pdu import LoginStatus

IQN, HOST = "iqn.2013-10.com.redhat", "iqn.1994-05.com.redhat:a"


def test_the_newest_is_first_and_the_number_is_bounded() -> None:
    denials = Denials()
    for number in range(MOST_DENIALS + 20):
        denials.add(IQN, HOST, f"192.0.2.{number}", "no")
    assert [denial.address for denial in denials][:2] == [
        f"192.0.2.{MOST_DENIALS + 19}",
        f"192.0.2.{MOST_DENIALS + 18}",
    ]
    assert len(list(denials)) == MOST_DENIALS


def test_one_who_tries_again_and_again_pushes_nobody_out() -> None:
    denials = Denials()
    denials.add(IQN, HOST, "192.0.2.1", "no")
    for _ in range(1000):
        denials.add(IQN, HOST, "192.0.2.66", "no")
    assert [(denial.address, denial.times) for denial in denials] == [("192.0.2.66", 1000), ("192.0.2.1", 1)]


@pytest.mark.parametrize(
    "name", ["x; rm -rf /", "iqn.2013-10.com.example:$(id)", "iqn.2013-10.com.example:a b", "", "`id`"]
)
def test_a_name_that_a_shell_would_understand_is_not_offered_to_be_typed(name: str) -> None:
    denials = Denials()
    denials.add_unruly(IQN, [], name, "192.0.2.66")
    (denial,) = denials
    assert denial.reason == f"{IQN} admits nobody; to let it in: tcmu-gluster acl allow {IQN} 192.0.2.66"
    assert denial.initiator == name


def test_a_missing_rule_names_the_command_that_adds_it() -> None:
    denials = Denials()
    denials.add_unruly(IQN, ["10.0.0.0/8"], HOST, "192.0.2.66")
    (denial,) = denials
    assert "admits 10.0.0.0/8" in denial.reason and denial.reason.endswith(f"tcmu-gluster acl allow {IQN} {HOST}")


@pytest.mark.parametrize(("target", "known", "place"), [
    (IQN, True, IQN), ("", False, "--discovery"), ("iqn.x;id", False, "TARGET"),
])  # fmt: skip
def test_a_failed_proof_names_the_command_that_sets_a_password(target: str, known: bool, place: str) -> None:
    denials = Denials()
    refusal = Refusal(LoginStatus.AUTHENTICATION_FAILURE, HOST, target, "the CHAP password is wrong")
    denials.add_refusal(refusal, "192.0.2.66", known=known)
    (denial,) = denials
    assert "password is wrong" in denial.reason and f"tcmu-gluster chap set {place} --user" in denial.reason


@pytest.mark.parametrize(("status", "why", "words"), [
    (LoginStatus.TARGET_REMOVED, "target x was deleted", "target list"),
    (LoginStatus.SERVICE_UNAVAILABLE, "target x is disabled", f"tcmu-gluster target enable {IQN}"),
    (LoginStatus.OUT_OF_RESOURCES, "1024 sessions are open", "1024 sessions are open; `tcmu-gluster session list`"),
    (LoginStatus.TOO_MANY_CONNECTIONS, "as many as it may", "as many as it may; `tcmu-gluster session list`"),
])  # fmt: skip
def test_who_comes_when_there_is_no_room_or_no_service_is_explained(status: LoginStatus, why: str, words: str) -> None:
    denials = Denials()
    denials.add_refusal(Refusal(status, HOST, IQN, why), "192.0.2.66", known=True)
    (denial,) = denials
    assert words in denial.reason


def test_unknown_targets_are_kept_and_protocol_errors_are_not() -> None:
    denials = Denials()
    denials.add_refusal(Refusal(LoginStatus.INITIATOR_ERROR, HOST, IQN, "T and C"), "192.0.2.66", known=True)
    denials.add_refusal(Refusal(LoginStatus.AUTHORIZATION_FAILURE, HOST, IQN, "no rule"), "192.0.2.66", known=True)
    assert not list(denials)
    denials.add_refusal(Refusal(LoginStatus.NOT_FOUND, HOST, "iqn.none", "none"), "192.0.2.66", known=False)
    (denial,) = denials
    assert denial.target == "iqn.none" and "target list" in denial.reason
