"""LIO's other fabrics (with --full): iSER and FCoE, a boot each, because their modules share nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.full, pytest.mark.timeout(1200)]


@pytest.mark.job("iser")
def test_iser(scenario: str, passes: Callable[[str], None]) -> None:
    passes(scenario)


@pytest.mark.job("fcoe")
def test_fcoe(scenario: str, passes: Callable[[str], None]) -> None:
    passes(scenario)
