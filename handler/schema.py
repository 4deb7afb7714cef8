"""The form of a saved configuration: what rtslib's schema and ours promise about the values that are read here.

A file may come from anybody's editor. Whoever finds a wrong value here says where it stands, so nothing behind has to
doubt it. Keys that are not in a form are nobody's business; a key of a form may be missing unless it is in REQUIRED.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Optional, Union

from tcmu_gluster.config.addresses import parse_access_rule, parse_portal
from tcmu_gluster.control.operations import ALUA_STATES
from tcmu_gluster.errors import ConfigError

LARGEST_NUMBER = 65535
"""Of LUNs and ports."""


def is_text(value: Any) -> bool:
    """Text."""
    return isinstance(value, str)


def is_number(value: Any) -> bool:
    """A whole number from 0 to 65535."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_NUMBER


def is_attribute(value: Any) -> bool:
    """A whole number, as such or as text, or nothing."""
    return value is None or isinstance(value, int) or (isinstance(value, str) and _is_whole(value))


def _is_whole(text: str) -> bool:
    digits = text.strip().lstrip("-")
    return not text or (digits.isascii() and digits.isdigit() and len(digits) <= 10 and text.count("-") <= 1)


def is_rule(value: Any) -> bool:
    """A rule of access."""
    try:
        return isinstance(value, str) and bool(parse_access_rule(value))
    except ConfigError:
        return False


def is_address(value: Any) -> bool:
    """An IP address, IPv6 in brackets or not."""
    if not isinstance(value, str):
        return False
    bare = value.strip("[]")
    try:
        return bool(parse_portal(f"[{bare}]:1" if ":" in bare else f"{bare}:1"))
    except ConfigError:
        return False


def is_alua_state(value: Any) -> bool:
    """Optimized, non-optimized, standby or unavailable."""
    return value in ALUA_STATES


class Each:
    """A list (or the values of an object, by_name) of one form."""

    def __init__(self, form: Form, *, by_name: bool = False) -> None:
        self.form, self.by_name = form, by_name


Form = Union[Callable[[Any], bool], Each, Mapping[str, Any]]

MAPPED_LUN: Form = {"index": is_number, "tpg_lun": is_number}
GROUP: Form = {
    "luns": Each({"index": is_number, "storage_object": is_text}),
    "node_acls": Each(
        {"node_wwn": is_text, "mapped_luns": Each(MAPPED_LUN), "attributes": {"authentication": is_attribute}}
    ),
    "portals": Each({"ip_address": is_address, "port": is_number}),
    "attributes": {},
}
TARGET: dict[str, Form] = {"wwn": is_text, "tpgs": Each(GROUP)}
ACCESS: Form = {
    "alua": Each(is_alua_state, by_name=True),
    "networks": Each(Each(is_rule), by_name=True),
    "private_luns": Each(Each(is_number), by_name=True),
}
REQUIRED = frozenset({"index", "tpg_lun", "ip_address", "port", "node_wwn"})


def wrong_in(value: Any, form: Form, place: str) -> Optional[str]:
    """What is wrong with a value, as the end of a sentence that begins with its place; None if nothing is."""
    if isinstance(form, Each):
        items: Iterable[tuple[Any, Any]]
        if form.by_name and isinstance(value, dict):
            items = value.items()
        elif not form.by_name and isinstance(value, list):
            items = enumerate(value)
        else:
            return f"{place} is no {'object' if form.by_name else 'list'}"
        wrong = (wrong_in(item, form.form, f"{place}[{key}]") for key, item in items)
        return next(filter(None, wrong), None)
    if isinstance(form, Mapping):
        if not isinstance(value, dict):
            return f"{place} is no object"
        for key, inner in form.items():
            if key not in value and key in REQUIRED:
                return f"{place} has no {key}"
            sentence = wrong_in(value[key], inner, f"{place}.{key}") if key in value else None
            if sentence:
                return sentence
        return None
    return None if form(value) else f"{place} is not {(form.__doc__ or '').rstrip('.').lower()}"
