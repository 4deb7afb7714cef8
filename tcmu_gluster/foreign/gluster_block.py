"""gluster-block's metadata: one file a block in /block-meta of a volume, named as the block.

    VOLUME: v        GBID: uuid       SIZE: bytes      HA: n      BLKSIZE: bytes     PASSWORD: text, empty for none
    ENTRYCREATE: INPROGRESS|SUCCESS|FAIL               ENTRYDELETE: ...              HOST: CONFIGSUCCESS|...

Lines are appended as things happen, so the last one of a name counts. The data is /block-store/GBID, LUN 0 of
iqn.2016-12.org.gluster-block:GBID, with the GBID as its serial number and as the CHAP user.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..config.names import validate_iscsi_name
from ..errors import ConfigError
from .plan import TCMU_RUNNER, Group, Plan, Step, chap
from .volumes import gluster_uri

IQN_PREFIX = "iqn.2016-12.org.gluster-block:"
KEYS = frozenset({"VOLUME", "GBID", "SIZE", "HA", "ENTRYCREATE", "ENTRYDELETE", "PASSWORD", "RINGBUFFER", "BLKSIZE",
                  "IOTIMEOUT", "PRIOPATH"})  # fmt: skip
GONE = re.compile(r"CONFIG(FAIL|INPROGRESS)|CLEANUP.*|INVALID.*", re.ASCII)
"""States of a host that does not serve the block (any more)."""
_GBID = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)
BLOCK_SIZES = {"": None, "0": None, "512": "512", "4096": "4096"}


def plan(files: Mapping[str, str]) -> Plan:
    """The plan of a folder of block-meta files: name -> text. Names with a dot are gluster-block's own lock files."""
    groups, notes = [], []
    for name, text in sorted(files.items()):
        if "." in name:
            continue
        try:
            groups.append(_group(name, text))
        except ConfigError as error:
            notes.append(f"skipped {name}: {error}")
    return Plan(tuple(groups), tuple(notes))


def _group(name: str, text: str) -> Group:
    values, hosts = _read(text)
    for key in ("VOLUME", "GBID"):
        if not values.get(key):
            raise ConfigError(f"it has no {key}, so it is no metadata of gluster-block")
    gbid = values["GBID"]
    if not _GBID.fullmatch(gbid):
        raise ConfigError("its GBID is not a UUID")
    if values.get("ENTRYCREATE") != "SUCCESS":
        raise ConfigError(f"gluster-block has not finished making it (ENTRYCREATE is {_state(values, 'ENTRYCREATE')})")
    if "ENTRYDELETE" in values:
        raise ConfigError(f"gluster-block is deleting it (ENTRYDELETE is {_state(values, 'ENTRYDELETE')})")
    serving = [host for host, state in hosts.items() if not GONE.fullmatch(state)]
    if not serving:
        raise ConfigError("no host serves it")
    if values.get("BLKSIZE", "") not in BLOCK_SIZES:
        raise ConfigError("its block size is neither 512 nor 4096")
    uri = gluster_uri(values["VOLUME"], serving, f"block-store/{gbid}")
    iqn = validate_iscsi_name(IQN_PREFIX + gbid)
    lun = {"target": iqn, "lun": 0, "uri": uri, "serial": gbid, "block_size": BLOCK_SIZES[values.get("BLKSIZE", "")],
           **TCMU_RUNNER}  # fmt: skip
    steps = [
        Step("target.create", f"make the target {iqn} (block {name})", {"target": iqn}),
        Step("tgt.add", f"show {uri} as LUN 0, serial {gbid}", lun),
    ]
    if values.get("PASSWORD"):
        steps.append(chap(iqn, gbid, values["PASSWORD"]))
    steps.append(Step("acl.allow", "let every initiator log in", {"target": iqn, "rule": "all"}))
    return Group(iqn, tuple(steps))


def _read(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """(values by key, states by host)."""
    values: dict[str, str] = {}
    hosts: dict[str, str] = {}
    for line in text.split("\n"):
        key, colon, value = (line.strip() + " ").partition(": ")
        if colon and key in KEYS:
            values[key] = value.strip()
        elif colon and key:
            hosts[key] = value.strip()
    return values, hosts


def _state(values: Mapping[str, str], key: str) -> str:
    return repr(values.get(key, "missing")[:40])
