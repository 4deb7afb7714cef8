"""RFC 7143 section 13, key by key."""

from __future__ import annotations

from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.iscsi.keys import TABLE, KeyMisused, Negotiator, Parameters, Rule, When, attribute_of
from tcmu_gluster.iscsi.settings import Settings
from tcmu_gluster.iscsi.text import TextError

OURS = Settings(
    max_burst_bytes=100_000, first_burst_bytes=70_000, max_outstanding_r2t=4, initial_r2t=False, immediate_data=True,
    default_time2wait=3, default_time2retain=10, max_connections=2, error_recovery_level=0,
)  # fmt: skip


def settle(name: str, value: str, when: When = When.OPERATIONAL, **how: bool) -> tuple[Optional[str], Parameters]:
    """(the answer or None, what is settled now)."""
    parameters = Parameters()
    answers = Negotiator(OURS, parameters).settle([(name, value)], when, **how)
    return (answers[0][1] if answers else None), parameters


@pytest.mark.parametrize(("name", "offer", "answer"), [
    ("HeaderDigest", "CRC32C,None", "CRC32C"), ("HeaderDigest", "None,CRC32C", "None"),
    ("DataDigest", "CRC32C", "CRC32C"), ("HeaderDigest", "MD4", "Reject"), ("HeaderDigest", "MD4,None", "None"),
    ("MaxConnections", "8", "2"), ("MaxConnections", "1", "1"),
    ("InitialR2T", "No", "No"), ("InitialR2T", "Yes", "Yes"),
    ("ImmediateData", "No", "No"), ("ImmediateData", "Yes", "Yes"),
    ("MaxBurstLength", "16776192", "100000"), ("MaxBurstLength", "65536", "65536"),
    ("MaxBurstLength", "0x10000", "65536"),
    ("FirstBurstLength", "262144", "70000"), ("FirstBurstLength", "512", "512"),
    ("DefaultTime2Wait", "2", "3"), ("DefaultTime2Wait", "60", "60"), ("DefaultTime2Retain", "20", "0"),
    ("MaxOutstandingR2T", "16", "4"), ("DataPDUInOrder", "No", "Yes"), ("DataSequenceInOrder", "No", "Yes"),
    ("ErrorRecoveryLevel", "2", "0"), ("TaskReporting", "FastAbort,RFC3720", "RFC3720"),
    ("TaskReporting", "FastAbort", "Reject"), ("iSCSIProtocolLevel", "2", "1"), ("iSCSIProtocolLevel", "0", "0"),
    ("IFMarker", "Yes", "No"), ("OFMarker", "No", "No"), ("IFMarkInt", "2048", "Reject"),
    ("OFMarkInt", "1~9", "Reject"),
    ("X-com.example.magic", "1", "NotUnderstood"), ("Madeup", "1", "NotUnderstood"),
    ("MaxRecvDataSegmentLength", "65536", None), ("InitiatorAlias", "db1", None),
    ("MaxBurstLength", "Reject", None), ("HeaderDigest", "NotUnderstood", None),
])  # fmt: skip
def test_answer_to_an_offer(name: str, offer: str, answer: Optional[str]) -> None:
    assert settle(name, offer)[0] == answer


@pytest.mark.parametrize(("level", "retain", "r2ts"), [("0", "0", "4"), ("1", "0", "1"), ("2", "10", "1")])
def test_what_recovery_needs_depends_on_its_level(level: str, retain: str, r2ts: str) -> None:
    """RFC 7143 13.19: recovery with DataSequenceInOrder=Yes needs MaxOutstandingR2T=1; below 2 nothing is retained."""
    pairs = [("DefaultTime2Retain", "20"), ("MaxOutstandingR2T", "16"), ("ErrorRecoveryLevel", level)]
    answers = Negotiator(Settings(default_time2retain=10, error_recovery_level=2), Parameters()).settle(
        pairs, When.OPERATIONAL
    )
    assert [answer for _, answer in answers] == [retain, r2ts, level]


@pytest.mark.parametrize(("name", "value"), [
    ("MaxBurstLength", "511"), ("MaxBurstLength", "16777216"), ("MaxBurstLength", "-1"), ("MaxBurstLength", "many"),
    ("MaxBurstLength", ""), ("MaxBurstLength", "0x"), ("MaxBurstLength", "1" * 5000),
    ("MaxBurstLength", "٣٢١٣"), ("MaxBurstLength", "0x_1000"), ("MaxConnections", "²"),
    ("MaxConnections", "0"), ("ErrorRecoveryLevel", "3"), ("InitialR2T", "yes"), ("ImmediateData", "1"),
    ("MaxRecvDataSegmentLength", "0"), ("TargetAlias", "a"), ("TargetAddress", "a"), ("TargetPortalGroupTag", "1"),
    ("SendTargets", "All"), ("DefaultTime2Wait", "3601"),
])  # fmt: skip
def test_what_may_not_be_said_in_a_login_is_refused(name: str, value: str) -> None:
    with pytest.raises(KeyMisused):
        settle(name, value)


@pytest.mark.parametrize("name", [name for name, key in TABLE.items() if key.when & When.NORMAL])
def test_keys_of_normal_sessions_are_irrelevant_in_discovery(name: str) -> None:
    assert settle(name, "Yes", discovery=True)[0] == "Irrelevant"


@pytest.mark.parametrize("name", [name for name, key in TABLE.items() if not key.when & When.SECURITY])
def test_operational_keys_are_refused_in_the_security_stage(name: str) -> None:
    with pytest.raises(KeyMisused):
        settle(name, "1", When.SECURITY)


@pytest.mark.parametrize("name", [name for name, key in TABLE.items() if key.when & When.LEADING])
def test_session_wide_keys_are_refused_on_further_connections(name: str) -> None:
    with pytest.raises(KeyMisused):
        settle(name, "1", leading=False)


@pytest.mark.parametrize("name", ["MaxBurstLength", "HeaderDigest", "InitiatorName", "MaxRecvDataSegmentLength"])
def test_a_key_sent_again_in_a_later_request_is_refused(name: str) -> None:
    negotiator = Negotiator(OURS, Parameters())
    negotiator.settle([(name, "65536")], When.OPERATIONAL)
    with pytest.raises(KeyMisused):
        negotiator.settle([(name, "65536")], When.OPERATIONAL)


def test_security_keys_are_left_to_the_authenticator() -> None:
    assert settle("CHAP_A", "5", When.SECURITY)[0] is None
    assert settle("CHAP_A", "5", When.OPERATIONAL)[0] == "NotUnderstood"


def test_what_is_settled_is_kept_under_the_standards_name() -> None:
    assert settle("MaxBurstLength", "65536")[1].max_burst_length == 65536
    assert settle("InitialR2T", "No")[1].initial_r2t is False
    assert settle("MaxRecvDataSegmentLength", "65536")[1].max_recv_data_segment_length == 65536
    assert settle("HeaderDigest", "MD4")[1].header_digest == "None"


@pytest.mark.parametrize("key", [key for key in TABLE.values() if hasattr(Parameters(), attribute_of(key.name))])
def test_parameters_begin_with_the_defaults_of_the_table(key: object) -> None:
    assert getattr(Parameters(), attribute_of(key.name)) == key.default


@given(st.sampled_from(sorted(TABLE)), st.text(max_size=40), st.sampled_from(list(When)), st.booleans(), st.booleans())
def test_any_value_is_answered_or_refused(name: str, value: str, when: When, discovery: bool, leading: bool) -> None:
    try:
        answer, _ = settle(name, value, when, discovery=discovery, leading=leading)
    except TextError:
        return
    key = TABLE[name]
    if answer is not None and answer.isdecimal() and key.rule in (Rule.MINIMUM, Rule.MAXIMUM):
        assert key.lowest <= int(answer) <= key.highest
