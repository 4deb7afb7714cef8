"""The login phase: every stage change, every refusal with its status."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.iscsi.chap import Account, Challenges, ChapAuthenticator, credentials
from tcmu_gluster.iscsi.credit import Credit
from tcmu_gluster.iscsi.login import TRANSITIONS, Answer, Ask, Login, Stage, ask_of, transition
from tcmu_gluster.iscsi.pdu import LOGIN_REQUEST, LoginError, LoginStatus
from tcmu_gluster.iscsi.session import SessionRegistry
from tcmu_gluster.iscsi.settings import DEFAULTS
from tcmu_gluster.iscsi.text import decode
from tests.doubles.initiator import Initiator, encode
from tests.doubles.iscsi_wire import TARGET, Directory, Entry, Wire

ISID = bytes.fromhex("00023d000001")
NAMES = {"InitiatorName": "iqn.2026-01.example:me", "TargetName": TARGET}

SEC, OPER, FULL = Stage.SECURITY, Stage.OPERATIONAL, Stage.FULL_FEATURE
# RFC 7143 6.3.1: what CSG and NSG may follow each other. Everything else is refused.
ALLOWED = {
    (Stage.START, Ask.SECURITY): (SEC, SEC), (Stage.START, Ask.SECURITY_TO_OPERATIONAL): (SEC, OPER),
    (Stage.START, Ask.SECURITY_TO_FULL): (SEC, FULL), (Stage.START, Ask.OPERATIONAL): (OPER, OPER),
    (Stage.START, Ask.OPERATIONAL_TO_FULL): (OPER, FULL),
    (SEC, Ask.SECURITY): (SEC, SEC), (SEC, Ask.SECURITY_TO_OPERATIONAL): (SEC, OPER),
    (SEC, Ask.SECURITY_TO_FULL): (SEC, FULL),
    (OPER, Ask.OPERATIONAL): (OPER, OPER), (OPER, Ask.OPERATIONAL_TO_FULL): (OPER, FULL),
}  # fmt: skip


class Challenge:
    """An authenticator that wants CHAP_A first and then the right CHAP_R."""

    methods: tuple[str, ...] = ("CHAP",)

    def __init__(self) -> None:
        self.finished = False

    def begin(self, method: str) -> None:
        assert method == "CHAP"

    def step(self, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        keys = dict(pairs)
        if "CHAP_A" in keys:
            return [("CHAP_A", "5"), ("CHAP_I", "1"), ("CHAP_C", "0x00")]
        if keys.get("CHAP_R") == "0xgood":
            self.finished = True
        elif "CHAP_R" in keys:
            raise LoginError(LoginStatus.AUTHENTICATION_FAILURE, "wrong secret")
        return []


def make(directory: Optional[Directory] = None, registry: Optional[SessionRegistry] = None) -> Login:
    return Login(directory or Directory(), registry or SessionRegistry(), DEFAULTS, "192.0.2.9")


def send(login: Login, keys: Any, csg: int = 1, nsg: Optional[int] = None, **fields: Any) -> Answer:
    """One request; keys is a dict or the bytes themselves."""
    values = {
        "immediate": 1, "transit": nsg is not None, "current_stage": csg, "next_stage": nsg or 0, "isid": ISID,
        "initiator_task_tag": 9,
    }  # fmt: skip
    header = LOGIN_REQUEST.pack(**{**values, **fields})
    return login.request(LOGIN_REQUEST.unpack(header), keys if isinstance(keys, bytes) else encode(keys))


def refusal(login: Login, keys: Any, csg: int = 1, nsg: Optional[int] = None, **fields: Any) -> LoginStatus:
    with pytest.raises(LoginError) as caught:
        send(login, keys, csg, nsg, **fields)
    return caught.value.status


# -- the table ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stage", "ask"), list(itertools.product(Stage, Ask)))
def test_every_pair_of_the_table(stage: Stage, ask: Ask) -> None:
    if (stage, ask) in ALLOWED:
        assert transition(stage, ask) == ALLOWED[stage, ask] == TRANSITIONS[stage, ask]
    else:
        with pytest.raises(LoginError) as caught:
            transition(stage, ask)
        assert caught.value.status is LoginStatus.INVALID_DURING_LOGIN


@pytest.mark.parametrize(("csg", "nsg", "transit"), list(itertools.product(range(4), range(4), (0, 1))))
def test_every_value_of_csg_nsg_and_t(csg: int, nsg: int, transit: int) -> None:
    request = LOGIN_REQUEST.unpack(LOGIN_REQUEST.pack(current_stage=csg, next_stage=nsg, transit=transit))
    legal = csg in (0, 1) and (not transit or (nsg in (1, 3) and nsg > csg))
    if legal:
        assert ask_of(request).value == (csg, nsg if transit else None)
    else:
        with pytest.raises(LoginError) as caught:
            ask_of(request)
        assert caught.value.status is LoginStatus.INITIATOR_ERROR


# -- good logins -------------------------------------------------------------------------------------------------------


def test_operational_stage_alone() -> None:
    login = make()
    answer = send(login, {**NAMES, "HeaderDigest": "CRC32C,None"}, 1, 3)
    assert answer.finished and answer.transit
    assert decode(answer.data) == [
        ("TargetPortalGroupTag", "1"),
        ("HeaderDigest", "CRC32C"),
        ("MaxRecvDataSegmentLength", str(DEFAULTS.max_recv_data_segment_bytes)),
    ]
    assert login.entry is not None and login.entry.name == TARGET
    assert login.parameters.header_digest == "CRC32C"


def test_security_stage_with_method_none_then_operational() -> None:
    login = make()
    first = send(login, {**NAMES, "AuthMethod": "CHAP,None"}, 0, 1)
    assert first.transit and not first.finished
    assert ("AuthMethod", "None") in decode(first.data)
    assert login.stage is Stage.OPERATIONAL
    assert send(login, {"MaxBurstLength": "65536"}, 1, 3).finished


def test_straight_from_security_to_full_feature() -> None:
    assert send(make(), {**NAMES, "AuthMethod": "None"}, 0, 3).finished


def test_a_login_of_many_requests_declares_our_segment_once() -> None:
    login = make()
    answers = [send(login, NAMES, 1), send(login, {"MaxBurstLength": "65536"}, 1), send(login, {}, 1, 3)]
    declared = [pair for answer in answers for pair in decode(answer.data) if pair[0] == "MaxRecvDataSegmentLength"]
    assert len(declared) == 1
    assert [answer.finished for answer in answers] == [False, False, True]


def test_text_over_several_pdus() -> None:
    login = make()
    text = encode({**NAMES, "MaxBurstLength": "65536"})
    answer = send(login, text[:30], 1, continues=1)
    assert (answer.data, answer.transit) == (b"", False)
    answer = send(login, text[30:], 1, 3)
    assert ("MaxBurstLength", "65536") in decode(answer.data)


def test_discovery_session_needs_no_target() -> None:
    login = make()
    keys = {"InitiatorName": "iqn.2026-01.example:me", "SessionType": "Discovery", "MaxBurstLength": "65536"}
    answer = send(login, keys, 1, 3)
    assert login.discovery and login.entry is None
    assert ("MaxBurstLength", "Irrelevant") in decode(answer.data)
    assert "TargetPortalGroupTag" not in dict(decode(answer.data))


@pytest.mark.parametrize(("header", "data", "status"), [
    ("None,CRC32C", "None,CRC32C", 0), ("CRC32C", "None", 0x0200), ("None", "CRC32C", 0x0200), ("", "", 0x0200),
])  # fmt: skip
def test_a_digest_that_is_required_is_chosen_or_the_login_fails(header: str, data: str, status: int) -> None:
    settings = replace(DEFAULTS, header_digests=("CRC32C",), data_digests=("CRC32C",))
    wire = Wire(login=False, settings=settings)
    offered = {"HeaderDigest": header, "DataDigest": data}
    wire.initiator.keys = {key: value for key, value in offered.items() if value}
    wire.initiator.login()
    wire.pump()
    assert wire.initiator.login_status == status
    assert (wire.initiator.header_digest, wire.initiator.data_digest) == (not status, not status)
    if not status:
        task = wire.read(0, 512)
        wire.pump()
        assert task.status == 0


# -- authentication ----------------------------------------------------------------------------------------------------


def test_an_authenticator_is_asked_until_it_is_satisfied() -> None:
    login = make(Directory(authenticator=Challenge))
    assert dict(decode(send(login, {**NAMES, "AuthMethod": "CHAP"}, 0).data))["AuthMethod"] == "CHAP"
    challenge = send(login, {"CHAP_A": "5"}, 0, 1)
    assert not challenge.transit, "the target doesn't agree while it waits for an answer"
    assert dict(decode(challenge.data))["CHAP_I"] == "1"
    assert send(login, {"CHAP_R": "0xgood"}, 0, 1).transit
    assert send(login, {}, 1, 3).finished


def test_a_wrong_answer_is_an_authentication_failure() -> None:
    login = make(Directory(authenticator=Challenge))
    send(login, {**NAMES, "AuthMethod": "CHAP"}, 0)
    assert refusal(login, {"CHAP_R": "0xbad"}, 0, 1) is LoginStatus.AUTHENTICATION_FAILURE


def test_who_must_authenticate_cannot_skip_or_leave_the_security_stage() -> None:
    assert refusal(make(Directory(authenticator=Challenge)), NAMES, 1, 3) is LoginStatus.AUTHENTICATION_FAILURE
    assert not send(make(Directory(authenticator=Challenge)), NAMES, 0, 3).transit
    login = make(Directory(authenticator=Challenge))
    assert refusal(login, {**NAMES, "AuthMethod": "None"}, 0, 1) is LoginStatus.AUTHENTICATION_FAILURE
    login = make(Directory(authenticator=Challenge))
    send(login, {**NAMES, "AuthMethod": "CHAP"}, 0)
    assert refusal(login, {}, 1, 3) is LoginStatus.INVALID_DURING_LOGIN


def test_keys_of_a_method_come_after_the_method_and_it_is_chosen_once() -> None:
    login = make(Directory(authenticator=Challenge))
    assert refusal(login, {**NAMES, "CHAP_A": "5"}, 0) is LoginStatus.INITIATOR_ERROR
    login = make(Directory(authenticator=Challenge))
    send(login, {**NAMES, "AuthMethod": "CHAP"}, 0)
    assert refusal(login, {"AuthMethod": "CHAP"}, 0) is LoginStatus.INITIATOR_ERROR


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("keys", "fields", "status"), [
    ({"TargetName": TARGET}, {}, LoginStatus.MISSING_PARAMETER),
    ({"InitiatorName": ""}, {}, LoginStatus.MISSING_PARAMETER),
    ({"InitiatorName": "iqn.x"}, {}, LoginStatus.MISSING_PARAMETER),
    ({"InitiatorName": "i" * 224, "TargetName": TARGET}, {}, LoginStatus.INITIATOR_ERROR),
    ({"InitiatorName": "iqn.x", "TargetName": "iqn.nowhere"}, {}, LoginStatus.NOT_FOUND),
    ({"InitiatorName": "iqn.refused", "TargetName": TARGET}, {}, LoginStatus.AUTHORIZATION_FAILURE),
    ({**NAMES, "SessionType": "Other"}, {}, LoginStatus.SESSION_TYPE_NOT_SUPPORTED),
    (NAMES, {"version_min": 1, "version_max": 1}, LoginStatus.UNSUPPORTED_VERSION),
    (NAMES, {"tsih": 77}, LoginStatus.SESSION_DOES_NOT_EXIST),
    (NAMES, {"continues": 1}, LoginStatus.INITIATOR_ERROR),
    ({**NAMES, "MaxBurstLength": "1"}, {}, LoginStatus.INITIATOR_ERROR),
    ({**NAMES, "TargetAddress": "1"}, {}, LoginStatus.INITIATOR_ERROR),
    (encode(NAMES) + encode(NAMES), {}, LoginStatus.INITIATOR_ERROR),
    (encode(NAMES)[:-1], {}, LoginStatus.INITIATOR_ERROR),
    (b"".join(b"X-%d=1\0" % number for number in range(700)) + encode(NAMES), {}, LoginStatus.INITIATOR_ERROR),
])  # fmt: skip
def test_refusal_of_a_first_request(keys: Any, fields: dict[str, int], status: LoginStatus) -> None:
    entry = Entry()
    entry.refused.add("iqn.refused")
    assert refusal(make(Directory(entry)), keys, 1, 3, **fields) is status


@pytest.mark.parametrize("changed", [{"isid": b"other!"}, {"cid": 1}, {"initiator_task_tag": 10}, {"tsih": 1}])
def test_what_identifies_a_login_may_not_change(changed: dict[str, Any]) -> None:
    login = make()
    send(login, NAMES, 1)
    assert refusal(login, {}, 1, 3, **changed) is LoginStatus.INITIATOR_ERROR


@pytest.mark.parametrize("late", [
    {"SessionType": "Discovery"}, {"InitiatorName": "iqn.2026-01.example:you"},
    {"TargetName": "iqn.2026-01.example:other"},
])  # fmt: skip
@pytest.mark.parametrize("stage", [0, 1])
def test_who_comes_and_where_to_can_not_become_something_else_later(late: dict[str, str], stage: int) -> None:
    """RFC 7143 6.3.1: the first request says it, and it was the one that was admitted and authenticated."""
    login = make()
    send(login, {**NAMES, **({"AuthMethod": "None"} if not stage else {})}, stage)
    assert refusal(login, late, stage, 3) is LoginStatus.INITIATOR_ERROR


@pytest.mark.parametrize("late", [{"SessionType": "Normal"}, {"TargetName": TARGET}])
def test_a_discovery_session_can_not_become_one_with_a_target(late: dict[str, str]) -> None:
    login = make()
    send(login, {"InitiatorName": "iqn.2026-01.example:me", "SessionType": "Discovery"}, 1)
    assert refusal(login, late, 1, 3) is LoginStatus.INITIATOR_ERROR


def test_a_discovery_session_may_name_a_target_and_gets_none() -> None:
    login = make()
    assert send(login, {**NAMES, "SessionType": "Discovery"}, 1, 3).finished and login.entry is None


def test_a_session_type_that_is_the_default_may_be_said_late() -> None:
    login = make()
    send(login, NAMES, 1)
    assert send(login, {"SessionType": "Normal"}, 1, 3).finished


def test_a_key_repeated_in_a_later_request_is_refused() -> None:
    login = make()
    send(login, {**NAMES, "MaxBurstLength": "65536"}, 1)
    assert refusal(login, {"MaxBurstLength": "65536"}, 1, 3) is LoginStatus.INITIATOR_ERROR


@pytest.mark.parametrize("keys", [
    {**NAMES, "TargetName": "t" * 8000}, {**NAMES, "SessionType": "s" * 8000}, {**NAMES, "MaxBurstLength": "9" * 8000},
    {**NAMES, "AuthMethod": "a" * 8000},
])  # fmt: skip
def test_why_a_login_was_refused_is_said_in_one_short_line(keys: dict[str, str]) -> None:
    """It goes into the log, and strangers write it."""
    with pytest.raises(LoginError) as caught:
        send(make(), keys, 0 if "AuthMethod" in keys else 1)
    assert len(caught.value.why) < 300 and "\n" not in caught.value.why


def test_a_login_that_goes_nowhere_ends() -> None:
    login = make()
    send(login, NAMES, 1)
    with pytest.raises(LoginError):
        for _ in range(100):
            send(login, {}, 1)


def test_text_without_end_is_refused() -> None:
    login = make()
    with pytest.raises(LoginError) as caught:
        for _ in range(100):
            send(login, b"X-a=" + b"a" * 4000, 1, continues=1)
    assert caught.value.status is LoginStatus.INITIATOR_ERROR


@given(
    st.lists(
        st.tuples(
            st.binary(max_size=60) | st.sampled_from([encode(NAMES), encode({"AuthMethod": "None"}), b""]),
            st.integers(0, 3), st.integers(0, 3), st.booleans(), st.booleans(),
        ),
        max_size=6,
    )
)  # fmt: skip
def test_any_sequence_of_requests_ends_in_an_answer_or_a_refusal(requests: list[Any]) -> None:
    login = make()
    for data, csg, nsg, transit, more in requests:
        header = LOGIN_REQUEST.pack(
            isid=ISID, initiator_task_tag=9, current_stage=csg, next_stage=nsg, transit=transit, continues=more
        )
        try:
            answer = login.request(LOGIN_REQUEST.unpack(header), data)
        except LoginError:
            return
        assert not answer.finished or login.parameters.initiator_name


# -- on the wire -------------------------------------------------------------------------------------------------------


def refused(initiator: Initiator, **options: Any) -> int:
    """The Status-Class and Status-Detail (one number) that ends this initiator's login; 0 is success."""
    initiator.login()
    return status_of(Wire(login=False, initiator=initiator, **options))


def status_of(wire: Wire) -> int:
    wire.pump()
    responses = [answer.fields for answer in wire.initiator.every if answer.opcode == 0x23]
    assert responses and wire.connection.wants_close is bool(responses[-1].status)
    assert all(not response.transit for response in responses if response.status), "RFC 7143 11.13.3: no new stage"
    return int(responses[-1].status)


def target(**facts: Any) -> Directory:
    entry = Entry()
    for name, value in facts.items():
        setattr(entry, name, value)
    return Directory(entry)


def wants_chap(password: str, user: str = "alice") -> Directory:
    account = Account(credentials(user, password))
    return Directory(authenticator=lambda: ChapAuthenticator(account, Challenges(os.urandom)))


def gone(status: LoginStatus) -> Directory:
    directory = Directory()
    directory.entries.clear()
    directory.absences[TARGET] = status
    return directory


def first_request(keys: dict[str, str], **fields: Any) -> int:
    wire = Wire(login=False)
    wire.initiator.login_request(keys, stage=1, following=3, **fields)
    return status_of(wire)


def other_pdu_during_login() -> int:
    wire = Wire(login=False)
    wire.initiator.login_request(wire.initiator.identity(), stage=1)
    wire.pump()
    wire.initiator.nop()
    return status_of(wire)


def back_to_security() -> int:
    wire = Wire(login=False)
    wire.initiator.login_request(wire.initiator.identity(), stage=1)
    wire.pump()
    wire.initiator.login_request({}, stage=0)
    return status_of(wire)


def beside(first_keys: dict[str, str], target_name: str = TARGET, **options: Any) -> int:
    """A further connection of a session that has one."""
    first = Wire(first_keys, directory=Directory(Entry(), Entry("iqn.2026-01.example:second")))
    second = Initiator(target_name, **{"cid": 1, "tsih": first.initiator.tsih, **options})
    second.keys = {}
    status = refused(second, beside=first)
    assert not first.connection.wants_close, "the session that is there is left alone"
    return status


def full(**limits: int) -> int:
    wire = Wire(login=False)
    wire.registry = SessionRegistry(**limits)
    wire.connection.registry = wire.registry
    wire.initiator.login()
    return status_of(wire)


# RFC 7143 11.13.5, one line for each row of its table that a login may come to: (class and detail, what leads there)
STATUSES: dict[str, tuple[int, Any]] = {
    "success": (0x0000, lambda: refused(Initiator())),
    "target moved temporarily": (0x0101, lambda: refused(
        Initiator(), directory=target(redirect=("192.0.2.9:3260", False)))),
    "target moved permanently": (0x0102, lambda: refused(
        Initiator(), directory=target(redirect=("192.0.2.9:3260", True)))),
    "initiator error: a value out of range": (0x0200, lambda: refused(Initiator(keys={"MaxBurstLength": "1"}))),
    "wrong secret": (0x0201, lambda: refused(
        Initiator(chap=("alice", "correct-horse-baX")), directory=wants_chap("correct-horse-bat"))),
    "wrong CHAP user": (0x0201, lambda: refused(
        Initiator(chap=("bob", "correct-horse-bat")), directory=wants_chap("correct-horse-bat"))),
    "no secret at all": (0x0201, lambda: refused(Initiator(), directory=wants_chap("correct-horse-bat"))),
    "wrong secret for discovery": (0x0201, lambda: refused(
        Initiator(chap=("alice", "correct-horse-baX"), discovery=True), directory=wants_chap("correct-horse-bat"))),
    "initiator's name not admitted": (0x0202, lambda: refused(
        Initiator(name="iqn.2026-01.example:stranger"),
        directory=target(allows=lambda name, address: name == "iqn.2026-01.example:initiator"))),
    "initiator's address not admitted": (0x0202, lambda: refused(
        Initiator(), directory=target(allows=lambda name, address: address == "192.0.2.78"))),
    "unknown target": (0x0203, lambda: refused(Initiator("iqn.2026-01.example:nowhere"))),
    "target removed": (0x0204, lambda: refused(Initiator(), directory=gone(LoginStatus.TARGET_REMOVED))),
    "unsupported version": (0x0205, lambda: first_request(NAMES, version_min=1, version_max=2)),
    "too many connections": (0x0206, lambda: beside({"MaxConnections": "1"})),
    "missing InitiatorName": (0x0207, lambda: first_request({"TargetName": TARGET})),
    "missing TargetName": (0x0207, lambda: first_request({"InitiatorName": "iqn.2026-01.example:me"})),
    "cannot be included in that session": (0x0208, lambda: beside(
        {"MaxConnections": "2"}, "iqn.2026-01.example:second")),
    "unknown session type": (0x0209, lambda: first_request({**NAMES, "SessionType": "Other"})),
    "session that does not exist": (0x020A, lambda: refused(Initiator(tsih=77))),
    "session of another initiator": (0x020A, lambda: beside(
        {"MaxConnections": "2"}, name="iqn.2026-01.example:stranger")),
    "another PDU during the login": (0x020B, other_pdu_during_login),
    "a stage that is over": (0x020B, back_to_security),
    "target error: no randomness left": (0x0300, lambda: refused(
        Initiator(chap=("alice", "correct-horse-bat")), directory=no_randomness())),
    "target is disabled": (0x0301, lambda: refused(Initiator(), directory=gone(LoginStatus.SERVICE_UNAVAILABLE))),
    "out of sessions": (0x0302, lambda: full(max_sessions=0)),
    "out of commands": (0x0302, lambda: full(credit=Credit(limit=0))),
}  # fmt: skip


def no_randomness() -> Directory:
    challenges = Challenges(bytes)  # n zeros, again and again
    challenges.fresh(16)
    account = Account(credentials("alice", "correct-horse-bat"))
    return Directory(authenticator=lambda: ChapAuthenticator(account, challenges))


@pytest.mark.parametrize("case", STATUSES)
def test_each_refusal_has_the_class_and_detail_of_the_standard(case: str) -> None:
    expected, play = STATUSES[case]
    assert f"{play():#06x}" == f"{expected:#06x}"


def test_every_status_of_the_standard_is_in_that_table() -> None:
    assert {status for status, _ in STATUSES.values()} == set(LoginStatus)


@pytest.mark.parametrize(("change", "status"), [
    (lambda entries: entries.clear(), 0x0203),
    (lambda entries: entries.update({TARGET: Entry()}), 0x0204),
    (lambda entries: entries[TARGET].refused.add("iqn.2026-01.example:initiator"), 0x0202),
    (lambda entries: setattr(entries[TARGET], "redirect", ("192.0.2.9:3260", False)), 0x0101),
])  # fmt: skip
def test_a_target_that_changes_its_mind_during_a_login_is_asked_again_at_its_end(change: Any, status: int) -> None:
    wire = Wire(login=False)
    wire.initiator.login_request(wire.initiator.identity(), stage=1)
    wire.pump()
    change(wire.directory.entries)
    wire.initiator.login_request({}, stage=1, following=3)
    assert status_of(wire) == status and len(wire.registry) == 0


def test_refused_login_answers_with_the_status_and_closes() -> None:
    wire = Wire(login=False)
    wire.initiator.target_name = "iqn.nowhere"
    wire.initiator.login()
    wire.pump()
    assert wire.initiator.login_status == 0x0203
    assert wire.connection.wants_close and "no target iqn.nowhere" in wire.connection.why


def test_login_gives_tsih_and_a_window() -> None:
    wire = Wire()
    assert wire.initiator.tsih == 1
    assert wire.initiator.max_cmd_sn == wire.initiator.cmd_sn + DEFAULTS.window - 1


def test_login_one_byte_at_a_time_with_security_stage() -> None:
    wire = Wire(login=False, chunk=1)
    wire.initiator.login(security=True)
    wire.pump()
    assert wire.initiator.full_feature


def test_redirection_goes_out_with_its_address() -> None:
    class Moved:
        methods = ("None",)
        finished = True

        def begin(self, method: str) -> None:
            where = (("TargetAddress", "192.0.2.5:3260,1"),)
            raise LoginError(LoginStatus.TARGET_MOVED_TEMPORARILY, "it is elsewhere", where)

        def step(self, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
            return []

    wire = Wire(login=False, directory=Directory(authenticator=Moved))
    wire.initiator.login(security=True)
    wire.pump()
    assert wire.initiator.login_status == 0x0101
    assert wire.initiator.others[-1].data == b"TargetAddress=192.0.2.5:3260,1\0"


def test_commands_before_the_login_has_ended_close_the_connection() -> None:
    wire = Wire(login=False)
    wire.initiator.scsi(bytes(16))
    wire.pump()
    assert wire.connection.wants_close and not wire.executed


def test_second_login_in_full_feature_phase_is_a_protocol_error() -> None:
    wire = Wire()
    wire.initiator.login_request({}, stage=1, following=3)
    wire.pump()
    assert wire.connection.wants_close
    assert wire.initiator.others[-1].fields.reason == 4


def test_joining_a_session_with_one_connection_is_refused() -> None:
    first = Wire()
    second = Initiator(cid=1, tsih=first.initiator.tsih, keys={})
    second.keys = {}
    wire = Wire(beside=first, initiator=second, login=False)
    second.login()
    wire.pump()
    assert second.login_status == 0x0206
    assert not first.connection.wants_close


@pytest.mark.parametrize(("permanent", "status"), [(False, 0x0101), (True, 0x0102)])
def test_a_target_that_moved_says_where_it_is(permanent: bool, status: int) -> None:
    entry = Entry()
    entry.redirect = ("192.0.2.9:3260", permanent)
    wire = Wire(login=False, directory=Directory(entry))
    wire.initiator.login()
    wire.pump()
    (answer,) = [answer for answer in wire.initiator.every if answer.opcode == 0x23]
    assert (answer.fields.status, answer.data) == (status, b"TargetAddress=192.0.2.9:3260\0")  # RFC 7143 11.13.5, 13.8
    assert wire.connection.wants_close and not wire.refusals[0].unproved


def test_who_has_come_to_where_the_target_is_stays() -> None:
    entry = Entry()
    entry.redirect = ("192.0.2.1:3260", False)  # the wire's own address
    assert Wire(directory=Directory(entry)).initiator.full_feature
