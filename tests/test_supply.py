"""What we are made of: the bill of materials is current, and every licence is one that we accept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from script.supply.licences import ACCEPTED, canonical, judge, judge_expression, ours
from script.supply.sbom import bill, debian, licences, pins

ROOT = Path(__file__).resolve().parents[1]


def test_the_bill_of_materials_is_current() -> None:
    assert (ROOT / "docs" / "sbom.json").read_text() == bill(ROOT), "run script/sbom"


def test_every_component_has_what_a_reader_of_cyclonedx_needs() -> None:
    components = json.loads(bill(ROOT))["components"]
    assert len({part["bom-ref"] for part in components}) == len(components) == len(pins(ROOT)) + len(debian(ROOT))
    for part in components:
        assert part["purl"].startswith(("pkg:pypi/", "pkg:deb/debian/"))
        if part["purl"].startswith("pkg:pypi/"):
            assert part["purl"].endswith(f"{part['name']}@{part['version']}")
            assert part["externalReferences"][0]["hashes"], f"{part['name']} is pinned without a hash"


def test_a_package_of_two_lists_stands_once_with_both_named() -> None:
    both = [pin for pin in pins(ROOT) if pin.name == "packaging"]
    assert [pin.files for pin in both] == [["script/requirements-bench.txt", "script/requirements.txt"]]


def test_the_table_of_licences_names_exactly_the_pinned_packages() -> None:
    assert sorted(licences()) == sorted({pin.name for pin in pins(ROOT)})


def test_every_pinned_licence_is_accepted() -> None:
    verdicts = [judge_expression(name, licence) for name, licence in licences().items()]
    assert [str(verdict) for verdict in verdicts if not verdict.accepted] == []


def test_every_installed_package_states_an_accepted_licence(capsys: pytest.CaptureFixture[str]) -> None:
    verdicts = [judge(distribution) for distribution in ours()]
    with capsys.disabled():
        print("".join(f"\n{verdict}" for verdict in verdicts if verdict.accepted and verdict.reason))
    assert {"cffi", "crc32c", "pytest", "hypothesis"} <= {canonical(verdict.package) for verdict in verdicts}
    assert [str(verdict) for verdict in verdicts if not verdict.accepted] == []


def test_installed_packages_state_what_the_table_says() -> None:
    table, versions = licences(), {pin.name: pin.version for pin in pins(ROOT)}
    differing = []
    for distribution in ours():
        name = canonical(str(distribution.metadata["Name"]))
        if versions.get(name) == distribution.version and judge(distribution).licence != table[name]:
            differing.append(f"{judge(distribution)}, licences.txt has {table[name]}")
    assert differing == []


@pytest.mark.parametrize(
    "licence, accepted",
    [
        ("MIT", True),
        ("GPL-2.0-or-later OR Apache-2.0", True),
        ("GPL-2.0-or-later AND Apache-2.0", False),
        ("LGPL-2.1-or-later", False),
        ("(MIT AND GPL-2.0-only) OR GPL-3.0-only", False),
        ("", False),
    ],
)
def test_one_alternative_is_enough_and_every_part_counts(licence: str, accepted: bool) -> None:
    assert judge_expression("somebody", licence).accepted is accepted


def test_an_exception_is_for_its_package_alone_and_has_a_reason() -> None:
    assert judge_expression("crc32c", "LGPL-2.1-or-later").reason
    assert not judge_expression("another", "LGPL-2.1-or-later").accepted
    assert "LGPL-2.1-or-later" not in ACCEPTED
