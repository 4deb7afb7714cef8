from __future__ import annotations

from pathlib import Path

import pytest

from tcmu_gluster.cli.local import export_options
from tcmu_gluster.cli.main import build_parser
from tcmu_gluster.config.addresses import Portal
from tcmu_gluster.control.operations import UsageError


def options(*words: str) -> object:
    return export_options(build_parser().parse_args(["export", *words]))


def test_export_options_are_checked_and_normal() -> None:
    words = ["vol@host:disk3", "--size", "2G", "--lun", "3", "--iqn", "IQN.2013-10.com.redhat", "--json"]
    words += ["--portal", "127.0.0.1:3261", "--portal", "::1"]
    words += ["--allow", "all", "--allow", "10.0.0.0/8", "--chap", "u:/etc/pw:x"]
    out = export_options(build_parser().parse_args(["export", *words]))
    assert out.uri == "gluster://host/vol/disk3"
    assert (out.size, out.lun, out.iqn, out.json) == (2 << 30, 3, "iqn.2013-10.com.redhat", True)
    assert out.portals == (Portal("127.0.0.1", 3261), Portal("::1"))
    assert [str(rule) for rule in out.allow] == ["all", "10.0.0.0/8"]
    assert out.chap == ("u", Path("/etc/pw:x"))


def test_export_defaults() -> None:
    out = export_options(build_parser().parse_args(["export", "memory:x", "--allow", "all"]))
    assert (out.portals, out.lun, out.read_only, out.size, out.chap) == ((Portal("127.0.0.1"),), 0, False, None, None)


def test_export_without_a_rule_is_refused() -> None:
    with pytest.raises(UsageError, match="--allow all"):
        options("memory:x")
