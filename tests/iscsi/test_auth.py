"""AuthMethod: what is agreed, and the method that asks nothing."""

from __future__ import annotations

import pytest

from tcmu_gluster.iscsi.auth import NoAuthentication, choose
from tcmu_gluster.iscsi.pdu import LoginError, LoginStatus


class Recorder:
    """An authenticator that takes two methods."""

    methods = ("CHAP", "None")
    finished = False

    def __init__(self) -> None:
        self.begun: list[str] = []

    def begin(self, method: str) -> None:
        self.begun.append(method)

    def step(self, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        return pairs


@pytest.mark.parametrize(("offered", "chosen"), [
    ("CHAP,None", "CHAP"), ("None,CHAP", "None"), ("KRB5,None", "None"), ("CHAP", "CHAP"),
])  # fmt: skip
def test_the_first_good_method_of_the_initiators_list_is_taken(offered: str, chosen: str) -> None:
    recorder = Recorder()
    assert choose(recorder, offered) == chosen
    assert recorder.begun == [chosen]


def test_no_good_method_is_an_authentication_failure() -> None:
    with pytest.raises(LoginError) as caught:
        choose(NoAuthentication(), "CHAP,KRB5")
    assert caught.value.status is LoginStatus.AUTHENTICATION_FAILURE


def test_no_authentication_has_no_keys() -> None:
    assert NoAuthentication().step([]) == [] and NoAuthentication().finished
    with pytest.raises(LoginError) as caught:
        NoAuthentication().step([("CHAP_A", "5")])
    assert caught.value.status is LoginStatus.INITIATOR_ERROR
