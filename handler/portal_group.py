"""A target's portal group as targetcli shows it: attributes, parameters, passwords, what each initiator sees. No I/O.

LIO's names, so that a script and a saved file mean the same on both fronts. HONOURED are those that the engine acts on;
the others are kept for the day when LIO serves the target, and whoever sets one is told so.
"""

from __future__ import annotations

from typing import Any, Optional

from tcmu_gluster.control.operations import ALUA_STATES
from tcmu_gluster.errors import OperationError
from tcmu_gluster.scsi.alua import AccessState

from .accounts import CHAP_KEYS, DISCOVERY_KEYS
from .configuration import OURS, Configuration, Object, switched_on

ATTRIBUTES: dict[str, int] = {
    "authentication": 0, "cache_dynamic_acls": 0, "default_cmdsn_depth": 64, "default_erl": 0,
    "demo_mode_discovery": 1, "demo_mode_write_protect": 1, "fabric_prot_type": 0, "generate_node_acls": 0,
    "login_keys_workaround": 1, "login_timeout": 15, "prod_mode_write_protect": 0, "t10_pi": 0,
    "tpg_enabled_sendtargets": 1,
}  # fmt: skip
"""Linux 6.1's, with the values of a new portal group that targetcli made."""
ACL_ATTRIBUTES: dict[str, int] = {
    "dataout_timeout": 3, "dataout_timeout_retries": 5, "default_erl": 0, "nopin_response_timeout": 30,
    "nopin_timeout": 15, "random_datain_pdu_offsets": 0, "random_datain_seq_offsets": 0, "random_r2t_offsets": 0,
}  # fmt: skip
HONOURED = frozenset({"authentication", "generate_node_acls", "demo_mode_write_protect", "cache_dynamic_acls"})
PARAMETERS: dict[str, str] = {
    "AuthMethod": "CHAP,None", "DataDigest": "CRC32C,None", "DataPDUInOrder": "Yes", "DataSequenceInOrder": "Yes",
    "DefaultTime2Retain": "20", "DefaultTime2Wait": "2", "ErrorRecoveryLevel": "0", "FirstBurstLength": "65536",
    "HeaderDigest": "CRC32C,None", "IFMarkInt": "Reject", "IFMarker": "No", "ImmediateData": "Yes",
    "InitialR2T": "Yes", "MaxBurstLength": "262144", "MaxConnections": "1", "MaxOutstandingR2T": "1",
    "MaxRecvDataSegmentLength": "8192", "MaxXmitDataSegmentLength": "262144", "OFMarkInt": "Reject", "OFMarker": "No",
    "TargetAlias": "LIO Target",
}  # fmt: skip
"""Linux 6.1's defaults. The engine negotiates by its own settings."""
AUTH = ("userid", "password", "mutual_userid", "mutual_password")
"""targetcli's names of CHAP_KEYS and DISCOVERY_KEYS, in their order."""
ALUA: dict[str, AccessState] = dict(zip(ALUA_STATES, AccessState))
HIDDEN = "********"
LARGEST_VALUE = 255


def set_value(
    configuration: Configuration, iqn: str, initiator: Optional[str], group: str, name: str, value: str
) -> bool:
    """An attribute or a parameter; whether the engine acts on it. Raises OperationError."""
    place = configuration.credentials(iqn, initiator)
    if group == "parameter" and initiator:  # rtslib's restore would drop it without a word
        raise OperationError("parameters belong to the whole target; leave the initiator out")
    known: dict[str, Any] = PARAMETERS if group == "parameter" else ACL_ATTRIBUTES if initiator else ATTRIBUTES
    if name not in known:
        raise OperationError(f"there is no {group} {name!r}; there are {', '.join(known)}")
    if len(value) > LARGEST_VALUE:
        raise OperationError(f"the value of {name} is too long")
    if group == "parameter":
        place.setdefault("parameters", {})[name] = value
        return False
    if not (value.isascii() and value.lstrip("-").isdigit()):
        raise OperationError(f"{name} is a whole number, not {value!r}")
    place.setdefault("attributes", {})[name] = int(value)
    return name in HONOURED and not initiator


def alua_of(configuration: Configuration, iqn: str) -> str:
    """One of ALUA_STATES: in which state we want the groups of a target's ports."""
    word = configuration.of_targets("alua").get(iqn)
    return word if word in ALUA else ALUA_STATES[0]


def set_alua(configuration: Configuration, iqn: str, word: str) -> bool:
    """Whether that is another state than before. Raises OperationError."""
    configuration.target(iqn)
    states = {**configuration.of_targets("alua"), iqn: word}
    changed = alua_of(configuration, iqn) != word
    configuration.root[OURS]["alua"] = {name: state for name, state in states.items() if state != ALUA_STATES[0]}
    return changed


def is_enabled(group: Object) -> bool:
    """Whether a portal group is switched on; files without the key mean yes."""
    return switched_on(group.get("enable", True))


def asked_apart(group: Object) -> Optional[str]:
    """An initiator that LIO asks for a password unlike the others (`authentication` of its ACL, Linux 6.0), or None."""
    asked = int(switched_on((group.get("attributes") or {}).get("authentication")))
    for acl in group.get("node_acls", ()):
        own = (acl.get("attributes") or {}).get("authentication")
        if own not in (None, "") and int(own) not in (-1, asked):
            return str(acl.get("node_wwn"))
    return None


def edit_chap(place: Object, discovery: bool, given: dict[str, Optional[str]]) -> None:
    """Change those of AUTH that are given; '' takes one away."""
    for key, name in zip(DISCOVERY_KEYS if discovery else CHAP_KEYS, AUTH):
        value = given.get(name)
        if value is not None:
            place[key] = value


def map_for(
    configuration: Configuration, iqn: str, initiator: str, lun: int, shown_as: int, *, read_only: bool
) -> tuple[str, bool]:
    """Show a LUN of the target to an initiator as shown_as. (disk, whether that is new). Raises OperationError."""
    luns = configuration.luns(iqn)
    if lun not in luns:
        raise OperationError(f"{iqn} has no LUN {lun}; first: tcmu-gluster lun map {iqn} DISK --lun {lun}")
    mapped = configuration.credentials(iqn, initiator).setdefault("mapped_luns", [])
    entry = {"index": shown_as, "tpg_lun": lun, "write_protect": read_only, "alias": luns[lun]}
    present = next((one for one in mapped if int(one.get("index", -1)) == shown_as), None)
    if present is not None:
        same = int(present["tpg_lun"]) == lun and bool(present.get("write_protect")) == read_only
        if not same:
            raise OperationError(
                f"{initiator} has a LUN {shown_as} already; take it away first, or choose another number"
            )
        return luns[lun], False
    mapped.append(entry)
    return luns[lun], True


def unmap_for(configuration: Configuration, iqn: str, initiator: str, shown_as: int) -> bool:
    """Take a LUN away from an initiator, by the number under which it sees it; False if it has no such LUN."""
    acl = configuration.credentials(iqn, initiator)
    before = acl.get("mapped_luns", [])
    acl["mapped_luns"] = [one for one in before if int(one.get("index", -1)) != shown_as]
    return len(acl["mapped_luns"]) != len(before)


def shown_to(configuration: Configuration, iqn: str, initiator: str, lun: int) -> tuple[int, bool]:
    """A LUN that is mapped for an initiator, as it sees it: (number, write protected)."""
    mapped = configuration.credentials(iqn, initiator)["mapped_luns"]
    return next((int(one["index"]), bool(one.get("write_protect"))) for one in mapped if one.get("tpg_lun") == lun)


# -- the whole, as it is shown ----------------------------------------------------------------------------------------


def auth_facts(place: Object, keys: tuple[str, ...]) -> dict[str, str]:
    """User names as they are; of passwords only whether there is one."""
    values = {name: str(place.get(key) or "") for name, key in zip(AUTH, keys)}
    return {name: HIDDEN if value and name.endswith("password") else value for name, value in values.items()}


def target_facts(configuration: Configuration, iqn: str) -> dict[str, Any]:
    """A target with all that is below it."""
    group, luns = configuration.group(iqn), configuration.luns(iqn)
    return {
        "target": iqn,
        "tag": int(group.get("tag", 1)),
        "enabled": is_enabled(group),
        "attributes": {**ATTRIBUTES, **group["attributes"]},
        "parameters": {**PARAMETERS, **(group.get("parameters") or {})},
        "auth": auth_facts(group, CHAP_KEYS),
        "luns": [{"lun": lun, "disk": name} for lun, name in sorted(luns.items())],
        "portals": [[portal.address, portal.port] for portal in configuration.portals(iqn)],
        "networks": list(configuration.root["tcmu_gluster"]["networks"].get(iqn, ())),
        "acls": [_acl_facts(acl, luns) for acl in group["node_acls"] if "node_wwn" in acl],
    }


def _acl_facts(acl: Object, luns: dict[int, str]) -> dict[str, Any]:
    return {
        "initiator": str(acl["node_wwn"]),
        "attributes": {**ACL_ATTRIBUTES, **(acl.get("attributes") or {})},
        "auth": auth_facts(acl, CHAP_KEYS),
        "luns": [
            {"lun": int(one["index"]), "tpg_lun": int(one["tpg_lun"]), "disk": luns.get(int(one["tpg_lun"])),
             "read_only": bool(one.get("write_protect"))}
            for one in acl.get("mapped_luns", ())
        ],
    }  # fmt: skip


def discovery_facts(configuration: Configuration) -> dict[str, Any]:
    """What discovery asks for."""
    place = configuration.fabric() or {}
    return {"enable": switched_on(place.get("discovery_enable_auth")), **auth_facts(place, DISCOVERY_KEYS)}
