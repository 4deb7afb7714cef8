"""Outstanding commands of an address and of all: lent to sessions as their CmdSN windows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tcmu_gluster.iscsi.credit import Credit
from tcmu_gluster.iscsi.pdu import LoginError, LoginStatus
from tcmu_gluster.iscsi.settings import DEFAULTS
from tests.doubles.initiator import Initiator
from tests.doubles.iscsi_wire import Wire

HERE, THERE = "192.0.2.1", "192.0.2.2"


def test_while_there_is_plenty_a_session_gets_what_it_wants() -> None:
    assert [Credit(4096, 2048).lend(HERE, 128) for _ in range(3)] == [128, 128, 128]


def test_windows_of_one_address_never_exceed_its_bound_and_others_still_get_theirs() -> None:
    credit = Credit(1 << 20, 100)
    granted = []
    with pytest.raises(LoginError) as refused:
        while True:
            granted.append(credit.lend(HERE, 128))
    assert refused.value.status == LoginStatus.OUT_OF_RESOURCES and HERE in str(refused.value)
    assert sum(granted) == 100 and min(granted) == 1
    assert credit.lend(THERE, 128) == 12  # an eighth of its own 100


def test_all_addresses_together_have_a_bound() -> None:
    credit = Credit(3, 3)
    for address in (HERE, THERE, HERE):
        assert credit.lend(address, 5) == 1
    with pytest.raises(LoginError, match="all sessions"):
        credit.lend("192.0.2.3", 5)


def test_what_a_session_had_is_there_again_when_it_has_ended() -> None:
    credit = Credit(8, 8)
    for _ in range(20):
        credit.give_back(HERE, credit.lend(HERE, 128))
    assert credit.lent == 0 and credit.lend(HERE, 1) == 1


def test_addresses_of_one_ipv6_network_count_as_one() -> None:
    credit = Credit(100, 1)
    credit.lend("2001:db8::1", 1)
    with pytest.raises(LoginError):
        credit.lend("2001:db8::2", 1)
    assert credit.lend("2001:db8:0:1::1", 1) == 1


def test_a_session_may_send_what_was_lent_to_it_and_no_more() -> None:
    """RFC 7143 4.2.2.1: MaxCmdSN - ExpCmdSN + 1 is what may be sent; what lies beyond is ignored."""
    wire = Wire(login=False, hold=True, settings=replace(DEFAULTS, window=128))
    wire.registry.credit = Credit(24, 24)
    wire.initiator.login()
    wire.pump()
    for _ in range(9):
        wire.initiator.scsi(bytes(6))
    wire.pump()
    assert len(wire.held) == 3  # an eighth of 24
    assert wire.registry.credit.lent == 3
    wire.connection.closed(1.0)
    wire.pump()
    assert wire.registry.credit.lent == 0


def test_who_comes_when_nothing_is_left_is_refused_and_reinstatement_is_not() -> None:
    first = Wire(login=False)
    first.registry.credit = Credit(1, 1)
    first.initiator.login()
    first.pump()
    assert first.initiator.full_feature
    other = Wire(beside=first, login=False, initiator=Initiator(name="iqn.2026-01.example:other"))
    other.initiator.login()
    other.pump()
    assert other.initiator.login_status == LoginStatus.OUT_OF_RESOURCES
    again = Wire(beside=first, login=False)
    again.initiator.login()
    again.pump()
    assert again.initiator.full_feature and again.registry.credit.lent == 1
