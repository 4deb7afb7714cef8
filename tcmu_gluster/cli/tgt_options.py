"""tgtadm's command line, as people and scripts type it: getopt_long's rules, tgtadm's names and its complaints."""

from __future__ import annotations

import getopt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Optional

from ..control.operations import UsageError

EINVAL, ENOTCONN, UNKNOWN_WORD = 22, 107, 1
"""tgtadm's exit codes: the daemon's errno, or 1 for a mode or operation that there is none of."""

# short letter (of the man page), long name, whether it has a value
_OPTIONS = (
    ("d", "debug", False), ("h", "help", False), ("V", "version", False), ("L", "lld", True), ("o", "op", True),
    ("m", "mode", True), ("t", "tid", True), ("s", "sid", True), ("c", "cid", True), ("l", "lun", True),
    ("n", "name", True), ("v", "value", True), ("b", "backing-store", True), ("E", "bstype", True),
    ("f", "bsoflags", True), ("S", "bsopts", True), ("y", "blocksize", True), ("T", "targetname", True),
    ("I", "initiator-address", True), ("Q", "initiator-name", True), ("u", "user", True), ("p", "password", True),
    ("H", "host", True), ("F", "force", False), ("P", "params", True), ("B", "bus", True), ("Y", "device-type", True),
    ("O", "outgoing", False), ("C", "control-port", True),
)  # fmt: skip
_SHORT = "".join(letter + ":" * valued for letter, _, valued in _OPTIONS if letter not in "FO") + "FO"
_LONG = [name + "=" * valued for _, name, valued in _OPTIONS]
_NAME_OF = {f"-{letter}": name for letter, name, _ in _OPTIONS} | {f"--{name}": name for _, name, _ in _OPTIONS}
_NUMBERS = {"tid": "t", "sid": "s", "cid": "c", "lun": "l", "blocksize": "y"}
MODES = {
    "target": "target", "tgt": "target", "logicalunit": "logicalunit", "lu": "logicalunit", "portal": "portal",
    "pt": "portal", "session": "session", "sess": "session", "connection": "conn", "conn": "conn", "system": "system",
    "sys": "system", "account": "account", "lld": "lld",
}  # fmt: skip
OPS = ("new", "delete", "bind", "unbind", "show", "update", "stat", "start")


class TgtError(UsageError):
    """What tgtadm would print after its name, and the code that it would end with."""

    def __init__(self, sentence: str, code: int = EINVAL, hint: bool = False, bare: bool = False) -> None:
        super().__init__(sentence)
        self.code, self.hint, self.bare = code, hint, bare


@dataclass(frozen=True)
class TgtOptions:
    """One command line. given: long names -> values ('' for those without one)."""

    mode: str
    op: str
    given: dict[str, str] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """The option's value; '' if it was not given."""
        return self.given.get(name, "")

    def number(self, name: str) -> Optional[int]:
        """The option's value as a number; None if it was not given."""
        return int(self.given[name], 0) if name in self.given else None

    def need(self, name: str) -> int:
        """A number that the operation can't do without."""
        value = self.number(name)
        if value is None:
            raise TgtError(f"'{name}' option is necessary")
        return value

    def params(self) -> dict[str, str]:
        """-P a=b,c=d."""
        pairs = (word.partition("=") for word in self.text("params").split(",") if word)
        return {key.strip(): value for key, _, value in pairs}


def parse(argv: Sequence[str]) -> TgtOptions:
    """The command line. Raises TgtError. Abbreviated long options are taken, as getopt_long does."""
    try:
        pairs, rest = getopt.gnu_getopt(list(argv), _SHORT, _LONG)
    except getopt.GetoptError as error:
        what = f"--{error.opt}" if len(error.opt) > 1 else f"-{error.opt}"
        missing = "requires" in error.msg
        raise TgtError(
            f"option '{what}' requires an argument" if missing else f"unrecognized option '{what}'", hint=True
        ) from None
    if rest:
        raise TgtError(f"unrecognized option '{rest[0]}'", hint=True)
    given = {_NAME_OF[option]: value for option, value in pairs}
    for name in ("help", "version"):
        if name in given:
            return TgtOptions(name, name, given)
    for name, letter in _NUMBERS.items():
        _check_number(name, letter, given)
    op, mode = given.get("op", ""), given.get("mode", "")
    if op and op not in OPS:
        raise TgtError(f"unknown operation: {op}", UNKNOWN_WORD)
    if mode and mode not in MODES:
        raise TgtError(f"unknown mode: {mode}", UNKNOWN_WORD)
    if not op:
        raise TgtError("specify the operation type")
    if not mode:
        raise TgtError("specify the mode")
    return TgtOptions(MODES[mode], op, given)


def _check_number(name: str, letter: str, given: dict[str, str]) -> None:
    if name not in given:
        return
    try:
        value = int(given[name], 0)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 63:
        raise TgtError(f"-{letter} argument value '{given[name]}' invalid", hint=True, bare=True)
    if name == "tid" and value == 0:
        raise TgtError("'tid' cannot be 0")
