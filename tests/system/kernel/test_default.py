"""The scenarios of the first boot; each is a function of guest/scenarios/, whose docstring says what it proves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(3000)]


@pytest.mark.job("default")
def test_default(scenario: str, passes: Callable[[str], None]) -> None:
    passes(scenario)
