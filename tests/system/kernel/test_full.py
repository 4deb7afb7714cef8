"""With --full (or --all): LIO's other fabrics, a boot each because their modules share nothing; and more."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.full, pytest.mark.timeout(3000)]


@pytest.mark.job("iser")
def test_iser(scenario: str, passes: Callable[[str], None]) -> None:
    passes(scenario)


@pytest.mark.job("fcoe")
def test_fcoe(scenario: str, passes: Callable[[str], None]) -> None:
    passes(scenario)


@pytest.mark.job("vhost")
def test_vhost(scenario: str, passes: Callable[[str], None]) -> None:
    passes(scenario)


@pytest.mark.job("lease")
def test_lease(scenario: str, passes: Callable[[str], None]) -> None:
    passes(scenario)


@pytest.mark.job("reboot")
def test_reboot(scenario: str, passes: Callable[[str], None]) -> None:
    passes(scenario)


@pytest.mark.job("multipath")
def test_multipath(scenario: str, passes: Callable[[str], None]) -> None:
    passes(scenario)
