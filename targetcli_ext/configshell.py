"""The configshell that this host's targetcli uses: its nodes and our shell must come from the same one.

Since its version 2 configshell-fb installs two copies of itself, configshell and configshell_fb (rtslib-fb does too);
targetcli imports the first since its version 3, the second before. A host without targetcli has either.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

OLD, NEW = "configshell_fb", "configshell"
Find = Callable[[str], Optional[Any]]


def chosen(find: Find = importlib.util.find_spec) -> str:
    """The module's name. Nothing is imported for it."""
    folder = _folder("targetcli", find)
    if folder is not None:
        with contextlib.suppress(OSError):
            text = (folder / "ui_node.py").read_text("utf-8", "replace")
            return NEW if re.search(rf"^from {NEW} import", text, re.MULTILINE) else OLD
    return OLD if _folder(OLD, find) is not None else NEW


def _folder(package: str, find: Find) -> Optional[Path]:
    with contextlib.suppress(ImportError, ValueError):
        spec = find(package)
        if spec is not None and spec.submodule_search_locations:
            return Path(next(iter(spec.submodule_search_locations)))
    return None


_module: Any = importlib.import_module(chosen())
ConfigNode: Any = _module.ConfigNode
ConfigShell: Any = _module.ConfigShell
ExecutionError: Any = _module.ExecutionError


class Log(_module.Log):
    """configshell's log, quick: its own debug() reads the source of every frame, whether or not somebody reads it."""

    def debug(self, msg: object) -> None:
        """Who says it, and what."""
        caller = sys._getframe(1)
        self._log("debug", f"{caller.f_code.co_filename}:{caller.f_lineno} {caller.f_code.co_name}() {msg}")
