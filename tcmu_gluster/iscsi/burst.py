"""Sequences of Data-Out, and the whole of one command's Data-Out on its way in.  Source: RFC 7143 4.2.5, 7.8, 7.9.

What a burst lacks because a digest was bad or a PDU is missing are its gaps. At ErrorRecoveryLevel 0 there are none:
the task fails. Above, they are asked for again by recovery R2Ts, at most MOST_RECOVERIES of them a task.
"""

from __future__ import annotations

from typing import Optional

from tcmu_gluster.iscsi.pdu import NO_TAG

MOST_RECOVERIES = 8


def _sense(key: int, asc: int, ascq: int) -> bytes:
    """Fixed format, current.  Source: SPC-4 4.5.3."""
    return bytes((0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, asc, ascq, 0, 0, 0, 0))


# RFC 7143 11.4.7.2
UNEXPECTED_UNSOLICITED_DATA = _sense(0x0B, 0x0C, 0x0C)
INCORRECT_AMOUNT_OF_DATA = _sense(0x0B, 0x0C, 0x0D)
PROTOCOL_SERVICE_CRC_ERROR = _sense(0x0B, 0x47, 0x05)
# SBC-3 of a transfer longer than MAXIMUM TRANSFER LENGTH: ILLEGAL REQUEST, INVALID FIELD IN CDB
TOO_LONG = _sense(0x05, 0x24, 0x00)


class Burst:
    """One sequence of Data-Out PDUs: unsolicited, or the answer to the R2T of r2t_sn. at is the next offset due."""

    __slots__ = ("at", "data_sn", "end", "gaps", "r2t_sn", "start")

    def __init__(self, start: int, end: int, r2t_sn: int = 0) -> None:
        self.start = self.at = start
        self.end, self.r2t_sn, self.data_sn = end, r2t_sn, 0
        self.gaps: list[tuple[int, int]] = []

    def skip(self, data_sn: int, offset: int) -> bool:
        """A PDU comes that isn't the next: note what is missing before it. False: it makes no sense after a loss."""
        if not (data_sn > self.data_sn and self.at < offset < self.end):
            return False
        self.lose(offset)
        self.data_sn = data_sn
        return True

    def lose(self, until: int) -> None:
        """What lies from `at` to `until` is missing."""
        if self.gaps and self.gaps[-1][1] == self.at:
            self.gaps[-1] = self.gaps[-1][0], until
        elif until > self.at:
            self.gaps.append((self.at, until))
        self.at = until


class Transfer:
    """The Data-Out of one command on its way in.

    memory      where data lands: all of it, or only the first burst as long as the pool has no memory for all
    whole       memory for all, once it came late
    requested   data before this offset has come unsolicited or was asked for
    missing     what of that has to be asked for again
    failed      sense that ends the task when no burst is open any more
    """

    __slots__ = (
        "bursts", "failed", "length", "memory", "missing", "r2t_sn", "received", "recoveries", "requested", "whole",
    )  # fmt: skip

    def __init__(self, length: int) -> None:
        self.length = length
        self.memory: memoryview = memoryview(b"")
        self.whole: Optional[memoryview] = None
        self.bursts: dict[int, Burst] = {}
        self.received = self.requested = self.r2t_sn = 0
        self.failed = b""
        self.missing: list[tuple[int, int]] = []
        self.recoveries = 0

    def give_up_bursts(self) -> int:
        """Nothing more comes of the open bursts: what they lack is missing. Returns how many they were."""
        count = len(self.bursts)
        for tag, burst in self.bursts.items():
            if tag == NO_TAG:
                self.requested = burst.at
            else:
                burst.lose(burst.end)
            self.missing += burst.gaps
        self.bursts.clear()
        return count

    def next_missing(self) -> Optional[tuple[int, int]]:
        """The next range (start, end) to ask for again; None if there is none, or it was tried often enough."""
        if not self.missing:
            return None
        self.recoveries += 1
        if self.recoveries > MOST_RECOVERIES:
            self.failed = self.failed or PROTOCOL_SERVICE_CRC_ERROR
            return None
        return self.missing.pop(0)
