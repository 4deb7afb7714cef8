"""Where a disk's bytes are: backing URIs, in QEMU's grammar and in the forms of tgt and tcmu-runner.

gluster[+tcp|+unix|+rdma]://[host[:port][,host[:port]...]]/volume/path/to/file[?socket=...&logfile=...&debug=N]
file:///path        a regular file (also on a FUSE mount), a block device or an LV
memory:NAME?size=64M
volume@host:file    tgt;    volume@host/file    tcmu-runner
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Optional
from urllib.parse import quote, unquote

from ..errors import ConfigError
from .addresses import split_host_port
from .sizes import format_size, parse_size

GLUSTERD_PORT = 24007
TRANSPORTS = ("tcp", "unix", "rdma")
GLUSTER_OPTIONS = ("socket", "logfile", "debug")
LONGEST_VOLUME_NAME = 1000

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_VOLUME = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9_])?\.?", re.ASCII)
_MEMORY_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_DEBUG = re.compile(r"[0-9]", re.ASCII)
_PATH_SAFE = "/~!$'()*;=@&+,:-._"

Host = tuple[str, Optional[int]]


@dataclass(frozen=True)
class Backing:
    """A checked backing. path begins with '/' (gluster: inside the volume; file: in the file system).

    scheme is "gluster", "file" or "memory"; transport, hosts and volume belong to gluster, name to memory.
    hosts are (host, port or None), IPv6 without brackets, and never empty for gluster over tcp or rdma.
    """

    scheme: str
    transport: str = ""
    hosts: tuple[Host, ...] = ()
    volume: str = ""
    path: str = ""
    name: str = ""
    options: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))

    def __str__(self) -> str:
        query = "&".join(f"{key}={percent(value, '/:')}" for key, value in sorted(self.options.items()))
        query = f"?{query}" if query else ""
        if self.scheme == "memory":
            return f"memory:{self.name}{query}"
        if self.scheme == "file":
            return f"file://{percent(self.path, _PATH_SAFE)}{query}"
        scheme = "gluster" if self.transport == "tcp" else f"gluster+{self.transport}"
        return f"{scheme}://{format_hosts(self.hosts)}/{self.volume}{percent(self.path, _PATH_SAFE)}{query}"

    @property
    def size_bytes(self) -> Optional[int]:
        """The size that memory:NAME?size=64M names; None if the URI names none."""
        return parse_size(self.options["size"]) if self.scheme == "memory" and "size" in self.options else None

    @property
    def short_name(self) -> str:
        """The last part of the path, or the memory name: for lists and default names."""
        return self.name or self.path.rsplit("/", 1)[-1]


def format_hosts(hosts: tuple[Host, ...], separator: str = ",") -> str:
    """host[:port],host[:port] with IPv6 in brackets."""
    words = []
    for host, port in hosts:
        word = f"[{host}]" if ":" in host else host
        words.append(word if port is None else f"{word}:{port}")
    return separator.join(words)


def size_to_make(backing: Backing, wanted: Optional[int]) -> Optional[int]:
    """The size that was asked for, with --size or in a memory URI. Raises ConfigError if they differ."""
    if backing.size_bytes is not None and wanted not in (None, backing.size_bytes):
        raise ConfigError(
            f"{backing} has {format_size(backing.size_bytes)}, and --size says {format_size(wanted or 0)}; "
            "say it in one place"
        )
    return backing.size_bytes if wanted is None else wanted


def parse_backing(text: str) -> Backing:
    """The backing that a person named. Raises ConfigError with one sentence that says what is wrong."""
    text = text.strip()
    if not text:
        raise ConfigError("a backing URI is missing, as in gluster://server/volume/path")
    for character in text:
        if ord(character) < 32 or ord(character) == 127:
            raise ConfigError(f"{text!r} holds a control character")
    scheme = _SCHEME.match(text)
    at = text.find("@")
    if at > 0 and _VOLUME.fullmatch(text[:at]):
        return _parse_short(text)
    if scheme is None:
        if text.startswith("/"):
            raise ConfigError(f"{text!r} has no scheme; for a file of this machine write file://{text}")
        raise ConfigError(f"{text!r} is not a backing URI; write gluster://server/volume/path, file:///path "
                          "or memory:NAME?size=64M")  # fmt: skip
    word = scheme[1].lower()
    rest = text[scheme.end() :]
    if word == "file":
        return _parse_file(text, rest)
    if word == "memory":
        return _parse_memory(text, rest)
    if word == "gluster" or word.startswith("gluster+"):
        return _parse_gluster(text, word.partition("+")[2] or "tcp", rest)
    raise ConfigError(f"{text!r} has the unknown scheme {word!r}; known are gluster, file and memory")


# -- one scheme each ----------------------------------------------------------------------------------------------


def _parse_gluster(text: str, transport: str, rest: str) -> Backing:
    if transport not in TRANSPORTS:
        raise ConfigError(f"{text!r} has the unknown transport {transport!r}; known are {', '.join(TRANSPORTS)}")
    if not rest.startswith("//"):
        raise ConfigError(f"{text!r} lacks '//' after the scheme, as in gluster://server/volume/path")
    body, options = _split_query(text, rest[2:], GLUSTER_OPTIONS)
    authority, slash, where = body.partition("/")
    volume, second, path = where.partition("/")
    if not slash or not second or not path:
        raise ConfigError(f"{text!r} does not name a file; the form is gluster://server/volume/path")
    if transport == "unix":
        if authority:
            raise ConfigError(
                f"{text!r} names a server, but gluster+unix has none; write gluster+unix:///{where}?socket=/path"
            )
        if not options.get("socket", "").startswith("/"):
            raise ConfigError(f"{text!r} lacks the socket of glusterd; add ?socket=/path/to/glusterd.socket")
        hosts: tuple[Host, ...] = ()
    else:
        if "socket" in options:
            raise ConfigError(f"{text!r} names a socket, which only gluster+unix:// has")
        hosts = tuple(_parse_host(word, text) for word in authority.split(",")) if authority else (("localhost", None),)
    if not _DEBUG.fullmatch(options.get("debug", "0")):
        raise ConfigError(f"{text!r}: debug is a number from 0 to 9")
    volume = _check_volume(unquote(volume), text)
    return Backing("gluster", transport, hosts, volume, _check_path("/" + path, text), "", options)


def _parse_file(text: str, rest: str) -> Backing:
    body, options = _split_query(text, rest, ())
    if body.startswith("//"):
        authority, slash, path = body[2:].partition("/")
        if authority not in ("", "localhost"):
            raise ConfigError(f"{text!r} names the host {authority!r}; a file is on this machine: file:///path")
        body = slash + path
    if not body.startswith("/"):
        raise ConfigError(f"{text!r} is not a whole path; write file:///path (three slashes)")
    return Backing("file", path=_check_path(body, text), options=options)


def _parse_memory(text: str, rest: str) -> Backing:
    body, options = _split_query(text, rest, ("size",))
    name = body.lstrip("/")
    if not _MEMORY_NAME.fullmatch(name):
        raise ConfigError(f"{text!r} has no usable name; write memory:NAME?size=64M with letters, digits, "
                          "'.', '_' or '-'")  # fmt: skip
    if "size" in options:
        parse_size(options["size"])
    return Backing("memory", name=name, options=options)


def _parse_short(text: str) -> Backing:
    """volume@host:file (tgt) and volume@host[+host...]/file (tcmu-runner, LIO)."""
    volume, _, rest = text.partition("@")
    if rest.startswith("["):
        end = rest.find("]") + 1
    else:
        end = next((index for index, character in enumerate(rest) if character in ":/"), 0)
    host, separator, path = rest[:end], rest[end : end + 1], rest[end + 1 :]
    if not host or separator not in (":", "/") or not path.strip("/"):
        raise ConfigError(f"{text!r} does not name a file; the forms are volume@host:file and volume@host/file")
    hosts = tuple(_parse_host(word, text) for word in host.split("+"))
    return Backing("gluster", "tcp", hosts, _check_volume(volume, text), _clean_path("/" + path.lstrip("/"), text))


# -- parts --------------------------------------------------------------------------------------------------------


def _split_query(text: str, body: str, known: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    if "#" in body:
        raise ConfigError(f"{text!r} holds '#'; in a path write %23")
    body, mark, query = body.partition("?")
    options: dict[str, str] = {}
    for word in query.split("&") if mark and query else ():
        key, equals, value = word.partition("=")
        if key not in known:
            hint = f"known are {', '.join(known)}" if known else "there are none here"
            raise ConfigError(f"{text!r} has the unknown option {key!r}; {hint}")
        if not equals or not value or key in options:
            raise ConfigError(f"{text!r}: the option {key} wants one value, as in {key}=...")
        options[key] = _decode(value, text)
    return body, options


def _parse_host(word: str, text: str) -> Host:
    host, port = split_host_port(word)
    if ":" in host and not word.startswith("["):
        raise ConfigError(f"{text!r}: an IPv6 address stands in brackets, as in gluster://[::1]/volume/path")
    if not (":" in host or _HOST.fullmatch(host)):
        raise ConfigError(f"{text!r} names no usable server: {word!r} is neither a host name nor an address")
    return host, port


def _check_volume(volume: str, text: str) -> str:
    if not _VOLUME.fullmatch(volume) or len(volume) > LONGEST_VOLUME_NAME:
        raise ConfigError(f"{text!r}: {volume[:60]!r} is not a volume name (letters, digits, '-' and '_')")
    return volume


def percent(word: str, safe: str) -> str:
    """Percent-encoded; bytes that are no UTF-8 come out as they went in."""
    return quote(word, safe=safe, errors="surrogateescape")


def _decode(word: str, text: str) -> str:
    decoded = unquote(word, errors="surrogateescape")
    if any(ord(character) < 32 or ord(character) == 127 for character in decoded):
        raise ConfigError(f"{text!r} holds an encoded control character")
    return decoded


def _check_path(path: str, text: str) -> str:
    return _clean_path(_decode(path, text), text)


def _clean_path(path: str, text: str) -> str:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ConfigError(f"{text!r} holds '..'; write the path without it")
    if not parts or path.endswith("/"):
        raise ConfigError(f"{text!r} does not name a file")
    if any(len(part.encode("utf-8", "surrogateescape")) > 255 for part in parts):
        raise ConfigError(f"{text!r} has a name of more than 255 bytes in its path")
    return "/" + "/".join(parts)
