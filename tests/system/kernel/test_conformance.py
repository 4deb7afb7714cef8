"""iscsi-test-cu over LIO's portal: a boot of its own, because it takes longest."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(1200)]


@pytest.mark.job("conformance")
def test_conformance(scenario: str, passes: Callable[[str], None]) -> None:
    passes(scenario)
