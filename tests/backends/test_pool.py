"""The pool for calls that block."""

from __future__ import annotations

import threading

import pytest

from tcmu_gluster.backends.pool import BlockingPool
from tests.doubles.backend_loop import BackendLoop


@pytest.fixture
def loop():
    running = BackendLoop()
    yield running
    running.close()


def test_results_and_errors_arrive_on_the_loops_thread(loop):
    pool = BlockingPool(loop.loop, "test")
    here = threading.get_ident()
    threads = []

    def refuse():
        threads.append(threading.get_ident())
        raise OSError(28, "full")

    future = loop.loop.create_future()
    pool.submit(refuse, lambda result: future.set_result((result, threading.get_ident())))
    result, thread = loop.loop.run_until_complete(future)
    assert (result.errno, thread) == (28, here)
    assert threads[0] != here
    assert pool.close(5) == 0


def test_a_fault_becomes_eio_and_names_its_cause(loop):
    pool = BlockingPool(loop.loop, "test")
    future = loop.loop.create_future()
    pool.submit(lambda: 1 // 0, future.set_result)
    result = loop.loop.run_until_complete(future)
    assert result.errno == 5
    assert isinstance(result.__cause__, ZeroDivisionError)
    pool.close(5)


def test_threads_are_bounded_and_everything_is_done(loop):
    pool = BlockingPool(loop.loop, "test", limit=3)
    gate = threading.Event()
    running = []
    lock = threading.Lock()

    def work():
        with lock:
            running.append(threading.get_ident())
        assert gate.wait(20)

    left = [50]
    future = loop.loop.create_future()

    def done(result):
        left[0] -= 1
        if not left[0]:
            future.set_result(None)

    for _ in range(50):
        pool.submit(work, done)
    gate.set()
    loop.loop.run_until_complete(future)
    assert len(set(running)) <= 3
    assert pool.in_flight() == 0
    pool.close(5)


def test_a_done_that_raises_does_not_keep_the_others_back(loop):
    pool = BlockingPool(loop.loop, "test", limit=1)
    loop.loop.set_exception_handler(lambda loop, context: caught.append(context["exception"]))
    caught, gate = [], threading.Event()
    future = loop.loop.create_future()

    def bad(result):
        raise ValueError("a fault in a command")

    pool.submit(gate.wait, bad)
    pool.submit(lambda: 2, future.set_result)
    gate.set()
    assert loop.loop.run_until_complete(future) == 2
    loop.turn()
    assert isinstance(caught[0], ValueError)
    pool.close(5)


def test_close_tells_what_did_not_end(loop):
    pool = BlockingPool(loop.loop, "test", limit=1)
    gate = threading.Event()
    future = loop.loop.create_future()
    pool.submit(gate.wait, future.set_result)
    assert pool.close(0.01) == 1
    gate.set()
    assert loop.loop.run_until_complete(future) is True
