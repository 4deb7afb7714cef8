"""The bill of materials: script/requirements*.txt and the lists of Debian packages, as CycloneDX 1.6 JSON.

It is made from files of the tree alone, without a date or a random serial number: the same tree gives the same bytes.
Debian's packages stand by their names: their versions are those of the release that installs them.

Source: CycloneDX 1.6 JSON schema (ECMA-424); package-url types pypi and deb.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from script.supply.licences import canonical

LICENCES = Path(__file__).with_name("licences.txt")


@dataclass
class Pin:
    """A Python package that the scripts install. files: the lists that name it."""

    name: str
    version: str
    hashes: set[str] = field(default_factory=set)
    files: list[str] = field(default_factory=list)


def pins(root: Path) -> list[Pin]:
    """Every pinned package of script/requirements*.txt, by name; one that two lists name stands once."""
    found: dict[tuple[str, str], Pin] = {}
    for path in sorted((root / "script").glob("requirements*.txt")):
        pin = None
        for line in path.read_text().splitlines():
            start = re.match(r"([\w.-]+)==([\w.+!-]+)", line)
            if start:
                pin = found.setdefault((canonical(start[1]), start[2]), Pin(canonical(start[1]), start[2]))
                pin.files.append(f"script/{path.name}")
            digest = re.search(r"--hash=sha256:([0-9a-f]{64})", line)
            if digest and pin:
                pin.hashes.add(digest[1])
    return [found[key] for key in sorted(found)]


def debian(root: Path) -> dict[str, list[str]]:
    """Name of each Debian package that the scripts install, with the lists that name it."""
    found: dict[str, list[str]] = {}
    lists = [*sorted((root / "script" / "packages").glob("*.txt")), root / "tests/system/kernel/packages.txt"]
    for path in lists:
        for line in path.read_text().splitlines():
            name = line.partition("#")[0].strip()
            if name:
                found.setdefault(name, []).append(str(path.relative_to(root)))
    return dict(sorted(found.items()))


def licences() -> dict[str, str]:
    """The SPDX expression of each pinned package, from licences.txt."""
    rows = (line.partition("#")[0].split(None, 1) for line in LICENCES.read_text().splitlines())
    return {row[0]: row[1].strip() for row in rows if row}


def _named_in(files: list[str]) -> list[dict[str, str]]:
    return [{"name": "tcmu-gluster:list", "value": name} for name in files]


def _python(pin: Pin, licence: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{pin.name}@{pin.version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": pin.name,
        "version": pin.version,
        "licenses": [{"expression": licence}],
        "purl": purl,
        # The hashes are those of the files that pip may take, one for each system and Python.
        "externalReferences": [
            {
                "type": "distribution",
                "url": f"https://pypi.org/project/{pin.name}/{pin.version}/",
                "hashes": [{"alg": "SHA-256", "content": digest} for digest in sorted(pin.hashes)],
            }
        ],
        "properties": _named_in(pin.files),
    }


def _debian(name: str, files: list[str]) -> dict[str, Any]:
    purl = f"pkg:deb/debian/{name}"
    return {"type": "library", "bom-ref": purl, "name": name, "purl": purl, "properties": _named_in(files)}


def bill(root: Path) -> str:
    """The whole document. Raises KeyError for a pinned package without a row in licences.txt."""
    known = licences()
    version = re.search(r'__version__ = "([^"]+)"', (root / "tcmu_gluster" / "__init__.py").read_text())
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "tcmu-gluster",
                "name": "tcmu-gluster",
                "version": version[1] if version else "",
                "licenses": [{"expression": "Apache-2.0"}],
            }
        },
        "components": [
            *(_python(pin, known[pin.name]) for pin in pins(root)),
            *(_debian(name, files) for name, files in debian(root).items()),
        ],
    }
    return json.dumps(document, indent=1) + "\n"
