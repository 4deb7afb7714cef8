"""The sockets that portals listen on."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable

from tcmu_gluster.config.addresses import Portal
from tcmu_gluster.errors import ConfigError

from .targets import ANY_ADDRESS


def listener_at(portal: Portal, own: Iterable[Portal] = ()) -> socket.socket:
    """A socket that listens there. own: where we do already. Raises ConfigError with the reason."""
    family = socket.AF_INET6 if ":" in portal.address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((portal.address, portal.port))
        listener.listen(128)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigError(_why_not(portal, error, own)) from error
    return listener


def _why_not(portal: Portal, error: OSError, own: Iterable[Portal]) -> str:
    if error.errno == errno.EADDRINUSE:
        another = Portal(portal.address, portal.port + 1 if portal.port < 65535 else 3260)
        for other in own:
            if _exclude_each_other(portal, other):
                return (f"{portal} and {other}, which is served here, exclude each other, as one of them is all "
                        f"addresses; take {other} away first, or choose another port, as in {another}")  # fmt: skip
        return f"{portal} is in use by another program; stop it or choose another port, as in {another}"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{portal.address} is not an address of this machine; choose one of its own, or 0.0.0.0 for all"
    if error.errno == errno.EACCES:
        return f"{portal} needs root, as every port below 1024; choose a higher port"
    return f"can't listen on {portal}: {error.strerror}"


def _exclude_each_other(one: Portal, other: Portal) -> bool:
    same_family = (":" in one.address) is (":" in other.address)
    any_ = one.address in ANY_ADDRESS or other.address in ANY_ADDRESS
    return one.port == other.port and same_family and any_
