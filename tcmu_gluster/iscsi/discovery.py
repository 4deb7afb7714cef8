"""SendTargets.  Source: RFC 7143 appendix C."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Optional

from tcmu_gluster.iscsi.directory import Directory, TargetEntry
from tcmu_gluster.iscsi.text import Pairs


def send_targets(
    value: str,
    directory: Directory,
    initiator_name: str,
    peer_address: str,
    local_address: str,
    own: Optional[TargetEntry],
) -> Optional[Pairs]:
    """The answer to SendTargets=value, or None where it is not allowed.

    `All` only in a discovery session (own is None), an empty value (the session's own target) only in a normal one, a
    name in both; in a normal session only its own target's. A target the initiator may not use is left out.
    """
    if value == "All":
        if own is not None:
            return None
        return _describe(directory.targets_for(initiator_name, peer_address), local_address)
    if own is not None:
        return _describe([own], local_address) if value in ("", own.name) else []
    if not value:
        return None
    entry = directory.lookup(value)
    if entry is None or not entry.allows(initiator_name, peer_address):
        return []
    return _describe([entry], local_address)


def _describe(entries: Iterable[TargetEntry], local_address: str) -> Pairs:
    pairs: Pairs = []
    for entry in entries:
        pairs.append(("TargetName", entry.name))
        if entry.alias:
            pairs.append(("TargetAlias", entry.alias))
        for address, tag in entry.portals:
            pairs.append(("TargetAddress", f"{address or local_address},{tag}"))
    return pairs
