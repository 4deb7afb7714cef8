"""Sessions, their names and their registry."""

from __future__ import annotations

import pytest

from tcmu_gluster.iscsi.keys import Parameters
from tcmu_gluster.iscsi.pdu import LoginError, LoginStatus, Opcode
from tcmu_gluster.iscsi.serial import CommandWindow
from tcmu_gluster.iscsi.session import Session, SessionRegistry, transport_id
from tests.doubles.iscsi_wire import Entry, Wire

ISID = bytes.fromhex("00023d000001")
NAME = "iqn.1994-05.com.example:host"


def parameters(name: str = NAME) -> Parameters:
    made = Parameters()
    made.initiator_name = name
    return made


def start(registry: SessionRegistry, isid: bytes = ISID, entry: Entry | None = None, name: str = NAME) -> Session:
    return registry.start(isid, entry, parameters(name), CommandWindow(1, 8))


def test_transport_id_is_format_01b_of_protocol_5() -> None:
    made = transport_id(NAME, ISID)  # SPC-4 7.6.4.6
    assert made[0] == 0x45 and made[1] == 0
    assert int.from_bytes(made[2:4], "big") == len(made) - 4
    assert len(made) % 4 == 0
    text = made[4:]
    assert text.rstrip(b"\0") == b"iqn.1994-05.com.example:host,i,0x00023d000001"
    assert text.endswith(b"\0")


def test_transport_id_is_terminated_even_if_the_name_fills_its_words() -> None:
    name = "iqn.2026-01.e:" + "x" * 2
    for extra in range(4):
        assert transport_id(name + "y" * extra, ISID).endswith(b"\0")


def test_nexus_names_initiator_port_and_target_port() -> None:
    entry = Entry()
    entry.relative_target_port = 3
    nexus = start(SessionRegistry(), entry=entry).nexus
    assert (nexus.initiator_name, nexus.isid) == (NAME, ISID)
    assert (nexus.target_name, nexus.relative_target_port) == (entry.name, 3)
    assert nexus.transport_id == transport_id(NAME, ISID)


def test_tsihs_are_unique_and_never_zero() -> None:
    registry = SessionRegistry()
    tsihs = {start(registry, isid=number.to_bytes(6, "big"), entry=Entry()).tsih for number in range(50)}
    assert len(tsihs) == 50 and 0 not in tsihs


def test_same_initiator_port_and_target_is_the_same_session() -> None:
    registry = SessionRegistry()
    entry = Entry()
    old = start(registry, entry=entry)
    other_port = start(registry, isid=b"another", entry=entry)
    other_target = start(registry, entry=Entry("iqn.2026-01.example:second"))
    new = start(registry, entry=entry)
    assert old.ended and not other_port.ended and not other_target.ended
    assert len(registry) == 3
    assert registry.find(new.tsih, NAME, ISID) is new


def test_discovery_sessions_do_not_replace_each_other() -> None:
    registry = SessionRegistry()
    first, second = start(registry), start(registry)
    assert not first.ended and not second.ended and first.target is None


@pytest.mark.parametrize(("name", "isid", "shift"), [("iqn.other", ISID, 0), (NAME, b"other1", 0), (NAME, ISID, 1)])
def test_only_the_right_initiator_finds_its_session(name: str, isid: bytes, shift: int) -> None:
    registry = SessionRegistry()
    session = start(registry, entry=Entry())
    with pytest.raises(LoginError) as caught:
        registry.find(session.tsih + shift, name, isid)
    assert caught.value.status is LoginStatus.SESSION_DOES_NOT_EXIST


def test_no_more_sessions_than_allowed() -> None:
    registry = SessionRegistry(max_sessions=1)
    session = start(registry, entry=Entry())
    with pytest.raises(LoginError) as caught:
        start(registry, isid=b"second", entry=Entry())
    assert caught.value.status is LoginStatus.OUT_OF_RESOURCES
    registry.end(session, "test")
    assert start(registry, isid=b"second", entry=Entry()).tsih


def test_a_login_reinstates_its_session_when_the_table_is_full() -> None:
    registry = SessionRegistry(max_sessions=1)
    entry = Entry()
    start(registry, entry=entry)
    assert start(registry, entry=entry).tsih


def test_reinstatement_ends_the_old_connection_and_its_waiting_commands() -> None:
    old = Wire(hold=True)
    old.read(0, 512)
    old.pump()
    write = old.write(0, b"w" * 512, immediate_data=0)
    old.initiator.answer_r2t = False
    old.pump()
    assert write.status is None and len(old.held) == 1
    new = Wire(beside=old)
    old.run()
    assert old.connection.wants_close and old.woken
    assert [type(event).__name__ for event in old.events] == ["SessionStarted", "SessionEnded"]
    assert old.fetch() == b""
    old.finish()
    assert old.fetch() == b"", "nothing is answered any more"
    again = new.read(0, 512)
    new.pump()
    assert again.status == 0
    assert len(new.registry) == 1


def test_a_session_that_we_end_is_told_so() -> None:
    wire = Wire()
    session = wire.connection.session
    assert session is not None
    wire.registry.end(session, "an administrator ended it", tell=True)
    wire.fetch_into_initiator()
    (message,) = wire.initiator.answers(Opcode.ASYNC_MESSAGE)  # RFC 7143 11.9.1: event 3, Time2Wait, Time2Retain
    fields = message.fields
    assert (fields.async_event, fields.parameter2, fields.parameter3) == (3, 2, 0)
    assert wire.connection.wants_close
