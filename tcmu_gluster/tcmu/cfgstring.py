"""A device's config as the kernel and targetcli hand it to us: whose it is, what it names, and why not.

The grammar itself is config/cfgstring.py's. Here the whole string is taken as it came (a trailing newline from echo, a
foreign subtype, tgt's `volume@host:file`), and a refusal carries the errno that the configfs writer shall see.
"""

from __future__ import annotations

import errno as errno_
from typing import Union

from ..config.cfgstring import LONGEST_CONFIG, SUBTYPE, StateId, parse_cfgstring
from ..config.uri import Backing, parse_backing
from ..errors import ConfigError


class ConfigRefused(ConfigError):
    """str() is the sentence; errno (positive) is what the writer of the configuration gets."""

    def __init__(self, sentence: str, errno: int = errno_.EINVAL) -> None:
        super().__init__(sentence)
        self.errno = errno


def is_ours(config: str, subtype: str = SUBTYPE) -> bool:
    """Whether the first token, whole, is our subtype."""
    return config.strip().partition("/")[0] == subtype


def parse_config(config: str, subtype: str = SUBTYPE) -> Union[Backing, StateId]:
    """What a device's config names. Raises ConfigRefused: ENODEV (not ours), ENAMETOOLONG, EINVAL."""
    text = config.strip()
    if not is_ours(text, subtype):
        raise ConfigRefused(f"the config string {text[:80]!r} is not one of {subtype}'s", errno_.ENODEV)
    if len(text.encode("utf-8", "surrogateescape")) > LONGEST_CONFIG:
        raise ConfigRefused(
            f"the config string has more than {LONGEST_CONFIG} bytes; make the disk with tcmu-gluster disk create",
            errno_.ENAMETOOLONG,
        )
    stray = next((character for character in text if character <= " " or character in ",\x7f"), None)
    if stray is not None:
        raise ConfigRefused(f"the config string holds {stray!r}, which LIO can't keep; write it percent-encoded")
    rest = text[len(subtype) + 1 :]
    try:
        if "@" in rest and ":" in rest.partition("@")[2].partition("/")[0]:
            return parse_backing(rest)  # tgt's volume@host:file; LIO's tools refuse the colon, the kernel doesn't
        return parse_cfgstring(rest)
    except ConfigError as error:
        raise ConfigRefused(str(error)) from error
