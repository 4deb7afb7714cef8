"""The TCM-USER conversation, as bytes. Messages of the kernel are built here by hand: nlmsghdr {u32 len, u16 type,
u16 flags, u32 seq, u32 pid}, genlmsghdr {u8 cmd, u8 version, u16}, attributes {u16 len, u16 type, data, padding}."""

from __future__ import annotations

import errno
import os
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.tcmu.device_events import Added, Reconfigured, Removed, Resync
from tcmu_gluster.tcmu.netlink import Conversation, NetlinkShell, decode_ack, split_messages
from tcmu_gluster.tcmu.uapi import GenlCommand
from tcmu_gluster.tcmu.uio import UioDevice

FAMILY = 29
NAME = b"tcm-user/3/vm1/gluster/vol@server/vm1\0"
DEVICE, MINOR, PAD, DEV_CFG, DEV_SIZE, WRITECACHE, CMD_STATUS, DEVICE_ID, KERN_REPLY = range(1, 10)
ADDED, REMOVED, RECONFIG = 1, 2, 3


def attribute(number: int, data: bytes) -> bytes:
    raw = struct.pack("=HH", 4 + len(data), number) + data
    return raw + bytes(-len(raw) % 4)


def u32(number: int, value: int) -> bytes:
    return attribute(number, struct.pack("=I", value))


def message(command: int, *attributes: bytes, type_: int = FAMILY, version: int = 2) -> bytes:
    body = struct.pack("=BBH", command, version, 0) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), type_, 0, 0, 0) + body


def event(command: int, *more: bytes, name: bytes = NAME, device_id: int = 7, version: int = 2) -> bytes:
    return message(command, attribute(DEVICE, name), u32(MINOR, 5), u32(DEVICE_ID, device_id), *more, version=version)


@pytest.fixture
def conversation() -> Conversation:
    return Conversation(FAMILY, "gluster")


def parse_reply(raw: bytes | None) -> tuple[int, int, dict[int, bytes]]:
    """(genl command, netlink flags, attributes) of what we send."""
    assert raw is not None
    length, type_, flags, _, port = struct.unpack_from("=IHHII", raw)
    assert (length, type_, port) == (len(raw), FAMILY, 0)
    command, version = struct.unpack_from("=BB", raw, 16)
    assert version == 2
    attributes, at = {}, 20
    while at < len(raw):
        size, number = struct.unpack_from("=HH", raw, at)
        attributes[number] = raw[at + 4 : at + size]
        at += size + 3 & ~3
    return command, flags, attributes


def test_added_device_is_told_with_everything_its_name_says(conversation: Conversation) -> None:
    (added,) = conversation.receive(event(ADDED))
    assert isinstance(added, Added)
    assert added.device == UioDevice(5, 3, "vm1", "gluster/vol@server/vm1")
    assert added.device_id == 7


@pytest.mark.parametrize(("command", "done"), [(ADDED, 4), (REMOVED, 5), (RECONFIG, 6)])
def test_each_event_is_answered_once_with_the_done_of_its_kind(
    conversation: Conversation, command: int, done: int
) -> None:
    (asked,) = conversation.receive(event(command))
    sent, flags, attributes = parse_reply(conversation.reply(asked))
    assert sent == done
    assert flags == 0x1 | 0x4  # NLM_F_REQUEST, without which the kernel ignores it, and NLM_F_ACK
    assert attributes == {DEVICE_ID: struct.pack("=I", 7), CMD_STATUS: struct.pack("=i", 0)}
    assert conversation.reply(asked) is None


@pytest.mark.parametrize("error", [errno.ENOENT, -errno.ENOENT])
def test_error_is_always_sent_negative(conversation: Conversation, error: int) -> None:
    (asked,) = conversation.receive(event(ADDED))
    _, _, attributes = parse_reply(conversation.reply(asked, error))
    assert struct.unpack("=i", attributes[CMD_STATUS]) == (-errno.ENOENT,)


def test_no_status_outside_the_kernels_range_of_errno(conversation: Conversation) -> None:
    (asked,) = conversation.receive(event(ADDED))
    _, _, attributes = parse_reply(conversation.reply(asked, 1 << 40))
    assert struct.unpack("=i", attributes[CMD_STATUS]) == (-4095,)


@pytest.mark.parametrize(
    "name",
    [
        b"tcm-user/3/vm1/qcow//x\0",
        b"tcm-user/3/vm1/gluster2/v@h/p\0",
        b"tcm-user/3/vm1/glusterx\0",
        b"tcm-user/3/vm1\0",
        b"uio_pdrv/3/vm1/gluster/v@h/p\0",
        b"tcm-user/x/vm1/gluster/v@h/p\0",
        b"\0",
        b"",
    ],
)
def test_foreign_devices_are_neither_told_nor_answered(conversation: Conversation, name: bytes) -> None:
    assert conversation.receive(event(ADDED, name=name)) == []
    assert conversation.pending == ()
    assert conversation.ignored == 1


def test_a_reconfigured_value_comes_with_the_event(conversation: Conversation) -> None:
    size = attribute(PAD, b"") + attribute(DEV_SIZE, struct.pack("=Q", 20 << 30))
    (resized,) = conversation.receive(event(RECONFIG, size))
    assert isinstance(resized, Reconfigured)
    assert (resized.size_bytes, resized.config, resized.write_cache) == (20 << 30, None, None)
    conversation.reply(resized)
    (renamed,) = conversation.receive(event(RECONFIG, attribute(DEV_CFG, b"gluster/v@h/other\n\0")))
    assert renamed.config == "gluster/v@h/other"
    conversation.reply(renamed)
    for value, on in ((0, False), (1, True), (255, True)):
        (cache,) = conversation.receive(event(RECONFIG, attribute(WRITECACHE, bytes([value]))))
        assert cache.write_cache is on
        conversation.reply(cache)


def test_a_copy_of_an_unanswered_event_is_dropped(conversation: Conversation) -> None:
    (first,) = conversation.receive(event(ADDED))
    assert conversation.receive(event(ADDED)) == []
    assert conversation.reply(first) is not None
    (again,) = conversation.receive(event(ADDED))
    assert conversation.reply(again) is not None


def test_an_event_of_another_kind_voids_the_older_one(conversation: Conversation) -> None:
    """The kernel has one request a device. A DONE of the wrong kind would lose the new waiter for ever."""
    (added,) = conversation.receive(event(ADDED))
    (removed,) = conversation.receive(event(REMOVED))
    assert isinstance(removed, Removed)
    assert conversation.reply(added) is None
    command, _, _ = parse_reply(conversation.reply(removed))
    assert command == GenlCommand.REMOVED_DEVICE_DONE


def test_nothing_is_answered_after_the_kernel_was_reset(conversation: Conversation) -> None:
    (added,) = conversation.receive(event(ADDED))
    conversation.forget()
    assert conversation.reply(added) is None


@pytest.mark.parametrize("raw", [event(ADDED, version=1), message(ADDED, attribute(DEVICE, NAME), u32(MINOR, 5))])
def test_a_kernel_without_the_handshake_is_told_nothing(conversation: Conversation, raw: bytes) -> None:
    (added,) = conversation.receive(raw)
    assert added.device.name == "vm1"
    assert conversation.reply(added) is None


def test_two_devices_are_answered_apart(conversation: Conversation) -> None:
    both = event(ADDED, device_id=1) + b"" + event(ADDED, device_id=2, name=NAME.replace(b"vm1\0", b"vm2\0"))
    first, second = conversation.receive(both)
    _, _, attributes = parse_reply(conversation.reply(second))
    assert attributes[DEVICE_ID] == struct.pack("=I", 2)
    assert conversation.pending == (first,)


def test_messages_of_other_processes_and_families_are_ignored(conversation: Conversation) -> None:
    assert conversation.receive(event(ADDED), sender=4711) == []
    assert conversation.receive(message(ADDED, attribute(DEVICE, NAME), u32(MINOR, 5), type_=16)) == []


def test_a_name_that_is_not_utf8_is_still_a_device(conversation: Conversation) -> None:
    (added,) = conversation.receive(event(ADDED, name=b"tcm-user/3/\xff/gluster/v@h/p\0"))
    assert os.fsencode(added.device.name) == b"\xff"


def test_set_features_says_whether_the_kernel_waits(conversation: Conversation) -> None:
    command, _, attributes = parse_reply(conversation.set_features(True))
    assert (command, attributes) == (7, {KERN_REPLY: b"\1"})
    assert parse_reply(conversation.set_features(False))[2] == {KERN_REPLY: b"\0"}


def test_every_prefix_of_a_message_is_survived(conversation: Conversation) -> None:
    whole = event(RECONFIG, attribute(DEV_SIZE, struct.pack("=Q", 1 << 30)))
    for length in range(len(whole)):
        assert conversation.receive(whole[:length]) == []
        header = struct.pack("=IHHII", length, FAMILY, 0, 0, 0)
        conversation.receive((header + whole[16:])[:length])


@given(st.data())
def test_no_bytes_can_raise_or_be_answered_twice(data: st.DataObject) -> None:
    conversation = Conversation(FAMILY, "gluster")
    raw = bytearray(event(data.draw(st.integers(0, 9)), attribute(DEV_SIZE, bytes(8)), attribute(DEV_CFG, b"x\0")))
    for _ in range(data.draw(st.integers(0, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    for asked in conversation.receive(bytes(raw[: data.draw(st.integers(0, len(raw)))])):
        assert asked.device.subtype == "gluster"
        assert asked.device_id is None or conversation.reply(asked) is not None
        assert conversation.reply(asked) is None
    assert conversation.pending == ()


@given(st.binary(max_size=200))
def test_no_noise_can_raise(noise: bytes) -> None:
    Conversation(FAMILY, "gluster").receive(noise)
    list(split_messages(noise))
    decode_ack(noise, 1)


def test_an_acknowledgement_is_found_by_its_sequence_number() -> None:
    ack = struct.pack("=IHHIIi16x", 36, 2, 0, 12, 0, -errno.ENODEV)
    assert decode_ack(ack, 12) == errno.ENODEV
    assert decode_ack(ack, 13) is None
    assert decode_ack(struct.pack("=IHHIIi16x", 36, 2, 0, 12, 0, 0), 12) == 0


# -- the shell, on the kernel's own controller family where there is no target_core_user ------------------------------


@pytest.fixture
def shell():
    try:
        opened = NetlinkShell("gluster", "nlctrl", "notify")
    except OSError as error:
        pytest.skip(f"no generic netlink here: {error}")
    yield opened
    opened.close()


def test_the_family_and_its_group_are_found(shell: NetlinkShell) -> None:
    assert shell.family.id == 0x10  # GENL_ID_CTRL
    assert shell.receive() == []


def test_a_refused_request_returns_the_kernels_errno(shell: NetlinkShell) -> None:
    assert shell.set_features(True) == errno.EOPNOTSUPP  # the controller knows no command 7


def test_a_missing_family_says_so(shell: NetlinkShell) -> None:
    with pytest.raises(OSError, match="no netlink family TCM-NOBODY") as caught:
        NetlinkShell("gluster", "TCM-NOBODY", "config")
    assert caught.value.errno == errno.ENOENT


def test_lost_events_become_a_resync(shell: NetlinkShell) -> None:
    class Overrun:
        """A socket that lost events once and then has nothing."""

        def __init__(self) -> None:
            self.errors = [OSError(errno.ENOBUFS, "No buffer space available"), BlockingIOError()]

        def recvfrom(self, size: int) -> tuple[bytes, tuple[int, int]]:
            raise self.errors.pop(0)

        def close(self) -> None:
            pass

    shell._listening.close()
    shell._listening = Overrun()
    (lost,) = shell.receive()
    assert isinstance(lost, Resync)


def test_a_datagram_of_another_process_is_ignored(shell: NetlinkShell) -> None:
    port = shell._listening.getsockname()[0]
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as stranger:
        stranger.bind((0, 0))
        try:
            stranger.sendto(event(ADDED), (port, 0))
        except OSError as error:
            pytest.skip(f"this kernel lets nobody send to another process: {error}")
    assert shell.receive() == []
    assert shell.conversation.ignored == 1
