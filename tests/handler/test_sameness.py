"""Which differences between two configurations are none."""

from __future__ import annotations

from typing import Any

import pytest

from handler.configuration import OURS, Configuration
from handler.sameness import say_the_same

A, B = {"name": "a"}, {"name": "b"}
ONE, TWO = {"wwn": "iqn.2026-01.example:1", "fabric": "iscsi"}, {"wwn": "iqn.2026-01.example:2", "fabric": "iscsi"}


def portal(address: str) -> dict[str, Any]:
    return {"ip_address": address, "port": 3260, "iser": False}


@pytest.mark.parametrize(
    "one, other, same",
    [
        ({}, {"fabric_modules": [], OURS: {"version": 1, "networks": {}, "tids": {}}}, True),
        ({}, {OURS: {"version": 1, "networks": {"iqn.2026-01.example:1": []}}}, True),
        ({}, {OURS: {"version": 1, "networks": {"iqn.2026-01.example:1": ["10.0.0.0/8"]}}}, False),
        ({}, {"fabric_modules": [{"name": "iscsi", "discovery_enable_auth": False}]}, False),
        ({"targets": [ONE, TWO]}, {"targets": [TWO, ONE]}, True),
        ({"targets": [ONE, TWO]}, {"targets": [ONE]}, False),
        ({"targets": [ONE]}, {"targets": [{**ONE, "tpgs": []}]}, True),
        ({"storage_objects": [A, B]}, {"storage_objects": [B, A]}, True),
        ({"storage_objects": [{"name": "a", "size": 1}]}, {"storage_objects": [{"name": "a", "size": 2}]}, False),
        ({"storage_objects": [{"name": "a", "write_back": False}]}, {"storage_objects": [A]}, False),
    ],
)
def test_what_is_empty_and_in_which_order_things_were_made_says_nothing(one: Any, other: Any, same: bool) -> None:
    assert say_the_same(Configuration(one), Configuration(other)) is same


def test_the_order_of_portals_is_what_initiators_are_told() -> None:
    there, back = [portal("10.0.0.1"), portal("10.0.0.2")], [portal("10.0.0.2"), portal("10.0.0.1")]
    one, other = ({"targets": [{**ONE, "tpgs": [{"tag": 1, "portals": portals}]}]} for portals in (there, back))
    assert not say_the_same(Configuration(one), Configuration(other))
