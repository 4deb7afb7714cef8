"""Bytes to PDUs: cut anywhere, lengths that lie, digests, landings."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcmu_gluster.iscsi import pdu
from tcmu_gluster.iscsi.settings import Settings
from tests.doubles.initiator import Initiator
from tests.doubles.iscsi_wire import Wire

DIGESTS = {"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"}
SMALL = Settings(receive_buffer_bytes=4096, landing_bytes=512, max_recv_data_segment_bytes=1 << 16)
"""Everything lands."""


def talk(wire: Wire) -> tuple[list[int | None], bytes]:
    """A conversation with every kind of PDU; the statuses and what was read back."""
    data = bytes(range(256)) * 32  # 8 KiB
    tasks = [
        wire.write(1, data[:512]),
        wire.read(1, 512),
        wire.write(4, data, unsolicited=True, immediate_data=100),
        wire.write(32, data[:1536], immediate_data=0),
    ]
    wire.initiator.nop(b"seven b")
    wire.initiator.text({"SendTargets": ""})
    wire.pump()
    tasks.append(wire.read(4, 8192))
    wire.initiator.manage(5)
    wire.pump()
    assert len(wire.initiator.answers(pdu.Opcode.NOP_IN)) == 1
    assert wire.initiator.answers(pdu.Opcode.NOP_IN)[0].data == b"seven b"
    assert len(wire.initiator.answers(pdu.Opcode.TEXT_RESPONSE)) == 1
    assert len(wire.managed) == 1
    return [task.status for task in tasks], tasks[-1].data


@pytest.mark.parametrize("keys", [{}, DIGESTS, {"HeaderDigest": "CRC32C"}, {"DataDigest": "CRC32C"}])
@pytest.mark.parametrize("chunk", [0, 1, 47, 48, 1000])
@pytest.mark.parametrize("config", [Settings(), SMALL])
def test_conversation_cut_anywhere(keys: dict[str, str], chunk: int, config: Settings) -> None:
    wire = Wire(keys, chunk=chunk, settings=config)
    statuses, data = talk(wire)
    assert statuses == [0] * 5
    assert data == bytes(range(256)) * 32
    assert wire.pool.handed_out_bytes == 0


@given(
    st.sampled_from([{}, DIGESTS]), st.sampled_from([Settings(), SMALL]), st.integers(0, 4096),
    st.lists(st.integers(1, 3000), max_size=8),
)  # fmt: skip
def test_conversation_in_pieces_of_any_length(
    keys: dict[str, str], config: Settings, immediate: int, sizes: list[int]
) -> None:
    wire = Wire(keys, settings=config)
    payload = b"abcdefgh" * 512
    task = wire.write(0, payload, unsolicited=True, immediate_data=immediate)
    stream = wire.initiator.take()
    for size in (*sizes, len(stream)):
        wire.give(stream[:size])
        stream = stream[size:]
    wire.pump()
    assert task.status == 0 and wire.disk.bytes[:4096] == payload


def test_large_writes_land_in_the_commands_own_memory() -> None:
    keys = {"MaxBurstLength": "1048576", "FirstBurstLength": "1048576"}
    wire = Wire(keys, hold=True, settings=Settings(first_burst_bytes=1 << 20))
    data = b"0123456789abcdef" * (1 << 16)
    wire.write(0, data)
    stream = wire.initiator.take()
    view = wire.connection.receive_buffer()
    view[:1000] = stream[:1000]
    wire.connection.received(1000, 0.0)
    landing = wire.connection.receive_buffer()
    assert len(landing) == 48 + (1 << 20) - 1000
    landing[:] = stream[1000:]
    wire.connection.received(len(landing), 0.0)
    wire.run()
    (command,) = wire.executed
    assert command.memory is not None and command.data_out[0].obj is command.memory.obj
    assert command.data_out[0] == data


def test_data_of_an_unknown_task_is_dropped_and_the_stream_goes_on() -> None:
    wire = Wire(settings=SMALL)
    wire.initiator.queue(pdu.DATA_OUT, bytes(60_000), final=1, initiator_task_tag=0x999, target_transfer_tag=pdu.NO_TAG)
    task = wire.read(0, 512)
    wire.pump()
    assert task.status == 0


@pytest.mark.parametrize("full_feature", [False, True])
def test_a_segment_longer_than_declared_ends_the_connection_before_it_is_read(full_feature: bool) -> None:
    wire = Wire(login=full_feature)
    limit = (1 << 20) if full_feature else 8192
    wire.give(bytes(pdu.NOP_OUT.pack(immediate=1, initiator_task_tag=1, data_segment_length=limit + 1)))
    assert wire.connection.wants_close and not wire.connection.wants_input
    assert "allowed are" in wire.connection.why


def test_only_commands_may_have_additional_header_segments() -> None:
    wire = Wire()
    wire.give(bytes(pdu.NOP_OUT.pack(immediate=1, initiator_task_tag=1, total_ahs_length=1)))
    assert wire.connection.wants_close


def test_a_bad_header_digest_ends_the_connection() -> None:
    wire = Wire(DIGESTS)
    wire.read(0, 512)
    stream = bytearray(wire.initiator.take())
    stream[20] ^= 1
    wire.give(bytes(stream))
    assert wire.connection.wants_close and wire.connection.why == "header digest error"
    assert not wire.executed


@pytest.mark.parametrize("config", [Settings(), SMALL])
def test_a_bad_data_digest_of_a_command_is_rejected_and_the_command_forgotten(config: Settings) -> None:
    wire = Wire(DIGESTS, settings=config)
    task = wire.write(0, b"w" * 4096)
    stream = bytearray(wire.initiator.take())
    stream[100] ^= 1
    wire.give(bytes(stream))
    wire.pump()
    (reject,) = wire.initiator.answers(pdu.Opcode.REJECT)
    assert reject.fields.reason == 2 and reject.data == bytes(stream[:48])
    assert task.status is None and not wire.executed
    wire.initiator.cmd_sn = task.cmd_sn  # RFC 7143 7.2.1: the initiator retries with the same CmdSN
    again = wire.write(0, b"w" * 4096)
    wire.pump()
    assert again.status == 0


@pytest.mark.parametrize("config", [Settings(), SMALL])
def test_a_bad_data_digest_of_data_out_ends_its_task_when_all_is_here(config: Settings) -> None:
    wire = Wire(DIGESTS, settings=config)
    wire.initiator.answer_r2t = False
    task = wire.write(0, b"w" * 8192, immediate_data=0)
    wire.pump()
    (r2t,) = wire.initiator.answers(pdu.Opcode.R2T)
    wire.initiator.agreed["MaxRecvDataSegmentLength"] = "4096"
    wire.initiator.data_out(task, 0, 8192, r2t.fields.target_transfer_tag)
    stream = bytearray(wire.initiator.take())
    stream[60] ^= 1
    half = len(stream) // 2
    wire.give(bytes(stream[:half]))
    wire.pump()
    assert task.status is None
    wire.give(bytes(stream[half:]))
    wire.pump()
    assert task.status == 2 and task.sense[2] == 0x0B and task.sense[12:14] == b"\x47\x05"  # RFC 7143 11.4.7.2
    assert len(wire.initiator.answers(pdu.Opcode.REJECT)) == 1
    assert not wire.executed and wire.pool.handed_out_bytes == 0


@settings(max_examples=100)
@given(st.binary(min_size=1, max_size=400), st.booleans())
def test_any_bytes_never_raise(noise: bytes, full_feature: bool) -> None:
    wire = Wire(login=full_feature)
    wire.give(noise)
    wire.fetch()
    wire.connection.closed(1.0)
    assert wire.pool.handed_out_bytes == 0


@settings(max_examples=150)
@given(
    st.sampled_from([0, 1, 2, 3, 4, 5, 6, 0x10, 0x1C, 0x20, 0x3F]), st.binary(min_size=40, max_size=40),
    st.binary(max_size=300), st.sampled_from([{}, DIGESTS]),
)  # fmt: skip
def test_any_well_framed_pdu_never_raises_and_good_ones_still_work(
    opcode: int, body: bytes, data: bytes, keys: dict[str, str]
) -> None:
    """Random fields after a good length: whatever the answer is, it is a legal one (the double checks)."""
    wire = Wire(keys)
    header = bytes((opcode | 0x40, body[0], 0, 0)) + len(data).to_bytes(4, "big") + body[:40]
    helper = Initiator(keys=keys)
    helper.header_digest = helper.data_digest = bool(keys)

    class Raw:
        """A layout that packs to the random header."""

        fields: dict[str, object] = {}

        @staticmethod
        def pack(**_: object) -> bytes:
            return header[:48]

    wire.give(helper.queue(Raw, data))
    wire.pump()
    if not wire.connection.wants_close:
        wire.initiator.nop(immediate=True)
        wire.pump()
    wire.connection.closed(1.0)
    for command in wire.held:
        wire.connection.complete(command, wire.disk.execute(command))
    assert wire.pool.handed_out_bytes == 0


def test_a_connection_costs_little_before_its_login() -> None:
    assert len(Wire(login=False).connection.receive_buffer()) < 20_000
    assert len(Wire().connection.receive_buffer()) >= 256 << 10


def test_answers_that_are_not_taken_stop_the_intake_until_they_are() -> None:
    wire = Wire(settings=Settings(output_limit_bytes=10_000))
    for _ in range(20):
        wire.initiator.nop(bytes(1000), immediate=True)
    stream = wire.initiator.take()
    view = wire.connection.receive_buffer()
    view[: len(stream)] = stream
    wire.connection.received(len(stream), 0.0)
    assert not wire.connection.wants_input
    assert 10_000 < wire.connection.output_bytes < 12_000
    wire.pump()
    assert wire.connection.wants_input
    assert len(wire.initiator.answers(pdu.Opcode.NOP_IN)) == 20


@pytest.mark.parametrize("length", range(4096 - 56, 4096 + 30))
def test_a_pdu_about_as_long_as_the_buffer_passes(length: int) -> None:
    wire = Wire(DIGESTS, settings=SMALL)
    wire.initiator.nop(bytes(length))
    wire.initiator.nop(b"after")
    wire.pump()
    assert [len(item.data) for item in wire.initiator.answers(pdu.Opcode.NOP_IN)] == [length, 5]
