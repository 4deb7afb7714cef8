"""tcmu-gluster: noun, verb, arguments. The parser is made from the operations table.

Exit codes: 0 done, 1 refused (one sentence says why), 2 asked for wrongly, 3 the daemon can't be reached.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, Optional

from .. import __version__
from ..config.secret_file import read_secret
from ..config.settings import load_settings
from ..control.client import ControlClient, DaemonUnreachable
from ..control.operations import OPERATIONS, Argument, Kind, Operation, UsageError
from ..control.streams import hold_standard_streams, nobody_reads
from ..control.terminal import ProgressLine, call_with_progress, printable
from ..errors import ConfigError, TcmuGlusterError
from .completion import command_flag
from .local import add_local_verbs, settings_flags
from .render import as_json, render

NOUNS = {
    "disk": "disks: files on a volume, shown as SCSI disks",
    "target": "iSCSI targets of the engine",
    "lun": "which disks a target shows",
    "portal": "where a target listens",
    "acl": "who may log in to a target",
    "chap": "passwords of a target",
    "session": "who is logged in",
    "volume": "Gluster volumes",
    "tgt": "what only tcmu-gluster-tgtadm needs",
}
EXIT_REFUSED, EXIT_USAGE, EXIT_UNREACHABLE, EXIT_INTERRUPTED = 1, 2, 3, 130


class Parser(argparse.ArgumentParser):
    """argparse, but what is wrong is a UsageError of one sentence."""

    def error(self, message: str) -> NoReturn:
        """Raises UsageError."""
        words = self.prog.partition(" ")[2]
        raise UsageError(f"{words}: " * bool(words) + f"{message} (see {self.prog} --help)")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line. Its flags for every verb may stand before the verb or after it."""
    first, common = _flags_of_every_verb(), _flags_of_every_verb()
    first.set_defaults(json=False, debug=False, control_socket=None)
    parser = Parser(
        prog="tcmu-gluster",
        description="A file on a GlusterFS volume as a SCSI disk.",
        allow_abbrev=False,
        parents=[first],
    )
    parser.add_argument("--version", action="version", version=f"tcmu-gluster {__version__}")
    verbs = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")
    nouns: dict[str, Any] = {}
    for operation in OPERATIONS.values():
        place, word = verbs, operation.words[-1]
        if len(operation.words) == 2:
            noun = operation.words[0]
            if noun not in nouns:
                group = verbs.add_parser(
                    noun, parents=[common], help=NOUNS[noun], description=NOUNS[noun].capitalize() + "."
                )
                nouns[noun] = group.add_subparsers(metavar="VERB", required=True, title="verbs")
            place = nouns[noun]
        _add_operation(place, word, operation, common)
    add_local_verbs(verbs, common)
    return parser


def _flags_of_every_verb() -> Parser:
    """Without defaults: one that isn't given leaves what a flag before the verb said."""
    common = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print machine-readable output")
    common.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
    )
    common.add_argument("--control-socket", metavar="FILE", help="where the daemon listens")
    return common


def _add_operation(verbs: Any, word: str, operation: Operation, common: argparse.ArgumentParser) -> None:
    parser = verbs.add_parser(
        word, parents=[common], help=operation.help, description=operation.help, allow_abbrev=False
    )
    for argument in operation.arguments:
        _add_argument(parser, argument)
    parser.set_defaults(run=run_operation, operation=operation)


def _add_argument(parser: argparse.ArgumentParser, argument: Argument) -> None:
    metavar = "{" + ",".join(argument.choices) + "}" if argument.choices else argument.name.upper()
    if argument.positional:
        parser.add_argument(
            argument.name, nargs=None if argument.required else "?", metavar=metavar, help=argument.help
        )
    elif argument.kind is Kind.FLAG:
        parser.add_argument(argument.flag, dest=argument.name, action="store_true", default=None, help=argument.help)
    elif argument.kind is Kind.SECRET:
        text = f"a file that holds it ('-' for standard input): {argument.help}"
        flag = command_flag(argument)
        parser.add_argument(flag, dest=argument.name, metavar="FILE", required=argument.required, help=text)
    else:
        parser.add_argument(
            argument.flag, dest=argument.name, required=argument.required, metavar=metavar, help=argument.help
        )


def run_operation(options: argparse.Namespace) -> int:
    """Ask the daemon and print what it says."""
    operation: Operation = options.operation
    args = {argument.name: _value(argument, getattr(options, argument.name)) for argument in operation.arguments}
    operation.check(args)  # what can be said here need not be asked there
    settings = load_settings(settings_flags(options)).settings
    with ControlClient(settings.control_socket) as client:
        result = call_with_progress(client, operation.name, args, ProgressLine(as_json=options.json))
    for warning in result.get("warnings", ()):
        print(f"tcmu-gluster: {printable(str(warning))}", file=sys.stderr)
    text = as_json(result) if options.json else render(operation, result)
    if text:
        print(text)
    return 0


def _value(argument: Argument, given: Any) -> Any:
    if given is None:
        return None
    if argument.kind is Kind.FILE:
        return os.path.abspath(given)
    if argument.kind is Kind.SECRET:
        return read_secret(Path(given))
    return given


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one command line; returns the exit code."""
    hold_standard_streams()
    words = sys.argv[1:] if argv is None else argv
    debug, json_wanted = "--debug" in words, "--json" in words
    try:
        options = build_parser().parse_args(words)
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        nobody_reads()
        return EXIT_REFUSED
    except (TcmuGlusterError, OSError) as error:
        if debug:
            traceback.print_exc()
        return _fail(error, json_wanted)
    except Exception as error:
        if debug:
            raise
        return _fail(
            error, json_wanted, f"unexpected {type(error).__name__}: {error}; run it again with --debug and report it"
        )


def _fail(error: Exception, json_wanted: bool, sentence: str = "") -> int:
    sentence = printable(sentence or _sentence_of(error))
    code = EXIT_REFUSED
    if isinstance(error, DaemonUnreachable):
        code = EXIT_UNREACHABLE
    elif isinstance(error, (UsageError, ConfigError)):
        code = EXIT_USAGE
    if json_wanted:
        with contextlib.suppress(OSError):  # standard output may be what is wrong
            print(as_json({"error": sentence, "exit_code": code}), flush=True)
    print(f"tcmu-gluster: {sentence}", file=sys.stderr)
    return code


def _sentence_of(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
