"""The doubles of the tests are what the engine asks for."""

from __future__ import annotations

from typing import get_type_hints

from tcmu_gluster.iscsi.directory import Directory, TargetEntry
from tests.doubles import iscsi_wire


def test_doubles_have_every_member_of_the_protocols() -> None:
    for protocol, double in ((Directory, iscsi_wire.Directory()), (TargetEntry, iscsi_wire.Entry())):
        methods = [name for name, value in vars(protocol).items() if callable(value) and not name.startswith("_")]
        for name in (*methods, *get_type_hints(protocol)):
            assert hasattr(double, name), f"{type(double).__name__} lacks {name}"
