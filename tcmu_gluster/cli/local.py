"""Verbs that are no rows of the table: export, serve, recover, settings and more. What they run is loaded late."""

from __future__ import annotations

import argparse
import importlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Optional

from ..config.addresses import AccessRule, Portal, parse_access_rule, parse_portal, read_otherwise
from ..config.disk_shape import BLOCK_SIZES, PLAIN, PROVISIONINGS, DiskShape
from ..config.names import validate_iscsi_name
from ..config.settings import Settings, flag_name, load_settings, variable_name
from ..config.sizes import parse_size, why_no_disk
from ..config.uri import parse_backing, size_to_make
from ..control.operations import OPERATIONS, UsageError
from ..control.terminal import printable
from ..errors import ConfigError, OperationError
from .completion import SHELLS, completion_script
from .importing import add_import
from .initiator import PARTS, run_initiator_config
from .installing import add_install
from .render import as_json, table

LARGEST_LUN = 16383
"""The largest LUN of the flat addressing method (SAM-5 4.7.7.3)."""


@dataclass(frozen=True)
class ExportOptions:
    """What `export` was asked for, checked. uri is canonical; the chaps are (user, file with the password)."""

    uri: str
    size: Optional[int] = None
    portals: tuple[Portal, ...] = (Portal("127.0.0.1"),)
    iqn: Optional[str] = None
    lun: int = 0
    read_only: bool = False
    shape: DiskShape = PLAIN
    write_same_to_end: bool = False
    allow: tuple[AccessRule, ...] = ()
    read_otherwise: tuple[str, ...] = ()
    """What rules were read as that say something else."""
    chap: Optional[tuple[str, Path]] = None
    mutual_chap: Optional[tuple[str, Path]] = None
    discovery_chap: Optional[tuple[str, Path]] = None
    json: bool = False


def add_local_verbs(verbs: Any, common: argparse.ArgumentParser) -> None:
    """Declare them on the parser's list of verbs."""
    _add_export(verbs, common)
    _add_daemon(verbs, common)

    settings = verbs.add_parser(
        "settings", parents=[common], help="list every setting, its value and where it comes from"
    )
    add_settings_flags(settings)
    settings.set_defaults(run=run_settings)

    initiators = verbs.add_parser(
        "initiator-config",
        parents=[common],
        help="print what initiators should be told, with the computed time-outs",
        description="Print multipath.conf, iscsid.conf, a udev rule, and what ESXi and Windows should be told, with "
        "the time-outs that follow from the settings.",
    )
    initiators.add_argument("part", nargs="?", choices=tuple(PARTS), help="only this")
    initiators.set_defaults(run=run_initiator_config)

    add_import(verbs, common)
    add_install(verbs, common)

    completion = verbs.add_parser("completion", parents=[common], help="print the shell's completion script")
    completion.add_argument("shell", choices=SHELLS)
    completion.set_defaults(run=run_completion, verbs=verbs)


def _add_export(verbs: Any, common: argparse.ArgumentParser) -> None:
    export = verbs.add_parser(
        "export",
        parents=[common],
        help="serve one disk in the foreground, without a daemon",
        description="Serve one disk over iSCSI until Ctrl-C, without a daemon or a configuration.",
    )
    export.add_argument("uri", metavar="URI", help="gluster://server/volume/path, file:///path or memory:NAME?size=64M")
    add = export.add_argument
    add("--size", help="make the file with this size if it is missing, as in 2G")
    add("--portal", action="append", metavar="ADDR[:PORT]", help="where to listen (127.0.0.1); repeatable")
    add("--iqn", help="the target's name; one is made up if there is none")
    add("--lun", type=int, default=0, help="the LUN (0)")
    add("--read-only", action="store_true", help="initiators may not write")
    add("--block-size", choices=BLOCK_SIZES, help="512 bytes (the default); 512 on 4096 (512e); or 4096")
    add("--provisioning", choices=PROVISIONINGS, help="whether hosts may give space back; thin where that can be done")
    add("--removable", action="store_true", help="hosts may eject and load the medium")
    add("--background-rate", metavar="SIZE", help="most that FORMAT UNIT and SANITIZE write a second, as in 50M")
    add(
        "--write-same-to-end",
        action="store_true",
        help="WRITE SAME of 0 blocks means all to the last one (WSNZ 0); "
        "then unmapped blocks are not promised to read as zeros, though they do",
    )
    add("--allow", action="append", metavar="all|IQN|CIDR", help="who may log in; repeatable")
    add("--chap", metavar="USER:FILE", help="ask for this user and the password in the file")
    add("--mutual-chap", metavar="USER:FILE", help="prove ourselves as this user to initiators that ask for it")
    add("--discovery-chap", metavar="USER:FILE", help="ask for this one before showing what there is")
    export.set_defaults(run=run_export)


def _add_daemon(verbs: Any, common: argparse.ArgumentParser) -> None:
    serve = verbs.add_parser(
        "serve",
        parents=[common],
        help="run the daemon",
        description="Run the daemon in the foreground: LIO's handler, the engine and the control socket.",
    )
    add_settings_flags(serve)
    serve.set_defaults(run=run_serve)

    recover = verbs.add_parser(
        "recover",
        parents=[common],
        help="free a host that hangs because a handler died",
        description="Release whoever waits for a handler that is gone: pending netlink answers, and the commands in "
        "the rings of our devices. Commands fail with an error.",
    )
    recover.add_argument("name", nargs="?", metavar="DISK", help="only this disk")
    recover.add_argument("--force", action="store_true", help="also while the daemon is running")
    add_settings_flags(recover)
    recover.set_defaults(run=run_recover)


def add_settings_flags(parser: argparse.ArgumentParser) -> None:
    """A flag for every setting."""
    group = parser.add_argument_group(
        "settings", "each is also a key of the settings file and a TCMU_GLUSTER_* variable"
    )
    for setting in fields(Settings):
        if setting.name != "control_socket":  # every verb has that one
            group.add_argument(
                flag_name(setting.name), dest=setting.name, metavar="VALUE", help=setting.metadata["help"]
            )


def settings_flags(options: argparse.Namespace) -> dict[str, Any]:
    """The flags among options that are settings, None where not given."""
    return {setting.name: getattr(options, setting.name, None) for setting in fields(Settings)}


def export_options(options: argparse.Namespace) -> ExportOptions:
    """The checked options of export. Raises UsageError."""
    try:
        iqn = validate_iscsi_name(options.iqn) if options.iqn else None
        rules = tuple(map(parse_access_rule, options.allow or ()))
        otherwise = tuple(f"--allow {words}" for words in map(read_otherwise, options.allow or ()) if words)
        portals = tuple(dict.fromkeys(map(parse_portal, options.portal or ("127.0.0.1",))))
        backing = parse_backing(options.uri)
        size = size_to_make(backing, parse_size(options.size) if options.size is not None else None)
        rate = parse_size(options.background_rate) if options.background_rate is not None else 0
        shape = DiskShape(options.block_size or "512", options.provisioning, options.removable, rate)
    except ConfigError as error:
        raise UsageError(str(error)) from None
    if not 0 <= options.lun <= LARGEST_LUN:
        raise UsageError(f"--lun lies between 0 and {LARGEST_LUN}, not {options.lun}")
    if size is not None and (why_not := why_no_disk(size, shape.logical_block_bytes)):
        raise UsageError(why_not)
    if not rules:
        raise UsageError("nobody would be allowed to log in; add --allow IQN (an initiator's name), "
                         "--allow 192.0.2.0/24 (a network) or, for everybody, --allow all")  # fmt: skip
    if options.mutual_chap and not options.chap:
        raise UsageError("--mutual-chap goes with --chap: who doesn't prove anything gets no proof")
    chap, mutual, discovery = (_chap(n, getattr(options, n)) for n in ("chap", "mutual_chap", "discovery_chap"))
    return ExportOptions(
        str(backing),
        size,
        portals,
        iqn,
        options.lun,
        options.read_only,
        shape,
        options.write_same_to_end,
        rules,
        otherwise,
        chap,
        mutual,
        discovery,
        options.json,
    )


def _chap(name: str, text: Optional[str]) -> Optional[tuple[str, Path]]:
    if text is None:
        return None
    user, colon, file = text.partition(":")
    if not user or not colon or not file:
        raise UsageError(f"{flag_name(name)} wants USER:FILE, where the file holds the password")
    return user, Path(file)


def run_export(options: argparse.Namespace) -> int:
    """Serve one disk in the foreground."""
    checked = export_options(options)
    try:
        return int(importlib.import_module("handler.export").run(checked) or 0)
    except ConfigError as error:  # what was typed is well formed; the world refused it
        raise OperationError(str(error)) from error


def run_serve(options: argparse.Namespace) -> int:
    """Run the daemon in the foreground."""
    settings = load_settings(settings_flags(options)).settings
    first_aid = importlib.import_module("handler.first_aid")
    child = first_aid.begin(settings)  # a crashed predecessor's commands must not wait until all the code is loaded
    service = importlib.import_module("handler.service")
    first_aid.finish(child)
    return int(service.run(settings) or 0)


def run_recover(options: argparse.Namespace) -> int:
    """Free a host that hangs."""
    settings = load_settings(settings_flags(options)).settings
    report = importlib.import_module("handler.recover").run(settings, name=options.name, force=options.force)
    print(as_json(report) if options.json else printable(report["now"]))
    return 0


def run_settings(options: argparse.Namespace) -> int:
    """List every setting."""
    loaded = load_settings(settings_flags(options))
    rows = [
        {**asdict(entry), "value": _shown(entry.value), "variable": variable_name(entry.name)}
        for entry in loaded.origins
    ]
    print(as_json({"items": rows}) if options.json else table(("name", "value", "origin", "help"), rows))
    return 0


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def run_completion(options: argparse.Namespace) -> int:
    """Print a completion script."""
    asked = {operation.words[0] for operation in OPERATIONS.values()}
    local = {verb: parser for verb, parser in options.verbs.choices.items() if verb not in asked}
    print(completion_script(options.shell, local), end="")
    return 0
