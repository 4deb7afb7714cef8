"""tgt's own layout of --op show, made from tgt.show: scripts and monitoring parse it.

LUN 0 of a tgt target is a controller that tgt puts there itself; scripts skip it and expect the first disk at LUN 1.
Our targets have no such unit (an initiator that looks at LUN 0 finds nothing there); it is printed all the same,
unless a disk stands at LUN 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from ..control.terminal import printable

Facts = Mapping[str, Any]

CONTROLLER = {"lun": 0, "online": True, "size_bytes": 0, "block_bytes": 1, "controller": True}
_KINDS = {"gluster": "glfs", "memory": "memory", "file": "rdwr"}


def targets(shown: Facts) -> str:
    """--op show --mode target."""
    return "".join(f"{line}\n" for target in shown["targets"] for line in _target(target))


def _target(target: Facts) -> Iterator[str]:
    yield f"Target {target['tid']}: {printable(target['target'])}"
    yield "    System information:"
    yield "        Driver: iscsi"
    yield f"        State: {'ready' if target['enabled'] else 'offline'}"
    yield "    I_T nexus information:"
    for session in target["sessions"]:
        yield f"        I_T nexus: {session['id']}"
        alias = printable(session["alias"]) or "none"
        yield f"            Initiator: {printable(session['initiator'])} alias: {alias}"
        for number in session["connections"]:
            yield f"            Connection: {number}"
            yield f"                IP Address: {bare_address(session['address'])}"
    yield "    LUN information:"
    luns = list(target["luns"])
    if not any(lun["lun"] == 0 for lun in luns):
        luns.insert(0, {**CONTROLLER})
    for lun in luns:
        yield from _lun(target["tid"], lun)
    yield "    Account information:"
    for user in target["users"]:
        yield f"        {printable(user)}"
    for user in target["outgoing"]:
        yield f"        {printable(user)} (outgoing)"
    yield "    ACL information:"
    for rule in target["rules"]:
        yield f"        {'ALL' if rule == 'all' else rule}"


def _lun(tid: int, lun: Facts) -> Iterator[str]:
    controller = bool(lun.get("controller"))
    yield f"        LUN: {lun['lun']}"
    facts = {
        "Type": "controller" if controller else "disk",
        "SCSI ID": _scsi_id(tid, lun),
        "SCSI SN": f"controller-{tid}" if controller else lun.get("serial", ""),
        "Size": f"{size_mb(lun.get('size_bytes', 0))}, Block size: {lun.get('block_bytes', 512)}",
        "Online": _yes(lun.get("online")),
        "Removable media": _yes(lun.get("removable")),
        "Prevent removal": "No",
        "Readonly": _yes(lun.get("read_only")),
        "SWP": "No",
        "Thin-provisioning": _yes(lun.get("thin")),
        "Backing store type": "null" if controller else _KINDS.get(_scheme(lun), "rdwr"),
        "Backing store path": "None" if controller or not lun.get("online") else path_of(lun["uri"]),
        "Backing store flags": "",
    }
    for name, value in facts.items():
        yield f"            {name}: {printable(str(value))}"


def _scsi_id(tid: int, lun: Facts) -> str:
    if lun.get("scsi_id"):
        return str(lun["scsi_id"])
    serial = lun.get("serial") or f"{tid:04x}{lun['lun']:04x}"
    return f"{lun.get('vendor', 'GLUSTER'):<8}{serial}"


def _scheme(lun: Facts) -> str:
    return str(lun.get("uri", "")).partition(":")[0].partition("+")[0]


def path_of(uri: str) -> str:
    """What was typed after -b: a path, volume@host:file, or the URI as it is."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return unquote(parts.path)
    if parts.scheme == "gluster" and "," not in parts.netloc and ":" not in parts.netloc and not parts.query:
        volume, _, path = parts.path.lstrip("/").partition("/")
        return f"{volume}@{parts.netloc}:{unquote(path)}"
    return uri


def _yes(value: Any) -> str:
    return "Yes" if value else "No"


def size_mb(size_bytes: int) -> str:
    """Decimal megabytes, rounded, as tgt prints them."""
    return f"{(size_bytes + 500_000) // 1_000_000} MB"


def bare_address(peer: str) -> str:
    """The address without its port and brackets."""
    if peer.startswith("["):
        return peer[1:].partition("]")[0]
    return peer.partition(":")[0] if peer.count(":") == 1 else peer


def connections(target: Facts) -> str:
    """--op show --mode conn."""
    lines = []
    for session in target["sessions"]:
        lines.append(f"Session: {session['id']}")
        for number in session["connections"]:
            lines.append(f"    Connection: {number}")
            lines.append(f"        Initiator: {printable(session['initiator'])}")
            lines.append(f"        IP Address: {bare_address(session['address'])}")
    return "".join(f"{line}\n" for line in lines)


def parameters(target: Facts) -> str:
    """--op show --mode target --tid N."""
    return "".join(f"{name}={value}\n" for name, value in target["parameters"].items())


def portals(shown: Facts) -> str:
    """--op show --mode portal."""
    return "".join(f"Portal: {portal},1\n" for portal in shown["portals"])


def accounts(shown: Facts) -> str:
    """--op show --mode account."""
    return "Account list:\n" + "".join(f"    {printable(user)}\n" for user in shown["accounts"])


def system() -> str:
    """--op show --mode system."""
    return (
        "System:\n    State: ready\n    debug: off\nLLDs:\n    iscsi: ready\n"
        "Backing stores:\n    glfs (bsoflags sync:direct)\n    rdwr (bsoflags sync:direct)\n    aio\n"
        "Device types:\n    disk\n"
        "iSNS:\n    iSNS=Off\n    iSNSServerIP=\n    iSNSServerPort=3205\n    iSNSAccessControl=Off\n"
    )
