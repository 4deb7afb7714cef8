"""CHAP: which algorithm, who is let in, and every way to cheat."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import itertools
import pickle
from collections.abc import Callable
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.errors import ConfigError
from tcmu_gluster.iscsi.chap import (
    MAX_BINARY_BYTES,
    NOBODY,
    Account,
    Algorithm,
    Challenges,
    ChapAuthenticator,
    Credentials,
    Secret,
    Stage,
    credentials,
    decode_binary,
    encode_binary,
)
from tcmu_gluster.iscsi.pdu import LoginError, LoginStatus
from tcmu_gluster.iscsi.text import TextError

HASHES: dict[str, Callable[[bytes], bytes]] = {
    "5": lambda data: hashlib.md5(data).digest(),
    "6": lambda data: hashlib.sha1(data).digest(),
    "7": lambda data: hashlib.sha256(data).digest(),
    "8": lambda data: hashlib.sha3_256(data).digest(),
}
"""RFC 1994 4.1 with the algorithm numbers of IANA's PPP registry, written down apart from the code that is tested."""
USER, PASSWORD = "alice", "correct-horse-battery"
TARGET_USER, TARGET_PASSWORD = "target", "staple-of-the-target"


def numbered() -> Callable[[int], bytes]:
    """Randomness that counts."""
    counter = itertools.count(1)
    return lambda length: next(counter).to_bytes(length, "big")


def account(mutual: bool = False, required: bool = True) -> Account:
    own = credentials(TARGET_USER, TARGET_PASSWORD) if mutual else None
    return Account(credentials(USER, PASSWORD), own, required)


def make(
    wanted: Optional[Account] = None, challenges: Optional[Challenges] = None, weakest: Algorithm = Algorithm.MD5
) -> ChapAuthenticator:
    chap = ChapAuthenticator(wanted or account(), challenges or Challenges(numbered()), weakest)
    chap.begin("CHAP")
    assert chap.step([]) == []
    return chap


def response(challenge: dict[str, str], password: str = PASSWORD) -> bytes:
    data = bytes((int(challenge["CHAP_I"]),)) + password.encode() + bytes.fromhex(challenge["CHAP_C"][2:])
    return HASHES[challenge["CHAP_A"]](data)


def prove(chap: ChapAuthenticator, offered: str = "5", **more: str) -> dict[str, str]:
    """A whole login; more replaces what the initiator would send."""
    challenge = dict(chap.step([("CHAP_A", offered)]))
    keys = {"CHAP_N": USER, "CHAP_R": encode_binary(response(challenge)), **more}
    return dict(chap.step(list(keys.items())))


def refused(chap: ChapAuthenticator, offered: str = "5", **more: str) -> LoginError:
    with pytest.raises(LoginError) as caught:
        prove(chap, offered, **more)
    assert not chap.finished
    return caught.value


# -- one way -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offered", ["5", "6", "7", "8", "0x5"])
def test_who_knows_the_secret_is_let_in(offered: str) -> None:
    chap = make()
    assert prove(chap, offered) == {} and chap.finished
    assert chap.step([]) == []


# Worked with other tools over RFC 1994 4.1's identifier, secret, challenge:
#   printf '\x01secret-of-12-by\xaa\xbb' | md5sum (sha1sum, sha256sum; openssl dgst -sha3-256)
@pytest.mark.parametrize(("algorithm", "golden"), [
    (Algorithm.MD5, "5dfd1b30481c695ce1aec262ea270da4"),
    (Algorithm.SHA1, "0d6a29acd755ebc623b76dae4759be47b0ad4766"),
    (Algorithm.SHA256, "7b91f231ac4f0bad30fc41a45a855f06252631f8a9c2b4db3763946324d4e394"),
    (Algorithm.SHA3_256, "2ac7cab611fa17258f23eea0339ab92ed7ca48fd0d3d8a2b061a6ee5933d3429"),
])  # fmt: skip
def test_the_response_is_what_other_tools_compute(algorithm: Algorithm, golden: str) -> None:
    assert Secret(b"secret-of-12-by").response(algorithm, 1, b"\xaa\xbb").hex() == golden


@pytest.mark.parametrize(("offered", "chosen"), [
    ("5,6,7,8", "8"), ("8,5", "8"), ("6,5", "6"), ("5,7", "7"), ("5,99", "5"), ("99,7,1000", "7"), ("5,0x7", "7"),
])  # fmt: skip
def test_the_strongest_that_the_initiator_offers_is_chosen(offered: str, chosen: str) -> None:
    assert dict(make().step([("CHAP_A", offered)]))["CHAP_A"] == chosen


def test_algorithms_below_the_minimum_are_refused() -> None:
    assert refused(make(weakest=Algorithm.SHA256), "5,6").status is LoginStatus.AUTHENTICATION_FAILURE
    chap = make(weakest=Algorithm.SHA256)
    prove(chap, "5,6,7")
    assert chap.algorithm is Algorithm.SHA256 and chap.finished
    assert refused(make(), "99").status is LoginStatus.AUTHENTICATION_FAILURE


@pytest.mark.parametrize("more", [
    {"CHAP_N": "mallory"}, {"CHAP_N": "Alice"}, {"CHAP_R": "0x" + "00" * 16}, {"CHAP_R": "0x00"},
    {"CHAP_N": "mallory", "CHAP_R": "0x" + "00" * 16}, {"CHAP_R": "0x" + "00" * MAX_BINARY_BYTES}, {"CHAP_N": "älice"},
])  # fmt: skip
def test_wrong_names_and_wrong_secrets_get_the_same_answer(more: dict[str, str]) -> None:
    assert refused(make(), **more).status is LoginStatus.AUTHENTICATION_FAILURE


def test_without_an_account_nobody_comes_in_and_the_challenge_looks_the_same() -> None:
    chap = make(NOBODY)
    challenge = dict(chap.step([("CHAP_A", "5")]))
    assert set(challenge) == {"CHAP_A", "CHAP_I", "CHAP_C"}
    for name in ("", USER):
        chap = make(NOBODY)
        answer = response(dict(chap.step([("CHAP_A", "5")])), "")
        with pytest.raises(LoginError) as caught:
            chap.step([("CHAP_N", name), ("CHAP_R", encode_binary(answer))])
        assert caught.value.status is LoginStatus.AUTHENTICATION_FAILURE and not chap.finished


def test_responses_in_base64_count() -> None:
    chap = make()
    challenge = dict(chap.step([("CHAP_A", "7")]))
    chap.step([("CHAP_N", USER), ("CHAP_R", "0b" + base64.b64encode(response(challenge)).decode())])
    assert chap.finished


# -- both ways ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offered", ["5", "6", "7", "8"])
def test_the_target_proves_itself_to_who_asks(offered: str) -> None:
    chap = make(account(mutual=True))
    answer = prove(chap, offered, CHAP_I="200", CHAP_C="0x0102")
    assert answer["CHAP_N"] == TARGET_USER and chap.finished
    assert bytes.fromhex(answer["CHAP_R"][2:]) == HASHES[offered](b"\xc8" + TARGET_PASSWORD.encode() + b"\x01\x02")


def test_the_target_proves_nothing_to_who_has_proved_nothing() -> None:
    more = {"CHAP_R": "0x" + "00" * 16, "CHAP_I": "1", "CHAP_C": "0x0102"}
    assert "password" in str(refused(make(account(mutual=True)), **more))


def test_a_target_without_a_name_of_its_own_refuses_to_prove_itself() -> None:
    error = refused(make(), CHAP_I="1", CHAP_C="0x0102")
    assert error.status is LoginStatus.AUTHENTICATION_FAILURE and "mutual" in str(error)


def test_an_initiator_that_asks_for_no_proof_needs_none() -> None:
    chap = make(account(mutual=True))
    assert prove(chap) == {} and chap.finished


# -- reflection and replay ---------------------------------------------------------------------------------------------


def test_our_challenge_sent_back_is_refused_on_the_same_connection() -> None:
    chap = make(account(mutual=True))
    challenge = dict(chap.step([("CHAP_A", "5")]))
    keys = {"CHAP_N": USER, "CHAP_R": encode_binary(response(challenge)), "CHAP_I": "7", "CHAP_C": challenge["CHAP_C"]}
    with pytest.raises(LoginError) as caught:
        chap.step(list(keys.items()))
    assert caught.value.status is LoginStatus.AUTHENTICATION_FAILURE and not chap.finished


def test_our_challenge_sent_back_is_refused_on_another_connection() -> None:
    challenges = Challenges(numbered())
    victim, oracle = (make(account(mutual=True), challenges) for _ in range(2))
    challenge = dict(victim.step([("CHAP_A", "5")]))
    upper = "0X" + challenge["CHAP_C"][2:].upper()
    assert "our own challenge" in str(refused(oracle, CHAP_I=challenge["CHAP_I"], CHAP_C=upper))


def test_one_secret_for_both_directions_is_refused() -> None:
    with pytest.raises(ConfigError, match="differ"):
        Account(credentials("a", PASSWORD), credentials("b", PASSWORD))


def test_a_recorded_response_is_worth_nothing_in_the_next_login() -> None:
    challenges = Challenges(numbered())
    first = make(challenges=challenges)
    recorded = encode_binary(response(dict(first.step([("CHAP_A", "5")]))))
    first.step([("CHAP_N", USER), ("CHAP_R", recorded)])
    assert first.finished
    assert refused(make(challenges=challenges), CHAP_R=recorded).status is LoginStatus.AUTHENTICATION_FAILURE


def test_there_is_one_try_a_login() -> None:
    chap = make()
    challenge = dict(chap.step([("CHAP_A", "5")]))
    right = [("CHAP_N", USER), ("CHAP_R", encode_binary(response(challenge)))]
    with pytest.raises(LoginError):
        chap.step([("CHAP_N", USER), ("CHAP_R", "0x" + "00" * 16)])
    with pytest.raises(LoginError):
        chap.step(right)
    assert not chap.finished


def test_no_challenge_is_given_twice_even_with_bad_randomness() -> None:
    challenges = Challenges(lambda length: b"\1" * length)
    make(challenges=challenges).step([("CHAP_A", "5")])
    with pytest.raises(LoginError) as caught:
        make(challenges=challenges).step([("CHAP_A", "5")])
    assert caught.value.status is LoginStatus.TARGET_ERROR


def test_the_memory_of_challenges_is_bounded() -> None:
    challenges = Challenges(numbered())
    given_out = [challenges.fresh(16) for _ in range(5000)]
    assert not challenges.knows(given_out[0]) and challenges.knows(given_out[-1]) and challenges.knows(given_out[1000])


# -- order and form ----------------------------------------------------------------------------------------------------

STEPS = {
    "nothing": [],
    "algorithms": [("CHAP_A", "5")],
    "proof": [("CHAP_N", USER), ("CHAP_R", "0x00")],
    "half a proof": [("CHAP_R", "0x00")],
    "other method": [("SRP_U", "x")],
}
# what each stage does with each step: "answer", or the status that ends the login (RFC 7143 12.1.3, 11.13.5)
EXPECTED = {
    Stage.AGREED: ("answer", "answer", LoginStatus.MISSING_PARAMETER, LoginStatus.MISSING_PARAMETER,
                   LoginStatus.MISSING_PARAMETER),
    Stage.CHALLENGED: (LoginStatus.MISSING_PARAMETER, LoginStatus.MISSING_PARAMETER,
                       LoginStatus.AUTHENTICATION_FAILURE, LoginStatus.MISSING_PARAMETER,
                       LoginStatus.MISSING_PARAMETER),
    Stage.PROVED: ("answer", *[LoginStatus.INITIATOR_ERROR] * 4),
}  # fmt: skip


@pytest.mark.parametrize(("stage", "step"), list(itertools.product(Stage, STEPS)))
def test_every_stage_with_every_step(stage: Stage, step: str) -> None:
    chap = make()
    if stage is Stage.CHALLENGED:
        chap.step([("CHAP_A", "5")])
    elif stage is Stage.PROVED:
        prove(chap)
    assert chap.stage is stage
    outcome: object
    try:
        chap.step(STEPS[step])
        outcome = "answer"
    except LoginError as error:
        outcome = error.status
    assert outcome == EXPECTED[stage][list(STEPS).index(step)]


def test_a_key_too_many_is_refused() -> None:
    with pytest.raises(LoginError) as caught:
        make().step([("CHAP_A", "5"), ("CHAP_I", "1")])
    assert caught.value.status is LoginStatus.INITIATOR_ERROR


@pytest.mark.parametrize("more", [{"CHAP_I": "1"}, {"CHAP_C": "0x01"}])
def test_half_a_challenge_is_refused(more: dict[str, str]) -> None:
    assert refused(make(account(mutual=True)), **more).status is LoginStatus.INITIATOR_ERROR


@pytest.mark.parametrize(("key", "value"), [
    ("CHAP_I", "256"), ("CHAP_I", "-1"), ("CHAP_I", "x"), ("CHAP_C", "0x"), ("CHAP_C", "12"), ("CHAP_C", "0x012"),
    ("CHAP_C", "0x0 1"), ("CHAP_C", "0b"), ("CHAP_C", "0bA"), ("CHAP_C", "0bé==="), ("CHAP_C", "0xzz"),
    ("CHAP_C", "0x" + "00" * 1025), ("CHAP_C", "0b" + base64.b64encode(bytes(1025)).decode()), ("CHAP_R", "0x"),
])  # fmt: skip
def test_malformed_values_are_refused(key: str, value: str) -> None:
    with pytest.raises(TextError, match=key):
        prove(make(account(mutual=True)), **{"CHAP_I": "1", "CHAP_C": "0x01", key: value})


@pytest.mark.parametrize("offered", ["", "x", "5,", ",".join(["5"] * 33), "99999999999"])
def test_malformed_lists_of_algorithms_are_refused(offered: str) -> None:
    with pytest.raises(TextError, match="CHAP_A"):
        make().step([("CHAP_A", offered)])


@given(st.binary(min_size=1, max_size=MAX_BINARY_BYTES))
def test_binary_values_survive_both_forms(data: bytes) -> None:
    assert decode_binary("CHAP_C", encode_binary(data)) == data
    assert decode_binary("CHAP_C", "0B" + base64.b64encode(data).decode()) == data


@given(st.text(max_size=60))
def test_any_text_is_bytes_or_a_text_error(text: str) -> None:
    with contextlib.suppress(TextError):
        assert 1 <= len(decode_binary("CHAP_C", text)) <= MAX_BINARY_BYTES


# -- AuthMethod, secrets -----------------------------------------------------------------------------------------------


def test_none_is_good_enough_only_where_it_was_said() -> None:
    assert make().methods == ("CHAP",)
    open_ = ChapAuthenticator(account(required=False), Challenges(numbered()))
    assert set(open_.methods) == {"CHAP", "None"}
    open_.begin("None")
    assert open_.finished and open_.step([]) == []
    strict = ChapAuthenticator(account(), Challenges(numbered()))
    strict.begin("None")
    assert not strict.finished


@pytest.mark.parametrize("more", [
    {}, {"CHAP_N": "bob"}, {"CHAP_R": "0x" + "00" * 16}, {"CHAP_N": "bob", "CHAP_R": "0x" + "00" * 16},
])  # fmt: skip
def test_name_and_response_are_compared_in_constant_time_whatever_either_is(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, str]
) -> None:
    """hmac.compare_digest takes the same time for all that have one length; the shape of what is done never differs."""
    compared: list[tuple[int, int]] = []

    def compare(given: bytes, due: bytes) -> bool:
        compared.append((len(given), len(due)))
        return real(given, due)

    chap = make()  # an account's two secrets are compared as well, before
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare)
    if more:
        refused(chap, **more)
    else:
        prove(chap)
    assert compared == [(16, 16), (len(more.get("CHAP_N", USER)), len(USER))]
    compared.clear()
    assert Secret(b"twelve-bytes") != Secret(b"twelve-byteS") and compared == [(12, 12)]


def test_a_secret_does_not_show() -> None:
    known = credentials(USER, PASSWORD)
    assert PASSWORD not in repr(known) + str(known) + repr(Account(known)) + repr(make().__dict__)
    with pytest.raises(TypeError):
        pickle.dumps(known)
    assert known == credentials(USER, PASSWORD) and known != credentials(USER, PASSWORD + "x")


@pytest.mark.parametrize("password", ["", "eleven-byte", "x" * 256])
def test_short_and_long_secrets_are_refused_without_showing_them(password: str) -> None:
    with pytest.raises(ConfigError) as caught:
        credentials(USER, password)
    assert not password or password not in str(caught.value)


def test_the_shortest_length_can_be_set() -> None:
    assert isinstance(credentials(USER, "short", 5), Credentials)
    with pytest.raises(ConfigError, match="5 to 255"):
        credentials(USER, "shor", 5)


@pytest.mark.parametrize("user", ["", "x" * 256, "a\nb"])
def test_names_that_cannot_be_sent_are_refused(user: str) -> None:
    with pytest.raises(ConfigError):
        credentials(user, PASSWORD)
