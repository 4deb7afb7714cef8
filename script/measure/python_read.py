"""Python's own time for one 4 KiB READ: iSCSI engine, SCSI core and memory backend in one process, without sockets.

Batches of 32 as they come from one receive; digests off. The initiator's side is not counted, nor is the kernel's.
"""

from __future__ import annotations

import time

from tcmu_gluster.backends.memory import MemoryBackend
from tcmu_gluster.iscsi.pdu import Buffer
from tcmu_gluster.iscsi.task_set import IscsiCommand
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.target import Target
from tests.doubles.iscsi_wire import READ_10, Wire, cdb_10

BATCH = 32
BLOCKS = 8
RUNS, ROUNDS = 25, 20


def measure() -> float:
    """Microseconds of CPU a command; the best of many short runs, so that a neighbour's load hardly counts."""
    target = Target("bench", {0: LogicalUnit(MemoryBackend("python-read", 1 << 26))})
    wire = Wire()
    best = float("inf")
    for _ in range(RUNS):
        spent = 0
        for number in range(ROUNDS):
            tasks = [
                wire.initiator.scsi(cdb_10(READ_10, (number * BATCH + place) * BLOCKS, BLOCKS), read=4096)
                for place in range(BATCH)
            ]
            data = wire.initiator.take()
            begun = time.process_time_ns()
            buffers = turn(wire, target, data)
            spent += time.process_time_ns() - begun
            answer = b"".join(map(bytes, buffers))
            wire.connection.release()
            wire.initiator.feed(answer)
            if any(task.status != 0 for task in tasks):
                raise RuntimeError("a READ failed")
        best = min(best, spent / (ROUNDS * BATCH) / 1000)
    return best


def turn(wire: Wire, target: Target, data: bytes) -> list[Buffer]:
    """What handler/iscsi_front.py does between recv_into and sendmsg."""
    connection = wire.connection
    view = connection.receive_buffer()
    view[: len(data)] = data
    connection.received(len(data), 0.0)
    complete, execute = connection.complete, target.execute
    for command in connection.commands():
        assert isinstance(command, IscsiCommand)  # the session is logged in and reads: nothing else can come
        response = execute(command)
        if response is not None:
            complete(command, response)
    return list(connection.data_to_send())
