"""LIO's config string of a TCMU device: `gluster/<rest>`, at most 255 bytes, without ':' ',' and blanks.

    gluster/volume@host[+host...]/path[?option=value&...]     gluster over tcp
    gluster/file/path     gluster/memory/NAME[?size=...]      the other schemes
    gluster/id/<id>                                           whatever doesn't fit: a file of our state knows the URI

What the rules forbid is percent-encoded (a port is %3A24007).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Union
from urllib.parse import unquote

from ..errors import ConfigError
from .uri import Backing, format_hosts, parse_backing, percent

SUBTYPE = "gluster"
LONGEST_CONFIG = 255
"""Bytes, the subtype and its slash included."""

_ID = re.compile(r"[0-9a-f]{8,32}", re.ASCII)
_SAFE = "/~!$'()*;=@&-._"


@dataclass(frozen=True)
class StateId:
    """A disk that only our state can name: its file is found by this id."""

    id: str


def to_cfgstring(backing: Backing, state_id: str) -> str:
    """The config string of a backing; state_id (8 to 32 hex digits) is used if it doesn't fit."""
    options = "&".join(f"{key}={percent(value, '/')}" for key, value in sorted(backing.options.items()))
    options = f"?{options}" if options else ""
    if backing.scheme == "memory":
        text = f"memory/{backing.name}{options}"
    elif backing.scheme == "file":
        text = f"file{percent(backing.path, _SAFE)}{options}"
    elif backing.transport == "tcp":
        hosts = percent(format_hosts(backing.hosts, "+"), "[]+")
        path = percent(backing.path, _SAFE)
        text = f"{backing.volume}@{hosts}{path}{options}"
    else:
        text = ""
    if text and len(SUBTYPE) + 1 + len(text) <= LONGEST_CONFIG:
        return f"{SUBTYPE}/{text}"
    if not _ID.fullmatch(state_id):
        raise ConfigError(f"{backing} doesn't fit into LIO's config string and has no id")
    return f"{SUBTYPE}/id/{state_id}"


def parse_cfgstring(text: str) -> Union[Backing, StateId]:
    """What a config string names, with or without its subtype in front. Raises ConfigError."""
    text = text.strip()
    rest = text[len(SUBTYPE) + 1 :] if text.startswith(f"{SUBTYPE}/") else text
    if not rest:
        raise ConfigError("the config string is empty; write volume@host/path")
    if len(SUBTYPE) + 1 + len(rest.encode("utf-8", "surrogateescape")) > LONGEST_CONFIG:
        raise ConfigError(f"the config string has more than {LONGEST_CONFIG} bytes; "
                          "make the disk with tcmu-gluster disk create")  # fmt: skip
    first, _, after = rest.partition("/")
    if first == "id":
        if not _ID.fullmatch(after):
            raise ConfigError(f"{text!r} names no disk of ours: 8 to 32 hexadecimal digits follow id/")
        return StateId(after)
    if first == "memory":
        return parse_backing(f"memory:{after}")
    if first == "file":
        return parse_backing(f"file:///{after}")
    if "@" not in first:
        raise ConfigError(f"{text!r} is not a config string of ours; write volume@host/path")
    volume, _, hosts = first.partition("@")
    if not after:
        raise ConfigError(f"{text!r} does not name a file; write volume@host/path")
    decoded = unquote(hosts).replace("+", ",")
    if "/" in decoded or not decoded:
        raise ConfigError(f"{text!r} names no server; write volume@host/path")
    return parse_backing(f"gluster://{decoded}/{volume}/{after}")
