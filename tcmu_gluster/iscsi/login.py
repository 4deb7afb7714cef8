"""The login phase of one connection.  Source: RFC 7143 section 6.3, 11.12, 11.13.

A login goes through stages, security first if there is any; the initiator asks for each change of stage and the target
agrees when it has nothing left to do. The first request names the initiator, the target and the kind of session.
Everything that changes the login stage is in TRANSITIONS; a pair that is not there is a LoginError.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Optional

from tcmu_gluster.iscsi import auth
from tcmu_gluster.iscsi.directory import Directory, TargetEntry
from tcmu_gluster.iscsi.keys import SECURITY_KEYS, Negotiator, Parameters, When
from tcmu_gluster.iscsi.pdu import LoginError, LoginStatus
from tcmu_gluster.iscsi.session import Session, SessionRegistry
from tcmu_gluster.iscsi.settings import Settings
from tcmu_gluster.iscsi.text import Collector, Pairs, TextError, encode

MAX_NAME_BYTES = 223
MAX_ANSWER_BYTES = 8192
"""What an initiator takes in one login PDU before it has declared anything."""
_ABSENT = {
    LoginStatus.NOT_FOUND: "there is no target {}",
    LoginStatus.TARGET_REMOVED: "target {} was deleted",
    LoginStatus.SERVICE_UNAVAILABLE: "target {} is disabled",
}
MAX_REQUESTS = 64
"""Requests in one login, after which it isn't going anywhere."""


class Stage(Enum):
    """Where a login is. START: nothing has come yet."""

    START = "start"
    SECURITY = "security negotiation"
    OPERATIONAL = "operational negotiation"
    FULL_FEATURE = "full feature phase"


class Ask(Enum):
    """What CSG, NSG and the T bit of a request say, as (CSG, NSG or None without T)."""

    SECURITY = (0, None)
    SECURITY_TO_OPERATIONAL = (0, 1)
    SECURITY_TO_FULL = (0, 3)
    OPERATIONAL = (1, None)
    OPERATIONAL_TO_FULL = (1, 3)


_IN_SECURITY = (Ask.SECURITY, Ask.SECURITY_TO_OPERATIONAL, Ask.SECURITY_TO_FULL)
_IN_OPERATIONAL = (Ask.OPERATIONAL, Ask.OPERATIONAL_TO_FULL)

# (stage, ask): (stage in which the request is answered, stage afterwards if the target agrees)
TRANSITIONS: dict[tuple[Stage, Ask], tuple[Stage, Stage]] = {
    **{(stage, Ask.SECURITY): (Stage.SECURITY, Stage.SECURITY) for stage in (Stage.START, Stage.SECURITY)},
    (Stage.START, Ask.SECURITY_TO_OPERATIONAL): (Stage.SECURITY, Stage.OPERATIONAL),
    (Stage.SECURITY, Ask.SECURITY_TO_OPERATIONAL): (Stage.SECURITY, Stage.OPERATIONAL),
    (Stage.START, Ask.SECURITY_TO_FULL): (Stage.SECURITY, Stage.FULL_FEATURE),
    (Stage.SECURITY, Ask.SECURITY_TO_FULL): (Stage.SECURITY, Stage.FULL_FEATURE),
    **{(stage, Ask.OPERATIONAL): (Stage.OPERATIONAL, Stage.OPERATIONAL) for stage in (Stage.START, Stage.OPERATIONAL)},
    (Stage.START, Ask.OPERATIONAL_TO_FULL): (Stage.OPERATIONAL, Stage.FULL_FEATURE),
    (Stage.OPERATIONAL, Ask.OPERATIONAL_TO_FULL): (Stage.OPERATIONAL, Stage.FULL_FEATURE),
}


def transition(stage: Stage, ask: Ask) -> tuple[Stage, Stage]:
    """The row of TRANSITIONS. Raises LoginError(INVALID_DURING_LOGIN)."""
    try:
        return TRANSITIONS[stage, ask]
    except KeyError:
        why = f"{ask.name.lower().replace('_', ' ')} cannot follow {stage.value}"
        raise LoginError(LoginStatus.INVALID_DURING_LOGIN, why) from None


def ask_of(request: Any) -> Ask:
    """The Ask of a Login Request. Raises LoginError for the reserved stage 2 and for going back."""
    try:
        return Ask((request.current_stage, request.next_stage if request.transit else None))
    except ValueError:
        why = f"CSG {request.current_stage}, NSG {request.next_stage}, T {request.transit} makes no sense"
        raise LoginError(LoginStatus.INITIATOR_ERROR, why) from None


@dataclass
class Answer:
    """What goes into the Login Response besides the numbers. transit: the target agrees to the change of stage."""

    data: bytes
    transit: bool = False
    continues: bool = False
    finished: bool = False


@dataclass(frozen=True)
class Refusal:
    """A login that was refused. The names are what the initiator said, at most MAX_NAME_BYTES characters of each."""

    status: LoginStatus
    initiator_name: str
    target_name: str
    why: str

    @property
    def unproved(self) -> bool:
        """Whether the initiator could not prove who it is."""
        return self.status is LoginStatus.AUTHENTICATION_FAILURE

    @property
    def unknown_target(self) -> bool:
        """Whether it asked for a target that is not there."""
        return self.status in (LoginStatus.NOT_FOUND, LoginStatus.TARGET_REMOVED)


class Login:
    """One connection's login. After `finished`, session_key facts are in entry, parameters, isid, tsih, cid."""

    def __init__(
        self,
        directory: Directory,
        registry: SessionRegistry,
        settings: Settings,
        peer_address: str,
        local_address: str = "",
    ) -> None:
        self._directory, self._registry, self._settings = directory, registry, settings
        self._peer, self._local = peer_address, local_address
        self.stage = Stage.START
        self.parameters = Parameters()
        self.entry: Optional[TargetEntry] = None
        self.asked_for = ""
        """The TargetName of the first request, whether there is such a target or not."""
        self.isid, self.tsih, self.cid = b"", 0, 0
        self.joins: Optional[Session] = None
        """The session that this connection is to become part of (TSIH was not 0)."""
        self._negotiator = Negotiator(settings, self.parameters)
        self._authenticator: Optional[auth.Authenticator] = None
        self._method = ""
        self._collector = Collector()
        self.requests = 0
        self._task_tag = 0
        self.echo: dict[str, Any] = {}
        """What a Login Response repeats of its request."""
        self._declared = False

    @property
    def discovery(self) -> bool:
        """Whether this becomes a discovery session."""
        return self.parameters.session_type == "Discovery"

    def request(self, request: Any, data: bytes) -> Answer:
        """One Login Request (a LOGIN_REQUEST record and its text). Raises LoginError."""
        self._check_header(request)
        ask = ask_of(request)
        stage, afterwards = transition(self.stage, ask)
        try:
            self._collector.add(data)
            if request.continues:
                if request.transit:
                    raise LoginError(LoginStatus.INITIATOR_ERROR, "T and C bits are both set")
                return Answer(b"")
            pairs = self._collector.finish()
            answer = self._negotiate(pairs, stage, afterwards, bool(request.transit))
            if answer.transit:
                self.echo["next_stage"] = request.next_stage
            return answer
        except TextError as problem:
            raise LoginError(LoginStatus.INITIATOR_ERROR, str(problem)) from None

    def _check_header(self, request: Any) -> None:
        self.requests += 1
        self.echo = {
            "isid": request.isid, "tsih": request.tsih, "current_stage": request.current_stage,
            "initiator_task_tag": request.initiator_task_tag,
        }  # fmt: skip
        if self.requests > MAX_REQUESTS:
            raise LoginError(LoginStatus.INITIATOR_ERROR, f"more than {MAX_REQUESTS} login requests")
        if request.version_min > 0:
            why = f"version {request.version_min} or newer is asked for, ours is 0"
            raise LoginError(LoginStatus.UNSUPPORTED_VERSION, why)
        if self.requests == 1:
            self.isid, self.tsih, self.cid = request.isid, request.tsih, request.cid
            self._task_tag = request.initiator_task_tag
        same = (self.isid, self.tsih, self.cid) == (request.isid, request.tsih, request.cid)
        if not same or self._task_tag != request.initiator_task_tag:
            raise LoginError(LoginStatus.INITIATOR_ERROR, "ISID, TSIH, CID or task tag changed during the login")

    def _negotiate(self, pairs: Pairs, stage: Stage, afterwards: Stage, wants_transit: bool) -> Answer:
        first = self.stage is Stage.START
        answers: Pairs = []
        if first:
            self._identify(dict(pairs))
            if self.entry is not None:
                answers.append(("TargetPortalGroupTag", str(self.entry.portal_group_tag)))
                if self.entry.alias:
                    answers.append(("TargetAlias", self.entry.alias))
        else:
            self._stay_the_same(pairs)
        self.stage = stage
        if stage is Stage.SECURITY:
            answers += self._authenticate(pairs)
            when = When.SECURITY
        else:
            self._demand_authentication()
            when = When.OPERATIONAL
        leading = self.joins is None
        answers += self._negotiator.settle(pairs, when, discovery=self.discovery, leading=leading)
        if stage is Stage.OPERATIONAL and not self._declared:
            self._declared = True
            answers.append(("MaxRecvDataSegmentLength", str(self._settings.max_recv_data_segment_bytes)))
        transit = wants_transit and (stage is not Stage.SECURITY or self._authenticated)
        if transit:
            self.stage = afterwards
            if afterwards is Stage.FULL_FEATURE and not self.discovery:
                self._demand_digests()
        return self._pack(answers, transit)

    def _demand_digests(self) -> None:
        """At the end: what the administrator asks for has been agreed on. Raises LoginError."""
        for kind in ("header", "data"):
            if getattr(self.parameters, f"{kind}_digest") not in getattr(self._settings, f"{kind}_digests"):
                raise LoginError(LoginStatus.INITIATOR_ERROR, f"the initiator takes no CRC32C {kind} digest")

    def _pack(self, answers: Pairs, transit: bool) -> Answer:
        data = encode(answers)
        if len(data) > MAX_ANSWER_BYTES:
            raise LoginError(LoginStatus.INITIATOR_ERROR, "so many keys that their answer fits no login response")
        return Answer(data, transit, finished=transit and self.stage is Stage.FULL_FEATURE)

    # -- who and where to ------------------------------------------------------------------------------------------

    def _identify(self, keys: dict[str, str]) -> None:
        """The first request says who comes, and to what."""
        name = keys.get("InitiatorName", "")
        if not name:
            raise LoginError(LoginStatus.MISSING_PARAMETER, "the first login request has no InitiatorName")
        if len(name.encode()) > MAX_NAME_BYTES:
            raise LoginError(LoginStatus.INITIATOR_ERROR, f"an InitiatorName of more than {MAX_NAME_BYTES} bytes")
        self.parameters.initiator_name = name
        kind = keys.get("SessionType", "Normal")
        if kind not in ("Normal", "Discovery"):
            raise LoginError(LoginStatus.SESSION_TYPE_NOT_SUPPORTED, f"SessionType={kind[:40]}")
        self.parameters.session_type = kind
        if kind == "Normal":
            self._find_target(keys.get("TargetName", ""))
        if self.tsih:
            self.joins = self._registry.find(self.tsih, name, self.isid)
            if self.joins.entry is not self.entry:
                raise LoginError(LoginStatus.CANNOT_INCLUDE_IN_SESSION, "the session is with another target")
        self._authenticator = self._directory.authenticator_for(name, self.entry, self._peer)

    def _stay_the_same(self, pairs: Pairs) -> None:
        """What was admitted and authenticated doesn't become something else. Raises LoginError."""
        said = {"SessionType": self.parameters.session_type, "TargetName": self.asked_for}
        for key, value in pairs:
            if said.get(key, value) != value:
                raise LoginError(LoginStatus.INITIATOR_ERROR, f"{key} is another than in the first login request")

    def _find_target(self, target_name: str) -> None:
        self.asked_for = target_name
        if not target_name:
            raise LoginError(LoginStatus.MISSING_PARAMETER, "the first login request has no TargetName")
        entry = self._directory.lookup(target_name)
        if entry is None:
            raise self._absent(target_name)
        self._admit(entry)
        self.entry = entry
        self.parameters.target_name = target_name

    def admit_again(self) -> None:
        """The end: since the first request the target may have gone, or changed its mind. Raises LoginError."""
        if self.entry is None:
            return
        found = self._directory.lookup(self.entry.name)
        if found is None:
            raise self._absent(self.entry.name)
        if found is not self.entry:
            raise LoginError(LoginStatus.TARGET_REMOVED, f"another target is called {self.entry.name} now")
        self._admit(found)

    def _absent(self, target_name: str) -> LoginError:
        status = self._directory.absence(target_name)
        return LoginError(status, _ABSENT[status].format(target_name[:MAX_NAME_BYTES]))

    def _admit(self, entry: TargetEntry) -> None:
        """Whether this initiator belongs here. Raises LoginError."""
        target_name, name = entry.name, self.parameters.initiator_name
        if not entry.allows(name, self._peer):
            why = f"{target_name} does not admit {name} from {self._peer}"
            raise LoginError(LoginStatus.AUTHORIZATION_FAILURE, why)
        if entry.redirect is not None and entry.redirect[0] != self._local:
            address, permanent = entry.redirect
            moved = LoginStatus.TARGET_MOVED_PERMANENTLY if permanent else LoginStatus.TARGET_MOVED_TEMPORARILY
            raise LoginError(moved, f"{target_name} is at {address} now", (("TargetAddress", address),))

    # -- security stage --------------------------------------------------------------------------------------------

    @property
    def _authenticated(self) -> bool:
        authenticator = self._authenticator
        if authenticator is None:
            return False
        return authenticator.finished if self._method else auth.NONE in authenticator.methods

    def _authenticate(self, pairs: Pairs) -> Pairs:
        """The security keys: first AuthMethod, then those of the method."""
        assert self._authenticator is not None  # _identify came first
        answers: Pairs = []
        steps = [(key, value) for key, value in pairs if key in SECURITY_KEYS and key != "AuthMethod"]
        offered = dict(pairs).get("AuthMethod")
        if offered is not None:
            if self._method:
                raise LoginError(LoginStatus.INITIATOR_ERROR, "AuthMethod is sent again")
            self._method = auth.choose(self._authenticator, offered)
            answers.append(("AuthMethod", self._method))
        elif steps and not self._method:
            raise LoginError(LoginStatus.INITIATOR_ERROR, f"{steps[0][0]} comes before AuthMethod")
        if self._method:
            answers += self._authenticator.step(steps)
        return answers

    def _demand_authentication(self) -> None:
        """The operational stage: the initiator is authenticated, or need not be."""
        if not self._authenticated:
            raise LoginError(LoginStatus.AUTHENTICATION_FAILURE, "the initiator skips the security stage")
