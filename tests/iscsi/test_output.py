"""The list of buffers to send."""

from __future__ import annotations

from tcmu_gluster.iscsi.buffers import BufferPool
from tcmu_gluster.iscsi.output import Output
from tcmu_gluster.iscsi.pdu import NO_TAG, NOP_IN
from tcmu_gluster.iscsi.serial import MASK, CommandWindow
from tests.doubles.initiator import digest


def make() -> Output:
    return Output(BufferPool(), CommandWindow(5, 8))


def test_data_is_padded_to_words_and_counted() -> None:
    output = make()
    output.send(bytes(48), b"abcde")
    assert output.bytes == 56
    assert b"".join(output.drain()) == bytes(48) + b"abcde\0\0\0"
    assert output.bytes == 0 and output.drain() == []


def test_digests_cover_header_and_padded_data() -> None:
    output = make()
    output.header_digest = output.data_digest = True
    output.send_parts(b"h" * 48, (b"ab", b"cde"), 5)
    sent = b"".join(output.drain())
    assert sent == b"h" * 48 + digest(b"h" * 48) + b"abcde\0\0\0" + digest(b"abcde\0\0\0")
    output.send(b"h" * 48)
    assert b"".join(output.drain()) == b"h" * 48 + digest(b"h" * 48), "no data, no data digest"


def test_only_responses_use_up_a_number() -> None:
    output = make()
    output.stat_sn = MASK
    output.announce(NOP_IN, initiator_task_tag=NO_TAG)
    assert output.stat_sn == MASK
    output.respond(NOP_IN, initiator_task_tag=1)
    assert output.stat_sn == 0
    first, second = (NOP_IN.unpack(header) for header in output.drain())
    assert first.stat_sn == second.stat_sn == MASK
    assert (first.exp_cmd_sn, first.max_cmd_sn) == (5, 12)


def test_memory_goes_back_after_what_it_holds_was_sent_and_not_before() -> None:
    output = make()
    view = output.pool.take(20_000)
    assert view is not None
    output.send(bytes(48), view)
    output.returning.append(view)
    output.release()
    assert output.pool.handed_out_bytes
    output.drain()
    assert output.pool.handed_out_bytes
    output.release()
    output.release()
    assert not output.pool.handed_out_bytes


def test_discard_gives_all_memory_back() -> None:
    output = make()
    views = [output.pool.take(20_000) for _ in range(2)]
    for view in views:
        assert view is not None
        output.send(bytes(48), view)
        output.returning.append(view)
        output.discard()
    assert not output.pool.handed_out_bytes and not output.bytes
