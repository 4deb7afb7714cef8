"""Hostile initiators: any stream of PDUs, any text in a login.  Whatever they send, the engine does not raise, stays
within its memory, keeps its numbers right, gives everything back at the end, and serves the next initiator."""

from __future__ import annotations

import itertools

from tcmu_gluster.errors import ProtocolError
from tcmu_gluster.iscsi import pdu, text
from tcmu_gluster.iscsi.auth import Authenticator
from tcmu_gluster.iscsi.buffers import BufferPool
from tcmu_gluster.iscsi.chap import Account, Algorithm, Challenges, ChapAuthenticator, credentials
from tcmu_gluster.iscsi.life import State
from tests.doubles.initiator import Initiator
from tests.doubles.iscsi_wire import Directory, Wire
from tests.fuzz.reader import Reader

CHUNKS = (0, 1, 7, 48)
POOL_BYTES = 32 << 20
LONGEST_RETAINED_SECONDS = 7201.0
"""Time2Wait and Time2Retain are at most 3600 each (RFC 7143 13.15, 13.16)."""
USER, PASSWORD = "alice", "correct-horse-battery"
DAMAGED, IN_ORDER, REQUEST_TAG = 1, 2, 4


def pdu_stream(data: bytes) -> None:
    """A logged-in session or a fresh connection, then PDUs: raw bytes, or headers made to fit what follows them."""
    reader = Reader(data)
    mode = reader.byte()
    initiator = Initiator()
    initiator.keys["MaxRecvDataSegmentLength"] = "262144"
    wire = Wire(initiator=initiator, login=bool(mode & 1), hold=bool(mode & 2), pool=BufferPool(POOL_BYTES))
    initiator.keys["MaxRecvDataSegmentLength"] = str(1 << 24)  # a text request may have changed it
    wire.chunk = CHUNKS[mode >> 2 & 3]
    if mode & 16:
        wire.give(reader.rest())
    while not reader.empty and not wire.connection.wants_close:
        wire.give(next_pdu(reader, initiator))
        take_answers(wire, listens=bool(mode & 1))
    take_answers(wire, listens=bool(mode & 1))
    end(wire, silent=bool(mode & 32))
    if mode & 64:
        check_others_are_served(wire)


def next_pdu(reader: Reader, initiator: Initiator) -> bytes:
    """A header with the right lengths and, if so chosen, the right CmdSN; then its data."""
    flags = reader.byte()
    header = bytearray(reader.take(48).ljust(48, b"\0"))
    data = reader.take(reader.byte() * (4 if flags & 8 else 1))
    if not flags & DAMAGED:
        header[4] = 0
        header[5:8] = len(data).to_bytes(3, "big")
    if flags & IN_ORDER:
        immediate = bool(header[0] & 0x40)
        header[24:28] = initiator.number(immediate).to_bytes(4, "big")
    if flags & REQUEST_TAG:
        header[16:20] = (header[19] & 3).to_bytes(4, "big")
    return bytes(header) + data + bytes(-len(data) % 4)


def take_answers(wire: Wire, *, listens: bool) -> None:
    """What the target sends is well-formed and numbered without a gap."""
    answer = wire.fetch()
    if listens:
        wire.initiator.feed(answer)
    assert wire.pool.handed_out_bytes <= 2 * POOL_BYTES


def end(wire: Wire, *, silent: bool) -> None:
    """The peer falls silent or goes away: nothing is kept."""
    connection = wire.connection
    for _ in range(50 if silent else 0):
        deadline = connection.next_deadline()
        if deadline is None:
            break
        wire.now = max(wire.now, deadline)
        connection.handle_timeout(wire.now)
        wire.run()
        wire.fetch()
    wire.finish()
    connection.closed(wire.now, "gone")
    wire.run()
    wire.finish()
    wire.fetch()
    assert connection.state is State.DEAD and connection.next_deadline() is None
    wire.registry.handle_timeout(wire.now + LONGEST_RETAINED_SECONDS)
    wire.run()
    wire.finish()
    wire.fetch()
    assert not len(wire.registry), "a session that outlives its connections and their recovery"
    assert wire.pool.handed_out_bytes == 0 and wire.pool.waiting == 0


def check_others_are_served(wire: Wire) -> None:
    """The next initiator finds a working target."""
    other = Wire(beside=wire)
    task = other.read(0, 4096)
    other.pump()
    assert task.status == 0 and len(task.data) == 4096


def counting() -> Challenges:
    """Challenges that are the same in every run."""
    counter = itertools.count(1)
    return Challenges(lambda length: next(counter).to_bytes(length, "big"))


def authenticator() -> Authenticator:
    """Both directions, every algorithm."""
    own = credentials("target", "staple-of-the-target")
    return ChapAuthenticator(Account(credentials(USER, PASSWORD), own, True), counting(), Algorithm.MD5)


def text_keys(data: bytes) -> None:
    """Texts in login requests of any stage, then in a text request; the codec by itself."""
    reader = Reader(data)
    mode = reader.byte()
    directory = Directory(authenticator=authenticator) if mode & 1 else Directory()
    wire = Wire(login=False, directory=directory, pool=BufferPool(POOL_BYTES))
    identity = wire.initiator.identity() if mode & 2 else {}
    for _ in range(4):
        if reader.empty or wire.initiator.full_feature or wire.connection.wants_close:
            break
        stages, body = reader.byte(), reader.take(reader.number(2) & 0x3FF)
        check_codec(body)
        send_login(wire, stages, text.encode(identity.items()) + body)
        identity = {}
    if wire.initiator.full_feature:
        wire.initiator.header_digest = wire.initiator.data_digest = False
        wire.initiator.queue(
            pdu.TEXT_REQUEST, reader.rest()[:2000], final=True, initiator_task_tag=9, target_transfer_tag=pdu.NO_TAG,
            cmd_sn=wire.initiator.number(),
        )  # fmt: skip
        wire.give(wire.initiator.take())
    wire.fetch()
    end(wire, silent=False)


def send_login(wire: Wire, stages: int, body: bytes) -> None:
    """One Login Request whose flags are the fuzzer's; the answer decides whether there is another."""
    initiator = wire.initiator
    initiator.queue(
        pdu.LOGIN_REQUEST, body, immediate=1, transit=stages >> 7, continues=stages >> 6 & 1,
        current_stage=stages >> 2 & 3, next_stage=stages & 3, isid=initiator.isid, cmd_sn=initiator.cmd_sn,
        initiator_task_tag=1,
    )  # fmt: skip
    wire.give(initiator.take())
    answer = wire.fetch()
    if len(answer) >= 48 and answer[0] & 0x3F == pdu.Opcode.LOGIN_RESPONSE:
        fields = pdu.LOGIN_RESPONSE.unpack(answer[:48])
        initiator.full_feature = bool(not fields.status and fields.transit and fields.next_stage == 3)


def check_codec(body: bytes) -> None:
    """Pairs that were read are written and read again the same."""
    try:
        pairs = text.decode(body)
    except ProtocolError:
        return
    assert text.decode(text.encode(pairs)) == pairs
