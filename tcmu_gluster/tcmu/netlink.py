"""The kernel's netlink conversation about TCMU devices: events in, exactly one answer each, features.

The kernel announces every added, removed and reconfigured device to all listeners. If replies are on, the thread that
wrote configfs then sleeps until somebody answers, without a time-out, and the first answer wins. So: we answer for
devices of our own subtype only, once, with the DONE of the event's kind (a wrong kind would lose the waiter for
ever), and with 0 or a negative errno. Conversation keeps that book and knows bytes only; NetlinkShell has the sockets.

Nothing that arrives can raise: what is short, foreign or not the kernel's is counted and forgotten.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

from pyroute2.netlink import NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR, ctrlmsg, genlmsg
from pyroute2.netlink.exceptions import NetlinkError

from .device_events import Added, DeviceEvent, Event, Reconfigured, Removed, Resync
from .uapi import FAMILY_NAME, FAMILY_VERSION, MULTICAST_GROUP, GenlCommand
from .uio import parse_name

_NETLINK_GENERIC = 16
_SOL_NETLINK = 270
_ADD_MEMBERSHIP = 1
_GENL_CONTROLLER = 0x10
_GETFAMILY = 3
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port id
_RECEIVE_BUFFER_BYTES = 4 << 20
_LONGEST_MESSAGE = 64 << 10
_WORST_ERRNO = 4095
_DECODE_ERRORS = (NetlinkError, struct.error, ValueError, KeyError, IndexError, TypeError)
_PATIENCE_SECONDS = 5.0

_DONE = {
    GenlCommand.ADDED_DEVICE: GenlCommand.ADDED_DEVICE_DONE,
    GenlCommand.REMOVED_DEVICE: GenlCommand.REMOVED_DEVICE_DONE,
    GenlCommand.RECONFIG_DEVICE: GenlCommand.RECONFIG_DEVICE_DONE,
}


class TcmuMessage(genlmsg):  # type: ignore[misc]
    """A message of family TCM-USER; attributes in the order of their numbers (PAD is number 3)."""

    __slots__ = ()
    prefix = "TCMU_ATTR_"
    nla_map = (
        ("TCMU_ATTR_UNSPEC", "none"),
        ("TCMU_ATTR_DEVICE", "asciiz"),
        ("TCMU_ATTR_MINOR", "uint32"),
        ("TCMU_ATTR_PAD", "hex"),
        ("TCMU_ATTR_DEV_CFG", "asciiz"),
        ("TCMU_ATTR_DEV_SIZE", "uint64"),
        ("TCMU_ATTR_WRITECACHE", "uint8"),
        ("TCMU_ATTR_CMD_STATUS", "int32"),
        ("TCMU_ATTR_DEVICE_ID", "uint32"),
        ("TCMU_ATTR_SUPP_KERN_CMD_REPLY", "uint8"),
    )


@dataclass(frozen=True)
class Family:
    """Where the kernel put TCM-USER this time."""

    id: int
    version: int
    group: int


class Conversation:
    """The bookkeeping of one listener, over bytes.

    ignored counts messages that were not for us: foreign devices, other senders, nonsense.
    """

    def __init__(self, family_id: int, subtype: str) -> None:
        self.family_id, self.subtype = family_id, subtype
        self.ignored = 0
        self._pending: dict[int, DeviceEvent] = {}
        self._sequence = 0

    # -- in -----------------------------------------------------------------------------------------------------------

    def receive(self, datagram: bytes, sender: int = 0) -> list[DeviceEvent]:
        """The events of one datagram; sender is its port id, 0 for the kernel."""
        if sender != 0:
            self.ignored += 1
            return []
        events = []
        for type_, message in split_messages(datagram):
            event = self._read(message) if type_ == self.family_id else None
            if event is None:
                self.ignored += 1
            elif self._is_new(event):
                events.append(event)
        return events

    def _is_new(self, event: DeviceEvent) -> bool:
        """Enter it as pending. False for a copy of an event that waits for its answer already.

        Another kind for the same device means that the kernel gave up the first (reset_netlink): that one must not
        be answered any more, since its DONE would hit the new request.
        """
        if event.device_id is None:
            return True
        earlier = self._pending.get(event.device_id)
        if earlier is not None and _same(earlier, event):
            self.ignored += 1
            return False
        self._pending[event.device_id] = event
        return True

    def _read(self, message: bytes) -> Optional[DeviceEvent]:
        """One event of our subtype, or None."""
        try:
            decoded = TcmuMessage(message)
            decoded.decode()
            kind = GenlCommand(decoded["cmd"])
            version = int(decoded["version"])
            values = dict(decoded["attrs"])
        except _DECODE_ERRORS:
            return None
        name, minor = _text(values.get("TCMU_ATTR_DEVICE")), values.get("TCMU_ATTR_MINOR")
        device = parse_name(name, minor) if name is not None and isinstance(minor, int) else None
        if device is None or device.subtype != self.subtype or kind not in _DONE:
            return None
        given = values.get("TCMU_ATTR_DEVICE_ID")
        device_id = given if isinstance(given, int) and version >= FAMILY_VERSION else None
        if kind == GenlCommand.ADDED_DEVICE:
            return Added(kind, device, device_id)
        if kind == GenlCommand.REMOVED_DEVICE:
            return Removed(kind, device, device_id)
        config, cache = _text(values.get("TCMU_ATTR_DEV_CFG")), values.get("TCMU_ATTR_WRITECACHE")
        return Reconfigured(
            kind,
            device,
            device_id,
            config=None if config is None else config.strip(),
            size_bytes=values.get("TCMU_ATTR_DEV_SIZE"),
            write_cache=None if cache is None else cache != 0,
        )

    # -- out ----------------------------------------------------------------------------------------------------------

    @property
    def pending(self) -> tuple[DeviceEvent, ...]:
        """Events that wait for reply()."""
        return tuple(self._pending.values())

    def reply(self, event: DeviceEvent, error: int = 0) -> Optional[bytes]:
        """The answer to send, or None: answered before, given up by the kernel, or from a kernel that wants none.

        error: 0 or an errno of either sign.
        """
        device_id = event.device_id
        if device_id is None or self._pending.get(device_id) is not event:
            return None
        del self._pending[device_id]
        status = -min(abs(int(error)), _WORST_ERRNO)
        return self._encode(_DONE[event.kind], ("TCMU_ATTR_DEVICE_ID", device_id), ("TCMU_ATTR_CMD_STATUS", status))

    def forget(self) -> None:
        """After reset_netlink nobody waits any more for what was pending."""
        self._pending.clear()

    def set_features(self, kernel_waits: bool) -> bytes:
        """SET_FEATURES: whether devices added from now on wait for answers. Module-wide; it outlives us."""
        return self._encode(GenlCommand.SET_FEATURES, ("TCMU_ATTR_SUPP_KERN_CMD_REPLY", int(kernel_waits)))

    def _encode(self, command: GenlCommand, *attributes: tuple[str, int]) -> bytes:
        self._sequence = self._sequence % 0xFFFFFFFF + 1
        message = TcmuMessage()
        message["cmd"], message["version"] = int(command), FAMILY_VERSION
        message["attrs"] = list(attributes)
        return _finish(message, self.family_id, self._sequence)


def _same(one: DeviceEvent, other: DeviceEvent) -> bool:
    return (one.kind, one.device, getattr(one, "config", None), getattr(one, "size_bytes", None),
            getattr(one, "write_cache", None)) == (other.kind, other.device, getattr(other, "config", None),
            getattr(other, "size_bytes", None), getattr(other, "write_cache", None))  # fmt: skip


def _text(value: Any) -> Optional[str]:
    """A string attribute; the kernel does not promise UTF-8."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
    return value.split("\0", 1)[0] if isinstance(value, str) else None


def _finish(message: Any, type_: int, sequence: int) -> bytes:
    message["header"]["type"] = type_
    message["header"]["flags"] = NLM_F_REQUEST | NLM_F_ACK
    message["header"]["sequence_number"] = sequence
    message.encode()
    return bytes(message.data)


def split_messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, message with its header) of each whole message; stops where the framing stops making sense."""
    at = 0
    while at + _HEADER.size <= len(datagram):
        length, type_, _, _, _ = _HEADER.unpack_from(datagram, at)
        if length < _HEADER.size or at + length > len(datagram):
            return
        yield type_, datagram[at : at + length]
        at += length + 3 & ~3


def decode_ack(datagram: bytes, sequence: int) -> Optional[int]:
    """The errno (positive, 0 for success) that the kernel gave to request `sequence`; None if it is not in here."""
    for type_, message in split_messages(datagram):
        long_enough = type_ == NLMSG_ERROR and len(message) >= _HEADER.size + 4
        if long_enough and _HEADER.unpack_from(message)[3] == sequence:
            return -int(struct.unpack_from("=i", message, _HEADER.size)[0])
    return None


def encode_family_request(name: str, sequence: int = 1) -> bytes:
    """CTRL_CMD_GETFAMILY."""
    message = ctrlmsg()
    message["cmd"], message["version"] = _GETFAMILY, 1
    message["attrs"] = [("CTRL_ATTR_FAMILY_NAME", name)]
    return _finish(message, _GENL_CONTROLLER, sequence)


def decode_family(datagram: bytes, group: str) -> Optional[Family]:
    """The family a GETFAMILY answer describes; None if the datagram holds none, or none with that multicast group."""
    for type_, message in split_messages(datagram):
        if type_ != _GENL_CONTROLLER:
            continue
        try:
            decoded = ctrlmsg(message)
            decoded.decode()
            groups = {
                entry.get_attr("CTRL_ATTR_MCAST_GRP_NAME"): entry.get_attr("CTRL_ATTR_MCAST_GRP_ID")
                for entry in decoded.get_attr("CTRL_ATTR_MCAST_GROUPS") or ()
            }
            return Family(decoded.get_attr("CTRL_ATTR_FAMILY_ID"), decoded.get_attr("CTRL_ATTR_VERSION"), groups[group])
        except _DECODE_ERRORS:
            continue
    return None


class NetlinkShell:
    """The two sockets: one listens, the other asks (so that acknowledgements don't mix with events).

    Needs CAP_NET_ADMIN to answer. Raises OSError when opened: ENOENT, the kernel has no target_core_user loaded.
    """

    def __init__(self, subtype: str, family: str = FAMILY_NAME, group: str = MULTICAST_GROUP) -> None:
        self._asking = _open_socket()
        self._listening = _open_socket()
        self._queue: deque[Event] = deque()
        try:
            self._asking.settimeout(_PATIENCE_SECONDS)
            self.family = self._find_family(family, group)
            _enlarge(self._listening)
            self._listening.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, self.family.group)
            self._listening.setblocking(False)
        except OSError:
            self.close()
            raise
        self.conversation = Conversation(self.family.id, subtype)

    def fileno(self) -> int:
        """Readable when there are events."""
        return self._listening.fileno()

    def close(self) -> None:
        """Leave the group; the kernel keeps the features that were set."""
        self._listening.close()
        self._asking.close()

    def receive(self) -> list[Event]:
        """All events there are now. Never blocks."""
        self._drain()
        events = list(self._queue)
        self._queue.clear()
        return events

    def reply(self, event: DeviceEvent, error: int = 0) -> int:
        """Answer an event; returns the kernel's errno (0: done; ENODEV: nobody waited, which is no harm).

        What has arrived meanwhile is read first: a newer event for the device makes this answer void.
        """
        self._drain()
        message = self.conversation.reply(event, error)
        return 0 if message is None else self._ask(message)

    def forget(self) -> None:
        """Nobody waits any more for what was announced so far: reset_netlink was written."""
        self._drain()
        self.conversation.forget()

    def set_features(self, kernel_waits: bool) -> int:
        """Turn replies on or off for the whole module; returns the kernel's errno (EOPNOTSUPP: an old one)."""
        return self._ask(self.conversation.set_features(kernel_waits))

    def _drain(self) -> None:
        while True:
            try:
                datagram, address = self._listening.recvfrom(_LONGEST_MESSAGE)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._queue.append(Resync("the kernel had more events than the socket could hold"))
                continue
            self._queue.extend(self.conversation.receive(datagram, address[0]))

    def _ask(self, message: bytes) -> int:
        """Send a request and wait for its acknowledgement, which the kernel queues before sendto returns."""
        sequence = _HEADER.unpack_from(message)[3]
        self._asking.sendto(message, (0, 0))
        while True:
            try:
                datagram, address = self._asking.recvfrom(_LONGEST_MESSAGE)
            except socket.timeout:
                return errno.ETIMEDOUT
            if address[0] == 0:
                answer = decode_ack(datagram, sequence)
                if answer is not None:
                    return answer

    def _find_family(self, name: str, group: str) -> Family:
        self._asking.sendto(encode_family_request(name), (0, 0))
        while True:
            datagram, address = self._asking.recvfrom(_LONGEST_MESSAGE)
            if address[0] != 0:
                continue
            family = decode_family(datagram, group)
            refused = decode_ack(datagram, 1)
            if family is not None:
                self._asking.recvfrom(_LONGEST_MESSAGE)  # the acknowledgement that follows the answer
                return family
            code = refused or errno.EPROTO
            raise OSError(code, f"the kernel has no netlink family {name} with a group {group}: {os.strerror(code)}")


def _open_socket() -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_GENERIC)
    opened.bind((0, 0))
    return opened


def _enlarge(listening: socket.socket) -> None:
    """A burst of restored devices must fit; the forced way needs CAP_NET_ADMIN."""
    force = getattr(socket, "SO_RCVBUFFORCE", 33)
    try:
        listening.setsockopt(socket.SOL_SOCKET, force, _RECEIVE_BUFFER_BYTES)
    except PermissionError:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
