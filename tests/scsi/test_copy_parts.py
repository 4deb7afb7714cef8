"""How bytes are moved: any place, any length, any block sizes, overlapping or not, holes and others' writes between."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.command import Status
from tcmu_gluster.scsi.copy_parts import PATCH_ATTEMPTS, Part
from tests.doubles.backends import SlowBackend
from tests.doubles.copying import Daemon, begin, contents, cscd, fill, lid1, with_offset, xcopy
from tests.doubles.host import memory

SIZE = 1 << 18


@settings(deadline=None)
@given(data=st.data(), blocks=st.tuples(st.sampled_from([512, 4096]), st.sampled_from([512, 4096])))
def test_like_a_slice(data: st.DataObject, blocks: tuple[int, int]):
    daemon = Daemon(0 + 1, SIZE, block_size_bytes=blocks[0])
    daemon.see(daemon.add(memory(SIZE), block_size_bytes=blocks[1]))
    source = data.draw(st.integers(0, 1))
    target = data.draw(st.integers(0, 1))
    images = []
    for unit in daemon.units:
        for at in data.draw(st.lists(st.integers(0, 60), max_size=4)):
            fill(unit, bytes((1 + at,)) * 4096, at * 4096)
        images.append(bytearray(contents(unit, 0, SIZE)))
    length = data.draw(st.integers(0, SIZE // 2))
    at, to = data.draw(st.integers(0, SIZE - length)), data.draw(st.integers(0, SIZE - length))
    a, b = blocks[source], blocks[target]
    step = with_offset(source, target, length, at // a, at % a, to // b, to % b)
    answer = xcopy(daemon.host, lid1([cscd(unit) for unit in daemon.units], [step]))
    fits = at // a * a < SIZE and to // b * b < SIZE
    assert answer.good or not fits
    if answer.good:
        images[target][to : to + length] = images[source][at : at + length]
    assert [contents(unit, 0, SIZE) for unit in daemon.units] == [bytes(image) for image in images]


def test_a_block_written_in_part_keeps_what_others_wrote_to_it_meanwhile():
    daemon = Daemon()
    one, two = daemon.units
    fill(one, b"c" * 512)
    two.backend = slow = SlowBackend(two.backend)
    copy = begin(daemon.host, lid1([cscd(one), cscd(two)], [with_offset(0, 1, 10, 0, 0, 0, 100)]))
    slow.step()  # the copy has read the block
    other = daemon.hosts[1].send(cdb.WRITE_10.pack(transfer_length=1), b"o" * 512)
    slow.step()  # and now looks whether it is still the same, before or after the other's write
    slow.run()
    assert copy.answer.good and other.answer.good
    assert contents(two, 0, 512) in (b"o" * 512, b"o" * 100 + b"c" * 10 + b"o" * 402)


def test_who_changes_the_block_all_the_time_makes_it_give_up():
    daemon = Daemon()
    one, two = daemon.units
    fill(one, b"c" * 512)

    class Restless(SlowBackend):
        reads = 0

        def read(self, offset, buffers, done):
            self.reads += 1
            fill_ = memoryview(bytes((self.reads % 251,)) * 512)
            self.inner.write(0, (fill_,), lambda outcome: None)
            return self.inner.read(offset, buffers, done)

    two.backend = restless = Restless(two.backend)
    answer = xcopy(daemon.host, lid1([cscd(one), cscd(two)], [with_offset(0, 1, 10, 0, 0, 0, 100)]))
    assert answer.status == Status.CHECK_CONDITION and restless.reads == 2 * PATCH_ATTEMPTS


def test_a_part_is_no_command_of_the_nexus():
    daemon = Daemon(1)
    part = Part(bytes(6), daemon.host.nexus, None)
    assert part.is_part and not part.belongs_to(daemon.host.nexus)
    assert daemon.host.send(bytes(6)).command.belongs_to(daemon.host.nexus)


@pytest.mark.parametrize("size", [1 << 20, 3 << 20])
def test_chunks_are_no_longer_than_a_command_may_be(size: int):
    daemon = Daemon(size_bytes=4 << 20, maximum_transfer_bytes=64 << 10)
    one, two = daemon.units
    data = os.urandom(size)
    fill(one, data)
    assert xcopy(daemon.host, lid1([cscd(one), cscd(two)], [with_offset(0, 1, size, 0, 0, 0, 0)])).good
    assert contents(two, 0, size) == data
