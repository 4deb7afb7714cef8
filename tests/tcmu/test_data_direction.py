"""Direction and length rules, against the standards' CDB formats."""

from __future__ import annotations

import pytest

from tcmu_gluster.tcmu.data_direction import DATA_OUT, length_fits


@pytest.mark.parametrize(
    "opcode", [0x00, 0x08, 0x12, 0x1A, 0x25, 0x28, 0x5A, 0x5E, 0x7F, 0x84, 0x88, 0x9E, 0xA0, 0xA3, 0xA8]
)
def test_data_in_is_never_taken_for_data_out(opcode: int) -> None:
    """Or bytes that nobody wrote would reach the initiator."""
    assert not DATA_OUT[opcode]


@pytest.mark.parametrize("opcode", [0x0A, 0x15, 0x2A, 0x41, 0x42, 0x55, 0x5F, 0x83, 0x89, 0x8A, 0x93, 0xAA])
def test_data_out_needs_no_zeros(opcode: int) -> None:
    assert DATA_OUT[opcode]


@pytest.mark.parametrize(
    ("cdb", "blocks"),
    [
        ("08 000000 01 00", 1),
        ("0a 000000 00 00", 256),
        ("28 00 00000000 00 1234 00", 0x1234),
        ("a8 00 00000000 12345678 00 00", 0x12345678),
        ("88 00 0000000000000000 12345678 00 00", 0x12345678),
    ],
)
def test_transfer_length_is_where_sbc_has_it(cdb: str, blocks: int) -> None:
    command = bytes.fromhex(cdb)
    wanted = blocks * 4096
    assert length_fits(command, wanted, 4096)
    assert not length_fits(command, wanted - 1, 4096)


@pytest.mark.parametrize(
    ("cdb", "announced", "fits"),
    [
        ("28 00 00000000 00 0002 00", 1024, True),
        ("28 00 00000000 00 0002 00", 4096, True),
        ("28 00 00000000 00 0002 00", 1023, False),
        ("2a 00 00000000 00 0002 00", 1024, True),
        ("2a 00 00000000 00 0002 00", 1025, False),
        ("2a 00 00000000 00 0002 00", 512, False),
        ("89 00 0000000000000000 000000 02 00 00", 1024, True),  # its handler finds what is wrong with the CDB first
        ("8a 00 0000000000000000 ffffffff 00 00", 0xFFFFFFFF, False),
        ("12 00 00 00ff 00", 5, True),
        ("42 00 00000000 00 0018 00", 24, True),
        ("00 00 00 0000 00", 0, True),
    ],
)
def test_lengths_that_fit(cdb: str, announced: int, fits: bool) -> None:
    assert length_fits(bytes.fromhex(cdb), announced, 512) is fits
