from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from dbus_fast import Message, MessageFlag, MessageType

from handler.dbus_objects import CONFIG_DESC, answer, checked, config_to_check

NAME = "org.kernel.TCMUService1"
ROOT = "/org/kernel/TCMUService1"
OURS = (f"{ROOT}/gluster", f"{ROOT}/HandlerManager1/gluster")


def call(path: str, interface: str | None, member: str, signature: str = "", *body: Any, **more: Any) -> Message:
    return Message(NAME, path, interface, member, signature=signature, body=list(body), serial=7, sender=":1.5", **more)


def test_targetcli_finds_one_object_named_as_our_subtype() -> None:
    reply = answer(call(ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"))
    assert reply is not None and reply.message_type is MessageType.METHOD_RETURN
    (managed,) = reply.body
    assert list(managed) == [f"{ROOT}/gluster"]
    assert managed[f"{ROOT}/gluster"][NAME]["ConfigDesc"].value == CONFIG_DESC


def test_config_desc_says_what_plain_targetcli_needs_beside_tcmu_runner() -> None:
    assert "control=nl_reply_supported=-1" in CONFIG_DESC and "tcmu-runner" in CONFIG_DESC
    assert "volume@host" in CONFIG_DESC


@pytest.mark.parametrize("path", OURS)
@pytest.mark.parametrize("interface", [NAME, None])
def test_check_config_is_told_from_other_calls(path: str, interface: str | None) -> None:
    assert config_to_check(call(path, interface, "CheckConfig", "s", "gluster/v@h/f")) == "gluster/v@h/f"


@pytest.mark.parametrize(
    "message",
    [
        call(ROOT, NAME, "CheckConfig", "s", "x"),
        call(OURS[0], "org.example.Other", "CheckConfig", "s", "x"),
        call(OURS[0], NAME, "CheckConfig", "ss", "x", "y"),
        call(OURS[0], NAME, "ChangeMedium", "sts", "n", 1, "x"),
        call(f"{ROOT}/glusterx", NAME, "CheckConfig", "s", "x"),
    ],
)
def test_what_is_no_check_of_ours_is_an_unknown_method(message: Message) -> None:
    assert config_to_check(message) is None
    reply = answer(message)
    assert reply is not None and reply.message_type is MessageType.ERROR
    assert reply.error_name == "org.freedesktop.DBus.Error.UnknownMethod"


@pytest.mark.parametrize("path", OURS)
def test_properties(path: str) -> None:
    properties = "org.freedesktop.DBus.Properties"
    one = answer(call(path, properties, "Get", "ss", NAME, "ConfigDesc"))
    all_ = answer(call(path, properties, "GetAll", "s", NAME))
    other = answer(call(path, properties, "GetAll", "s", "org.example.Other"))
    missing = answer(call(path, properties, "Get", "ss", NAME, "Size"))
    assert one is not None and one.body[0].value == CONFIG_DESC
    assert all_ is not None and all_.body[0]["ConfigDesc"].value == CONFIG_DESC
    assert other is not None and other.body == [{}]
    assert missing is not None and missing.message_type is MessageType.ERROR


@pytest.mark.parametrize("path", [ROOT, *OURS])
def test_introspection_is_xml(path: str) -> None:
    reply = answer(call(path, "org.freedesktop.DBus.Introspectable", "Introspect"))
    assert reply is not None
    names = {element.get("name") for element in ElementTree.fromstring(reply.body[0]).iter()}
    assert ("GetManagedObjects" if path == ROOT else "CheckConfig") in names


def test_others_messages_and_silent_calls_are_left_to_the_library() -> None:
    assert answer(call("/", "org.freedesktop.DBus.Introspectable", "Introspect")) is None
    assert answer(call(OURS[0], "org.freedesktop.DBus.Peer", "Ping")) is None
    assert answer(call(OURS[0], "org.example.Other", "Do", flags=MessageFlag.NO_REPLY_EXPECTED)) is None
    assert answer(Message(path=ROOT, interface=NAME, member="X", message_type=MessageType.SIGNAL, serial=1)) is None


def test_the_reply_to_check_config_has_its_signature() -> None:
    reply = checked(call(OURS[0], NAME, "CheckConfig", "s", "x"), False, "no")
    assert reply.signature == "bs" and reply.body == [False, "no"] and reply.reply_serial == 7
