"""The text keys of RFC 7143 section 13 as one table: default, range, how a value is settled, when it may be sent.

A negotiator holds what is settled on one connection. The target never offers a key the initiator left out, except its
declarations (MaxRecvDataSegmentLength, TargetPortalGroupTag), so an unmentioned key keeps its default.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, IntFlag
from typing import Optional, Union

from tcmu_gluster.iscsi.settings import Settings
from tcmu_gluster.iscsi.text import Pairs, TextError

NOT_UNDERSTOOD, IRRELEVANT, REJECT = "NotUnderstood", "Irrelevant", "Reject"

_NUMBER = re.compile(r"[0-9]{1,10}|0[xX][0-9a-fA-F]{1,8}", re.ASCII)

LARGEST_DATA_SEGMENT = (1 << 24) - 1


class Rule(Enum):
    """How the two sides' values become one."""

    MINIMUM = "the smaller number"
    MAXIMUM = "the larger number"
    AND = "Yes if both say Yes"
    OR = "Yes if one says Yes"
    LIST = "the first of the initiator's list that we take"
    DECLARE = "the sender says; there is no answer"
    OBSOLETE_SWITCH = "markers are gone: No"
    OBSOLETE_NUMBER = "markers are gone: Reject"
    TARGET_ONLY = "an initiator must not send it"


class When(IntFlag):
    """Where a key may be sent."""

    SECURITY = 1
    OPERATIONAL = 2
    FULL_FEATURE = 4
    LEADING = 8
    """Only on the first connection of a session."""
    NORMAL = 16
    """Means nothing in a discovery session: answered Irrelevant."""


LOGIN = When.SECURITY | When.OPERATIONAL
ANY = LOGIN | When.FULL_FEATURE
_SESSION = When.OPERATIONAL | When.LEADING
_TRANSFER = _SESSION | When.NORMAL

Value = Union[int, bool, str]


@dataclass(frozen=True)
class Key:
    """One row. lowest and highest bound a number; ours names the field of Settings that holds the target's value."""

    name: str
    rule: Rule
    default: Value
    when: When
    lowest: int = 0
    highest: int = 0
    ours: str = ""


# fmt: off
TABLE: dict[str, Key] = {key.name: key for key in (
    #   name                        rule             default     when           lowest, highest, ours
    Key("HeaderDigest",             Rule.LIST,       "None",     When.OPERATIONAL, ours="header_digests"),
    Key("DataDigest",               Rule.LIST,       "None",     When.OPERATIONAL, ours="data_digests"),
    Key("MaxConnections",           Rule.MINIMUM,    1,          _TRANSFER,     1, 65535, "max_connections"),
    Key("SendTargets",              Rule.DECLARE,    "",         When.FULL_FEATURE),
    Key("TargetName",               Rule.DECLARE,    "",         LOGIN),
    Key("InitiatorName",            Rule.DECLARE,    "",         LOGIN),
    Key("TargetAlias",              Rule.TARGET_ONLY, "",        ANY),
    Key("InitiatorAlias",           Rule.DECLARE,    "",         ANY),
    Key("TargetAddress",            Rule.TARGET_ONLY, "",        ANY),
    Key("TargetPortalGroupTag",     Rule.TARGET_ONLY, 1,         LOGIN),
    Key("InitialR2T",               Rule.OR,         True,       _TRANSFER,     ours="initial_r2t"),
    Key("ImmediateData",            Rule.AND,        True,       _TRANSFER,     ours="immediate_data"),
    Key("MaxRecvDataSegmentLength", Rule.DECLARE,    8192,       When.OPERATIONAL | When.FULL_FEATURE,
        512, LARGEST_DATA_SEGMENT),
    Key("MaxBurstLength",           Rule.MINIMUM,    262144,     _TRANSFER,
        512, LARGEST_DATA_SEGMENT, "max_burst_bytes"),
    Key("FirstBurstLength",         Rule.MINIMUM,    65536,      _TRANSFER,
        512, LARGEST_DATA_SEGMENT, "first_burst_bytes"),
    Key("DefaultTime2Wait",         Rule.MAXIMUM,    2,          _SESSION,      0, 3600, "default_time2wait"),
    Key("DefaultTime2Retain",       Rule.MINIMUM,    20,         _SESSION,      0, 3600, "default_time2retain"),
    Key("MaxOutstandingR2T",        Rule.MINIMUM,    1,          _TRANSFER,     1, 65535, "max_outstanding_r2t"),
    Key("DataPDUInOrder",           Rule.OR,         True,       _TRANSFER),
    Key("DataSequenceInOrder",      Rule.OR,         True,       _TRANSFER),
    Key("ErrorRecoveryLevel",       Rule.MINIMUM,    0,          _SESSION,      0, 2, "error_recovery_level"),
    Key("SessionType",              Rule.DECLARE,    "Normal",   LOGIN),
    Key("TaskReporting",            Rule.LIST,       "RFC3720",  _TRANSFER),
    Key("iSCSIProtocolLevel",       Rule.MINIMUM,    1,          _TRANSFER,     0, 31),
    Key("IFMarker",                 Rule.OBSOLETE_SWITCH, False, _SESSION),
    Key("OFMarker",                 Rule.OBSOLETE_SWITCH, False, _SESSION),
    Key("IFMarkInt",                Rule.OBSOLETE_NUMBER, 0,     _SESSION),
    Key("OFMarkInt",                Rule.OBSOLETE_NUMBER, 0,     _SESSION),
)}
# fmt: on

SECURITY_KEYS = frozenset(
    (
        "AuthMethod", "CHAP_A", "CHAP_I", "CHAP_C", "CHAP_N", "CHAP_R", "KRB_AP_REQ", "KRB_AP_REP", "TargetAuth",
        "SRP_GROUP", "SRP_A", "SRP_B", "SRP_M", "SRP_HM", "SRP_s", "SRP_U",
        "SPKM_REQ", "SPKM_ERROR", "SPKM_REP_TI", "SPKM_REP_IT",
    )
)  # fmt: skip
"""Keys of the security stage (RFC 7143 12): the authenticator's, never answered here."""


class KeyMisused(TextError):
    """A key that must not be sent here, or a value that can't be."""


class Parameters:
    """What is settled on a connection, by the standard's names in snake case. Starts with the defaults."""

    __slots__ = (
        "data_digest", "data_pdu_in_order", "data_sequence_in_order", "default_time2retain", "default_time2wait",
        "error_recovery_level", "first_burst_length", "header_digest", "immediate_data", "initial_r2t",
        "initiator_alias", "initiator_name", "iscsi_protocol_level", "max_burst_length", "max_connections",
        "max_outstanding_r2t", "max_recv_data_segment_length", "session_type", "target_name", "task_reporting",
    )  # fmt: skip

    def __init__(self) -> None:
        self.header_digest, self.data_digest = "None", "None"
        self.max_connections, self.error_recovery_level, self.iscsi_protocol_level = 1, 0, 1
        self.initiator_name, self.initiator_alias, self.target_name, self.session_type = "", "", "", "Normal"
        self.initial_r2t, self.immediate_data = True, True
        self.data_pdu_in_order, self.data_sequence_in_order = True, True
        self.max_recv_data_segment_length = 8192
        """What the initiator takes in one PDU."""
        self.max_burst_length, self.first_burst_length = 262144, 65536
        self.default_time2wait, self.default_time2retain = 2, 20
        self.max_outstanding_r2t = 1
        self.task_reporting = "RFC3720"


def attribute_of(name: str) -> str:
    """MaxBurstLength -> max_burst_length."""
    words = {"iSCSIProtocolLevel": "iscsi_protocol_level", "InitialR2T": "initial_r2t"}
    words.update({"DataPDUInOrder": "data_pdu_in_order", "MaxOutstandingR2T": "max_outstanding_r2t"})
    words.update({"DefaultTime2Wait": "default_time2wait", "DefaultTime2Retain": "default_time2retain"})
    if name in words:
        return words[name]
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


_ATTRIBUTES = {name: attribute_of(name) for name in TABLE}


class Negotiator:
    """Settles the operational keys of one connection into its Parameters."""

    def __init__(self, settings: Settings, parameters: Parameters) -> None:
        self._settings, self._parameters = settings, parameters
        self._settled: set[str] = set()
        self._level = 0

    def settle(self, pairs: Pairs, when: When, *, discovery: bool = False, leading: bool = True) -> Pairs:
        """The answers to what the initiator sent. Raises KeyMisused.

        Keys of the security stage are the authenticator's; what names and SendTargets mean is judged by their users.
        """
        answers: Pairs = []
        self._level = self._level_of(dict(pairs).get("ErrorRecoveryLevel", ""))
        for name, value in pairs:
            if name in SECURITY_KEYS and when & When.SECURITY:
                continue
            key = TABLE.get(name)
            if key is None:
                answers.append((name, NOT_UNDERSTOOD))
                continue
            self._check(key, when, leading)
            answer = IRRELEVANT if discovery and key.when & When.NORMAL else self._settle_one(key, value)
            if answer is not None:
                answers.append((name, answer))
        return answers

    def _check(self, key: Key, when: When, leading: bool) -> None:
        if not key.when & when:
            raise KeyMisused(f"{key.name} must not be sent in this stage")
        if key.rule is Rule.TARGET_ONLY:
            raise KeyMisused(f"{key.name} is a key that only targets send")
        if key.when & When.LEADING and not leading:
            raise KeyMisused(f"{key.name} belongs to the first connection of a session")
        if key.name in self._settled and not when & When.FULL_FEATURE:
            raise KeyMisused(f"{key.name} is sent again")
        self._settled.add(key.name)

    def _settle_one(self, key: Key, value: str) -> Optional[str]:
        if value in (NOT_UNDERSTOOD, IRRELEVANT, REJECT):
            return None  # an answer, not an offer; to nothing we asked
        settled: Value
        if key.rule is Rule.DECLARE:
            settled = _number(key, value) if key.highest else value
            self._keep(key, settled)
            return None
        if key.rule in (Rule.MINIMUM, Rule.MAXIMUM):
            settled = _number(key, value)
            ours = self._ours(key)
            settled = min(settled, ours) if key.rule is Rule.MINIMUM else max(settled, ours)
        elif key.rule in (Rule.AND, Rule.OR):
            offered = _boolean(key, value)
            wanted = getattr(self._settings, key.ours) if key.ours else True
            settled = (offered and wanted) if key.rule is Rule.AND else (offered or wanted)
        elif key.rule is Rule.LIST:
            taken = getattr(self._settings, key.ours) if key.ours else (key.default,)
            settled = next((item for item in value.split(",") if item in taken), REJECT)
            if settled is REJECT:
                return REJECT
        else:
            return "No" if key.rule is Rule.OBSOLETE_SWITCH else REJECT
        self._keep(key, settled)
        return ("Yes" if settled else "No") if isinstance(settled, bool) else str(settled)

    def _level_of(self, offered: str) -> int:
        """The ErrorRecoveryLevel as far as it is known when the keys that depend on it are settled."""
        if offered in ("0", "1", "2"):
            return min(int(offered), self._settings.error_recovery_level)
        return self._parameters.error_recovery_level

    def _ours(self, key: Key) -> int:
        if key.name == "MaxOutstandingR2T" and self._level:
            return 1  # RFC 7143 13.19: DataSequenceInOrder=Yes and recovery
        if key.name == "DefaultTime2Retain" and self._level < 2:
            return 0  # nothing is retained
        return int(getattr(self._settings, key.ours) if key.ours else key.default)

    def _keep(self, key: Key, value: Value) -> None:
        if hasattr(self._parameters, _ATTRIBUTES[key.name]):
            setattr(self._parameters, _ATTRIBUTES[key.name], value)


def _number(key: Key, value: str) -> int:
    """Decimal or 0x, inside the key's range."""
    number = int(value, 16 if value[1:2] in ("x", "X") else 10) if _NUMBER.fullmatch(value) else -1
    if not key.lowest <= number <= key.highest:
        raise KeyMisused(f"{key.name}={value[:40]} is not a number from {key.lowest} to {key.highest}")
    return number


def _boolean(key: Key, value: str) -> bool:
    if value not in ("Yes", "No"):
        raise KeyMisused(f"{key.name}={value[:40]} is neither Yes nor No")
    return value == "Yes"
