"""Settings of the daemon and the command: defaults < the settings file < TCMU_GLUSTER_* variables < flags.

The fields of Settings are the table: name, type, default and help of every setting live there and nowhere else.
"""

from __future__ import annotations

import os
import sys
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Optional

from ..errors import ConfigError
from .addresses import Portal, parse_portal

if sys.version_info >= (3, 11):
    import tomllib
else:  # the same module under its name before Python took it in
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

NAME = "tcmu-gluster"
PREFIX = "TCMU_GLUSTER_"
NEARLY = 0.9
"""How like two words are (difflib's ratio) of which one is taken for a slip of the other."""
LINUX_SCSI_TIMER_SECONDS = 30
TIME_BUDGET = (
    "gluster_ping_timeout_seconds",
    "command_limit_seconds",
    "lio_cmd_time_out_seconds",
    "initiator_timer_seconds",
)
"""Each has to be noticed before the next one acts."""
CHAP_ALGORITHMS = ("md5", "sha1", "sha256", "sha3_256")
AT_LEAST_ONE = (
    "retry_seconds", "drain_seconds", "gluster_ping_timeout_seconds", "max_connections", "max_connections_per_address",
    "max_logins", "max_logins_per_address", "login_seconds", "ping_seconds", "data_seconds",
    "max_commands", "max_commands_per_address",
    "session_commands", "session_connections", "buffer_mib", "connection_buffer_mib", "address_buffer_mib",
    "slow_reader_seconds",     "slow_reader_kib", "logout_seconds", "recovery_seconds", "kept_mib",
)  # fmt: skip
AT_MOST = {
    "session_commands": 4096,
    "logout_seconds": 0xFFFF,  # Parameter3 of an asynchronous message (RFC 7143 11.9)
    "retain_seconds": 3600,  # DefaultTime2Retain (RFC 7143 13.16)
}
LONGEST_FILE_BYTES = 1 << 20

_UNSET = Path()  # replaced by default_paths()


@dataclass(frozen=True)
class Settings:
    """What the daemon runs with. Paths without a default here have one by user: default_paths()."""

    state_file: Path = field(default=_UNSET, metadata={"help": "where the configuration of disks and targets is kept"})
    control_socket: Path = field(default=_UNSET, metadata={"help": "the Unix socket that the command talks to"})
    lio: str = field(
        default="auto", metadata={"help": "serve the kernel's TCMU devices: auto (where LIO is), on or off"}
    )
    portals: tuple[Portal, ...] = field(
        default=(Portal("0.0.0.0"),), metadata={"help": "portals of new engine targets, separated by commas"}
    )
    log_level: str = field(default="info", metadata={"help": "debug, info, warning or error"})
    gluster_ping_timeout_seconds: int = field(
        default=10, metadata={"help": "network.ping-timeout that the volumes should have"}
    )
    command_limit_seconds: int = field(
        default=15, metadata={"help": "after this long a command is answered BUSY or aborted"}
    )
    lio_cmd_time_out_seconds: int = field(
        default=25, metadata={"help": "cmd_time_out of the TCMU devices that are made"}
    )
    initiator_timer_seconds: int = field(
        default=LINUX_SCSI_TIMER_SECONDS, metadata={"help": "the initiators' SCSI command timer (Linux: 30)"}
    )
    lease_seconds: int = field(
        default=20, metadata={"help": "how long a lease on a disk's file lasts that is not renewed; 0: no leases"}
    )
    retry_seconds: int = field(default=5, metadata={"help": "how often a volume that is not there yet is tried again"})
    drain_seconds: int = field(default=20, metadata={"help": "how long a stop waits for commands in flight"})
    chap_weakest_algorithm: str = field(
        default="md5", metadata={"help": "weakest CHAP algorithm taken: md5, sha1, sha256 or sha3_256"}
    )
    chap_shortest_secret_bytes: int = field(
        default=12, metadata={"help": "shortest CHAP password taken (RFC 7143 9.2.1: 12 bytes)"}
    )
    max_connections: int = field(default=4096, metadata={"help": "iSCSI connections at a time"})
    max_connections_per_address: int = field(default=1024, metadata={"help": "the same, of one address"})
    max_logins: int = field(default=1024, metadata={"help": "connections that have not logged in"})
    max_logins_per_address: int = field(default=64, metadata={"help": "the same, of one address"})
    login_seconds: int = field(default=15, metadata={"help": "how long a login may take"})
    ping_seconds: int = field(
        default=10, metadata={"help": "after how long a silent initiator is asked whether it lives, and then given up"}
    )
    login_delay_seconds: int = field(
        default=5, metadata={"help": "how long at most the answer to a failed login waits; 0: it doesn't"}
    )
    required_digests: str = field(
        default="none", metadata={"help": "CRC32C digests that every session must have: none, header or both"}
    )
    session_commands: int = field(default=128, metadata={"help": "commands a session may have outstanding"})
    max_commands: int = field(default=262144, metadata={"help": "commands outstanding of all sessions (their windows)"})
    max_commands_per_address: int = field(default=65536, metadata={"help": "the same, of one address"})
    session_connections: int = field(default=8, metadata={"help": "connections of one session (MaxConnections)"})
    error_recovery_level: int = field(
        default=2, metadata={"help": "highest ErrorRecoveryLevel agreed to: 0, 1 (digest errors) or 2 (connections)"}
    )
    data_seconds: int = field(default=30, metadata={"help": "how long data that was asked for may not come"})
    recovery_seconds: int = field(
        default=3, metadata={"help": "the same with ErrorRecoveryLevel 1 or 2: then it is asked for again"}
    )
    retain_seconds: int = field(
        default=20, metadata={"help": "how long tasks of a lost connection are kept (DefaultTime2Retain, level 2)"}
    )
    kept_mib: int = field(
        default=16, metadata={"help": "data kept for retransmission, of one connection, in MiB (level 1 and 2)"}
    )
    slow_reader_seconds: int = field(
        default=30, metadata={"help": "a peer that takes too little of its answers for so long is dropped"}
    )
    slow_reader_kib: int = field(default=128, metadata={"help": "what it has to take in that time, in KiB"})
    logout_seconds: int = field(default=5, metadata={"help": "how long an initiator that is asked to log out may take"})
    buffer_mib: int = field(default=256, metadata={"help": "memory for data on its way, of all connections, in MiB"})
    connection_buffer_mib: int = field(default=64, metadata={"help": "the same, of one connection"})
    address_buffer_mib: int = field(default=128, metadata={"help": "the same, of all connections of one address"})
    look_microseconds: int = field(
        default=100, metadata={"help": "how long to look for the next command before sleeping, while they come quickly"}
    )
    user: str = field(default="", metadata={"help": "who the daemon becomes once it has started; needs lio = off"})
    configfs: Path = field(default=Path("/sys/kernel/config"), metadata={"help": "where configfs is mounted"})

    def __post_init__(self) -> None:
        if self.lio not in ("auto", "on", "off"):
            raise ConfigError(f"lio is auto, on or off, not {self.lio!r}")
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise ConfigError(f"log_level is debug, info, warning or error, not {self.log_level!r}")
        if self.chap_weakest_algorithm not in CHAP_ALGORITHMS:
            words = ", ".join(CHAP_ALGORITHMS)
            raise ConfigError(f"chap_weakest_algorithm is one of {words}, not {self.chap_weakest_algorithm!r}")
        if self.required_digests not in ("none", "header", "both"):
            raise ConfigError(f"required_digests is none, header or both, not {self.required_digests!r}")
        if not 1 <= self.chap_shortest_secret_bytes <= 255:
            raise ConfigError(f"chap_shortest_secret_bytes is 1 to 255, not {self.chap_shortest_secret_bytes}")
        if self.user and self.lio == "on":
            raise ConfigError("user and lio = on exclude each other: the kernel's front needs root")
        for name in AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is at least 1, not {getattr(self, name)}")
        for name, most in AT_MOST.items():
            if getattr(self, name) > most:
                raise ConfigError(f"{name} is at most {most}, not {getattr(self, name)}")
        if self.lease_seconds and self.lease_seconds <= self.gluster_ping_timeout_seconds:
            raise ConfigError(
                f"lease_seconds is 0 or more than gluster_ping_timeout_seconds ({self.gluster_ping_timeout_seconds}), "
                f"not {self.lease_seconds}: a volume that pauses must not cost the disk"
            )
        if not 0 <= self.error_recovery_level <= 2:
            raise ConfigError(f"error_recovery_level is 0, 1 or 2, not {self.error_recovery_level}")
        times = [getattr(self, name) for name in TIME_BUDGET]
        if any(earlier >= later for earlier, later in zip(times, times[1:])):
            raise ConfigError(f"the time-outs must grow: {' < '.join(TIME_BUDGET)}, not {' < '.join(map(str, times))}")


@dataclass(frozen=True)
class Origin:
    """A setting with the place it comes from: "default", a file's name, a variable's or a flag's."""

    name: str
    value: Any
    origin: str
    help: str


@dataclass(frozen=True)
class LoadedSettings:
    """Settings and where each one came from."""

    settings: Settings
    origins: tuple[Origin, ...]


def flag_name(name: str) -> str:
    """--state-file of state_file."""
    return "--" + name.replace("_", "-")


def variable_name(name: str) -> str:
    """TCMU_GLUSTER_STATE_FILE of state_file."""
    return PREFIX + name.upper()


def settings_file(environ: Mapping[str, str], user_id: int) -> Path:
    """Where the settings file is: TCMU_GLUSTER_SETTINGS, else /etc, or XDG's place for a user without root."""
    if environ.get(PREFIX + "SETTINGS"):
        return Path(environ[PREFIX + "SETTINGS"])
    base = Path("/etc") if user_id == 0 else _xdg(environ, "XDG_CONFIG_HOME", ".config")
    return base / NAME / f"{NAME}.toml"


def default_paths(environ: Mapping[str, str], user_id: int) -> dict[str, Path]:
    """state_file and control_socket: the system's places for root, XDG's for anybody else."""
    if user_id == 0:
        etc, run = Path("/etc", NAME), Path("/run", NAME)
        return {"state_file": etc / "saveconfig.json", "control_socket": run / "control.sock"}
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/tmp/{NAME}-{user_id}"
    return {
        "state_file": _xdg(environ, "XDG_STATE_HOME", ".local/state") / NAME / "saveconfig.json",
        "control_socket": Path(runtime, NAME, "control.sock"),
    }


def _xdg(environ: Mapping[str, str], variable: str, under_home: str) -> Path:
    value = environ.get(variable, "")
    return Path(value) if value.startswith("/") else Path(environ.get("HOME") or "/", under_home)


def load_settings(
    flags: Optional[Mapping[str, Any]] = None,
    environ: Optional[Mapping[str, str]] = None,
    file: Optional[Path] = None,
    user_id: Optional[int] = None,
) -> LoadedSettings:
    """Read all four places. flags: name -> text, None where not given. Raises ConfigError with the place named."""
    environ = os.environ if environ is None else environ
    user_id = os.geteuid() if user_id is None else user_id
    file = settings_file(environ, user_id) if file is None else file
    written = _read_file(file)
    _refuse_misspelt(environ)
    paths = default_paths(environ, user_id)
    values: dict[str, Any] = {}
    origins = []
    kinds = typing.get_type_hints(Settings)
    for item in fields(Settings):
        name = item.name
        value, origin = paths.get(name, item.default), "default"
        candidates = (
            (written.get(name), str(file)),
            (environ.get(variable_name(name)), variable_name(name)),
            ((flags or {}).get(name), flag_name(name)),
        )
        for raw, place in candidates:
            if raw is not None:
                value, origin = _convert(kinds[name], raw, name, place), place
        values[name] = value
        origins.append(Origin(name, value, origin, item.metadata["help"]))
    return LoadedSettings(Settings(**values), tuple(origins))


def _read_file(file: Path) -> dict[str, Any]:
    try:
        with open(file, "rb") as stream:
            text = stream.read(LONGEST_FILE_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{file} can't be read: {error.strerror}") from None
    if len(text) > LONGEST_FILE_BYTES:
        raise ConfigError(f"{file} is larger than a settings file can be")
    try:
        table: dict[str, Any] = tomllib.loads(text.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from None
    known = {item.name for item in fields(Settings)}
    for key in table:
        if key not in known:
            meant = _meant(key, known)
            hint = f"did you mean {meant!r}?" if meant else "`tcmu-gluster serve --help` lists the known ones"
            raise ConfigError(f"{file} has the unknown setting {key!r}; {hint}")
    return table


def _refuse_misspelt(environ: Mapping[str, str]) -> None:
    """What is nearly a setting's variable would be without effect, unseen. Others of that prefix are other people's."""
    known = {variable_name(item.name) for item in fields(Settings)}
    for name in environ:
        meant = _meant(name, known) if name.startswith(PREFIX) and name not in known else None
        if meant:
            raise ConfigError(f"there is no setting {name}; did you mean {meant}?")


def _meant(word: str, known: Iterable[str]) -> Optional[str]:
    """The known word that it nearly is, or None."""
    import difflib  # loaded where somebody has misspelt something

    return next(iter(difflib.get_close_matches(word, sorted(known), 1, NEARLY)), None)


def _convert(kind: Any, raw: Any, name: str, place: str) -> Any:
    if kind is int:
        if isinstance(raw, int) and not isinstance(raw, bool):
            return raw
        if isinstance(raw, str) and raw.isascii() and raw.isdigit() and len(raw) <= 9:
            return int(raw)
        raise ConfigError(f"{name} (from {place}) is a whole number, not {raw!r}")
    if kind == tuple[Portal, ...]:
        words = raw if isinstance(raw, (list, tuple)) else str(raw).split(",")
        return tuple(parse_portal(str(word)) for word in words if str(word).strip())
    if not isinstance(raw, (str, Path)):
        raise ConfigError(f"{name} (from {place}) is text, not {raw!r}")
    if kind is Path:
        if not str(raw):
            raise ConfigError(f"{name} (from {place}) is empty; it names a file")
        return Path(raw)
    return str(raw)
