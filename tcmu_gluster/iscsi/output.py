"""What a connection has to send: one list of buffers, never copied, and the numbers that every response carries.

Pooled memory goes with the buffers it holds: note it in `returning`, and it is given back after they were sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from tcmu_gluster.iscsi.buffers import Memory
from tcmu_gluster.iscsi.digest import digest
from tcmu_gluster.iscsi.pdu import PAD, Buffer
from tcmu_gluster.iscsi.serial import MASK, CommandWindow
from tcmu_gluster.wire.layout import Layout

if TYPE_CHECKING:
    from tcmu_gluster.iscsi.keeper import Keeper


class Output:
    """buffers and bytes are read and appended to by the hot path itself. stat_sn is the next StatSN.

    keeper      keeps what uses up a StatSN until it is acknowledged; None at ErrorRecoveryLevel 0
    """

    __slots__ = (
        "_sending", "buffers", "bytes", "data_digest", "header_digest", "keeper", "pool", "returning", "stat_sn",
        "window",
    )  # fmt: skip

    def __init__(self, pool: Memory, window: CommandWindow) -> None:
        self.pool, self.window = pool, window
        self.stat_sn = 0
        self.keeper: Optional[Keeper] = None
        self.header_digest = self.data_digest = False
        self.buffers: list[Buffer] = []
        self.bytes = 0
        self.returning: list[memoryview] = []
        self._sending: list[memoryview] = []

    def send(self, header: Buffer, data: Buffer = b"") -> None:
        """Queue one PDU whose header has its DataSegmentLength already. data is not copied."""
        self.send_parts(header, (data,) if data else (), len(data))

    def send_parts(self, header: Buffer, parts: Any, length: int) -> None:
        """Queue one PDU with a data segment of several buffers, length bytes together."""
        buffers = self.buffers
        buffers.append(header)
        self.bytes += len(header)
        if self.header_digest:
            buffers.append(digest((header,)))
            self.bytes += 4
        if not length:
            return
        buffers.extend(parts)
        pad = PAD[length % 4]
        if self.data_digest:
            buffers.append(pad + digest((*parts, pad)))
            self.bytes += length + len(pad) + 4
        else:
            if pad:
                buffers.append(pad)
            self.bytes += length + len(pad)

    def respond(self, layout: Layout, data: Buffer = b"", **fields: Any) -> None:
        """Queue a PDU that uses up a StatSN."""
        header = self.announce(layout, data, **fields)
        if self.keeper is not None:
            self.keeper.keep(self.stat_sn, header, data)
        self.stat_sn = (self.stat_sn + 1) & MASK

    def announce(self, layout: Layout, data: Buffer = b"", **fields: Any) -> bytearray:
        """Queue a PDU that only tells the next StatSN (NOP-In as a ping, R2T)."""
        window = self.window
        header = layout.pack(
            data_segment_length=len(data),
            stat_sn=self.stat_sn,
            exp_cmd_sn=window.expected,
            max_cmd_sn=window.max_cmd_sn,
            **fields,
        )
        self.send(header, data)
        return header

    def drain(self) -> list[Buffer]:
        """Everything queued, once. What is in `returning` now goes back with the next release()."""
        buffers = self.buffers
        if buffers:
            self.buffers = []
            self.bytes = 0
            if self.returning:
                self._sending += self.returning
                self.returning = []
        elif self.returning and not self._sending:  # it was kept after it had left, and is acknowledged now
            self._sending, self.returning = self.returning, []
            self.release()
        return buffers

    def release(self) -> None:
        """All that was drained has been sent: its memory goes back to the pool."""
        if self._sending:
            sent, self._sending = self._sending, []
            for view in sent:
                self.pool.give(view)

    def discard(self) -> None:
        """Nothing will be sent any more; what was drained counts as sent."""
        self.drain()
        self.release()
