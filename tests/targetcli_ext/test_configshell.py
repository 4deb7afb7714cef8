from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional

import pytest

from targetcli_ext.configshell import NEW, OLD, Log, chosen


def host(tmp_path: Path, ui_node: Optional[str], *installed: str) -> Callable[[str], Optional[Any]]:
    """find_spec of a host with these packages, and with a targetcli that begins so."""
    if ui_node is not None:
        (tmp_path / "ui_node.py").write_text(ui_node)
        installed = (*installed, "targetcli")

    def find(name: str) -> Optional[Any]:
        return SimpleNamespace(submodule_search_locations=[str(tmp_path)]) if name in installed else None

    return find


@pytest.mark.parametrize(
    ("ui_node", "installed", "name"),
    [
        ("import six\n\nfrom configshell_fb import ConfigNode\n", (OLD, NEW), OLD),
        ("from configshell import ConfigNode, ExecutionError\n", (OLD, NEW), NEW),
        (None, (OLD, NEW), OLD),
        (None, (OLD,), OLD),
        (None, (NEW,), NEW),
    ],
)
def test_the_one_that_targetcli_uses(
    tmp_path: Path, ui_node: Optional[str], installed: tuple[str, ...], name: str
) -> None:
    assert chosen(host(tmp_path, ui_node, *installed)) == name


def test_a_targetcli_that_may_not_be_looked_at_is_none(tmp_path: Path) -> None:
    def refuse(name: str) -> Any:
        raise ImportError(name)

    assert chosen(refuse) == NEW
    assert chosen(host(tmp_path / "gone", None, "targetcli", OLD)) == OLD


def test_the_choice_imports_nothing_of_targetcli() -> None:
    code = "import sys, targetcli_ext.configshell; print(sorted({'targetcli', 'rtslib_fb', 'gi'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_debug_line_names_who_says_it(tmp_path: Path) -> None:
    log = Log()
    before = log.prefs["logfile"], log.prefs["loglevel_file"]
    try:
        log.prefs["logfile"], log.prefs["loglevel_file"] = str(tmp_path / "log"), "info"
        log.debug("not asked for")
        log.prefs["loglevel_file"] = "debug"
        log.debug("seen")
    finally:
        log.prefs["logfile"], log.prefs["loglevel_file"] = before
    said = (tmp_path / "log").read_text()
    assert said.count("\n") == 1 and said.endswith("test_a_debug_line_names_who_says_it() seen\n") and __file__ in said
