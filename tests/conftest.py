"""What every test run has: the --full switch and the two ways of running the property tests."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# Unit runs give the same verdict every time; the fuzz tier looks further, with new input each time, and prints how to
# play a failure again. Deadlines are off: a shared machine's hiccup is no failure.
settings.register_profile("unit", derandomize=True, deadline=None)
settings.register_profile(
    "fuzz",
    max_examples=150,
    derandomize=False,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("unit")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full", "--all", dest="full", action="store_true", help="run the tests marked full too (the whole matrix)"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without --full, tests marked full are not selected (they are more of the same, so no skip is reported)."""
    if config.getoption("--full"):
        return
    left_out = [item for item in items if item.get_closest_marker("full")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item.get_closest_marker("full") is None]
