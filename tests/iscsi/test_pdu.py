"""Layouts of the Basic Header Segment and their compiled twins."""

from __future__ import annotations

import pytest

from tcmu_gluster.iscsi import pdu
from tcmu_gluster.iscsi.pdu import LoginError, LoginStatus, Opcode, RejectPdu, RejectReason

# RFC 3720 B.4: "an iSCSI - SCSI Read (10) Command PDU"
READ_10 = bytes.fromhex(
    "01c00000 00000000 00000000 00000000 14000000 00000400 00000014 00000018 28000000 00000000 02000000 00000000"
)


def test_scsi_command_of_the_standards_example() -> None:
    command = pdu.SCSI_COMMAND.unpack(READ_10)
    assert (command.final, command.read, command.write, command.attribute) == (1, 1, 0, 0)
    assert command.initiator_task_tag == 0x14000000
    assert command.expected_data_transfer_length == 0x400
    assert (command.cmd_sn, command.exp_stat_sn) == (0x14, 0x18)
    assert command.cdb[:10] == bytes.fromhex("28000000000000000200")


def test_hot_unpacker_of_a_command_gives_the_documented_order() -> None:
    header = pdu.SCSI_COMMAND.pack(
        immediate=1, final=1, write=1, attribute=2, total_ahs_length=3, data_segment_length=0x10203, lun=5 << 48,
        initiator_task_tag=7, expected_data_transfer_length=9, cmd_sn=11, exp_stat_sn=13, cdb=b"0123456789abcdef",
    )  # fmt: skip
    assert pdu.unpack_scsi_command(header) == (
        0x41, 0xA2, 0x03010203, 5 << 48, 7, 9, 11, 13, b"0123456789abcdef",
    )  # fmt: skip


def test_hot_unpacker_of_data_out_gives_the_documented_order() -> None:
    header = pdu.DATA_OUT.pack(
        final=1, data_segment_length=512, lun=1 << 48, initiator_task_tag=2, target_transfer_tag=3, exp_stat_sn=4,
        data_sn=5, buffer_offset=6,
    )  # fmt: skip
    assert pdu.unpack_data_out(header) == (0x05, 0x80, 512, 1 << 48, 2, 3, 4, 5, 6)


def test_hot_packers_agree_with_their_layouts() -> None:
    numbers = {"stat_sn": 4, "exp_cmd_sn": 5, "max_cmd_sn": 6}
    assert pdu.pack_data_in(0x25, 0x81, 2, 512, 3, 9, 4, 5, 6, 7, 8, 10) == pdu.DATA_IN.pack(
        final=1, has_status=1, status=2, data_segment_length=512, initiator_task_tag=3, target_transfer_tag=9,
        data_sn=7, buffer_offset=8, residual_count=10, **numbers,
    )  # fmt: skip
    assert pdu.pack_scsi_response(0x21, 0x84, 1, 2, 20, 3, 9, 4, 5, 6, 7, 8, 10) == pdu.SCSI_RESPONSE.pack(
        overflow=1, response=1, status=2, data_segment_length=20, initiator_task_tag=3, snack_tag=9, exp_data_sn=7,
        bidirectional_read_residual_count=8, residual_count=10, **numbers,
    )  # fmt: skip
    assert pdu.pack_r2t(0x31, 0x80, 0, 1 << 48, 3, 9, 4, 5, 6, 7, 8, 10) == pdu.R2T.pack(
        lun=1 << 48, initiator_task_tag=3, target_transfer_tag=9, r2t_sn=7, buffer_offset=8,
        desired_data_transfer_length=10, **numbers,
    )  # fmt: skip


@pytest.mark.parametrize("opcode", list(Opcode))
def test_every_pdu_has_a_layout_of_48_bytes_with_its_opcode(opcode: Opcode) -> None:
    layout = pdu.LAYOUTS[opcode]
    header = layout.pack()
    assert len(header) == pdu.BHS_BYTES
    assert header[0] == opcode


def test_login_response_has_class_and_detail_where_the_standard_says() -> None:
    header = pdu.LOGIN_RESPONSE.pack(status=LoginStatus.NOT_FOUND)
    assert (header[36], header[37]) == (2, 3)  # RFC 7143 11.13


def test_refusals_say_what_and_why() -> None:
    assert "0x0203 not found" in str(LoginError(LoginStatus.NOT_FOUND, "there is no target x"))
    assert "snack reject" in str(RejectPdu(RejectReason.SNACK_REJECT, "level 0"))
