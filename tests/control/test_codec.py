from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.control.codec import (
    LARGEST_ID,
    Code,
    Failure,
    LineReader,
    Malformed,
    Progress,
    Request,
    Result,
    decode,
    encode,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 60), 1 << 60) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=4)
IDS = st.integers(0, LARGEST_ID)
MESSAGES = st.one_of(
    st.builds(Request, IDS, TEXT, OBJECTS),
    st.builds(Result, IDS, OBJECTS),
    st.builds(Failure, IDS, st.sampled_from(Code), TEXT),
    st.builds(Progress, IDS, OBJECTS),
)


@given(MESSAGES)
def test_every_message_survives_the_round_trip(message: Any) -> None:
    line = encode(message)
    assert line.endswith(b"\n") and line.count(b"\n") == 1 and line.isascii()
    assert decode(line) == message


@given(st.lists(MESSAGES, max_size=5), st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_messages_cut_anywhere_come_out_whole_and_in_order(messages: list[Any], cuts: list[int]) -> None:
    stream = b"".join(map(encode, messages))
    reader = LineReader(1 << 16)
    out: list[Any] = []
    index = 0
    while stream:
        size = cuts[index % len(cuts)]
        out += reader.receive_data(stream[:size])
        stream, index = stream[size:], index + 1
    assert out == messages


@given(st.binary(max_size=200))
def test_any_bytes_become_messages_or_sentences(data: bytes) -> None:
    for message in LineReader(100).receive_data(data + b"\n"):
        if isinstance(message, Malformed):
            assert "\n" not in message.sentence


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"[]",
        b"1",
        b"null",
        b"{}",
        b'{"id":1}',
        b'{"id":-1,"op":"x"}',
        b'{"id":1.5,"op":"x"}',
        b'{"id":true,"op":"x"}',
        b'{"id":"1","op":"x"}',
        b'{"id":9007199254740992,"op":"x"}',
        b'{"id":1,"op":5}',
        b'{"id":1,"op":"x","args":[]}',
        b'{"id":1,"op":"x","more":1}',
        b'{"id":1,"result":1}',
        b'{"id":1,"result":{},"error":{}}',
        b'{"id":1,"error":"x"}',
        b'{"id":1,"op":"a","op":"b"}',
        b'{"id":1,"op":"x","args":{"a":NaN}}',
        b'{"id":1,"op":"x","args":{"a":"\\ud800"}}',
        b'{"id":1,"op":"\xff"}',
        b'{"id":' + b"9" * 5000 + b',"op":"x"}',
        b'{"id":1,"op":"x","args":' + b'{"a":' * 100000 + b"1" + b"}" * 100001,
        b"[" * 100000,
    ],
    ids=range(24),
)
def test_hostile_lines_are_answered_with_a_sentence(line: bytes) -> None:
    message = decode(line)
    assert isinstance(message, Malformed)
    assert not message.fatal
    assert len(message.sentence) < 5000


def test_a_line_too_long_ends_the_conversation_before_it_is_held() -> None:
    reader = LineReader(100)
    assert list(reader.receive_data(b"x" * 100)) == []
    (message,) = reader.receive_data(b"x")
    assert isinstance(message, Malformed) and message.fatal
    assert list(reader.receive_data(b'\n{"id":1,"op":"x"}\n')) == []


def test_a_long_line_that_came_at_once_is_refused_too() -> None:
    good = encode(Request(1, "a"))
    messages = list(LineReader(100).receive_data(good + b"x" * 200 + b"\n" + good))
    assert messages[0] == Request(1, "a")
    assert isinstance(messages[1], Malformed) and messages[1].fatal
    assert len(messages) == 2


def test_empty_lines_are_nothing() -> None:
    assert list(LineReader(100).receive_data(b"\n \r\n" + encode(Request(1, "a")))) == [Request(1, "a")]


def test_arguments_may_be_left_out() -> None:
    assert decode(b'{"id":0,"op":"status"}') == Request(0, "status", {})


def test_what_python_alone_calls_json_is_never_written() -> None:
    with pytest.raises(ValueError):
        encode(Result(1, {"x": float("nan")}))
    assert json.loads(encode(Result(1, {"x": "\u2028"}))) == {"id": 1, "result": {"x": "\u2028"}}
