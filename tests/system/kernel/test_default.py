"""The scenarios of two boots side by side: functions of guest/scenarios/, whose docstrings say what they prove."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(3000)]


@pytest.mark.job("default")
def test_default(scenario: str, passes: Callable[[str], None]) -> None:
    passes(scenario)


@pytest.mark.job("many")
def test_many(scenario: str, passes: Callable[[str], None]) -> None:
    passes(scenario)
