"""targetcli-gluster: targetcli's shell with our disks in it; where LIO is missing, the same tree over the engine.

    targetcli-gluster                              interactive
    targetcli-gluster /backstores/gluster create name=vm1 volume=vol host=server size=20G
    targetcli-gluster <<EOF ... EOF                a script; it goes on after an error, and then ends with 1
    targetcli-gluster --front lio|engine ...       instead of what this host and its daemon say

Exit codes: 0 done, 1 refused, 2 asked for wrongly, 3 the daemon can't be reached.
"""

from __future__ import annotations

import contextlib
import os
import readline
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from tcmu_gluster import __version__
from tcmu_gluster.config.settings import Settings, load_settings
from tcmu_gluster.control.client import DaemonUnreachable
from tcmu_gluster.control.streams import hold_standard_streams, nobody_reads
from tcmu_gluster.control.terminal import printable
from tcmu_gluster.errors import ConfigError, OperationError, TcmuGlusterError

from .configshell import ConfigShell, ExecutionError, Log
from .daemon import Ask, Daemon, SocketAsk
from .root import Root

PROGRAM = "targetcli-gluster"
HOME_VARIABLE = "TARGETCLI_GLUSTER_HOME"
EXIT_REFUSED, EXIT_USAGE, EXIT_UNREACHABLE, EXIT_INTERRUPTED = 1, 2, 3, 130


class Shell(ConfigShell):
    """configshell with targetcli's preferences; nothing that is typed (passwords!) is kept in a log file."""

    default_prefs = {
        "color_path": "magenta", "color_command": "cyan", "color_parameter": "magenta", "color_keyword": "cyan",
        "completions_in_columns": True, "logfile": None, "loglevel_console": "info", "loglevel_file": "critical",
        "color_mode": True, "prompt_length": 30, "tree_max_depth": 0, "tree_status_mode": True,
        "tree_round_nodes": True, "tree_show_root": True, "export_backstore_name_as_model": True,
        "auto_enable_tpgt": True, "auto_add_mapped_luns": True, "auto_cd_after_create": False,
        "auto_save_on_exit": True, "max_backup_files": "10", "auto_add_default_portal": True,
        "auto_use_daemon": False, "daemon_use_batch_mode": False, "bookmarks": {},
    }  # fmt: skip

    _current_node: Any

    def __init__(self, home: Optional[str]) -> None:
        """home: the folder of preferences and history, for this user alone; None keeps nothing."""
        fresh = True
        if home is not None:
            folder = Path(home).expanduser()
            with contextlib.suppress(OSError):  # a shell without a memory is a shell too
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = not (folder / "prefs.bin").exists()
        super().__init__(home)
        self.log = Log()
        if fresh:  # configshell's own default is to log every line
            self.prefs["loglevel_file"] = "critical"

    def run_cmdline(self, cmdline: str) -> None:
        """A line with a password is not among those that are kept."""
        try:
            super().run_cmdline(cmdline)
        finally:
            last = readline.get_current_history_length()
            if "password" in cmdline and last and readline.get_history_item(last) == cmdline:
                readline.remove_history_item(last - 1)

    def stay(self) -> None:
        """The tree was built anew: be in the node of the same path, or in the nearest that is still there."""
        path = "/" if self._current_node is None else self._current_node.path
        while True:
            try:
                self._current_node = self._root_node.get_node(path)
                return
            except ValueError:
                path = path.rpartition("/")[0] or "/"

    @property
    def ended(self) -> bool:
        """Somebody typed exit."""
        return bool(self._exit)


def choose_front(asked: Optional[str], settings: Settings, ask: Ask) -> str:
    """lio or engine: as asked, as the daemon serves, or as this host is if nobody answers. Raises DaemonUnreachable."""
    if asked is not None:
        return asked
    try:
        return "engine" if ask("status", {}).get("lio") == "off" else "lio"
    except DaemonUnreachable:
        if settings.lio != "off" and os.geteuid() == 0 and (settings.configfs / "target").is_dir():
            return "lio"
        raise


def make_shell(front: str, ask: Ask, home: Optional[str]) -> Shell:
    """A shell with its tree. Raises ExecutionError, TcmuGlusterError."""
    shell = Shell(home)

    daemon = Daemon(ask, shell.log)
    if front == "lio":
        try:
            from .lio import make_root  # targetcli, rtslib and gi are only where LIO is

            make_root(shell, daemon)
        except (ImportError, OSError) as error:
            raise OperationError(f"LIO's tree can't be shown here ({error}); without LIO: --front engine") from error
    else:
        Root(shell, daemon).refresh()
    return shell


def run_line(shell: Shell, line: str) -> bool:
    """One command line; False if it was refused, and then the sentence was said."""
    try:
        shell.run_cmdline(line)
    except (ExecutionError, TcmuGlusterError) as error:
        shell.log.error(printable(str(error)))
        return False
    except BrokenPipeError:
        raise
    except Exception as error:  # rtslib's errors, and whatever a node did not foresee: the shell lives on
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        shell.log.error(printable(str(error) or type(error).__name__))
        return False
    return True


def run_script(shell: Shell, lines: Any) -> int:
    """Every line, also after one that was refused; what is empty or begins with # is no command."""
    refused = 0
    for line in lines:
        text = line.strip()
        if text and not text.startswith("#"):
            refused += not run_line(shell, text)
        if shell.ended:
            break
    return EXIT_REFUSED if refused else 0


def run_interactive(shell: Shell) -> int:
    """Until exit or end of file."""
    shell.con.display(f"{PROGRAM} shell version {__version__}\nFor help on commands, type 'help'.\n")
    while not shell.ended:
        try:
            shell.run_interactive()
        except (ExecutionError, TcmuGlusterError) as error:
            shell.log.error(printable(str(error)))
        except EOFError:
            break
        except Exception as error:
            shell.log.error(printable(str(error) or type(error).__name__))
    return 0


def parse(argv: Sequence[str]) -> tuple[dict[str, Optional[str]], list[str]]:
    """(our options, the command line). Raises ConfigError."""
    options: dict[str, Optional[str]] = {"front": None, "control_socket": None}
    words = list(argv)
    while words and words[0].startswith("--"):
        name, equals, value = words.pop(0)[2:].partition("=")
        key = name.replace("-", "_")
        if key in ("help", "version"):
            options[key] = "yes"
            continue
        if key not in options:
            raise ConfigError(f"unknown option --{name}; {PROGRAM} --help shows what there is")
        if not equals:
            if not words:
                raise ConfigError(f"--{name} needs a value")
            value = words.pop(0)
        options[key] = value
    if options["front"] not in (None, "lio", "engine"):
        raise ConfigError(f"--front is lio or engine, not {options['front']!r}")
    return options, words


def main(argv: Optional[Sequence[str]] = None, environ: Optional[Mapping[str, str]] = None) -> int:
    """Returns the exit code."""
    hold_standard_streams()
    try:
        code = _main(argv, environ)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        nobody_reads()
        return EXIT_REFUSED


def _main(argv: Optional[Sequence[str]], environ: Optional[Mapping[str, str]]) -> int:
    environ = os.environ if environ is None else environ
    try:
        options, words = parse(sys.argv[1:] if argv is None else argv)
        if "help" in options or "version" in options:
            print((__doc__ or "").strip() if "help" in options else f"{PROGRAM} {__version__}")
            return 0
        settings = load_settings({"control_socket": options["control_socket"]}, environ).settings
        ask = SocketAsk(Path(settings.control_socket))
        front = choose_front(options["front"], settings, ask)
        shell = make_shell(front, ask, environ.get(HOME_VARIABLE, "~/.targetcli-gluster"))
    except DaemonUnreachable as error:
        return _fail(str(error), EXIT_UNREACHABLE)
    except ConfigError as error:
        return _fail(str(error), EXIT_USAGE)
    except BrokenPipeError:
        raise
    except (ExecutionError, TcmuGlusterError, ImportError, OSError) as error:
        return _fail(str(error), EXIT_REFUSED)
    if words:
        return 0 if run_line(shell, " ".join(words)) else EXIT_REFUSED
    code = run_interactive(shell) if sys.stdin.isatty() else run_script(shell, sys.stdin)
    if front == "lio" and shell.prefs["auto_save_on_exit"]:  # as targetcli does; the engine saves every change itself
        run_line(shell, "/ saveconfig")
    return code


def _fail(sentence: str, code: int) -> int:
    print(f"{PROGRAM}: {printable(sentence)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
