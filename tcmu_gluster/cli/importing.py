"""import: take over what tgt, tcmu-runner or gluster-block serve, with the identities that initiators know.

The file is read here, with the rights of whoever asks: it may hold passwords. Each target is done as a whole or not at
all; what is so already is left as it is.
"""

from __future__ import annotations

import argparse
import glob
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from ..config.settings import load_settings
from ..control.client import ControlClient, DaemonUnreachable
from ..control.terminal import ProgressLine, call_with_progress, printable
from ..errors import ConfigError, OperationError, TcmuGlusterError
from ..foreign import gluster_block, saveconfig, tgt_conf
from ..foreign.plan import Group, Plan, Step
from .render import as_json

FORMS = ("targets.conf", "saveconfig.json", "gluster-block")
LARGEST_FILE_BYTES = 64 << 20
EXIT_REFUSED = 1
SHOWN = ("serial", "unit_serial", "vendor", "naa", "scsi_id")
"""What tgt.show says about a LUN's identity."""


class Daemon(Protocol):
    """Who answers operations."""

    def call(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """One operation. Raises OperationError, DaemonUnreachable."""
        ...


class _Shown:
    """A daemon whose long operations are seen to go on."""

    def __init__(self, client: ControlClient, as_json: bool) -> None:
        self._client, self._as_json = client, as_json

    def call(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
        return call_with_progress(self._client, name, args, ProgressLine(as_json=self._as_json))


def add_import(verbs: Any, common: argparse.ArgumentParser) -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "import",
        parents=[common],
        help="take over what tgt, tcmu-runner or gluster-block serve",
        description="Take over tgt's targets.conf, a saveconfig.json with disks of tcmu-runner's glfs handler, or a "
        "folder of gluster-block's metadata (block-meta), with IQNs, LUNs, serial numbers, NAA and vendor strings.",
    )
    parser.add_argument("file", metavar="FILE", help="the file, or the folder of gluster-block's metadata")
    parser.add_argument("--from", dest="form", choices=FORMS, help="what it is; seen from its content if not given")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.set_defaults(run=run_import)


# -- reading ----------------------------------------------------------------------------------------------------------


def read_plan(file: str, form: str) -> Plan:
    """The plan of a file or folder; form '' is seen from it. Raises ConfigError."""
    path = os.path.abspath(file)
    if not form and os.path.isdir(path):
        form = "gluster-block"
    if form == "gluster-block":
        return gluster_block.plan(_read_folder(path))
    text = _read(path)
    if not form:
        form = "saveconfig.json" if text.lstrip()[:1] == "{" else "targets.conf"
    if form == "saveconfig.json":
        return saveconfig.plan(path, text)
    here = os.path.dirname(path)
    return tgt_conf.plan(path, text, lambda pattern: _included(here, pattern), _is_store)


def _read(path: str) -> str:
    try:
        with open(path, "rb") as stream:
            data = stream.read(LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from None
    if len(data) > LARGEST_FILE_BYTES:
        raise ConfigError(f"{path} is larger than a configuration can be")
    if b"\0" in data:
        raise ConfigError(f"{path} is no text; name a targets.conf, a saveconfig.json or a folder block-meta")
    return data.decode("utf-8", "surrogateescape")


def _read_folder(path: str) -> dict[str, str]:
    try:
        names = sorted(entry.name for entry in os.scandir(path) if entry.is_file() and "." not in entry.name)
    except OSError as error:
        raise ConfigError(f"the folder {path} can't be read: {error.strerror}") from None
    return {name: _read(os.path.join(path, name)) for name in names}


def _included(here: str, pattern: str) -> Iterator[tuple[str, str]]:
    for found in sorted(glob.glob(os.path.join(here, pattern))):
        if os.path.isdir(found):  # as Apache: every file in it
            yield from _included(found, "*")
        else:
            yield found, _read(found)


def _is_store(path: str) -> bool:
    return os.path.exists(path) and not os.path.isdir(path)


# -- doing ------------------------------------------------------------------------------------------------------------


class Importer:
    """Carries a plan out. notes are what became of it beyond the outcome of each group."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.notes: list[str] = []

    def run(self, plan: Plan) -> list[dict[str, Any]]:
        """{"name", "outcome": done|already so|refused, "reason", "steps"} of every group. Raises DaemonUnreachable."""
        outcomes = [self._group(group) for group in plan.groups]
        done = {outcome["name"] for outcome in outcomes if outcome["outcome"] != "refused"}
        self._compare([step for group in plan.groups if group.name in done for step in group.steps])
        return outcomes

    def _group(self, group: Group) -> dict[str, Any]:
        made: list[Step] = []
        outcome = {"name": group.name, "outcome": "already so", "reason": "",
                   "steps": [step.words for step in group.steps]}  # fmt: skip
        for step in group.steps:
            try:
                result = self._daemon.call(step.op, self._args(step))
            except DaemonUnreachable:
                raise
            except (OperationError, ConfigError) as error:
                self._undo(made)
                return {**outcome, "outcome": "refused", "reason": f"{step.words}: {error}"}
            self.notes += [str(warning) for warning in result.get("warnings", ())]
            if result.get("changed"):
                made.append(step)
                outcome["outcome"] = "done"
        return outcome

    def _args(self, step: Step) -> dict[str, Any]:
        """Of a target that is there already, or whose tid is taken, the tid is not insisted on."""
        args = dict(step.args)
        if step.op == "target.create" and args.get("tid"):
            tids = {one["tid"]: one["target"] for one in self._daemon.call("tgt.show", {})["targets"]}
            owner = tids.get(args["tid"])
            if args["target"] in tids.values():
                del args["tid"]
            elif owner is not None:
                self.notes.append(
                    f"{args['target']} gets another tid than {args['tid']}, which {owner} has; initiators don't see it"
                )
                del args["tid"]
        return args

    def _undo(self, made: list[Step]) -> None:
        """Take back what this group has made: a target goes with all that is below it."""
        fresh = {step.args["target"] for step in made if step.op == "target.create"}
        for step in reversed(made):
            target = step.args.get("target")
            if step.op == "disk.create":
                self._try("disk.delete", {"name": step.args["name"], "keep_file": True})
            elif step.op == "tgt.add":
                self._try("tgt.remove", {"target": target, "lun": step.args["lun"]})
            elif step.op == "target.create":
                self._try("target.delete", {"target": target})
            elif step.op == "acl.allow" and target not in fresh:
                self._try("acl.deny", {"target": target, "rule": step.args["rule"]})
            elif target not in fresh:  # what it replaced (a password, a state) nobody has kept
                self.notes.append(f"{step.words}: this stays, though the rest was taken back")

    def _try(self, op: str, args: dict[str, Any]) -> None:
        try:
            self._daemon.call(op, args)
        except TcmuGlusterError as error:
            self.notes.append(f"{op} of {args.get('target') or args.get('name')} failed: {error}")

    def _compare(self, steps: list[Step]) -> None:
        """A disk that was there before keeps what it is called; say so where that is something else."""
        wanted = {(step.args["target"], step.args["lun"]): step.args for step in steps if step.op == "tgt.add"}
        if not wanted:
            return
        for target in self._daemon.call("tgt.show", {})["targets"]:
            for lun in target["luns"]:
                args = dict(wanted.get((target["target"], lun["lun"]), {}))
                if args.get("unit_serial"):  # serial is only what the disk is known by here
                    args.pop("serial")
                wrong = [key for key in SHOWN if args.get(key) and key in lun and args[key] != lun[key]]
                if wrong:
                    self.notes.append(
                        f"LUN {lun['lun']} of {target['target']} is a disk that was here before and keeps its "
                        f"{', '.join(wrong)}; change it with tgt update while nobody is logged in"
                    )


def run_import(options: argparse.Namespace) -> int:
    """Read, plan, and do it unless --dry-run."""
    plan = read_plan(options.file, options.form or "")
    notes = list(plan.notes)
    if options.dry_run:
        outcomes = [{"name": group.name, "outcome": "would be done", "reason": "",
                     "steps": [step.words for step in group.steps]} for group in plan.groups]  # fmt: skip
    else:
        settings = load_settings({"control_socket": Path(options.control_socket) if options.control_socket else None})
        with ControlClient(settings.settings.control_socket) as client:
            importer = Importer(_Shown(client, options.json))
            outcomes = importer.run(plan)
        notes += importer.notes
    for note in notes:
        print(f"tcmu-gluster: {printable(note)}", file=sys.stderr)
    print(as_json({"items": outcomes, "notes": notes}) if options.json else _text(outcomes, options.dry_run))
    nothing = notes and not outcomes  # what there was could not be used
    return EXIT_REFUSED if nothing or any(outcome["outcome"] == "refused" for outcome in outcomes) else 0


def _text(outcomes: list[dict[str, Any]], with_steps: bool) -> str:
    lines = []
    for outcome in outcomes:
        reason = f" ({outcome['reason']})" if outcome["reason"] else ""
        lines.append(printable(f"{outcome['name']}: {outcome['outcome']}{reason}"))
        lines += [printable(f"    {words}") for words in outcome["steps"]] if with_steps else []
    return "\n".join(lines) or "there is nothing to take over"
