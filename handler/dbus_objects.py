"""What targetcli finds on D-Bus, without a bus: one handler object, answered call by call.

    /org/kernel/TCMUService1                            ObjectManager: what targetcli asks when the name is ours
    /org/kernel/TCMUService1/gluster                    ConfigDesc, CheckConfig(s) -> (bs)
    /org/kernel/TCMUService1/HandlerManager1/gluster    the same object, where tcmu-runner forwards CheckConfig to

Source: the interface of tcmu-runner (org.kernel.TCMUService1); D-Bus specification, standard interfaces.
"""

from __future__ import annotations

from typing import Any, Optional

from dbus_fast import Message, MessageFlag, MessageType, Variant

from tcmu_gluster.config.cfgstring import SUBTYPE

NAME = "org.kernel.TCMUService1"
"""The bus name, and the interface of a handler object."""
MANAGER_INTERFACE = f"{NAME}.HandlerManager1"
HANDLER_NAME = f"{MANAGER_INTERFACE}.{SUBTYPE}"
"""The name by which tcmu-runner finds a handler that registered."""
ROOT = "/org/kernel/TCMUService1"
MANAGER_PATH = f"{ROOT}/HandlerManager1"
OBJECT_PATHS = (f"{ROOT}/{SUBTYPE}", f"{MANAGER_PATH}/{SUBTYPE}")

CONFIG_DESC = f"""\
A file on a GlusterFS volume, written volume@host[+host...]/path, as in
    create name=vm1 size=20G cfgstring=vol@server/vm1
A file that is there keeps its data and must be as large as size says; one that isn't is made. More forms:
    file/path            a plain file or block device      memory/NAME          memory, for trials
What LIO can't keep (':', ',' and blanks) is percent-encoded: a port is vol@server%3A24007/vm1.
Where tcmu-runner runs on this host too, add control=nl_reply_supported=-1: otherwise it refuses every disk of {SUBTYPE}
that plain targetcli creates (targetcli-gluster and tcmu-gluster disk create do that by themselves)."""

_PROPERTIES = "org.freedesktop.DBus.Properties"
_INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"
_OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"
_HEAD = ('<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN" '
         '"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">')  # fmt: skip
_STANDARD = f"""\
<interface name="{_PROPERTIES}">
<method name="Get"><arg name="interface" type="s" direction="in"/><arg name="name" type="s" direction="in"/>\
<arg name="value" type="v" direction="out"/></method>
<method name="GetAll"><arg name="interface" type="s" direction="in"/>\
<arg name="values" type="a{{sv}}" direction="out"/></method>
</interface>"""
_OURS = f"""\
<interface name="{NAME}">
<method name="CheckConfig"><arg name="cfgstring" type="s" direction="in"/>\
<arg name="ok" type="b" direction="out"/><arg name="reason" type="s" direction="out"/></method>
<property name="ConfigDesc" type="s" access="read"/>
</interface>"""
_MANAGER = f"""\
<interface name="{_OBJECT_MANAGER}">
<method name="GetManagedObjects"><arg name="objects" type="a{{oa{{sa{{sv}}}}}}" direction="out"/></method>
</interface>"""


def config_to_check(message: Message) -> Optional[str]:
    """The config string that somebody wants checked, or None if the message is no such call."""
    if (message.path, message.member) in [(path, "CheckConfig") for path in OBJECT_PATHS] and (
        message.interface in (NAME, None) and message.signature == "s"
    ):
        return str(message.body[0])
    return None


def answer(message: Message) -> Optional[Message]:
    """The reply to any other call; None for what is no call, or not about our objects (the library answers that)."""
    if message.message_type is not MessageType.METHOD_CALL or not (message.path or "").startswith(ROOT):
        return None
    if message.flags & MessageFlag.NO_REPLY_EXPECTED:
        return None
    asked = (message.interface, message.member, message.signature)
    if message.path == ROOT and asked == (_OBJECT_MANAGER, "GetManagedObjects", ""):
        managed = {OBJECT_PATHS[0]: {NAME: _properties()}}
        return Message.new_method_return(message, "a{oa{sa{sv}}}", [managed])
    if asked == (_INTROSPECTABLE, "Introspect", ""):
        text = _introspection(message.path or "")
        return Message.new_method_return(message, "s", [text]) if text else _unknown(message)
    if message.path in OBJECT_PATHS:
        if asked == (_PROPERTIES, "GetAll", "s"):
            values = _properties() if message.body[0] in (NAME, "") else {}
            return Message.new_method_return(message, "a{sv}", [values])
        if asked == (_PROPERTIES, "Get", "ss") and message.body[0] in (NAME, "") and message.body[1] in _properties():
            return Message.new_method_return(message, "v", [_properties()[message.body[1]]])
    return None if message.interface == "org.freedesktop.DBus.Peer" else _unknown(message)


def checked(message: Message, ok: bool, reason: str) -> Message:
    """The reply to CheckConfig."""
    return Message.new_method_return(message, "bs", [ok, reason])


def _properties() -> dict[str, Any]:
    return {"ConfigDesc": Variant("s", CONFIG_DESC)}


def _unknown(message: Message) -> Message:
    said = f"{message.path} has no {message.interface}.{message.member} with the signature '{message.signature}'"
    return Message.new_error(message, "org.freedesktop.DBus.Error.UnknownMethod", said)


def _introspection(path: str) -> str:
    """XML of one node, or '' if there is none."""
    if path in OBJECT_PATHS:
        return f"{_HEAD}\n<node>{_OURS}\n{_STANDARD}</node>\n"
    if path == ROOT:
        return f'{_HEAD}\n<node>{_MANAGER}<node name="{SUBTYPE}"/></node>\n'
    return ""
