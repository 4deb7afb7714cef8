"""The layout of a ROD token, beside tables 111 and 112 of SPC-4."""

from __future__ import annotations

from tcmu_gluster.scsi.rod_token import BLOCK_DEVICE_ZERO, MANAGEMENT_TOKEN_BYTES, ROD_TOKEN, ROD_TOKEN_LENGTH


def test_the_block_device_zero_token() -> None:  # SBC-4 table 31
    data = ROD_TOKEN.pack(rod_type=BLOCK_DEVICE_ZERO, rod_token_length=ROD_TOKEN_LENGTH)
    assert bytes(data) == bytes.fromhex("ffff0001 0000 01f8") + bytes(504)


def test_a_management_token_is_header_and_body() -> None:
    data = ROD_TOKEN.pack(
        number_of_bytes_represented=1 << 40, device_type_specific_data=b"x", extended_rod_token_data=b"y"
    )
    assert data[48:64] == (1 << 40).to_bytes(16, "big")
    assert data[MANAGEMENT_TOKEN_BYTES:][:1] == b"x" and data[256:257] == b"y"
