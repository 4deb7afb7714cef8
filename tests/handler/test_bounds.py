"""Bounds as they are set reach the engine."""

from __future__ import annotations

import asyncio
import resource
from typing import Any

import pytest

from handler.bounds import make_front, raise_descriptor_limit
from tcmu_gluster.config.settings import Settings
from tcmu_gluster.errors import ConfigError
from tcmu_gluster.iscsi.admission import Limits
from tcmu_gluster.iscsi.credit import Credit
from tcmu_gluster.iscsi.settings import DEFAULTS


def test_every_bound_reaches_the_engine() -> None:
    async def story() -> None:
        given = Settings(
            max_connections=11, max_connections_per_address=7, max_logins=5, max_logins_per_address=3, login_seconds=4,
            session_commands=32, session_connections=2, max_commands=90, max_commands_per_address=60,
            error_recovery_level=1, ping_seconds=6, data_seconds=9, buffer_mib=2, connection_buffer_mib=1,
            address_buffer_mib=3,
            login_delay_seconds=7, recovery_seconds=2, retain_seconds=8, kept_mib=4, slow_reader_seconds=12,
            slow_reader_kib=16, logout_seconds=13, required_digests="header",
        )  # fmt: skip
        front = make_front(asyncio.get_running_loop(), given)
        limits = front.admission.limits
        assert (limits.connections, limits.connections_per_address) == (11, 7)
        assert (limits.logins, limits.logins_per_address) == (5, 3)
        assert (limits.first_delay_seconds, limits.longest_delay_seconds) == (0.5, 7.0)
        assert (front.settings.login_seconds, front.settings.window) == (4.0, 32)
        settings = front.settings
        assert (settings.ping_seconds, settings.data_seconds) == (6.0, 9.0)
        assert (settings.max_connections, settings.error_recovery_level) == (2, 1)
        assert (front.pool.limit_bytes, front.settings.connection_buffer_bytes) == (2 << 20, 1 << 20)
        assert (settings.recovery_seconds, settings.default_time2retain, settings.kept_bytes) == (2.0, 8, 4 << 20)
        assert (settings.slow_reader_seconds, settings.slow_reader_bytes) == (12.0, 16 << 10)
        assert (settings.closing_seconds, settings.address_buffer_bytes) == (13.0, 3 << 20)
        assert (settings.header_digests, settings.data_digests) == (("CRC32C",), ("None", "CRC32C"))
        assert front.registry.max_sessions == 11
        assert (front.registry.credit.limit, front.registry.credit.per_address) == (90, 60)
        assert front.shares.of("192.0.2.1").limit_bytes == 3 << 20
        await front.stop(0)

    asyncio.run(story())


def test_a_bound_that_is_not_set_is_the_engines_own_default() -> None:
    """Two places hold a default, and they may not say different things."""

    async def story() -> None:
        front = make_front(asyncio.get_running_loop(), Settings())
        assert front.settings == DEFAULTS and front.admission.limits == Limits()
        assert vars(front.registry.credit) == vars(Credit())
        await front.stop(0)

    asyncio.run(story())


def test_a_failed_login_need_not_wait() -> None:
    async def story() -> None:
        front = make_front(asyncio.get_running_loop(), Settings(login_delay_seconds=0))
        assert front.admission.arrive("192.0.2.1", 0.0) == "" and front.admission.failed("192.0.2.1", 0.0) == 0.0
        await front.stop(0)

    asyncio.run(story())


@pytest.mark.parametrize("wrong", [
    {"max_logins": 0}, {"max_logins_per_address": 0}, {"buffer_mib": 0}, {"session_commands": 5000},
    {"max_commands": 0}, {"max_commands_per_address": 0},
    {"session_connections": 0}, {"error_recovery_level": 3}, {"ping_seconds": 0},
    {"data_seconds": 0}, {"slow_reader_seconds": 0}, {"slow_reader_kib": 0}, {"logout_seconds": 0},
    {"logout_seconds": 65536}, {"recovery_seconds": 0}, {"retain_seconds": 3601}, {"kept_mib": 0},
    {"address_buffer_mib": 0},
    {"login_seconds": 0}, {"chap_weakest_algorithm": "md4"}, {"chap_shortest_secret_bytes": 0},
    {"required_digests": "data"},
    {"user": "x", "lio": "on"},
])  # fmt: skip
def test_bounds_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Settings(**wrong)


def test_descriptors_are_asked_for_up_to_what_the_system_allows() -> None:
    soft, hard = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, soft), hard))
        wanted = 300 if hard == resource.RLIM_INFINITY else min(300, hard)
        assert raise_descriptor_limit(wanted) == wanted == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert raise_descriptor_limit(10) == wanted, "never lowered"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
