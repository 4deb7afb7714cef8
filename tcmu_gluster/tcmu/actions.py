"""Writing to configfs and to the module's parameters: what may block for as long as a handler does not answer.

A thread that waits in configfs sleeps uninterruptibly; it can't even be killed. So nothing here is called on the
thread that answers netlink or serves rings: the daemon calls block_device and reset_ring (which wait for nobody but
the kernel) in an executor thread, `tcmu-gluster recover` calls all of them in a process of its own. Every function
raises OSError as the kernel gave it; a missing file (older kernels) is ENOENT.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

from .configfs import CORE, MODULE_PARAMETERS


class ResetAnswer(IntEnum):
    """What the initiators of the commands in the ring are told."""

    BUSY = 1
    """They try again: nothing is lost."""
    NOT_READY = 2
    """CHECK CONDITION, NOT READY 08/00: an error that ends their waiting."""


def _write(path: Path, text: str) -> None:
    """One write(2): configfs and sysfs take each as one value."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _action(hba: int, name: str, action: str, core: Path) -> Path:
    return core / f"user_{hba}" / name / "action" / action


def block_device(hba: int, name: str, core: Path = CORE) -> None:
    """New commands get BUSY; those in the ring stay and may be answered. EINVAL while the device is being added."""
    _write(_action(hba, name, "block_dev", core), "1")


def unblock_device(hba: int, name: str, core: Path = CORE) -> None:
    """Let commands in again."""
    _write(_action(hba, name, "block_dev", core), "0")


def reset_ring(hba: int, name: str, answer: ResetAnswer = ResetAnswer.BUSY, core: Path = CORE) -> None:
    """The kernel answers everything in the ring itself; ids and buffers are free, head and tail are 0.

    Only with the uio device open by us (so nobody else can write into those buffers) and nothing in flight.
    """
    _write(_action(hba, name, "reset_ring", core), str(int(answer)))


def set_netlink_reply(hba: int, name: str, supported: int, core: Path = CORE) -> None:
    """attrib/nl_reply_supported: 1 the kernel waits for our answers for this device, -1 it never does."""
    _write(core / f"user_{hba}" / name / "attrib" / "nl_reply_supported", str(supported))


def block_netlink(parameters: Path = MODULE_PARAMETERS) -> None:
    """From now on nobody waits for a netlink answer: added and reconfigured fail with EAGAIN. For the whole host."""
    _write(parameters / "block_netlink", "1")


def unblock_netlink(parameters: Path = MODULE_PARAMETERS) -> None:
    """Waiting for answers is allowed again."""
    _write(parameters / "block_netlink", "0")


def reset_netlink(parameters: Path = MODULE_PARAMETERS) -> None:
    """Everybody who waits for an answer now gets EINTR. Only between block_netlink and unblock_netlink."""
    _write(parameters / "reset_netlink", "1")


def release_waiters(parameters: Path = MODULE_PARAMETERS, while_blocked: Callable[[], object] = lambda: None) -> None:
    """End all waits that no handler will answer any more: block, reset, unblock. For the whole host.

    while_blocked() runs before the last step: who was released with EINTR and writes again at once, as every Python
    program does (PEP 475), then gets EAGAIN instead of waiting anew.
    """
    block_netlink(parameters)
    try:
        reset_netlink(parameters)
        while_blocked()
    finally:
        unblock_netlink(parameters)
