"""Attributes, parameters and passwords: the groups that `get` and `set` know, of a portal group and of an ACL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .node import Node

Facts = Mapping[str, Any]
AUTH = ("userid", "password", "mutual_userid", "mutual_password")
WORDS = {"userid": "user", "password": "password", "mutual_userid": "mutual_user", "mutual_password": "mutual_password"}
"""targetcli's names of what chap edit takes."""
YES_NO = frozenset({"DataPDUInOrder", "DataSequenceInOrder", "IFMarker", "OFMarker", "InitialR2T", "ImmediateData"})


class Group(Node):
    """A node with LIO's attributes, parameters and passwords: a portal group, or an initiator's ACL."""

    def define(self, facts: Facts) -> None:
        """The groups that get and set know."""
        for name in facts.get("attributes", ()):
            self.define_config_group_param("attribute", name, "number", "")
        for name in facts.get("parameters", ()):
            self.define_config_group_param("parameter", name, "yesno" if name in YES_NO else "string", "")
        for name in AUTH:
            self.define_config_group_param("auth", name, "string", "")

    @property
    def facts(self) -> Facts:
        """What the daemon says about it."""
        raise NotImplementedError

    @property
    def place(self) -> dict[str, Any]:
        """The operation's arguments that name it."""
        raise NotImplementedError

    def ui_getgroup_attribute(self, name: str) -> Any:
        """LIO's name."""
        return self.facts["attributes"].get(name)

    def ui_setgroup_attribute(self, name: str, value: Any) -> None:
        """Warned about where it opens a door, or where the engine does not act on it."""
        self._set("attribute", name, value)

    def ui_getgroup_parameter(self, name: str) -> Any:
        """The standard's name."""
        return self.facts["parameters"].get(name)

    def ui_setgroup_parameter(self, name: str, value: Any) -> None:
        """Kept for LIO."""
        self._set("parameter", name, value)

    def _set(self, group: str, name: str, value: Any) -> None:
        self._ask("target.set", group=group, name=name, value=str(value))

    def ui_getgroup_auth(self, name: str) -> Any:
        """Passwords are not shown."""
        return self.facts["auth"].get(name)

    def ui_setgroup_auth(self, name: str, value: Any) -> None:
        """One at a time, as it is typed."""
        half = name.endswith("userid")  # its password comes next, and would be missed
        self._ask("chap.edit", quietly=half, **{WORDS[name]: value or ""})

    def _ask(self, operation: str, /, *, quietly: bool = False, **args: Any) -> None:
        result = self.daemon.question(operation, **args, **self.place)
        for warning in () if quietly else result.get("warnings", ()):
            self.shell.log.warning(warning)
        self.root.picture()
