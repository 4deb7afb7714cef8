"""The operations of the control socket: the one table that the daemon, the command and the shell are made from.

A new operation is a row here, a function in handler/operations/ and a test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Optional

from ..config.addresses import parse_access_rule, parse_portal
from ..config.disk_shape import BLOCK_SIZES, PROVISIONINGS
from ..config.names import validate_disk_name, validate_iscsi_name
from ..config.sizes import parse_size
from ..config.uri import parse_backing
from ..errors import ConfigError, OperationError

ALUA_STATES = ("optimized", "non-optimized", "standby", "unavailable")
"""How good the paths through a target are, best first."""


class UsageError(OperationError):
    """The operation was asked for wrongly: exit code 2."""


class Kind(Enum):
    """What an argument holds, and so how it is checked and completed."""

    TEXT = "text"
    DISK = "disk"
    NEW_DISK = "new disk"
    TARGET = "target"
    INITIATOR = "initiator"
    URI = "uri"
    SIZE = "size"
    PORTAL = "portal"
    RULE = "rule"
    FILE = "file"
    SECRET = "secret"  # the command reads it from a file; it never stands on a command line
    NUMBER = "number"
    FLAG = "flag"


class Shape(Enum):
    """What a result looks like when it is printed."""

    NOW = "now"  # {"now": one line of what is now true, "changed": bool, ...}
    LIST = "list"  # {"items": [{...}, ...]}
    ITEM = "item"  # {...}
    WORDS = "words"  # {"items": ["...", ...]}, printed one a line


@dataclass(frozen=True)
class Argument:
    """One argument. Required ones are words in order; the others are --flags."""

    name: str
    kind: Kind
    help: str
    required: bool = False
    positional: bool = False
    choices: tuple[str, ...] = ()
    typed: str = ""

    @property
    def flag(self) -> str:
        """What is typed for it: --keep-file of keep_file, unless the row says otherwise."""
        return "--" + (self.typed or self.name).replace("_", "-")

    def check(self, value: Any) -> Any:
        """The value as the daemon uses it (names and rules in normal form, sizes in bytes). Raises ConfigError."""
        if self.kind is Kind.FLAG:
            if not isinstance(value, bool):
                raise ConfigError(f"{self.name} is true or false, not {value!r}")
            return value
        if self.kind is Kind.NUMBER:
            return _number(self.name, value)
        if self.kind is Kind.SIZE:
            return parse_size(value)
        if not isinstance(value, str):
            given = type(value).__name__ if self.kind is Kind.SECRET else repr(value)
            raise ConfigError(f"{self.name} is text, not {given}")
        if self.choices and value not in self.choices:
            raise ConfigError(f"{self.name} is {' or '.join(self.choices)}, not {value!r}")
        parse = _PARSERS.get(self.kind)
        return parse(value) if parse else value


def _number(name: str, value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ConfigError(f"{name} is a whole number, not {value!r}")
    return value


_PARSERS: dict[Kind, Callable[[str], str]] = {
    Kind.DISK: validate_disk_name,
    Kind.NEW_DISK: validate_disk_name,
    Kind.TARGET: validate_iscsi_name,
    Kind.INITIATOR: validate_iscsi_name,
    Kind.URI: lambda text: str(parse_backing(text)),
    Kind.PORTAL: lambda text: str(parse_portal(text)),
    Kind.RULE: lambda text: str(parse_access_rule(text)),
}


@dataclass(frozen=True)
class Operation:
    """One row: name ("noun.verb" or "verb"), help, arguments, the result's shape and, for lists, its columns."""

    name: str
    help: str
    arguments: tuple[Argument, ...] = ()
    shape: Shape = Shape.NOW
    columns: tuple[str, ...] = ()
    time_limit_seconds: int = 60
    """After this long without an answer or progress the client gives up."""

    @property
    def words(self) -> tuple[str, ...]:
        """What is typed: ("disk", "create")."""
        return tuple(self.name.split("."))

    def check(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Every argument by name, checked; None (flags: False) where it wasn't given. Raises UsageError."""
        known = {argument.name: argument for argument in self.arguments}
        for name in args:
            if name not in known:
                raise UsageError(f"{self.name} has no argument {name!r}")
        checked: dict[str, Any] = {}
        for name, argument in known.items():
            value = args.get(name)
            if value is None:
                if argument.required:
                    raise UsageError(f"{self.name} needs {name}: {argument.help}")
                checked[name] = False if argument.kind is Kind.FLAG else None
                continue
            try:
                checked[name] = argument.check(value)
            except ConfigError as error:
                raise UsageError(str(error)) from None
        return checked


def _word(name: str, kind: Kind, help_: str) -> Argument:
    return Argument(name, kind, help_, required=True, positional=True)


def _maybe(name: str, kind: Kind, help_: str) -> Argument:
    return Argument(name, kind, help_, positional=True)


def _flag(name: str, kind: Kind, help_: str, *choices: str, required: bool = False) -> Argument:
    return Argument(name, kind, help_, required=required, choices=choices)


_DISK = _word("name", Kind.DISK, "the disk's name")
_TARGET = _word("target", Kind.TARGET, "the target's IQN")
_FOR = Argument("initiator", Kind.INITIATOR, "only for this initiator", typed="for")
_DISCOVERY = _flag("discovery", Kind.FLAG, "instead of a target: who asks which targets there are")
_MAKE = (
    _flag("serial", Kind.TEXT, "its serial number, if another target has shown it before"),
    _flag("naa", Kind.TEXT, "its NAA designators there, in hexadecimal digits, separated by commas"),
    _flag("vendor", Kind.TEXT, "its vendor there, at most 8 characters"),
    _flag("product", Kind.TEXT, "its product name there, at most 16 characters"),
    _flag("revision", Kind.TEXT, "its revision there, at most 4 characters"),
    _flag("scsi_id", Kind.TEXT, "its T10 vendor designator there, at most 64 characters"),
    _flag("unit_serial", Kind.TEXT, "its serial number as it was shown there, blanks included, if that is another"),
    _flag("write_cache", Kind.TEXT, "off: every write is stable before it is answered", "on", "off"),
)
_MINUTES = 3600  # what copies or allocates a disk reports progress; this bounds its silence

_TABLE = (
    # -- disks
    Operation("disk.create", "Make a disk from a backing.", (
        _word("name", Kind.NEW_DISK, "the disk's name"),
        _word("uri", Kind.URI, "gluster://server/volume/path, file:///path or memory:NAME?size=64M"),
        _flag("size", Kind.SIZE, "size of a new file, as in 20G; an existing file keeps its own"),
        _flag("prealloc", Kind.TEXT, "allocate the whole file now (full) or as it is written (off)", "full", "off"),
        _flag("front", Kind.TEXT, "who serves it: the kernel's LIO or this daemon", "lio", "engine"),
        _flag("read_only", Kind.FLAG, "initiators may not write"),
        _flag("block_size", Kind.TEXT, "512 bytes; 512 on 4096 (512e); or 4096", *BLOCK_SIZES),
        _flag("provisioning", Kind.TEXT, "whether hosts may give space back", *PROVISIONINGS),
        _flag("removable", Kind.FLAG, "hosts may eject and load the medium"),
        _flag("background_rate", Kind.SIZE, "most that FORMAT UNIT and SANITIZE write a second, as in 50M"),
        *_MAKE,
    ), time_limit_seconds=_MINUTES),
    Operation("disk.list", "List the disks.", (), Shape.LIST, ("name", "front", "size_bytes", "state", "uri")),
    Operation("disk.show", "Show all about one disk.", (_DISK,), Shape.ITEM),
    Operation("disk.resize", "Change a disk's size.", (
        _DISK,
        _word("size", Kind.SIZE, "the new size, as in 40G"),
        _flag("force", Kind.FLAG, "also make it smaller: what lies beyond is lost"),
    )),
    Operation("disk.reset-record", "Give up a damaged record beside a disk: its reservations and saved pages.", (
        _DISK, _flag("confirm", Kind.FLAG, "yes, hosts that were fenced may write again"),
    )),
    Operation("disk.delete", "Delete a disk and its file.", (
        _DISK, _flag("keep_file", Kind.FLAG, "leave the file where it is"),
    ), time_limit_seconds=300),
    Operation("disk.move", "Let the other front serve a disk, and the targets that show it.", (
        _DISK, _flag("to", Kind.TEXT, "who serves it from now on", "lio", "engine", required=True),
        _flag("together", Kind.FLAG, "also what can't stay behind: other disks and targets on the same portals"),
    ), time_limit_seconds=300),
    Operation("disk.check", "Say whether a backing can be reached, and what is there.", (
        _word("uri", Kind.URI, "gluster://server/volume/path, file:///path or memory:NAME?size=64M"),
    ), Shape.ITEM),
    Operation("disk.stats", "Say what a disk has done since it was opened.", (_DISK,), Shape.ITEM),
    # -- targets of the engine
    Operation("target.create", "Make an iSCSI target.", (
        _maybe("target", Kind.TARGET, "its IQN; one is made up if there is none"),
        _flag("tid", Kind.NUMBER, "the number by which tgtadm's scripts know it; the lowest free one if there is none"),
    )),
    Operation("target.list", "List the targets.", (), Shape.LIST, ("target", "portals", "luns", "allowed", "sessions")),
    Operation("target.show", "Show all about one target.", (_TARGET,), Shape.ITEM),
    Operation("target.delete", "Delete a target; its disks stay.", (_TARGET,)),
    Operation("target.redirect", "Send a target's initiators to another portal.", (
        _TARGET,
        _maybe("portal", Kind.PORTAL, "ADDRESS[:PORT] where it is now; nothing: it is here"),
        _flag("permanent", Kind.FLAG, "for good, so that initiators may remember it"),
    )),
    Operation("target.alua", "Say how good the paths through a target are, to all its initiators (ALUA).", (
        _TARGET, Argument("state", Kind.TEXT, " or ".join(ALUA_STATES), True, True, ALUA_STATES),
    )),
    Operation("target.set", "Set an attribute or a parameter by LIO's name.", (
        _TARGET,
        Argument("group", Kind.TEXT, "attribute or parameter", True, True, ("attribute", "parameter")),
        _word("name", Kind.TEXT, "its name, as in generate_node_acls"),
        _word("value", Kind.TEXT, "the value"),
        _FOR,
    )),
    Operation("target.enable", "Let initiators find a target and log in.", (_TARGET,)),
    Operation("target.disable", "End a target's sessions and let nobody in.", (_TARGET,)),
    Operation("lun.map", "Show a disk as a LUN of a target.", (
        _TARGET,
        _word("disk", Kind.DISK, "the disk's name"),
        _flag("lun", Kind.NUMBER, "the LUN; the first free one if there is none"),
        _FOR,
        _flag("read_only", Kind.FLAG, "this initiator may not write to it (with --for)"),
    )),
    Operation("lun.unmap", "Take a LUN away from a target.", (
        _TARGET, _word("lun", Kind.NUMBER, "the LUN"), _FOR,
    )),
    Operation("portal.add", "Let a target listen on an address.", (
        _TARGET, _word("portal", Kind.PORTAL, "ADDRESS[:PORT]; port 3260 if there is none"),
        _flag("transport", Kind.TEXT, "tcp; the others need LIO and say so", "tcp", "iser", "fcoe"),
    )),
    Operation("portal.remove", "Stop listening on an address.", (
        _TARGET, _word("portal", Kind.PORTAL, "ADDRESS[:PORT]"),
    )),
    Operation("acl.allow", "Let initiators log in to a target.", (
        _TARGET, _word("rule", Kind.RULE, "all, an initiator's IQN, or an address or network"),
    )),
    Operation("acl.deny", "Take a permission back.", (
        _TARGET, _word("rule", Kind.RULE, "the rule as it was given to allow"),
    )),
    Operation("acl.list", "List who may log in.", (
        _maybe("target", Kind.TARGET, "only of this target"),
    ), Shape.LIST, ("target", "rule", "chap")),
    Operation("acl.map", "Show a LUN to one initiator, also under another number.", (
        _TARGET,
        _word("initiator", Kind.INITIATOR, "the initiator's IQN"),
        _word("lun", Kind.NUMBER, "the LUN of the target"),
        Argument("shown_as", Kind.NUMBER, "the number under which the initiator sees it", typed="as"),
        _flag("read_only", Kind.FLAG, "this initiator may not write to it"),
    )),
    Operation("acl.unmap", "Take a LUN away from one initiator.", (
        _TARGET,
        _word("initiator", Kind.INITIATOR, "the initiator's IQN"),
        _word("lun", Kind.NUMBER, "the LUN as the initiator sees it"),
    )),
    Operation("chap.set", "Ask initiators for a user and a password.", (
        _maybe("target", Kind.TARGET, "the target's IQN"),
        _DISCOVERY,
        _flag("initiator", Kind.INITIATOR, "only this initiator"),
        _flag("user", Kind.TEXT, "the user's name", required=True),
        _flag("password", Kind.SECRET, "12 to 16 characters", required=True),
        _flag("mutual_user", Kind.TEXT, "the name with which the target proves itself"),
        _flag("mutual_password", Kind.SECRET, "its password"),
    )),
    Operation("chap.clear", "Stop asking for a password.", (
        _maybe("target", Kind.TARGET, "the target's IQN"),
        _DISCOVERY,
        _flag("initiator", Kind.INITIATOR, "only this initiator"),
    )),
    Operation("chap.edit", "Change one part of what initiators have to prove.", (
        _maybe("target", Kind.TARGET, "the target's IQN"),
        _DISCOVERY,
        _flag("initiator", Kind.INITIATOR, "only this initiator"),
        _flag("user", Kind.TEXT, "the user's name; empty for none"),
        _flag("password", Kind.SECRET, "12 to 16 characters"),
        _flag("mutual_user", Kind.TEXT, "the name with which the target proves itself; empty for none"),
        _flag("mutual_password", Kind.SECRET, "its password"),
        _flag("ask", Kind.TEXT, "whether a password is asked for at all", "on", "off"),
    )),
    Operation("session.list", "List the sessions.", (
        _maybe("target", Kind.TARGET, "only of this target"),
    ), Shape.LIST, ("id", "target", "initiator", "address")),
    Operation("session.show", "Show all about one session.", (
        _word("id", Kind.NUMBER, "the session's id"),
    ), Shape.ITEM),
    Operation("session.close", "End a session; its initiator may log in again.", (
        _word("id", Kind.NUMBER, "the session's id"),
    )),
    # -- what tgtadm has a word for, and nobody else: for tcmu-gluster-tgtadm
    Operation("tgt.show", "Show everything as tgtadm's --op show needs it.", (), Shape.ITEM),
    Operation("tgt.add", "Show a file as a LUN of a target, making a disk of it if it is none yet.", (
        _TARGET,
        _word("lun", Kind.NUMBER, "the LUN"),
        _word("uri", Kind.URI, "the backing"),
        _flag("read_only", Kind.FLAG, "initiators may not write"),
        _flag("block_size", Kind.TEXT, "512 bytes; 512 on 4096 (512e); or 4096", *BLOCK_SIZES),
        *_MAKE,
    ), time_limit_seconds=300),
    Operation("tgt.update", "Change what a disk is called, or how it is shown; nobody may be logged in.", (
        _TARGET,
        _word("lun", Kind.NUMBER, "the LUN"),
        _flag("read_only", Kind.TEXT, "initiators may not write", "yes", "no"),
        *_MAKE,
    ), time_limit_seconds=300),
    Operation("tgt.remove", "Take a LUN away, and its disk if tgt.add made it; the file stays.", (
        _TARGET, _word("lun", Kind.NUMBER, "the LUN"),
    ), time_limit_seconds=300),
    Operation("tgt.account", "Remember a user and a password, to be bound to targets.", (
        _word("user", Kind.TEXT, "the user's name"),
        _flag("password", Kind.SECRET, "12 to 16 characters"),
        _flag("forget", Kind.FLAG, "forget the user, and take it from every target"),
    )),
    Operation("tgt.bind", "Ask a target's initiators for a remembered user's password.", (
        _TARGET,
        _word("user", Kind.TEXT, "the user's name"),
        _flag("outgoing", Kind.FLAG, "the target proves itself with it"),
        _flag("undo", Kind.FLAG, "no more"),
    )),
    Operation("tgt.portal", "Let every target listen there, also new ones.", (
        _word("portal", Kind.PORTAL, "ADDRESS[:PORT]"),
        _flag("undo", Kind.FLAG, "no more"),
    )),
    # -- the whole
    Operation("volume.list", "List the volumes of a server that are known here.", (
        _word("host", Kind.TEXT, "the Gluster server"),
    ), Shape.WORDS),
    Operation("volume.files", "List files and folders of a volume.", (
        _word("host", Kind.TEXT, "the Gluster server"),
        _word("volume", Kind.TEXT, "the volume's name"),
        _maybe("path", Kind.TEXT, "how the path begins"),
    ), Shape.WORDS),
    Operation("configuration", "Show all disks and targets of the engine; passwords are left out.", (), Shape.ITEM),
    Operation("save", "Write the configuration to a file.", (
        _maybe("file", Kind.FILE, "where; the daemon's own state file if there is none"),
    )),
    Operation("restore", "Make the configuration what a file says.", (
        _maybe("file", Kind.FILE, "a saveconfig.json; the daemon's own state file if there is none"),
        Argument("source", Kind.TEXT, "who wrote it; seen from the file if not given", choices=("lio", "engine"),
                 typed="from"),
        _flag("clear_existing", Kind.FLAG, "remove what is configured now first"),
    ), time_limit_seconds=300),
    Operation("clear", "Remove every target, disk and password of the engine; files stay.", (
        _flag("confirm", Kind.FLAG, "yes, all of it"),
    ), time_limit_seconds=300),
    Operation("why-denied", "Say why initiators were turned away lately.", (), Shape.LIST,
              ("when", "times", "target", "initiator", "address", "reason")),
    Operation("status", "Say how the daemon is.", (), Shape.ITEM),
    Operation("names", "List names, for completion.", (
        Argument("kind", Kind.TEXT, "of what", True, True, ("disk", "target", "initiator")),
    ), Shape.WORDS),
)  # fmt: skip

OPERATIONS: Mapping[str, Operation] = {operation.name: operation for operation in _TABLE}


def find(name: str) -> Operation:
    """The row of an operation. Raises UsageError."""
    operation: Optional[Operation] = OPERATIONS.get(name)
    if operation is None:
        raise UsageError(f"there is no operation {name[:60]!r}")
    return operation
