"""Layouts beside numbers that gcc gave for linux/target_core_user.h on LP64 (offsetof and sizeof)."""

from __future__ import annotations

import struct

import pytest

from tcmu_gluster.tcmu import uapi


@pytest.mark.parametrize(
    ("layout", "size"),
    [(uapi.MAILBOX, 128), (uapi.HEADER, 8), (uapi.REQUEST, 48), (uapi.RESPONSE, 112), (uapi.IOVEC, 16),
     (uapi.TASK_MANAGEMENT, 32)],
)  # fmt: skip
def test_sizes(layout: object, size: int) -> None:
    assert getattr(layout, "size_bytes") == size  # noqa: B009


def test_mailbox_fields() -> None:
    raw = bytearray(128)
    struct.pack_into("=HHIII", raw, 0, 2, 0xF, 128, 8388480, 1024)
    struct.pack_into("=I", raw, 64, 512)
    mailbox = uapi.MAILBOX.unpack(raw)
    assert (mailbox.version, mailbox.flags, mailbox.cmdr_off, mailbox.cmdr_size) == (2, 15, 128, 8388480)
    assert (mailbox.cmd_head, mailbox.cmd_tail) == (1024, 512)


def test_request_has_gccs_hole_before_cdb_off() -> None:
    raw = bytearray(48)
    struct.pack_into("=I", raw, 8, 4)
    struct.pack_into("=I", raw, 12, 1)
    struct.pack_into("=Q", raw, 24, 0x1122334455667788)
    request = uapi.REQUEST.unpack(raw)
    assert (request.iov_cnt, request.iov_bidi_cnt, request.cdb_off) == (4, 1, 0x1122334455667788)


def test_response_overlays_the_request() -> None:
    raw = uapi.RESPONSE.pack(len_op=128 | 1, cmd_id=7, uflags=2, scsi_status=2, read_len=36, sense_buffer=b"\x70")
    assert raw[4:6] == struct.pack("=H", 7) and raw[7] == 2 and raw[8] == 2
    assert raw[12:16] == struct.pack("=I", 36) and raw[16] == 0x70


@pytest.mark.parametrize(
    ("opcode", "length"),
    [(0x00, 6), (0x12, 6), (0x28, 10), (0x5E, 10), (0x7E, 12), (0x7F, 0), (0x88, 16), (0x9F, 16), (0xA0, 12),
     (0xBF, 12), (0xC0, 10), (0xFF, 10)],
)  # fmt: skip
def test_cdb_lengths_are_the_kernels(opcode: int, length: int) -> None:
    """scsi_command_size_tbl of the kernel: 6, 10, 10, 12, 16, 12, 10, 10 by group; 7Fh says its own."""
    assert uapi.CDB_LENGTHS[opcode] == length
