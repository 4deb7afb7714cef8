"""The record beside a disk: what is stored comes back, what is damaged is told and never read as empty."""

from __future__ import annotations

import errno
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcmu_gluster.backends.memory import MemoryBackend
from tcmu_gluster.scsi import cdb
from tcmu_gluster.scsi.logical_unit import LogicalUnit
from tcmu_gluster.scsi.persistence import DamagedRecord, Keeper, UnitRecord
from tcmu_gluster.scsi.sense import Asc, SenseKey
from tests.doubles.cluster import Node

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def keep(keeper: Keeper, backend: MemoryBackend, name: str, value: object, stable=None) -> None:
    steps = keeper.keep(name, value, stable)
    try:
        operation = next(steps)
        while True:
            operation = steps.send(operation.start(backend, lambda outcome: None))
    except StopIteration:
        return


@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=4), st.integers(0, 2**40))
def test_what_is_encoded_is_decoded(sections, generation):
    record = UnitRecord.decode(UnitRecord(generation, sections).encode())
    assert (record.generation, record.sections) == (generation, sections)


@given(st.binary(max_size=200))
def test_foreign_bytes_are_damage_and_nothing_else(data):
    with pytest.raises(DamagedRecord):
        UnitRecord.decode(data)


@given(st.data())
def test_a_record_cut_or_changed_anywhere_is_damage_or_says_the_same(data):
    whole = UnitRecord(3, {"reservations": {"key": 7}}).encode()
    cut = data.draw(st.integers(0, len(whole) - 2))  # its last byte is a line end, which JSON doesn't need
    with pytest.raises(DamagedRecord):
        UnitRecord.decode(whole[:cut])
    at, byte = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 255))
    changed = whole[:at] + bytes((byte,)) + whole[at + 1 :]
    try:
        record = UnitRecord.decode(changed)
    except DamagedRecord:
        return
    assert (record.generation, record.sections) == (3, {"reservations": {"key": 7}})


def test_a_version_from_the_future_is_refused():
    facts = json.loads(UnitRecord(1, {}).encode())
    facts["version"] = 2
    with pytest.raises(DamagedRecord):
        UnitRecord.decode(json.dumps(facts).encode())


def test_sections_are_kept_side_by_side_and_the_generation_grows():
    record = UnitRecord().with_section("a", 1).with_section("b", [2])
    assert (record.generation, record.section("a"), record.section("b")) == (2, 1, [2])
    assert record.with_section("a", None).sections == {"b": [2]}


def test_what_was_kept_is_there_for_the_next_keeper():
    backend = MemoryBackend("kept", 4096)
    told = []
    keep(Keeper(backend), backend, "mode_pages", {"8": "00"}, lambda: told.append(True))
    again = Keeper(backend)
    assert told == [True] and not again.damage
    assert again.record.section("mode_pages") == {"8": "00"}
    backend.close()


def test_a_damaged_record_is_said_and_not_forgotten_until_somebody_decides():
    backend = MemoryBackend("damaged", 4096)
    backend.store_sidecar(b"{}", lambda outcome: None)
    keeper = Keeper(backend)
    assert "damaged" in keeper.damage
    keeper.forget()
    assert not keeper.damage and keeper.record.sections == {}
    backend.close()


def test_a_record_that_can_not_be_read_is_damage_too():
    class Unreadable(MemoryBackend):
        def load_sidecar(self):
            raise OSError(errno.EIO, "Input/output error")

    backend = Unreadable("unreadable", 4096)
    assert "Input/output error" in Keeper(backend).damage
    backend.close()


@pytest.mark.parametrize("host", ["register", "read keys", "identify", "save a mode page"])
def test_no_host_can_put_a_record_in_the_place_of_a_damaged_one(host: str) -> None:
    backend = MemoryBackend("damaged", 1 << 20)
    backend.store_sidecar(b"nonsense", lambda outcome: None)
    unit = LogicalUnit(backend)
    node = Node(unit, "holder")
    page = node.run(cdb.MODE_SENSE_6.pack(dbd=1, page_code=8, allocation_length=255)).data[4:]
    answer = {
        "register": lambda: node.out("register", 0, 1, flags=1),
        "read keys": lambda: node.run(cdb.READ_KEYS.pack(allocation_length=255)),
        "identify": lambda: node.run(cdb.SET_IDENTIFYING_INFORMATION.pack(parameter_list_length=3), b"abc"),
        "save a mode page": lambda: node.run(
            cdb.MODE_SELECT_6.pack(pf=1, sp=1, parameter_list_length=4 + len(page)),
            bytes(4) + bytes([page[0] & 0x3F, page[1], page[2] ^ 4]) + page[3:],
        ),
    }[host]()
    assert (answer.key, answer.asc) == (SenseKey.NOT_READY, Asc.MANUAL_INTERVENTION_REQUIRED)
    assert backend.load_sidecar() == b"nonsense" and unit.trouble
    backend.close()
