"""The life of a TCMU device in the daemon, as data. handler/devices.py drives it; nothing happens here.

A device is there because LIO says so (netlink ADDED, or found in sysfs). What the daemon does on entering a state is
the driver's business; the order is the kernel's:

    ABSENT      we hold nothing
    OPENING     open /dev/uioN (EBUSY: somebody else still owns its buffers), read its configuration, open the backing
    BLOCKED     an old ring: block_dev=1, so that the kernel answers BUSY from here on
    RESETTING   reset_ring=1: every command of our predecessor is answered BUSY, ids and buffers are free
    MAPPED      mapped and the ring checked; only now may the device be unblocked, or ADDED be answered with 0
    SERVING     commands are taken and answered
    DRAINING    a planned stop: blocked; nothing new is taken, what is in flight is answered
    DEAD        the ring can't be trusted: nothing is posted any more; wait until nothing is in flight, then recover
    REMOVING    LIO removes it: answer or await what is left, unmap, close, then answer REMOVED; no configfs below it
    FAILED      it can't be served now (backing gone, wrong size, device busy); the reason is kept, a retry is possible
    REMOVED     the end: everything is let go

A fresh device skips BLOCKED and RESETTING: action/ does not work before ADDED is answered. A kernel without
reset_ring goes from OPENING to MAPPED as well, and its leftover commands are answered BUSY by us.
"""

from __future__ import annotations

from enum import Enum

from ..errors import TcmuGlusterError


class DeviceState(Enum):
    """Nouns for logs and `disk show`."""

    ABSENT = "absent"
    OPENING = "opening"
    BLOCKED = "blocked"
    RESETTING = "resetting"
    MAPPED = "mapped"
    SERVING = "serving"
    DRAINING = "draining"
    DEAD = "dead"
    REMOVING = "removing"
    FAILED = "failed"
    REMOVED = "removed"


class DeviceInput(Enum):
    """What happens to a device."""

    FOUND = "found"
    """ADDED, or seen in sysfs."""
    OPENED_FRESH = "opened, fresh"
    """Opened, and there is nothing to reset: during ADDED, or the kernel can't."""
    OPENED_USED = "opened, used before"
    QUIET = "quiet"
    """Blocked, and nothing of ours is in flight any more: RESETTING may be entered, DRAINING and REMOVING may end."""
    RESET = "reset"
    STARTED = "started"
    """Backing and ring are ready; unblocked, or ADDED answered."""
    STOP = "stop"
    CORRUPTION = "corruption"
    FAILURE = "failure"
    RETRY = "retry"
    GONE = "gone"
    """netlink REMOVED, or the uio device says EIO."""


S, E = DeviceState, DeviceInput

# A pair that isn't here is refused (DeviceLifeError): the driver asked for something that can't follow. The rules:
# * GONE wins everywhere, since a configfs writer waits for us: from states with nothing in flight straight to the end.
# * FAILED and DEAD are left by RETRY (through OPENING: the ring is found used) or by GONE.
# * DEAD becomes OPENING only after QUIET was seen: RETRY in DEAD is the driver's word that inflight is 0.
TRANSITIONS = {
    (S.ABSENT, E.FOUND): S.OPENING,
    (S.ABSENT, E.GONE): S.REMOVED,
    (S.OPENING, E.FOUND): S.OPENING,
    (S.OPENING, E.OPENED_FRESH): S.MAPPED,
    (S.OPENING, E.OPENED_USED): S.BLOCKED,
    (S.OPENING, E.FAILURE): S.FAILED,
    (S.OPENING, E.STOP): S.REMOVED,
    (S.OPENING, E.GONE): S.REMOVED,
    (S.BLOCKED, E.FOUND): S.BLOCKED,
    (S.BLOCKED, E.QUIET): S.RESETTING,
    (S.BLOCKED, E.FAILURE): S.FAILED,
    (S.BLOCKED, E.STOP): S.REMOVED,
    (S.BLOCKED, E.GONE): S.REMOVED,
    (S.RESETTING, E.FOUND): S.RESETTING,
    (S.RESETTING, E.RESET): S.MAPPED,
    (S.RESETTING, E.FAILURE): S.FAILED,
    (S.RESETTING, E.STOP): S.REMOVED,
    (S.RESETTING, E.GONE): S.REMOVED,
    (S.MAPPED, E.FOUND): S.MAPPED,
    (S.MAPPED, E.STARTED): S.SERVING,
    (S.MAPPED, E.CORRUPTION): S.DEAD,
    (S.MAPPED, E.FAILURE): S.FAILED,
    (S.MAPPED, E.STOP): S.REMOVED,
    (S.MAPPED, E.GONE): S.REMOVED,
    (S.SERVING, E.FOUND): S.SERVING,
    (S.SERVING, E.STOP): S.DRAINING,
    (S.SERVING, E.CORRUPTION): S.DEAD,
    (S.SERVING, E.FAILURE): S.DEAD,
    (S.SERVING, E.GONE): S.REMOVING,
    (S.DRAINING, E.FOUND): S.DRAINING,
    (S.DRAINING, E.STOP): S.DRAINING,
    (S.DRAINING, E.QUIET): S.REMOVED,
    (S.DRAINING, E.CORRUPTION): S.DEAD,
    (S.DRAINING, E.FAILURE): S.DEAD,
    (S.DRAINING, E.GONE): S.REMOVING,
    (S.DEAD, E.FOUND): S.DEAD,
    (S.DEAD, E.RETRY): S.OPENING,
    (S.DEAD, E.CORRUPTION): S.DEAD,
    (S.DEAD, E.FAILURE): S.DEAD,
    (S.DEAD, E.STOP): S.REMOVING,
    (S.DEAD, E.GONE): S.REMOVING,
    (S.REMOVING, E.FOUND): S.REMOVING,
    (S.REMOVING, E.STOP): S.REMOVING,
    (S.REMOVING, E.CORRUPTION): S.REMOVING,
    (S.REMOVING, E.FAILURE): S.REMOVING,
    (S.REMOVING, E.GONE): S.REMOVING,
    (S.REMOVING, E.QUIET): S.REMOVED,
    (S.FAILED, E.FOUND): S.OPENING,
    (S.FAILED, E.RETRY): S.OPENING,
    (S.FAILED, E.FAILURE): S.FAILED,
    (S.FAILED, E.STOP): S.REMOVED,
    (S.FAILED, E.GONE): S.REMOVED,
    (S.REMOVED, E.STOP): S.REMOVED,
    (S.REMOVED, E.GONE): S.REMOVED,
}

del S, E

HOLDS_MEMORY = frozenset(
    {DeviceState.MAPPED, DeviceState.SERVING, DeviceState.DRAINING, DeviceState.DEAD, DeviceState.REMOVING}
)
"""States in which there is a mapping, so leaving them for one that isn't here means unmap and close."""

MAY_BE_IN_FLIGHT = frozenset({DeviceState.SERVING, DeviceState.DRAINING, DeviceState.DEAD, DeviceState.REMOVING})
"""States in which commands can be with the backend: no reset_ring and no unmapping before QUIET."""


class DeviceLifeError(TcmuGlusterError):
    """The driver asked for a step that can't follow; a bug of ours, not of the device."""

    def __init__(self, state: DeviceState, event: DeviceInput) -> None:
        super().__init__(state, event)
        self.state, self.event = state, event

    def __str__(self) -> str:
        return f"a device that is {self.state.value} can't be told {self.event.value!r}"


def following(state: DeviceState, event: DeviceInput) -> DeviceState:
    """The next state. Raises DeviceLifeError for a pair that is not in the table."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise DeviceLifeError(state, event) from None
