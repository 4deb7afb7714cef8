"""The engine's sockets: real connections on loopback, driven by the sans-IO initiator."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct

import pytest

from handler import iscsi_front
from handler.iscsi_front import IscsiFront, _rest
from handler.targets import TargetDirectory
from tcmu_gluster.backends.memory import MemoryBackend
from tcmu_gluster.config.addresses import Portal
from tcmu_gluster.errors import ConfigError
from tcmu_gluster.iscsi.admission import Admission, Limits
from tcmu_gluster.iscsi.buffers import BufferPool
from tcmu_gluster.iscsi.chap import Account, credentials
from tcmu_gluster.iscsi.pdu import Opcode
from tcmu_gluster.iscsi.settings import DEFAULTS, Settings
from tests.doubles.backends import SlowBackend
from tests.handler.engine import engine, one_initiator


def read_10(lba: int, blocks: int) -> bytes:
    return struct.pack(">BBIBHB", 0x28, 0, lba, 0, blocks, 0)


def write_10(lba: int, blocks: int) -> bytes:
    return struct.pack(">BBIBHB", 0x2A, 0, lba, 0, blocks, 0)


def test_what_is_written_is_read_back_in_sizes_that_need_many_pdus():
    async def story():
        async with engine() as running:
            client = await running.connect()
            await client.ready()
            data = os.urandom(3 << 20)
            assert (await client.scsi(write_10(8, 6144), data_out=data)).status == 0
            task = await client.scsi(read_10(8, 6144), read=len(data))
            assert task.status == 0 and task.data == data

    asyncio.run(story())


def test_commands_that_end_later_are_answered_and_in_the_meantime_others_are_served():
    async def story():
        backend = SlowBackend(MemoryBackend("slow-front", 1 << 20))
        async with engine(backend) as running:
            client = await running.connect()
            await client.ready()
            first = client.initiator.scsi(read_10(0, 8), read=4096)
            second = await client.scsi(bytes((0x12, 0, 0, 0, 36, 0)), read=36)
            assert second.status == 0 and first.status is None
            backend.run()
            await client.until(lambda: first.status is not None)
            assert first.status == 0 and first.data == bytes(4096)

    asyncio.run(story())


def test_a_second_login_with_the_same_isid_replaces_the_session_and_works():
    async def story():
        async with engine() as running:
            old = await running.connect()
            await old.ready()
            new = await running.connect()
            await new.ready()
            await old.closed()
            assert old.ended
            assert (await new.scsi(read_10(0, 1), read=512)).status == 0
            assert len(list(running.front.sessions())) == 1

    asyncio.run(story())


def test_two_initiators_see_each_others_data_and_end_apart():
    async def story():
        async with engine() as running:
            one = await running.connect(name="iqn.2026-01.example:one")
            two = await running.connect(name="iqn.2026-01.example:two")
            await one.ready()
            await two.ready()
            await one.scsi(write_10(5, 1), data_out=b"x" * 512)
            one.close()
            assert (await two.scsi(read_10(5, 1), read=512)).data == b"x" * 512

    asyncio.run(story())


def test_nobody_comes_in_without_a_rule():
    async def story():
        async with engine(rules=()) as running:
            client = await running.connect()
            await client.login()
            assert client.initiator.login_status == 0x0202  # RFC 7143 11.13.5: authorization failure
            await client.closed()
            assert not running.front.peers

    asyncio.run(story())


def test_a_vanished_initiator_leaves_nothing_behind():
    async def story():
        backend = SlowBackend(MemoryBackend("vanish-front", 1 << 20))
        async with engine(backend) as running:
            client = await running.connect()
            await client.ready()
            client.initiator.scsi(read_10(0, 128), read=65536)
            client.writer.write(client.initiator.take())
            while not running.unit.tasks.running:
                await asyncio.sleep(0)
            client.writer.transport.abort()
            while running.front.peers:
                await asyncio.sleep(0)
            backend.run()
            assert not running.unit.tasks.running
            assert running.front.pool.handed_out_bytes == 0
            assert not list(running.front.sessions())

    asyncio.run(story())


def test_garbage_closes_the_connection_and_hurts_nobody_else():
    async def story():
        async with engine() as running:
            good = await running.connect()
            await good.ready()
            for garbage in (os.urandom(4096), b"GET / HTTP/1.1\r\n\r\n" * 10, bytes(48), b"\xff" * 48):
                bad = await running.connect(name="iqn.2026-01.example:bad")
                bad.writer.write(garbage)
                bad.writer.write_eof()
                while await asyncio.wait_for(bad.reader.read(65536), 10):
                    pass
            assert (await good.scsi(read_10(0, 1), read=512)).status == 0
            assert len(running.front.peers) == 1

    asyncio.run(story())


def test_a_peer_that_takes_nothing_is_not_read_from_and_is_dropped_in_time(monkeypatch):
    monkeypatch.setattr(iscsi_front, "LARGEST_BACKLOG_BYTES", 1 << 20)

    async def story():
        async with engine() as running:
            client = await running.connect()
            await client.ready()
            other = await running.connect(name="iqn.2026-01.example:other")
            await other.ready()
            (stuck,) = (peer for peer in running.front.peers if peer.session.initiator_name.endswith("initiator"))
            for _ in range(100):
                client.initiator.scsi(read_10(0, 2048), read=1 << 20)
            client.writer.write(client.initiator.take())
            while stuck.stuck_at is None or stuck._reading:
                await asyncio.sleep(0.001)
            assert (await other.scsi(read_10(0, 1), read=512)).status == 0
            stuck.look_at_clock(stuck.stuck_at + DEFAULTS.slow_reader_seconds - 1)
            assert stuck in running.front.peers
            stuck.look_at_clock(stuck.stuck_at + DEFAULTS.slow_reader_seconds)
            assert stuck not in running.front.peers

    asyncio.run(story())


def test_slow_readers_of_one_address_take_only_its_share_of_the_memory():
    async def story():
        bounds = Settings(address_buffer_bytes=1 << 20, connection_buffer_bytes=1 << 20)
        async with engine(settings=bounds, pool=BufferPool(2 << 20)) as running:
            for number in range(4):
                slow = await running.connect(
                    name=f"iqn.2026-01.example:slow-{number}", isid=bytes((0x80, 0, 0, 0, 0, number))
                )
                await slow.ready()
                for _ in range(100):
                    slow.initiator.scsi(read_10(0, 512), read=256 << 10)
                slow.writer.write(slow.initiator.take())
            while sum(peer.stuck_at is not None for peer in running.front.peers) == 0:
                await asyncio.sleep(0.001)
            good = await running.connect(source="127.0.0.2", name="iqn.2026-01.example:good")
            await good.ready()
            task = await good.scsi(read_10(0, 2048), read=1 << 20)
            assert task.status == 0 and len(task.data) == 1 << 20
            assert any(peer.stuck_at is not None for peer in running.front.peers), "they still hold what they had"

    asyncio.run(story())


def test_how_slowly_a_peer_may_take_its_answers_is_a_setting():
    async def story():
        settings = Settings(slow_reader_seconds=2.0, slow_reader_bytes=1000)
        async with one_initiator(settings=settings) as (running, _, peer):
            for taken, at, stays in ((0, 101.9, True), (1000, 102.0, True), (999, 102.0, False)):
                peer.stuck_at, peer._taken_bytes, peer.connection._heard = 100.0, taken, 100.0
                peer.look_at_clock(at)
                assert (peer in running.front.peers) == stays

    asyncio.run(story())


def test_a_peer_that_takes_a_trickle_is_dropped_too_and_one_that_takes_enough_is_not():
    async def story():
        async with one_initiator() as (running, _, peer):
            for taken, stays in ((DEFAULTS.slow_reader_bytes, True), (DEFAULTS.slow_reader_bytes - 1, False)):
                peer.stuck_at, peer._taken_bytes = 100.0, taken
                peer.connection._heard = 100.0
                peer.look_at_clock(100.0 + DEFAULTS.slow_reader_seconds)
                assert (peer in running.front.peers) == stays
                assert not stays or (peer.stuck_at, peer._taken_bytes) == (100.0 + DEFAULTS.slow_reader_seconds, 0)

    asyncio.run(story())


@pytest.mark.parametrize("begun", ["a header", "data", "text"])
def test_a_peer_that_never_finishes_what_it_has_begun_is_dropped_even_if_it_lives(begun):
    async def story():
        async with one_initiator() as (running, client, peer):
            initiator = client.initiator
            if begun == "text":
                initiator.text({"SendTargets": ""}, final=False, continues=True)
            else:
                initiator.answer_r2t = begun == "a header"
                initiator.scsi(write_10(0, 128), data_out=bytes(65536), immediate_data=0)
            stream = initiator.take()
            client.writer.write(stream[:20] if begun == "a header" else stream)
            while not peer.connection.owes:
                await asyncio.sleep(0.001)
            for now in (1000.0, 1029.0, 1059.9):
                peer.connection.taken(now)
                peer.connection._progress = now
                peer.look_at_clock(now)
            assert peer in running.front.peers
            peer._incoming.moved = DEFAULTS.slow_sender_bytes
            peer.look_at_clock(1060.0)
            assert peer in running.front.peers, "slow is not too slow"
            peer.connection.taken(1119.9)
            peer.connection._progress = 1119.9
            peer.look_at_clock(1120.0)
            assert peer not in running.front.peers and "too slowly" in peer.connection.why

    asyncio.run(story())


def test_a_peer_that_takes_its_answers_slowly_but_steadily_lives():
    """Its ping stands behind what it takes: seconds of it, on a slow line."""

    async def story():
        async with one_initiator() as (running, client, peer):
            for _ in range(40):
                client.initiator.scsi(read_10(0, 2048), read=1 << 20)
            client.writer.write(client.initiator.take())
            while peer.stuck_at is None:
                await asyncio.sleep(0.001)
            peer.connection._heard, peer.connection._asked_at = -1000.0, -500.0
            while peer.connection._heard < 0:  # a socket that is full takes more only when much of it has gone
                assert await client.reader.read(1 << 20)
            assert peer.connection._asked_at is None
            peer.look_at_clock(running.front.loop.time())
            assert peer in running.front.peers

    asyncio.run(story())


@pytest.mark.parametrize("how", ["session ended", "asked to log out"])
def test_what_a_connection_still_has_to_send_does_not_keep_it_beyond_its_time(how):
    """closing_seconds are for all that waits, also for a peer that takes just enough of it to be no slow reader."""

    async def story():
        async with one_initiator() as (running, client, peer):
            for _ in range(20):
                client.initiator.scsi(read_10(0, 2048), read=1 << 20)
            client.writer.write(client.initiator.take())
            while peer.stuck_at is None:
                await asyncio.sleep(0.001)
            now = running.front.loop.time()
            if how == "session ended":
                running.front.end_session(peer.session, "it may not log in any more")
            else:
                peer.connection.request_logout(now)
            peer.look_at_clock(now + DEFAULTS.closing_seconds - 1)
            assert peer in running.front.peers
            peer.look_at_clock(now + DEFAULTS.closing_seconds + 1)
            assert peer not in running.front.peers

    asyncio.run(story())


def test_idle_connections_of_one_address_are_limited_and_others_log_in(caplog):
    async def story():
        admission = Admission(Limits(logins_per_address=8))
        async with engine(admission=admission) as running:
            crowd = [socket.socket() for _ in range(100)]
            for one in crowd:
                one.bind(("127.0.0.66", 0))
                one.connect((running.portal.address, running.portal.port))
            other = await running.connect()
            await other.ready()
            assert (await other.scsi(read_10(0, 1), read=512)).status == 0
            while admission.turned_away < 92:
                await asyncio.sleep(0.001)
            assert len(running.front.peers) == 9 and admission.logins == 8
            for one in crowd:
                one.close()
            while admission.logins:
                await asyncio.sleep(0.001)
            again = await running.connect(source="127.0.0.66", name="iqn.2026-01.example:again")
            await again.ready()
        assert admission.connections == 0

    asyncio.run(story())
    assert len([record for record in caplog.records if "closed at once" in record.message]) == 1


def test_a_crowd_at_the_door_waits_while_those_who_are_in_are_served():
    async def story():
        admission = Admission()
        async with engine(admission=admission) as running:
            inside = await running.connect()
            await inside.ready()
            crowd = [socket.create_connection((running.portal.address, running.portal.port)) for _ in range(100)]
            for _ in range(3):
                assert (await inside.scsi(read_10(0, 1), read=512)).status == 0
            assert admission.connections < 50
            while admission.connections + admission.turned_away < 101:
                await asyncio.sleep(0.001)
            for one in crowd:
                one.close()

    asyncio.run(story())


def test_discovery_sessions_stay_among_those_that_have_not_logged_in():
    async def story():
        admission = Admission(Limits(logins_per_address=2))
        async with engine(admission=admission) as running:
            for number in range(2):
                client = await running.connect(discovery=True, name=f"iqn.2026-01.example:{number}")
                await client.login()
                assert client.initiator.full_feature
            third = await running.connect()
            await third.closed()
            assert third.ended and admission.turned_away == 1

    asyncio.run(story())


def test_a_wrong_password_waits_longer_each_time_and_the_right_one_does_not():
    async def story():
        limits = Limits(first_delay_seconds=3600.0, longest_delay_seconds=3600.0)
        account = Account(credentials("u", "correct-horse"))
        async with engine(admission=Admission(limits), account=account) as running:
            bad = await running.connect(chap=("u", "wrong-horse-x"), name="iqn.2026-01.example:bad")
            bad.initiator.login()
            held = next(iter(running.front.peers))
            while held.in_login:
                bad.writer.write(bad.initiator.take())
                with contextlib.suppress(asyncio.TimeoutError):
                    bad.initiator.feed(await asyncio.wait_for(bad.reader.read(65536), 0.05))
            assert bad.initiator.login_status == 0 and held in running.front.peers, "the answer waits"
            good = await running.connect(chap=("u", "correct-horse"))
            await good.ready()
            held.look_at_clock(running.front.loop.time() + 3600.0)
            await bad.closed()
            assert bad.initiator.login_status == 0x0201  # RFC 7143 11.13.5
            assert running.front.admission.failures() == {"127.0.0.1": 1}

    asyncio.run(story())


def test_a_login_that_stalls_is_ended():
    async def story():
        async with engine(settings=Settings(login_seconds=0.0)) as running:
            client = await running.connect()
            await client.closed()
            assert client.ended and not running.front.peers

    asyncio.run(story())


def test_stop_asks_for_logout_and_then_closes():
    async def story():
        async with engine() as running:
            client = await running.connect()
            await client.ready()
            stopping = asyncio.ensure_future(running.front.stop(10))
            await client.until(lambda: bool(client.initiator.answers(Opcode.ASYNC_MESSAGE)))
            client.initiator.logout()
            await client.closed()
            await asyncio.wait_for(stopping, 5)
            with pytest.raises(OSError):
                await running.connect()

    asyncio.run(story())


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_ipv6_portals_serve_too():
    async def story():
        async with engine(address="::1") as running:
            client = await running.connect()
            await client.ready()
            assert (await client.scsi(read_10(0, 1), read=512)).status == 0

    asyncio.run(story())


def test_a_portal_that_is_taken_or_not_ours_is_refused_with_a_sentence():
    async def story():
        front = IscsiFront(asyncio.get_running_loop(), TargetDirectory())
        portal = front.listen(Portal("127.0.0.1", 0))
        with pytest.raises(ConfigError, match="in use"):
            front.listen(portal)
        with pytest.raises(ConfigError, match="not an address of this machine"):
            front.listen(Portal("192.0.2.1", 0))
        with pytest.raises(ConfigError, match=f"{portal}, which is served here, exclude each other"):
            front.listen(Portal("0.0.0.0", portal.port))
        with pytest.raises(ConfigError, match="in use by another program"):
            front.listen(portal)
        await front.stop(0)

    asyncio.run(story())


@pytest.mark.parametrize("sent", range(11))
def test_the_rest_of_what_was_sent_in_part_follows_byte_for_byte(sent):
    buffers = [b"abc", b"", b"defg", memoryview(b"hij")]
    assert b"".join(map(bytes, _rest(buffers, sent))) == b"abcdefghij"[sent:]


def test_without_descriptors_the_listener_rests_and_then_goes_on(monkeypatch, caplog):
    monkeypatch.setattr(iscsi_front, "PAUSE_SECONDS", 0.05)

    class Exhausted:
        """A listener whose process has no descriptor left, for a while."""

        def __init__(self, listener):
            self.listener, self.left, self.asked = listener, 3, 0

        def fileno(self):
            return self.listener.fileno()

        def accept(self):
            self.asked += 1
            if self.left:
                self.left -= 1
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return self.listener.accept()

    async def story():
        async with engine() as running:
            front = running.front
            (listener,) = front._listeners.values()
            wrapped = Exhausted(listener)
            front.loop.remove_reader(listener)
            front.loop.add_reader(wrapped, front._accept, wrapped, front.directory.behind(running.portal))
            client = await running.connect()
            await client.ready()
            assert wrapped.left == 0 and wrapped.asked <= 6
            front.loop.remove_reader(wrapped)

    asyncio.run(story())
    assert len([record for record in caplog.records if "Too many open files" in record.message]) == 3
