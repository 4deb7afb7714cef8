"""What people and programs write: the control socket's lines, config strings and URIs, saveconfig.json.

Anything is understood or refused with one sentence; what was understood is the same when it was written and read again.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

from handler.accounts import accounts_of, discovery_account
from handler.configuration import Configuration
from handler.operations.whole import convert, merged
from tcmu_gluster.config.addresses import parse_access_rule, parse_portal
from tcmu_gluster.config.cfgstring import LONGEST_CONFIG, parse_cfgstring, to_cfgstring
from tcmu_gluster.config.names import validate_disk_name, validate_iscsi_name
from tcmu_gluster.config.sizes import parse_size
from tcmu_gluster.config.uri import Backing, parse_backing
from tcmu_gluster.control import codec
from tcmu_gluster.control.operations import OPERATIONS, find
from tcmu_gluster.errors import ConfigError, OperationError, TcmuGlusterError
from tcmu_gluster.tcmu.cfgstring import ConfigRefused, is_ours, parse_config
from tests.fuzz.reader import Reader

IQN = "iqn.2013-10.com.redhat"
HOST = "iqn.1994-05.com.redhat:host"
LIMIT_BYTES = 4096


def control_lines(data: bytes) -> None:
    """Lines cut anywhere come out the same; requests are checked against the table of operations."""
    reader = Reader(data)
    size, lines = reader.byte() + 1, reader.rest()
    whole = codec.LineReader(LIMIT_BYTES).receive_data(lines)
    cut = codec.LineReader(LIMIT_BYTES)
    parts = [message for at in range(0, len(lines), size) for message in cut.receive_data(lines[at : at + size])]
    assert parts == whole
    for message in whole:
        if isinstance(message, codec.Malformed):
            assert "\n" not in message.sentence
            continue
        line = codec.encode(message)
        assert codec.decode(line) == message
        if isinstance(message, codec.Request):
            refusals(lambda message=message: find(message.op).check(message.args))


def control_arguments(data: bytes) -> None:
    """Every argument of every operation with any value of JSON."""
    reader = Reader(data)
    operation = reader.pick(list(OPERATIONS.values()))
    values = {argument.name: any_word(reader) for argument in operation.arguments if reader.byte() & 3}
    refusals(lambda: operation.check(values))


def refusals(call: Callable[[], object]) -> None:
    """It works, or says in one line why not."""
    try:
        call()
    except TcmuGlusterError as error:
        assert str(error) and "\n" not in str(error)


def any_word(reader: Reader) -> Any:
    kind = reader.byte() % 6
    if kind < 3:
        return reader.take(reader.byte() % 48).decode("utf-8", "replace")
    return reader.pick((None, True, False, 0, -1, 7, 1 << 70, 1.5, [], {}, ["a"], "1G", "all", IQN, "memory:x?size=1M"))


def config_strings(data: bytes) -> None:
    """One text as everything it could be."""
    text = data.decode("utf-8", "surrogateescape" if data[:1] == b"\xff" else "replace")
    for parse in (parse_backing, parse_cfgstring, parse_portal, parse_access_rule, parse_size, validate_iscsi_name,
                  validate_disk_name):  # fmt: skip
        try:
            value = parse(text)
        except ConfigError as error:
            assert "\n" not in str(error)
            continue
        if parse is parse_size:
            assert value >= 0
        elif parse is parse_cfgstring:
            assert parse(text) == value
        else:
            assert parse(str(value)) == value, (value, str(value))
        if isinstance(value, Backing):
            config = to_cfgstring(value, "0123456789abcdef")
            assert len(config.encode()) <= LONGEST_CONFIG and not set(config) & set(":, \t\n")
    for config in (text, f"gluster/{text}"):
        is_ours(config)
        try:
            parse_config(config)
        except ConfigRefused as refused:
            assert refused.errno > 0 and "\n" not in str(refused)


def example() -> dict[str, Any]:
    """A configuration with everything in it."""
    made = Configuration()
    for name in ("a", "b"):
        made.add_disk(name, f"gluster/memory/{name}", 1 << 20, f"serial-{name}")
    made.add_target(IQN, (parse_portal("0.0.0.0:3260"), parse_portal("[::1]:3261")))
    for rule in (HOST, "10.0.0.0/8", "all"):
        made.allow(IQN, parse_access_rule(rule))
    made.map_lun(IQN, "a", None, None)
    made.map_lun(IQN, "b", 7, HOST, read_only=True)
    made.credentials(IQN, None).update(chap_userid="u", chap_password="p" * 12)
    made.group(IQN)["attributes"]["authentication"] = 1
    made.make_fabric().update(discovery_enable_auth=True, discovery_userid="u", discovery_password="p" * 12)
    return made.root


EXAMPLE = example()
REPLACEMENTS = (
    None, True, False, 0, 1, -1, 256, 1 << 80, 1.5, "", "0", "x", "a", IQN, "10.0.0.0/99", [], {}, [1], ["x"], [[]],
    [{}], [None], {"x": 1}, {"1": {}}, "/backstores/user/a", "iscsi", "user", "fileio", "ramdisk", "gluster/x",
)  # fmt: skip


def saveconfig(data: bytes) -> None:
    """A saved file with values of other kinds in it, or any JSON at all: used, in part or refused."""
    reader = Reader(data)
    root: Any = copy.deepcopy(EXAMPLE)
    if reader.byte() & 1:
        try:
            root = json.loads(reader.rest().decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return
        if not isinstance(root, dict):
            return
    else:
        for _ in range(4):
            if not reader.empty:
                change(root, reader)
    try:
        found, skipped = convert(root)
        assert all(isinstance(sentence, str) for sentence in skipped)
        merged(Configuration(copy.deepcopy(EXAMPLE)), found)
        ask_everything(found)
    except (OperationError, ConfigError) as error:
        assert "\n" not in str(error)


def change(value: Any, reader: Reader) -> None:
    """Walk down as the bytes say, and replace or remove what is there."""
    for _ in range(8):
        places = sorted(value, key=str) if isinstance(value, dict) else range(len(value))
        if not places:
            return
        place = reader.pick(list(places))
        if isinstance(value[place], (dict, list)) and value[place] and reader.byte() % 4:
            value = value[place]
            continue
        if reader.byte() % 4:
            value[place] = copy.deepcopy(reader.pick(REPLACEMENTS))
        else:
            del value[place]
        return


def ask_everything(found: Configuration) -> None:
    """What the engine asks of a configuration when it applies it."""
    list(found.disks())
    discovery_account(found, 12)
    for iqn in [target["wwn"] for target in found.targets()]:
        found.luns(iqn)
        found.rules(iqn)
        found.portals(iqn)
        found.visible_luns(iqn, HOST)
        found.visible_luns(iqn, "iqn.2001-04.com.example")
        accounts_of(found, iqn, 12)
        for rule in (HOST, "all", "10.0.0.0/8"):
            found.allow(iqn, parse_access_rule(rule))
            found.deny(iqn, parse_access_rule(rule))
        for disk in list(found.disks())[:2]:
            refusals(lambda iqn=iqn, disk=disk: found.map_lun(iqn, disk["name"], None, None))
        found.unmap_lun(iqn, 0, None)
        found.remove_target(iqn)
