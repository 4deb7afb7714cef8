"""The operations a handler yields: each asks the backend for exactly what it says."""

from __future__ import annotations

import pytest

from tcmu_gluster.backends.base import (
    PENDING,
    Backend,
    Discard,
    Flush,
    Map,
    Operation,
    Read,
    Write,
    Zero,
)

VIEWS = [memoryview(bytearray(4))]


class Recorder:
    """Answers every call with its name and arguments."""

    def __getattr__(self, name: str):
        return lambda *arguments: (name, *arguments)


def done(result: object) -> None:
    pytest.fail(f"nothing completes here, but done({result!r}) was called")


@pytest.mark.parametrize(
    "operation, call",
    [
        (Read(512, VIEWS), ("read", 512, VIEWS, done)),
        (Write(512, VIEWS), ("write", 512, VIEWS, done, False)),
        (Write(512, VIEWS, durable=True), ("write", 512, VIEWS, done, True)),
        (Flush(), ("flush", done)),
        (Discard(512, 1024), ("discard", 512, 1024, done)),
        (Zero(512, 1024), ("zero", 512, 1024, done)),
        (Map(512, 1024), ("map", 512, 1024, done)),
    ],
)
def test_an_operation_asks_for_what_it_says(operation, call):
    assert operation.start(Recorder(), done) == call


def test_an_operation_without_a_start_of_its_own_is_a_fault():
    with pytest.raises(NotImplementedError):
        Operation().start(Recorder(), done)


def test_a_backend_has_to_do_everything():
    with pytest.raises(TypeError):
        Backend()
    assert repr(PENDING) == "PENDING"
