"""CHAP, the target's side.  Source: RFC 7143 section 12.1, RFC 1994 section 4.1; IANA's PPP authentication algorithms.

    initiator                          target
    CHAP_A=7,5                   ->
                                 <-    CHAP_A=7  CHAP_I=165  CHAP_C=0x...      the strongest that is good enough
    CHAP_N=user  CHAP_R=0x...    ->
    [CHAP_I=9  CHAP_C=0x...]                                                   it wants a proof of us, too
                                 <-    [CHAP_N=target  CHAP_R=0x...]

A response is hash(identifier, secret, challenge). A challenge is used once, so a recorded response proves nothing
later. One that comes back as the initiator's own challenge is refused, on whichever connection: whoever does that wants
us to answer ourselves.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Optional

from tcmu_gluster.errors import ConfigError
from tcmu_gluster.iscsi.auth import NONE
from tcmu_gluster.iscsi.pdu import LoginError, LoginStatus
from tcmu_gluster.iscsi.text import Pairs, TextError

CHAP = "CHAP"
MAX_BINARY_BYTES = 1024
"""Longest challenge or response (RFC 7143 12.1.3)."""
MAX_NAME_BYTES = 255
MAX_SECRET_BYTES = 255
SHORTEST_SECRET_BYTES = 12
"""96 bits: what RFC 7143 9.2.1 asks for where IPsec does not protect the connection."""
MAX_ALGORITHMS = 32
REMEMBERED_CHALLENGES = 4096
MAX_DRAWS = 4

_NUMBER = re.compile(r"[0-9]{1,10}|0[xX][0-9a-fA-F]{1,8}", re.ASCII)
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+", re.ASCII)


class Algorithm(IntEnum):
    """CHAP_A. A larger number is the stronger hash."""

    MD5 = 5
    SHA1 = 6
    SHA256 = 7
    SHA3_256 = 8

    @property
    def hash_name(self) -> str:
        """As settings and hashlib call it."""
        return self.name.lower()

    @property
    def response_bytes(self) -> int:
        """How long CHAP_R is, and the challenge that we send with it."""
        return _RESPONSE_BYTES[self]


_RESPONSE_BYTES = {Algorithm.MD5: 16, Algorithm.SHA1: 20, Algorithm.SHA256: 32, Algorithm.SHA3_256: 32}
ALGORITHMS = {algorithm.hash_name: algorithm for algorithm in Algorithm}


class Secret:
    """A shared secret. It shows itself to nobody: neither repr nor str, and comparing takes the same time for all."""

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def response(self, algorithm: Algorithm, identifier: int, challenge: bytes) -> bytes:
        """The hash that proves to know this secret (RFC 1994 4.1)."""
        data = bytes((identifier,)) + self._octets + challenge
        return hashlib.new(algorithm.hash_name, data).digest()

    def __len__(self) -> int:
        return len(self._octets)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._octets, other._octets)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not copied elsewhere")


@dataclass(frozen=True)
class Credentials:
    """A name and the secret that belongs to it."""

    user: str
    secret: Secret


def credentials(user: str, password: str, shortest_bytes: int = SHORTEST_SECRET_BYTES) -> Credentials:
    """Checked credentials. Raises ConfigError with a sentence that does not hold the password."""
    octets = password.encode("utf-8", "surrogateescape")
    if not user or len(user.encode()) > MAX_NAME_BYTES or not user.isprintable():
        raise ConfigError(f"a CHAP user's name has 1 to {MAX_NAME_BYTES} printable characters")
    if not shortest_bytes <= len(octets) <= MAX_SECRET_BYTES:
        raise ConfigError(
            f"the CHAP password of {user} has {len(octets)} bytes; it needs {shortest_bytes} to {MAX_SECRET_BYTES} "
            "(RFC 7143 9.2.1), and some initiators take at most 16"
        )
    return Credentials(user, Secret(octets))


@dataclass(frozen=True)
class Account:
    """What is asked of an initiator. incoming None: nobody can prove it, so nobody comes in.

    outgoing: how we prove ourselves to an initiator that asks. required False: AuthMethod=None is good enough, too.
    """

    incoming: Optional[Credentials]
    outgoing: Optional[Credentials] = None
    required: bool = True

    def __post_init__(self) -> None:
        if self.incoming is not None and self.outgoing is not None and self.incoming.secret == self.outgoing.secret:
            raise ConfigError("the passwords of the two directions must differ (RFC 7143 12.1.3)")


NOBODY = Account(None)


class Challenges:
    """Where challenges come from, for all connections: random ones, none of them twice.

    random(n) gives n random bytes.
    """

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._order: deque[bytes] = deque()
        self._recent: set[bytes] = set()

    def fresh(self, length: int) -> bytes:
        """A challenge. Raises LoginError(TARGET_ERROR) when the randomness repeats itself."""
        for _ in range(MAX_DRAWS):
            challenge = self._random(length)
            if challenge not in self._recent:
                break
        else:
            raise LoginError(LoginStatus.TARGET_ERROR, "there is no fresh randomness for a challenge")
        self._recent.add(challenge)
        self._order.append(challenge)
        if len(self._order) > REMEMBERED_CHALLENGES:
            self._recent.discard(self._order.popleft())
        return challenge

    def identifier(self) -> int:
        """A CHAP_I."""
        return self._random(1)[0]

    def knows(self, challenge: bytes) -> bool:
        """Whether this challenge is one of ours."""
        return challenge in self._recent


class Stage(Enum):
    """How far a login is. The method is agreed; our challenge is out; the initiator has proved who it is."""

    AGREED = "agreed"
    CHALLENGED = "challenged"
    PROVED = "proved"


class ChapAuthenticator:
    """One login's CHAP (an auth.Authenticator)."""

    def __init__(self, account: Account, challenges: Challenges, weakest: Algorithm = Algorithm.MD5) -> None:
        self.methods: tuple[str, ...] = (CHAP,) if account.required else (CHAP, NONE)
        self._account, self._challenges, self._weakest = account, challenges, weakest
        self._method = CHAP
        self.stage = Stage.AGREED
        self.algorithm: Optional[Algorithm] = None
        self._identifier, self._challenge = 0, b""

    def begin(self, method: str) -> None:
        """method (one of ours) was agreed."""
        self._method = method

    @property
    def finished(self) -> bool:
        """Whether the initiator has proved who it is, or need not."""
        return self.stage is Stage.PROVED or (self._method == NONE and NONE in self.methods)

    def step(self, pairs: Pairs) -> Pairs:
        """The answer to the keys of one request. Raises LoginError, TextError."""
        keys = dict(pairs)
        if not keys and (self.finished or self.stage is Stage.AGREED):
            return []
        if self.finished:
            raise LoginError(LoginStatus.INITIATOR_ERROR, f"{pairs[0][0]} comes when there is nothing left to prove")
        if self.stage is Stage.AGREED:
            _expect(keys, ("CHAP_A",))
            return self._challenge_with(_algorithms(keys["CHAP_A"]))
        _expect(keys, ("CHAP_N", "CHAP_R"), ("CHAP_I", "CHAP_C"))
        return self._judge(keys)

    def _challenge_with(self, offered: Sequence[int]) -> Pairs:
        known = [Algorithm(number) for number in offered if number in _RESPONSE_BYTES and number >= self._weakest]
        if not known:
            why = f"the initiator offers CHAP algorithms {offered}, wanted is {self._weakest.hash_name} or stronger"
            raise LoginError(LoginStatus.AUTHENTICATION_FAILURE, why)
        self.algorithm = max(known)
        self._identifier = self._challenges.identifier()
        self._challenge = self._challenges.fresh(self.algorithm.response_bytes)
        self.stage = Stage.CHALLENGED
        return [
            ("CHAP_A", str(int(self.algorithm))),
            ("CHAP_I", str(self._identifier)),
            ("CHAP_C", encode_binary(self._challenge)),
        ]

    def _judge(self, keys: dict[str, str]) -> Pairs:
        """Name and response are both looked at, whatever the other is: neither answer nor time tells which is wrong."""
        assert self.algorithm is not None  # the challenge went out
        response = decode_binary("CHAP_R", keys["CHAP_R"])
        counter = self._counter_challenge(keys)
        expected = self._account.incoming or Credentials("", Secret(b""))
        due = expected.secret.response(self.algorithm, self._identifier, self._challenge)
        proved = hmac.compare_digest(response, due)
        named = hmac.compare_digest(keys["CHAP_N"].encode(), expected.user.encode())
        self._challenge = b""  # used once
        if self._account.incoming is None:
            raise LoginError(LoginStatus.AUTHENTICATION_FAILURE, "no CHAP user is set for this initiator")
        if not (proved and named):
            wrong = "password" if named else "user name"
            raise LoginError(LoginStatus.AUTHENTICATION_FAILURE, f"the CHAP {wrong} is wrong")
        answers = self._prove_ourselves(*counter) if counter else []
        self.stage = Stage.PROVED
        return answers

    def _counter_challenge(self, keys: dict[str, str]) -> Optional[tuple[int, bytes]]:
        """The initiator's own identifier and challenge, if it wants a proof of us."""
        if ("CHAP_I" in keys) != ("CHAP_C" in keys):
            raise LoginError(LoginStatus.INITIATOR_ERROR, "CHAP_I and CHAP_C belong together")
        if "CHAP_I" not in keys:
            return None
        identifier = _number("CHAP_I", keys["CHAP_I"], 255)
        challenge = decode_binary("CHAP_C", keys["CHAP_C"])
        if self._challenges.knows(challenge):
            raise LoginError(LoginStatus.AUTHENTICATION_FAILURE, "the initiator sends our own challenge back to us")
        return identifier, challenge

    def _prove_ourselves(self, identifier: int, challenge: bytes) -> Pairs:
        own = self._account.outgoing
        if own is None:
            why = "the initiator wants the target to prove itself, and no mutual CHAP user is set"
            raise LoginError(LoginStatus.AUTHENTICATION_FAILURE, why)
        assert self.algorithm is not None  # the same hash serves both directions
        response = own.secret.response(self.algorithm, identifier, challenge)
        return [("CHAP_N", own.user), ("CHAP_R", encode_binary(response))]


# -- values ------------------------------------------------------------------------------------------------------------


def encode_binary(data: bytes) -> str:
    """The hexadecimal form: every initiator reads it, some nothing else."""
    return "0x" + data.hex()


def decode_binary(key: str, text: str) -> bytes:
    """0x... (two digits a byte) or 0b... (base64), 1 to MAX_BINARY_BYTES bytes (RFC 7143 6.1). Raises TextError."""
    prefix, digits = text[:2].lower(), text[2:]
    data = b""
    if prefix == "0x" and len(digits) <= 2 * MAX_BINARY_BYTES and _HEX.fullmatch(digits):
        data = bytes.fromhex(digits)
    elif prefix == "0b" and len(digits) <= MAX_BINARY_BYTES // 3 * 4 + 4 and digits.isascii():
        try:
            data = base64.b64decode(digits, validate=True)
        except binascii.Error:
            data = b""
    if not 1 <= len(data) <= MAX_BINARY_BYTES:
        raise TextError(f"{key} is not 1 to {MAX_BINARY_BYTES} bytes in hexadecimal (0x) or base64 (0b)")
    return data


def _number(key: str, text: str, largest: int) -> int:
    number = int(text, 16 if text[1:2] in ("x", "X") else 10) if _NUMBER.fullmatch(text) else -1
    if not 0 <= number <= largest:
        raise TextError(f"{key}={text[:20]} is not a number up to {largest}")
    return number


def _algorithms(text: str) -> list[int]:
    words = text.split(",", MAX_ALGORITHMS)
    if len(words) > MAX_ALGORITHMS:
        raise TextError(f"CHAP_A offers more than {MAX_ALGORITHMS} algorithms")
    return [_number("CHAP_A", word, 0xFFFFFFFF) for word in words]


def _expect(keys: dict[str, str], needed: Sequence[str], allowed: Sequence[str] = ()) -> None:
    for key in needed:
        if key not in keys:
            raise LoginError(LoginStatus.MISSING_PARAMETER, f"{key} is due now and does not come")
    for key in keys:
        if key not in needed and key not in allowed:
            raise LoginError(LoginStatus.INITIATOR_ERROR, f"{key} has no place in this step of CHAP")
