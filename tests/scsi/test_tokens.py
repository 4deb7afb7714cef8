"""ROD tokens: what is in them, how long they live, what ends them."""

from __future__ import annotations

import pytest

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.command import Nexus
from tcmu_gluster.scsi.sense import Asc, IllegalRequest
from tcmu_gluster.scsi.tokens import MAXIMUM_TOKENS_EACH, Token, Tokens
from tests.doubles.copying import Daemon


def make(daemon: Daemon, *ranges: tuple[int, int], inactivity: int = 0) -> Token:
    return tokens(daemon).create(daemon.units[0], daemon.host.nexus, ranges or ((0, 8),), inactivity)


def tokens(daemon: Daemon) -> Tokens:
    assert daemon.manager.tokens is not None
    return daemon.manager.tokens


def why(daemon: Daemon, data: bytes) -> Asc:
    with pytest.raises(IllegalRequest) as caught:
        tokens(daemon).find(data)
    return caught.value.asc


def test_its_bytes_are_a_rod_token():  # SPC-4 5.17.6.4
    daemon = Daemon(1)
    data = make(daemon, (0, 8), (100, 4)).data
    assert len(data) == 512
    assert data[0:4] == b"\x00\x80\x00\x01"  # point in time copy, change vulnerable
    assert data[6:8] == b"\x01\xf8"
    assert data[16] == 0xE4 and data[24:40] == daemon.units[0].identity.naa
    assert int.from_bytes(data[48:64], "big") == 12 * 512


def test_it_tells_the_blocks_as_read_capacity_does():  # device type specific data: READ CAPACITY(16) from byte 8 on
    daemon = Daemon(1, block_size_bytes=512, physical_block_bytes=4096)
    capacity = daemon.host.run(cdb.READ_CAPACITY_16.pack(allocation_length=32)).data
    assert make(daemon, (0, 8)).data[96:128] == capacity[8:32] + bytes(8)
    assert capacity[8:16].hex() == "00000200" + "0003" + "c000"


def test_it_names_the_target_that_made_it():  # SPC-4 5.17.6.5.1: a designation descriptor of a SCSI target device
    daemon = Daemon(1)
    nexus = Nexus("iqn.2026-11.test:host", b"\x80\0\0\0\0\1", "iqn.2026-11.test:target")
    token = tokens(daemon).create(daemon.units[0], nexus, ((0, 8),), 0)
    assert token.data[128:132] == bytes.fromhex("53a80018")  # iSCSI, UTF-8; PIV, target device, SCSI name string
    assert token.data[132:256] == b"iqn.2026-11.test:target\0".ljust(124, b"\0")


def test_a_name_that_has_no_room_gives_way_to_the_unit_s():
    daemon = Daemon(1)
    nexus = Nexus("iqn.2026-11.test:host", b"\x80\0\0\0\0\1", "iqn.2026-11.test:" + "t" * 200)
    token = tokens(daemon).create(daemon.units[0], nexus, ((0, 8),), 0)
    assert token.data[128:132] == bytes.fromhex("01230010")  # binary; target device, NAA
    assert token.data[132:148] == daemon.units[0].identity.naa and token.data[148:256] == bytes(108)


def test_two_have_nothing_in_common_that_could_be_guessed():
    daemon = Daemon(1)
    one, two = make(daemon).data, make(daemon).data
    assert one[8:16] != two[8:16] and one[256:320] != two[256:320]


def test_it_is_found_until_it_was_inactive_for_too_long():
    daemon = Daemon(1)
    token = make(daemon, inactivity=30)
    daemon.clock.now += 29
    assert tokens(daemon).find(token.data) is token
    daemon.clock.now += 1
    assert why(daemon, token.data) is Asc.TOKEN_EXPIRED


def test_use_begins_the_time_anew_and_it_does_not_run_out_meanwhile():
    daemon = Daemon(1)
    token = make(daemon, inactivity=30)
    tokens(daemon).hold(token)
    daemon.clock.now += 100
    assert tokens(daemon).find(token.data) is token
    tokens(daemon).release(token)
    daemon.clock.now += 29
    assert tokens(daemon).find(token.data) is token


def test_nothing_lives_longer_than_its_lifetime():
    daemon = Daemon(1)
    token = make(daemon, inactivity=600)
    for _ in range(7):
        daemon.clock.now += 500
        tokens(daemon).hold(token)
        tokens(daemon).release(token)
    assert tokens(daemon).find(token.data) is token
    daemon.clock.now += 100
    assert why(daemon, token.data) is Asc.TOKEN_EXPIRED


def test_a_change_of_one_of_its_blocks_revokes_it_and_no_other():
    daemon = Daemon(1)
    token, other = make(daemon, (10, 5), (100, 5)), make(daemon, (0, 10))
    tokens(daemon).blocks_change(daemon.units[0], 15, 100)
    assert tokens(daemon).find(token.data) is token
    tokens(daemon).blocks_change(daemon.units[0], 104, 200)
    assert why(daemon, token.data) is Asc.TOKEN_REVOKED
    assert tokens(daemon).find(other.data) is other


@pytest.mark.parametrize("at", [40, 130, 511])
def test_a_changed_bit_makes_it_corrupt(at: int):
    daemon = Daemon(1)
    data = bytearray(make(daemon).data)
    data[at] ^= 1
    assert why(daemon, bytes(data)) is Asc.TOKEN_CORRUPT


def test_bytes_that_are_none_of_ours():
    daemon = Daemon(1)
    good = make(daemon).data
    assert why(daemon, good[:8] + b"stranger" + good[16:]) is Asc.TOKEN_UNKNOWN
    assert why(daemon, good[:6] + b"\x01\xf7" + good[8:]) is Asc.INVALID_TOKEN_LENGTH
    assert why(daemon, b"\x00\x01\x00\x00" + good[4:8] + b"stranger" + good[16:]) is Asc.TOKEN_TYPE_UNSUPPORTED


def test_with_its_unit_it_is_cancelled():
    daemon = Daemon(1)
    token = make(daemon)
    daemon.units[0].copies.leave()
    assert why(daemon, token.data) is Asc.TOKEN_CANCELLED


def test_one_initiator_cannot_have_all():
    daemon = Daemon(1)
    for _ in range(MAXIMUM_TOKENS_EACH):
        make(daemon)
    with pytest.raises(IllegalRequest) as caught:
        make(daemon)
    assert caught.value.asc is Asc.INSUFFICIENT_RESOURCES_TO_CREATE_ROD_TOKEN


def test_a_unit_is_quiet_again_when_its_last_token_is_dead():
    daemon = Daemon(1)
    token = make(daemon)
    assert not daemon.units[0].quiet
    tokens(daemon).end(token, Asc.TOKEN_DELETED)
    assert daemon.units[0].quiet and not daemon.units[0].promised
