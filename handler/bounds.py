"""The bounds of the network side, from the settings: how many, how much, how long."""

from __future__ import annotations

import asyncio
import resource
from dataclasses import replace

from tcmu_gluster.config.settings import Settings
from tcmu_gluster.iscsi.admission import Admission, Limits
from tcmu_gluster.iscsi.buffers import BufferPool
from tcmu_gluster.iscsi.credit import Credit
from tcmu_gluster.iscsi.settings import DEFAULTS

from .accounts import weakest_algorithm
from .iscsi_front import IscsiFront
from .targets import TargetDirectory

SPARE_DESCRIPTORS = 256
"""For disks, sockets of clients and libraries, beside the connections."""
KIB, MIB = 1 << 10, 1 << 20
CRC32C = ("CRC32C",)
"""The digests taken where one is required."""


def make_front(loop: asyncio.AbstractEventLoop, settings: Settings) -> IscsiFront:
    """The engine's sockets with an empty directory, and the bounds as set."""
    limits = Limits(
        connections=settings.max_connections,
        connections_per_address=settings.max_connections_per_address,
        logins=settings.max_logins,
        logins_per_address=settings.max_logins_per_address,
        first_delay_seconds=min(Limits.first_delay_seconds, float(settings.login_delay_seconds)),
        longest_delay_seconds=float(settings.login_delay_seconds),
    )
    bounded = replace(
        DEFAULTS,
        window=settings.session_commands,
        max_connections=min(settings.session_connections, 0xFFFF),
        error_recovery_level=settings.error_recovery_level,
        ping_seconds=float(settings.ping_seconds),
        data_seconds=float(settings.data_seconds),
        login_seconds=float(settings.login_seconds),
        connection_buffer_bytes=settings.connection_buffer_mib * MIB,
        address_buffer_bytes=settings.address_buffer_mib * MIB,
        slow_reader_seconds=float(settings.slow_reader_seconds),
        slow_reader_bytes=settings.slow_reader_kib * KIB,
        closing_seconds=float(settings.logout_seconds),
        recovery_seconds=float(settings.recovery_seconds),
        default_time2retain=settings.retain_seconds,
        kept_bytes=settings.kept_mib * MIB,
        header_digests=DEFAULTS.header_digests if settings.required_digests == "none" else CRC32C,
        data_digests=CRC32C if settings.required_digests == "both" else DEFAULTS.data_digests,
    )
    pool = BufferPool(settings.buffer_mib * MIB)
    raise_descriptor_limit(settings.max_connections + SPARE_DESCRIPTORS)
    credit = Credit(settings.max_commands, settings.max_commands_per_address)
    return IscsiFront(loop, TargetDirectory(weakest_algorithm(settings)), bounded, pool, Admission(limits), credit)


def raise_descriptor_limit(wanted: int) -> int:
    """As many descriptors as wanted, or as the system allows; the soft limit afterwards, 0 if nobody tells."""
    try:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        return _raise(soft, hard, wanted)
    except (OSError, ValueError):  # a sandbox forbids it, or knows better
        return 0


def _raise(soft: int, hard: int, wanted: int) -> int:
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= wanted:
        return soft
    reachable = wanted if hard == unlimited else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (reachable, hard))
    return reachable
