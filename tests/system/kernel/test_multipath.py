"""Multipath: a boot of its own, because udev and multipathd would take hold of every other scenario's disks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(1200)]


@pytest.mark.job("multipath")
def test_multipath(scenario: str, passes: Callable[[str], None]) -> None:
    passes(scenario)
