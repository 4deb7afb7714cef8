"""Files on a Gluster volume, as other programs name them, as backing URIs of ours.

Those programs take names apart by rules of their own, and don't percent-encode. So a URI is made from the parts, read
again, and refused if it names anything but what was meant: a wrong volume would show somebody else's data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..config.uri import Backing, parse_backing
from ..errors import ConfigError

NO_OPTIONS: Mapping[str, str] = {}


def gluster_uri(volume: str, hosts: Sequence[str], path: str, options: Mapping[str, str] = NO_OPTIONS) -> str:
    """The URI of a file on a volume. hosts: names or addresses without port, IPv6 without brackets.

    Raises ConfigError where no URI means just that.
    """
    meant = Backing("gluster", "tcp", tuple((host, None) for host in hosts), volume, "/" + path, "", options)
    found = parse_backing(str(meant))
    same = (found.scheme, found.transport, found.hosts, found.volume, dict(found.options)) == (
        "gluster", "tcp", meant.hosts, volume, dict(options)
    ) and _parts(found.path) == _parts(path)  # fmt: skip
    if not same:
        raise ConfigError(f"the volume {volume[:60]!r} at {','.join(hosts)[:60]!r} with the file {path[:120]!r} can't "
                          "be named by a backing URI")  # fmt: skip
    return str(found)


def file_uri(path: str) -> str:
    """The URI of a file of this machine. Raises ConfigError."""
    if not path.startswith("/"):
        raise ConfigError("a path begins with /")
    found = parse_backing(str(Backing("file", path=path)))
    if _parts(found.path) != _parts(path):
        raise ConfigError(f"{path[:120]!r} can't be named by a backing URI")
    return str(found)


def short_name(text: str, separator: str) -> tuple[str, str, str]:
    """(volume, host, path) of volume@host:path (separator ':', tgt) or volume@host/path ('/', tcmu-runner).

    Only the first '@' and the first separator behind it separate. Raises ConfigError.
    """
    volume, at, rest = text.partition("@")
    host, found, path = rest.partition(separator)
    if not (at and found and volume and host and path.strip("/")):
        raise ConfigError(f"{text[:120]!r} does not name a file; the form is volume@host{separator}file")
    return volume, host.strip("[]"), path


def _parts(path: str) -> list[str]:
    """What is between the slashes, without what means nothing."""
    return [part for part in path.split("/") if part not in ("", ".")]
