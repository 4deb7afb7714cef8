"""Which licences we accept, and what an installed package's metadata says about its own.

Source: core metadata specifications (License-Expression since 2.4, before it License and classifiers); SPDX's names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Final

ACCEPTED: Final = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSD",  # the classifier does not say which
        "CC0-1.0",
        "ISC",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "PSF-2.0",
        "Zlib",
    }
)

_LIBRARY = "imported as it is, from its own package: neither changed nor linked into ours"
_TOOL = "a tool of the tests: nothing of it is in what we hand out"
EXCEPTIONS: Final = {
    ("crc32c", "LGPL-2.1-or-later"): _LIBRARY,
    ("pyudev", "LGPL-2.1-or-later"): _LIBRARY,
    ("hypothesis", "MPL-2.0"): _TOOL,
    ("pathspec", "MPL-2.0"): _TOOL,
}
"""Package and licence that is accepted for it alone: why."""

# What older metadata writes, by the SPDX name that it means.
_WORDS: Final = {
    "Apache Software License": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "BSD License": "BSD",
    "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.1-or-later",
}


@dataclass(frozen=True)
class Verdict:
    """Of one package. reason is why, where the licence is not one that we accept from everybody."""

    package: str
    licence: str
    accepted: bool
    reason: str = ""

    def __str__(self) -> str:
        word = "" if self.accepted and not self.reason else f": {self.reason or 'NOT ACCEPTED'}"
        return f"{self.package}: {self.licence or 'says nothing'}{word}"


def canonical(name: str) -> str:
    """Package names compare without case, and with - for each run of -, _ and . (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def stated(package: metadata.PackageMetadata) -> str:
    """The licence as an SPDX expression: the newest field that is there. Empty when nothing is said."""
    expression = package.get("License-Expression")
    if expression:
        return str(expression)
    prefix = "License :: OSI Approved :: "
    classifiers = [line[len(prefix) :] for line in package.get_all("Classifier") or () if line.startswith(prefix)]
    words = classifiers or [str(package.get("License") or "").strip()]
    return " AND ".join(dict.fromkeys(_WORDS.get(word, word) for word in words))


def judge_expression(package: str, licence: str) -> Verdict:
    """Of alternatives (OR) one has to be accepted, of parts that hold together (AND) each."""
    reasons: list[str] = []

    def simple(name: str) -> bool:
        reason = EXCEPTIONS.get((canonical(package), name))
        if reason and reason not in reasons:
            reasons.append(reason)
        return name in ACCEPTED or reason is not None

    if not licence or "(" in licence:  # no package of ours nests them: whoever brings one decides then
        return Verdict(package, licence, False)
    accepted = any(all(simple(name.strip()) for name in choice.split(" AND ")) for choice in licence.split(" OR "))
    return Verdict(package, licence, accepted, "; ".join(reasons) if accepted else "")


def judge(distribution: metadata.Distribution) -> Verdict:
    """Of an installed package, by its own metadata."""
    return judge_expression(str(distribution.metadata["Name"]), stated(distribution.metadata))


def ours(root: str = "tcmu-gluster", extras: tuple[str, ...] = ("test",)) -> Iterator[metadata.Distribution]:
    """What is installed of what we need to run and to test, with all that needs in turn; ourselves not."""
    waiting, seen = [root], {canonical(root)}
    while waiting:
        name = waiting.pop()
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another Python or another system
        if canonical(name) != canonical(root):
            yield distribution
        for line in sorted(distribution.requires or ()):
            extra = re.search(r"""extra\s*==\s*['"]([^'"]+)['"]""", line)
            if extra and not (canonical(name) == canonical(root) and extra[1] in extras):
                continue
            match = re.match(r"[\w.-]+", line)
            if match and canonical(match[0]) not in seen:
                seen.add(canonical(match[0]))
                waiting.append(match[0])
