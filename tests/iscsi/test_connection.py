"""A connection as its shell sees it: time, ends, wakes."""

from __future__ import annotations

import gc
import os
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tcmu_gluster.iscsi import framing, pdu
from tcmu_gluster.iscsi.buffers import BufferPool
from tcmu_gluster.iscsi.chap import Account, Challenges, ChapAuthenticator, credentials
from tcmu_gluster.iscsi.life import State
from tcmu_gluster.iscsi.login import Stage
from tcmu_gluster.iscsi.pdu import LoginStatus
from tcmu_gluster.iscsi.settings import Settings
from tcmu_gluster.iscsi.task_set import ConnectionJoined, SessionEnded, SessionStarted
from tcmu_gluster.scsi.command import Function
from tests.doubles.initiator import Initiator
from tests.doubles.iscsi_wire import TARGET, Directory, Entry, Wire

TIMES = Settings(login_seconds=15, ping_seconds=10, data_seconds=30, closing_seconds=5)


def pass_time(wire: Wire, now: float) -> None:
    """Call handle_timeout at every deadline up to now, as a shell does."""
    connection = wire.connection
    for _ in range(100):
        deadline = connection.next_deadline()
        if deadline is None or deadline > now:
            break
        wire.now = deadline
        connection.handle_timeout(deadline)
        wire.run()
    wire.now = now


def test_a_session_begins_with_an_event_and_ends_with_one() -> None:
    wire = Wire()
    (started,) = wire.events
    assert isinstance(started, SessionStarted)
    assert started.session.target is wire.directory.entries[wire.initiator.target_name].target
    wire.connection.closed(1.0, "gone")
    wire.run()
    ended = wire.events[-1]
    assert isinstance(ended, SessionEnded) and ended.session is started.session and ended.why == "gone"
    wire.connection.closed(2.0)
    wire.run()
    assert len(wire.events) == 2, "once"


def test_a_login_that_stalls_is_dropped() -> None:
    wire = Wire(login=False, settings=TIMES)
    wire.give(bytes(47))
    assert wire.connection.next_deadline() == 15
    pass_time(wire, 14.9)
    assert not wire.connection.wants_close
    pass_time(wire, 15)
    assert wire.connection.state is State.DEAD and wire.connection.next_deadline() is None


@pytest.mark.parametrize("stage", ["nothing", "half a request", "security", "operational"])
def test_a_login_has_one_bound_however_busy_it_is(stage: str) -> None:
    """The time of a login is counted from its connection, and no stage of it begins anew."""
    account = Account(credentials("alice", "correct-horse-bat"))
    directory = Directory(authenticator=lambda: ChapAuthenticator(account, Challenges(os.urandom)))
    wire = Wire(login=False, settings=TIMES, directory=directory if stage == "security" else None)
    initiator, connection = wire.initiator, wire.connection
    expected = {"security": Stage.SECURITY, "operational": Stage.OPERATIONAL}.get(stage, Stage.START)
    for second in range(1, 15):
        pass_time(wire, float(second))
        if stage == "half a request":
            wire.give(b"\x43")
        elif stage != "nothing":
            security = stage == "security"
            keys = {"AuthMethod": "CHAP"} if security else {}
            initiator.login_request({**initiator.identity(), **keys} if second == 1 else {}, stage=0 if security else 1)
            wire.give(initiator.take())
            assert pdu.LOGIN_RESPONSE.unpack(wire.fetch()).status == 0
    assert connection._login.stage is expected and connection.state is State.LOGIN
    pass_time(wire, 14.9)
    assert connection.state is State.LOGIN
    pass_time(wire, 15.0)
    assert connection.state is State.DEAD and "too long" in connection.why


def test_what_the_transport_takes_is_a_sign_of_life() -> None:
    """A ping stands behind the answers that wait: whoever is still taking those can't have heard it."""
    wire = Wire(settings=TIMES)
    pass_time(wire, 10)
    wire.connection.taken(19.0)
    pass_time(wire, 28.9)
    assert wire.connection.state is State.FULL_FEATURE
    pass_time(wire, 39.0)
    assert wire.connection.state is State.DEAD and "answer" in wire.connection.why


def test_what_an_initiator_has_begun_is_owed_until_it_is_whole() -> None:
    wire = Wire()
    connection, initiator = wire.connection, wire.initiator
    assert not connection.owes
    wire.read(0, 512)
    stream = initiator.take()
    wire.give(stream[:20])
    assert connection.owes, "half a header"
    wire.give(stream[20:])
    assert not connection.owes
    initiator.feed(wire.fetch())

    initiator.answer_r2t = False
    task = wire.write(0, b"w" * 65536, immediate_data=0)
    wire.pump()
    assert connection.owes, "Data-Out"
    (r2t,) = initiator.answers(pdu.Opcode.R2T)
    initiator.data_out(task, 0, 65536, r2t.fields.target_transfer_tag)
    stream = initiator.take()
    wire.give(stream[:40_000])
    assert connection.framing.landing and connection.owes
    wire.give(stream[40_000:])
    wire.pump()
    assert task.status == 0 and not connection.owes

    tag = initiator.text({"SendTargets": ""}, final=False, continues=True)
    wire.pump()
    assert connection.owes, "the rest of a text request"
    answer = initiator.answers(pdu.Opcode.TEXT_RESPONSE)[-1].fields
    initiator.text({}, initiator_task_tag=tag, target_transfer_tag=answer.target_transfer_tag)
    wire.pump()
    assert not connection.owes


def test_a_number_that_is_left_out_is_owed_as_long_as_commands_wait_for_it() -> None:
    wire = Wire()
    first = wire.initiator.number()
    early = wire.read(0, 512)
    wire.pump()
    assert early.status is None and wire.connection.owes
    late = wire.read(0, 512, cmd_sn=first)
    wire.pump()
    assert early.status == late.status == 0 and not wire.connection.owes


def test_the_rest_of_a_long_text_answer_is_owed() -> None:
    entries = [Entry(f"iqn.2026-01.example:{number}") for number in range(20)]
    initiator = Initiator(discovery=True)
    initiator.keys = {"MaxRecvDataSegmentLength": "512"}
    wire = Wire(initiator=initiator, directory=Directory(*entries))
    initiator.text({"SendTargets": "All"})
    wire.pump()
    assert initiator.answers(pdu.Opcode.TEXT_RESPONSE)[0].fields.continues and wire.connection.owes


def test_a_silent_initiator_is_pinged_and_dropped_when_it_stays_silent() -> None:
    wire = Wire(settings=TIMES)
    pass_time(wire, 10)
    data = wire.fetch()
    ping = pdu.NOP_IN.unpack(data)
    assert ping.initiator_task_tag == pdu.NO_TAG and ping.target_transfer_tag != pdu.NO_TAG
    assert ping.stat_sn == wire.initiator.exp_stat_sn, "a ping uses up no StatSN"
    pass_time(wire, 19.9)
    assert not wire.connection.wants_close
    pass_time(wire, 20)
    wire.run()
    assert wire.connection.state is State.DEAD
    assert isinstance(wire.events[-1], SessionEnded) and "answer" in wire.events[-1].why


def test_an_initiator_that_answers_pings_lives() -> None:
    wire = Wire(settings=TIMES)
    for now in range(10, 200, 10):
        pass_time(wire, now)
        ping = pdu.NOP_IN.unpack(wire.fetch())
        wire.initiator.queue(
            pdu.NOP_OUT, immediate=1, initiator_task_tag=pdu.NO_TAG, target_transfer_tag=ping.target_transfer_tag,
            cmd_sn=wire.initiator.cmd_sn,
        )  # fmt: skip
        wire.pump()
    assert wire.connection.state is State.FULL_FEATURE


def test_data_that_never_comes_ends_the_connection_even_if_it_talks() -> None:
    wire = Wire(settings=TIMES)
    wire.initiator.answer_r2t = False
    wire.write(0, b"w" * 65536, immediate_data=0)
    wire.pump()
    for now in range(5, 30, 5):
        pass_time(wire, now)
        wire.initiator.nop()
        wire.pump()
    assert not wire.connection.wants_close
    pass_time(wire, 30)
    wire.run()
    assert wire.connection.state is State.DEAD and "owes Data-Out" in wire.connection.why
    assert wire.pool.handed_out_bytes == 0


def test_data_that_comes_slowly_is_waited_for() -> None:
    wire = Wire(settings=TIMES)
    wire.initiator.answer_r2t = False
    task = wire.write(0, b"w" * 65536, immediate_data=0)
    wire.pump()
    wire.initiator.agreed["MaxRecvDataSegmentLength"] = "8192"
    (r2t,) = wire.initiator.answers(pdu.Opcode.R2T)
    wire.initiator.data_out(task, 0, 65536, r2t.fields.target_transfer_tag)
    stream = wire.initiator.take()
    step = len(stream) // 8 + 1
    for index in range(8):
        wire.now = 9.0 * index
        pass_time(wire, wire.now)
        wire.give(stream[index * step : (index + 1) * step])
    wire.pump()
    assert task.status == 0


def test_a_shutdown_asks_for_a_logout_and_waits_a_while() -> None:
    wire = Wire(settings=TIMES)
    wire.connection.request_logout(100.0)
    wire.pump()
    (message,) = wire.initiator.answers(pdu.Opcode.ASYNC_MESSAGE)
    assert (message.fields.async_event, message.fields.parameter3) == (1, 5)  # RFC 7143 11.9.1
    task = wire.read(0, 512)
    wire.pump()
    assert task.status == 0, "commands still run"
    assert wire.connection.next_deadline() == 105
    wire.initiator.logout()
    wire.pump()
    assert wire.connection.state is State.CLOSING and len(wire.initiator.answers(pdu.Opcode.LOGOUT_RESPONSE)) == 1


def test_an_initiator_that_does_not_log_out_is_dropped() -> None:
    wire = Wire(settings=TIMES)
    wire.connection.request_logout(100.0)
    wire.connection.handle_timeout(105.0)
    wire.run()
    assert wire.connection.state is State.DEAD and isinstance(wire.events[-1], SessionEnded)


def test_a_shutdown_during_login_closes_at_once() -> None:
    wire = Wire(login=False)
    wire.connection.request_logout(1.0)
    assert wire.connection.wants_close


def test_closing_does_not_wait_forever() -> None:
    wire = Wire(settings=TIMES)
    wire.initiator.logout()
    wire.give(wire.initiator.take())
    assert wire.connection.state is State.CLOSING and wire.connection.next_deadline() == 5
    wire.connection.handle_timeout(5.0)
    assert wire.connection.state is State.DEAD


def test_a_closed_connection_keeps_no_memory_that_was_received_into() -> None:
    """Its parts refer to each other: without that, buffers stay until the garbage collector comes to the oldest."""
    assert len(Wire().connection.receive_buffer()) > 60_000
    gc.collect()
    tracemalloc.start()
    try:
        gc.disable()
        for _ in range(10):
            other = Wire()
            other.read(0, 512)
            other.give(other.initiator.take())
            other.connection.closed(1.0)
            del other
        taken = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, framing.__file__)])
    finally:
        gc.enable()
        tracemalloc.stop()
    assert sum(trace.size for trace in taken.traces) < 60_000


def test_output_is_counted_until_it_is_taken() -> None:
    wire = Wire()
    wire.read(0, 512)
    wire.give(wire.initiator.take())
    assert wire.connection.output_bytes == 48 + 512
    wire.fetch()
    assert wire.connection.output_bytes == 0


def test_commands_that_were_not_fetched_end_with_the_connection() -> None:
    wire = Wire()
    wire.read(0, 65536)
    stream = wire.initiator.take()
    view = wire.connection.receive_buffer()
    view[: len(stream)] = stream
    wire.connection.received(len(stream), 0.0)
    wire.connection.closed(0.0)
    assert [type(event) for event in wire.connection.commands()] == [SessionEnded]
    assert wire.pool.handed_out_bytes == 0


# -- several connections in one session (MaxConnections 2) -------------------------------------------------------------

TWO = Settings(max_connections=2)


def join(first: Wire, cid: int = 1) -> Wire:
    """A further connection of first's session; CmdSN is shared by hand."""
    initiator = Initiator(cid=cid, tsih=first.initiator.tsih, cmd_sn=first.initiator.cmd_sn)
    initiator.keys = {"MaxRecvDataSegmentLength": "262144"}
    return Wire(beside=first, initiator=initiator, settings=TWO, hold=first.hold)


def pair(hold: bool = False) -> tuple[Wire, Wire]:
    first = Wire({"MaxConnections": "2"}, settings=TWO, hold=hold)
    assert first.initiator.agreed["MaxConnections"] == "2"
    return first, join(first)


def test_two_connections_share_the_window_and_answer_on_their_own() -> None:
    first, second = pair()
    assert first.connection.session is second.connection.session and len(first.registry) == 1
    assert [type(event) for event in second.events] == [ConnectionJoined]
    on_first = first.read(0, 512)
    first.pump()
    second.initiator.cmd_sn = first.initiator.cmd_sn + 1
    early = second.read(0, 512)
    second.pump()
    assert on_first.status == 0 and early.status is None, "a command on the first connection is missing"
    between = first.read(0, 512)
    first.pump()
    second.run()
    second.pump()
    assert between.status == early.status == 0


def test_data_of_a_task_is_taken_over_its_own_connection_alone() -> None:
    """Connection allegiance, RFC 7143 4.2.5.1: all PDUs of a task travel over the connection of its command."""
    first, second = pair()
    second.initiator.agreed.update(first.initiator.agreed)
    first.initiator.answer_r2t = False
    task = first.write(0, b"w" * 8192, immediate_data=0)
    first.pump()
    (r2t,) = first.initiator.answers(pdu.Opcode.R2T)
    second.initiator.data_out(task, 0, 8192, r2t.fields.target_transfer_tag)
    second.pump()
    assert task.status is None and bytes(first.disk.bytes[:8192]) == bytes(8192)
    first.initiator.data_out(task, 0, 8192, r2t.fields.target_transfer_tag)
    first.pump()
    assert task.status == 0 and bytes(first.disk.bytes[:8192]) == b"w" * 8192


def test_a_lost_connection_of_two_aborts_its_tasks_and_leaves_the_session() -> None:
    first, second = pair(hold=True)
    first.management_answer = None
    first.initiator.cmd_sn = second.initiator.cmd_sn
    task = first.read(0, 512)
    first.pump()
    first.connection.closed(1.0)
    first.run()
    (abort,) = first.managed
    assert (abort.function, abort.referenced_tag, abort.asked) == (Function.ABORT_TASK, task.tag, False)
    first.finish()
    first.connection.complete_management(abort, 0)
    assert first.fetch() == b"" and len(first.registry) == 1
    second.initiator.cmd_sn = first.initiator.cmd_sn
    after = second.read(0, 512)
    second.pump()
    second.finish()
    second.pump()
    assert after.status == 0


def test_logout_of_the_other_connection_and_of_the_session() -> None:
    first, second = pair()
    first.initiator.logout(reason=1, cid=1)
    first.pump()
    assert second.connection.wants_close and not first.connection.wants_close and second.woken
    third = join(first, cid=2)
    third.initiator.logout(reason=0)
    third.pump()
    assert first.connection.wants_close and third.connection.wants_close and len(first.registry) == 0


def test_a_login_with_the_same_cid_reinstates_the_connection() -> None:
    first = Wire({"MaxConnections": "1"}, hold=True)
    first.read(0, 512)
    first.pump()
    again = join(first, cid=0)
    assert first.connection.wants_close and not again.connection.wants_close
    assert len(again.registry) == 1 and not any(isinstance(event, SessionEnded) for event in first.events)
    first.run()
    assert first.managed[0].function is Function.ABORT_TASK
    again.initiator.cmd_sn = first.initiator.cmd_sn
    task = again.read(0, 512)
    again.pump()
    again.finish()
    again.pump()
    assert task.status == 0


def test_a_reset_over_one_connection_ends_a_landing_on_another() -> None:
    first, second = pair()
    second.initiator.answer_r2t = False
    second.initiator.agreed.update(first.initiator.agreed)
    task = second.write(0, b"w" * 65536, immediate_data=0)
    second.pump()
    (r2t,) = second.initiator.answers(pdu.Opcode.R2T)
    second.initiator.data_out(task, 0, 65536, r2t.fields.target_transfer_tag)
    stream = second.initiator.take()
    second.give(stream[:100])
    assert second.connection.framing.landing
    first.initiator.manage(Function.LOGICAL_UNIT_RESET)
    first.pump()
    taken = first.pool.take(65536)
    assert taken is not None
    taken[:] = bytes(65536)
    second.give(stream[100:])
    assert bytes(taken) == bytes(65536), "memory of another is not written"
    second.initiator.cmd_sn = second.connection.session.window.expected
    after = second.read(0, 512)
    second.pump()
    assert task.status is None and after.status == 0


@pytest.mark.parametrize("count", [0, 1, 100])
def test_commands_are_returned_once(count: int) -> None:
    wire = Wire()
    for _ in range(count):
        wire.initiator.scsi(bytes(16))
    stream = wire.initiator.take()
    view = wire.connection.receive_buffer()
    view[: len(stream)] = stream
    wire.connection.received(len(stream), 0.0)
    assert len(wire.connection.commands()) == count
    assert wire.connection.commands() == []


# -- damaged conversations ---------------------------------------------------------------------------------------------

TIGHT = Settings(
    receive_buffer_bytes=4096, landing_bytes=512, max_recv_data_segment_bytes=1 << 16, window=8,
    max_transfer_bytes=1 << 20, connection_buffer_bytes=1 << 16,
)  # fmt: skip
KINDS = ("read", "write", "unsolicited", "solicited", "nop", "text", "manage", "logout", "snack")


def converse(wire: Wire, kind: str, blocks: int) -> None:
    """Queue one request."""
    initiator, data = wire.initiator, bytes(512 * blocks)
    if kind == "read":
        wire.read(0, len(data))
    elif kind in ("write", "unsolicited"):
        wire.write(0, data, unsolicited=kind == "unsolicited")
    elif kind == "solicited":
        wire.write(0, data, immediate_data=0)
    elif kind == "nop":
        initiator.nop(bytes(blocks))
    elif kind == "text":
        initiator.text({"SendTargets": ""})
    elif kind == "snack":
        tag = pdu.NO_TAG if blocks % 4 == 1 else blocks % 8
        initiator.queue(
            pdu.SNACK_REQUEST, type=blocks % 4, initiator_task_tag=tag, target_transfer_tag=blocks // 8,
            begin_run=blocks // 4 % 3, run_length=blocks // 12,
        )  # fmt: skip
    elif kind == "manage":
        initiator.manage(blocks % 9, task=next(iter(initiator.tasks.values()), None))
    else:
        initiator.logout(blocks % 3)


@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 40)), min_size=1, max_size=5),
            st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=3),
            st.sampled_from([100, 5000, 1 << 20]),
        ),
        min_size=1, max_size=4,
    ),
    st.sampled_from([
        {}, {"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"}, {"FirstBurstLength": "2048"},
        {"ErrorRecoveryLevel": "1", "HeaderDigest": "CRC32C", "DataDigest": "CRC32C"},
        {"ErrorRecoveryLevel": "2", "DefaultTime2Retain": "20", "MaxConnections": "4", "DataDigest": "CRC32C"},
    ]),
    st.sampled_from([Settings(), TIGHT]), st.booleans(), st.sampled_from([1 << 16, 1 << 24]),
)  # fmt: skip
@example(  # the memory of a kept task that ends goes to one that waited for it, and that ends, too
    [([("read", 1)], [], 100), ([("read", 17), ("read", 33), ("read", 33)], [(1, 32)], 100)],
    {"ErrorRecoveryLevel": "2", "DefaultTime2Retain": "20", "MaxConnections": "4", "DataDigest": "CRC32C"},
    Settings(), False, 1 << 16,
)  # fmt: skip
def test_a_damaged_conversation_ends_without_leaving_anything_behind(
    turns: list[tuple[list[tuple[str, int]], list[tuple[int, int]], int]],
    keys: dict[str, str],
    config: Settings,
    hold: bool,
    memory: int,
) -> None:
    wire = Wire(keys, settings=config, hold=hold, pool=BufferPool(limit_bytes=memory))
    for requests, damage, chunk in turns:
        for kind, blocks in requests:
            converse(wire, kind, blocks)
        stream = bytearray(wire.initiator.take())
        for at, value in damage:
            stream[at % len(stream)] = value
        for at in range(0, len(stream), chunk):
            wire.give(bytes(stream[at : at + chunk]))
            wire.fetch()  # what it says to damaged requests, the double could not follow
        wire.finish()
    wire.connection.closed(0.0)
    wire.run()
    wire.registry.handle_timeout(1000.0)
    wire.run()
    wire.finish()
    assert wire.connection.data_to_send() == []
    assert (wire.pool.handed_out_bytes, wire.pool.waiting, len(wire.registry)) == (0, 0, 0)
    assert wire.connection.intake.open_bursts == 0 and not wire.connection.session.tasks


# -- refused logins ----------------------------------------------------------------------------------------------------


def refused_wire(hold_seconds: float) -> Wire:
    entry = Entry()
    entry.refused.add("iqn.2026-01.example:initiator")
    wire = Wire(login=False, directory=Directory(entry), now=100.0, hold_refusals_seconds=hold_seconds)
    wire.initiator.login()
    wire.pump()
    return wire


def test_a_refused_login_is_told_to_the_shell() -> None:
    wire = refused_wire(0.0)
    (refusal,) = wire.refusals
    assert (refusal.initiator_name, refusal.target_name) == ("iqn.2026-01.example:initiator", TARGET)
    assert refusal.status is LoginStatus.AUTHORIZATION_FAILURE and not refusal.unproved and not refusal.unknown_target
    assert wire.initiator.login_status == LoginStatus.AUTHORIZATION_FAILURE and wire.connection.wants_close


def test_a_refusal_is_held_back_as_long_as_the_shell_says() -> None:
    wire = refused_wire(2.0)
    connection = wire.connection
    assert wire.initiator.login_status is None and not connection.wants_close and not connection.wants_input
    assert connection.next_deadline() == 102.0
    connection.handle_timeout(101.9)
    wire.fetch_into_initiator()
    assert wire.initiator.login_status is None
    connection.handle_timeout(102.0)
    wire.fetch_into_initiator()
    assert wire.initiator.login_status == LoginStatus.AUTHORIZATION_FAILURE
    assert connection.wants_close and connection.next_deadline() == 102.0 + connection.settings.closing_seconds


def test_who_does_not_wait_for_a_refusal_hears_nothing() -> None:
    wire = refused_wire(2.0)
    wire.connection.closed(101.0)
    wire.connection.handle_timeout(102.0)
    assert wire.connection.next_deadline() is None and wire.fetch() == b""


def test_a_shutdown_does_not_wait_for_refusals() -> None:
    wire = refused_wire(2.0)
    wire.connection.request_logout(100.5)
    assert wire.connection.wants_close


def test_what_comes_after_a_refused_login_is_not_looked_at() -> None:
    wire = Wire(login=False, now=100.0, hold_refusals_seconds=2.0)
    wire.initiator.login_request({"InitiatorName": ""}, stage=1, following=3)
    wire.initiator.login()  # in the same segment
    wire.give(wire.initiator.take())
    assert len(wire.refusals) == 1 and wire.fetch() == b"" and len(wire.registry) == 0


def test_names_in_a_refusal_are_bounded() -> None:
    wire = Wire(login=False)
    wire.initiator.login_request(
        {"InitiatorName": "iqn.x", "SessionType": "Normal", "TargetName": "t" * 5000}, stage=1, following=3
    )
    wire.pump()
    (refusal,) = wire.refusals
    assert refusal.unknown_target and refusal.target_name == "t" * 223
